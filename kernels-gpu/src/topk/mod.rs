//! Streaming top-k: what the families softmax-topk and beam-search share.
//!
//! | module | holds |
//! |---|---|
//! | `key` | logits as integers that order as the contract does |
//! | `selection` | the k best of a stream, in shared memory |
//! | `scan` | one pass over a row: softmax state and candidates together |
//!
//! A block of [`THREADS`] threads takes a row, or a part of one, in steps of one 128-bit load a
//! thread. A candidate is kept when it beats the *floor*, the k-th best of all that was seen when
//! the pool was last pruned:
//!
//! ```text
//! floor ← nothing
//! for each step:
//!     max, sum ← online softmax of the quad's values               per thread
//!     if the quad's greatest value beats the floor:                one compare for most quads
//!         append those that do to the pool                         compacted, one atomic a warp
//!     if the pool holds more than it should, for any thread to see:  the step's one barrier
//!         sort it, keep the k best, floor ← the last of them
//! ```
//!
//! What is dropped is beaten by k others, so the k best of the row are in the pool at the end,
//! whatever the data: rising rows cost a sort every few steps, no more. Which place in the pool a
//! candidate gets depends on the order of arrival; keys are all different, so the sorted pool does
//! not.

/// Threads in a block.
pub const THREADS: u32 = 256;
/// The greatest k.
pub const MAX_K: u32 = 1024;

#[cfg(all(
    target_arch = "nvptx64",
    any(feature = "softmax-topk", feature = "beam-search")
))]
pub(crate) mod key;
#[cfg(all(
    target_arch = "nvptx64",
    any(feature = "softmax-topk", feature = "beam-search")
))]
pub(crate) mod scan;
#[cfg(all(
    target_arch = "nvptx64",
    any(feature = "softmax-topk", feature = "beam-search")
))]
pub(crate) mod selection;
