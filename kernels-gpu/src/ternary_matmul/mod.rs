//! Products with ternary weights, straight from two bits a weight.
//!
//! ```text
//! Ŵ[n, k] = d[n, g]·t[n, k]     g = ⌊k/128⌋    t ∈ {−1, 0, +1}    d an f16 scale ≥ 0
//! quantise   d = f16(mean |W|) over the group;  t = ±1 where |W| > d/2, else 0
//! forward    y[m, n]  = Σ_g d[n, g]·Σ_{k in g} x[m, k]·t[n, k]
//! dx         dx[m, k] = Σ_n dy[m, n]·Ŵ[n, k]
//! dW         dW[n, k] = Σ_m dy[m, n]·x[m, k]      straight through: no clip, d a constant
//! ```
//!
//! The kernels read codes and scales from two arrays (see `planar.rs`), which hold what the packed
//! formats hold; `…_from_two_bit`, `…_from_base3`, `…_to_two_bit` and `…_to_base3` change between
//! them. A lane looks four weights up with one `prmt`; no table, no multiplication by a scale in the
//! inner loop: a group's sum is scaled once.
//!
//! | entries | grid | takes |
//! |---|---|---|
//! | `…_quantise`, `…_exact` | a warp a group of 16 rows | dense weights, dense ternary weights |
//! | `…_from_…`, `…_to_…` | a thread a word, a warp a group | packed weights |
//! | `…_embed` | a block a token | |
//! | `…_forward1` | a warp a row of weights and a row of x | rung 1, any M |
//! | `…_forward8` | a warp a row of weights and 8 rows of x | rung 2: a weight is unpacked once for 8 |
//! | `…_tensor8`, `…_tensor32` | a block 16 rows of weights and 8 or 32 of x | f16 and bf16: rungs 3, 4: unpacked into fragments |
//! | `…_fused` | a block 16 rows of dense weights (8 for f32), all rows of x | quantise and forward in one launch |
//! | `…_dx1`, `…_dx8` | a block a group of columns, 1 or 8 rows of dy | rungs 1, 2 |
//! | `…_dx_tensor` | a block a group of columns and 16 rows of dy | f16 and bf16, 4 divides N: rung 3 |
//! | `…_dw` | a warp a group of columns and 8 rows of dW | rung 1, any M |
//! | `…_dw_tensor` | a block a group of columns and 64 rows of dW | f16 and bf16, 8 divides N: rung 2 |
//!
//! Cost of forward: 2·M·N·K flops; bytes N·K·17/64 for the weights, the same for any M up to 8, and
//! x and y. At M = 1 the weights are all but everything, and 17/128 of what they are in 16 bits. The
//! simplest rung, a warp a row of weights and of x, counted for x of `size` bytes:
//!
//! ```text
//! operations  M·N·(320·K/128 + 129)              the offset and the scale: 2.5 an element
//! bytes       M·N·((34 + 128·size)·K/128 + size)
//! ```

use crate::{Entry, Family};

#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod formats;
#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod fused;
#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod input_gradient;
#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod planar;
#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod scalar;
#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod tensor;
#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod weight_gradient;

/// Threads in a block of all entries.
pub const THREADS: u32 = 256;
/// Warps that divide the rows of weights in `…_dx`.
pub const DX_WARPS: u32 = THREADS / 32;
/// Rows of weights a block of `…_tensor` has.
pub const TENSOR_ROWS: u32 = 16;
/// Rows of dy a block of `…_dx_tensor` has.
pub const DX_TILE: u32 = 16;
/// Rows of dW a block of `…_dw_tensor` has.
pub const DW_TILE_ROWS: u32 = 64;
/// Rows of dy and x in a step of `…_dw_tensor`.
pub const DW_TILE_STEP: u32 = 32;
/// Rows of dW a warp of `…_dw` has.
pub const DW_ROWS: u32 = 8;

/// A product for each half chunk of a group and tile of eight rows of x.
macro_rules! tensor {
    ($name:literal, $tiles:literal) => {
        entry(
            $name,
            &[
                ("mma.sync", 8 * $tiles),
                ("bar.warp.sync", 1),
                ("bar.sync", 2),
            ],
            &["HMMA", "PRMT", "LDG.E.128"],
        )
    };
}

