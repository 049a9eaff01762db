//! Quantising and the forward product in one launch, for training: the weights have just moved, and
//! their image is both multiplied with and kept for the gradients.
//!
//! ```text
//! a block:   its rows of W → codes and scales, to memory        each dense weight is read once
//!            the forward product of those rows, for all rows of x, from what it has just written
//! ```
//! Against two launches: one less, and codes and scales come from the cache of the multiprocessor that
//! wrote them.

use super::formats::Dense;
use super::planar::{Four, Weights};
use super::tensor::Half;
use super::{TENSOR_ROWS, scalar, tensor};
use crate::device::{thread, warp};

/// The image of this block's rows, `count` from `first` on.
#[inline(always)]
fn image(dense: Dense<f32>, first: u32, count: u32) -> Weights {
    let warps = thread::block_dim_x() / warp::SIZE;
    let mut group = warp::warp_id();
    while group < dense.of_row {
        dense.quantise::<false>(first, count, group);
        group += warps;
    }
    thread::sync_threads();
    Weights {
        codes: dense.codes,
        scales: dense.scales,
        groups: dense.of_row,
    }
}

/// On tensor cores: a block 16 rows of weights. Grid: ⌈n / 16⌉ blocks.
#[inline(always)]
pub(super) fn on_tensor_cores<T: Half>(dense: Dense<f32>, x: *const T, y: *mut T, m: u32, n: u32) {
    let first = thread::block_idx_x() * TENSOR_ROWS;
    let weights = image(dense, first, TENSOR_ROWS.min(n - first));
    tensor::forward::<T, 4>(weights, x, y, m, n);
}

/// On the CUDA cores: a block a row of weights for each of its warps. Grid: ⌈n / 8⌉ blocks.
#[inline(always)]
pub(super) fn by_warps<T: Four>(dense: Dense<f32>, x: *const T, y: *mut T, m: u32, n: u32) {
    let rows = thread::block_dim_x() / warp::SIZE;
    let first = thread::block_idx_x() * rows;
    let weights = image(dense, first, rows.min(n - first));
    scalar::forward::<T, 8>(weights, x, y, m, n);
}
