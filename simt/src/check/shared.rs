//! Races on shared memory. Each word of a block has a record of its last write and of a read.

use super::Checker;
use super::cell::{Entry, HEADS, Head, word};
use super::cells::{Cells, Order, Span};
use super::clocks::Clocks;
use super::finding::Log;
use super::race::{self, Sites, report, strong, writes};
use crate::exec::observer::{AccessEvent, At, BarrierUse};
use crate::exec::step::bits;
use crate::lower::program::{Access, Order as Strength, Scope};
use std::collections::HashMap;

/// Records of one block.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    cells: Cells,
    /// The index of the head last used by a warp at an instruction.
    recent: Vec<u32>,
    /// What strong writes published, by address.
    published: HashMap<u64, Box<[u32]>>,
}

/// Recent heads that are kept: a power of two.
const RECENT: usize = 256;

/// What orders accesses to shared memory: the clocks of the block or its cluster alone.
struct InBlock<'a> {
    clocks: &'a Clocks,
    sites: &'a Sites<'a>,
    event: &'a AccessEvent<'a>,
    /// The warp as the clocks of its cluster know it.
    warp: u32,
}

impl InBlock<'_> {
    fn scope(&self, block: u64) -> Scope {
        if block == self.event.at.block {
            Scope::Block
        } else {
            Scope::Cluster
        }
    }
}

impl Order for InBlock<'_> {
    #[inline(always)]
    fn before(&self, earlier: &Entry, lane: u32) -> bool {
        let when = self.sites.clusters.when(earlier.block, earlier.when);
        self.clocks.before(when, self.warp, lane)
    }

    #[inline(always)]
    fn whole(&self, earlier: Head) -> Option<bool> {
        let from = earlier.warp() + self.sites.clusters.member(earlier.block()).base;
        self.clocks.whole(from, earlier.clock(), self.warp)
    }

    #[inline(always)]
    fn tolerates(&self, earlier: &Entry) -> bool {
        let scope = self.scope(earlier.block);
        strong(self.event.op, scope) && self.sites.strong(earlier.op, scope)
    }

    #[inline(always)]
    fn strong(&self, earlier: &Entry) -> (bool, bool) {
        let now = strong(self.event.op, Scope::Block);
        (now, self.sites.strong(earlier.op, Scope::Block))
    }
}

impl Shadow {
    /// Everything that the block did so far happened before everything to come.
    pub(crate) fn all_ordered(&mut self) {
        self.cells.all_ordered();
    }

    /// Another block begins, for which nothing has happened.
    pub(crate) fn restart(&mut self) {
        self.cells.all_ordered();
        self.published.clear();
    }

    /// The index of the head of an access.
    #[inline(always)]
    fn head(&mut self, head: Head, first_word: usize) -> u32 {
        self.recent.resize(RECENT, 0);
        let slot = &mut self.recent[(head.op() ^ head.warp() << 3) as usize % RECENT];
        if !self.cells.names(*slot, head) {
            *slot = self.cells.index_of(head, first_word, HEADS);
        }
        *slot
    }

    /// Checks an access.
    pub(crate) fn access(
        &mut self,
        sites: &Sites<'_>,
        clocks: &mut Clocks,
        log: &mut Log,
        event: &AccessEvent<'_>,
    ) {
        let index = sites.number(event.at.pc);
        if !Head::fits(event.at.block, index) {
            return;
        }
        let at = event.at;
        // The warp as the clocks of its cluster know it.
        let warp = at.warp + sites.clusters.member(at.block).base;
        let write = writes(event.op);
        let own_strong = strong(event.op, Scope::Block);
        if own_strong {
            self.acquire(clocks, event, warp);
        }
        let Some(memory) = event.memory else { return };
        self.cells.reserve(memory.len().div_ceil(4), true);
        self.cells.reserve(memory.len().div_ceil(4), false);
        let head = Head::new(at.block, at.warp, clocks.now(warp), index);
        let first = event.offsets[at.mask.trailing_zeros() as usize % 32];
        let mine = self.head(head, (first / 4) as usize);
        clocks.used(warp);
        let order = InBlock {
            clocks,
            sites,
            event,
            warp,
        };
        let span = Span {
            offsets: event.offsets,
            base: 0,
            pattern: event.pattern,
            mask: at.mask,
            bytes: event.bytes,
            write,
        };
        if own_strong || !self.cells.whole(sites.arch, mine, span, &order) {
            for lane in bits(at.mask) {
                let start = event.offsets[lane];
                let end = start + u64::from(event.bytes);
                for place in start / 4..end.div_ceil(4) {
                    let bytes = race::bytes_of_word(place, start, end);
                    let new = word(mine, lane as u32, bytes);
                    let found = self.cells.visit(place as usize, new, write, &order);
                    if let Some(conflict) = found {
                        let checker = Checker::SharedRace;
                        report(log, sites, checker, event, &conflict, place * 4);
                    }
                }
            }
        }
        if own_strong && write {
            let now = matches!(event.op.order, Strength::Release | Strength::AcquireRelease);
            if let Some(view) = clocks.released(warp, now, false) {
                for lane in bits(at.mask) {
                    self.published.insert(event.offsets[lane], view.clone());
                }
            }
        }
    }

    /// A lane of a warp, by its number in the cluster, uses an mbarrier: it publishes what it has
    /// done, or has seen a phase complete.
    pub(crate) fn mbarrier(&mut self, clocks: &mut Clocks, at: At, place: u64, what: BarrierUse) {
        let now = match what {
            BarrierUse::Passed { relaxed } => {
                let lane = at.mask.trailing_zeros();
                match self.published.get(&place) {
                    Some(view) if relaxed => clocks.see_relaxed(at.warp, lane, view),
                    Some(view) => clocks.acquire(at.warp, lane, view),
                    None => {}
                }
                return;
            }
            BarrierUse::Init | BarrierUse::Invalidate | BarrierUse::Tested => return,
            BarrierUse::Released => true,
            BarrierUse::Relaxed => false,
        };
        // Every arrival counts, not only the last.
        if let Some(view) = clocks.released(at.warp, now, false) {
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
