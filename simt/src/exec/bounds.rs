//! Whether an access stays where it may go. Regular lanes are checked at their two ends; others,
//! and whatever fails that, lane by lane, so that the first bad lane is the one told.

use super::block::Block;
use super::fault::{FaultKind, Nearest, Raised};
use super::pattern::{Addresses, Pattern};
use super::step::{Env, bits};
use crate::memory::device::Rights;
use crate::memory::region::Region;
use crate::ptx::types::Space;

/// Every lane at a multiple of the largest power of two that `unit` bytes fill.
#[inline(always)]
pub(crate) fn aligned(
    unit: u32,
    mask: u32,
    space: Space,
    targets: &Addresses,
    pattern: Pattern,
) -> Result<(), Raised> {
    let low = u64::from(unit.next_power_of_two() - 1);
    if let Pattern::Strided { origin, stride } = pattern
        && (origin | stride as u64) & low == 0
    {
        return Ok(());
    }
    let crooked = |lane: &usize| targets[*lane] & low != 0;
    match bits(mask).find(crooked) {
        None => Ok(()),
        Some(lane) => Err(Raised::new(
            FaultKind::Misaligned {
                space,
                address: targets[lane],
                bytes: unit,
            },
            lane as u32,
        )),
    }
}

/// Whether `bytes` at each of the places from `low` to `high` lie between `start` and `size`.
#[inline(always)]
pub(crate) fn fit((low, high): (u64, u64), bytes: u32, start: u64, size: u64) -> bool {
    low >= start && high < size && u64::from(bytes) <= size - high
}

/// Whether `bytes` at `at` lie between `start` and `size`.
#[inline(always)]
fn fits(at: u64, bytes: u32, start: u64, size: u64) -> bool {
    fit((at, at), bytes, start, size)
}

/// The first lane that is not between `start` and `size`.
#[inline(always)]
fn outside(
    targets: &Addresses,
    pattern: Pattern,
    mask: u32,
    bytes: u32,
    start: u64,
    size: u64,
) -> Option<usize> {
    if pattern
        .ends(mask)
        .is_some_and(|ends| fit(ends, bytes, start, size))
    {
        return None;
    }
    bits(mask).find(|lane| !fits(targets[*lane], bytes, start, size))
}

/// Lanes inside a memory of `size` bytes.
#[inline(always)]
pub(crate) fn inside(
    targets: &Addresses,
    pattern: Pattern,
    mask: u32,
    bytes: u32,
    size: u64,
    space: Space,
    write: bool,
) -> Result<(), Raised> {
    match outside(targets, pattern, mask, bytes, 0, size) {
        None => Ok(()),
        Some(lane) => {
            let kind = FaultKind::OutOfBounds {
                space,
                address: targets[lane],
                bytes,
                write,
                nearest: None,
            };
            Err(Raised::new(kind, lane as u32))
        }
    }
}

/// Lanes inside the block's shared memory.
#[inline(always)]
pub(crate) fn inside_shared(
    env: &Env<'_>,
    block: &Block,
    targets: &Addresses,
    pattern: Pattern,
    mask: u32,
    bytes: u32,
    write: bool,
) -> Result<(), Raised> {
    let size = block.shared.len() as u64;
    let start = crate::lower::SHARED_START;
    match outside(targets, pattern, mask, bytes, start, size) {
        None => Ok(()),
        Some(lane) => Err(shared_outside(
            env,
            block,
            targets[lane],
            bytes,
            write,
            lane,
        )),
    }
}

/// One lane inside the block's shared memory.
#[inline(always)]
pub(crate) fn shared_inside(
    env: &Env<'_>,
    block: &Block,
    at: u64,
    bytes: u32,
    write: bool,
    lane: usize,
) -> Result<(), Raised> {
    let size = block.shared.len() as u64;
    if fits(at, bytes, crate::lower::SHARED_START, size) {
        return Ok(());
    }
    Err(shared_outside(env, block, at, bytes, write, lane))
}

