//! Tensor copies at work: tiles of a tensor between device and shared memory.
//!
//! A tile's elements lie in shared memory without gaps, the innermost dimension side by side,
//! pieces of 16 bytes moved about by the swizzle. What lies outside the tensor is read as zero
//! and not written (PTX manual, "Tensors" and "Swizzling modes").

use super::cluster::address;
use super::fault::{FaultKind, Raised};
use super::map;
use super::mover::{Mover, PIECE, plain};
use super::observer::Observer;
use crate::lower::bulk::{Motion, TensorOp};
use crate::lower::program::{Access, Atomic};
use crate::ptx::types::{ScalarType, Space};
use crate::tensor_map::{DIMENSIONS, DataType, Fill, TensorMap};

/// What a tile's address in shared memory must be a multiple of.
const TILE_ALIGNMENT: u64 = 128;

fn unsupported<O: Observer>(mover: &Mover<'_, '_, O>, message: &str) -> Raised {
    let message = message.to_owned();
    mover.fault(FaultKind::Operand { message })
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
        Atomic::CopyAdd => matches!(ty, T::U32 | T::S32 | T::U64 | T::F16 | T::BF16 | T::F32),
        Atomic::Min | Atomic::Max => {
            matches!(ty, T::U32 | T::S32 | T::U64 | T::S64 | T::F16 | T::BF16)
        }
        Atomic::Inc | Atomic::Dec => ty == T::U32,
        Atomic::And | Atomic::Or | Atomic::Xor => {
            matches!(ty, T::U32 | T::S32 | T::U64 | T::S64)
        }
        Atomic::Add | Atomic::Exchange | Atomic::CompareSwap => false,
    }
}

/// A tensor copy.
pub(crate) fn copy<O: Observer>(mover: &mut Mover<'_, '_, O>, op: &TensorOp) -> Result<(), Raised> {
    let address = mover.address(&op.map);
    let map = map::read(mover, op.map.space, address)?;
    if map.rank != op.coordinates.len() {
        let (have, want) = (map.rank, op.coordinates.len());
        let message = format!("it has {have} dimensions, the instruction {want}");
        return Err(map::bad(mover, address, message));
    }
    if map.row_bytes() < map.swizzle.bytes() {
        let message = "rows of a tile shorter than its swizzle";
        return Err(unsupported(mover, message));
    }
    let mut first = [0i64; DIMENSIONS];
    for (start, plane) in first.iter_mut().zip(&op.coordinates) {
        *start = i64::from(mover.narrow(*plane) as i32);
    }
    tile(mover, op, &map, first)
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
    let (rank, place) = mover.shared(&op.tile)?;
    if !place.is_multiple_of(TILE_ALIGNMENT) {
        return Err(mover.misaligned(Space::Shared, place, TILE_ALIGNMENT));
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
        return Err(unsupported(mover, &message));
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
    if map.fill == Fill::Nan {
        let nan = u64::MAX >> (64 - 8 * width);
        for k in (0..PIECE / width).filter(|k| !elements.contains(k)) {
            mover.set_part(op.registers.parts, k * width, nan);
        }
    }
    for k in elements {
        mover.access(&element, global(*k))?;
        let mut value = mover.value(op.registers.element);
        if flushes && value & 0x7f80_0000 == 0 {
            value &= 0x8000_0000;
        }
        mover.set_part(op.registers.parts, k * width, value);
    }
    Ok(op.registers.parts)
}
