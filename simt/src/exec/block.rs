//! A block: its warps, shared memory and barriers.

use super::cluster::Cluster;
use super::collective::{self, barrier_number};
use super::fault::{FaultKind, Raised};
use super::observer::{At, Observer};
use super::step::{self, Env, Flow, Random};
use super::warp::{State, Warp};
use crate::lower::emit::RESERVED;
use crate::lower::sync::BarrierKind;
use crate::memory::bytes::Bytes;

/// One of the sixteen barriers.
#[derive(Clone, Debug, Default)]
struct Barrier {
    count: Option<u32>,
    /// True predicates and arrivals of a reducing barrier.
    truths: u32,
    voters: u32,
    /// Lanes that have arrived, by warp.
    arrivals: Vec<(u32, u32)>,
}

impl Barrier {
    /// Threads that have arrived. The hardware counts whole warps, whatever lanes have exited;
    /// lanes that come apart count one by one until the last has come.
    fn arrived(&self, warps: &[Warp]) -> u32 {
        let count = |(warp, mask): &(u32, u32)| {
            let live = warps[*warp as usize].live;
            if mask & live == live {
                32
            } else {
                mask.count_ones()
            }
        };
        self.arrivals.iter().map(count).sum()
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
    /// Barriers at which lanes arrived since they were last looked at, one bit each.
    touched: u32,
    /// Threads of the warps that have not exited, whole warps.
    live: u32,
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
            barriers: vec![Barrier::default(); crate::lower::sync::BARRIERS],
            touched: 0,
            live: 32 * env.shape.warps(),
        };
        let warps = (0..env.shape.warps())
            .map(|w| Warp::new(program, &env.shape, index, w))
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
        self.block
            .barriers
            .iter_mut()
            .for_each(|b| *b = Barrier::default());
        self.warps
            .iter_mut()
            .for_each(|w| w.start(env.program, &env.shape, index));
        self.random = Random(env.schedule.seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        self.next = 0;
    }

    /// Bytes it occupies.
    pub(crate) fn bytes(env: &Env<'_>) -> u64 {
        let p = env.program;
        let shared = p.dynamic_offset + u64::from(env.shape.dynamic_shared);
        let warp = u64::from(p.planes) * 128 + p.local_bytes * 64;
        2 * shared + warp * u64::from(env.shape.warps())
    }

    /// Runs for about `budget` instructions.
    pub(crate) fn run<O: Observer>(
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
            let at = self.next % count;
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
    fn settle<O: Observer>(&mut self, observer: &mut O) -> bool {
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
            // Before they are counted: no more than this.
            let most = 32 * barrier.arrivals.len() as u32;
            if most == 0 || most < expected || barrier.arrived(&self.warps) < expected {
                continue;
            }
            let mut done = std::mem::take(barrier);
            any = true;
            if O::ACTIVE {
                let warps: Vec<u32> = done.arrivals.iter().map(|(warp, _)| *warp).collect();
                observer.barrier_complete(block.index, id as u32, &warps);
            }
            for warp in &mut self.warps {
                open(warp, id as u32, &done);
            }
            done.arrivals.clear();
            barrier.arrivals = done.arrivals;
        }
        any
    }
}

/// Lets the lanes of a warp that wait at a barrier go on.
fn open(warp: &mut Warp, id: u32, done: &Barrier) {
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

/// Lanes arrive at a barrier of the block.
#[allow(clippy::too_many_arguments, reason = "the operands of the instruction")]
pub(crate) fn arrive<O: Observer>(
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: usize,
    here: At,
    kind: BarrierKind,
    id: u16,
    count: Option<u16>,
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
    let barrier = &mut block.barriers[number];
    barrier.count = barrier.count.or(count);
    let of_warp = |(w, _): &&mut (u32, u32)| *w == warp.index;
    match barrier.arrivals.iter_mut().find(of_warp) {
        Some((_, mask)) => *mask |= here.mask,
        None => barrier.arrivals.push((warp.index, here.mask)),
    }
    if let BarrierKind::Popc { p, .. } | BarrierKind::Logic { p, .. } = kind {
        let truths = warp.registers.predicates[usize::from(p)] & here.mask;
        barrier.truths += truths.count_ones();
        barrier.voters += here.mask.count_ones();
    }
    block.touched |= 1 << number;
    if kind == BarrierKind::Arrive {
        return Ok(Flow::Next);
    }
    warp.splits[at].state = State::Barrier { id: number as u32 };
    if collective::barrier_result(kind).is_some() {
        warp.reductions.push((here.pc, kind));
    }
    Ok(Flow::Choose)
}
