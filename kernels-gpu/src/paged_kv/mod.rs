//! A KV cache in pages: writing into it, and attention that reads it.
//!
//! `k` and `v` lie in pages `[P, page, Hkv, D]`; token t of sequence b is in the slot
//! `block_table[b][t / page]·page + t % page`. Pages hold f16 or bf16, or codes of 8 or 4 bits with
//! a scale (and zero point) for each vector.
//!
//! # Append
//!
//! `paged_append_FORMAT`: a warp a vector.
//!
//! ```text
//! x ← k or v of a token and head; k rotated to its position, if asked
//! f16, bf16   slot ← round(x)
//! int8        scale ← f16(amax/127);  code ← clamp(round(x/scale), −127, 127)
//! int4        scale ← f16((max − min)/15);  zero ← f16(−min/scale)
//!             code ← clamp(round(x/scale + zero), 0, 15)
//! ```
//!
//! Divisions are IEEE's, ties go to even, scales are rounded before they are used. A vector that
//! cannot be stored (NaN, infinity, a scale beyond f16) gets the scale NaN and so reads as NaN. Cost: k and v read once,
//! (twice what is rotated), the slots written once.
//!
//! # Attention
//!
//! Query i of a sequence stands at position `i + keys − queries` (one query: at the end) and sees
//! the keys up to its own and no more than `left` before it, and the first `sinks` keys; with a
//! token tree it is a node behind the prefix and sees the prefix, its ancestors and itself.
//! A learned logit a head may join the softmax. Query head h reads KV head `h / group`.
//!
//! ```text
//! m ← −inf, l ← 0, o ← 0                              for each query and head
//! for each key seen, its slot from the block table:
//!     s  ← softcap(scale·q·k)
//!     m' ← max(m, s)
//!     l  ← l·exp(m − m') + exp(s − m')
//!     o  ← o·exp(m − m') + exp(s − m')·v
//!     m  ← m'
//! o ← o / l;  lse ← m + ln l
//! ```
//!
//! Cost: 4·D flops and one exponential for a query and a key it sees; the keys' vectors are read
//! once for each tile of rows. Rung 1 over pages in 16 bits, R rows of q of `size` bytes that see S
//! keys in all, decoding without options, counted:
//!
//! ```text
//! operations  S·(5·D + 480) + R·(D + 99)         o·correction and the sum of q·k over a warp
//! bytes       S·(size·D + 4·D + 4) + R·(size·D + 8)
//! ```
//!
//! | rung | entries | block | rows | takes |
//! |---|---|---|---|---|
//! | 1 | `paged_attention_plain_FORMAT` | 4 warps | 4 | any D to 256, q in f32, f16, bf16 |
//! | 2 | `paged_attention_FORMAT_D` | 4 warps | 16 | D = 64 and 128 (int4: 128); q in f16, or in bf16 over pages that are not in f16 |
//!
//! Rung 1 is the formula: a warp a row, key by key.
//!
//! Rung 2 puts the query heads of a KV head (and the queries of a chunk) into the 16 rows of
//! `mma.m16n8k16`, so a vector is read once for all of them. Its warps take turns at tiles of 32
//! keys; nothing but q goes through shared memory. q·kᵀ sums over components in any order, so a lane
//! loads whole 16-byte runs of its key and they *are* its fragment; p·vᵀ needs two keys in a
//! register, woven from the runs of four keys. Codes become bf16 in registers, exactly; scales
//! multiply scores and weights instead of vectors. Where q's type is finer than what is multiplied,
//! q and the weights are split into two parts that are multiplied one after the other.
//!
//! Long sequences are cut into `splits` parts (f32 o and lse of each, 4·(D + 1) bytes a row), which
//! `paged_merge` makes one: `o = Σ w·o_part / Σ w`, `w = 2^(lse_part − max)`.

use crate::{Entry, Family};

/// The greatest D.
pub const MAX_HEAD_SIZE: u32 = 256;
/// The greatest number of tokens in a page.
pub const MAX_PAGE: u32 = 256;
/// Warps in a block that appends, a vector each.
pub const APPEND_WARPS: u32 = 4;
/// Warps in a block of rung 1, a row each.
pub const PLAIN_WARPS: u32 = 4;
/// Warps in a block of rung 2.
pub const TENSOR_WARPS: u32 = 4;
/// Rows of a block of rung 2: a query and a head of its KV head each.
pub const TENSOR_ROWS: u32 = 16;
/// Keys of a step of a warp of rung 2.
pub const TENSOR_KEYS: u32 = 32;
/// The greatest number of parts of a row in rung 2.
pub const MAX_SPLITS: u32 = 128;
/// Warps in a block that merges, a row each.
pub const MERGE_WARPS: u32 = 4;
/// Threads of a block that copies.
pub const COPY_THREADS: u32 = 256;
/// How a kernel is told that q or k is f32.
pub const TYPE_F32: u32 = 0;
/// How a kernel is told that q or k is f16.
pub const TYPE_F16: u32 = 1;
/// How a kernel is told that q or k is bf16.
pub const TYPE_BF16: u32 = 2;

