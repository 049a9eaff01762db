//! Tensor copies at work: tiles of a tensor between device and shared memory.
//!
//! A tile's elements lie in shared memory without gaps, the innermost dimension side by side,
//! pieces of 16 bytes moved about by the swizzle. What lies outside the tensor is read as zero
//! and not written (PTX manual, "Tensors" and "Swizzling modes").

use super::access::{addresses, window_of};
use super::block::Block;
use super::bounds::locate;
use super::bulk::{Mover, PIECE, operand, plain};
use super::cluster::address;
use super::fault::{FaultKind, Raised};
use super::observer::{At, Observer};
use super::pattern::Pattern;
use super::registers::LANES;
use super::step::{Env, bits};
use super::warp::Warp;
use crate::lower::bulk::{CopyMapOp, Motion, ReplaceOp, TensorOp};
use crate::lower::program::{Access, Atomic};
use crate::ptx::types::{ScalarType, Space};
use crate::tensor_map::{ALIGNMENT, BYTES, DIMENSIONS, DataType, Fill, TensorMap};

/// What a tile's address in shared memory must be a multiple of.
const TILE_ALIGNMENT: u64 = 128;

fn misaligned(space: Space, address: u64, bytes: u64, lane: usize) -> Raised {
    let bytes = bytes as u32;
    let kind = FaultKind::Misaligned {
        space,
        address,
        bytes,
    };
    Raised::new(kind, lane as u32)
}

fn bad_map(address: u64, message: impl ToString, lane: usize) -> Raised {
    let message = message.to_string();
    Raised::new(FaultKind::TensorMap { address, message }, lane as u32)
}

fn unsupported(message: &str, lane: usize) -> Raised {
    let message = message.to_owned();
    Raised::new(FaultKind::Operand { message }, lane as u32)
}

/// The tensor map at an address: in device memory, among the parameters, or constant.
fn tensor_map(env: &Env<'_>, named: Space, address: u64, lane: usize) -> Result<TensorMap, Raised> {
    let (space, offset) = match named {
        Space::Generic => window_of(address),
        _ => (named, address),
    };
    if !offset.is_multiple_of(ALIGNMENT) {
        return Err(misaligned(space, address, ALIGNMENT, lane));
    }
    let mut words = [0u64; BYTES / 8];
    match space {
        Space::Global => {
            let targets = [address; LANES];
            let pattern = Pattern::of(&targets, 1 << lane);
            let (a, _) = locate(env, 1 << lane, &targets, pattern, BYTES as u32, false)?;
            for (k, word) in words.iter_mut().enumerate() {
                *word = a.load(address - a.base + 8 * k as u64, 8);
            }
        }
        Space::Param | Space::Const => {
            let memory = if space == Space::Param {
                env.params
            } else {
                env.constants
            };
            for (k, word) in words.iter_mut().enumerate() {
                let found = memory.load(offset as usize + 8 * k, 8);
                *word =
                    found.ok_or_else(|| bad_map(address, "it ends outside its memory", lane))?;
            }
        }
        _ => {
            let kind = FaultKind::WrongSpace {
                named: Space::Global,
                address,
                actual: space,
            };
            return Err(Raised::new(kind, lane as u32));
        }
    }
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let bytes: [u8; BYTES] = bytes.try_into().unwrap_or([0; BYTES]);
    let map = TensorMap::read(&bytes).map_err(|why| bad_map(address, why, lane))?;
    map.check().map_err(|why| bad_map(address, why, lane))?;
    Ok(map)
}

/// The type of an element as an atomic sees it.
fn element_type(ty: DataType) -> ScalarType {
    match ty {
        DataType::U8 => ScalarType::U8,
        DataType::U16 => ScalarType::U16,
        DataType::U32 => ScalarType::U32,
        DataType::S32 => ScalarType::S32,
        DataType::U64 => ScalarType::U64,
        DataType::S64 => ScalarType::S64,
        DataType::F16 => ScalarType::F16,
        DataType::Bf16 => ScalarType::BF16,
        DataType::F64 => ScalarType::F64,
        DataType::F32 | DataType::F32Ftz | DataType::Tf32 | DataType::Tf32Ftz => ScalarType::F32,
    }
}

