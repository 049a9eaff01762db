//! One step of beam search: `logits[B, K, V]` and the beams of B items in, the K best of each item
//! out.
//!
//! ```text
//! per unfinished beam   logp = logits − lse(logits), the 2K best allowed tokens by logit
//! continuation          acc′ = acc + logp     len′ = len + 1     finished′ = token ∈ EOS
//! pool of an item       its finished beams as they are, and all continuations
//! kept                  the K best by acc/len^α, best first
//! ```
//!
//! * A beam whose acc is −inf is none. Step 0 has one beam an item. Where the pool holds fewer than
//!   K, the rest is parent −1, token −1, acc and score −inf, length 0.
//! * NaN and −inf logits are forbidden tokens: probability 0, never chosen. A beam without an
//!   allowed token drops out, and so does one with a logit of +inf, which has no log-probabilities.
//! * EOS is not allowed below `min_length`; the log-probabilities stay those of all tokens. It counts
//!   in the length unless `count_eos` is 0. A length of 0 enters the penalty as 1.
//! * A finished beam keeps its place as parent and gets token −1.
//! * Equal scores go to the lower parent, then the greater logit, then the lower token.
//!
//! | entry | grid | does |
//! |---|---|---|
//! | `beam_expand_f32`, `_f16`, `_bf16` | parts × B·K blocks of 512 | 2K best tokens and softmax state of a row or a part of it |
//! | `beam_merge` | B·K blocks of 512 | the same of a row from its parts |
//! | `beam_keep` | B blocks of 512 | the pool, the penalty, the K best |
//!
//! # Cost
//!
//! `beam_expand` is [`crate::topk`]: one read of the logits of unfinished beams, 5 flops a logit;
//! finished and absent beams are not read. What it leaves is 16·K + 8 bytes a beam and part. With few
//! beams and a large vocabulary rows are split, as in rung 3 of softmax-topk; with many one part
//! does and `beam_merge` is not launched. `beam_keep` reads 2K keys a beam and writes 21·K bytes an
//! item: nothing beside the logits.
//!
//! Nothing is copied by parent: a host keeps parents and tokens in a table of back-pointers, and
//! caches are read through it.

use crate::topk::{GATHER_COLLECTIVES, MAX_K, THREADS, scan_collectives};
use crate::{Entry, Family};

#[cfg(all(target_arch = "nvptx64", feature = "beam-search"))]
mod expand;
#[cfg(all(target_arch = "nvptx64", feature = "beam-search"))]
mod keep;

/// Threads in a block, of all three kernels.
pub const BLOCK_THREADS: u32 = THREADS;
/// The greatest number of beams an item: 2K tokens a beam go through a selection.
pub const MAX_BEAMS: u32 = MAX_K / 2;
/// The greatest number of parts of a row.
pub const MAX_PARTS: u32 = crate::topk::MAX_PARTS;

// Does the beam take a token.
const SCAN: &[(&str, u32)] = scan_collectives!(1);

const fn expanding(name: &'static str, collectives: &'static [(&'static str, u32)]) -> Entry {
    Entry {
        name,
        max_threads: BLOCK_THREADS,
        collectives,
        machine_code: &[
            "LDG.E.128|LDG.E.NA.128",
            "LDS.64",
            "STS.64",
            "ATOMS",
            "MUFU.EX2",
        ],
    }
}

/// This folder's kernels.
pub const FAMILY: Family = Family {
    name: "beam-search",
    entries: &[
        expanding("beam_expand_f32", SCAN),
        expanding("beam_expand_f16", SCAN),
        expanding("beam_expand_bf16", SCAN),
        // Keys come from memory in place of logits.
        Entry {
            machine_code: &["LDS.64", "STS.64", "ATOMS"],
            ..expanding("beam_merge", GATHER_COLLECTIVES)
        },
        Entry {
            name: "beam_keep",
            max_threads: BLOCK_THREADS,
            collectives: &[
                // As above without the softmax state, and one after the beams' lse.
                ("bar.sync", 11),
                ("bar.red.or", 1),
                ("vote.sync.ballot", 2),
                ("shfl.sync.idx", 2),
                ("bar.warp.sync", 2),
                ("redux.sync", 2),
                ("shfl.sync.bfly", 40),
            ],
            machine_code: &["LDS.64", "STS.64", "ATOMS", "MUFU.LG2", "MUFU.EX2"],
        },
    ],
};
