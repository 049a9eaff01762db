//! Quantising and the forward product in one launch, for training: the weights have just moved, and
//! their image is both multiplied with and kept for the gradients.
//!
//! ```text
//! a block:   its rows of W → codes and scales, to memory        each dense weight is read once
//!            the forward product of those rows, for all rows of x, from what it has just written
//! ```
//! Against two launches: one less, and codes and scales come from the cache of the multiprocessor that
//! wrote them.

use super::formats::quantise_group;
use super::planar::{Four, Weights};
use super::tensor::Half;
use super::{TENSOR_ROWS, scalar, tensor};
use crate::device::half::F16;
use crate::device::{thread, warp};

/// What a fused kernel takes besides x and y.
#[derive(Clone, Copy)]
pub(super) struct Latent {
    pub(super) w: *const f32,
    pub(super) codes: *mut u32,
    pub(super) scales: *mut F16,
    pub(super) refused: *mut u32,
    /// Groups of a row.
    pub(super) groups: u32,
}

impl Latent {
    #[inline(always)]
    fn quantise(self, row: u32, group: u32) {
        let at = row * self.groups + group;
        quantise_group::<f32, false>(
            self.w,
            self.codes,
            self.scales,
            self.refused,
            at,
            self.groups,
        );
    }

    #[inline(always)]
    fn image(self) -> Weights {
        Weights {
            codes: self.codes,
            scales: self.scales,
            groups: self.groups,
        }
    }
}

/// On tensor cores: a block 16 rows of weights. Grid: ⌈n / 16⌉ blocks.
#[inline(always)]
pub(super) fn on_tensor_cores<T: Half>(latent: Latent, x: *const T, y: *mut T, m: u32, n: u32) {
    let warps = thread::block_dim_x() / warp::SIZE;
    let first = thread::block_idx_x() * TENSOR_ROWS;
    let rows = TENSOR_ROWS.min(n - first);
    let mut at = warp::warp_id();
    while at < rows * latent.groups {
        latent.quantise(first + at / latent.groups, at % latent.groups);
        at += warps;
    }
    thread::sync_threads();
    tensor::forward::<T, 4>(latent.image(), x, y, m, n);
}

/// On the CUDA cores: a warp a row of weights, which it reads again itself. Grid: ⌈n / 8⌉ blocks.
#[inline(always)]
pub(super) fn by_warps<T: Four>(latent: Latent, x: *const T, y: *mut T, m: u32, n: u32) {
    let warps = thread::block_dim_x() / warp::SIZE;
    let row = thread::block_idx_x() * warps + warp::warp_id();
    if row < n {
        for group in 0..latent.groups {
            latent.quantise(row, group);
        }
        warp::sync_warp(warp::FULL);
    }
    scalar::forward::<T, 8>(latent.image(), x, y, m, n);
}
