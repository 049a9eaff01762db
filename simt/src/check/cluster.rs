//! Clusters as the checkers see them: the warps of a cluster's blocks are numbered through and
//! share one set of clocks, and its barrier orders them all.

use super::Checker;
use super::clocks::{Clocks, When};
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::observer::{AccessEvent, At};
use crate::exec::step::bits;
use crate::exec::warp::Shape;
use std::collections::BTreeMap;

/// How the grid of a launch falls into clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clusters {
    grid: [u32; 3],
    cluster: [u32; 3],
    /// Blocks of a cluster.
    pub(crate) size: u32,
    /// Warps of a block.
    pub(crate) warps: u32,
}

/// A block's cluster and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Index of the block of rank 0, which stands for the cluster.
    pub(crate) first: u64,
    pub(crate) rank: u32,
    /// The number of its first warp in the cluster.
    pub(crate) base: u32,
}

impl Clusters {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            grid: shape.grid,
            cluster: shape.cluster,
            size: shape.cluster_size(),
            warps: shape.warps(),
        }
    }

    /// Where a block belongs.
    #[inline(always)]
    pub(crate) fn member(&self, block: u64) -> Member {
        if self.size == 1 {
            let (first, rank, base) = (block, 0, 0);
            return Member { first, rank, base };
        }
        let [x, y, z] = Shape::coordinates(block, self.grid);
        let [i, j, k] = [
            x % self.cluster[0],
            y % self.cluster[1],
            z % self.cluster[2],
        ];
        let rank = i + self.cluster[0] * (j + self.cluster[1] * k);
        let [gx, gy] = [u64::from(self.grid[0]), u64::from(self.grid[1])];
        let first = u64::from(x - i) + gx * (u64::from(y - j) + gy * u64::from(z - k));
        let base = rank * self.warps;
        Member { first, rank, base }
    }

    /// An access as the clocks of the cluster know it.
    #[inline(always)]
    pub(crate) fn when(&self, block: u64, when: When) -> When {
        When {
            thread: when.thread + 32 * self.member(block).base,
            ..when
        }
    }
}

/// The barrier of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// What those who have arrived in this phase published.
    collected: Vec<u32>,
    /// The same of the last phase.
    complete: Vec<u32>,
    /// Phases that are over.
    pub(crate) phases: u32,
}

impl Barrier {
    /// Lanes of a warp (by its number in the cluster) arrive and publish.
    pub(crate) fn arrive(&mut self, clocks: &mut Clocks, warp: u32) {
        let view = clocks.publish(warp);
        self.collected.resize(view.len(), 0);
        for (all, own) in self.collected.iter_mut().zip(&view) {
            *all = (*all).max(*own);
        }
    }

    /// The phase is over.
    pub(crate) fn complete(&mut self) {
        self.complete = std::mem::take(&mut self.collected);
        self.phases += 1;
    }

    /// Lanes of a warp have waited for it.
    pub(crate) fn wait(&self, clocks: &mut Clocks, warp: u32, mask: u32) {
        if !self.complete.is_empty() {
            bits(mask).for_each(|lane| clocks.acquire(warp, lane as u32, &self.complete));
        }
    }
}

/// Accesses of other blocks to a block's shared memory: the last of each warp.
#[derive(Debug, Default)]
pub(crate) struct Visits(BTreeMap<u32, (When, At)>);

impl Visits {
    /// A warp, by its number in the cluster, accesses the memory.
    pub(crate) fn note(&mut self, clocks: &Clocks, warp: u32, event: &AccessEvent<'_>) {
        let when = When {
            thread: warp * 32 + event.at.mask.trailing_zeros(),
            clock: clocks.now(warp),
        };
        self.0.insert(warp, (when, event.at));
    }

    /// The block ends: every visit must be known to have ended before.
    pub(crate) fn end(&self, clocks: &Clocks, own: std::ops::Range<u32>, at: At, log: &mut Log) {
        for (when, visit) in self.0.values() {
            if own.clone().any(|warp| clocks.before(*when, warp, 0)) {
                continue;
            }
            let cause = (visit.pc, at.pc, Checker::SharedRace, Mistake::BlockEnds);
            log.add(cause, || Raw {
                message: "a block ends while another of its cluster may use its shared memory"
                    .to_owned(),
                usual_cause: "no `cluster.sync()` after the last access to distributed shared \
                              memory",
                sides: vec![
                    RawSide {
                        what: "accesses it".to_owned(),
                        block: visit.block,
                        thread: visit.warp * 32 + visit.mask.trailing_zeros(),
                        pc: visit.pc,
                    },
                    RawSide {
                        what: "is the last of its block".to_owned(),
                        block: at.block,
                        thread: at.warp * 32 + at.mask.trailing_zeros(),
                        pc: at.pc,
                    },
                ],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_cluster_are_found_in_all_dimensions() {
        let clusters = Clusters {
            grid: [4, 6, 1],
            cluster: [2, 3, 1],
            size: 6,
            warps: 2,
        };
        // Block (3, 4): cluster from (2, 3), rank 1 + 2·1.
        let member = clusters.member(3 + 4 * 4);
        let want = Member {
            first: 2 + 4 * 3,
            rank: 3,
            base: 6,
        };
        assert_eq!(member, want);
    }

    #[test]
    fn the_barrier_orders_blocks_from_its_wait_on() {
        let mut clocks = Clocks::new(2, 1);
        let mut barrier = Barrier::default();
        let when = |c: &Clocks| When {
            thread: 3,
            clock: c.now(0),
        };
        let before = when(&clocks);
        barrier.arrive(&mut clocks, 0);
        let between = when(&clocks);
        barrier.arrive(&mut clocks, 1);
        barrier.complete();
        assert!(!clocks.before(before, 1, 0), "it has not waited yet");
        barrier.wait(&mut clocks, 1, u32::MAX);
        assert!(clocks.before(before, 1, 0) && !clocks.before(between, 1, 0));
    }
}
