//! Loads and stores whose lanes are regular: the same place for all, or equal steps from lane to
//! lane. Nearly every access of nearly every kernel is, so this is the way that must be short.
//!
//! The pattern is found in the register itself, the space and the allocation are looked up once,
//! alignment and bounds are those of the first and the last lane, and no address of a single lane
//! is written down unless an observer wants to see it. Without an observer the values move in the
//! same go. Some 20 ns an access, of which half is the values; [`super::access`] takes three times
//! as long.
//!
//! Nothing is decided here that is not plain: whatever might be a fault, and all that is irregular,
//! is left to [`super::access`] with nothing done.

use super::access::window_of;
use super::block::Block;
use super::bounds::{fits, holds};
use super::observer::{AccessEvent, At, Observer};
use super::pattern::{Addresses, Pattern};
use super::registers::{LANES, Registers};
use super::step::Env;
use super::transfer::{self, LoadWords, Place, StoreWords};
use super::warp::Warp;
use crate::lower::program::{Access, MemoryOp};
use crate::memory::Store;
use crate::memory::device::{Allocation, Rights, Shared};
use crate::ptx::types::Space;
use pulp::NullaryFnOnce;

/// What a regular access goes to, allowed and inside for every lane.
#[derive(Clone, Copy)]
struct Target<'e> {
    /// Device memory, or the block's shared memory where there is none.
    allocation: Option<&'e Allocation>,
    /// Offsets there.
    pattern: Pattern,
}

/// Finds what the lanes of `mask` access, if they are regular and nothing is wrong.
#[inline(always)]
fn find<'e>(
    env: &Env<'e>,
    shared_bytes: usize,
    registers: &Registers,
    op: &MemoryOp,
    mask: u32,
) -> Option<Target<'e>> {
    let write = match op.access {
        Access::Load => false,
        Access::Store => true,
        Access::Atomic(_) => return None,
    };
    let bytes = op.bytes();
    let pattern = Pattern::of_operand(registers, &op.address, mask);
    let (low, high) = pattern.ends(mask)?;
    let (space, window) = match op.address.space {
        Space::Generic => {
            let ((space, offset), (other, _)) = (window_of(low), window_of(high));
            if space != other {
                return None;
            }
            (space, low - offset)
        }
        space => (space, 0),
    };
    let unit = u64::from(bytes.next_power_of_two() - 1);
    let Pattern::Strided { origin, stride } = pattern.less(window) else {
        return None;
    };
    if (origin | stride as u64) & unit != 0 {
        return None;
    }
    match space {
        Space::Shared => {
            let (low, high) = (low - window, high - window);
            let (start, size) = (crate::lower::SHARED_START, shared_bytes as u64);
            let inside = fits(low, bytes, start, size) && fits(high, bytes, start, size);
            inside.then_some(Target {
                allocation: None,
                pattern: pattern.less(window),
            })
        }
        Space::Global => {
            let a = env.device.near(low)?;
            let inside = holds(a, low, bytes) && holds(a, high, bytes);
            let forbidden = a.freed || write && a.rights == Rights::ReadOnly;
            (inside && !forbidden).then_some(Target {
                allocation: Some(a),
                pattern: pattern.less(a.base),
            })
        }
        _ => None,
    }
}

/// Executes an access if it is regular, as `observer` looks on; whether it did.
#[inline(always)]
pub(crate) fn observed<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
) -> bool {
    let mut offsets = [0; LANES];
    let found = env.arch.dispatch(Find {
        env,
        block,
        registers: &warp.registers,
        op,
        mask: at.mask,
        offsets: &mut offsets,
    });
    let Some(Target {
        allocation,
        pattern,
    }) = found
    else {
        return false;
    };
    let space = match allocation {
        Some(_) => Space::Global,
        None => Space::Shared,
    };
    observer.access(&AccessEvent {
        at,
        op,
        space,
        offsets: &offsets,
        pattern,
        allocation,
        bytes: op.bytes(),
        registers: &warp.registers,
        memory: allocation.is_none().then_some(&block.shared),
    });
    let place = Place {
        offsets: &offsets,
        base: 0,
        pattern,
        mask: at.mask,
    };
    let device = allocation.map(|allocation| Shared {
        allocation,
        alone: env.alone,
    });
    let (arch, shared) = (env.arch, &mut block.shared);
    match (op.access, device) {
        (Access::Load, None) => transfer::load(arch, shared, warp, observer, op, at, place),
        (Access::Load, Some(m)) => transfer::load(arch, &m, warp, observer, op, at, place),
        (_, None) => transfer::store(arch, shared, warp, observer, op, at, place),
        (_, Some(mut m)) => transfer::store(arch, &mut m, warp, observer, op, at, place),
    }
    true
}

