//! Loads and stores: addresses are resolved, checked, shown to observers, and only then used.

use super::atomic;
use super::block::Block;
use super::cluster;
use super::fault::{FaultKind, Nearest, Raised};
use super::misc::set;
use super::observer::{AccessEvent, At, Known, Observer};
use super::registers::{FULL, LANES, Registers};
use super::step::{Env, bits};
use super::warp::Warp;
use crate::lower::program::{Access, Address, MemoryOp, Reg};
use crate::memory::bytes::Bytes;
use crate::memory::device::{Allocation, Rights};
use crate::memory::windows;
use crate::ptx::types::{ScalarType, Space, TypeKind};

type Addresses = [u64; LANES];

/// The addresses of all lanes.
#[inline(always)]
pub(crate) fn addresses(warp: &Warp, address: &Address) -> Addresses {
    match address.base {
        None => [address.offset as u64; LANES],
        Some(Reg { plane, planes: 2 }) => {
            let base = warp.registers.wide(plane);
            std::array::from_fn(|i| base[i].wrapping_add_signed(address.offset))
        }
        Some(Reg { plane, .. }) => {
            let base = warp.registers.narrow(plane);
            std::array::from_fn(|i| u64::from(base[i]).wrapping_add_signed(address.offset))
        }
    }
}

/// The space of a generic address and its offset there.
pub(crate) fn window_of(address: u64) -> (Space, u64) {
    let upper = address & !0xffff_ffff;
    let low = address & 0xffff_ffff;
    match upper {
        windows::SHARED => (Space::Shared, low),
        windows::LOCAL => (Space::Local, low),
        windows::CONST => (Space::Const, low),
        windows::PARAM => (Space::Param, low),
        _ => (Space::Global, address),
    }
}

/// Executes a memory instruction for the lanes of `at.mask`.
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
) -> Result<(), Raised> {
    let targets = addresses(warp, &op.address);
    execute_at(env, block, warp, observer, op, at, targets)
}

/// As [`execute`], with addresses found otherwise than by the operand.
pub(crate) fn execute_at<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    mut targets: Addresses,
) -> Result<(), Raised> {
    if op.address.space != Space::Generic {
        return in_space(
            env,
            block,
            warp,
            observer,
            op,
            at,
            op.address.space,
            &targets,
        );
    }
    let mut left = at.mask;
    while left != 0 {
        let (space, _) = window_of(targets[left.trailing_zeros() as usize]);
        let group = bits(left)
            .filter(|lane| window_of(targets[*lane]).0 == space)
            .fold(0, |m, lane| m | 1 << lane);
        bits(group).for_each(|lane| targets[lane] = window_of(targets[lane]).1);
        in_space(
            env,
            block,
            warp,
            observer,
            op,
            At { mask: group, ..at },
            space,
            &targets,
        )?;
        left &= !group;
    }
    Ok(())
}

