//! Clusters: blocks that run together, reach each other's shared memory, and meet at a barrier
//! of their own. A block alone is a cluster of one.
//!
//! The blocks of a cluster take turns on one core of the host. What they share is lent to the
//! block whose turn it is, so that nothing is locked.

use super::access::{self, window_of};
use super::block::{Block, BlockFault, Resident, Slice};
use super::fault::{FaultKind, Raised};
use super::observer::{At, Observer};
use super::registers::LANES;
use super::step::{Env, Flow, Random, bits};
use super::warp::{Shape, State, Warp};
use crate::lower::program::{MemoryOp, Program};
use crate::memory::bytes::Bytes;
use crate::memory::windows::PLACE_BITS;
use crate::ptx::types::Space;

/// What the blocks of a cluster share.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// Shared memory of the blocks, by rank; that of the block whose turn it is, is with it.
    shared: Vec<Bytes>,
    /// Blocks whose threads have all exited.
    ended: Vec<bool>,
    /// Lanes that have arrived at the cluster's barrier in this phase, by rank and warp.
    arrived: Vec<Vec<u32>>,
    /// Lanes that have arrived and not waited yet.
    owing: Vec<Vec<u32>>,
}

impl Cluster {
    fn start(&mut self, size: usize, warps: usize) {
        self.ended = vec![false; size];
        self.arrived = vec![vec![0; warps]; size];
        self.owing = self.arrived.clone();
        self.shared.resize_with(size, Bytes::default);
    }
}

/// The rank that a shared address names, if it names one.
fn named(address: u64) -> Option<u32> {
    let part = (address >> PLACE_BITS & 0xff) as u32;
    part.checked_sub(1)
}

/// The rank and the place there of a shared address.
pub(crate) fn resolve(block: &Block, address: u64) -> (u32, u64) {
    match named(address) {
        Some(rank) => (rank, address & ((1 << PLACE_BITS) - 1)),
        None => (block.rank, address),
    }
}

/// The shared address of a place in the block of a rank.
pub(crate) fn address(rank: u32, place: u64) -> u64 {
    u64::from(rank + 1) << PLACE_BITS | place
}

/// Does something with the shared memory of another block of the cluster in place of the own.
pub(crate) fn at_peer<O: Observer, R>(
    env: &Env<'_>,
    block: &mut Block,
    observer: &mut O,
    rank: u32,
    lane: usize,
    place: u64,
    work: impl FnOnce(&mut Block, &mut O) -> Result<R, Raised>,
) -> Result<R, Raised> {
    if rank == block.rank {
        return work(block, observer);
    }
    let at = rank as usize;
    let ended = block
        .cluster
        .as_ref()
        .and_then(|c| c.ended.get(at).copied());
    match ended {
        Some(false) => {}
        Some(true) => return Err(Raised::new(FaultKind::BlockEnded { rank }, lane as u32)),
        None => {
            let address = address(rank, place);
            return Err(access::shared_outside(env, block, address, 1, false, lane));
        }
    }
    let exchange = |block: &mut Block| {
        if let Some(cluster) = &mut block.cluster {
            std::mem::swap(&mut cluster.shared[at], &mut block.shared);
        }
    };
    exchange(block);
    if O::ACTIVE {
        observer.peer(Some(rank));
    }
    let result = work(block, observer);
    if O::ACTIVE {
        observer.peer(None);
    }
    exchange(block);
    result
}

/// Whether any lane's shared address names a block.
#[inline(always)]
pub(crate) fn any_named(mask: u32, targets: &[u64; LANES]) -> bool {
    let all = targets.iter().enumerate().fold(0, |all, (lane, address)| {
        all | if mask >> lane & 1 != 0 { *address } else { 0 }
    });
    all >> PLACE_BITS != 0
}

/// A shared access whose addresses may name blocks.
pub(crate) fn access<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    targets: &[u64; LANES],
) -> Result<(), Raised> {
    let mut left = at.mask;
    while left != 0 {
        let first = left.trailing_zeros() as usize;
        let (rank, place) = resolve(block, targets[first]);
        let group = bits(left)
            .filter(|lane| resolve(block, targets[*lane]).0 == rank)
            .fold(0, |m, lane| m | 1 << lane);
        let mut places = *targets;
        bits(group).for_each(|lane| places[lane] = resolve(block, targets[lane]).1);
        let here = At { mask: group, ..at };
        at_peer(
            env,
            block,
            observer,
            rank,
            first,
            place,
            |block, observer| access::shared_at(env, block, warp, observer, op, here, &places),
        )?;
        left &= !group;
    }
    Ok(())
}

/// The shared address of a lane's operand: offsets of the window as they are.
pub(crate) fn shared_address(named: Space, address: u64, lane: usize) -> Result<u64, Raised> {
    if named != Space::Generic {
        return Ok(address);
    }
    let (actual, offset) = window_of(address);
    if actual == Space::Shared {
        return Ok(offset);
    }
    let kind = FaultKind::WrongSpace {
        named: Space::Shared,
        address,
        actual,
    };
    Err(Raised::new(kind, lane as u32))
}

