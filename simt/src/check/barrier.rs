//! Barriers: lanes of one warp that wait for each other at different instructions, and counts
//! that disagree. A barrier that is never completed is a dead-lock, which stops the program.

use super::Checker;
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::observer::At;

/// One arrival at a barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: At,
    pub(crate) count: Option<u32>,
    /// Whether the instruction asks that all lanes of a warp execute it together.
    pub(crate) aligned: bool,
}

fn side(a: &Arrival, what: String) -> RawSide {
    RawSide {
        what,
        block: a.at.block,
        thread: a.at.warp * 32 + a.at.mask.trailing_zeros(),
        pc: a.at.pc,
    }
}

/// Checks the arrivals of a barrier that completes.
pub(crate) fn complete(log: &mut Log, id: u32, arrivals: &[Arrival]) {
    for (n, later) in arrivals.iter().enumerate() {
        let one_warp = |a: &&Arrival| a.at.warp == later.at.warp && a.at.pc != later.at.pc;
        let earlier = arrivals[..n].iter().filter(one_warp);
        let mut aligned = earlier.filter(|a| a.aligned || later.aligned);
        if let Some(first) = aligned.next() {
            let cause = (
                later.at.pc,
                first.at.pc,
                Checker::Barrier,
                Mistake::BarrierApart,
            );
            log.add(cause, || {
                let lanes = |a: &Arrival| format!("{} lanes arrive", a.at.mask.count_ones());
                Raw {
                    message: format!(
                        "barrier {id}: lanes of one warp arrive at different instructions"
                    ),
                    usual_cause: "`__syncthreads()` in both branches of a condition that differs \
                                  within a warp",
                    sides: vec![side(later, lanes(later)), side(first, lanes(first))],
                }
            });
        }
    }
    let Some(first) = arrivals.first() else {
        return;
    };
    if let Some(other) = arrivals.iter().find(|a| a.count != first.count) {
        let cause = (
            other.at.pc,
            first.at.pc,
            Checker::Barrier,
            Mistake::BarrierCounts,
        );
        log.add(cause, || {
            let waits = |a: &Arrival| match a.count {
                Some(count) => format!("arrives for {count} threads"),
                None => "arrives for all threads".to_owned(),
            };
            Raw {
                message: format!("barrier {id}: those who arrive disagree on their number"),
                usual_cause: "one barrier number used by two groups of warps",
                sides: vec![side(other, waits(other)), side(first, waits(first))],
            }
        });
    }
}
