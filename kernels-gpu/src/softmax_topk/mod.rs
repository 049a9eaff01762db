//! Softmax and top-k in one pass over the logits.
//!
//! For each row of `logits[R, V]`: the k greatest logits in falling order (equal ones by rising
//! index), their probabilities under the softmax of the whole row, and the log of its normaliser,
//! all of `logits / temperature` (kernels take its inverse). Elements with a mask byte that is not 0 count as −inf. A NaN or
//! +inf that is not masked makes the row's probabilities and lse NaN and its indices −1. Where
//! `ks` is not null each row has a k of its own, at most `width`; ranks from there on hold index −1
//! and probability 0.
//!
//! | rung | entries (of f32, f16, bf16) | block | rows | takes |
//! |---|---|---|---|---|
//! | 1 | `softmax_topk_warp_*` | 128 threads | a warp each | k ≤ 32 |
//! | 2 | `softmax_topk_block_*` | 512 threads | a block each | k ≤ 1024 |
//! | 3 | `softmax_topk_block_*`, `softmax_topk_merge` | 512 threads | several blocks each | k ≤ 1024 |
//!
//! # Rung 1: a warp per row
//!
//! ```text
//! state ← (max −inf, sum 0); best ← k empty places, one a lane, best first
//! for each 32 logits, one a lane:
//!     state ← state + score                               online softmax, per lane
//!     for each lane whose logit beats place k−1:           ballot; few after the first rows
//!         its rank ← number of places at least as good     one ballot
//!         places from there on move up by one; it moves in  one shuffle a word
//! state ← merge over the lanes;  lse ← max + ln sum;  p ← exp(score − max) / sum
//! ```
//! Lanes are visited in rising order, so of equal logits the earlier stays in front.
//!
//! Cost: reads R·V logits once, writes 4·R·(2k + 1) bytes. Counted, for k ≤ 32 ≤ V without a mask:
//! 11·R·V + R·(6·k + 1603) operations, two of the eleven exponentials.
//!
//! # Rung 2: a block per row
//!
//! [`crate::topk`] in 128-bit loads, issued two steps ahead. Against rung 1: a load a thread
//! brings 4 or 8 logits in place of one; one exponential a logit in place of two; most quads cost one
//! comparison for the selection; k to 1024. One barrier a step.
//!
//! Cost: the same bytes; 5 flops a logit.
//!
//! # Rung 3: several blocks per row
//!
//! Few long rows leave most of the machine idle in rung 2. Here a row is cut into `splits` equal
//! parts; each block leaves its part's k best keys and softmax state in a workspace (8·k + 8 bytes a
//! part), and a second kernel merges them, a block per row. The result depends on the number of
//! parts only in the rounding of the sum; for a given number it has the same bits on each run.

use crate::topk::{GATHER_COLLECTIVES as GATHER, MAX_K, MAX_PARTS, THREADS, scan_collectives};
use crate::{Entry, Family};

type Counts = &'static [(&'static str, u32)];
const SCAN: Counts = scan_collectives!(0);

#[cfg(all(target_arch = "nvptx64", feature = "softmax-topk"))]
mod block;
#[cfg(all(target_arch = "nvptx64", feature = "softmax-topk"))]
mod warp;

/// Threads in a block of rung 1.
pub const WARP_THREADS: u32 = 128;
/// Rows a block of rung 1 takes: a warp each.
pub const WARP_ROWS: u32 = WARP_THREADS / 32;
/// The greatest k of rung 1: a place a lane.
pub const WARP_MAX_K: u32 = 32;
/// Threads in a block of rungs 2 and 3.
pub const BLOCK_THREADS: u32 = THREADS;
/// The greatest k of rungs 2 and 3.
pub const BLOCK_MAX_K: u32 = MAX_K;
/// The greatest number of parts of a row in rung 3.
pub const MAX_SPLITS: u32 = MAX_PARTS;

const fn rung_1(name: &'static str) -> Entry {
    Entry {
        name,
        max_threads: WARP_THREADS,
        collectives: &[
            // Does anybody beat the last place; who ranks before the newcomer; is the row spoilt.
            ("vote.sync.ballot", 2),
            ("vote.sync.any", 1),
            // The last place's key; the newcomer's key and index; two to move up; the softmax
            // pair's butterfly, five a word.
            ("shfl.sync.idx", 3),
            ("shfl.sync.up", 2),
            ("shfl.sync.bfly", 10),
        ],
        machine_code: &["SHFL.BFLY", "VOTE"],
    }
}

const fn scanning(name: &'static str, collectives: Counts) -> Entry {
    Entry {
        name,
        max_threads: BLOCK_THREADS,
        collectives,
        machine_code: &[
            "LDG.E.128|LDG.E.NA.128",
            "LDS.64",
            "STS.64",
            "SHFL.BFLY",
            "ATOMS",
            "MUFU.EX2",
        ],
    }
}

/// This folder's kernels.
pub const FAMILY: Family = Family {
    name: "softmax-topk",
    entries: &[
        rung_1("softmax_topk_warp_f32"),
        rung_1("softmax_topk_warp_f16"),
        rung_1("softmax_topk_warp_bf16"),
        scanning("softmax_topk_block_f32", SCAN),
        scanning("softmax_topk_block_f16", SCAN),
        scanning("softmax_topk_block_bf16", SCAN),
        // Keys come from memory in place of logits.
        Entry {
            machine_code: &["LDS.64", "STS.64", "SHFL.BFLY", "ATOMS"],
            ..scanning("softmax_topk_merge", GATHER)
        },
    ],
};
