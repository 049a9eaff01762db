//! LayerNorm and RMSNorm, backward.
//!
//! ```text
//! x̂ = (x − μ)·ρ          g = dy·γ             μ and ρ (rstd) as the forward pass saved them
//! c₁ = mean(g)           c₂ = mean(g·x̂)       over a row
//! dx = ρ·(g − c₁ − x̂·c₂) (+ residual)
//! dγ = Σ_rows dy·x̂       dβ = Σ_rows dy
//! RMSNorm: μ = 0, c₁ = 0, no dβ
//! ```
//! x̂ is recomputed: only μ and ρ are kept from the forward pass. About 14 flops an element; the
//! compulsory bytes are x, dy and dx once, `3·R·D·size`.
//!
//! Rung 1 in f32 or 16 bits (`size` bytes), with S shares of the rows and w = ⌈D/32⌉, counted to the
//! operation and byte:
//!
//! ```text
//! operations  17·R·D + 4117·R + 2·D·(S + 32)
//! bytes       6·size·R·D + (40 + 4·min(8, w) + 16·w)·R + (size + 16)·D·S + 8·D
//! ```
//!
//! | rung | entries | reads x, dy | takes | gains |
//! |---|---|---|---|---|
//! | 1 | `…_means_any`, `…_columns_any` | twice | any width | the simplest |
//! | 2 | `…_means`, `…_columns` | twice | rows of whole 16 bytes, any width | 16 bytes an access |
//! | 3 | `…_lanes_any` | once | width ≤ 128 | one pass; short rows share a warp |
//! | 4 | `…_lanes` | once | whole 16 bytes, ≤ 512 bytes | both |
//! | 5 | `…_block` | once | whole 16 bytes, ≤ 8 KiB | a block a row |
//! | 6 | `…_block_wide` | once | whole 16 bytes, ≤ 8192 columns | wider rows |
//!
//! # Two passes (rungs 1, 2)
//!
//! ```text
//! means:    a block a row:     Σg, Σg·x̂ over the block → c₁, c₂
//! columns:  a thread a column, of every grid_dim_y-th row: dx; dγ, dβ in registers → partial
//! ```
//!
//! # One pass (rungs 3 to 6)
//!
//! ```text
//! γ ← in registers; in shared memory for wide rows
//! for each row of this team:                        (a team: some lanes, a warp, or a block)
//!     x, dy ← the row, in registers; the next row's loads begin
//!     μ, ρ ← from the lane that read them           32 rows at a time, so no sector is read twice
//!     Σg, Σg·x̂ ← this thread's share; dγ += dy·x̂, dβ += dy, in registers for all rows
//!     c₁, c₂ ← the team's total                      shuffles; one barrier a row in a block
//!     dx ← ρ·(g − c₁ − x̂·c₂)
//! dγ, dβ ← butterfly over a warp's teams, then its warps in order → partial[block]
//! ```
//! As many blocks as the device runs at once take all rows, so `partial` is small: 8 bytes a column
//! and block. The sums over rows are chains of R ÷ teams terms, not R.
//!
//! # Second stage
//!
//! `layernorm_backward_finish` adds the blocks' shares up, always in the same order: 32 columns a
//! block, 32 warps a column. No atomics: the same bits on every run.

use crate::{Entry, Family};

#[cfg(all(target_arch = "nvptx64", feature = "layernorm-backward"))]
mod access;
#[cfg(all(target_arch = "nvptx64", feature = "layernorm-backward"))]
mod arithmetic;
#[cfg(all(target_arch = "nvptx64", feature = "layernorm-backward"))]
mod one_pass;
#[cfg(all(target_arch = "nvptx64", feature = "layernorm-backward"))]
mod two_pass;