/// Lanes arrive at the barrier of the cluster.
pub(crate) fn arrive<O: Observer>(
    block: &mut Block,
    warp: &Warp,
    observer: &mut O,
    here: At,
    release: bool,
) -> Result<Flow, Raised> {
    let (rank, index) = (block.rank as usize, warp.index as usize);
    let Some(cluster) = &mut block.cluster else {
        return Ok(Flow::Next);
    };
    let owing = &mut cluster.owing[rank][index];
    if *owing & here.mask != 0 {
        let twice = (*owing & here.mask).trailing_zeros();
        return Err(Raised::new(
            FaultKind::ClusterBarrier { arrives: true },
            twice,
        ));
    }
    *owing |= here.mask;
    cluster.arrived[rank][index] |= here.mask;
    if O::ACTIVE {
        observer.cluster_arrive(here, release);
    }
    Ok(Flow::Next)
}

/// Lanes wait at the barrier of the cluster for the phase in which they arrived.
pub(crate) fn wait<O: Observer>(
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: usize,
    here: At,
) -> Result<Flow, Raised> {
    let (rank, index) = (block.rank as usize, warp.index as usize);
    let Some(cluster) = &mut block.cluster else {
        return Ok(Flow::Next);
    };
    let owing = &mut cluster.owing[rank][index];
    if here.mask & !*owing != 0 {
        let early = (here.mask & !*owing).trailing_zeros();
        return Err(Raised::new(
            FaultKind::ClusterBarrier { arrives: false },
            early,
        ));
    }
    if cluster.arrived[rank][index] & here.mask != 0 {
        warp.splits[at].state = State::Cluster;
        return Ok(Flow::Choose);
    }
    *owing &= !here.mask;
    if O::ACTIVE {
        observer.cluster_wait(here);
    }
    Ok(Flow::Next)
}

/// The blocks of one cluster.
pub(crate) struct Gang {
    members: Vec<Resident>,
    done: Vec<bool>,
    cluster: Box<Cluster>,
    random: Random,
    next: usize,
}

/// Instructions a block of several runs before the next one's turn.
const TURN: u64 = 1 << 14;

