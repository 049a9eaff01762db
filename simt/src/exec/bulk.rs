//! Bulk copies at work: linear ones, and stores that complete bytes at an mbarrier. Tensors are
//! in [`super::tensor`].

use super::access;
use super::block::Block;
use super::cluster::{address, resolve};
use super::fault::{FaultKind, Raised};
use super::mover::{Mover, PIECE, each_lane};
use super::observer::{At, Observer};
use super::step::Env;
use super::warp::Warp;
use crate::lower::bulk::{BulkOp, Reduction, RemoteOp};

/// A linear copy.
pub(crate) fn linear<O: Observer>(mover: &mut Mover<'_, '_, O>, op: &BulkOp) -> Result<(), Raised> {
    let size = mover.narrow(op.size);
    if !u64::from(size).is_multiple_of(PIECE) {
        let bytes = u64::from(size);
        return Err(mover.fault(FaultKind::BulkSize { bytes }));
    }
    let (from, to) = (mover.address(&op.source), mover.address(&op.destination));
    let receivers = match &op.barrier {
        Some(_) => {
            let (rank, place) = mover.shared(&op.destination)?;
            let all = mover.receivers(op.multicast, rank);
            all.into_iter().map(|r| address(r, place)).collect()
        }
        None => vec![to],
    };
    for done in (0..u64::from(size)).step_by(PIECE as usize) {
        mover.access(&op.load, from.wrapping_add(done))?;
        for to in &receivers {
            let place = to.wrapping_add(done);
            match op.reduce {
                None => mover.access(&op.store, place)?,
                Some(Reduction { what, ty }) => {
                    let space = op.store.address.space;
                    for offset in (0..PIECE).step_by(ty.bytes() as usize) {
                        let place = place + offset;
                        mover.element(&op.registers, space, ty, Some(what), offset, place)?;
                    }
                }
            }
        }
    }
    let Some(barrier) = &op.barrier else {
        mover.reads(from, size);
        return Ok(());
    };
    let (_, place) = mover.shared(barrier)?;
    for to in receivers {
        let (rank, start) = resolve(mover.block, to);
        mover.complete(rank, place, start, size)?;
    }
    Ok(())
}

/// `st.async`, `red.async`: an access, then its bytes at the mbarrier beside it.
pub(crate) fn remote<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &RemoteOp,
    at: At,
) -> Result<(), Raised> {
    access::execute(env, block, warp, observer, &op.memory, at)?;
    each_lane(env, block, warp, observer, at, |mover| {
        let (to, start) = mover.shared(&op.memory.address)?;
        let (rank, place) = mover.shared(&op.barrier)?;
        if rank != to {
            let message = "the data and its mbarrier must be in the same block of the cluster";
            return Err(mover.fault(FaultKind::Operand {
                message: message.to_owned(),
            }));
        }
        mover.complete(rank, place, start, op.memory.bytes())
    })
}
