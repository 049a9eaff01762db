//! Flash attention, backward: the gradients of q, k and v from that of o, without a matrix of
//! scores.
//!
//! Given q, k, v, do in the shapes of the [forward pass](crate::flash_attention_forward), with its o
//! and lse, and its options:
//!
//! ```text
//! D_i  = Σ_d do_id·o_id                           once a row, before the rest
//! P_ij = exp(s_ij − lse_i)                        made again from lse
//! dX   = P∘(do·vᵀ − D)∘(1 − tanh²)                the last factor only with a softcap
//! dq   = scale·dX·k
//! dk   = scale·dXᵀ·q,  dv = Pᵀ·do                 over all queries of all heads of the group
//! ```
//!
//! | rung | entries | block | own rows | others a step | takes |
//! |---|---|---|---|---|---|
//! | | `flash_backward_delta_T` | 4 warps | 4 | | all |
//! | 1 | `flash_backward_dq_f32`, `flash_backward_dkdv_f32` | 4 warps | 16 | 32 | f32 |
//! | 2 | `flash_backward_dq_T_D`, `flash_backward_dkdv_T_D` | 4 warps | 64 | 32 (D = 256: 16) | f16, bf16 |
//! | 3 | `flash_backward_fused_T_D`, when asked for | 4 warps | 64 | 32 | f16, bf16, D = 128 |
//!
//! Rungs 1 and 2 make two passes. A block of the dq pass owns query rows and walks the keys they see;
//! a block of the dk, dv pass owns keys and walks the query rows that see them. Each sum belongs to
//! one thread and has one order: the same bits on every run. No atomics; the price is that s and dP
//! are made twice, 14·D flops a pair instead of 10·D.
//!
//! Workspace: D, 4 bytes a row of q. Each pass reads its own rows once and the others once a block.
//! Rung 1 without a mask, R rows of q in groups of G, K of k, N queries and as many keys, whole tiles,
//! counted:
//!
//! ```text
//! operations  R·(N·(14·D + 20) + 3·D + 129) + K·D
//! bytes, D    4·(2·R·D + R)
//! dq          4·(3·R·D + R/16·2·N·D + 2·R·N/32)
//! dk, dv      4·(4·K·D + K/16·G·N·(2·D + 8))
//! ```
//!
//! Rung 1 is the formula: a pair a lane. Rung 2 makes all products on the tensor cores. In the dk,
//! dv pass scores stand transposed, keys by queries, so that P and dX go from the accumulators to
//! the next product's left factor in registers here too; with D = 256 a block makes half of the
//! columns of dk and dv, to have registers for them.
//!
//! Rung 3 makes one pass, 10·D flops a pair: a block that owns keys lays dX of a step out in shared
//! memory, multiplies it with its k and adds the product to dq in f32, 4·D bytes a row more
//! workspace and as many added for each 64 keys a row sees. Blocks add in the order in which they
//! come: the last bits of dq differ from run to run, those of dk and dv do not.

use crate::{Entry, Family};

/// Warps in a block, of every kernel here.
pub const WARPS: u32 = 4;
/// Rows that a block of rung 1 owns.
pub const PLAIN_ROWS: u32 = 16;
/// Rows that it takes a step: one a lane.
pub(crate) const PLAIN_OTHERS: u32 = 32;
/// Rows that a block of rung 2 owns: 16 a warp.
pub const ROWS: u32 = 16 * WARPS;
/// Rows of a launch of the pass for D: threads are counted in 32 bits.
pub const DELTA_ROWS: u32 = 1 << 26;

/// Bytes of dynamic shared memory of rung 1.
pub const fn plain_shared(head_size: u32) -> u32 {
    8 * (PLAIN_ROWS * head_size + PLAIN_OTHERS * (head_size + 4))
}

/// Rows that rung 2 takes a step.
pub const fn step(head_size: u32) -> u32 {
    if head_size > 128 { 16 } else { 32 }
}

/// Bytes of dynamic shared memory of rung 2: two own tiles, two stages of two others, and in the
/// dk, dv pass three words for each row of these.
pub const fn shared(head_size: u32) -> u32 {
    let step = step(head_size);
    4 * head_size.next_power_of_two() * (ROWS + 2 * step) + 24 * step
}

/// Bytes of dynamic shared memory of rung 3: as of rung 2's dk, dv pass, and dX of a step.
pub const fn fused_shared(head_size: u32) -> u32 {
    shared(head_size) + 2 * ROWS * step(head_size)
}

/// The head size of rung 3.
pub const FUSED_HEAD_SIZE: u32 = 128;

/// How many blocks of the dk, dv pass of rung 2 share the columns of the same keys.
pub const fn parts(head_size: u32) -> u32 {
    if head_size > 128 { 2 } else { 1 }
}

const fn entry(
    name: &'static str,
    collectives: &'static [(&'static str, u32)],
    machine_code: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        max_threads: 32 * WARPS,
        collectives,
        machine_code,
    }
}

const fn delta(name: &'static str) -> Entry {
    entry(name, &[("shfl.sync.bfly", 5)], &["SHFL.BFLY", "FFMA"])
}

