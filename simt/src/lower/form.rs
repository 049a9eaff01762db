//! What a load or store asks of the machine each time it runs, in one flat piece: found once, so
//! that the short way of regular accesses looks nothing up and follows no pointer.

use super::program::{Access, Address, MemoryOp, Reg};
use crate::ptx::types::Space;

/// Words of a lane that an access moves at once, at most.
pub(crate) const WORDS: usize = 8;

/// A load or store, prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// What it does.
    pub(crate) access: Access,
    /// Where.
    pub(crate) address: Address,
    /// Bytes one lane touches.
    pub(crate) bytes: u32,
    /// The bits of an address that must be zero.
    pub(crate) crooked: u64,
    /// Bytes of an element.
    pub(crate) size: u32,
    /// Words of a lane, where all elements are whole registers of 32, 64 or 128 bits; else 0.
    pub(crate) words: u8,
    /// The plane of each word; of registers wider than 32 bits, a pair of planes for two words.
    pub(crate) planes: [u16; WORDS],
}

impl Form {
    pub(crate) fn of(op: &MemoryOp) -> Self {
        let size = op.ty.bytes();
        let bytes = op.bytes();
        let mut form = Self {
            access: op.access,
            address: op.address,
            bytes,
            crooked: u64::from(bytes.next_power_of_two() - 1),
            size,
            words: 0,
            planes: [0; WORDS],
        };
        let of_register = match size {
            4 => 1,
            8 => 2,
            16 => 4,
            _ => return form,
        };
        let words = op.registers.len() * of_register;
        if !matches!(words, 1 | 2 | 4 | 8) {
            return form;
        }
        for (reg, planes) in op.registers.iter().zip(form.planes.chunks_mut(of_register)) {
            let whole = |reg: &Reg| usize::from(reg.planes) == of_register;
            let Some(reg) = reg.filter(whole) else {
                return form;
            };
            for (k, plane) in planes.iter_mut().enumerate() {
                *plane = reg.plane + k as u16;
            }
        }
        form.words = words as u8;
        form
    }

    /// Whether its registers are wider than 32 bits.
    #[inline(always)]
    pub(crate) fn wide(&self) -> bool {
        self.size > 4
    }

    /// The space that the instruction names.
    #[inline(always)]
    pub(crate) fn space(&self) -> Space {
        self.address.space
    }
}
