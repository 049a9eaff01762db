//! One warp at a time: choose a group of lanes, run it until it must stop.

use super::block::Block;
use super::fault::{FaultKind, Raised};
use super::observer::{At, Observer};
use super::warp::{Split, State, Warp};
use super::{access, collective, misc, regular, straight};
use crate::lower::program::{Op, Program};
use crate::lower::sync::SyncOp;
use crate::memory::bytes::Bytes;
use crate::memory::region::View;
use pulp::Arch;

/// What all blocks of a launch share, as one worker has it.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    pub(crate) program: &'a Program,
    pub(crate) device: &'a View<'a>,
    pub(crate) params: &'a Bytes,
    pub(crate) constants: &'a Bytes,
    pub(crate) arch: Arch,
    pub(crate) schedule: Schedule,
    pub(crate) shape: &'a super::warp::Shape,
}

/// How groups, warps and quanta are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    /// Random choices at every opportunity, instead of the fast order.
    pub(crate) explore: bool,
}

/// A small generator of schedule decisions (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// What an instruction other than arithmetic does to the flow.
pub(crate) enum Flow {
    /// On to the next instruction.
    Next,
    /// The group changed; choose again.
    Choose,
}

/// Steps for which a group that waited long runs without giving way.
const FAIR: u32 = 256;

/// Chooses the group to run, merging those at one place. `None`: all wait.
#[inline(always)]
fn choose(warp: &mut Warp, priority: &[u32], random: &mut Random, explore: bool) -> Option<usize> {
    if let [only] = &warp.splits[..] {
        return (only.state == State::Ready).then_some(0);
    }
    choose_of_several(warp, priority, random, explore)
}

#[inline(never)]
fn choose_of_several(
    warp: &mut Warp,
    priority: &[u32],
    random: &mut Random,
    explore: bool,
) -> Option<usize> {
    merge(warp);
    let ready = |s: &Split| s.state == State::Ready;
    let count = warp.splits.iter().filter(|s| ready(s)).count();
    if count == 0 {
        return None;
    }
    let mut indices = (0..warp.splits.len()).filter(|i| ready(&warp.splits[*i]));
    if explore {
        return indices.nth(random.below(count));
    }
    if std::mem::take(&mut warp.rotate) {
        return indices.min_by_key(|i| warp.splits[*i].ran);
    }
    indices.min_by_key(|i| priority[warp.splits[*i].pc as usize])
}

