//! mbarriers: each is initialised once before it is used, and who uses it comes after that; `.inval`
//! ends its life (PTX manual, "mbarrier.init"). For other blocks of a cluster
//! `fence.mbarrier_init` and the cluster's barrier, even a relaxed one, put the initialisation
//! first.

use super::Checker;
use super::clocks::{Clocks, When};
use super::cluster::Clusters;
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::observer::{At, BarrierUse};
use crate::exec::step::bits;
use std::collections::BTreeMap;

/// An `mbarrier.init`.
#[derive(Clone, Copy, Debug)]
struct Init {
    block: u64,
    when: When,
    pc: u32,
    /// Phases of the cluster's barrier that were over when `fence.mbarrier_init` followed.
    fenced: Option<u32>,
}

/// The mbarriers in one block's shared memory.
#[derive(Debug, Default)]
pub(crate) struct Mbarriers(BTreeMap<u64, Init>);

/// Who uses one, as the clocks know it.
pub(crate) struct User<'a> {
    pub(crate) clocks: &'a Clocks,
    pub(crate) clusters: &'a Clusters,
    /// The number of its warp in the cluster.
    pub(crate) warp: u32,
    /// Phases of the cluster's barrier that are over.
    pub(crate) phases: u32,
}

impl Mbarriers {
    /// Another block begins.
    pub(crate) fn restart(&mut self) {
        self.0.clear();
    }

    /// A lane uses the mbarrier at a place.
    pub(crate) fn used(
        &mut self,
        user: &User<'_>,
        at: At,
        place: u64,
        what: BarrierUse,
        log: &mut Log,
    ) {
        let lane = at.mask.trailing_zeros();
        let known = self.0.get(&place);
        if what == BarrierUse::Init {
            if let Some(init) = known {
                report(log, at, Mistake::InitTwice, Some(init));
            }
            let when = When {
                thread: at.warp * 32 + lane,
                clock: user.clocks.now(user.warp),
            };
            let init = Init {
                block: at.block,
                when,
                pc: at.pc,
                fenced: None,
            };
            self.0.insert(place, init);
            return;
        }
        match known {
            None => report(log, at, Mistake::NoInit, None),
            Some(init) => {
                let when = user.clusters.when(init.block, init.when);
                let ordered = user.clocks.before(when, user.warp, lane)
                    || init.fenced.is_some_and(|before| user.phases > before);
                if !ordered {
                    report(log, at, Mistake::InitUnordered, Some(init));
                }
            }
        }
        if what == BarrierUse::Invalidate {
            self.0.remove(&place);
        }
    }

    /// Lanes of a block execute `fence.mbarrier_init`.
    pub(crate) fn fence(&mut self, at: At, phases: u32) {
        let own = |init: &&mut Init| {
            init.block == at.block
                && bits(at.mask).any(|lane| init.when.thread == at.warp * 32 + lane as u32)
        };
        let all = self.0.values_mut().filter(own);
        all.for_each(|init| init.fenced = Some(phases));
    }
}

#[cold]
fn report(log: &mut Log, at: At, mistake: Mistake, init: Option<&Init>) {
    let (message, did, usual_cause) = match mistake {
        Mistake::InitTwice => (
            "an mbarrier is initialised that holds an mbarrier already",
            "initialises it",
            "`mbarrier.init` by every thread instead of one, or in a loop without `mbarrier.inval`",
        ),
        Mistake::InitUnordered if init.is_some_and(|init| init.block != at.block) => (
            "an mbarrier of another block of the cluster is used, and nothing orders its \
             initialisation before",
            "uses it",
            "no barrier of the cluster between, or a relaxed arrival at it without \
             `fence.mbarrier_init.release.cluster`",
        ),
        Mistake::InitUnordered => (
            "an mbarrier is used, and nothing orders its initialisation before",
            "uses it",
            "a missing `__syncthreads()` after the thread that initialises mbarriers",
        ),
        _ => (
            "shared memory is used as an mbarrier that was never initialised, or was invalidated",
            "uses it",
            "no `mbarrier.init`, or one at another address",
        ),
    };
    let pc = init.map_or(at.pc, |init| init.pc);
    log.add((at.pc, pc, Checker::Mbarrier, mistake), || {
        let mut sides = vec![RawSide {
            what: did.to_owned(),
            block: at.block,
            thread: at.warp * 32 + at.mask.trailing_zeros(),
            pc: at.pc,
        }];
        sides.extend(init.map(|init| RawSide {
            what: "initialised it".to_owned(),
            block: init.block,
            thread: init.when.thread,
            pc: init.pc,
        }));
        Raw {
            message: message.to_owned(),
            usual_cause,
            sides,
        }
    });
}
