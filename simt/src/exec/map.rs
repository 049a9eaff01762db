//! Tensor maps at work: read by copies, changed by `tensormap.replace`, copied by
//! `tensormap.cp_fenceproxy`.

use super::access::window_of;
use super::bounds::locate;
use super::fault::{FaultKind, Raised};
use super::mover::{Mover, PIECE};
use super::observer::Observer;
use super::pattern::Pattern;
use super::registers::LANES;
use crate::lower::bulk::{CopyMapOp, ReplaceOp};
use crate::ptx::types::Space;
use crate::tensor_map::{ALIGNMENT, BYTES, TensorMap};

/// The fault of bytes that are no tensor map, or one that does not fit.
pub(crate) fn bad<O: Observer>(
    mover: &Mover<'_, '_, O>,
    address: u64,
    message: impl ToString,
) -> Raised {
    let message = message.to_string();
    mover.fault(FaultKind::TensorMap { address, message })
}

/// The tensor map at an address: in device memory, among the parameters, or constant.
pub(crate) fn read<O: Observer>(
    mover: &mut Mover<'_, '_, O>,
    named: Space,
    address: u64,
) -> Result<TensorMap, Raised> {
    let (space, offset) = match named {
        Space::Generic => window_of(address),
        _ => (named, address),
    };
    if !offset.is_multiple_of(ALIGNMENT) {
        return Err(mover.misaligned(space, address, ALIGNMENT));
    }
    let env = mover.env;
    let mut bytes = [0; BYTES];
    match space {
        Space::Global => {
            let targets = [address; LANES];
            let mask = mover.at.mask;
            let pattern = Pattern::of(&targets, mask);
            let (a, _) = locate(env, mask, &targets, pattern, BYTES as u32, false)?;
            for (k, part) in bytes.chunks_mut(8).enumerate() {
                let word = a.load(address - a.base + 8 * k as u64, 8);
                part.copy_from_slice(&word.to_le_bytes());
            }
            if O::ACTIVE {
                mover.observer.map_read(mover.at, address);
            }
        }
        Space::Param | Space::Const => {
            let memory = if space == Space::Param {
                env.params
            } else {
                env.constants
            };
            for (k, part) in bytes.chunks_mut(8).enumerate() {
                let word = memory.load(offset as usize + 8 * k, 8);
                let word = word.ok_or_else(|| bad(mover, address, "it ends outside its memory"))?;
                part.copy_from_slice(&word.to_le_bytes());
            }
        }
        _ => {
            return Err(mover.fault(FaultKind::WrongSpace {
                named: Space::Global,
                address,
                actual: space,
            }));
        }
    }
    let map = TensorMap::read(&bytes).map_err(|why| bad(mover, address, why))?;
    map.check().map_err(|why| bad(mover, address, why))?;
    Ok(map)
}

/// `tensormap.replace`.
pub(crate) fn replace<O: Observer>(
    mover: &mut Mover<'_, '_, O>,
    op: &ReplaceOp,
) -> Result<(), Raised> {
    let Some(piece) = op.load.registers[0] else {
        return Ok(());
    };
    let address = mover.address(&op.map);
    let mut bytes = [0u8; BYTES];
    for (k, part) in bytes.chunks_mut(PIECE as usize).enumerate() {
        mover.access(&op.load, address.wrapping_add(PIECE * k as u64))?;
        for (half, eight) in part.chunks_mut(8).enumerate() {
            eight.copy_from_slice(&mover.part(piece, 8 * half as u64, 8).to_le_bytes());
        }
    }
    let mut map = TensorMap::read(&bytes).map_err(|why| bad(mover, address, why))?;
    let value = mover.value(op.value);
    map.replace(op.field, value)
        .map_err(|why| bad(mover, address, why))?;
    for (k, part) in map.bytes().chunks(PIECE as usize).enumerate() {
        mover.clear(piece);
        for (half, eight) in part.chunks(8).enumerate() {
            let value = eight.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
            mover.set_part(piece, 8 * half as u64, value);
        }
        mover.access(&op.store, address.wrapping_add(PIECE * k as u64))?;
    }
    Ok(())
}

/// `tensormap.cp_fenceproxy`, by one lane for all that execute it together.
pub(crate) fn copy<O: Observer>(
    mover: &mut Mover<'_, '_, O>,
    op: &CopyMapOp,
) -> Result<(), Raised> {
    let (from, to) = (mover.address(&op.source), mover.address(&op.destination));
    for k in (0..BYTES as u64).step_by(PIECE as usize) {
        mover.access(&op.load, from.wrapping_add(k))?;
        mover.access(&op.store, to.wrapping_add(k))?;
    }
    Ok(())
}
