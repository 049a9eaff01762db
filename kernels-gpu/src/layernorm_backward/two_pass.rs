//! The rungs for any width: the sums of each row first, then dx and the columns. And the second
//! stage of all rungs, which adds up the blocks' shares of dγ and dβ.

use super::access::{Access, MOST, store_f32};
use super::arithmetic::{Pair, Statistics, add, dx, plus};
use super::one_pass::Problem;
use super::{FINISH_COLUMNS, FINISH_WARPS};
use crate::device::reduce::{self, Merge};
use crate::device::{thread, warp};
use crate::shared_tile;

shared_tile!(fn layernorm_backward_row_pairs: [u32; 64]);

/// c₁ and c₂ of a row, a block each: `means[rows, 2]`.
#[inline(always)]
pub(super) fn row_means<A: Access>(problem: &Problem<A::Element>, means: *mut f32) {
    let row = thread::block_idx_x();
    let start = row as usize * problem.width as usize;
    // SAFETY: a block a row.
    let statistics = unsafe { Statistics::load(problem.mean, problem.rstd, row) };
    let mut sums = Pair::IDENTITY;
    let mut column = thread::thread_idx_x() * A::PER as u32;
    while column < problem.width {
        let at = column as usize;
        // SAFETY: an access that begins in a row ends in it.
        unsafe {
            let x = A::load(problem.x.add(start + at));
            let dy = A::load(problem.dy.add(start + at));
            let gamma = if problem.gamma.is_null() {
                A::ones()
            } else {
                A::load_shared(problem.gamma.add(at))
            };
            add::<A>(statistics, x, dy, gamma, &mut sums, None);
        }
        column += thread::block_dim_x() * A::PER as u32;
    }
    // SAFETY: two words for each of at most 32 warps, used once.
    let sums = unsafe { reduce::block(layernorm_backward_row_pairs(), sums) };
    if thread::thread_idx_x() == 0 {
        let Pair { ones, xhat } = sums.means(problem.width, !problem.mean.is_null());
        // SAFETY: two places a row.
        unsafe {
            *means.add(2 * row as usize) = ones;
            *means.add(2 * row as usize + 1) = xhat;
        }
    }
}

/// dx, and the shares of dγ and dβ: a thread has `PER` columns of the rows
/// `block_idx_y, block_idx_y + grid_dim_y, …`.
#[inline(always)]
pub(super) fn columns<A: Access>(problem: &Problem<A::Element>, means: *const f32) {
    let width = problem.width as usize;
    let column = thread::index_1d() * A::PER as u32;
    if column >= problem.width {
        return;
    }
    let column = column as usize;
    let mut gamma = A::ones();
    if !problem.gamma.is_null() {
        // SAFETY: column < width, and an access that begins in a row ends in it.
        gamma = unsafe { A::load_shared(problem.gamma.add(column)) };
    }
    let (mut dgamma, mut dbeta) = ([0.0; MOST], [0.0; MOST]);
    let mut row = thread::block_idx_y();
    while row < problem.rows {
        let at = row as usize * width + column;
        // SAFETY: row < rows; dx there is this thread's alone.
        unsafe {
            let statistics = Statistics::load(problem.mean, problem.rstd, row);
            let of_row = Pair {
                ones: *means.add(2 * row as usize),
                xhat: *means.add(2 * row as usize + 1),
            };
            let x = A::load(problem.x.add(at));
            let dy = A::load(problem.dy.add(at));
            let mut ignored = Pair::IDENTITY;
            let sums = Some((&mut dgamma, &mut dbeta));
            add::<A>(statistics, x, dy, gamma, &mut ignored, sums);
            let mut out = dx::<A>(statistics, of_row, x, dy, gamma);
            if !problem.residual.is_null() {
                out = plus::<A>(out, A::load(problem.residual.add(at)));
            }
            A::store(problem.dx.add(at), out);
        }
        row += thread::grid_dim_y();
    }
    let share = thread::block_idx_y() as usize * width + column;
    // SAFETY: a place a slice and column, this thread's.
    unsafe {
        store_f32::<A>(problem.partial.add(share), dgamma);
        if !problem.mean.is_null() {
            let dbetas = thread::grid_dim_y() as usize * width;
            store_f32::<A>(problem.partial.add(dbetas + share), dbeta);
        }
    }
}

shared_tile!(fn layernorm_backward_shares: [f32; (FINISH_WARPS * FINISH_COLUMNS) as usize]);

/// `out[y, column] = Σ_slice partial[y, slice, column]`, y the block's: 32 columns a block, a warp
/// takes every 32nd slice, the first warp adds up the warps.
#[inline(always)]
pub(super) fn finish(
    partial: *const f32,
    dgamma: *mut f32,
    dbeta: *mut f32,
    slices: u32,
    width: u32,
) {
    let (warp_id, lane) = (warp::warp_id(), warp::lane_id());
    let which = thread::block_idx_y();
    let column = thread::block_idx_x() * FINISH_COLUMNS + lane;
    let mut sum = 0.0;
    if column < width {
        let mut slice = warp_id;
        while slice < slices {
            let row = which as usize * slices as usize + slice as usize;
            // SAFETY: slice < slices, column < width, and y is 0, or 1 when there are dβ.
            sum += unsafe { *partial.add(row * width as usize + column as usize) };
            slice += FINISH_WARPS;
        }
    }
    let shares = layernorm_backward_shares();
    // SAFETY: a word a thread.
    unsafe { shares.store(thread::thread_idx_x(), sum) }
    thread::sync_threads();
    if warp_id == 0 && column < width {
        let mut total = 0.0;
        for other in 0..FINISH_WARPS {
            // SAFETY: written before the barrier.
            total += unsafe { shares.load(other * FINISH_COLUMNS + lane) };
        }
        let out = if which == 0 { dgamma } else { dbeta };
        // SAFETY: column < width, this thread's.
        unsafe { *out.add(column as usize) = total }
    }
}
