//! The end of rung 2: the warps' sums made one, and written.

use super::input::times;
use super::tensor::Softmax;
use super::{TENSOR_STATS, TENSOR_WARPS, TYPE_F16};
use crate::attention::{Half, Lane};
use crate::device::float::{LN_2, LOG2_E, ex2_approx, fma, lg2_approx, rcp_approx};
use crate::device::global::store4;
use crate::device::half::{Bf16, F16};
use crate::device::shared::dynamic;
use crate::device::thread;

/// Where a block's rows go.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) o: *mut u8,
    pub(super) lse: *mut f32,
    /// `[splits, rows, D]`.
    pub(super) part_o: *mut f32,
    /// `[splits, rows]`, in units of ln 2.
    pub(super) part_lse: *mut f32,
    /// One a head, or null.
    pub(super) sink_logits: *const f32,
    /// Rows of all sequences.
    pub(super) rows: u32,
    pub(super) heads: u32,
    /// The type of q and o.
    pub(super) number_type: u32,
    pub(super) splits: u32,
}

/// Two pairs side by side.
#[repr(C, align(8))]
struct Pairs(u32, u32);

/// Writes four neighbouring numbers as f16 or bf16.
///
/// # Safety
/// They are this thread's to write, and aligned to 8 bytes.
#[inline(always)]
unsafe fn store_halves(to: *mut u8, number_type: u32, at: usize, x: [f32; 4]) {
    let (first, second) = if number_type == TYPE_F16 {
        (F16::pack(x[0], x[1]), F16::pack(x[2], x[3]))
    } else {
        (Bf16::pack(x[0], x[1]), Bf16::pack(x[2], x[3]))
    };
    // SAFETY: the caller's promise.
    unsafe { *to.cast::<u16>().add(at).cast::<Pairs>() = Pairs(first, second) }
}

/// Adds up what the block's warps found for its rows, each relative to the greatest score of all,
/// and writes it: the result when there is one split, else the split's part.
///
/// A lane's sums of eight columns n hold columns `run·(8·(n / run) + 2t + h) + n % run` for h = 0,
/// 1. They go through shared memory as quads of neighbouring columns, lane by lane.
///
/// # Safety
/// All threads of the block are here; `place` gives the rows of q that are this block's.
#[inline(always)]
pub(super) unsafe fn combine<const D8: usize>(
    outcome: Outcome,
    lane: Lane,
    warp: u32,
    run: u32,
    split: u32,
    softmax: Softmax,
    sums: &[[f32; 4]; D8],
    place: impl Fn(u32) -> Option<usize>,
) {
    let stats = dynamic::<f32>(0);
    let quads = dynamic::<f32>(TENSOR_STATS);
    thread::sync_threads();
    if lane.t == 0 {
        for row in 0..2 {
            let at = 2 * (16 * warp + lane.g + 8 * row as u32);
            // SAFETY: a place of the warp's row; q is no longer read.
            unsafe {
                stats.store(at, softmax.m[row]);
                stats.store(at + 1, softmax.l[row]);
            }
        }
    }
    thread::sync_threads();

    let (mut max, mut sum, mut own) = ([f32::NEG_INFINITY; 2], [0.0_f32; 2], [0.0_f32; 2]);
    for row in 0..2 {
        let stat = |warp: u32| 2 * (16 * warp + lane.g + 8 * row as u32);
        for warp in 0..TENSOR_WARPS {
            // SAFETY: written before the barrier.
            max[row] = max[row].max(unsafe { stats.load(stat(warp)) });
        }
        let base = |max: f32| if max == f32::NEG_INFINITY { 0.0 } else { max };
        for warp in 0..TENSOR_WARPS {
            // SAFETY: written before the barrier.
            let (m, l) = unsafe { (stats.load(stat(warp)), stats.load(stat(warp) + 1)) };
            sum[row] = fma(l, ex2_approx(m - base(max[row])), sum[row]);
        }
        own[row] = ex2_approx(softmax.m[row] - base(max[row]));
    }

    let per_warp = D8 as u32;
    for quad in 0..D8 / 4 {
        for h in 0..2 {
            for row in 0..2 {
                let mut value = [0.0; 4];
                for x in 0..4 {
                    value[x] = sums[4 * quad + x][2 * row + h] * own[row];
                }
                let i = 4 * quad as u32 + 2 * h as u32 + row as u32;
                // SAFETY: a place of its own.
                unsafe { quads.store4(4 * (32 * (warp * per_warp + i) + lane.lane), value) };
            }
        }
    }
    thread::sync_threads();

    let rows = [place(lane.g), place(lane.g + 8)];
    let (mut inverse, mut log) = ([0.0; 2], [0.0; 2]);
    for row in 0..2 {
        let (mut m, mut l) = (max[row], sum[row]);
        if outcome.splits == 1 && !outcome.sink_logits.is_null() {
            if let Some(number) = rows[row] {
                // SAFETY: one for each head.
                let sink = unsafe { *outcome.sink_logits.add(number % outcome.heads as usize) };
                let sink = sink * LOG2_E;
                let greatest = m.max(sink);
                let base = if greatest == f32::NEG_INFINITY {
                    0.0
                } else {
                    greatest
                };
                let correction = ex2_approx(m - base);
                l = fma(l, correction, ex2_approx(sink - base));
                inverse[row] = correction;
                m = greatest;
            }
        } else {
            inverse[row] = 1.0;
        }
        inverse[row] *= if l == 0.0 { 0.0 } else { rcp_approx(l) };
        log[row] = m + lg2_approx(l);
    }
    let part = |number: usize| split as usize * outcome.rows as usize + number;
    if warp == 0 && lane.t == 0 {
        for row in 0..2 {
            if let Some(number) = rows[row] {
                // SAFETY: this block's row.
                unsafe {
                    if outcome.splits == 1 {
                        *outcome.lse.add(number) = log[row] * LN_2;
                    } else {
                        *outcome.part_lse.add(part(number)) = log[row];
                    }
                }
            }
        }
    }
    let d = 8 * D8;
    times(per_warp / TENSOR_WARPS * outcome.splits.min(1), |n| {
        let i = warp * (per_warp / TENSOR_WARPS) + n;
        let mut total = [0.0_f32; 4];
        for warp in 0..TENSOR_WARPS {
            // SAFETY: written before the barrier.
            let value = unsafe { quads.load4(4 * (32 * (warp * per_warp + i) + lane.lane)) };
            for x in 0..4 {
                total[x] += value[x];
            }
        }
        let (first, h, row) = (4 * (i / 4), i / 2 % 2, i % 2);
        let (number, factor) = if row == 0 {
            (rows[0], inverse[0])
        } else {
            (rows[1], inverse[1])
        };
        let column = run * (8 * (first / run) + 2 * lane.t + h) + first % run;
        for x in 0..4 {
            total[x] *= factor;
        }
        if let Some(number) = number {
            // SAFETY: this block's row; four columns of it.
            unsafe {
                if outcome.splits == 1 {
                    let at = number * d + column as usize;
                    store_halves(outcome.o, outcome.number_type, at, total);
                } else {
                    store4(
                        outcome.part_o.add(part(number) * d + column as usize),
                        total,
                    );
                }
            }
        }
    });
}
