//! dW on tensor cores, for f16 and bf16: a dense product of transposed factors, through shared
//! memory and transposing `ldmatrix`.

use super::planar::{Double, GROUP};
use super::tensor::Half;
use super::{DW_TILE_ROWS, DW_TILE_STEP};
use crate::device::global::load4_readonly;
use crate::device::matrix::ldmatrix_x4_transposed;
use crate::device::shared::{Shared, Swizzled};
use crate::device::{thread, warp};
use crate::shared_tile;

shared_tile!(fn ternary_matmul_dw_dy: [u16; (DW_TILE_STEP * DW_TILE_ROWS) as usize]);
shared_tile!(fn ternary_matmul_dw_x: [u16; (DW_TILE_STEP * GROUP) as usize]);

/// 16 bytes of a row, zeros beyond the last row or column.
#[inline(always)]
fn fetch<T>(from: *const T, row: u32, rows: u32, column: u32, width: u32) -> [u32; 4] {
    if row < rows && column < width {
        let at = row as usize * width as usize + column as usize;
        // SAFETY: row < rows, and width is a multiple of the eight elements.
        unsafe { load4_readonly(from.wrapping_add(at).cast::<u32>()) }
    } else {
        [0; 4]
    }
}

/// `dW[n, k] = Σ_m dy[m, n]·x[m, k]`, f32: a block 64 rows of dW and a group of columns, 32 rows of dy
/// and x at a time; a warp 16 by 64. n is a multiple of 8.
#[inline(always)]
pub(super) fn weight_gradient<T: Half>(
    dy: *const T,
    x: *const T,
    dw: *mut f32,
    m: u32,
    n: u32,
    groups: u32,
) {
    let (lane, warp_id) = (warp::lane_id(), warp::warp_id());
    let (tid, width) = (thread::thread_idx_x(), groups * GROUP);
    let (first_row, first_column) = (
        thread::block_idx_x() * DW_TILE_ROWS,
        thread::block_idx_y() * GROUP,
    );
    let left = Swizzled::<u16, DW_TILE_ROWS>::new(ternary_matmul_dw_dy());
    let right = Swizzled::<u16, GROUP>::new(ternary_matmul_dw_x());
    let (of_row, of_column) = (warp_id % 4 * 16, warp_id / 4 * 64);

    // What this thread brings: a chunk of dy, two of x.
    let get = |step: u32| {
        let column = first_column + 8 * (tid % 16);
        [
            fetch(dy, step + tid / 8, m, first_row + 8 * (tid % 8), n),
            fetch(x, step + tid / 16, m, column, width),
            fetch(x, step + 16 + tid / 16, m, column, width),
        ]
    };
    let mut sums = [[0.0_f32; 4]; 8];
    let mut ahead = get(0);
    let mut step = 0;
    while step < m {
        let put = |address: u32, values: [u32; 4]| {
            // SAFETY: a chunk of a tile, this thread's; read after the barrier.
            unsafe { Shared::<u32>::at_address(address).store4(0, values) }
        };
        put(left.chunk_address(tid / 8, tid % 8), ahead[0]);
        put(right.chunk_address(tid / 16, tid % 16), ahead[1]);
        put(right.chunk_address(16 + tid / 16, tid % 16), ahead[2]);
        thread::sync_threads();
        step += DW_TILE_STEP;
        ahead = get(step);
        // The products need the whole warp, which the loads may have parted.
        warp::sync_warp(warp::FULL);
        for half in 0..2 {
            // Four 8×8 matrices: two of m (8 lanes each) by two of n or k.
            let (eight, pair) = (lane % 8, lane / 8);
            let row = 16 * half + eight + 8 * (pair / 2);
            let address = left.chunk_address(row, of_row / 8 + pair % 2);
            // SAFETY: within the tile, written before the barrier.
            let a = unsafe { ldmatrix_x4_transposed(address) };
            for two in 0..4 {
                let row = 16 * half + eight + 8 * (pair % 2);
                let chunk = of_column / 8 + 2 * two + pair / 2;
                // SAFETY: as before.
                let b = unsafe { ldmatrix_x4_transposed(right.chunk_address(row, chunk)) };
                let tile = 2 * two as usize;
                sums[tile] = T::mma(a, [b[0], b[1]], sums[tile]);
                sums[tile + 1] = T::mma(a, [b[2], b[3]], sums[tile + 1]);
            }
        }
        thread::sync_threads();
    }
    for tile in 0..8 {
        for half in 0..2 {
            let row = first_row + of_row + lane / 4 + 8 * half as u32;
            if row < n {
                let column = first_column + of_column + 8 * tile as u32 + 2 * (lane % 4);
                let at = row as usize * width as usize + column as usize;
                let values = [sums[tile][2 * half], sums[tile][2 * half + 1]].map(f32::to_bits);
                // SAFETY: two elements of dW, this thread's.
                unsafe { *dw.add(at).cast::<Double>() = Double(values[0], values[1]) }
            }
        }
    }
}
