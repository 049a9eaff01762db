//! dx on tensor cores, for f16 and bf16. Weights are the right factor, unpacked in registers: here
//! the scales vary along the sum, so they are unpacked as ±d (rounded to bf16 for bf16).
//!
//! A lane has word `g` of a group for four rows of weights. Column g of product tile `i + 8b` is weight
//! `i` of that word's chunk `b`: any column will do for any tile, as long as the result goes there.

use super::DX_TILE;
use super::planar::{Double, GROUP, Weights, first_chunk, permute};
use super::tensor::Half;
use crate::device::{thread, warp};
use crate::shared_tile;

/// Two weights ±d or 0 from their codes in the two halves of `codes`, and their scales.
#[inline(always)]
fn pair(codes: u32, scales: u32) -> u32 {
    // Code 1 is 0, code 0 is −d: one bit says nothing, the other one plus.
    let something = (!codes & 0x0001_0001).wrapping_mul(0xffff);
    let minus = (!codes & 0x0002_0002) << 14;
    scales & something | minus
}

shared_tile!(
    /// The sums of the warps so far: 64 a lane.
    fn ternary_matmul_dx_so_far: [f32; 64 * 32]
);

/// `dx[m, k] = Σ_n dy[m, n]·Ŵ[n, k]`: a block a group of columns and 16 rows of dy; its warps divide
/// the rows of weights, 16 at a time, and add up in order. n is a multiple of 4.
#[inline(always)]
pub(super) fn input_gradient<T: Half>(weights: Weights, dy: *const T, dx: *mut T, m: u32, n: u32) {
    let (lane, warp_id) = (warp::lane_id(), warp::warp_id());
    let warps = thread::block_dim_x() / warp::SIZE;
    let (g, t) = (lane / 4, lane % 4);
    let group = thread::block_idx_x();
    let width = weights.groups as usize * GROUP as usize;
    let so_far = ternary_matmul_dx_so_far();

    let mut first = thread::block_idx_y() * DX_TILE;
    while first < m {
        let mut sums = [[0.0_f32; 4]; 16];
        let mut block = warp_id * 16;
        while block < n {
            // Four rows of weights a lane, the slots 2t, 2t + 1, 2t + 8, 2t + 9 of the sum.
            let row = block + 4 * t;
            let (mut words, mut scales) = ([0_u32; 4], [0.0_f32; 4]);
            let mut left = [Double(0, 0); 2];
            if row < n {
                // SAFETY: n is a multiple of 4, so all four rows are there; so are dy's rows.
                unsafe {
                    for i in 0..4 {
                        words[i] = *weights.words(row + i as u32, group).add(g as usize);
                    }
                    scales = weights.four_scales(row, group);
                    for i in 0..2 {
                        let of_dy = first + g + 8 * i as u32;
                        if of_dy < m {
                            let at = of_dy as usize * n as usize + row as usize;
                            left[i] = *dy.add(at).cast::<Double>();
                        }
                    }
                }
            }
            // The products need the whole warp, which the loads may have parted.
            warp::sync_warp(warp::FULL);
            let a = [left[0].0, left[1].0, left[0].1, left[1].1];
            let scales = [T::pack(scales[0], scales[1]), T::pack(scales[2], scales[3])];
            for tile in 0..16 {
                // Weights 0 to 3 of a chunk lie in the lower half of its word, 4 to 7 in the upper.
                let halves = if tile % 8 < 4 { 0x5410 } else { 0x7632 };
                let bit = 4 * (tile % 4) + 2 * (tile / 8);
                let b = [
                    pair(permute(words[0], words[1], halves) >> bit, scales[0]),
                    pair(permute(words[2], words[3], halves) >> bit, scales[1]),
                ];
                sums[tile] = T::mma(a, b, sums[tile]);
            }
            block += warps * 16;
        }
        let mut turn = 0;
        while turn < warps {
            if turn == warp_id {
                for tile in 0..16 {
                    for i in 0..4 {
                        let at = (4 * tile + i) as u32 * 32 + lane;
                        // SAFETY: a word a lane and sum; the other warps wait at the barrier.
                        unsafe {
                            if warp_id > 0 {
                                sums[tile][i] += so_far.load(at);
                            }
                            so_far.store(at, sums[tile][i]);
                        }
                    }
                }
            }
            thread::sync_threads();
            turn += 1;
        }
        if warp_id == warps - 1 {
            // A lane has words 2t and 2t + 1 of rows g and g + 8: eight columns in a run.
            for i in 0..4 {
                let of_dx = first + g + 8 * (i as u32 / 2);
                if of_dx < m {
                    for half in 0..2 {
                        let chunk = first_chunk(2 * t + i as u32 % 2) + 4 * half as u32;
                        let at = of_dx as usize * width + (group * GROUP + 8 * chunk) as usize;
                        let run = |from: usize| {
                            let tile = 8 * half + from;
                            T::pack(sums[tile][i], sums[tile + 1][i])
                        };
                        let values = [run(0), run(2), run(4), run(6)];
                        // SAFETY: 16 bytes of dx, this lane's.
                        unsafe {
                            crate::device::global::store4(dx.add(at).cast::<u32>(), values);
                        }
                    }
                }
            }
        }
        first += thread::grid_dim_y() * DX_TILE;
    }
}