/// Of `…_dx_tensor`: a product for each tile of eight columns; the barrier between warps.
const DX: Counts = &[("mma.sync", 16), ("bar.warp.sync", 1), ("bar.sync", 1)];
/// Of `…_dw_tensor`: two halves of a step, eight tiles; a left factor for each half, a right one for
/// two tiles; a barrier before and one after.
const DW: Counts = &[
    ("mma.sync", 16),
    ("ldmatrix", 10),
    ("bar.warp.sync", 1),
    ("bar.sync", 2),
];

const TENSOR: [Entry; 8] = [
    entry("ternary_matmul_dx_tensor_f16", DX, &["HMMA", "PRMT"]),
    entry("ternary_matmul_dx_tensor_bf16", DX, &["HMMA", "PRMT"]),
    entry("ternary_matmul_dw_tensor_f16", DW, &["HMMA", "LDSM"]),
    entry("ternary_matmul_dw_tensor_bf16", DW, &["HMMA", "LDSM"]),
    tensor!("ternary_matmul_tensor8_f16", 1),
    tensor!("ternary_matmul_tensor32_f16", 4),
    tensor!("ternary_matmul_tensor8_bf16", 1),
    tensor!("ternary_matmul_tensor32_bf16", 4),
];

type Counts = &'static [(&'static str, u32)];

const fn entry(
    name: &'static str,
    collectives: Counts,
    machine_code: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        max_threads: THREADS,
        collectives,
        machine_code,
    }
}

macro_rules! rows_of_type {
    ($t:literal) => {
        [
            entry(
                concat!("ternary_matmul_quantise_", $t),
                // The sum of |W|; two ballots for each of a lane's four weights.
                &[("shfl.sync.bfly", 5), ("vote.sync.ballot", 8)],
                &["VOTE"],
            ),
            entry(
                concat!("ternary_matmul_exact_", $t),
                // The greatest |W|; is anything else in the group; the ballots.
                &[
                    ("shfl.sync.bfly", 5),
                    ("vote.sync.any", 1),
                    ("vote.sync.ballot", 8),
                ],
                &["VOTE"],
            ),
            entry(concat!("ternary_matmul_embed_", $t), &[], &["PRMT"]),
            entry(
                concat!("ternary_matmul_forward1_", $t),
                &[("shfl.sync.bfly", 5)],
                &["PRMT", "FFMA"],
            ),
            entry(
                concat!("ternary_matmul_forward8_", $t),
                &[("shfl.sync.bfly", 40)],
                &["PRMT", "FFMA"],
            ),
            entry(
                concat!("ternary_matmul_dx1_", $t),
                &[("bar.sync", 2)],
                &["PRMT", "FFMA", "LDS.128"],
            ),
            entry(
                concat!("ternary_matmul_dx8_", $t),
                &[("bar.sync", 2)],
                &["PRMT", "FFMA", "LDS.128"],
            ),
            entry(concat!("ternary_matmul_dw_", $t), &[], &["FFMA"]),
        ]
    };
}

const PER_TYPE: [[Entry; 8]; 3] = [
    rows_of_type!("f32"),
    rows_of_type!("f16"),
    rows_of_type!("bf16"),
];

const FORMATS: [Entry; 4] = [
    entry("ternary_matmul_from_two_bit", &[], &["LDG"]),
    entry("ternary_matmul_from_base3", &[], &["LDG"]),
    entry("ternary_matmul_to_two_bit", &[], &["STG"]),
    entry("ternary_matmul_to_base3", &[], &["STG"]),
];

/// Of `…_fused` on tensor cores: those of quantising, a barrier, those of `…_tensor32`.
const FUSED_TENSOR: Counts = &[
    ("shfl.sync.bfly", 5),
    ("vote.sync.ballot", 8),
    ("mma.sync", 32),
    ("bar.warp.sync", 1),
    ("bar.sync", 3),
];

