//! Models of the probes of tensor-core tiles, from the fragments' layouts in the PTX ISA
//! (9.7.14: matrix fragments for mma.m16n8k16, mma.m16n8k32, ldmatrix). Operands are small integers,
//! so products are exact.

use crate::Model;
use crate::expect::{Expected, Input, Word};

/// Element (row, column) of A, 16 rows: in which register of which lane, and which part of it,
/// when a register holds `per` values of a row.
fn place_in_a(row: usize, column: usize, per: usize) -> (usize, usize, usize) {
    let lane = row % 8 * 4 + column / per % 4;
    let register = row / 8 + 2 * (column / (4 * per));
    (register, lane, column % per)
}

/// Element (row, column) of B (k×8), as for A.
fn place_in_b(row: usize, column: usize, per: usize) -> (usize, usize, usize) {
    (row / (4 * per), column * 4 + row / per % 4, row % per)
}

/// The word of a register of a lane of the warp of thread `i`.
fn word(a: &[u32], i: usize, register: usize, lane: usize) -> u32 {
    a[i / 32 * 32 + lane + 64 * register]
}

/// The four sums of thread `i`: rows g and g + 8, columns 2t and 2t + 1.
fn product(
    a: &[u32],
    i: usize,
    depth: usize,
    per: usize,
    value: impl Fn(u32, usize) -> i64,
) -> [i64; 4] {
    let (g, t) = (i % 32 / 4, i % 4);
    [
        (g, 2 * t),
        (g, 2 * t + 1),
        (g + 8, 2 * t),
        (g + 8, 2 * t + 1),
    ]
    .map(|(row, column)| {
        (0..depth)
            .map(|k| {
                let (ra, la, pa) = place_in_a(row, k, per);
                let (rb, lb, pb) = place_in_b(k, column, per);
                value(word(a, i, ra, la), pa) * value(word(a, i, 4 + rb, lb), pb)
            })
            .sum()
    })
}

fn bf16_at(word: u32, part: usize) -> i64 {
    half::bf16::from_bits((word >> (16 * part)) as u16).to_f32() as i64
}

fn f16_at(word: u32, part: usize) -> i64 {
    half::f16::from_bits((word >> (16 * part)) as u16).to_f32() as i64
}

fn i8_at(word: u32, part: usize) -> i64 {
    i64::from((word >> (8 * part)) as i8)
}

fn float(sum: i64) -> Word {
    Word::Bits((sum as f32).to_bits())
}

/// The 16 bits in row `row`, column `column` of matrix `m` of thread `i`'s warp: lane 8m + row
/// names the row, 4 words from word 4·lane of the warp's on.
fn half_of(a: &[u32], i: usize, m: usize, row: usize, column: usize) -> u32 {
    let lane = i / 32 * 32 + 8 * m + row;
    a[4 * lane + column / 2] >> (16 * (column % 2)) & 0xffff
}

fn loaded<const R: usize>(a: &[u32]) -> Expected {
    Expected::registers::<R>(|i| {
        let (row, column) = (i % 32 / 4, 2 * (i % 4));
        std::array::from_fn(|m| {
            Word::Bits(half_of(a, i, m, row, column + 1) << 16 | half_of(a, i, m, row, column))
        })
    })
}

fn loaded_transposed<const R: usize>(a: &[u32]) -> Expected {
    Expected::registers::<R>(|i| {
        let (column, row) = (i % 32 / 4, 2 * (i % 4));
        std::array::from_fn(|m| {
            Word::Bits(half_of(a, i, m, row + 1, column) << 16 | half_of(a, i, m, row, column))
        })
    })
}

pub fn model(probe: &str) -> Option<Model> {
    let (input, expected): (Input, fn(&[u32]) -> Expected) = match probe {
        "probe_mma_bf16" => (Input::SmallBf16, |a| {
            Expected::registers(|i| product(a, i, 16, 2, bf16_at).map(float))
        }),
        // The product, and then the same added to its double.
        "probe_mma_f16" => (Input::SmallF16, |a| {
            Expected::registers(|i| product(a, i, 16, 2, f16_at).map(|sum| float(3 * sum)))
        }),
        "probe_mma_s8" => (Input::Bits, |a| {
            Expected::registers::<4>(|i| {
                let sums = product(a, i, 32, 4, i8_at);
                let start = [1, -2, 3, -4];
                std::array::from_fn(|r| Word::Bits((sums[r] + start[r]) as u32))
            })
        }),
        "probe_ldmatrix_x1" => (Input::Bits, loaded::<1>),
        "probe_ldmatrix_x2" => (Input::Bits, loaded::<2>),
        "probe_ldmatrix_x4" => (Input::Bits, loaded::<4>),
        "probe_ldmatrix_x1_transposed" => (Input::Bits, loaded_transposed::<1>),
        "probe_ldmatrix_x2_transposed" => (Input::Bits, loaded_transposed::<2>),
        "probe_ldmatrix_x4_transposed" => (Input::Bits, loaded_transposed::<4>),
        _ => return None,
    };
    Some(Model { input, expected })
}
