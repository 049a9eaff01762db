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
mod plain;
mod rows;
mod score;
mod tile;

pub use band::{Band, Span};
pub use plain::fill_f32;
pub use rows::Rows;
pub use score::{Scoring, Softcap};
pub use tile::{Half, Lane, Sums, Tile, fragment};

use core::arch::asm;

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