/// Threads in a block of `…_means`, `…_columns` and `…_lanes`.
pub const THREADS: u32 = 256;
/// The most threads in a block of `…_block` and `…_block_wide`.
pub const BLOCK_THREADS: u32 = 512;
/// Columns a thread of `…_block_wide` has, in two or four accesses.
pub const WIDE_COLUMNS: u32 = 16;
/// The most bytes of a row a thread has in `…_lanes` and `…_block`, in one access.
pub const ACCESS_BYTES: u32 = 16;
/// The widest row of `…_lanes_any`.
pub const LANES_ANY_WIDTH: u32 = 4 * 32;
/// Columns a block of `…_finish` adds up.
pub const FINISH_COLUMNS: u32 = 32;
/// Warps of a block of `…_finish`.
pub const FINISH_WARPS: u32 = 32;

type Counts = &'static [(&'static str, u32)];

/// Words that pairs of lanes exchange to write dγ and dβ of an access of `per` columns a lane.
const fn exchanged(per: u32) -> u32 {
    if per == 8 { 2 * 4 } else { 0 }
}

/// A row's statistics; the team's pair in a loop over distances; dγ and dβ of `columns` a lane over
/// the teams of a warp, in accesses of `per`; the barrier between warps.
macro_rules! lanes_counts {
    ($columns:expr, $per:expr) => {
        &[
            ("shfl.sync.idx", 2),
            ("shfl.sync.bfly", 2 + 2 * $columns + exchanged($per)),
            ("bar.sync", 1),
        ]
    };
}

/// A row's statistics; two butterflies of a pair; the barrier of a row; `accesses` of `per` columns
/// of dγ and dβ.
macro_rules! block_counts {
    ($accesses:expr, $per:expr) => {
        &[
            ("shfl.sync.idx", 2),
            ("shfl.sync.bfly", 20 + $accesses * exchanged($per)),
            ("bar.sync", 1),
        ]
    };
}

/// `reduce::block` of a pair.
const MEANS: Counts = &[("shfl.sync.bfly", 20), ("bar.sync", 2)];

const QUADS: &[&str] = &["LDG.E.128", "STG.E"];

const fn entry(
    name: &'static str,
    max_threads: u32,
    collectives: Counts,
    machine_code: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        max_threads,
        collectives,
        machine_code,
    }
}

macro_rules! rows_of_type {
    ($t:literal, $per:literal) => {
        [
            entry(
                concat!("layernorm_backward_means_any_", $t),
                THREADS,
                MEANS,
                &["SHFL.BFLY"],
            ),
            entry(
                concat!("layernorm_backward_columns_any_", $t),
                THREADS,
                &[],
                &["FFMA"],
            ),
            entry(
                concat!("layernorm_backward_means_", $t),
                THREADS,
                MEANS,
                QUADS,
            ),
            entry(
                concat!("layernorm_backward_columns_", $t),
                THREADS,
                &[],
                QUADS,
            ),
            entry(
                concat!("layernorm_backward_lanes_any_", $t),
                THREADS,
                lanes_counts!(4, 1),
                &["SHFL.BFLY"],
            ),
            entry(
                concat!("layernorm_backward_lanes_", $t),
                THREADS,
                lanes_counts!($per, $per),
                QUADS,
            ),
            entry(
                concat!("layernorm_backward_block_", $t),
                BLOCK_THREADS,
                block_counts!(1, $per),
                QUADS,
            ),
            entry(
                concat!("layernorm_backward_block_wide_", $t),
                BLOCK_THREADS,
                block_counts!(WIDE_COLUMNS / $per, $per),
                QUADS,
            ),
        ]
    };
}

const PER_TYPE: [[Entry; 8]; 3] = [
    rows_of_type!("f32", 4),
    rows_of_type!("f16", 8),
    rows_of_type!("bf16", 8),
];

const ENTRIES: [Entry; 25] = {
    let finish = entry(
        "layernorm_backward_finish",
        FINISH_COLUMNS * FINISH_WARPS,
        &[("bar.sync", 1)],
        &["LDS"],
    );
    let mut all = [finish; 25];
    let mut at = 0;
    while at < 24 {
        all[at] = PER_TYPE[at / 8][at % 8];
        at += 1;
    }
    all
};

