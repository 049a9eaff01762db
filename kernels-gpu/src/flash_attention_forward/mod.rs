//! Flash attention, forward: softmax(scale·q·kᵀ)·v without the matrix of scores.
//!
//! `q[B,Hq,Nq,D]`, `k`, `v[B,Hkv,Nk,D]` give `o` in the shape of q and `lse[B,Hq,Nq]`, the natural
//! log of each row's normaliser; or `[T,H,D]` with the starts of the sequences. Which keys a query
//! sees, and how heads are shared: [`attention`](crate::attention). A query that sees nothing, or
//! only scores of −inf, gets o = 0 and lse = −inf. What a query does not see never reaches it, be it
//! NaN.
//!
//! | rung | entries | block | rows | keys a step | takes |
//! |---|---|---|---|---|---|
//! | 1 | `flash_forward_f32` | 4 warps | 16 | 32 | f32 |
//! | 2 | `flash_forward_f16_D`, `flash_forward_bf16_D` | 8 warps (D = 256: 4) | 128 (64) | 64 (16) | f16, bf16 |
//!
//! D is 32, 64, 96, 128 or 256. Both rungs:
//!
//! ```text
//! m ← −inf, l ← 0, o ← 0                              for each query row
//! for each tile of keys that any row of the block sees:
//!     s  ← score(q·kᵀ), −inf where not seen
//!     m' ← max(m, max s)
//!     l  ← l·exp(m − m') + Σ exp(s − m')
//!     o  ← o·exp(m − m') + exp(s − m')·v
//!     m  ← m'
//! o ← o / l;  lse ← m + ln l
//! ```
//!
//! Cost: 4·D flops and one exponential for a query and a key it sees; each block reads q once and
//! the k and v that its rows see once; workspace none. Tiles that no row sees are not visited. Rung 1
//! without a mask, R rows of q, N keys, whole tiles, counted:
//!
//! ```text
//! operations  R·(N·(4·D + 28) + D + 43)
//! bytes       4·(2·R·D + R + R/16·2·N·D)
//! ```
//!
//! Rung 1 is the formula: scores and weights are one a lane, the warp walks the keys.
//! Rung 2 makes both products on the tensor cores: 16 rows a warp; K and V come by
//! `cp.async` while the tile before is worked on, swizzled so that `ldmatrix` has no bank conflict;
//! the weights go from the accumulator to the next product's left factor in registers; scores are
//! in base 2, the scale folded in; only tiles at the edge of the band are masked.

use crate::{Entry, Family};

/// Warps in a block of rung 1.
pub const PLAIN_WARPS: u32 = 4;
/// Query rows of a block of rung 1.
pub const PLAIN_ROWS: u32 = 16;
/// Keys of a step of rung 1: one a lane.
pub const PLAIN_KEYS: u32 = 32;

/// Bytes of dynamic shared memory of rung 1: q, and a tile of k and of v with four words of padding
/// a row.
pub const fn plain_shared(head_size: u32) -> u32 {
    4 * (PLAIN_ROWS * head_size + 2 * PLAIN_KEYS * (head_size + 4))
}

/// The tiles of rung 2 for a head size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Warps in a block.
    pub warps: u32,
    /// Query rows of a block: 16 a warp.
    pub rows: u32,
    /// Keys of a step.
    pub keys: u32,
    /// Bytes of dynamic shared memory: q, and two stages of k and v.
    pub shared: u32,
}

/// The tiles of rung 2.
pub const fn tiling(head_size: u32) -> Tiling {
    let (warps, keys) = if head_size > 128 { (4, 16) } else { (8, 64) };
    let rows = 16 * warps;
    Tiling {
        warps,
        rows,
        keys,
        shared: 2 * head_size.next_power_of_two() * (rows + 4 * keys),
    }
}

/// One entry of rung 2: the products and fragments that the unrolled tiles come to.
const fn tensor(
    name: &'static str,
    collectives: &'static [(&'static str, u32)],
    warps: u32,
) -> Entry {
    Entry {
        name,
        max_threads: 32 * warps,
        collectives,
        machine_code: &[
            "HMMA.16816.F32",
            "LDSM.16.M88.4",
            "LDSM.16.MT88.4",
            "LDGSTS",
            "MUFU.EX2",
        ],
    }
}

/// Collectives of rung 2 for `d` = D/16 and `n` = keys/16, as written: the first product is a loop
/// over the chunks of D.
macro_rules! collectives {
    ($d:literal, $n:literal) => {
        &[
            // q·kᵀ, a chunk; p·v; two eights each.
            ("mma.sync", 2 * $n + 2 * $d * $n),
            // q and k, a chunk; v.
            ("ldmatrix", 1 + $n + $d * $n),
            // q has come; NaN has been removed.
            ("bar.sync", 2),
            // k and v have come, and is any of v odd.
            ("bar.red", 1),
            // Around the writing of o by way of shared memory.
            ("bar.warp.sync", 2),
            // The greatest and the sum over four lanes, of two rows.
            ("shfl.sync.bfly", 8),
            ("cp.async.wait", 2),
        ]
    };
}

const PLAIN_COLLECTIVES: &[(&str, u32)] = &[
    // The tile before is done with; this one has come.
    ("bar.sync", 2),
    // Greatest and sum over the lanes, of four rows.
    ("shfl.sync.bfly", 40),
    // One weight of each row.
    ("shfl.sync.idx", 4),
];

const fn plain(name: &'static str) -> Entry {
    Entry {
        name,
        max_threads: 32 * PLAIN_WARPS,
        collectives: PLAIN_COLLECTIVES,
        machine_code: &["LDS.128", "STS.128", "FFMA", "MUFU.EX2"],
    }
}

/// This folder's kernels.
pub const FAMILY: Family = Family {
    name: "flash-attention-forward",
    entries: &[
        plain("flash_forward_f32"),
        tensor("flash_forward_f16_32", collectives!(2, 4), 8),
        tensor("flash_forward_f16_64", collectives!(4, 4), 8),
        tensor("flash_forward_f16_96", collectives!(6, 4), 8),
        tensor("flash_forward_f16_128", collectives!(8, 4), 8),
        tensor("flash_forward_f16_256", collectives!(16, 1), 4),
        tensor("flash_forward_bf16_32", collectives!(2, 4), 8),
        tensor("flash_forward_bf16_64", collectives!(4, 4), 8),
        tensor("flash_forward_bf16_96", collectives!(6, 4), 8),
        tensor("flash_forward_bf16_128", collectives!(8, 4), 8),
        tensor("flash_forward_bf16_256", collectives!(16, 1), 4),
    ],
};

#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-forward"))]
mod plain;
#[cfg(all(target_arch = "nvptx64", feature = "flash-attention-forward"))]
mod tensor;
