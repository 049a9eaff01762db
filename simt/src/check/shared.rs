//! Races on shared memory. Each word of a block has a record of its last write and of a read.

use super::Checker;
use super::cell::{Entry, Record};
use super::clocks::{Clocks, When};
use super::finding::Log;
use super::race::{self, Sites, report, strong, visit, writes};
use crate::exec::observer::{AccessEvent, At};
use crate::exec::step::bits;
use crate::lower::program::{Access, Order, Scope};
use std::collections::HashMap;

/// Records of one block.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    words: Vec<[Record; 2]>,
    /// What strong writes published, by address.
    published: HashMap<u64, Box<[u32]>>,
}

impl Shadow {
    /// Checks an access.
    pub(crate) fn access(
        &mut self,
        sites: &Sites<'_>,
        clocks: &mut Clocks,
        log: &mut Log,
        event: &AccessEvent<'_>,
    ) {
        let index = sites.number(event.at.pc);
        if !Record::fits(event.at.block, index) {
            return;
        }
        let at = event.at;
        // The warp as the clocks of its cluster know it.
        let warp = at.warp + sites.clusters.member(at.block).base;
        let is_write = writes(event.op);
        let own_strong = strong(event.op, Scope::Block);
        if own_strong {
            self.acquire(clocks, event, warp);
        }
        for lane in bits(at.mask) {
            let thread = at.warp * 32 + lane as u32;
            let when = When {
                thread,
                clock: clocks.now(warp),
            };
            let before =
                |e: &Entry| clocks.before(sites.clusters.when(e.block, e.when), warp, lane as u32);
            let tolerates = |e: &Entry| {
                let near = e.block == at.block;
                let scope = if near { Scope::Block } else { Scope::Cluster };
                strong(event.op, scope) && sites.strong(e.op, scope)
            };
            let start = event.offsets[lane];
            let end = start + u64::from(event.bytes);
            if end.div_ceil(4) as usize > self.words.len() {
                self.words
                    .resize(end.div_ceil(4) as usize, Default::default());
            }
            for word in start / 4..end.div_ceil(4) {
                let new = Entry {
                    block: at.block,
                    when,
                    op: index,
                    bytes: race::bytes_of_word(word, start, end),
                    others: false,
                };
                let [write, read] = &mut self.words[word as usize];
                let found = visit(write, read, new, is_write, tolerates, before);
                if let Some(conflict) = found {
                    let checker = Checker::SharedRace;
                    report(log, sites, checker, event, &new, &conflict, word * 4);
                }
            }
        }
        if own_strong && is_write {
            let now = matches!(event.op.order, Order::Release | Order::AcquireRelease);
            if let Some(view) = clocks.released(warp, now, false) {
                for lane in bits(at.mask) {
                    self.published.insert(event.offsets[lane], view.clone());
                }
            }
        }
    }

    /// A lane of a warp, by its number in the cluster, uses an mbarrier: it publishes what it has done, or has seen a phase complete.
    pub(crate) fn mbarrier(&mut self, clocks: &mut Clocks, at: At, place: u64, passed: bool) {
        if passed {
            if let Some(view) = self.published.get(&place) {
                clocks.acquire(at.warp, at.mask.trailing_zeros(), view);
            }
            return;
        }
        // Every arrival counts, not only the last.
        if let Some(view) = clocks.released(at.warp, true, false) {
            let all = self.published.entry(place).or_insert_with(|| view.clone());
            all.iter_mut()
                .zip(&view)
                .for_each(|(a, b)| *a = (*a).max(*b));
        }
    }

    fn acquire(&self, clocks: &mut Clocks, event: &AccessEvent<'_>, warp: u32) {
        if self.published.is_empty() || event.op.access == Access::Store {
            return;
        }
        for lane in bits(event.at.mask) {
            if let Some(view) = self.published.get(&event.offsets[lane]) {
                clocks.acquire(warp, lane as u32, view);
            }
        }
    }
}
