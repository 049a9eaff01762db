//! What checkers report, at most once for each cause.

use super::Checker;
use crate::diagnostics::run;
use crate::exec::fault::{Place, Thread};
use crate::exec::machine::place;
use crate::exec::warp::Shape;
use crate::lower::program::Program;
use crate::ptx::ast::Module;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// One of the parties to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// What it did.
    pub what: String,
    /// Who.
    pub thread: Thread,
    /// Where.
    pub place: Place,
}

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mistake {
    /// A value that was never written decides something.
    Unwritten,
    /// A value shuffled from a lane that takes no part decides something.
    Shuffled,
    /// Two writes of the same bytes, which nothing orders: the result is the same.
    SameValue,
    /// Two writes that nothing orders.
    TwoWrites,
    /// A read, and an earlier write that is not ordered before it.
    ReadAfterWrite,
    /// A write, and an earlier read that is not ordered before it.
    WriteAfterRead,
    /// A block of a cluster ends while others may use its shared memory.
    BlockEnds,
    /// Lanes of one warp arrive at a barrier at different instructions.
    BarrierApart,
    /// Those who arrive at a barrier disagree on their number.
    BarrierCounts,
    /// A mask leaves out lanes that execute its instruction.
    Unnamed,
    /// Shared memory is read while a copy is in flight to it.
    ReadInFlight,
    /// Shared memory is written while a copy is in flight to or from it.
    WrittenInFlight,
    /// An asynchronous operation follows an ordinary write without a proxy fence.
    Unfenced,
    /// A tensor map is used that was written without its proxy's fences.
    StaleMap,
    /// What is used as an mbarrier was never initialised.
    NoInit,
    /// An mbarrier is used that is not known to be initialised.
    InitUnordered,
    /// An mbarrier is initialised again.
    InitTwice,
}

/// A mistake in a program that ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Who found it.
    pub checker: Checker,
    /// What kind of mistake it is.
    pub mistake: Mistake,
    /// The kernel.
    pub kernel: String,
    /// One sentence.
    pub message: String,
    /// The parties; both sides of a race.
    pub sides: Vec<Side>,
    /// What usually causes this.
    pub usual_cause: String,
    /// How often it was seen at these places.
    pub times: u64,
    /// Whether the result is the same whichever side wins: several threads store one value.
    pub benign: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&run::finding(self))
    }
}

/// A party, before its place is looked up.
#[derive(Clone, Debug)]
pub(crate) struct RawSide {
    pub(crate) what: String,
    pub(crate) block: u64,
    /// Index of the thread in its block.
    pub(crate) thread: u32,
    pub(crate) pc: u32,
}

/// A finding, before places are looked up.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) message: String,
    pub(crate) usual_cause: &'static str,
    pub(crate) sides: Vec<RawSide>,
}

/// What makes two findings one: the checker, the kind of mistake, and where.
pub(crate) type Cause = (u32, u32, Checker, Mistake);

/// Findings of one worker.
#[derive(Debug, Default)]
pub(crate) struct Log(BTreeMap<Cause, (u64, Raw)>);

/// More causes than this are not told apart: the first ones are what has to be repaired.
const MOST: usize = 64;

impl Log {
    /// Notes a finding; `describe` is asked only the first time.
    pub(crate) fn add(&mut self, cause: Cause, describe: impl FnOnce() -> Raw) {
        if let Some((times, _)) = self.0.get_mut(&cause) {
            *times += 1;
        } else if self.0.len() < MOST {
            self.0.insert(cause, (1, describe()));
        }
    }

    /// Adds another worker's; of one cause the earlier block's description stays.
    pub(crate) fn merge(&mut self, other: Log) {
        let first = |raw: &Raw| raw.sides.last().map_or(0, |s| s.block);
        for (cause, (times, raw)) in other.0 {
            match self.0.get_mut(&cause) {
                None => drop(self.0.insert(cause, (times, raw))),
                Some((sum, mine)) => {
                    *sum += times;
                    if first(&raw) < first(mine) {
                        *mine = raw;
                    }
                }
            }
        }
    }

    /// The findings, in the order of the text.
    pub(crate) fn finish(self, module: &Module, program: &Program, shape: &Shape) -> Vec<Finding> {
        let each = self
            .0
            .into_iter()
            .map(|((_, _, checker, mistake), (times, raw))| {
                let side = |s: RawSide| Side {
                    what: s.what,
                    thread: Thread {
                        block: Shape::coordinates(s.block, shape.grid),
                        thread: Shape::coordinates(u64::from(s.thread), shape.block),
                    },
                    place: place(module, program, s.pc),
                };
                Finding {
                    checker,
                    mistake,
                    kernel: program.name().to_owned(),
                    message: raw.message,
                    sides: raw.sides.into_iter().map(side).collect(),
                    usual_cause: raw.usual_cause.to_owned(),
                    times,
                    benign: mistake == Mistake::SameValue,
                }
            });
        each.collect()
    }
}
