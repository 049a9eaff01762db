//! A block: its warps, shared memory and barriers.

use super::cluster::Cluster;
use super::collective::{self, barrier_number};
use super::fault::{FaultKind, Raised};
use super::observer::{At, Observer};
use super::step::{self, Env, Flow, Random};
use super::warp::{Shape, State, Warp};
use crate::lower::emit::RESERVED;
use crate::lower::program::Program;
use crate::lower::sync::{BARRIERS, BarrierKind, SyncOp};
use crate::memory::bytes::Bytes;
use pulp::NullaryFnOnce;

/// Warps of a block, at most.
const WARPS: usize = 32;

/// One of the sixteen barriers.
#[derive(Clone, Debug, Default)]
struct Barrier {
    count: Option<u32>,
    /// True predicates and arrivals of a reducing barrier.
    truths: u32,
    voters: u32,
    /// Warps of which lanes have arrived, one bit each.
    warps: u32,
    /// Those of which some lane was missing when others arrived.
    apart: u32,
    /// Which lanes, of those warps.
    lanes: [u32; WARPS],
}

impl Barrier {
    /// Threads that have arrived. The hardware counts whole warps, whatever lanes have exited;
    /// lanes that come apart count one by one until the last has come.
    fn arrived(&self, warps: &[Warp]) -> u32 {
        if self.apart == 0 {
            return 32 * self.warps.count_ones();
        }
        let count = |warp: usize| {
            let (mask, live) = (self.lanes[warp], warps[warp].live);
            if mask & live == live {
                32
            } else {
                mask.count_ones()
            }
        };
        step::bits(self.warps).map(count).sum()
    }

    /// Notes that lanes of a warp arrive.
    #[inline(always)]
    fn add(&mut self, warp: &Warp, mask: u32) {
        let (missing, warp) = (warp.live & !mask, warp.index);
        let (at, bit) = (warp as usize % WARPS, 1 << (warp % WARPS as u32));
        let before = if self.warps & bit == 0 {
            0
        } else {
            self.lanes[at]
        };
        self.lanes[at] = before | mask;
        self.warps |= bit;
        self.apart |= if missing == 0 { 0 } else { bit };
    }

    /// Ready for the next ones to arrive.
    fn clear(&mut self) {
        (self.count, self.warps, self.apart) = (None, 0, 0);
        (self.truths, self.voters) = (0, 0);
    }
}

/// What belongs to a block rather than to a warp.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) index: u64,
    /// Its place in its cluster.
    pub(crate) rank: u32,
    /// What it shares with the blocks of its cluster; here while it runs.
    pub(crate) cluster: Option<Box<Cluster>>,
    pub(crate) shared: Bytes,
    /// Instructions run by all warps.
    pub(crate) steps: u64,
    /// Whether lanes exited since barriers were last looked at.
    pub(crate) exits: bool,
    barriers: Vec<Barrier>,
    /// Barriers that may be complete since they were last looked at, one bit each.
    touched: u32,
    /// Threads of the warps that have not exited, whole warps.
    live: u32,
}

impl Block {
    /// Notes that lanes of a warp arrive, and that the barrier is to be looked at if these may be
    /// all.
    #[inline(always)]
    fn enter(&mut self, number: usize, warp: &Warp, mask: u32) {
        let barrier = &mut self.barriers[number];
        barrier.add(warp, mask);
        let most = 32 * barrier.warps.count_ones();
        let expected = barrier.count.unwrap_or(self.live);
        self.touched |= u32::from(most >= expected) << number;
    }
}

/// How a slice of a block ended.
pub(crate) enum Slice {
    Done,
    More,
    /// Nothing can go on before the cluster's barrier completes.
    Waiting,
}

/// A fault and where it was raised.
pub(crate) struct BlockFault {
    pub(crate) raised: Raised,
    pub(crate) warp: u32,
    pub(crate) pc: Option<u32>,
}

/// A block with its warps.
pub(crate) struct Resident {
    pub(crate) block: Block,
    pub(crate) warps: Vec<Warp>,
    random: Random,
    next: usize,
}

/// The system's part of shared memory begins as zeros: groups of several warps count in it without
/// setting it up.
fn clear_reserved(env: &Env<'_>, shared: &mut Bytes) {
    let start = env.program.reserved.into_iter();
    for at in start.flat_map(|start| (start..start + RESERVED).step_by(8)) {
        shared.store(at as usize, 8, 0);
        shared.mark(at as usize, 8, 0xff);
    }
}

/// Instructions a warp runs before the next warp's turn.
const QUANTUM: u32 = 4096;