/// Executes an access that nobody observes, if it is regular; whether it did.
#[inline(always)]
pub(crate) fn unobserved(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    op: &MemoryOp,
    mask: u32,
) -> bool {
    env.arch.dispatch(Unobserved {
        env,
        block,
        registers: &mut warp.registers,
        op,
        mask,
    })
}

/// Finds the target of a regular access and the offsets of its lanes, for observers.
struct Find<'a, 'e> {
    env: &'a Env<'e>,
    block: &'a Block,
    registers: &'a Registers,
    op: &'a MemoryOp,
    mask: u32,
    offsets: &'a mut Addresses,
}

impl<'e> NullaryFnOnce for Find<'_, 'e> {
    type Output = Option<Target<'e>>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let shared_bytes = self.block.shared.len();
        let found = find(self.env, shared_bytes, self.registers, self.op, self.mask)?;
        let Pattern::Strided { origin, stride } = found.pattern else {
            return None;
        };
        for (lane, offset) in self.offsets.iter_mut().enumerate() {
            *offset = origin.wrapping_add((stride as u64).wrapping_mul(lane as u64));
        }
        Some(found)
    }
}

/// Executes a regular access of whole words that nobody observes. The output: whether it did.
struct Unobserved<'a, 'e> {
    env: &'a Env<'e>,
    block: &'a mut Block,
    registers: &'a mut Registers,
    op: &'a MemoryOp,
    mask: u32,
}

/// Regular lanes are never looked up.
const NO_ADDRESSES: &Addresses = &[0; LANES];

impl NullaryFnOnce for Unobserved<'_, '_> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let Unobserved {
            env,
            block,
            registers,
            op,
            mask,
        } = self;
        let Some(words) = transfer::words(op) else {
            return false;
        };
        // A sink among the registers of a store leaves its bytes alone.
        if op.access == Access::Store && op.registers.iter().any(Option::is_none) {
            return false;
        }
        let Some(target) = find(env, block.shared.len(), registers, op, mask) else {
            return false;
        };
        let place = Place {
            offsets: NO_ADDRESSES,
            base: 0,
            pattern: target.pattern,
            mask,
        };
        let device = target.allocation.map(|allocation| Shared {
            allocation,
            alone: env.alone,
        });
        match (op.access, device) {
            (Access::Load, None) => load(&block.shared, registers, op, place, words),
            (Access::Load, Some(memory)) => load(&memory, registers, op, place, words),
            (_, None) => store(&mut block.shared, registers, op, place, words),
            (_, Some(mut memory)) => {
                store(&mut memory, registers, op, place, words);
                if !memory.all_written() {
                    transfer::mark_all(&mut memory, place, op.bytes());
                }
            }
        }
        true
    }
}

#[inline(always)]
fn load<M: Store>(
    memory: &M,
    registers: &mut Registers,
    op: &MemoryOp,
    place: Place<'_>,
    words: usize,
) {
    let load = LoadWords {
        memory,
        registers,
        op,
        place,
        words,
    };
    load.call();
}

#[inline(always)]
fn store<M: Store>(
    memory: &mut M,
    registers: &Registers,
    op: &MemoryOp,
    place: Place<'_>,
    words: usize,
) {
    let store = StoreWords {
        memory,
        registers,
        op,
        place,
        words,
    };
    store.call();
}