/// Whether a reduction exists for a type (PTX manual, `cp.reduce.async.bulk.tensor`).
fn reduces(what: Atomic, ty: ScalarType) -> bool {
    use ScalarType as T;
    match what {
        Atomic::Add => matches!(ty, T::U32 | T::S32 | T::U64 | T::F16 | T::BF16 | T::F32),
        Atomic::Min | Atomic::Max => {
            matches!(ty, T::U32 | T::S32 | T::U64 | T::S64 | T::F16 | T::BF16)
        }
        Atomic::Inc | Atomic::Dec => ty == T::U32,
        Atomic::And | Atomic::Or | Atomic::Xor => {
            matches!(ty, T::U32 | T::S32 | T::U64 | T::S64)
        }
        Atomic::Exchange | Atomic::CompareSwap => false,
    }
}

/// A tensor copy.
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &TensorOp,
    at: At,
) -> Result<(), Raised> {
    let maps = addresses(warp, &op.map);
    for lane in bits(at.mask) {
        let map = tensor_map(env, op.map.space, maps[lane], lane)?;
        if map.rank != op.coordinates.len() {
            let (have, want) = (map.rank, op.coordinates.len());
            let message = format!("it has {have} dimensions, the instruction {want}");
            return Err(bad_map(maps[lane], message, lane));
        }
        if map.fill == Fill::Nan {
            return Err(unsupported("tensor maps that fill with NaN", lane));
        }
        if map.row_bytes() < map.swizzle.bytes() {
            return Err(unsupported("rows of a tile shorter than its swizzle", lane));
        }
        let here = At {
            mask: 1 << lane,
            ..at
        };
        let mut mover = Mover {
            env,
            block: &mut *block,
            warp: &mut *warp,
            observer: &mut *observer,
            at: here,
        };
        let coordinates =
            |i: usize| i64::from(mover.warp.registers.narrow(op.coordinates[i])[lane] as i32);
        let first: [i64; DIMENSIONS] =
            std::array::from_fn(|i| if i < map.rank { coordinates(i) } else { 0 });
        tile(&mut mover, op, &map, first)?;
    }
    Ok(())
}

/// A row of a tile: its place in device memory, if it lies inside the tensor.
fn row(map: &TensorMap, first: &[i64; DIMENSIONS], mut number: u64) -> Option<u64> {
    let mut at = map.address;
    let mut inside = true;
    for (d, start) in first.iter().enumerate().take(map.rank).skip(1) {
        let count = map.copied(d);
        let step = (number % count) as i64 * i64::from(map.element_strides[d]);
        number /= count;
        let coordinate = start + step;
        inside &= (0..map.sizes[d] as i64).contains(&coordinate);
        at = at.wrapping_add((coordinate as u64).wrapping_mul(map.strides[d - 1]));
    }
    inside.then_some(at)
}

fn tile<O: Observer>(
    mover: &mut Mover<'_, '_, O>,
    op: &TensorOp,
    map: &TensorMap,
    first: [i64; DIMENSIONS],
) -> Result<(), Raised> {
    let lane = mover.lane();
    let (rank, place) = mover.shared(&op.tile)?;
    if !place.is_multiple_of(TILE_ALIGNMENT) {
        return Err(misaligned(Space::Shared, place, TILE_ALIGNMENT, lane));
    }
    let receivers = match op.motion {
        Motion::Load { multicast, .. } => mover.receivers(multicast, rank),
        _ => vec![rank],
    };
    let ty = element_type(map.data_type);
    if let Motion::Reduce(what) = op.motion
        && !reduces(what, ty)
    {
        let message = format!("no reduction {what:?} of {:?} elements", map.data_type);
        return Err(unsupported(&message, lane));
    }
    let width = map.data_type.bytes();
    let rows: u64 = (1..map.rank).map(|d| map.copied(d)).product();
    for number in 0..rows {
        let start = row(map, &first, number);
        for done in (0..map.row_bytes()).step_by(PIECE as usize) {
            let shared = map.swizzle.place(place + number * map.row_bytes() + done);
            // The elements of the piece that lie inside the tensor, and where.
            let column = first[0] + (done / width) as i64;
            let inside = |k: &u64| {
                start.is_some() && (0..map.sizes[0] as i64).contains(&(column + *k as i64))
            };
            let global = |k: u64| {
                let offset = (column + k as i64).wrapping_mul(width as i64);
                start.unwrap_or(0).wrapping_add_signed(offset)
            };
            let elements: Vec<u64> = (0..PIECE / width).filter(inside).collect();
            let whole = elements.len() as u64 == PIECE / width && global(0).is_multiple_of(PIECE);
            if let Motion::Load { .. } = op.motion {
                let piece = load(mover, op, map, whole, &elements, global)?;
                let mut store = op.store.clone();
                store.registers[0] = Some(piece);
                for to in &receivers {
                    mover.access(&store, address(*to, shared))?;
                }
                continue;
            }
            if elements.is_empty() {
                continue;
            }
            mover.access(&op.load, address(rank, shared))?;
            match op.motion {
                Motion::Store if whole => mover.access(&op.store, global(0))?,
                _ => {
                    let reduce = match op.motion {
                        Motion::Reduce(what) => Some(what),
                        _ => None,
                    };
                    for k in elements {
                        let (offset, to) = (k * width, global(k));
                        mover.element(&op.registers, Space::Global, ty, reduce, offset, to)?;
                    }
                }
            }
        }
    }
    let bytes = (rows * map.row_bytes()) as u32;
    if let Motion::Load { barrier, .. } = &op.motion {
        let (_, at) = mover.shared(barrier)?;
        for to in receivers {
            mover.complete(to, at, place, bytes)?;
        }
    } else {
        mover.reads(place, bytes);
    }
    Ok(())
}

