//! Parts of a row made one.

use super::input::store;
use super::{MAX_HEAD_SIZE, MERGE_WARPS};
use crate::device::float::{LN_2, LOG2_E, ex2_approx, fma, lg2_approx, rcp_approx};
use crate::device::{thread, warp};

/// Merges the parts of each row by their lse, in units of ln 2: `o = Σ w·o_part / Σ w` with
/// `w = 2^(lse_part − max)`. Grid: ⌈rows / 4⌉ blocks of 128, a warp a row. `sink_logits` may be null.
///
/// A part that saw nothing has lse −inf, and its o is not read.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn paged_merge(
    part_o: *const f32,
    part_lse: *const f32,
    sink_logits: *const f32,
    o: *mut u8,
    lse: *mut f32,
    rows: u32,
    heads: u32,
    d: u32,
    splits: u32,
    number_type: u32,
) {
    const COLUMNS: usize = (MAX_HEAD_SIZE / 32) as usize;
    let lane = warp::lane_id();
    let row = thread::block_idx_x() * MERGE_WARPS + warp::warp_id();
    if row >= rows {
        return;
    }
    let row = row as usize;
    let part = |split: u32| split as usize * rows as usize + row;
    // SAFETY: row < rows; the launch gives every part's lse, and its o where that is not −inf.
    unsafe {
        let sink = if sink_logits.is_null() {
            f32::NEG_INFINITY
        } else {
            *sink_logits.add(row % heads as usize) * LOG2_E
        };
        let (mut max, mut odd) = (sink, sink.is_nan());
        for split in 0..splits {
            let part = *part_lse.add(part(split));
            max = max.max(part);
            odd |= part.is_nan();
        }
        let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
        let mut sum = ex2_approx(sink - base);
        let mut sums = [0.0_f32; COLUMNS];
        for split in 0..splits {
            let at = part(split);
            let part = *part_lse.add(at);
            if part == f32::NEG_INFINITY {
                continue;
            }
            let weight = ex2_approx(part - base);
            sum += weight;
            for c in 0..COLUMNS {
                let column = lane + 32 * c as u32;
                if column < d {
                    let value = *part_o.add(at * d as usize + column as usize);
                    sums[c] = fma(weight, value, sums[c]);
                }
            }
        }
        if odd {
            sum = f32::NAN;
        }
        let inverse = if sum == 0.0 { 0.0 } else { rcp_approx(sum) };
        for c in 0..COLUMNS {
            let column = lane + 32 * c as u32;
            if column < d {
                let at = row * d as usize + column as usize;
                store(o, number_type, at, sums[c] * inverse);
            }
        }
        if lane == 0 {
            *lse.add(row) = (base + lg2_approx(sum)) * LN_2;
        }
    }
}