/// Bytes of shared memory of rung 2 for the warps' maxima and sums.
const TENSOR_STATS: u32 = 8 * TENSOR_ROWS * TENSOR_WARPS;

/// Bytes of dynamic shared memory of rung 2: first two parts of q, then the warps' sums.
pub const fn tensor_shared(head_size: u32) -> u32 {
    TENSOR_STATS + 4 * TENSOR_WARPS * TENSOR_ROWS * head_size
}

const fn appending(
    name: &'static str,
    collectives: &'static [(&'static str, u32)],
    machine_code: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        max_threads: 32 * APPEND_WARPS,
        collectives,
        machine_code,
    }
}

const fn plain(name: &'static str) -> Entry {
    Entry {
        name,
        max_threads: 32 * PLAIN_WARPS,
        // The sum of a dot product.
        collectives: &[("shfl.sync.bfly", 5)],
        machine_code: &["FFMA", "MUFU.EX2"],
    }
}

/// One entry of rung 2 for `d` = D/16; `zeros` where the format has zero points.
macro_rules! tensor {
    ($name:literal, $d:literal, $shuffles:expr, $votes:expr, $code:expr) => {
        Entry {
            name: $name,
            max_threads: 32 * TENSOR_WARPS,
            collectives: &[
                // q·kᵀ and p·v.
                ("mma.sync", 4 * $d),
                // q is there; it is done with; maxima and sums are there; o is.
                ("bar.sync", 4),
                // Slots: of two keys, of four, and of one that is odd.
                ("shfl.sync.idx", 6 + $votes),
                // Is any value odd.
                ("vote.sync.any", $votes),
                // The maximum over four lanes and the sum, of two rows.
                ("shfl.sync.bfly", 8 + $shuffles),
            ],
            machine_code: $code,
        }
    };
}

/// f16 and bf16: odd values are looked for.
macro_rules! halves {
    ($name:literal, $d:literal) => {
        tensor!(
            $name,
            $d,
            0,
            1,
            &[
                "HMMA.16816.F32",
                "LDG.E.NA.128|LDG.E.128",
                "LDS.128",
                "STS.128",
                "MUFU.EX2"
            ]
        )
    };
}

/// This folder's kernels.
pub const FAMILY: Family = Family {
    name: "paged-kv",
    entries: &[
        appending("paged_append_f16", &[], &["F2F.F16.F32|F2FP"]),
        appending("paged_append_bf16", &[], &["F2F.BF16.F32|F2FP"]),
        appending(
            "paged_append_int8",
            // Is anything odd; the greatest and the least.
            &[("vote.sync.any", 1), ("shfl.sync.bfly", 10)],
            &["FRND", "F2I", "VOTE"],
        ),
        appending(
            "paged_append_int4",
            // Is anything odd; the greatest and the least.
            &[("vote.sync.any", 1), ("shfl.sync.bfly", 10)],
            &["FRND", "F2I", "VOTE"],
        ),
        plain("paged_attention_plain_f16"),
        plain("paged_attention_plain_bf16"),
        plain("paged_attention_plain_int8"),
        plain("paged_attention_plain_int4"),
        halves!("paged_attention_f16_64", 4),
        halves!("paged_attention_f16_128", 8),
        halves!("paged_attention_bf16_64", 4),
        halves!("paged_attention_bf16_128", 8),
        tensor!(
            "paged_attention_int8_64",
            4,
            0,
            0,
            &["HMMA.16816.F32.BF16", "LDS.128"]
        ),
        tensor!(
            "paged_attention_int8_128",
            8,
            0,
            0,
            &["HMMA.16816.F32.BF16", "LDG.E.NA.128|LDG.E.128"]
        ),
        // Also Σ q of two rows, and what zero points take off.
        tensor!(
            "paged_attention_int4_128",
            8,
            8,
            0,
            &["HMMA.16816.F32.BF16", "LDG.E.NA.128|LDG.E.128"]
        ),
        Entry {
            name: "paged_merge",
            max_threads: 32 * MERGE_WARPS,
            collectives: &[],
            machine_code: &["MUFU.EX2"],
        },
        Entry {
            name: "paged_copy",
            max_threads: COPY_THREADS,
            collectives: &[],
            machine_code: &[],
        },
    ],
};

#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod append;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod copy;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod format;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod input;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod merge;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod outcome;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod plain;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod sight;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod tensor;
#[cfg(all(target_arch = "nvptx64", feature = "paged-kv"))]
mod words;