/// Loads 16 bytes of a tile; returns the register that holds them.
fn load<O: Observer>(
    mover: &mut Mover<'_, '_, O>,
    op: &TensorOp,
    map: &TensorMap,
    whole: bool,
    elements: &[u64],
    global: impl Fn(u64) -> u64,
) -> Result<crate::lower::program::Reg, Raised> {
    let width = map.data_type.bytes();
    let flushes = matches!(map.data_type, DataType::F32Ftz | DataType::Tf32Ftz);
    if whole && !flushes {
        mover.access(&op.load, global(0))?;
        return Ok(op.registers.piece);
    }
    let bits = ScalarType::ALL.iter().copied().find(|t| {
        t.kind() == crate::ptx::types::TypeKind::Bits && u64::from(t.bits()) == 8 * width
    });
    let element = plain(
        Access::Load,
        Space::Global,
        bits.unwrap_or(ScalarType::B8),
        op.registers.element,
    );
    mover.clear(op.registers.parts);
    for k in elements {
        mover.access(&element, global(*k))?;
        let mut value = operand(mover, op.registers.element);
        if flushes && value & 0x7f80_0000 == 0 {
            value &= 0x8000_0000;
        }
        mover.set_part(op.registers.parts, k * width, value);
    }
    Ok(op.registers.parts)
}

/// `tensormap.replace`.
pub(crate) fn replace<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &ReplaceOp,
    at: At,
) -> Result<(), Raised> {
    let maps = addresses(warp, &op.map);
    let Some(piece) = op.load.registers[0] else {
        return Ok(());
    };
    for lane in bits(at.mask) {
        let address = maps[lane];
        let here = At {
            mask: 1 << lane,
            ..at
        };
        let mut mover = Mover {
            env,
            block: &mut *block,
            warp: &mut *warp,
            observer: &mut *observer,
            at: here,
        };
        let mut bytes = [0u8; BYTES];
        for (k, part) in bytes.chunks_mut(PIECE as usize).enumerate() {
            mover.access(&op.load, address.wrapping_add(PIECE * k as u64))?;
            for (half, eight) in part.chunks_mut(8).enumerate() {
                eight.copy_from_slice(&mover.part(piece, 8 * half as u64, 8).to_le_bytes());
            }
        }
        let mut map = TensorMap::read(&bytes).map_err(|why| bad_map(address, why, lane))?;
        let value = operand(&mover, op.value);
        map.replace(op.field, value)
            .map_err(|why| bad_map(address, why, lane))?;
        for (k, part) in map.bytes().chunks(PIECE as usize).enumerate() {
            mover.clear(piece);
            for (half, eight) in part.chunks(8).enumerate() {
                let value = eight.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
                mover.set_part(piece, 8 * half as u64, value);
            }
            mover.access(&op.store, address.wrapping_add(PIECE * k as u64))?;
        }
    }
    Ok(())
}

/// `tensormap.cp_fenceproxy`: the lanes together copy one tensor map.
pub(crate) fn copy_map<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &CopyMapOp,
    at: At,
) -> Result<(), Raised> {
    let lane = at.mask.trailing_zeros() as usize;
    let (from, to) = (
        addresses(warp, &op.source)[lane],
        addresses(warp, &op.destination)[lane],
    );
    let here = At {
        mask: 1 << lane,
        ..at
    };
    let mut mover = Mover {
        env,
        block,
        warp,
        observer,
        at: here,
    };
    for k in (0..BYTES as u64).step_by(PIECE as usize) {
        mover.access(&op.load, from.wrapping_add(k))?;
        mover.access(&op.store, to.wrapping_add(k))?;
    }
    Ok(())
}