fn merge(warp: &mut Warp) {
    let mut i = 0;
    while i < warp.splits.len() {
        let mut j = i + 1;
        while j < warp.splits.len() {
            let (a, b) = (warp.splits[i], warp.splits[j]);
            if a.pc == b.pc && a.state == State::Ready && b.state == State::Ready {
                warp.splits[i].mask |= b.mask;
                warp.splits[i].ran = a.ran.min(b.ran);
                warp.splits.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
}

/// Runs a warp for about `budget` instructions; returns how many it ran.
#[inline(always)]
pub(crate) fn run<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    random: &mut Random,
    budget: u32,
) -> Result<u32, (Raised, u32)> {
    let program = env.program;
    let mut left = budget;
    while left > 0 {
        let fair = warp.rotate;
        if let [only] = &warp.splits[..]
            && matches!(only.state, State::Barrier { .. } | State::Cluster)
        {
            break;
        }
        let Some(at) = choose(warp, &program.priority, random, env.schedule.explore) else {
            if collective::release(program, warp) {
                continue;
            }
            break;
        };
        let others = warp.splits.len() > 1;
        let quantum = if env.schedule.explore {
            left.min(1 + random.below(48) as u32)
        } else if others && fair {
            left.min(FAIR)
        } else {
            left
        };
        // Where lanes that wait for this group to reach them are, at the earliest.
        let meet = if others && !fair && !env.schedule.explore {
            let waiting = warp
                .splits
                .iter()
                .enumerate()
                .filter(|(i, s)| *i != at && s.state == State::Ready);
            waiting
                .map(|(_, s)| program.priority[s.pc as usize])
                .min()
                .unwrap_or(u32::MAX)
        } else {
            u32::MAX
        };
        let (ran, waits) = group(Group {
            env,
            block,
            warp,
            observer,
            at,
            quantum,
            meet,
        })?;
        warp.steps += u64::from(ran);
        left = left.saturating_sub(ran.max(1));
        if waits && !others {
            break;
        }
        if left == 0 || (fair && ran >= FAIR) {
            warp.rotate = warp.splits.len() > 1;
        }
    }
    Ok(budget - left)
}

/// One group, to be run until it diverges, waits, meets others or has used its quantum.
struct Group<'a, 'e, O> {
    env: &'a Env<'e>,
    block: &'a mut Block,
    warp: &'a mut Warp,
    observer: &'a mut O,
    at: usize,
    quantum: u32,
    meet: u32,
}

/// The lanes of a warp that run an instruction: told again in each place that asks, as most do not.
#[inline(always)]
fn here(block: &Block, warp: &Warp, pc: u32, mask: u32) -> At {
    At {
        block: block.index,
        warp: warp.index,
        pc,
        mask,
    }
}

/// How many instructions it ran, and whether all of it now waits for other warps.
#[inline(always)]
fn group<O: Observer>(group: Group<'_, '_, O>) -> Result<(u32, bool), (Raised, u32)> {
    let Group {
        env,
        block,
        warp,
        observer,
        at,
        quantum,
        meet,
    } = group;
    let program = env.program;
    let Split { mask, mut pc, .. } = warp.splits[at];
    let mut ran = 0;
    let stop = |warp: &mut Warp, pc: u32, ran: u32| {
        let steps = warp.steps + u64::from(ran);
        let split = &mut warp.splits[at];
        (split.pc, split.ran) = (pc, steps);
    };
    loop {
        let runs = if O::ACTIVE {
            &program.observed
        } else {
            &program.straight
        };
        let straight_count = u32::from(runs[pc as usize]);
        if straight_count > 0 {
            let code = &program.code[pc as usize..(pc + straight_count) as usize];
            if O::ACTIVE {
                let lanes = warp.guarded(code[0].guard, mask);
                let here = here(block, warp, pc, lanes);
                observer.straight(program, here, straight_count, &warp.registers);
                straight::run(env.arch, code, mask, &mut warp.registers);
            } else {
                straight::here(code, mask, &mut warp.registers);
            }
            pc += straight_count;
            ran += straight_count;
        } else {
            let inst = program.code[pc as usize];
            let lanes = warp.guarded(inst.guard, mask);
            ran += 1;
            if O::ACTIVE {
                let here = here(block, warp, pc, lanes);
                observer.instruction(program, here, &warp.registers);
            }
            if lanes == 0 {
                if O::ACTIVE && matches!(inst.op, Op::Branch { .. }) {
                    observer.branch(here(block, warp, pc, mask), 0);
                }
                pc += 1;
            } else {
                match inst.op {
                    Op::Memory(index) => {
                        let op = &program.memory[index as usize];
                        let form = &program.forms[index as usize];
                        let at = here(block, warp, pc, lanes);
                        if !regular::execute(env, block, warp, observer, (op, form), at) {
                            let at = here(block, warp, pc, lanes);
                            access::execute(env, block, warp, observer, op, at)
                                .map_err(|raised| (raised, pc))?;
                        }
                        pc += 1;
                    }
                    Op::Branch { target } if lanes == mask => {
                        if O::ACTIVE && inst.guard.parts().is_some() {
                            observer.branch(here(block, warp, pc, mask), lanes);
                        }
                        pc = target;
                    }
                    Op::Sync(index)
                        if lanes == mask
                            && super::block::wait(
                                block,
                                warp,
                                observer,
                                at,
                                here(block, warp, pc, lanes),
                                &program.syncs[index as usize],
                            ) =>
                    {
                        stop(warp, pc, ran);
                        return Ok((ran, true));
                    }
                    Op::Sync(index)
                        if lanes == mask
                            && collective::at_once(
                                env,
                                warp,
                                observer,
                                here(block, warp, pc, lanes),
                                &program.syncs[index as usize],
                            ) =>
                    {
                        pc += 1;
                    }
                    Op::Call { target, link } if lanes == mask => {
                        misc::set_link(warp, link, lanes, pc + 1);
                        pc = target;
                    }
                    _ => {
                        stop(warp, pc, ran);
                        let here = here(block, warp, pc, lanes);
                        match other(env, block, warp, observer, at, here) {
                            Ok(Flow::Next) => pc += 1,
                            Ok(Flow::Choose) => return Ok((ran, false)),
                            Err(raised) => return Err((raised, pc)),
                        }
                    }
                }
            }
        }
        // Mostly nobody waits to be met.
        if ran >= quantum || meet != u32::MAX && program.priority[pc as usize] >= meet {
            stop(warp, pc, ran);
            return Ok((ran, false));
        }
    }
}

/// Instructions that may change the group.
#[inline(never)]
fn other<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: usize,
    here: At,
) -> Result<Flow, Raised> {
    let program = env.program;
    let At {
        pc, mask: lanes, ..
    } = here;
    let all = warp.splits[at].mask;
    match program.code[pc as usize].op {
        Op::Branch { target } => {
            if O::ACTIVE {
                observer.branch(At { mask: all, ..here }, lanes);
            }
            let rest = all & !lanes;
            warp.splits[at].mask = rest;
            warp.splits[at].pc = pc + 1;
            spawn(warp, at, lanes, target);
            Ok(Flow::Choose)
        }
        Op::Call { target, link } => {
            misc::set_link(warp, link, lanes, pc + 1);
            warp.splits[at].mask = all & !lanes;
            warp.splits[at].pc = pc + 1;
            spawn(warp, at, lanes, target);
            Ok(Flow::Choose)
        }
        Op::Return { link } => {
            let targets = *warp.registers.narrow(link);
            scatter(warp, at, lanes, |lane| targets[lane]);
            Ok(Flow::Choose)
        }
        Op::Table { index, table } => {
            let picks = *warp.registers.narrow(index);
            let targets = &program.tables[usize::from(table)];
            for lane in bits(lanes) {
                if picks[lane] as usize >= targets.len() {
                    let (index, targets) = (picks[lane], targets.len() as u32);
                    return Err(Raised::new(
                        FaultKind::BranchIndex { index, targets },
                        lane as u32,
                    ));
                }
            }
            scatter(warp, at, lanes, |lane| targets[picks[lane] as usize]);
            Ok(Flow::Choose)
        }
        Op::Exit => {
            if O::ACTIVE {
                observer.exit(here);
            }
            warp.live &= !lanes;
            let rest = all & !lanes;
            if rest == 0 {
                warp.splits.swap_remove(at);
            } else {
                warp.splits[at].mask = rest;
                warp.splits[at].pc = pc + 1;
            }
            // Lanes that waited for these must not wait any longer.
            collective::release(program, warp);
            block.exits = true;
            Ok(Flow::Choose)
        }
        Op::NoFunction { a } => {
            let lane = lanes.trailing_zeros();
            let address = warp.registers.wide(a)[lane as usize];
            Err(Raised::new(FaultKind::NoFunction { address }, lane))
        }
        Op::Trap => Err(Raised::new(FaultKind::Trap, lanes.trailing_zeros())),
        Op::Sync(index) => {
            let op = &program.syncs[index as usize];
            match op {
                SyncOp::Barrier {
                    kind, id, count, ..
                } if all == lanes => {
                    let operands = (*kind, *id, *count);
                    super::block::arrive(block, warp, observer, at, here, operands)
                }
                _ => collective::arrive(env, block, warp, observer, at, *op, here),
            }
        }
        _ => misc::execute(env, block, warp, observer, here).map(|()| Flow::Next),
    }
}

/// Adds a group beside `at`.
pub(crate) fn spawn(warp: &mut Warp, at: usize, mask: u32, pc: u32) {
    let ran = warp.splits[at].ran;
    warp.splits.push(Split {
        mask,
        pc,
        state: State::Ready,
        ran,
    });
}

/// Sends each lane of `lanes` to its own target; the others go on.
fn scatter(warp: &mut Warp, at: usize, lanes: u32, target: impl Fn(usize) -> u32) {
    let Split { mask, pc, .. } = warp.splits[at];
    let mut left = lanes;
    let mut first = mask == lanes;
    if !first {
        warp.splits[at].mask = mask & !lanes;
        warp.splits[at].pc = pc + 1;
    }
    while left != 0 {
        let to = target(left.trailing_zeros() as usize);
        let group = bits(left)
            .filter(|lane| target(*lane) == to)
            .fold(0, |m, lane| m | 1 << lane);
        left &= !group;
        if std::mem::take(&mut first) {
            warp.splits[at].mask = group;
            warp.splits[at].pc = to;
        } else {
            spawn(warp, at, group, to);
        }
    }
}

/// The set bits of a mask.
#[inline(always)]
pub(crate) fn bits(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros();
        mask &= mask - 1;
        Some(lane as usize)
    })
}