impl Gang {
    /// The indices of the blocks of a cluster, by rank.
    fn blocks(shape: &Shape, index: u64) -> impl Iterator<Item = u64> + '_ {
        let clusters: [u32; 3] = std::array::from_fn(|i| shape.grid[i] / shape.cluster[i]);
        let of = Shape::coordinates(index, clusters);
        (0..shape.cluster_size()).map(move |rank| {
            let within = Shape::coordinates(u64::from(rank), shape.cluster);
            let at =
                |i: usize| u64::from(of[i]) * u64::from(shape.cluster[i]) + u64::from(within[i]);
            let [x, y] = [u64::from(shape.grid[0]), u64::from(shape.grid[1])];
            at(0) + x * (at(1) + y * at(2))
        })
    }

    pub(crate) fn new(env: &Env<'_>, index: u64) -> Self {
        let members: Vec<Resident> = Self::blocks(env.shape, index)
            .map(|block| Resident::new(env, block))
            .collect();
        let mut gang = Self {
            done: Vec::new(),
            members,
            cluster: Box::default(),
            random: Random(0),
            next: 0,
        };
        gang.start(env, index);
        gang
    }

    /// Makes it ready for another cluster of the same launch.
    pub(crate) fn restart(&mut self, env: &Env<'_>, index: u64) {
        (0..self.members.len()).for_each(|at| self.exchange(at));
        for (member, block) in self.members.iter_mut().zip(Self::blocks(env.shape, index)) {
            member.restart(env, block);
        }
        self.start(env, index);
    }

    fn start(&mut self, env: &Env<'_>, index: u64) {
        let size = self.members.len();
        self.cluster.start(size, env.shape.warps() as usize);
        (0..size).for_each(|at| self.exchange(at));
        self.done = vec![false; size];
        self.random = Random(env.schedule.seed ^ index.wrapping_mul(0xa076_1d64_78bd_642f));
        self.next = 0;
        for (rank, member) in self.members.iter_mut().enumerate() {
            member.block.rank = rank as u32;
        }
    }

    /// The block of rank 0.
    pub(crate) fn first(&self) -> u64 {
        self.members[0].block.index
    }

    /// Indices of its blocks.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u64> + '_ {
        self.members.iter().map(|m| m.block.index)
    }

    /// Instructions run by all its blocks.
    pub(crate) fn steps(&self) -> u64 {
        self.members.iter().map(|m| m.block.steps).sum()
    }

    /// Where some warp of it stands.
    pub(crate) fn somewhere(&self) -> Option<u32> {
        let mut warps = self.members.iter().flat_map(|m| &m.warps);
        warps.find_map(|w| w.splits.first()).map(|s| s.pc)
    }

    /// Bytes it occupies.
    pub(crate) fn bytes(program: &Program, shape: &Shape) -> u64 {
        Resident::bytes(program, shape) * u64::from(shape.cluster_size())
    }

    /// Runs for about `budget` instructions.
    pub(crate) fn run<O: Observer>(
        &mut self,
        env: &Env<'_>,
        observer: &mut O,
        budget: u64,
    ) -> Result<Slice, (u64, BlockFault)> {
        let count = self.members.len();
        let alone = count == 1;
        let until = self.steps() + budget;
        let mut idle = 0;
        loop {
            let explore = env.schedule.explore && !alone;
            let at = if explore {
                self.random.below(count)
            } else {
                self.next % count
            };
            self.next = at + 1;
            if !self.done[at] {
                let turn = match (alone, explore) {
                    (true, _) => budget,
                    (_, true) => 1 + self.random.below(2000) as u64,
                    _ => TURN,
                };
                let before = self.members[at].block.steps;
                let slice = self.turn(env, observer, at, turn)?;
                self.done[at] = matches!(slice, Slice::Done);
                self.cluster.ended[at] |= self.done[at];
                let waits = matches!(slice, Slice::Waiting);
                if !waits || self.members[at].block.steps != before {
                    idle = 0;
                }
            }
            if self.meet(observer) {
                idle = 0;
            }
            if self.done.iter().all(|d| *d) {
                return Ok(Slice::Done);
            }
            idle += 1;
            // With blocks picked at random, idle ones may be picked over and over.
            if idle > count && (!explore || self.stuck(env, observer)?) {
                let (index, member) = self.waiting();
                return Err((index, member.deadlock(env)));
            }
            if self.steps() >= until {
                return Ok(Slice::More);
            }
        }
    }

    /// One block's turn.
    fn turn<O: Observer>(
        &mut self,
        env: &Env<'_>,
        observer: &mut O,
        at: usize,
        budget: u64,
    ) -> Result<Slice, (u64, BlockFault)> {
        self.exchange(at);
        let cluster = std::mem::take(&mut self.cluster);
        let member = &mut self.members[at];
        member.block.cluster = Some(cluster);
        let result = member.run(env, observer, budget);
        let index = member.block.index;
        if let Some(cluster) = member.block.cluster.take() {
            self.cluster = cluster;
        }
        self.exchange(at);
        result.map_err(|fault| (index, fault))
    }

    /// Every block once more, to see whether none can go on.
    fn stuck<O: Observer>(
        &mut self,
        env: &Env<'_>,
        observer: &mut O,
    ) -> Result<bool, (u64, BlockFault)> {
        for at in 0..self.members.len() {
            if self.done[at] {
                continue;
            }
            let before = self.members[at].block.steps;
            let slice = self.turn(env, observer, at, TURN)?;
            self.done[at] = matches!(slice, Slice::Done);
            self.cluster.ended[at] |= self.done[at];
            if !matches!(slice, Slice::Waiting) || self.members[at].block.steps != before {
                return Ok(false);
            }
        }
        Ok(!self.meet(observer))
    }

    /// Puts a block's shared memory where others reach it, or back.
    fn exchange(&mut self, at: usize) {
        let own = &mut self.members[at].block.shared;
        std::mem::swap(own, &mut self.cluster.shared[at]);
    }

    fn waiting(&self) -> (u64, &Resident) {
        let at = self.done.iter().position(|d| !d).unwrap_or(0);
        (self.members[at].block.index, &self.members[at])
    }

    /// Ends the phase of the barrier when every live lane has arrived; true if it did.
    fn meet<O: Observer>(&mut self, observer: &mut O) -> bool {
        let cluster = &mut self.cluster;
        let lanes = || cluster.arrived.iter().flatten();
        if lanes().all(|mask| *mask == 0) {
            return false;
        }
        let warps = self.members.iter().flat_map(|m| &m.warps);
        if warps
            .zip(lanes())
            .any(|(warp, arrived)| warp.live & !arrived != 0)
        {
            return false;
        }
        cluster.arrived.iter_mut().flatten().for_each(|m| *m = 0);
        if O::ACTIVE {
            observer.cluster_complete(self.members[0].block.index);
        }
        for (member, owing) in self.members.iter_mut().zip(&mut cluster.owing) {
            for (warp, owing) in member.warps.iter_mut().zip(owing) {
                for split in &mut warp.splits {
                    if split.state != State::Cluster {
                        continue;
                    }
                    if O::ACTIVE {
                        observer.cluster_wait(At {
                            block: member.block.index,
                            warp: warp.index,
                            pc: split.pc,
                            mask: split.mask,
                        });
                    }
                    *owing &= !split.mask;
                    split.state = State::Ready;
                    split.pc += 1;
                }
            }
        }
        true
    }
}
