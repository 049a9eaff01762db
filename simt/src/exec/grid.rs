//! A grid: blocks handed to the cores of the host, in order.

use super::block::{BlockFault, Resident, Slice};
use super::fault::FaultKind;
use super::observer::Observer;
use super::step::Env;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Instructions a block runs before a worker turns to another block. Blocks that wait for each
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

/// Runs all blocks; `observer` makes an observer for each worker, `merge` takes it back.
pub(crate) fn run<O: Observer + Send>(
    env: &Env<'_>,
    limits: Limits,
    make: impl Fn() -> O + Sync,
) -> (u64, Vec<O>, Option<(u64, BlockFault)>) {
    let blocks: u64 = env.shape.grid.iter().map(|n| u64::from(*n)).product();
    let workers = if env.alone {
        1
    } else {
        rayon::current_num_threads().max(1)
    };
    let workers = (workers as u64).min(blocks).max(1);
    let shared = Shared {
        next: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        fault: Mutex::new(None),
    };
    let observers: Vec<O> = if workers == 1 {
        vec![work(env, limits, &shared, blocks, &make, 1)]
    } else {
        use rayon::prelude::*;
        let each = (0..workers).into_par_iter();
        each.map(|_| work(env, limits, &shared, blocks, &make, workers))
            .collect()
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
    blocks: u64,
    make: &impl Fn() -> O,
    workers: u64,
) -> O {
    let mut observer = make();
    let most = (limits.resident_bytes / workers / Resident::bytes(env).max(1)).clamp(1, 4096);
    let mut active: VecDeque<Resident> = VecDeque::new();
    let mut spare: Option<Resident> = None;
    let mut fresh = true;
    loop {
        // A new block is begun when none runs here, or when those that run seem to wait.
        if fresh && (active.len() as u64) < most {
            let index = shared.next.fetch_add(1, Relaxed);
            if index < blocks {
                let resident = match spare.take() {
                    Some(mut resident) => {
                        resident.restart(env, index);
                        resident
                    }
                    None => Resident::new(env, index),
                };
                if O::ACTIVE {
                    observer.block_start(index, env.shape.warps());
                }
                active.push_front(resident);
            }
        }
        let Some(mut resident) = active.pop_front() else {
            return observer;
        };
        if shared.stop.load(Relaxed) && fault_before(shared, resident.block.index) {
            continue;
        }
        let before = resident.block.steps;
        let result = resident.run(env, &mut observer, TURN);
        let spent = resident.block.steps - before;
        let total = shared.steps.fetch_add(spent, Relaxed) + spent;
        match result {
            Ok(Slice::Done) => {
                if O::ACTIVE {
                    observer.block_end(resident.block.index);
                }
                spare = Some(resident);
                fresh = true;
            }
            Ok(Slice::More) => {
                if total > limits.steps {
                    let kind = FaultKind::Steps {
                        limit: limits.steps,
                    };
                    let raised = super::fault::Raised::new(kind, 0);
                    let pc = resident
                        .warps
                        .iter()
                        .find_map(|w| w.splits.first())
                        .map(|s| s.pc);
                    raise(
                        shared,
                        resident.block.index,
                        BlockFault {
                            raised,
                            warp: 0,
                            pc,
                        },
                    );
                    continue;
                }
                active.push_back(resident);
                fresh = true;
            }
            Err(fault) => raise(shared, resident.block.index, fault),
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
