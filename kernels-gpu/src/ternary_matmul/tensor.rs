//! The forward product on tensor cores, for f16 and bf16. Weights are the left factor: they are
//! unpacked into its fragments, in registers, and serve all rows of x.
//!
//! A sum does not mind the order of its terms, so `k` is numbered as suits the loads: in step `i` of a
//! group lane `t` of four multiplies chunk `4i + t`, eight weights by 16 bytes of x. Its first four
//! are the fragments' slots 2t, 2t + 1, 2t + 8, 2t + 9 of one `mma`, the others those of a second.

use super::TENSOR_ROWS;
use super::planar::{Double, Four, GROUP, NIBBLES, Weights, permute};
use crate::device::float::fma;
use crate::device::global::load4_readonly;
use crate::device::half::{Bf16, Bf16x2, F16, F16x2};
use crate::device::matrix::{Accumulator, FragmentA, FragmentB, mma_bf16, mma_f16};
use crate::device::{thread, warp};
use crate::shared_tile;

/// A type tensor cores multiply.
pub(super) trait Half: Four {
    /// The upper bytes of −c, 0, c by code, where their lower bytes are 0.
    const UPPER_BYTES: u32;
    /// 1/c.
    const SCALE: f32;
    /// Both rounded, the first in the lower half.
    fn pack(low: f32, high: f32) -> u32;
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32>;
}

impl Half for F16 {
    #[inline(always)]
    fn pack(low: f32, high: f32) -> u32 {
        F16x2::from_f32(low, high).0
    }
    const UPPER_BYTES: u32 = 0x0040_00c0;
    const SCALE: f32 = 0.5;
    #[inline(always)]
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
        mma_f16(a, b, c)
    }
}

impl Half for Bf16 {
    #[inline(always)]
    fn pack(low: f32, high: f32) -> u32 {
        Bf16x2::from_f32(low, high).0
    }
    const UPPER_BYTES: u32 = 0x003f_00bf;
    const SCALE: f32 = 2.0;
    #[inline(always)]
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
        mma_bf16(a, b, c)
    }
}

/// The fragments of two products from a chunk of the tile's rows g and g + 8.
#[inline(always)]
fn unpack<T: Half>(first: u32, second: u32) -> [FragmentA; 2] {
    let fragment = |first: u32, second: u32| {
        let first = permute(T::UPPER_BYTES, 0, first);
        let second = permute(T::UPPER_BYTES, 0, second);
        // Bytes 0 and 1, and 2 and 3, each above a byte of zeros.
        [
            permute(first, 0, 0x1404),
            permute(second, 0, 0x1404),
            permute(first, 0, 0x3424),
            permute(second, 0, 0x3424),
        ]
    };
    let (first, second) = (first & NIBBLES, second & NIBBLES);
    [fragment(first, second), fragment(first >> 16, second >> 16)]
}

/// Words a warp leaves for the others: four sums a lane for each eight rows of x.
const MOST_TILES: u32 = 4;
shared_tile!(fn ternary_matmul_shares: [f32; (8 * MOST_TILES * 4 * 32) as usize]);

/// `y[m, n] = Σ_k x[m, k]·Ŵ[n, k]`: a block 16 rows of weights and `8·TILES` rows of x. Its warps divide
/// the groups, and their sums are added up in order.
#[inline(always)]
pub(super) fn forward<T: Half, const TILES: usize>(
    weights: Weights,
    x: *const T,
    y: *mut T,
    m: u32,
    n: u32,
) {
    let (lane, warp_id) = (warp::lane_id(), warp::warp_id());
    let warps = thread::block_dim_x() / warp::SIZE;
    let (g, t) = (lane / 4, lane % 4);
    let tile_of_rows = thread::block_idx_x();
    let row = tile_of_rows * TENSOR_ROWS + g;
    // What lies beyond the last row is computed from it, and not written.
    let rows = [row.min(n - 1), (row + 8).min(n - 1)];
    let width = weights.groups as usize * GROUP as usize;
    let shares = ternary_matmul_shares();

    let mut first = thread::block_idx_y() * 8 * TILES as u32;
    while first < m {
        let mut sums = [[0.0; 4]; TILES];
        let mut group = warp_id;
        // SAFETY: rows < n, group < groups; a lane has two of the eight words. Where there is no such
        // group nothing is read.
        let fetch = |group: u32| unsafe {
            let mut of_group = ([Double(0, 0); 2], [0.0; 2]);
            if group < weights.groups {
                of_group = (
                    rows.map(|row| *weights.words(row, group).cast::<Double>().add(t as usize)),
                    weights.double_scales(tile_of_rows, g, group),
                );
            }
            of_group
        };
        // The next group is under way while this one is multiplied with.
        let mut ahead = fetch(group);
        while group < weights.groups {
            let (codes, scales) = ahead;
            ahead = fetch(group + warps);
            // No branch parts the lanes from here to the products; this is for what came before.
            warp::sync_warp(warp::FULL);
            let mut parts = [[0.0; 4]; TILES];
            for step in 0..4 {
                let of = |words: Double| match step / 2 {
                    0 => words.0 >> (2 * (step % 2)),
                    _ => words.1 >> (2 * (step % 2)),
                };
                let [a, b] = unpack::<T>(of(codes[0]), of(codes[1]));
                let column = (group * GROUP + 32 * step + 8 * t) as usize;
                for tile in 0..TILES {
                    let of_x = (first + 8 * tile as u32 + g).min(m - 1) as usize;
                    // SAFETY: a row of x, and 16 bytes in it.
                    let values =
                        unsafe { load4_readonly(x.add(of_x * width + column).cast::<u32>()) };
                    parts[tile] = T::mma(a, [values[0], values[1]], parts[tile]);
                    parts[tile] = T::mma(b, [values[2], values[3]], parts[tile]);
                }
            }
            for tile in 0..TILES {
                for i in 0..4 {
                    let scale = T::SCALE * 0.5 * scales[i / 2];
                    sums[tile][i] = fma(parts[tile][i], scale, sums[tile][i]);
                }
            }
            group += warps;
        }
        for tile in 0..TILES {
            for i in 0..4 {
                let at = warp_id * (TILES as u32 * 4) + (4 * tile + i) as u32;
                // SAFETY: a word a lane, sum and warp.
                unsafe { shares.store(at * 32 + lane, sums[tile][i]) }
            }
        }
        thread::sync_threads();
        // A warp a sum of all lanes now.
        let mut which = warp_id;
        while which < TILES as u32 * 4 {
            let mut total = 0.0;
            for other in 0..warps {
                let at = other * (TILES as u32 * 4) + which;
                // SAFETY: written before the barrier.
                total += unsafe { shares.load(at * 32 + lane) };
            }
            let of_w = row + 8 * (which / 2 % 2);
            let of_x = first + 8 * (which / 4) + 2 * t + which % 2;
            if of_w < n && of_x < m {
                // SAFETY: an element of y, this thread's.
                unsafe { *y.add(of_x as usize * n as usize + of_w as usize) = T::from_f32(total) }
            }
            which += warps;
        }
        thread::sync_threads();
        first += thread::grid_dim_y() * 8 * TILES as u32;
    }
}
