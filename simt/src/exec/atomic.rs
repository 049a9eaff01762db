//! Atomic read-modify-write, lane after lane.

use super::asynchronous::{set_word, word};
use super::misc::{get, set};
use super::observer::{At, Known, Observer};
use super::registers::LANES;
use super::step::bits;
use super::transfer::Place;
use super::warp::Warp;
use crate::isa::meaning::Flags;
use crate::isa::meaning::float;
use crate::isa::meaning::half::{self, Format};
use crate::lower::program::{Atomic, MemoryOp, Reg};
use crate::memory::Store;
use crate::memory::bytes::Bytes;
use crate::memory::region::Region;
use crate::ptx::types::{ScalarType, TypeKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an atomic stores, from what was there and its operands.
pub(crate) fn modify(what: Atomic, ty: ScalarType, old: u64, b: u64, c: u64) -> u64 {
    let keep = if ty.bits() >= 64 {
        u64::MAX
    } else {
        (1 << ty.bits()) - 1
    };
    let signed = ty.kind() == TypeKind::Signed;
    let extend = |v: u64| (v << (64 - ty.bits().min(64))) as i64 >> (64 - ty.bits().min(64));
    let new = match what {
        Atomic::And => old & b,
        Atomic::Or => old | b,
        Atomic::Xor => old ^ b,
        Atomic::Exchange => b,
        Atomic::CompareSwap => {
            if old == b & keep {
                c
            } else {
                old
            }
        }
        Atomic::Inc => {
            if old >= b & keep {
                0
            } else {
                old + 1
            }
        }
        Atomic::Dec => {
            if old == 0 || old > b & keep {
                b
            } else {
                old - 1
            }
        }
        Atomic::Add | Atomic::CopyAdd => add(ty, old, b),
        Atomic::Min | Atomic::Max => {
            let max = what == Atomic::Max;
            match ty {
                ScalarType::F16 | ScalarType::BF16 | ScalarType::F16x2 | ScalarType::BF16x2 => {
                    let format = format(ty);
                    let pick = |x, y| format.extremum(x, y, Flags(0), max);
                    if ty.bits() == 16 {
                        u64::from(pick(old as u16, b as u16))
                    } else {
                        u64::from(half::pair(old as u32, b as u32, pick))
                    }
                }
                _ if signed => {
                    let (x, y) = (extend(old), extend(b));
                    (if max { x.max(y) } else { x.min(y) }) as u64
                }
                _ => {
                    let (x, y) = (old, b & keep);
                    if max { x.max(y) } else { x.min(y) }
                }
            }
        }
    };
    new & keep
}

fn format(ty: ScalarType) -> Format {
    if matches!(ty, ScalarType::F16 | ScalarType::F16x2) {
        Format::F16
    } else {
        Format::BF16
    }
}

fn add(ty: ScalarType, old: u64, b: u64) -> u64 {
    match ty {
        ScalarType::F32 => {
            let (x, y) = (f32::from_bits(old as u32), f32::from_bits(b as u32));
            u64::from(float::canon(x + y).to_bits())
        }
        ScalarType::F64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        ScalarType::F16 | ScalarType::BF16 => {
            let sum = format(ty).binary(old as u16, b as u16, Flags(0), |x, y| x + y);
            u64::from(sum)
        }
        ScalarType::F16x2 | ScalarType::BF16x2 => {
            let format = format(ty);
            let sum = |x, y| format.binary(x, y, Flags(0), |x, y| x + y);
            u64::from(half::pair(old as u32, b as u32, sum))
        }
        _ => old.wrapping_add(b),
    }
}

/// What an atomic stores in device memory: there, but not in shared memory, additions of f32 flush
/// subnormal operands and sums. (An H100 flushes in `atom` and `red`, also of vectors, and does not
/// in bulk copies that add.)
fn modify_device(what: Atomic, ty: ScalarType, old: u64, b: u64, c: u64) -> u64 {
    if (what, ty) != (Atomic::Add, ScalarType::F32) {
        return modify(what, ty, old, b, c);
    }
    let (x, y) = (f32::from_bits(old as u32), f32::from_bits(b as u32));
    let sum = float::flush(float::flush(x) + float::flush(y));
    u64::from(float::canon(sum).to_bits())
}

/// What a lane holds in a register of 16 bytes.
fn get_wide(warp: &Warp, reg: Reg, lane: usize) -> u128 {
    (0..4).rev().fold(0, |value, k| {
        value << 32 | u128::from(word(warp, reg, k, lane))
    })
}

fn set_wide(warp: &mut Warp, reg: Reg, lane: usize, value: u128) {
    (0..4).for_each(|k| set_word(warp, reg, k, lane, (value >> (32 * k)) as u32));
}

/// An exchange or a compare-and-swap of 16 bytes, which `old` holds, for a lane.
fn wide(warp: &mut Warp, op: &MemoryOp, what: Atomic, lane: usize, old: u128) -> u128 {
    let b = get_wide(warp, op.sources[0], lane);
    let new = match op.sources.get(1) {
        Some(c) if what == Atomic::CompareSwap && old == b => get_wide(warp, *c, lane),
        Some(_) => old,
        None => b,
    };
    if let Some(result) = op.registers[0] {
        set_wide(warp, result, lane, old);
    }
    new
}

/// Makes 64-bit atomics of different host threads exclude each other.
static WIDE: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

/// Holds the eight bytes at an offset.
fn hold(offset: u64) -> MutexGuard<'static, ()> {
    let stripe = &WIDE[(offset / 8 % 64) as usize];
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

fn global_modify(a: &Region<'_>, offset: u64, size: u32, f: impl Fn(u64) -> u64) -> u64 {
    if a.alone() {
        let old = a.load(offset, size);
        a.store(offset, size, f(old));
        return old;
    }
    match size {
        4 => u64::from(a.update32(offset, |old| f(u64::from(old)) as u32)),
        8 => {
            let _held = hold(offset);
            let old = a.load(offset, 8);
            a.store(offset, 8, f(old));
            old
        }
        _ => {
            let shift = 8 * (offset & 2) as u32;
            let part = |word: u32| u64::from(word >> shift & 0xffff);
            let old = a.update32(offset & !3, |word| {
                let new = f(part(word)) as u32 & 0xffff;
                word & !(0xffff << shift) | new << shift
            });
            part(old)
        }
    }
}

/// The operands of one lane for element `k`.
fn operands(warp: &Warp, op: &MemoryOp, k: usize, lane: usize) -> (u64, u64) {
    let count = op.registers.len();
    let b = get(warp, op.sources[k], lane);
    let c = op
        .sources
        .get(k + count)
        .map_or(0, |reg| get(warp, *reg, lane));
    (b, c)
}

/// Which bytes hold something after an atomic, of what was there and its operands: an exchange brings
/// its own, bitwise ones go byte by byte, and of the others a hole anywhere leaves nothing.
fn holds(what: Atomic, all: u16, old: u16, b: u16, c: u16) -> u16 {
    match what {
        Atomic::Exchange => b,
        Atomic::And | Atomic::Or | Atomic::Xor => old & b,
        Atomic::CompareSwap if old & b & all == all => c,
        Atomic::CompareSwap => 0,
        _ if old & b & all == all => all,
        _ => 0,
    }
}

/// What the operands of element `k` hold.
fn operands_hold<O: Observer>(observer: &mut O, at: At, op: &MemoryOp, k: usize) -> [Known; 2] {
    [k, k + op.registers.len()].map(|place| match op.sources.get(place) {
        Some(reg) => observer.held(at, *reg),
        None => [u16::MAX; LANES],
    })
}

/// An atomic on device memory.
#[allow(
    clippy::too_many_arguments,
    reason = "the state of the machine, passed down once"
)]
pub(crate) fn global<O: Observer>(
    mut a: &Region<'_>,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    what: Atomic,
    at: At,
    place: Place<'_>,
) {
    let size = op.ty.bytes();
    let all = ((1_u32 << size) - 1) as u16;
    for (k, result) in op.registers.iter().enumerate() {
        let mut known = [u16::MAX; LANES];
        let given = match O::ACTIVE {
            true => operands_hold(observer, at, op, k),
            false => [known; 2],
        };
        for lane in bits(at.mask) {
            let offset = place.of(lane) + k as u64 * u64::from(size);
            if O::ACTIVE {
                known[lane] = a.written(offset, size) as u16;
                let held = holds(what, all, known[lane], given[0][lane], given[1][lane]);
                Store::mark(&mut a, offset, size, u32::from(held & all));
            } else {
                a.mark(offset, size);
            }
            if size == 16 {
                // The lower half first: nobody who holds the upper one waits for it.
                let _held = [offset, offset + 8].map(hold);
                let halves = [offset, offset + 8].map(|at| u128::from(a.load(at, 8)));
                let new = wide(warp, op, what, lane, halves[0] | halves[1] << 64);
                a.store(offset, 8, new as u64);
                a.store(offset + 8, 8, (new >> 64) as u64);
                continue;
            }
            let (b, c) = operands(warp, op, k, lane);
            let new = |old| modify_device(what, op.ty, old, b, c);
            let old = global_modify(a, offset, size, new);
            if let Some(result) = result {
                set(warp, *result, lane, old);
            }
        }
        if O::ACTIVE {
            observer.loaded(at, op, k, &known);
        }
    }
}

