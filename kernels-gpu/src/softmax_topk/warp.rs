//! Rung 1: a warp per row.

use super::WARP_ROWS;
use crate::device::float::{exp_approx, rcp_approx};
use crate::device::half::{Bf16, Element, F16};
use crate::device::reduce::{self, Merge, OnlineSoftmax};
use crate::device::{thread, warp};
use crate::topk::key::{rank, value_of};
use crate::topk::scan::lse as lse_of;

macro_rules! entries {
    ($($name:ident($t:ty);)*) => {$(
        /// Rung 1. Grid: ⌈rows / 4⌉ blocks of 128. `mask` and `ks` may be null.
        /// 1 ≤ k ≤ width ≤ min(32, vocabulary).
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            logits: *const $t,
            mask: *const u8,
            ks: *const u32,
            probability: *mut f32,
            index: *mut i32,
            lse: *mut f32,
            rows: u32,
            vocabulary: u32,
            width: u32,
            inverse_temperature: f32,
        ) {
            // SAFETY: the launch's promise.
            unsafe {
                warp_per_row(
                    logits, mask, ks, probability, index, lse, rows, vocabulary, width, inverse_temperature,
                );
            }
        }
    )*};
}

entries! {
    softmax_topk_warp_f32(f32);
    softmax_topk_warp_f16(F16);
    softmax_topk_warp_bf16(Bf16);
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a kernel's parameters are separate"
)]
unsafe fn warp_per_row<T: Element>(
    logits: *const T,
    mask: *const u8,
    ks: *const u32,
    probability: *mut f32,
    index: *mut i32,
    lse: *mut f32,
    rows: u32,
    vocabulary: u32,
    width: u32,
    inverse_temperature: f32,
) {
    let lane = warp::lane_id();
    let row = thread::block_idx_x() * WARP_ROWS + warp::warp_id();
    if row >= rows {
        return;
    }
    let start = row as usize * vocabulary as usize;
    let k = if ks.is_null() {
        width
    } else {
        // SAFETY: row < rows, and the launch gives a k for each.
        unsafe { *ks.add(row as usize) }
    };

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
            let (mut logit, masked) = unsafe {
                (
                    (*logits.add(at)).to_f32(),
                    !mask.is_null() && *mask.add(at) != 0,
                )
            };
            if masked {
                logit = f32::NEG_INFINITY;
            }
            spoilt |= !(logit < f32::INFINITY);
            candidate = rank(logit);
            state = state.add(logit * inverse_temperature);
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

    let mut state = reduce::warp(state);
    if warp::vote_any(warp::FULL, spoilt) {
        state.sum = f32::NAN;
    }
    if lane < width {
        let out = row as usize * width as usize + lane as usize;
        let place = (lane < k).then_some((place_rank, place_index));
        // SAFETY: row < rows and lane < width; the launch gives rows × width places in both
        // outputs, and this one is this thread's.
        unsafe {
            (*probability.add(out), *index.add(out)) = result(place, state, inverse_temperature);
        }
    }
    if lane == 0 {
        // SAFETY: row < rows, and the launch gives a place for each.
        unsafe { *lse.add(row as usize) = lse_of(state) }
    }
}

/// What is written for a rank: its probability and index. `place` is the logit's rank as an integer
/// and its column, `None` behind the row's k. The sum of a spoilt row is NaN.
#[inline(always)]
pub(super) fn result(
    place: Option<(u32, u32)>,
    state: OnlineSoftmax,
    inverse_temperature: f32,
) -> (f32, i32) {
    let Some((rank, index)) = place else {
        return (0.0, -1);
    };
    if state.sum.is_nan() {
        return (f32::NAN, -1);
    }
    let probability = if state.max == f32::NEG_INFINITY {
        0.0
    } else {
        exp_approx(value_of(rank) * inverse_temperature - state.max) * rcp_approx(state.sum)
    };
    (probability, index as i32)
}
