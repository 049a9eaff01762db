//! A grid: clusters of blocks handed to the cores of the host, in order.

use super::block::{BlockFault, Slice};
use super::cluster::Gang;
use super::fault::FaultKind;
use super::observer::Observer;
use super::step::{Env, Schedule};
use super::warp::Shape;
use crate::lower::program::Program;
use crate::memory::bytes::Bytes;
use crate::memory::device::Device;
use crate::memory::region::View;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Instructions a cluster runs before a worker turns to another. Blocks that wait for each
/// other all get their turn this way, however few workers there are.
const TURN: u64 = 1 << 20;

/// Limits of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) steps: u64,
    pub(crate) resident_bytes: u64,
}

struct Shared {
    next: AtomicU64,
    steps: AtomicU64,
    stop: AtomicBool,
    /// The fault of the first block, in order of the grid, that has one.
    fault: Mutex<Option<(u64, BlockFault)>>,
}

/// A launch, before its memory is lent to whoever runs its blocks.
pub(crate) struct Setting<'a> {
    pub(crate) program: &'a Program,
    pub(crate) params: &'a Bytes,
    pub(crate) constants: &'a Bytes,
    pub(crate) schedule: Schedule,
    pub(crate) shape: Shape,
    /// Whether one thread of the host must run all blocks.
    pub(crate) alone: bool,
    pub(crate) limits: Limits,
}

impl Setting<'_> {
    fn env<'v>(&'v self, device: &'v View<'v>) -> Env<'v> {
        Env {
            program: self.program,
            device,
            params: self.params,
            constants: self.constants,
            arch: pulp::Arch::new(),
            schedule: self.schedule,
            shape: &self.shape,
        }
    }
}

/// Runs all blocks; `make` makes an observer for each worker. Steps, the observers, and the fault.
pub(crate) fn run<O: Observer + Send>(
    setting: &Setting<'_>,
    device: &mut Device,
    make: impl Fn() -> O + Sync,
) -> (u64, Vec<O>, Option<(u64, BlockFault)>) {
    let (shape, limits) = (&setting.shape, setting.limits);
    let blocks: u64 = shape.grid.iter().map(|n| u64::from(*n)).product();
    let clusters = blocks / u64::from(shape.cluster_size());
    let workers = if setting.alone {
        1
    } else {
        rayon::current_num_threads().max(1)
    };
    let workers = (workers as u64).min(clusters).max(1);
    let shared = Shared {
        next: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        fault: Mutex::new(None),
    };
    let observers: Vec<O> = if workers == 1 {
        let own = device.own();
        let env = setting.env(&own);
        vec![work(&env, limits, &shared, clusters, &make, 1)]
    } else {
        use rayon::prelude::*;
        let lent = device.lend();
        let worker = |_| {
            let view = lent.view();
            let env = setting.env(&view);
            work(&env, limits, &shared, clusters, &make, workers)
        };
        (0..workers).into_par_iter().map(worker).collect()
    };
    let fault = shared
        .fault
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    (shared.steps.into_inner(), observers, fault)
}

fn work<O: Observer>(
    env: &Env<'_>,
    limits: Limits,
    shared: &Shared,
    clusters: u64,
    make: &impl Fn() -> O,
    workers: u64,
) -> O {
    let mut observer = make();
    let most = (limits.resident_bytes / workers / Gang::bytes(env.program, env.shape).max(1))
        .clamp(1, 4096);
    let mut active: VecDeque<Gang> = VecDeque::new();
    let mut spare: Option<Gang> = None;
    let mut fresh = true;
    loop {
        // A new block is begun when none runs here, or when those that run seem to wait.
        if fresh && (active.len() as u64) < most {
            let index = shared.next.fetch_add(1, Relaxed);
            if index < clusters {
                let gang = match spare.take() {
                    Some(mut gang) => {
                        gang.restart(env, index);
                        gang
                    }
                    None => Gang::new(env, index),
                };
                if O::ACTIVE {
                    let warps = env.shape.warps();
                    gang.indices().for_each(|b| observer.block_start(b, warps));
                }
                active.push_front(gang);
            }
        }
        let Some(mut gang) = active.pop_front() else {
            return observer;
        };
        if shared.stop.load(Relaxed) && fault_before(shared, gang.first()) {
            continue;
        }
        let before = gang.steps();
        let left = limits.steps.saturating_sub(shared.steps.load(Relaxed));
        let result = gang.run(env, &mut observer, TURN.min(left.saturating_add(1)));
        let spent = gang.steps() - before;
        let total = shared.steps.fetch_add(spent, Relaxed) + spent;
        match result {
            // What many short blocks need together counts, too.
            Ok(_) if total > limits.steps => {
                let kind = FaultKind::Steps {
                    limit: limits.steps,
                };
                let fault = BlockFault {
                    raised: super::fault::Raised::new(kind, 0),
                    warp: 0,
                    pc: gang.somewhere(),
                };
                raise(shared, gang.first(), fault);
            }
            Ok(Slice::Done) => {
                if O::ACTIVE {
                    gang.indices().for_each(|b| observer.block_end(b));
                }
                spare = Some(gang);
                fresh = true;
            }
            Ok(Slice::More | Slice::Waiting) => {
                active.push_back(gang);
                fresh = true;
            }
            Err((index, fault)) => raise(shared, index, fault),
        }
    }
}

fn fault_before(shared: &Shared, block: u64) -> bool {
    let fault = shared
        .fault
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    fault.as_ref().is_some_and(|(index, _)| *index <= block)
}

fn raise(shared: &Shared, block: u64, fault: BlockFault) {
    let mut first = shared
        .fault
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if first.as_ref().is_none_or(|(index, _)| block < *index) {
        *first = Some((block, fault));
    }
    shared.stop.store(true, Relaxed);
}
