//! Asynchronous copies: what they write in shared memory must be left alone until the thread
//! that issued them has waited for their group, or an mbarrier for their bytes; what they read
//! must not be written before.

use super::Checker;
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::observer::{AccessEvent, At};
use crate::exec::step::bits;
use crate::lower::program::Access;

/// What must be left alone while a copy is in flight, and what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its destination, until its group was waited for.
    Group,
    /// Its destination, until a phase of an mbarrier.
    Phase,
    /// Its source may be read but not written, until its bulk group was waited for.
    Source,
}

/// A copy in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    kind: Kind,
    block: u64,
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
    /// Groups ended, by thread: of copies, of bulk copies.
    groups: [Vec<u32>; 2],
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
    fn ended(&mut self, thread: u32, bulk: bool) -> &mut u32 {
        let thread = thread as usize;
        let groups = &mut self.groups[usize::from(bulk)];
        if groups.len() <= thread {
            groups.resize(thread + 1, 0);
        }
        &mut groups[thread]
    }

    /// Copies to shared memory; `bulk`: an mbarrier hears of them.
    pub(crate) fn issue(&mut self, at: At, to: &[u64; 32], bytes: u32, bulk: bool, log: &mut Log) {
        let kind = if bulk { Kind::Phase } else { Kind::Group };
        for lane in bits(at.mask) {
            let thread = at.warp * 32 + lane as u32;
            let (start, end) = (to[lane], to[lane] + u64::from(bytes));
            self.meet(at, thread, start, end, "another copy writes", log);
            self.begin(at, thread, start, end, kind);
        }
    }

    /// A bulk copy out of shared memory.
    pub(crate) fn read(&mut self, at: At, start: u64, bytes: u32, log: &mut Log) {
        let thread = at.warp * 32 + at.mask.trailing_zeros();
        let end = start + u64::from(bytes);
        self.meet(at, thread, start, end, "reads", log);
        self.begin(at, thread, start, end, Kind::Source);
    }

    fn begin(&mut self, at: At, thread: u32, start: u64, end: u64, kind: Kind) {
        if start == end {
            return;
        }
        let last = end.div_ceil(4) as usize;
        self.words.resize(self.words.len().max(last), 0);
        let words = &mut self.words[(start / 4) as usize..last];
        words.iter_mut().for_each(|n| *n = n.saturating_add(1));
        let group = *self.ended(thread, kind == Kind::Source);
        let pc = at.pc;
        self.flying.push(Flight {
            kind,
            block: at.block,
            start,
            end,
            thread,
            pc,
            group,
        });
    }

    pub(crate) fn commit(&mut self, at: At, bulk: bool) {
        bits(at.mask).for_each(|lane| *self.ended(at.warp * 32 + lane as u32, bulk) += 1);
    }

    /// Lanes have waited until at most `pending` groups are in flight; `None`: for all copies.
    pub(crate) fn wait(&mut self, at: At, pending: Option<u32>, bulk: bool) {
        let groups = std::mem::take(&mut self.groups[usize::from(bulk)]);
        let kind = if bulk { Kind::Source } else { Kind::Group };
        self.land(|c| {
            let mine = c.block == at.block
                && c.thread / 32 == at.warp
                && at.mask >> (c.thread % 32) & 1 != 0;
            let ended = groups.get(c.thread as usize).copied().unwrap_or(0);
            let landed = pending.is_none_or(|pending| c.group < ended.saturating_sub(pending));
            c.kind == kind && mine && landed
        });
        self.groups[usize::from(bulk)] = groups;
    }

    /// A phase of an mbarrier is complete. Copies may have been tied to it, so all into shared
    /// memory are taken to have landed: some misuse goes unseen, none is made up.
    pub(crate) fn phase(&mut self) {
        self.land(|c| c.kind != Kind::Source);
    }

    fn land(&mut self, landed: impl Fn(&Flight) -> bool) {
        let words = &mut self.words;
        self.flying.retain(|c| {
            let gone = landed(c);
            if gone {
                let words = &mut words[(c.start / 4) as usize..c.end.div_ceil(4) as usize];
                words.iter_mut().for_each(|n| *n = n.saturating_sub(1));
            }
            !gone
        });
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
        let reads = what == "reads";
        let overlaps = |c: &&Flight| {
            let harmless = c.kind == Kind::Source && reads;
            c.start < end && start < c.end && !harmless
        };
        let Some(copy) = self.flying.iter().find(overlaps) else {
            return;
        };
        let (kind, mistake) = if reads {
            ("read", Mistake::ReadInFlight)
        } else {
            ("written", Mistake::WrittenInFlight)
        };
        let (way, usual_cause) = match copy.kind {
            Kind::Group => (
                "to",
                "`cp.async.wait_group` with a number too large, or a stage of the pipeline reused \
                 a round too early",
            ),
            Kind::Phase => (
                "to",
                "an mbarrier whose phase is not waited for, or a stage of the pipeline reused a \
                 round too early",
            ),
            Kind::Source => (
                "from",
                "no `cp.async.bulk.wait_group.read` before the buffer is filled again",
            ),
        };
        log.add((at.pc, copy.pc, Checker::Copies, mistake), || Raw {
            message: format!(
                "shared memory is {kind} while an asynchronous copy {way} it is in flight"
            ),
            usual_cause,
            sides: vec![
                side(at, thread, at.pc, what),
                side(
                    At {
                        block: copy.block,
                        ..at
                    },
                    copy.thread,
                    copy.pc,
                    "has issued the copy",
                ),
            ],
        });
    }
}
