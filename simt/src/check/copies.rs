//! Asynchronous copies to shared memory: what they write must be left alone until the thread
//! that issued them has waited for their group.

use super::Checker;
use super::finding::{Log, Raw, RawSide};
use crate::exec::observer::{AccessEvent, At};
use crate::exec::step::bits;
use crate::lower::program::Access;

/// A copy in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    start: u64,
    end: u64,
    thread: u32,
    pc: u32,
    /// Groups that its thread had ended when it was issued.
    group: u32,
}

/// The copies of one block.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    flying: Vec<Flight>,
    /// Copies in flight to each word.
    words: Vec<u16>,
    /// Groups ended, by thread.
    groups: Vec<u32>,
}

fn side(at: At, thread: u32, pc: u32, what: &str) -> RawSide {
    RawSide {
        what: what.to_owned(),
        block: at.block,
        thread,
        pc,
    }
}

impl Copies {
    fn ended(&mut self, thread: u32) -> &mut u32 {
        let thread = thread as usize;
        if self.groups.len() <= thread {
            self.groups.resize(thread + 1, 0);
        }
        &mut self.groups[thread]
    }

    pub(crate) fn issue(&mut self, at: At, to: &[u64; 32], bytes: u32, log: &mut Log) {
        for lane in bits(at.mask) {
            let thread = at.warp * 32 + lane as u32;
            let (start, end) = (to[lane], to[lane] + u64::from(bytes));
            self.meet(at, thread, start, end, "another copy writes", log);
            let last = end.div_ceil(4) as usize;
            self.words.resize(self.words.len().max(last), 0);
            let words = &mut self.words[(start / 4) as usize..last];
            words.iter_mut().for_each(|n| *n = n.saturating_add(1));
            let group = *self.ended(thread);
            let pc = at.pc;
            self.flying.push(Flight {
                start,
                end,
                thread,
                pc,
                group,
            });
        }
    }

    pub(crate) fn commit(&mut self, at: At) {
        bits(at.mask).for_each(|lane| *self.ended(at.warp * 32 + lane as u32) += 1);
    }

    /// Lanes have waited until at most `pending` groups are in flight; `None`: for all copies.
    pub(crate) fn wait(&mut self, at: At, pending: Option<u32>) {
        let (groups, words) = (&self.groups, &mut self.words);
        self.flying.retain(|c| {
            let mine = c.thread / 32 == at.warp && at.mask >> (c.thread % 32) & 1 != 0;
            let ended = groups.get(c.thread as usize).copied().unwrap_or(0);
            let landed = pending.is_none_or(|pending| c.group < ended.saturating_sub(pending));
            if mine && landed {
                let words = &mut words[(c.start / 4) as usize..c.end.div_ceil(4) as usize];
                words.iter_mut().for_each(|n| *n = n.saturating_sub(1));
            }
            !(mine && landed)
        });
    }

    /// A phase of an mbarrier is complete. Copies may have been tied to it, so all are taken to
    /// have landed: some misuse goes unseen, none is made up.
    pub(crate) fn phase(&mut self) {
        self.flying.clear();
        self.words.fill(0);
    }

    /// Shared memory is accessed by an ordinary instruction.
    pub(crate) fn access(&self, event: &AccessEvent<'_>, log: &mut Log) {
        if self.flying.is_empty() {
            return;
        }
        let what = match event.op.access {
            Access::Load => "reads",
            Access::Store | Access::Atomic(_) => "writes",
        };
        for lane in bits(event.at.mask) {
            let thread = event.at.warp * 32 + lane as u32;
            let start = event.offsets[lane];
            let end = start + u64::from(event.bytes);
            self.meet(event.at, thread, start, end, what, log);
        }
    }

    fn meet(&self, at: At, thread: u32, start: u64, end: u64, what: &str, log: &mut Log) {
        let mut words = (start / 4) as usize..end.div_ceil(4) as usize;
        if !words.any(|w| self.words.get(w).is_some_and(|n| *n != 0)) {
            return;
        }
        let overlaps = |c: &&Flight| c.start < end && start < c.end;
        if let Some(copy) = self.flying.iter().find(overlaps) {
            let kind = if what == "reads" { "read" } else { "written" };
            log.add((at.pc, copy.pc, Checker::Copies, kind), || Raw {
                message: format!(
                    "shared memory is {kind} while an asynchronous copy to it is in flight"
                ),
                usual_cause: "`cp.async.wait_group` with a number too large, or a stage of the \
                              pipeline reused a round too early",
                sides: vec![
                    side(at, thread, at.pc, what),
                    side(at, copy.thread, copy.pc, "has issued the copy"),
                ],
            });
        }
    }
}