impl Resident {
    pub(crate) fn new(env: &Env<'_>, index: u64) -> Self {
        let program = env.program;
        let shared = program.dynamic_offset as usize + env.shape.dynamic_shared as usize;
        let mut shared = Bytes::poisoned(shared);
        clear_reserved(env, &mut shared);
        let block = Block {
            index,
            rank: 0,
            cluster: None,
            shared,
            steps: 0,
            exits: false,
            barriers: vec![Barrier::default(); BARRIERS],
            touched: 0,
            live: 32 * env.shape.warps(),
        };
        let warps = (0..env.shape.warps())
            .map(|w| Warp::new(program, env.shape, index, w))
            .collect();
        let random = Random(env.schedule.seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        Self {
            block,
            warps,
            random,
            next: 0,
        }
    }

    /// Makes it ready for another block of the same launch.
    pub(crate) fn restart(&mut self, env: &Env<'_>, index: u64) {
        self.block.index = index;
        self.block.shared.reset();
        clear_reserved(env, &mut self.block.shared);
        self.block.steps = 0;
        self.block.exits = false;
        (self.block.touched, self.block.live) = (0, 32 * env.shape.warps());
        self.block.barriers.iter_mut().for_each(Barrier::clear);
        self.warps
            .iter_mut()
            .for_each(|w| w.restart(env.program, env.shape, index));
        self.random = Random(env.schedule.seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        self.next = 0;
    }

    /// Bytes it occupies.
    pub(crate) fn bytes(p: &Program, shape: &Shape) -> u64 {
        let shared = p.dynamic_offset + u64::from(shape.dynamic_shared);
        let warp = u64::from(p.planes) * 128 + p.local_bytes * 64;
        2 * shared + warp * u64::from(shape.warps())
    }

    /// Runs for about `budget` instructions, with the vector units of the host, which are chosen
    /// here and not for each warp or instruction.
    pub(crate) fn run<O: Observer>(
        &mut self,
        env: &Env<'_>,
        observer: &mut O,
        budget: u64,
    ) -> Result<Slice, BlockFault> {
        env.arch.dispatch(Turns {
            resident: self,
            env,
            observer,
            budget,
        })
    }

    #[inline(always)]
    fn turns<O: Observer>(
        &mut self,
        env: &Env<'_>,
        observer: &mut O,
        budget: u64,
    ) -> Result<Slice, BlockFault> {
        let count = self.warps.len();
        let mut idle = 0;
        let mut spent = 0u64;
        if env.schedule.explore {
            self.next = self.random.below(count);
        }
        loop {
            let at = if self.next < count { self.next } else { 0 };
            self.next = if env.schedule.explore {
                self.random.below(count)
            } else {
                at + 1
            };
            let quantum = if env.schedule.explore {
                1 + self.random.below(200) as u32
            } else {
                QUANTUM
            };
            let warp = &mut self.warps[at];
            let ran = step::run(
                env,
                &mut self.block,
                warp,
                observer,
                &mut self.random,
                quantum,
            )
            .map_err(|(raised, pc)| BlockFault {
                raised,
                warp: at as u32,
                pc: Some(pc),
            })?;
            self.block.steps += u64::from(ran);
            spent += u64::from(ran);
            let settled = self.settle(observer);
            if ran > 0 || settled {
                idle = 0;
            } else {
                idle += 1;
            }
            if idle >= count && (!env.schedule.explore || self.nothing_ready()) {
                if self.warps.iter().all(Warp::done) {
                    return Ok(Slice::Done);
                }
                if self.awaits_cluster() {
                    return Ok(Slice::Waiting);
                }
                return Err(self.deadlock(env));
            }
            if spent >= budget {
                return Ok(Slice::More);
            }
        }
    }

    fn nothing_ready(&self) -> bool {
        !self
            .warps
            .iter()
            .any(|w| w.splits.iter().any(|s| s.state == State::Ready))
    }

    fn awaits_cluster(&self) -> bool {
        let mut splits = self.warps.iter().flat_map(|w| &w.splits);
        splits.any(|s| s.state == State::Cluster)
    }

    /// The fault of a block in which nothing can go on.
    pub(crate) fn deadlock(&self, env: &Env<'_>) -> BlockFault {
        let mut waiting: Vec<String> = Vec::new();
        let mut first = None;
        for warp in self.warps.iter() {
            for split in &warp.splits {
                let line = env.program.sites[split.pc as usize].line;
                let what = match split.state {
                    State::Barrier { id } => format!("barrier {id}"),
                    State::Lanes { member } => {
                        let missing = member & warp.live & !split.mask;
                        format!("lanes {missing:#010x} of its warp")
                    }
                    State::Cluster => "the barrier of its cluster".to_owned(),
                    State::Ready => "nothing".to_owned(),
                };
                first = first.or(Some((warp.index, split.pc, split.mask.trailing_zeros())));
                let lanes = split.mask.count_ones();
                waiting.push(format!(
                    "warp {} ({lanes} lanes) at line {line} for {what}",
                    warp.index
                ));
            }
        }
        waiting.truncate(8);
        let (warp, pc, lane) = first.unwrap_or((0, 0, 0));
        let raised = Raised::new(FaultKind::Deadlock { waiting }, lane);
        BlockFault {
            raised,
            warp,
            pc: Some(pc),
        }
    }

    /// Lets go what a completed barrier holds; true if it did.
    #[inline(always)]
    fn settle<O: Observer>(&mut self, observer: &mut O) -> bool {
        (self.block.touched != 0 || self.block.exits) && self.complete(observer)
    }

    #[inline(never)]
    fn complete<O: Observer>(&mut self, observer: &mut O) -> bool {
        let block = &mut self.block;
        let mut touched = std::mem::take(&mut block.touched);
        if std::mem::take(&mut block.exits) {
            // Fewer are waited for.
            block.live = self.warps.iter().filter(|w| w.live != 0).map(|_| 32).sum();
            touched = (1 << block.barriers.len()) - 1;
        }
        let live = block.live;
        let mut any = false;
        for id in step::bits(touched) {
            let barrier = &mut block.barriers[id];
            let expected = barrier.count.unwrap_or(live);
            if barrier.warps == 0 || barrier.arrived(&self.warps) < expected {
                continue;
            }
            any = true;
            if O::ACTIVE {
                observer.barrier_complete(block.index, id as u32);
            }
            for warp in step::bits(barrier.warps) {
                open(&mut self.warps[warp], id as u32, barrier);
            }
            barrier.clear();
        }
        any
    }
}

/// The turns of a block's warps.
struct Turns<'a, 'e, O> {
    resident: &'a mut Resident,
    env: &'a Env<'e>,
    observer: &'a mut O,
    budget: u64,
}

impl<O: Observer> NullaryFnOnce for Turns<'_, '_, O> {
    type Output = Result<Slice, BlockFault>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.resident.turns(self.env, self.observer, self.budget)
    }
}

/// Lets the lanes of a warp that wait at a barrier go on.
#[inline(always)]
fn open(warp: &mut Warp, id: u32, done: &Barrier) {
    if let [only] = &mut warp.splits[..]
        && warp.reductions.is_empty()
    {
        if only.state == (State::Barrier { id }) {
            (only.state, only.pc) = (State::Ready, only.pc + 1);
        }
        return;
    }
    open_parts(warp, id, done);
}

/// The same of a warp whose lanes are apart, or reduce something.
#[inline(never)]
fn open_parts(warp: &mut Warp, id: u32, done: &Barrier) {
    for i in 0..warp.splits.len() {
        if warp.splits[i].state == (State::Barrier { id }) {
            let mask = warp.splits[i].mask;
            let pc = warp.splits[i].pc;
            warp.splits[i].state = State::Ready;
            warp.splits[i].pc = pc + 1;
            if let Some(kind) = warp.take_reduction(pc) {
                match kind {
                    BarrierKind::Popc { d, .. } => {
                        let out = warp.registers.narrow_mut(d);
                        step::bits(mask).for_each(|lane| out[lane] = done.truths);
                    }
                    BarrierKind::Logic { d, and, .. } => {
                        let value = if and {
                            done.truths == done.voters
                        } else {
                            done.truths != 0
                        };
                        let bits = if value { u32::MAX } else { 0 };
                        collective::set_predicate(warp, d, mask, bits);
                    }
                    BarrierKind::Sync | BarrierKind::Arrive => {}
                }
            }
        }
    }
}

/// All lanes of a group arrive to wait for the whole block, and nothing else: the short way of
/// nearly every barrier. Whether it was that.
#[inline(always)]
pub(crate) fn wait<O: Observer>(
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: usize,
    here: At,
    op: &SyncOp,
) -> bool {
    let SyncOp::Barrier {
        kind: BarrierKind::Sync,
        id,
        count: None,
        ..
    } = op
    else {
        return false;
    };
    let number = warp.registers.narrow(*id)[here.mask.trailing_zeros() as usize % WARPS];
    if number as usize >= BARRIERS {
        return false;
    }
    if O::ACTIVE {
        observer.barrier_arrive(here, warp.live, number, None);
    }
    block.enter(number as usize, warp, here.mask);
    warp.splits[at].state = State::Barrier { id: number };
    true
}

/// Lanes arrive at a barrier of the block.
pub(crate) fn arrive<O: Observer>(
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: usize,
    here: At,
    (kind, id, count): (BarrierKind, u16, Option<u16>),
) -> Result<Flow, Raised> {
    let lane = here.mask.trailing_zeros();
    let first = lane as usize;
    let number = barrier_number(warp.registers.narrow(id)[first], lane)?;
    let count = count.map(|c| warp.registers.narrow(c)[first]);
    if let Some(count) = count.filter(|c| *c == 0 || *c % 32 != 0 || *c > 1024) {
        return Err(Raised::new(FaultKind::BarrierCount { count }, lane));
    }
    if O::ACTIVE {
        observer.barrier_arrive(here, warp.live, number as u32, count);
    }
    block.barriers[number].count = block.barriers[number].count.or(count);
    block.enter(number, warp, here.mask);
    let barrier = &mut block.barriers[number];
    if let BarrierKind::Popc { p, .. } | BarrierKind::Logic { p, .. } = kind {
        let truths = warp.registers.predicates[usize::from(p)] & here.mask;
        barrier.truths += truths.count_ones();
        barrier.voters += here.mask.count_ones();
    }
    if kind == BarrierKind::Arrive {
        return Ok(Flow::Next);
    }
    warp.splits[at].state = State::Barrier { id: number as u32 };
    if collective::barrier_result(kind).is_some() {
        warp.reductions.push((here.pc, kind));
    }
    Ok(Flow::Choose)
}
