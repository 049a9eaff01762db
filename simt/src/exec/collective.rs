//! `.sync` operations of a warp, and arrival at barriers.
//!
//! A group that reaches one waits until every live lane of the operation's mask stands at the
//! same instruction (for `bar.warp.sync`: at any `bar.warp.sync` with the same mask).

use super::block::Block;
use super::fault::{FaultKind, Raised};
use super::observer::{At, Observer};
use super::registers::{FULL, LANES, Lane};
use super::shuffle::{self, Shuffle, is_all};
use super::step::{Env, Flow, bits, spawn};
use super::warp::{Split, State, Warp};
use crate::lower::program::{Op, Program};
use crate::lower::sync::{BarrierKind, Reduce, SyncOp, Vote};

fn sync_op<'p>(program: &'p Program, split: &Split) -> Option<&'p SyncOp> {
    match program.code[split.pc as usize].op {
        Op::Sync(index) => Some(&program.syncs[index as usize]),
        _ => None,
    }
}

/// Whether two groups wait together.
fn together(program: &Program, a: &Split, b: &Split) -> bool {
    let warp_barrier = |s| matches!(sync_op(program, s), Some(SyncOp::Warp { .. }));
    a.state == b.state && (a.pc == b.pc || (warp_barrier(a) && warp_barrier(b)))
}

/// Makes ready the groups for which no live lane is missing any more.
pub(crate) fn release(program: &Program, warp: &mut Warp) -> bool {
    let mut any = false;
    for i in 0..warp.splits.len() {
        let State::Lanes { member } = warp.splits[i].state else {
            continue;
        };
        let here = warp.splits[i];
        let with = |s: &&Split| together(program, &here, s);
        let arrived = warp.splits.iter().filter(with).fold(0, |m, s| m | s.mask);
        if member & warp.live & !arrived == 0 {
            for split in &mut warp.splits {
                if together(program, &here, split) {
                    split.state = State::Ready;
                    any = true;
                }
            }
        }
    }
    any
}

/// A group reaches a `.sync` operation or barrier.
pub(crate) fn arrive<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: usize,
    op: SyncOp,
    here: At,
) -> Result<Flow, Raised> {
    // Lanes whose guard is false go past it.
    let all = warp.splits[at].mask;
    if all != here.mask {
        warp.splits[at].mask = here.mask;
        spawn(warp, at, all & !here.mask, here.pc + 1);
    }
    match op {
        SyncOp::Barrier {
            kind, id, count, ..
        } => {
            let operands = (kind, id, count);
            return super::block::arrive(block, warp, observer, at, here, operands);
        }
        SyncOp::ClusterArrive { release } => {
            return super::cluster::arrive(block, warp, observer, here, release);
        }
        SyncOp::ClusterWait => return super::cluster::wait(block, warp, observer, at, here),
        _ => {}
    }
    let Some(plane) = op.mask() else {
        return Ok(Flow::Next);
    };
    let masks = warp.registers.narrow(plane);
    let member = masks[here.mask.trailing_zeros() as usize % LANES];
    let same = bits(here.mask)
        .filter(|l| masks[*l] == member)
        .fold(0, |m, l| m | 1 << l);
    if same != here.mask {
        // Lanes that name different masks wait apart: these now, the others when chosen again.
        warp.splits[at].mask = same;
        spawn(warp, at, here.mask & !same, here.pc);
    }
    let here = At { mask: same, ..here };
    let waiting = Split {
        state: State::Lanes { member },
        ..warp.splits[at]
    };
    let with = |(i, s): &(usize, &Split)| *i != at && together(env.program, &waiting, s);
    let arrived = warp
        .splits
        .iter()
        .enumerate()
        .filter(with)
        .fold(here.mask, |m, (_, s)| m | s.mask);
    if member & warp.live & !arrived != 0 {
        warp.splits[at].state = waiting.state;
        return Ok(Flow::Choose);
    }
    if let SyncOp::Warp { .. } = op {
        if O::ACTIVE {
            observer.warp_sync(
                At {
                    mask: arrived,
                    ..here
                },
                &op,
                member,
                warp.live,
            );
        }
        for (i, split) in warp.splits.iter_mut().enumerate() {
            if i == at || together(env.program, &waiting, split) {
                split.state = State::Ready;
                split.pc += 1;
            }
        }
        return Ok(Flow::Choose);
    }
    // All stand at this instruction: they go on as one group.
    warp.splits[at].mask = arrived;
    warp.splits[at].pc += 1;
    let mut i = 0;
    let mut kept = at;
    while i < warp.splits.len() {
        if i != kept && together(env.program, &waiting, &warp.splits[i]) {
            warp.splits.swap_remove(i);
            if kept == warp.splits.len() {
                kept = i;
            }
        } else {
            i += 1;
        }
    }
    let now = At {
        mask: arrived,
        ..here
    };
    if O::ACTIVE {
        observer.warp_sync(now, &op, member, warp.live);
    }
    execute(warp, observer, now, &op, member);
    Ok(Flow::Choose)
}