const FUSED: [Entry; 3] = [
    entry(
        "ternary_matmul_fused_f32",
        // Those of quantising, a barrier, those of `…_forward8`.
        &[
            ("shfl.sync.bfly", 45),
            ("vote.sync.ballot", 8),
            ("bar.sync", 1),
        ],
        &["VOTE", "FFMA"],
    ),
    entry(
        "ternary_matmul_fused_f16",
        FUSED_TENSOR,
        &["VOTE", "HMMA", "PRMT", "LDG.E.128"],
    ),
    entry(
        "ternary_matmul_fused_bf16",
        FUSED_TENSOR,
        &["VOTE", "HMMA", "PRMT", "LDG.E.128"],
    ),
];

const ENTRIES: [Entry; 39] = {
    let mut all = [FORMATS[0]; 39];
    let mut at = 0;
    while at < 39 {
        all[at] = if at < 4 {
            FORMATS[at]
        } else if at >= 36 {
            FUSED[at - 36]
        } else if at >= 28 {
            TENSOR[at - 28]
        } else {
            PER_TYPE[(at - 4) / 8][(at - 4) % 8]
        };
        at += 1;
    }
    all
};

/// This family's kernels.
pub const FAMILY: Family = Family {
    name: "ternary-matmul",
    entries: &ENTRIES,
};

#[cfg(all(target_arch = "nvptx64", feature = "ternary-matmul"))]
mod kernels {
    use super::planar::Weights;
    use super::{formats, fused, input_gradient, scalar, tensor, weight_gradient};
    use crate::device::half::{Bf16, F16};

    /// One entry that reads weights, and what it takes besides.
    macro_rules! with_weights {
        ($name:ident($($extra:ident: $extra_type:ty),*), |$weights:ident| $body:expr) => {
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(
                codes: *const u32,
                scales: *const u16,
                groups: u32,
                $($extra: $extra_type),*
            ) {
                let $weights = Weights {
                    codes,
                    scales: scales.cast::<F16>(),
                    groups,
                };
                $body
            }
        };
    }

    macro_rules! quantise {
        ($name:ident($t:ty, $exact:literal)) => {
            /// `rows` rows of `of_row` groups of 128 weights. Grid: a warp of 256 threads for each
            /// group of a tile of 16 rows.
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(
                w: *const $t,
                codes: *mut u32,
                scales: *mut u16,
                refused: *mut u32,
                rows: u32,
                of_row: u32,
            ) {
                let scales = scales.cast::<F16>();
                let dense = formats::Dense {
                    w,
                    codes,
                    scales,
                    refused,
                    of_row,
                };
                formats::quantise::<$t, $exact>(dense, rows);
            }
        };
    }

    macro_rules! kernels {
        ($($t:ty { $quantise:ident $exact:ident $embed:ident $forward1:ident $forward8:ident $dx1:ident
            $dx8:ident $dw:ident })*) => {$(
            quantise!($quantise($t, false));
            quantise!($exact($t, true));
            with_weights!($embed(tokens: *const i32, out: *mut $t, refused: *mut u32, rows: u32),
                |weights| formats::embed(weights, tokens, out, refused, rows));
            with_weights!($forward1(x: *const $t, y: *mut $t, m: u32, n: u32),
                |weights| scalar::forward::<$t, 1>(weights, x, y, m, n));
            with_weights!($forward8(x: *const $t, y: *mut $t, m: u32, n: u32),
                |weights| scalar::forward::<$t, 8>(weights, x, y, m, n));
            with_weights!($dx1(dy: *const $t, dx: *mut $t, m: u32, n: u32),
                |weights| scalar::input_gradient::<$t, 1>(weights, dy, dx, m, n));
            with_weights!($dx8(dy: *const $t, dx: *mut $t, m: u32, n: u32),
                |weights| scalar::input_gradient::<$t, 8>(weights, dy, dx, m, n));

            /// Grid: ⌈n / 64⌉ × groups blocks of 256.
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $dw(
                dy: *const $t,
                x: *const $t,
                dw: *mut f32,
                m: u32,
                n: u32,
                groups: u32,
            ) {
                scalar::weight_gradient(dy, x, dw, m, n, groups);
            }
        )*};
    }

