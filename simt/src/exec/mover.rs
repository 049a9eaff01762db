//! What bulk copies and tensor maps share: one lane moves memory through registers of its own, piece
//! by piece, by ordinary checked accesses.

use super::access::{self, addresses};
use super::asynchronous::{complete, set_word, word};
use super::block::Block;
use super::cluster::{at_peer, resolve, shared_address};
use super::fault::{FaultKind, Raised};
use super::misc::{get, set};
use super::observer::{At, Observer};
use super::registers::LANES;
use super::step::{Env, bits};
use super::warp::Warp;
use crate::lower::bulk::Scratch;
use crate::lower::program::{Access, Address, Atomic, MemoryOp, Order, Reg, Scope};
use crate::ptx::types::{ScalarType, Space};

/// Bytes a bulk copy moves at a time: its granularity.
pub(crate) const PIECE: u64 = 16;

/// What an operation needs to touch memory for one lane.
pub(crate) struct Mover<'a, 'e, O> {
    pub(crate) env: &'a Env<'e>,
    pub(crate) block: &'a mut Block,
    pub(crate) warp: &'a mut Warp,
    pub(crate) observer: &'a mut O,
    /// With one lane in its mask.
    pub(crate) at: At,
}

/// Does something for each lane of `at.mask`, one after the other.
pub(crate) fn each_lane<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: At,
    mut work: impl FnMut(&mut Mover<'_, '_, O>) -> Result<(), Raised>,
) -> Result<(), Raised> {
    bits(at.mask).try_for_each(|lane| {
        work(&mut Mover {
            env,
            block: &mut *block,
            warp: &mut *warp,
            observer: &mut *observer,
            at: At {
                mask: 1 << lane,
                ..at
            },
        })
    })
}

impl<O: Observer> Mover<'_, '_, O> {
    pub(crate) fn lane(&self) -> usize {
        self.at.mask.trailing_zeros() as usize
    }

    /// The value of a register.
    pub(crate) fn value(&self, reg: Reg) -> u64 {
        get(self.warp, reg, self.lane())
    }

    /// The value of a 32-bit register.
    pub(crate) fn narrow(&self, plane: u16) -> u32 {
        self.warp.registers.narrow(plane)[self.lane()]
    }

    /// The address an operand names.
    pub(crate) fn address(&self, operand: &Address) -> u64 {
        addresses(self.warp, operand)[self.lane()]
    }

    /// A fault of the lane.
    pub(crate) fn fault(&self, kind: FaultKind) -> Raised {
        Raised::new(kind, self.lane() as u32)
    }

    /// An address out of line.
    pub(crate) fn misaligned(&self, space: Space, address: u64, alignment: u64) -> Raised {
        let bytes = alignment as u32;
        self.fault(FaultKind::Misaligned {
            space,
            address,
            bytes,
        })
    }

    /// One access of the lane.
    pub(crate) fn access(&mut self, op: &MemoryOp, place: u64) -> Result<(), Raised> {
        let (at, targets) = (self.at, [place; LANES]);
        access::execute_at(
            self.env,
            self.block,
            self.warp,
            self.observer,
            op,
            at,
            targets,
        )
    }

    /// A part of a register of 16 bytes.
    pub(crate) fn part(&self, whole: Reg, offset: u64, bytes: u64) -> u64 {
        let low = word(self.warp, whole, (offset / 4) as u32, self.lane());
        match bytes {
            8 => {
                let high = word(self.warp, whole, (offset / 4) as u32 + 1, self.lane());
                u64::from(low) | u64::from(high) << 32
            }
            4 => u64::from(low),
            _ => u64::from(low) >> (8 * (offset % 4)) & ((1 << (8 * bytes)) - 1),
        }
    }

    /// Puts a value into a part of a register of 16 bytes whose bits there are zero.
    pub(crate) fn set_part(&mut self, whole: Reg, offset: u64, value: u64) {
        let (index, lane) = ((offset / 4) as u32, self.lane());
        let shifted = u128::from(value) << (8 * (offset % 4));
        for (k, bits) in [shifted as u32, (shifted >> 32) as u32]
            .into_iter()
            .enumerate()
        {
            if bits != 0 {
                let old = word(self.warp, whole, index + k as u32, lane);
                set_word(self.warp, whole, index + k as u32, lane, old | bits);
            }
        }
    }

    pub(crate) fn clear(&mut self, whole: Reg) {
        (0..4).for_each(|k| set_word(self.warp, whole, k, self.lane(), 0));
    }

    /// One element of the piece to memory: stored, or combined with what is there.
    pub(crate) fn element(
        &mut self,
        registers: &Scratch,
        space: Space,
        ty: ScalarType,
        reduce: Option<Atomic>,
        offset: u64,
        place: u64,
    ) -> Result<(), Raised> {
        let value = self.part(registers.piece, offset, u64::from(ty.bytes()));
        let lane = self.lane();
        set(self.warp, registers.element, lane, value);
        let op = match reduce {
            None => plain(Access::Store, space, ty, registers.element),
            Some(what) => atomic(what, space, ty, registers.element),
        };
        self.access(&op, place)
    }

    /// A copy out of shared memory was issued.
    pub(crate) fn reads(&mut self, from: u64, bytes: u32) {
        if O::ACTIVE {
            self.observer.copies_read(self.at, from, bytes);
        }
    }

    /// Bytes have landed at `start` in the block of a rank: its mbarrier at `place` hears of
    /// them.
    pub(crate) fn complete(
        &mut self,
        rank: u32,
        place: u64,
        start: u64,
        bytes: u32,
    ) -> Result<(), Raised> {
        let (env, at, lane) = (self.env, self.at, self.lane());
        at_peer(
            env,
            self.block,
            self.observer,
            rank,
            lane,
            place,
            |block, observer| {
                if O::ACTIVE {
                    observer.copies_issue(at, &[start; LANES], bytes, true);
                }
                complete(env, block, observer, at, place, bytes)
            },
        )
    }

    /// The rank and place of a shared address operand.
    pub(crate) fn shared(&self, operand: &Address) -> Result<(u32, u64), Raised> {
        let given = self.address(operand);
        Ok(resolve(
            self.block,
            shared_address(operand.space, given, self.lane())?,
        ))
    }

    /// The ranks that get what is copied.
    pub(crate) fn receivers(&self, multicast: Option<u16>, own: u32) -> Vec<u32> {
        match multicast {
            None => vec![own],
            Some(plane) => {
                let mask = self.narrow(plane) & 0xffff;
                bits(mask).map(|rank| rank as u32).collect()
            }
        }
    }
}

/// A weak access of one register.
pub(crate) fn plain(kind: Access, space: Space, ty: ScalarType, register: Reg) -> MemoryOp {
    crate::lower::asynchronous::access(kind, space, ty, register)
}

fn atomic(what: Atomic, space: Space, ty: ScalarType, register: Reg) -> MemoryOp {
    MemoryOp {
        registers: smallvec::smallvec![None],
        sources: smallvec::smallvec![register],
        order: Order::Relaxed,
        scope: Scope::Device,
        ..plain(Access::Atomic(what), space, ty, register)
    }
}