/// What waits for nobody: all lanes that there are have come at once. Whether it was that, and
/// then it is done and the group stays as it is.
#[inline(always)]
pub(crate) fn at_once<O: Observer>(
    env: &Env<'_>,
    warp: &mut Warp,
    observer: &mut O,
    here: At,
    op: &SyncOp,
) -> bool {
    let Some(plane) = op.mask() else {
        return false;
    };
    let masks = warp.registers.narrow(plane);
    let member = masks[here.mask.trailing_zeros() as usize % LANES];
    let agreed = if here.mask == FULL {
        is_all(masks, member)
    } else {
        bits(here.mask).all(|lane| masks[lane] == member)
    };
    let alone = warp.splits.len() == 1 && member & warp.live & !here.mask == 0;
    if !agreed || !alone || env.schedule.explore {
        return false;
    }
    if O::ACTIVE {
        observer.warp_sync(here, op, member, warp.live);
    }
    execute(warp, observer, here, op, member);
    true
}

#[inline(always)]
fn execute<O: Observer>(warp: &mut Warp, observer: &mut O, at: At, op: &SyncOp, member: u32) {
    let SyncOp::Shuffle {
        mode,
        d,
        p,
        a,
        b,
        c,
        ..
    } = *op
    else {
        return decide(warp, at.mask, op);
    };
    let operands = Shuffle {
        mode,
        d,
        p,
        a,
        b,
        c,
    };
    shuffle::execute(&mut warp.registers, observer, at, op, operands, member);
}

/// What the lanes find together.
#[inline(never)]
fn decide(warp: &mut Warp, lanes: u32, op: &SyncOp) {
    match *op {
        SyncOp::Vote { vote, d, p, .. } => {
            let ballot = warp.registers.predicates[usize::from(p)] & lanes;
            match vote {
                Vote::Ballot => set_all(warp, d, lanes, ballot),
                Vote::All => set_predicate(warp, d, lanes, all_if(ballot == lanes)),
                Vote::Any => set_predicate(warp, d, lanes, all_if(ballot != 0)),
                Vote::Uniform => {
                    set_predicate(warp, d, lanes, all_if(ballot == 0 || ballot == lanes));
                }
            }
        }
        SyncOp::Match {
            all, wide, d, p, a, ..
        } => {
            let value = |warp: &Warp, lane: usize| {
                if wide {
                    warp.registers.wide(a)[lane]
                } else {
                    u64::from(warp.registers.narrow(a)[lane])
                }
            };
            let equal = |warp: &Warp, lane: usize| {
                bits(lanes)
                    .filter(|l| value(warp, *l) == value(warp, lane))
                    .fold(0, |m, l| m | 1 << l)
            };
            let results: [u32; LANES] = std::array::from_fn(|lane| {
                if lanes >> lane & 1 != 0 {
                    equal(warp, lane)
                } else {
                    0
                }
            });
            let first = results[lanes.trailing_zeros() as usize];
            let uniform = first == lanes;
            let out = warp.registers.narrow_mut(d);
            for lane in bits(lanes) {
                out[lane] = match (all, uniform) {
                    (false, _) => results[lane],
                    (true, true) => lanes,
                    (true, false) => 0,
                };
            }
            if let Some(p) = p {
                set_predicate(warp, p, lanes, all_if(uniform));
            }
        }
        SyncOp::Redux {
            op, signed, d, a, ..
        } => {
            let values = *warp.registers.narrow(a);
            let mut each = bits(lanes).map(|lane| values[lane]);
            let first = each.next().unwrap_or(0);
            let total = each.fold(first, |x, y| reduce(op, signed, x, y));
            set_all(warp, d, lanes, total);
        }
        SyncOp::Elect { d, p, .. } => {
            let leader = lanes.trailing_zeros();
            set_all(warp, d, lanes, leader);
            set_predicate(warp, p, lanes, 1 << leader);
        }
        _ => {}
    }
}

fn all_if(condition: bool) -> u32 {
    if condition { u32::MAX } else { 0 }
}

fn set_all(warp: &mut Warp, d: u16, lanes: u32, value: u32) {
    u32::write(&mut warp.registers, d, lanes, [value; LANES]);
}

pub(crate) fn set_predicate(warp: &mut Warp, d: u16, lanes: u32, value: u32) {
    let p = &mut warp.registers.predicates[usize::from(d)];
    *p = *p & !lanes | value & lanes;
}

fn reduce(op: Reduce, signed: bool, x: u32, y: u32) -> u32 {
    match op {
        Reduce::Add => x.wrapping_add(y),
        Reduce::And => x & y,
        Reduce::Or => x | y,
        Reduce::Xor => x ^ y,
        Reduce::Min if signed => (x as i32).min(y as i32) as u32,
        Reduce::Max if signed => (x as i32).max(y as i32) as u32,
        Reduce::Min => x.min(y),
        Reduce::Max => x.max(y),
    }
}

/// Whether the barrier needs more than waiting.
pub(crate) fn barrier_result(kind: BarrierKind) -> Option<u16> {
    match kind {
        BarrierKind::Popc { d, .. } | BarrierKind::Logic { d, .. } => Some(d),
        BarrierKind::Sync | BarrierKind::Arrive => None,
    }
}

/// The number of a barrier, checked.
pub(crate) fn barrier_number(value: u32, lane: u32) -> Result<usize, Raised> {
    if value < 16 {
        Ok(value as usize)
    } else {
        Err(Raised::new(
            FaultKind::BarrierNumber { number: value },
            lane,
        ))
    }
}
