//! Streaming top-k: what the families softmax-topk and beam-search share.
//!
//! | module | holds |
//! |---|---|
//! | `key` | logits as integers that order as the contract does |
//! | `selection` | the k best of a stream, in shared memory |
//! | `scan` | one pass over a row: softmax state and candidates together |
//!
//! A block of [`THREADS`] threads takes a row, or a part of one, in steps of one 128-bit load a
//! thread, two of which are under way. Each warp has a run of consecutive quads, and a thread has the
//! same columns wherever the row begins: rows that hold the same numbers have the same sums to the
//! bit, and tie where the contract says so. Of a row that does not begin at a sector a thread's quad is
//! shifted out of two or three that its warp has read; a sector a run and two a row are read twice. A
//! candidate is kept when it beats the *floor*, which k of all
//! that was seen when the pool was last pruned are not below:
//!
//! ```text
//! floor ← nothing
//! for each step:
//!     max, sum ← online softmax of the quad's values               per thread
//!     if the greatest value of some lane's quad beats the floor:    one compare for most quads
//!         append those that do to the pool                         compacted, one atomic a warp
//!     if the pool holds more than it should, for any thread to see:  the step's one barrier
//!         floor ← a value that k to 5k/4 of the pool are not below  halving an interval, a count each
//!         keep those
//! sort what is left
//! ```
//!
//! What is dropped is beaten by k others, so the k best of the row are in the pool at the end,
//! whatever the data: rising rows cost a pruning every few steps, no more. Which place in the pool a
//! candidate gets depends on the order of arrival; keys are all different, so which of them are kept
//! does not, nor does the sorted pool.

/// Threads in a block.
pub const THREADS: u32 = 512;
/// The most parts of a row that can be merged: a thread each.
pub const MAX_PARTS: u32 = 256;
/// The greatest k.
pub const MAX_K: u32 = 1024;

/// The collectives of a kernel that scans a row, or part of one, and reduces its softmax state,
/// having told its threads `told` facts about it.
macro_rules! scan_collectives {
    ($told:expr) => {&[
    // The empty pool; two tallies; moving to the front, and the end of it; sorting: padding, runs of
    // 32, each distance, each size; the end of pruning; the block's softmax state.
    ("bar.sync", 12),
    // Facts; the end of a step; is the row spoilt.
    ("bar.red.or", $told + 2),
    // Is there anything to append.
    ("vote.sync.any", 1),
    // Appending, from the row and to the front: who has a key, and where the warp's begin.
    ("vote.sync.ballot", 2),
    // As well, and the two quads of four words that one is pieced together from.
    ("shfl.sync.idx", 10),
    // A tally's greatest, a tally's sum.
    ("bar.warp.sync", 2),
    ("redux.sync", 2),
    // Sorting: 10 + 5 exchanges for runs of 32, 5 for longer ones, two words each; the softmax pair
    // over the warp and over the warps.
    ("shfl.sync.bfly", 60),
]};
}
pub(crate) use scan_collectives;

/// The same where keys and states come from memory.
pub(crate) const GATHER_COLLECTIVES: &[(&str, u32)] = &[
    ("bar.sync", 12),
    ("bar.red.or", 2),
    ("vote.sync.ballot", 2),
    ("shfl.sync.idx", 2),
    ("bar.warp.sync", 2),
    ("redux.sync", 2),
    ("shfl.sync.bfly", 60),
];

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
