//! Products on the CUDA cores: for f32, which tensor cores would round, and as the simple rungs of
//! the 16-bit types.

use super::planar::{Four, GROUP, Weights, halved, upper_bytes};
use super::{DW_ROWS, DX_WARPS};
use crate::device::float::fma;
use crate::device::reduce::{self, Sum};
use crate::device::{thread, warp};
use crate::shared_tile;

/// `y[m, n] = Σ_k x[m, k]·Ŵ[n, k]`: a warp a row of weights and `M` rows of x, a lane four columns of
/// each group.
#[inline(always)]
pub(super) fn forward<T: Four, const M: usize>(
    weights: Weights,
    x: *const T,
    y: *mut T,
    m: u32,
    n: u32,
) {
    let lane = warp::lane_id();
    let row = thread::block_idx_x() * (thread::block_dim_x() / warp::SIZE) + warp::warp_id();
    if row >= n {
        return;
    }
    let width = weights.groups as usize * GROUP as usize;
    let mut first = thread::block_idx_y() * M as u32;
    while first < m {
        let mut sums = [0.0; M];
        for group in 0..weights.groups {
            // SAFETY: row < n, group < groups.
            let (upper, scale) = unsafe {
                (
                    upper_bytes(weights.words(row, group), lane),
                    weights.double_scale(row, group),
                )
            };
            let signs = halved(upper);
            let column = (group * GROUP + 4 * lane) as usize;
            for i in 0..M {
                // What lies beyond the last row is computed from it, and not written.
                let of_x = (first + i as u32).min(m - 1) as usize;
                // SAFETY: a row of x, and the columns lie in it.
                let x = unsafe { T::load(x.add(of_x * width + column)) };
                let mut part = x[0] * signs[0];
                part = fma(x[1], signs[1], part);
                part = fma(x[2], signs[2], part);
                part = fma(x[3], signs[3], part);
                sums[i] = fma(part, scale, sums[i]);
            }
        }
        for i in 0..M {
            let Sum(total) = reduce::warp(Sum(sums[i]));
            if lane == 0 && first + (i as u32) < m {
                // SAFETY: an element of y, this warp's.
                unsafe {
                    *y.add((first as usize + i) * n as usize + row as usize) = T::from_f32(total);
                }
            }
        }
        first += thread::grid_dim_y() * M as u32;
    }
}

shared_tile!(
    /// A sum a column of a group, row of dy and warp.
    fn ternary_matmul_dx_shares: [f32; (DX_WARPS * 8 * GROUP) as usize]
);

/// `dx[m, k] = Σ_n dy[m, n]·Ŵ[n, k]`: a block a group of columns and `M` rows of dy; its warps divide
/// the rows of weights, and their sums are added up in order.
#[inline(always)]
pub(super) fn input_gradient<T: Four, const M: usize>(
    weights: Weights,
    dy: *const T,
    dx: *mut T,
    m: u32,
    n: u32,
) {
    let (lane, warp_id) = (warp::lane_id(), warp::warp_id());
    let group = thread::block_idx_x();
    let width = weights.groups as usize * GROUP as usize;
    let shares = ternary_matmul_dx_shares();
    let mut first = thread::block_idx_y() * M as u32;
    while first < m {
        let mut sums = [[0.0; 4]; M];
        let mut row = warp_id;
        while row < n {
            // SAFETY: row < n, and a block a group.
            let (upper, scale) = unsafe {
                (
                    upper_bytes(weights.words(row, group), lane),
                    weights.double_scale(row, group),
                )
            };
            let signs = halved(upper);
            for i in 0..M {
                if first + (i as u32) < m {
                    let at = (first as usize + i) * n as usize + row as usize;
                    // SAFETY: an element of dy.
                    let scaled = unsafe { (*dy.add(at)).to_f32() } * scale;
                    for j in 0..4 {
                        sums[i][j] = fma(scaled, signs[j], sums[i][j]);
                    }
                }
            }
            row += DX_WARPS;
        }
        for i in 0..M {
            let at = (warp_id * 8 + i as u32) * GROUP + 4 * lane;
            // SAFETY: four words a lane, row and warp.
            unsafe { shares.store4(at, sums[i]) }
        }
        thread::sync_threads();
        // A warp a row now.
        if warp_id < M as u32 && first + warp_id < m {
            let mut total = [0.0; 4];
            for other in 0..DX_WARPS {
                // SAFETY: written before the barrier.
                let share = unsafe { shares.load4((other * 8 + warp_id) * GROUP + 4 * lane) };
                for j in 0..4 {
                    total[j] += share[j];
                }
            }
            let at = (first + warp_id) as usize * width + (group * GROUP + 4 * lane) as usize;
            // SAFETY: four elements of dx, this lane's.
            unsafe { T::store(dx.add(at), total) }
        }
        thread::sync_threads();
        first += thread::grid_dim_y() * M as u32;
    }
}

/// `dW[n, k] = Σ_m dy[m, n]·x[m, k]`, f32: a warp a group of columns and eight rows of dW.
#[inline(always)]
pub(super) fn weight_gradient<T: Four>(
    dy: *const T,
    x: *const T,
    dw: *mut f32,
    m: u32,
    n: u32,
    groups: u32,
) {
    let lane = warp::lane_id();
    let tile = thread::block_idx_x() * (thread::block_dim_x() / warp::SIZE) + warp::warp_id();
    let group = thread::block_idx_y();
    if tile * DW_ROWS >= n {
        return;
    }
    let (first, width) = (tile * DW_ROWS, groups as usize * GROUP as usize);
    let column = (group * GROUP + 4 * lane) as usize;
    let mut sums = [[0.0; 4]; DW_ROWS as usize];
    for row in 0..m {
        // SAFETY: row < m, and the column lies in x.
        let x = unsafe { T::load(x.add(row as usize * width + column)) };
        for i in 0..DW_ROWS as usize {
            if first + (i as u32) < n {
                let at = row as usize * n as usize + first as usize + i;
                // SAFETY: an element of dy.
                let dy = unsafe { (*dy.add(at)).to_f32() };
                for j in 0..4 {
                    sums[i][j] = fma(dy, x[j], sums[i][j]);
                }
            }
        }
    }
    for i in 0..DW_ROWS as usize {
        if first + (i as u32) < n {
            // SAFETY: four elements of dW, this lane's.
            unsafe {
                f32::store(dw.add((first as usize + i) * width + column), sums[i]);
            }
        }
    }
}