/// This family's kernels.
pub const FAMILY: Family = Family {
    name: "layernorm-backward",
    entries: &ENTRIES,
};

#[cfg(all(target_arch = "nvptx64", feature = "layernorm-backward"))]
mod kernels {
    use super::WIDE_COLUMNS;
    use super::access::{Packed, Quad, Single};
    use super::one_pass::{Problem, by_block, by_lanes};
    use super::two_pass;
    use crate::device::half::{Bf16, F16};

    /// One entry: what all take, and what this one takes besides.
    macro_rules! kernel {
        ($name:ident($t:ty $(, $extra:ident: $extra_type:ty)*), |$problem:ident| $body:expr) => {
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(
                x: *const $t,
                dy: *const $t,
                gamma: *const $t,
                mean: *const f32,
                rstd: *const f32,
                residual: *const $t,
                dx: *mut $t,
                partial: *mut f32,
                rows: u32,
                width: u32,
                $($extra: $extra_type),*
            ) {
                let $problem = &Problem {
                    x, dy, gamma, mean, rstd, residual, dx, partial, rows, width,
                };
                $body
            }
        };
    }

    macro_rules! kernels {
        ($($t:ty { $means_any:ident $columns_any:ident $means:ident $columns:ident $lanes_any:ident
            $lanes:ident  $block:ident $wide:ident })*) => {$(
            kernel!($means_any($t, means: *mut f32),
                |problem| two_pass::row_means::<Single<$t>>(problem, means));
            kernel!($columns_any($t, means: *const f32),
                |problem| two_pass::columns::<Single<$t>>(problem, means));
            kernel!($means($t, means: *mut f32),
                |problem| two_pass::row_means::<Quad<$t>>(problem, means));
            kernel!($columns($t, means: *const f32),
                |problem| two_pass::columns::<Quad<$t>>(problem, means));
            kernel!($lanes_any($t, lanes: u32), |problem| by_lanes::<Single<$t>, 4>(problem, lanes));
            kernel!($lanes($t, lanes: u32), |problem| by_lanes::<Quad<$t>, 1>(problem, lanes));
            kernel!($block($t), |problem| by_block::<Quad<$t>, 1, true>(problem));
            kernel!($wide($t), |problem| by_block::<Quad<$t>, { WIDE_COLUMNS as usize / <$t as Packed>::PER_QUAD }, false>(problem));
        )*};
    }

    kernels! {
        f32 {
            layernorm_backward_means_any_f32 layernorm_backward_columns_any_f32
            layernorm_backward_means_f32 layernorm_backward_columns_f32
            layernorm_backward_lanes_any_f32
            layernorm_backward_lanes_f32
            layernorm_backward_block_f32
            layernorm_backward_block_wide_f32
        }
        F16 {
            layernorm_backward_means_any_f16 layernorm_backward_columns_any_f16
            layernorm_backward_means_f16 layernorm_backward_columns_f16
            layernorm_backward_lanes_any_f16
            layernorm_backward_lanes_f16
            layernorm_backward_block_f16
            layernorm_backward_block_wide_f16
        }
        Bf16 {
            layernorm_backward_means_any_bf16 layernorm_backward_columns_any_bf16
            layernorm_backward_means_bf16 layernorm_backward_columns_bf16
            layernorm_backward_lanes_any_bf16
            layernorm_backward_lanes_bf16
            layernorm_backward_block_bf16
            layernorm_backward_block_wide_bf16
        }
    }

    /// The second stage. Grid: ⌈width / 32⌉ × (2 with dβ, else 1) blocks of 1024.
    #[unsafe(no_mangle)]
    pub unsafe extern "ptx-kernel" fn layernorm_backward_finish(
        partial: *const f32,
        dgamma: *mut f32,
        dbeta: *mut f32,
        slices: u32,
        width: u32,
    ) {
        two_pass::finish(partial, dgamma, dbeta, slices, width);
    }
}
