//! Matrix multiply-accumulate: which lane holds which element, and the product itself.
//!
//! With `g = lane / 4` and `t = lane % 4`, register `r` of a fragment with `e` elements in it
//! holds, as its element `i` (PTX manual, "Matrix Fragments for mma.m16n8k…"):
//! A: row `g + 8·(r mod 2)`, column `e·t + 4e·(r div 2) + i` (one row block where M is 8);
//! B: row `e·t + 4e·r + i`, column `g`;
//! C and D: row `g + 8·(r' div 2)`, column `2t + r' mod 2`, for the `r'`-th element of a lane.

use super::half::{self, Format};
use super::{Flags, Rounding, float, round};
use crate::isa::meaning::convert::{self, Conversion};
use crate::ptx::types::ScalarType;

/// Type of the elements of A or B.
pub(crate) type Element = ScalarType;

/// What the elements of `b1` matrices are combined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitOp {
    Xor,
    And,
}

/// How fragments are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The regular layouts of `mma`.
    Regular,
    /// `mma.m8n8k4` on f16: four multiplications, one for each pair of quads.
    Quads { a_column: bool, b_column: bool },
    /// `wmma`, whose layout is nobody's business: elements are dealt to lanes in order.
    Dealt,
}

/// One kind of multiplication.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Element,
    pub(crate) b: Element,
    pub(crate) c: ScalarType,
    pub(crate) d: ScalarType,
    /// Of integers: floats have known no `.satfinite` since sm_70.
    pub(crate) saturate: bool,
    /// How products of f64 are rounded.
    pub(crate) rounding: Rounding,
    pub(crate) bits: Option<BitOp>,
    pub(crate) layout: Layout,
}

/// Which matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    A,
    B,
    C,
}

impl Shape {
    /// Elements in one register of a fragment.
    pub(crate) fn packed(ty: ScalarType) -> usize {
        match ty {
            // A tf32 takes a register of its own.
            ScalarType::TF32 | ScalarType::F32 | ScalarType::F64 => 1,
            _ => (32 / ty.bits()).max(1) as usize,
        }
    }

    /// Rows and columns of a matrix.
    pub(crate) fn extent(&self, part: Part) -> (usize, usize) {
        match part {
            Part::A => (self.m, self.k),
            Part::B => (self.k, self.n),
            Part::C => (self.m, self.n),
        }
    }

    /// Where element `i` of register `r` (of `count`) in a lane stands.
    pub(crate) fn position(
        &self,
        part: Part,
        per: usize,
        lane: usize,
        r: usize,
        i: usize,
        count: usize,
    ) -> (usize, usize) {
        let (g, t) = (lane / 4, lane % 4);
        match self.layout {
            Layout::Dealt => {
                let (rows, columns) = self.extent(part);
                let slot = (lane * count + r) * per + i;
                let element = slot % (rows * columns);
                // Of less than a byte, a register's elements must be neighbours in memory, where B
                // lies by columns.
                if part == Part::B && self.b.bits() < 8 {
                    (element % rows, element / rows)
                } else {
                    (element / columns, element % columns)
                }
            }
            Layout::Regular => match part {
                Part::A if self.m == 8 => (g, per * t + 4 * per * r + i),
                Part::A => (g + 8 * (r % 2), per * t + 4 * per * (r / 2) + i),
                Part::B => (per * t + 4 * per * r + i, g),
                Part::C => {
                    let e = r * per + i;
                    (g + 8 * (e / 2), 2 * t + e % 2)
                }
            },
            Layout::Quads { a_column, b_column } => {
                let e = r * per + i;
                let upper = 4 * (lane / 16);
                match part {
                    Part::A if a_column => (e + upper, t),
                    Part::A => (t + upper, e),
                    Part::B if b_column => (e, t + upper),
                    Part::B => (t, e + upper),
                    Part::C if per == 2 => (t + upper, e),
                    Part::C => ((lane & 1) + (e & 2) + upper, (e & 4) + (lane & 2) + (e & 1)),
                }
            }
        }
    }
}

/// An element of A or B as f32.
#[inline(always)]
pub(crate) fn to_single(bits: u32, ty: Element) -> f32 {
    match ty {
        ScalarType::F16 => half::f16_to_f32(bits as u16),
        ScalarType::BF16 => half::bf16_to_f32(bits as u16),
        // The hardware does not look at the last 13 bits.
        ScalarType::TF32 => f32::from_bits(bits & !0x1fff),
        ScalarType::E4M3 | ScalarType::E5M2 => {
            let flags = Flags(0);
            let c = Conversion {
                to: ScalarType::F32,
                from: ty,
                flags,
                integral: false,
            };
            f32::from_bits(convert::convert(u64::from(bits & 0xff), c) as u32)
        }
        _ => f32::from_bits(bits),
    }
}

/// An element of A or B as an integer.
pub(crate) fn to_integer(bits: u32, ty: Element) -> i32 {
    let up = 32 - ty.bits();
    match ty {
        ScalarType::S8 | ScalarType::S4 => (bits << up) as i32 >> up,
        _ => (bits << up >> up) as i32,
    }
}

/// `acc += a · b` in f32, all row-major: `a` is m×k, `b` k×n, `acc` m×n.
///
/// The tensor cores add several products before they round; which, and how, is not documented.
/// One fused multiply-add after the other, in order, lies within any bound that allows that.
#[inline(always)]
pub(crate) fn multiply_single<const N: usize>(a: &[f32], b: &[f32], acc: &mut [f32], k: usize) {
    let b = b.as_chunks::<N>().0;
    for (a, out) in a.chunks_exact(k).zip(acc.as_chunks_mut::<N>().0) {
        let mut sums = *out;
        for (x, row) in a.iter().zip(b) {
            for j in 0..N {
                sums[j] = x.mul_add(row[j], sums[j]);
            }
        }
        *out = sums;
    }
}

/// `acc += a · b` in f64.
#[inline(always)]
pub(crate) fn multiply_double(
    a: &[f64],
    b: &[f64],
    acc: &mut [f64],
    (n, k): (usize, usize),
    rounding: Rounding,
) {
    for (a, out) in a.chunks_exact(k).zip(acc.chunks_exact_mut(n)) {
        for (x, row) in a.iter().zip(b.chunks_exact(n)) {
            for (sum, y) in out.iter_mut().zip(row) {
                *sum = match rounding {
                    Rounding::Nearest => x.mul_add(*y, *sum),
                    _ => round::fma64(*x, *y, *sum, rounding),
                };
            }
        }
        out.iter_mut().for_each(|x| *x = float::canon64(*x));
    }
}

/// `acc += a · b` in integers.
#[inline(always)]
pub(crate) fn multiply_integer(a: &[i32], b: &[i32], acc: &mut [i64], n: usize, k: usize) {
    for (a, out) in a.chunks_exact(k).zip(acc.chunks_exact_mut(n)) {
        for (x, row) in a.iter().zip(b.chunks_exact(n)) {
            for (sum, y) in out.iter_mut().zip(row) {
                *sum += i64::from(x * y);
            }
        }
    }
}

/// An accumulator of `c` or `d` as f32.
pub(crate) fn accumulator(bits: u32, ty: ScalarType) -> f32 {
    match ty {
        ScalarType::F16 => Format::F16.widen(bits as u16),
        _ => f32::from_bits(bits),
    }
}

/// The bits of a result.
#[inline(always)]
pub(crate) fn result(x: f32, ty: ScalarType) -> u32 {
    match ty {
        ScalarType::F16 => u32::from(Format::F16.narrow(x)),
        _ => float::canon(x).to_bits(),
    }
}
