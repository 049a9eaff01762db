//! The 16-bit types that the tensor cores multiply.

use crate::device::half::{Bf16, Bf16x2, Element, F16, F16x2};
use crate::device::matrix::{self, Accumulator, FragmentA, FragmentB};

/// A 16-bit type that the tensor cores multiply.
pub trait Half: Element {
    /// The bits of the exponent, all set in what is not finite.
    const EXPONENT: u32;
    /// `a·b + c`.
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32>;
    /// Two values rounded into a register.
    fn pack(low: f32, high: f32) -> u32;
    /// The two values of a register.
    fn unpack(pair: u32) -> (f32, f32);
}

impl Half for F16 {
    const EXPONENT: u32 = 0x7c00;
    #[inline(always)]
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
        matrix::mma_f16(a, b, c)
    }
    #[inline(always)]
    fn pack(low: f32, high: f32) -> u32 {
        F16x2::from_f32(low, high).0
    }
    #[inline(always)]
    fn unpack(pair: u32) -> (f32, f32) {
        F16x2(pair).to_f32()
    }
}

impl Half for Bf16 {
    const EXPONENT: u32 = 0x7f80;
    #[inline(always)]
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
        matrix::mma_bf16(a, b, c)
    }
    #[inline(always)]
    fn pack(low: f32, high: f32) -> u32 {
        Bf16x2::from_f32(low, high).0
    }
    #[inline(always)]
    fn unpack(pair: u32) -> (f32, f32) {
        Bf16x2(pair).to_f32()
    }
}

/// The upper bit of each half that is NaN or infinite: the addition carries into it.
#[inline(always)]
pub(super) fn odd<E: Half>(pair: u32) -> u32 {
    let carry = 0x8000 - E::EXPONENT;
    ((pair & 0x7fff_7fff) + (carry << 16 | carry)) & 0x8000_8000
}

/// The pair with 0 in place of what is not finite.
#[inline(always)]
pub fn without_odd<E: Half>(pair: u32) -> u32 {
    pair & !((odd::<E>(pair) >> 15) * 0xffff)
}

/// The 16×16 accumulator pair as the left factor of the next product: two 16×8 tiles of sums have
/// the layout of A.
#[inline(always)]
pub fn fragment<E: Half>(sums: &[[f32; 4]; 2]) -> FragmentA {
    [
        E::pack(sums[0][0], sums[0][1]),
        E::pack(sums[0][2], sums[0][3]),
        E::pack(sums[1][0], sums[1][1]),
        E::pack(sums[1][2], sums[1][3]),
    ]
}
