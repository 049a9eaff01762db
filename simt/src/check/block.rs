//! What the checkers know of one block, or of the blocks of one cluster.

use super::barrier::Arrival;
use super::clocks::Clocks;
use super::copies::Copies;
use super::mbarrier::Mbarriers;
use super::proxy::Proxy;
use super::proxy_device::Open;
use super::values::Values;
use super::{cluster, global, shared};
use crate::lower::program::Program;
use crate::lower::sync::BARRIERS;
use std::collections::HashMap;

/// The state of one block or cluster: warps, barriers and memories of its blocks one after the
/// other.
#[derive(Debug)]
pub(crate) struct BlockState {
    pub(crate) clocks: Clocks,
    /// Shared memory, by rank.
    pub(crate) shared: Vec<shared::Shadow>,
    pub(crate) seen: global::Seen,
    /// Arrivals at each barrier since it last completed.
    pub(crate) arrivals: Vec<Vec<Arrival>>,
    /// What is unknown in the registers of each warp.
    pub(crate) values: Vec<Values>,
    /// By rank.
    pub(crate) copies: Vec<Copies>,
    /// By rank.
    pub(crate) proxies: Vec<Proxy>,
    /// Writes to device memory that not all proxies know of.
    pub(crate) open: Open,
    /// By rank.
    pub(crate) mbarriers: Vec<Mbarriers>,
    /// The barrier of the cluster.
    pub(crate) barrier: cluster::Barrier,
    /// Accesses of other blocks, by rank.
    pub(crate) visits: Vec<cluster::Visits>,
    /// Threads that have not exited, by rank.
    pub(crate) live: Vec<u32>,
}

/// The blocks that run on one worker.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// The one looked up last.
    current: Option<(u64, Box<BlockState>)>,
    others: HashMap<u64, Box<BlockState>>,
    /// One that has ended, for the next.
    spare: Option<Box<BlockState>>,
}

impl Blocks {
    /// A block or cluster of `size` blocks begins with `block`.
    pub(crate) fn start(
        &mut self,
        program: &Program,
        block: u64,
        warps: u32,
        threads: u32,
        size: u32,
    ) {
        let barriers = BARRIERS * size as usize;
        let clocks = Clocks::new(warps * size, barriers).of_blocks(warps, threads);
        let each = 0..size;
        let state = match self.spare.take() {
            Some(mut state) => {
                state.clocks = clocks;
                state.shared.iter_mut().for_each(shared::Shadow::restart);
                state.seen.restart();
                state.arrivals.iter_mut().for_each(Vec::clear);
                state.values.iter_mut().for_each(Values::restart);
                state.copies.fill_with(Copies::default);
                state.proxies.iter_mut().for_each(Proxy::restart);
                state.open.restart();
                state.mbarriers.iter_mut().for_each(Mbarriers::restart);
                state.barrier = cluster::Barrier::default();
                state.visits.fill_with(cluster::Visits::default);
                state.live.fill(threads);
                state
            }
            None => Box::new(BlockState {
                clocks,
                shared: each.clone().map(|_| shared::Shadow::default()).collect(),
                seen: global::Seen::default(),
                arrivals: vec![Vec::new(); barriers],
                values: (0..warps * size).map(|_| Values::new(program)).collect(),
                copies: each.clone().map(|_| Copies::default()).collect(),
                proxies: each.clone().map(|_| Proxy::default()).collect(),
                open: Open::default(),
                mbarriers: each.clone().map(|_| Mbarriers::default()).collect(),
                barrier: cluster::Barrier::default(),
                visits: each.map(|_| cluster::Visits::default()).collect(),
                live: vec![threads; size as usize],
            }),
        };
        if let Some((index, old)) = self.current.replace((block, state)) {
            self.others.insert(index, old);
        }
    }

    pub(crate) fn end(&mut self, block: u64) {
        let current = self.current.take_if(|(index, _)| *index == block);
        self.spare = match current {
            Some((_, state)) => Some(state),
            None => self.others.remove(&block),
        };
    }

    /// The state of a block that was started.
    #[inline(always)]
    pub(crate) fn get(&mut self, block: u64) -> Option<&mut BlockState> {
        if self
            .current
            .as_ref()
            .is_none_or(|(index, _)| *index != block)
        {
            let state = self.others.remove(&block)?;
            if let Some((index, old)) = self.current.replace((block, state)) {
                self.others.insert(index, old);
            }
        }
        self.current.as_mut().map(|(_, state)| &mut **state)
    }
}
