//! Token trees: who sees whom, and what a target model accepts.
//!
//! Item b has `N = starts[b + 1] − starts[b]` nodes with a token and a parent each, −1 for a child of
//! the last prompt token; parents come first. Its logits are `1 + N` rows: row 0 follows the
//! prompt, row 1 + i node i. Attention of the nodes is that of paged KV
//! ([`paged_kv`](crate::paged_kv)): the nodes lie in the cache behind their prefix, and the mask made
//! here says which of them a node sees.
//!
//! | kernel | does | a block |
//! |---|---|---|
//! | `tree_mask` | bitmasks of ancestors, and depths | 4 nodes, a warp each |
//! | `tree_greedy_T` | the walk that follows the greatest logits | an item |
//! | `tree_sample_T` | the walk that follows the target's distribution | an item |
//! | `tree_compact` | the accepted slots moved up behind the prefix | an item |
//!
//! # Mask
//!
//! ```text
//! mask[i] ← bit i;  depth[i] ← 0;  a ← i
//! while a has a parent: a ← parent[a];  mask[i] ← mask[i] | bit a;  depth[i] ← depth[i] + 1
//! ```
//!
//! A word of the row a lane, so N is at most 1024. Cost: a load a step up.
//!
//! # Greedy walk
//!
//! ```text
//! a ← root
//! forever:
//!     t ← argmax of a's row              finite logits only, ties to the lower id
//!     none: bonus ← −1, stop
//!     c ← first child of a with token t
//!     none: bonus ← t, stop
//!     accept c; a ← c
//!     t ends the text: bonus ← −1, stop
//! ```
//!
//! Only rows on the path are read: (accepted + 1)·V logits, one launch for the batch.
//!
//! # Sampling walk
//!
//! ```text
//! a ← root
//! forever:
//!     p ← softmax(a's row / T)           nothing finite: bonus ← −1, stop
//!     for each child c of a, first to last, x its token:
//!         uniform[c]·q(x) < p(x): accept c; a ← c; go on from there
//!         p ← max(0, p − q), normalised
//!     none: bonus ← the first token at which Σ p exceeds the bonus's number; stop
//! ```
//!
//! q is the distribution that the children were drawn from; a draft without one is certain of each
//! child. The emitted token then has exactly the distribution p. p is kept in V f32 of workspace an
//! item. Sums are made in one order, so the same numbers give the same walk.
//!
//! # Compaction
//!
//! Accepted node i is token `prefix + node[i]` and becomes token `prefix + i`. A thread moves the same
//! bytes of each token, one after the other; a token never moves over one that is still to move, as
//! `node[i] ≥ i`.

use crate::{Entry, Family};

/// The greatest number of nodes of a tree: a word of a mask's row a lane.
pub const MAX_NODES: u32 = 1024;
/// Warps of a block that makes masks, a node each.
pub const MASK_WARPS: u32 = 4;
/// Threads of a block that walks.
pub const WALK_THREADS: u32 = 256;
/// Threads of a block that moves slots.
pub const COMPACT_THREADS: u32 = 256;

const fn greedy(name: &'static str) -> Entry {
    Entry {
        name,
        max_threads: WALK_THREADS,
        collectives: &[
            // The argmax and the child, over the block.
            ("bar.sync", 4),
            // Both over the warp and over the warps, two words each.
            ("shfl.sync.bfly", 40),
        ],
        machine_code: &["SHFL.BFLY", "BAR"],
    }
}

const fn sample(name: &'static str) -> Entry {
    Entry {
        name,
        max_threads: WALK_THREADS,
        collectives: &[
            // The softmax, the child, what is left, over the block; p is there; p has been read;
            // the search's sums are there, and have been read.
            ("bar.sync", 10),
            // Two words, two words, one; over the warp and over the warps.
            ("shfl.sync.bfly", 50),
        ],
        machine_code: &["SHFL.BFLY", "BAR", "MUFU.EX2"],
    }
}

/// This folder's kernels.
pub const FAMILY: Family = Family {
    name: "tree-verify",
    entries: &[
        Entry {
            name: "tree_mask",
            max_threads: 32 * MASK_WARPS,
            collectives: &[],
            machine_code: &[],
        },
        greedy("tree_greedy_f32"),
        greedy("tree_greedy_f16"),
        greedy("tree_greedy_bf16"),
        sample("tree_sample_f32"),
        sample("tree_sample_f16"),
        sample("tree_sample_bf16"),
        Entry {
            name: "tree_compact",
            max_threads: COMPACT_THREADS,
            collectives: &[],
            machine_code: &[],
        },
    ],
};

#[cfg(all(target_arch = "nvptx64", feature = "tree-verify"))]
mod compact;
#[cfg(all(target_arch = "nvptx64", feature = "tree-verify"))]
mod greedy;
#[cfg(all(target_arch = "nvptx64", feature = "tree-verify"))]
mod mask;
#[cfg(all(target_arch = "nvptx64", feature = "tree-verify"))]
mod sample;
#[cfg(all(target_arch = "nvptx64", feature = "tree-verify"))]
mod walk;
