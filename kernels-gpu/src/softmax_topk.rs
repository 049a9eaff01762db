//! Softmax and top-k in one pass over the logits.
//!
//! For each row of `logits[R, V]`: the k greatest logits in falling order (equal ones by rising
//! index), their probabilities under the softmax of the whole row, and the log of its normaliser,
//! all of `logits / temperature`. Elements with a mask byte that is not 0 count as −inf. A NaN or
//! +inf that is not masked makes the row's probabilities and lse NaN and its indices −1.
//!
//! | rung | entry | block | rows | takes |
//! |---|---|---|---|---|
//! | 1 | `softmax_topk_warp_f32` | 128 threads | a warp each | f32, k ≤ 32 |
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
//! Cost: reads 4·R·V bytes once, writes 4·R·(2k + 1); about 12 flops a logit.

use crate::{Entry, Family};

/// Threads in a block of rung 1.
pub const WARP_THREADS: u32 = 128;
/// Rows a block of rung 1 takes: a warp each.
pub const WARP_ROWS: u32 = WARP_THREADS / 32;
/// The greatest k of rung 1: a place a lane.
pub const WARP_MAX_K: u32 = 32;

/// This file's kernels.
pub const FAMILY: Family = Family {
    name: "softmax-topk",
    entries: &[Entry {
        name: "softmax_topk_warp_f32",
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
    }],
};

#[cfg(all(target_arch = "nvptx64", feature = "softmax-topk"))]
mod kernels {
    use super::WARP_ROWS;
    use crate::device::float::{LN_2, exp_approx, lg2_approx};
    use crate::device::reduce::{self, Merge, OnlineSoftmax};
    use crate::device::{thread, warp};

    /// Ranks logits as integers: greater is better, 0 is an empty place. −0 ranks with +0.
    #[inline(always)]
    fn rank(logit: f32) -> u32 {
        let bits = (logit + 0.0).to_bits();
        if bits >> 31 == 0 {
            bits | 1 << 31
        } else {
            !bits
        }
    }

    /// The logit that has this rank.
    #[inline(always)]
    fn logit_of(rank: u32) -> f32 {
        f32::from_bits(if rank >> 31 != 0 {
            rank & !(1 << 31)
        } else {
            !rank
        })
    }

    /// Rung 1. Grid: ⌈rows / 4⌉ blocks of 128. `mask` may be null. 1 ≤ k ≤ min(32, vocabulary).
    #[unsafe(no_mangle)]
    pub unsafe extern "ptx-kernel" fn softmax_topk_warp_f32(
        logits: *const f32,
        mask: *const u8,
        probability: *mut f32,
        index: *mut i32,
        lse: *mut f32,
        rows: u32,
        vocabulary: u32,
        k: u32,
        temperature: f32,
    ) {
        let lane = warp::lane_id();
        let row = thread::block_idx_x() * WARP_ROWS + warp::warp_id();
        if row >= rows {
            return;
        }
        let start = row as usize * vocabulary as usize;

        let mut state = OnlineSoftmax::IDENTITY;
        let mut spoilt = false;
        let (mut place_rank, mut place_index) = (0_u32, 0_u32);

        let mut first = 0;
        while first < vocabulary {
            let column = first + lane;
            let mut candidate = 0;
            if column < vocabulary {
                let at = start + column as usize;
                // SAFETY: row < rows and column < vocabulary; the launch gives rows × vocabulary
                // logits, and as many mask bytes unless it is null.
                let (mut logit, masked) =
                    unsafe { (*logits.add(at), !mask.is_null() && *mask.add(at) != 0) };
                if masked {
                    logit = f32::NEG_INFINITY;
                }
                spoilt |= !(logit < f32::INFINITY);
                candidate = rank(logit);
                state = state.add(logit / temperature);
            }

            let last_place = warp::shuffle(warp::FULL, place_rank, k - 1);
            let mut newcomers = warp::ballot(warp::FULL, candidate > last_place);
            while newcomers != 0 {
                let from = newcomers.trailing_zeros();
                newcomers &= newcomers - 1;
                let new_rank = warp::shuffle(warp::FULL, candidate, from);
                let new_index = warp::shuffle(warp::FULL, column, from);
                let before = warp::ballot(warp::FULL, place_rank >= new_rank).count_ones();
                let up_rank = warp::shuffle_up(warp::FULL, place_rank, 1);
                let up_index = warp::shuffle_up(warp::FULL, place_index, 1);
                if lane == before {
                    (place_rank, place_index) = (new_rank, new_index);
                } else if lane > before {
                    (place_rank, place_index) = (up_rank, up_index);
                }
            }
            first += warp::SIZE;
        }

        let state = reduce::warp(state);
        let spoilt = warp::vote_any(warp::FULL, spoilt);
        if lane < k {
            let out = row as usize * k as usize + lane as usize;
            let score = logit_of(place_rank) / temperature;
            let p = if spoilt {
                f32::NAN
            } else if state.max == f32::NEG_INFINITY {
                0.0
            } else {
                exp_approx(score - state.max) / state.sum
            };
            // SAFETY: row < rows and lane < k; the launch gives rows × k places in both outputs,
            // and this one is this thread's.
            unsafe {
                *probability.add(out) = p;
                *index.add(out) = if spoilt { -1 } else { place_index as i32 };
            }
        }
        if lane == 0 {
            let value = if spoilt {
                f32::NAN
            } else {
                state.max + lg2_approx(state.sum) * LN_2
            };
            // SAFETY: row < rows, and the launch gives a place for each.
            unsafe { *lse.add(row as usize) = value }
        }
    }
}