    kernels! {
        f32 {
            ternary_matmul_quantise_f32 ternary_matmul_exact_f32
            ternary_matmul_embed_f32
            ternary_matmul_forward1_f32 ternary_matmul_forward8_f32
            ternary_matmul_dx1_f32 ternary_matmul_dx8_f32 ternary_matmul_dw_f32
        }
        F16 {
            ternary_matmul_quantise_f16 ternary_matmul_exact_f16
            ternary_matmul_embed_f16
            ternary_matmul_forward1_f16 ternary_matmul_forward8_f16
            ternary_matmul_dx1_f16 ternary_matmul_dx8_f16 ternary_matmul_dw_f16
        }
        Bf16 {
            ternary_matmul_quantise_bf16 ternary_matmul_exact_bf16
            ternary_matmul_embed_bf16
            ternary_matmul_forward1_bf16 ternary_matmul_forward8_bf16
            ternary_matmul_dx1_bf16 ternary_matmul_dx8_bf16 ternary_matmul_dw_bf16
        }
    }

    macro_rules! tensor_kernels {
        ($($name:ident($t:ty, $tiles:literal))*) => {$(
            with_weights!($name(x: *const $t, y: *mut $t, m: u32, n: u32),
                |weights| tensor::forward::<$t, $tiles>(weights, x, y, m, n));
        )*};
    }
    tensor_kernels! {
        ternary_matmul_tensor8_f16(F16, 1)
        ternary_matmul_tensor32_f16(F16, 4)
        ternary_matmul_tensor8_bf16(Bf16, 1)
        ternary_matmul_tensor32_bf16(Bf16, 4)
    }

    macro_rules! fused {
        ($($name:ident($t:ty) = $function:ident;)*) => {$(
            /// Dense weights in, their image and the product out.
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(
                w: *const f32,
                codes: *mut u32,
                scales: *mut u16,
                refused: *mut u32,
                groups: u32,
                x: *const $t,
                y: *mut $t,
                m: u32,
                n: u32,
            ) {
                let scales = scales.cast::<F16>();
                let dense = formats::Dense { w, codes, scales, refused, of_row: groups };
                fused::$function(dense, x, y, m, n);
            }
        )*};
    }
    fused! {
        ternary_matmul_fused_f32(f32) = by_warps;
        ternary_matmul_fused_f16(F16) = on_tensor_cores;
        ternary_matmul_fused_bf16(Bf16) = on_tensor_cores;
    }

    macro_rules! tensor_gradients {
        ($($t:ty { $dx:ident $dw:ident })*) => {$(
            with_weights!($dx(dy: *const $t, dx: *mut $t, m: u32, n: u32),
                |weights| input_gradient::input_gradient(weights, dy, dx, m, n));

            /// Grid: ⌈n / 64⌉ × groups blocks of 256. n is a multiple of 8.
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $dw(
                dy: *const $t,
                x: *const $t,
                dw: *mut f32,
                m: u32,
                n: u32,
                groups: u32,
            ) {
                weight_gradient::weight_gradient(dy, x, dw, m, n, groups);
            }
        )*};
    }
    tensor_gradients! {
        F16 { ternary_matmul_dx_tensor_f16 ternary_matmul_dw_tensor_f16 }
        Bf16 { ternary_matmul_dx_tensor_bf16 ternary_matmul_dw_tensor_bf16 }
    }

    macro_rules! from_packing {
        ($name:ident($t:ty) = $function:ident) => {
            /// A thread a word: ⌈8·groups / 256⌉ blocks of 256.
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(
                packed: *const $t,
                codes: *mut u32,
                scales: *mut u16,
                refused: *mut u32,
                groups: u32,
                of_row: u32,
            ) {
                formats::$function(packed, codes, scales, refused, groups, of_row);
            }
        };
    }
    from_packing!(ternary_matmul_from_two_bit(u16) = from_two_bit);
    from_packing!(ternary_matmul_from_base3(u8) = from_base3);

    macro_rules! to_packing {
        ($name:ident = $function:ident) => {
            /// A warp a group: ⌈groups / 8⌉ blocks of 256.
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(
                codes: *const u32,
                scales: *const u16,
                packed: *mut u16,
                groups: u32,
                of_row: u32,
            ) {
                formats::$function(codes, scales, packed, groups, of_row);
            }
        };
    }
    to_packing!(ternary_matmul_to_two_bit = to_two_bit);
    to_packing!(ternary_matmul_to_base3 = to_base3);
}