#[allow(
    clippy::too_many_arguments,
    reason = "the state of the machine, passed down once"
)]
pub(crate) fn in_space<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    space: Space,
    targets: &Addresses,
) -> Result<(), Raised> {
    let bytes = op.bytes();
    aligned(op, at, space, targets, bytes)?;
    let write = op.access != Access::Load;
    match space {
        Space::Global | Space::Generic => global(env, warp, observer, op, at, targets),
        Space::Shared if cluster::any_named(at.mask, targets) => {
            cluster::access(env, block, warp, observer, op, at, targets)
        }
        Space::Shared => {
            for lane in bits(at.mask) {
                shared_inside(env, block, targets[lane], bytes, write, lane)?;
            }
            let memory = Some(&block.shared);
            event(
                observer,
                at,
                op,
                space,
                targets,
                &warp.registers,
                None,
                memory,
            );
            small(
                env,
                &mut block.shared,
                warp,
                observer,
                op,
                at,
                space,
                targets,
            );
            Ok(())
        }
        Space::Local => {
            let size = env.program.local_bytes;
            for lane in bits(at.mask) {
                inside(targets[lane], bytes, size, space, write, lane)?;
            }
            event(
                observer,
                at,
                op,
                space,
                targets,
                &warp.registers,
                None,
                None,
            );
            let own = std::array::from_fn(|i| targets[i].wrapping_add(i as u64 * size));
            let mut local = std::mem::take(&mut warp.local);
            small(env, &mut local, warp, observer, op, at, space, &own);
            warp.local = local;
            Ok(())
        }
        Space::Const | Space::Param => {
            let memory = if space == Space::Const {
                env.constants
            } else {
                env.params
            };
            for lane in bits(at.mask) {
                inside(
                    targets[lane],
                    bytes,
                    memory.len() as u64,
                    space,
                    write,
                    lane,
                )?;
            }
            if write {
                let (address, name) = (
                    targets[at.mask.trailing_zeros() as usize],
                    space.to_string(),
                );
                let kind = FaultKind::ReadOnly {
                    space,
                    address,
                    name,
                };
                return Err(Raised::new(kind, at.mask.trailing_zeros()));
            }
            event(
                observer,
                at,
                op,
                space,
                targets,
                &warp.registers,
                None,
                None,
            );
            if op.address.base.is_none() {
                uniform(memory, warp, op, at, targets[0]);
            } else {
                load_small(memory, warp, observer, op, at, targets);
            }
            Ok(())
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of the event")]
fn event<O: Observer>(
    observer: &mut O,
    at: At,
    op: &MemoryOp,
    space: Space,
    offsets: &Addresses,
    registers: &Registers,
    allocation: Option<&Allocation>,
    memory: Option<&Bytes>,
) {
    if O::ACTIVE {
        let bytes = op.bytes();
        observer.access(&AccessEvent {
            at,
            op,
            space,
            offsets,
            allocation,
            bytes,
            registers,
            memory,
        });
    }
}

#[inline(always)]
fn aligned(
    op: &MemoryOp,
    at: At,
    space: Space,
    targets: &Addresses,
    bytes: u32,
) -> Result<(), Raised> {
    let unit = if matches!(op.access, Access::Atomic(_)) {
        op.ty.bytes()
    } else {
        bytes
    };
    let low = u64::from(unit.next_power_of_two() - 1);
    let mut crooked = 0;
    for (lane, address) in targets.iter().enumerate() {
        crooked |= u32::from(address & low != 0) << lane;
    }
    if crooked & at.mask == 0 {
        return Ok(());
    }
    let lane = (crooked & at.mask).trailing_zeros();
    let address = targets[lane as usize];
    Err(Raised::new(
        FaultKind::Misaligned {
            space,
            address,
            bytes: unit,
        },
        lane,
    ))
}

#[inline(always)]
fn inside(
    at: u64,
    bytes: u32,
    size: u64,
    space: Space,
    write: bool,
    lane: usize,
) -> Result<(), Raised> {
    if at < size && u64::from(bytes) <= size - at {
        return Ok(());
    }
    let kind = FaultKind::OutOfBounds {
        space,
        address: at,
        bytes,
        write,
        nearest: None,
    };
    Err(Raised::new(kind, lane as u32))
}

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
    let reserved = at < crate::lower::SHARED_START;
    if !reserved && at < size && u64::from(bytes) <= size - at {
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

/// The lanes that fall into the allocation of the first one, and their offsets there.
fn same_allocation(a: &Allocation, mask: u32, targets: &Addresses, bytes: u32) -> (u32, Addresses) {
    let last = a.bytes.wrapping_sub(u64::from(bytes));
    let fits = a.bytes >= u64::from(bytes);
    let offsets: Addresses = std::array::from_fn(|i| targets[i].wrapping_sub(a.base));
    let mut inside = 0;
    for (lane, offset) in offsets.iter().enumerate() {
        inside |= u32::from(*offset <= last) << lane;
    }
    (if fits { inside & mask } else { 0 }, offsets)
}

#[cold]
fn global_fault(env: &Env<'_>, address: u64, bytes: u32, write: bool, lane: u32) -> Raised {
    let near = env.device.near(address);
    let nearest = near.map(|a| Nearest {
        name: a.label.clone(),
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

/// The allocation an access falls into; the lanes of `mask` that do; their offsets.
pub(crate) fn locate<'e>(
    env: &Env<'e>,
    mask: u32,
    targets: &Addresses,
    bytes: u32,
    write: bool,
) -> Result<(&'e Allocation, u32, Addresses), Raised> {
    let lane = mask.trailing_zeros();
    let address = targets[lane as usize];
    let bad = || global_fault(env, address, bytes, write, lane);
    let a = env
        .device
        .near(address)
        .filter(|a| !a.freed)
        .ok_or_else(bad)?;
    let (group, offsets) = same_allocation(a, mask, targets, bytes);
    if group >> lane & 1 == 0 {
        return Err(bad());
    }
    if write && a.rights == Rights::ReadOnly {
        let name = a.label.clone();
        let kind = FaultKind::ReadOnly {
            space: Space::Global,
            address,
            name,
        };
        return Err(Raised::new(kind, lane));
    }
    Ok((a, group, offsets))
}

fn global<O: Observer>(
    env: &Env<'_>,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    targets: &Addresses,
) -> Result<(), Raised> {
    let mut left = at.mask;
    let write = op.access != Access::Load;
    while left != 0 {
        let (a, group, offsets) = locate(env, left, targets, op.bytes(), write)?;
        let here = At { mask: group, ..at };
        event(
            observer,
            here,
            op,
            Space::Global,
            &offsets,
            &warp.registers,
            Some(a),
            None,
        );
        match op.access {
            Access::Load => load_global(a, warp, observer, op, here, &offsets),
            Access::Store => store_global(env, a, warp, observer, op, here, &offsets),
            Access::Atomic(what) => {
                atomic::global(env, a, warp, observer, op, what, here, &offsets);
            }
        }
        left &= !group;
    }
    Ok(())
}

/// A loaded value as a register of `planes` holds it.
#[inline(always)]
pub(crate) fn extend(value: u64, ty: ScalarType) -> u64 {
    let bits = ty.bits();
    if ty.kind() == TypeKind::Signed && bits < 64 {
        ((value << (64 - bits)) as i64 >> (64 - bits)) as u64
    } else {
        value
    }
}

fn load_global<O: Observer>(
    a: &Allocation,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    offsets: &Addresses,
) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let step = k as u64 * u64::from(size);
        if size == 16 {
            for lane in bits(at.mask) {
                for half in 0..2 {
                    let part = Reg {
                        plane: reg.plane + 2 * half,
                        planes: 2,
                    };
                    let offset = offsets[lane] + step + 8 * u64::from(half);
                    set(warp, part, lane, a.load(offset, 8));
                }
            }
        } else if size == 4 && reg.planes == 1 {
            let out = warp.registers.narrow_mut(reg.plane);
            if at.mask == FULL {
                for lane in 0..LANES {
                    out[lane] = a.load(offsets[lane] + step, 4) as u32;
                }
            } else {
                bits(at.mask).for_each(|l| out[l] = a.load(offsets[l] + step, 4) as u32);
            }
        } else {
            for lane in bits(at.mask) {
                let value = a.load(offsets[lane] + step, size);
                set(warp, reg, lane, extend(value, op.ty));
            }
        }
        if O::ACTIVE {
            let mut known: Known = [u16::MAX; LANES];
            if !a.initialised() {
                bits(at.mask).for_each(|l| known[l] = a.written(offsets[l] + step, size) as u16);
            }
            observer.loaded(at, op, k, &known);
        }
    }
}

fn store_global<O: Observer>(
    env: &Env<'_>,
    a: &Allocation,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    offsets: &Addresses,
) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let step = k as u64 * u64::from(size);
        for lane in bits(at.mask) {
            let offset = offsets[lane] + step;
            if size == 16 {
                for half in 0..2 {
                    let part = Reg {
                        plane: reg.plane + 2 * half,
                        planes: 2,
                    };
                    let value = super::misc::get(warp, part, lane);
                    a.store(offset + 8 * u64::from(half), 8, value, env.alone);
                }
            } else {
                a.store(offset, size, super::misc::get(warp, reg, lane), env.alone);
            }
        }
        if O::ACTIVE {
            let known = observer.stored(at, op, k);
            for lane in bits(at.mask) {
                mark_known(a, offsets[lane] + step, size, known[lane]);
            }
        } else if !a.initialised() {
            bits(at.mask).for_each(|lane| a.mark(offsets[lane] + step, size));
        }
    }
}

/// Notes which bytes of a stored value hold something.
pub(crate) fn mark_known(a: &Allocation, offset: u64, size: u32, known: u16) {
    let all = (1u32 << size) - 1;
    if u32::from(known) & all == all {
        a.mark(offset, size);
        return;
    }
    for byte in 0..size {
        if known >> byte & 1 != 0 {
            a.mark(offset + u64::from(byte), 1);
        } else {
            a.unmark(offset + u64::from(byte), 1);
        }
    }
}

/// The same value for every lane: parameters and constants at a fixed address.
fn uniform(memory: &Bytes, warp: &mut Warp, op: &MemoryOp, at: At, address: u64) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let from = address as usize + k * size as usize;
        if size == 16 {
            for half in 0..2u16 {
                let value = memory.load(from + 8 * usize::from(half), 8).unwrap_or(0);
                let part = Reg {
                    plane: reg.plane + 2 * half,
                    planes: 2,
                };
                bits(at.mask).for_each(|lane| set(warp, part, lane, value));
            }
            continue;
        }
        let value = extend(memory.load(from, size).unwrap_or(0), op.ty);
        bits(at.mask).for_each(|lane| set(warp, reg, lane, value));
    }
}