/// An atomic on memory that this block alone can touch.
pub(crate) fn small<O: Observer>(
    memory: &mut Bytes,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    what: Atomic,
    at: At,
    targets: &[u64; LANES],
) {
    let size = op.ty.bytes();
    let all = ((1_u32 << size) - 1) as u16;
    for (k, result) in op.registers.iter().enumerate() {
        let mut known = [u16::MAX; LANES];
        let given = match O::ACTIVE {
            true => operands_hold(observer, at, op, k),
            false => [known; 2],
        };
        for lane in bits(at.mask) {
            let to = targets[lane] as usize + k * size as usize;
            if O::ACTIVE {
                known[lane] = memory.written(to, size) as u16;
                let held = holds(what, all, known[lane], given[0][lane], given[1][lane]);
                memory.mark(to, size, u32::from(held & all));
            }
            if size == 16 {
                let half = |at| u128::from(memory.load(at, 8).unwrap_or(0));
                let new = wide(warp, op, what, lane, half(to) | half(to + 8) << 64);
                memory.store(to, 8, new as u64);
                memory.store(to + 8, 8, (new >> 64) as u64);
                continue;
            }
            let (b, c) = operands(warp, op, k, lane);
            let old = memory.load(to, size).unwrap_or(0);
            memory.store(to, size, modify(what, op.ty, old, b, c));
            if let Some(result) = result {
                set(warp, *result, lane, old);
            }
        }
        if O::ACTIVE {
            observer.loaded(at, op, k, &known);
        }
    }
}
