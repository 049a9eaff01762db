//! What the attention kernels share: which keys a query sees, where the rows of a sequence lie, and
//! tiles of 16-bit values for the tensor cores. No family of its own.
//!
//! For query i and the keys j it sees:
//!
//! ```text
//! s_ij  = scale·q_i·k_j            with a softcap c: s ← c·tanh(s/c)
//! lse_i = ln Σ_j exp(s_ij)
//! o_i   = Σ_j exp(s_ij − lse_i)·v_j
//! ```
//!
//! Query i stands at position `i + Nk − Nq` (aligned bottom-right) and sees the keys from `left`
//! before to `right` after it; causal is `right = 0`. Query head h reads KV head `h / group`. The
//! query heads of one KV head are packed into the rows of a tile, so K and V are read once for all
//! of them: row r is query `r / group` of head `r % group`.

mod band;
mod half;
mod odd;
mod plain;
mod rows;
mod score;
mod sequence;
mod tile;

pub use band::{Band, Span};
pub use half::{Half, fragment, without_odd};
pub use odd::add_removed;
pub use plain::fill_f32;
pub use rows::Rows;
pub use score::{Scoring, Softcap};
pub use sequence::Sequence;
pub use tile::{Lane, Sums, Tile};

use core::arch::asm;

/// The greatest head size.
pub const GREATEST_HEAD_SIZE: u32 = 256;

/// The number, hidden from the compiler: a loop to it is not unrolled.
#[inline(always)]
pub fn opaque(n: u32) -> u32 {
    let hidden: u32;
    // SAFETY: arithmetic.
    unsafe {
        asm!("mov.u32 {o}, {i};", o = out(reg32) hidden, i = in(reg32) n,
            options(pure, nomem, nostack, preserves_flags));
    }
    hidden
}

/// The number, found anew each time: the compiler does not keep what follows from it in registers
/// from one turn of a loop to the next.
#[inline(always)]
pub fn fresh(n: u32) -> u32 {
    let found: u32;
    // SAFETY: arithmetic. Not `pure`: that is what keeps it where it stands.
    unsafe {
        asm!("mov.u32 {o}, {i};", o = out(reg32) found, i = in(reg32) n,
            options(nomem, nostack, preserves_flags));
    }
    found
}

/// The numbers below `n`, for a loop that the compiler writes once: it neither unrolls it nor, as it
/// does with loops of a length found at run time, writes out several turns and a remainder. ptxas
/// sees through the `mov`s and unrolls as it likes: the PTX is short, the machine code fast.
#[inline(always)]
pub fn rolled(n: u32) -> Rolled {
    Rolled {
        next: 0,
        end: opaque(n),
    }
}

/// See [`rolled`].
pub struct Rolled {
    next: u32,
    end: u32,
}

impl Iterator for Rolled {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let number = self.next;
        if number >= self.end {
            return None;
        }
        self.next = opaque(number + 1);
        Some(number)
    }
}