#[cold]
pub(crate) fn shared_outside(
    env: &Env<'_>,
    block: &Block,
    at: u64,
    bytes: u32,
    write: bool,
    lane: usize,
) -> Raised {
    let size = block.shared.len() as u64;
    let p = env.program;
    let before = p
        .shared
        .iter()
        .filter(|v| v.offset <= at)
        .max_by_key(|v| v.offset);
    let dynamic = (at >= p.dynamic_offset && env.shape.dynamic_shared > 0).then(|| Nearest {
        name: "dynamic shared memory".to_owned(),
        bytes: u64::from(env.shape.dynamic_shared),
        offset: at as i64 - p.dynamic_offset as i64,
        freed: false,
    });
    let variable = before.or(p.shared.first()).map(|v| Nearest {
        name: v.name.to_string(),
        bytes: v.size,
        offset: at as i64 - v.offset as i64,
        freed: false,
    });
    let whole = Nearest {
        name: "shared memory of the block".to_owned(),
        bytes: size.saturating_sub(crate::lower::SHARED_START),
        offset: at as i64 - crate::lower::SHARED_START as i64,
        freed: false,
    };
    let nearest = Some(dynamic.or(variable).unwrap_or(whole));
    let kind = FaultKind::OutOfBounds {
        space: Space::Shared,
        address: at,
        bytes,
        write,
        nearest,
    };
    Raised::new(kind, lane as u32)
}

#[cold]
fn global_fault(env: &Env<'_>, address: u64, bytes: u32, write: bool, lane: u32) -> Raised {
    let near = env.device.near(address);
    let nearest = near.map(|a| Nearest {
        name: a.label.to_owned(),
        bytes: a.bytes,
        offset: address.wrapping_sub(a.base) as i64,
        freed: a.freed,
    });
    let freed =
        near.is_some_and(|a| a.freed && address.checked_sub(a.base).is_some_and(|o| a.holds(o, 1)));
    let space = Space::Global;
    let kind = if freed {
        FaultKind::UseAfterFree {
            address,
            bytes,
            write,
            nearest,
        }
    } else {
        FaultKind::OutOfBounds {
            space,
            address,
            bytes,
            write,
            nearest,
        }
    };
    Raised::new(kind, lane)
}

/// Whether `bytes` at an address lie in an allocation.
#[inline(always)]
fn holds(a: &Region<'_>, address: u64, bytes: u32) -> bool {
    hold(a, (address, address), bytes)
}

/// Whether `bytes` at each of the addresses from `low` to `high` lie in an allocation.
#[inline(always)]
pub(crate) fn hold(a: &Region<'_>, (low, high): (u64, u64), bytes: u32) -> bool {
    low >= a.base && a.holds(high - a.base, u64::from(bytes))
}

/// The allocation an access falls into, and the lanes of `mask` that do.
#[inline(always)]
pub(crate) fn locate<'e>(
    env: &Env<'e>,
    mask: u32,
    targets: &Addresses,
    pattern: Pattern,
    bytes: u32,
    write: bool,
) -> Result<(&'e Region<'e>, u32), Raised> {
    let lane = mask.trailing_zeros();
    let address = targets[lane as usize % 32];
    let Some(a) = env.device.near(address).filter(|a| !a.freed) else {
        return Err(global_fault(env, address, bytes, write, lane));
    };
    let holds = |at: u64| holds(a, at, bytes);
    let whole = pattern.ends(mask).is_some_and(|ends| hold(a, ends, bytes));
    let group = if whole {
        mask
    } else {
        bits(mask)
            .filter(|l| holds(targets[*l]))
            .fold(0, |m, l| m | 1 << l)
    };
    if group >> lane & 1 == 0 {
        return Err(global_fault(env, address, bytes, write, lane));
    }
    if write && a.rights == Rights::ReadOnly {
        return Err(read_only(a, address, lane));
    }
    Ok((a, group))
}

#[cold]
fn read_only(a: &Region<'_>, address: u64, lane: u32) -> Raised {
    let name = a.label.to_owned();
    let kind = FaultKind::ReadOnly {
        space: Space::Global,
        address,
        name,
    };
    Raised::new(kind, lane)
}