fn load_small<O: Observer>(
    memory: &Bytes,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    targets: &Addresses,
) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let step = k * size as usize;
        if size == 16 {
            for lane in bits(at.mask) {
                for half in 0..2u16 {
                    let from = targets[lane] as usize + step + 8 * usize::from(half);
                    let part = Reg {
                        plane: reg.plane + 2 * half,
                        planes: 2,
                    };
                    set(warp, part, lane, memory.load(from, 8).unwrap_or(0));
                }
            }
        } else if size == 4 && reg.planes == 1 {
            let out = warp.registers.narrow_mut(reg.plane);
            for lane in bits(at.mask) {
                out[lane] = memory.load(targets[lane] as usize + step, 4).unwrap_or(0) as u32;
            }
        } else {
            for lane in bits(at.mask) {
                let value = memory
                    .load(targets[lane] as usize + step, size)
                    .unwrap_or(0);
                set(warp, reg, lane, extend(value, op.ty));
            }
        }
        if O::ACTIVE {
            let mut known: Known = [u16::MAX; LANES];
            for lane in bits(at.mask) {
                known[lane] = memory.written(targets[lane] as usize + step, size) as u16;
            }
            observer.loaded(at, op, k, &known);
        }
    }
}

/// An access to memory that this block alone can touch, already checked.
#[allow(
    clippy::too_many_arguments,
    reason = "the state of the machine, passed down once"
)]
fn small<O: Observer>(
    env: &Env<'_>,
    memory: &mut Bytes,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    space: Space,
    targets: &Addresses,
) {
    match op.access {
        Access::Load => load_small(memory, warp, observer, op, at, targets),
        Access::Store => {
            let size = op.ty.bytes();
            for (k, reg) in op.registers.iter().enumerate() {
                let Some(reg) = *reg else { continue };
                let step = k * size as usize;
                for lane in bits(at.mask) {
                    let to = targets[lane] as usize + step;
                    if size == 16 {
                        for half in 0..2u16 {
                            let part = Reg {
                                plane: reg.plane + 2 * half,
                                planes: 2,
                            };
                            let value = super::misc::get(warp, part, lane);
                            memory.store(to + 8 * usize::from(half), 8, value);
                        }
                    } else {
                        memory.store(to, size, super::misc::get(warp, reg, lane));
                    }
                }
                if O::ACTIVE {
                    let known = observer.stored(at, op, k);
                    for lane in bits(at.mask) {
                        memory.mark(
                            targets[lane] as usize + step,
                            size,
                            u32::from(known[lane]) & ((1 << size) - 1),
                        );
                    }
                }
            }
        }
        Access::Atomic(what) => {
            atomic::small(env, memory, warp, observer, op, what, at, space, targets)
        }
    }
}