const fn plain(name: &'static str, weights: u32) -> Entry {
    // The step before is done with, this one has come; which of the others count, for each of four
    // rows; one weight, or two, of each row.
    let collectives: &[(&str, u32)] = match weights {
        1 => &[
            ("bar.sync", 2),
            ("vote.sync.ballot", 4),
            ("shfl.sync.idx", 4),
        ],
        _ => &[
            ("bar.sync", 2),
            ("vote.sync.ballot", 4),
            ("shfl.sync.idx", 8),
        ],
    };
    entry(
        name,
        collectives,
        &["LDS.128", "STS.128", "FFMA", "MUFU.EX2"],
    )
}

const MACHINE_CODE: &[&str] = &[
    "HMMA.16816.F32",
    "LDSM.16.M88.4",
    "LDSM.16.MT88.4",
    "LDGSTS",
    "MUFU.EX2",
];

/// An entry of rung 2, from its mma and ldmatrix instructions and the barriers of its warps.
macro_rules! tensor {
    ($name:literal, $mma:expr, $ldmatrix:expr, $warp:literal) => {
        entry(
            $name,
            &[
                ("mma.sync", $mma),
                ("ldmatrix", $ldmatrix),
                // Own rows have come; around the removal of NaN.
                ("bar.sync", 3),
                // The others have come, and is any of them odd.
                ("bar.red", 1),
                // Around the writing of each output by way of shared memory.
                ("bar.warp.sync", $warp),
                ("cp.async.wait", 2),
            ],
            MACHINE_CODE,
        )
    };
}

/// dq for d = D/16 and n = others/16, as written: a chunk of q·kᵀ and do·vᵀ, with the own
/// fragments; dX·k.
macro_rules! dq {
    ($name:literal, $d:literal, $n:literal) => {
        tensor!($name, 4 * $n + 2 * $d * $n, 2 + 2 * $n + $d * $n, 2)
    };
}

/// dk and dv, of c = columns/16: a chunk of k·qᵀ and v·doᵀ; Pᵀ·do and dXᵀ·q.
macro_rules! dkdv {
    ($name:literal, $c:literal, $n:literal) => {
        tensor!($name, 4 * $n * (1 + $c), 2 + 2 * $n * (1 + $c), 4)
    };
}

/// dk, dv and sums of dq, for d = D/16 and n = others/16: as dk and dv alone, with a barrier for
/// dX and a product of a column and 16 keys.
macro_rules! fused {
    ($name:literal, $d:literal, $n:literal) => {
        entry(
            $name,
            &[
                ("mma.sync", 4 * $n * (1 + $d) + 2 * $n),
                ("ldmatrix", 2 + 2 * $n * (1 + $d) + 1 + $n),
                ("bar.sync", 4),
                ("bar.red", 2),
                ("bar.warp.sync", 4),
                ("cp.async.wait", 2),
            ],
            &[
                "HMMA.16816.F32",
                "LDSM.16.M88.4",
                "LDSM.16.MT88.4",
                "LDGSTS",
                "MUFU.EX2",
                "RED.E.ADD.F32|REDG.E.ADD.F32",
            ],
        )
    };
}

/// This folder's kernels.
pub const FAMILY: Family = Family {
    name: "flash-attention-backward",
    entries: &[
        delta("flash_backward_delta_f32"),
        delta("flash_backward_delta_f16"),
        delta("flash_backward_delta_bf16"),
        plain("flash_backward_dq_f32", 1),
        plain("flash_backward_dkdv_f32", 2),
        dq!("flash_backward_dq_f16_32", 2, 2),
        dq!("flash_backward_dq_f16_64", 4, 2),
        dq!("flash_backward_dq_f16_96", 6, 2),
        dq!("flash_backward_dq_f16_128", 8, 2),
        dq!("flash_backward_dq_f16_256", 16, 1),
        dq!("flash_backward_dq_bf16_32", 2, 2),
        dq!("flash_backward_dq_bf16_64", 4, 2),
        dq!("flash_backward_dq_bf16_96", 6, 2),
        dq!("flash_backward_dq_bf16_128", 8, 2),
        dq!("flash_backward_dq_bf16_256", 16, 1),
        dkdv!("flash_backward_dkdv_f16_32", 2, 2),
        dkdv!("flash_backward_dkdv_f16_64", 4, 2),
        dkdv!("flash_backward_dkdv_f16_96", 6, 2),
        dkdv!("flash_backward_dkdv_f16_128", 8, 2),
        dkdv!("flash_backward_dkdv_f16_256", 8, 1),
        dkdv!("flash_backward_dkdv_bf16_32", 2, 2),
        dkdv!("flash_backward_dkdv_bf16_64", 4, 2),
        dkdv!("flash_backward_dkdv_bf16_96", 6, 2),
        dkdv!("flash_backward_dkdv_bf16_128", 8, 2),
        dkdv!("flash_backward_dkdv_bf16_256", 8, 1),
        fused!("flash_backward_fused_f16_128", 8, 2),
        fused!("flash_backward_fused_bf16_128", 8, 2),
        entry("flash_backward_clear", &[], &["STG.E.128"]),
        entry("flash_backward_round_f16", &[], &["LDG.E.128", "F2FP|F2F"]),
        entry("flash_backward_round_bf16", &[], &["LDG.E.128", "F2FP|F2F"]),
    ],
};

#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod call;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod delta;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod keys;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod plain;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod queries;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod tensor;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-backward"))]
mod unordered;
