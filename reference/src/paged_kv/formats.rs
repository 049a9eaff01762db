//! Quantised vectors, bit-exact.
//!
//! All arithmetic is f32, each operation rounded once to nearest-even; division is the IEEE one
//! (`div.rn`), not a multiplication by a reciprocal. Inputs are finite.
//!
//! ```text
//! int8   scale = f16(amax / 127)
//!        code  = clamp(round_half_even(x / scale), −127, 127)      value = code·scale
//!        scale = 0 (amax = 0, or too small for f16): all codes 0
//!
//! int4   scale = f16((max − min) / 15),  zero = f16(−min / scale)
//!        code  = clamp(round_half_even(x / scale + zero), 0, 15)   value = (code − zero)·scale
//!        max = min, or a scale of 0, or a zero beyond f16: scale = 1, zero = f16(−min)
//! ```
//!
//! Two codes per byte, the first in the low nibble; with odd D the last high nibble is 0. Where the
//! scale itself is beyond f16 (amax > 127·65504) the vector cannot be stored: an error.

use half::f16;

use crate::error::{Error, Result};
use crate::numbers::{DType, Element};

/// An int8 vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Vector {
    /// One per component, −127…127.
    pub codes: Vec<i8>,
    /// amax / 127.
    pub scale: f16,
}

/// An int4 vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Int4Vector {
    /// Two codes per byte, low nibble first.
    pub packed: Vec<u8>,
    /// (max − min) / 15.
    pub scale: f16,
    /// −min / scale.
    pub zero: f16,
}

fn check_finite(argument: &'static str, x: &[f32]) -> Result<()> {
    match x.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(Error::entry(argument, index, x[index], "finite")),
        None => Ok(()),
    }
}

/// An f32 rounded to f16, to nearest-even.
fn to_f16(x: f32) -> f16 {
    <f16 as Element>::from_f64(f64::from(x))
}

fn storable(argument: &'static str, x: &[f32], scale: f16) -> Result<f16> {
    if scale.is_finite() {
        return Ok(scale);
    }
    let size = |i: &usize| x[*i].abs();
    let index = (0..x.len())
        .max_by(|a, b| size(a).total_cmp(&size(b)))
        .unwrap_or(0);
    let allowed = "small enough for an f16 scale";
    Err(Error::entry(argument, index, x[index], allowed))
}

impl Int8Vector {
    /// Quantises `x`; `argument` is what an error calls it.
    pub fn quantise(argument: &'static str, x: &[f32]) -> Result<Self> {
        check_finite(argument, x)?;
        let amax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let scale = storable(argument, x, to_f16(amax / 127.0))?;
        let codes = x.iter().map(|&x| int8_code(x, scale)).collect();
        Ok(Self { codes, scale })
    }

    /// `code·scale`, exactly.
    pub fn value(&self, component: usize) -> f64 {
        f64::from(self.codes[component]) * f64::from(self.scale)
    }
}

/// The code of `x` under an int8 scale.
pub fn int8_code(x: f32, scale: f16) -> i8 {
    if scale == f16::ZERO {
        return 0;
    }
    let code = (x / f32::from(scale)).round_ties_even();
    code.clamp(-127.0, 127.0) as i8
}

impl Int4Vector {
    /// Quantises `x`; `argument` is what an error calls it.
    pub fn quantise(argument: &'static str, x: &[f32]) -> Result<Self> {
        check_finite(argument, x)?;
        let min = x.iter().copied().fold(f32::INFINITY, f32::min);
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (scale, zero) = match x.is_empty() {
            true => (f16::ONE, f16::ZERO),
            false => int4_scale_and_zero(min, max),
        };
        storable(argument, x, scale)?;
        storable(argument, x, zero)?;
        let codes: Vec<u8> = x.iter().map(|&x| int4_code(x, scale, zero)).collect();
        Ok(Self {
            packed: pack_nibbles(&codes),
            scale,
            zero,
        })
    }

    /// `(code − zero)·scale`, exactly.
    pub fn value(&self, component: usize) -> f64 {
        let code = nibble(&self.packed, component);
        (f64::from(code) - f64::from(self.zero)) * f64::from(self.scale)
    }
}

/// Scale and zero point for components from `min` to `max`. Only a range beyond f16 gives an
/// infinite scale, and only a constant beyond f16 an infinite zero.
pub fn int4_scale_and_zero(min: f32, max: f32) -> (f16, f16) {
    let scale = to_f16((max - min) / 15.0);
    if scale.is_infinite() {
        return (scale, f16::ZERO);
    }
    let zero = to_f16(-min / f32::from(scale));
    if scale == f16::ZERO || !zero.is_finite() {
        return (f16::ONE, to_f16(-min));
    }
    (scale, zero)
}

/// The code of `x` under an int4 scale and zero point.
pub fn int4_code(x: f32, scale: f16, zero: f16) -> u8 {
    let code = (x / f32::from(scale) + f32::from(zero)).round_ties_even();
    code.clamp(0.0, 15.0) as u8
}

/// Two codes per byte, the first in the low nibble.
pub fn pack_nibbles(codes: &[u8]) -> Vec<u8> {
    let byte = |pair: &[u8]| (pair[0] & 15) | (pair.get(1).copied().unwrap_or(0) << 4);
    codes.chunks(2).map(byte).collect()
}

/// Code number `index`.
pub fn nibble(packed: &[u8], index: usize) -> u8 {
    let byte = packed[index / 2];
    if index.is_multiple_of(2) {
        byte & 15
    } else {
        byte >> 4
    }
}

/// How a cached vector is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As it is, in 16 (or, for tests and tools, 32) bits per component.
    Float(DType),
    /// One byte per component, one f16 scale per vector.
    Int8,
    /// Half a byte per component, f16 scale and zero point per vector.
    Int4,
}

impl Format {
    /// Bytes of one vector of `head_size` components, scale and zero point included.
    pub fn vector_bytes(self, head_size: u64) -> u64 {
        match self {
            Self::Float(DType::F32) => 4 * head_size,
            Self::Float(_) => 2 * head_size,
            Self::Int8 => head_size + 2,
            Self::Int4 => head_size.div_ceil(2) + 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn h(x: f64) -> f16 {
        <f16 as Element>::from_f64(x)
    }

    #[test]
    fn int8_by_hand() {
        // amax 12.7 → 12.7/127 = 0.1, in f16 0.0999755859375.
        let q = Int8Vector::quantise("k", &[12.7, -12.7, 0.05, 0.0, -0.15]).unwrap();
        assert_eq!(f64::from(q.scale), 0.099_975_585_937_5);
        // 0.05/s = 0.5001…, −0.15/s = −1.5004…
        assert_eq!(q.codes, [127, -127, 1, 0, -2]);
    }

    #[test]
    fn int8_ties_go_to_even_and_zero_vectors_to_zero() {
        // scale exactly 1: 127/127.
        let q = Int8Vector::quantise("k", &[127.0, 0.5, 1.5, -2.5, -0.5]).unwrap();
        assert_eq!(
            (q.scale, q.codes.as_slice()),
            (f16::ONE, &[127, 0, 2, -2, 0][..])
        );
        let zero = Int8Vector::quantise("k", &[0.0, -0.0]).unwrap();
        assert_eq!(
            (zero.scale, zero.codes.as_slice()),
            (f16::ZERO, &[0, 0][..])
        );
        // A scale that f16 rounds to zero must not divide.
        let tiny = Int8Vector::quantise("k", &[1e-7, -1e-7]).unwrap();
        assert_eq!(
            (tiny.scale, tiny.codes.as_slice()),
            (f16::ZERO, &[0, 0][..])
        );
    }

    #[test]
    fn the_scale_is_rounded_before_it_is_used() {
        // amax/127 = 1.0004…: with the unrounded scale 64.02 would become 64, with f16's 1.0 too,
        // but 0.5003 is a tie broken differently.
        let amax = 127.06f32;
        let q = Int8Vector::quantise("k", &[amax, 0.5002]).unwrap();
        assert_eq!(q.scale, f16::ONE);
        assert_eq!(q.codes, [127, 1]);
        assert_eq!((0.5002f32 / (amax / 127.0)).round_ties_even(), 0.0);
    }

    #[test]
    fn int4_by_hand() {
        // min −1, max 14: scale 1, zero 1.
        let q = Int4Vector::quantise("k", &[-1.0, 14.0, 0.5, 1.5, 3.2]).unwrap();
        assert_eq!((q.scale, q.zero), (h(1.0), h(1.0)));
        // codes 0, 15, 2 (1.5 to even), 2 (2.5 to even), 4
        assert_eq!(q.packed, [0xf0, 0x22, 0x04]);
        assert_eq!(q.value(1), 14.0);
        assert_eq!(q.value(4), 3.0);
    }

    #[test]
    fn int4_of_a_constant_is_that_constant_in_f16() {
        for x in [0.0, 2.5, -7.25, 1000.0] {
            let q = Int4Vector::quantise("v", &[x; 5]).unwrap();
            assert_eq!((q.scale, q.zero), (f16::ONE, h(f64::from(-x))));
            assert_eq!(
                (0..5).map(|i| q.value(i)).collect::<Vec<_>>(),
                [f64::from(x); 5]
            );
            assert_eq!(q.packed.len(), 3);
        }
        // A narrow band far from zero: −min/scale would be beyond f16.
        let narrow = Int4Vector::quantise("v", &[1000.0, 1000.1]).unwrap();
        assert_eq!((narrow.scale, narrow.zero), (f16::ONE, h(-1000.0)));
    }

    #[test]
    fn what_cannot_be_stored_names_its_element() {
        let nan = Int8Vector::quantise("k", &[1.0, f32::NAN]).unwrap_err();
        assert_eq!(nan.to_string(), "`k`[1] is NaN, must be finite");
        assert!(Int8Vector::quantise("k", &[1e30, 0.0]).is_err());
        assert!(Int4Vector::quantise("v", &[0.0, -1e30]).is_err());
        assert!(Int4Vector::quantise("v", &[1e6, 1e6]).is_err());
    }

    #[test]
    fn nibbles_are_low_first() {
        assert_eq!(pack_nibbles(&[1, 2, 15]), [0x21, 0x0f]);
        assert_eq!(
            (0..3).map(|i| nibble(&[0x21, 0x0f], i)).collect::<Vec<_>>(),
            [1, 2, 15]
        );
    }

    /// For 16-bit inputs f32 arithmetic gives what exact arithmetic gives: a quotient of two
    /// 11-bit numbers is never so near a tie that f32 cannot tell.
    #[test]
    fn int8_codes_of_f16_inputs_are_those_of_exact_division() {
        let scale = h(0.013_37);
        for bits in 0..0x7c00u16 {
            let x = f16::from_bits(bits);
            let exact = (f64::from(x) / f64::from(scale))
                .round_ties_even()
                .clamp(-127.0, 127.0);
            assert_eq!(f64::from(int8_code(f32::from(x), scale)), exact);
        }
    }

    proptest! {
        /// A stored vector is off by at most half a step, plus what a rounded scale costs:
        /// int8: codes reach 127·scale, |scale·127 − amax| ≤ u₁₆·amax (or f16's subnormal step).
        #[test]
        fn int8_is_off_by_half_a_step(x in prop::collection::vec(-300f32..300.0, 1..40)) {
            let q = Int8Vector::quantise("k", &x).unwrap();
            let amax = x.iter().fold(0f64, |m, x| m.max(f64::from(x.abs())));
            let step = f64::from(q.scale);
            let rounding = 127.0 * DType::F16.half_ulp(amax / 127.0);
            for (i, &x) in x.iter().enumerate() {
                let off = (q.value(i) - f64::from(x)).abs();
                prop_assert!(off <= 0.5 * step * (1.0 + 1e-6) + rounding, "{off} {step}");
            }
        }

        /// int4: also the zero point is rounded, by up to u₁₆·|zero| codes (twice: the code is
        /// rounded with it, then clamped).
        #[test]
        fn int4_is_off_by_half_a_step(x in prop::collection::vec(-3f32..3.0, 2..40)) {
            let q = Int4Vector::quantise("v", &x).unwrap();
            let step = f64::from(q.scale);
            let zero_off = DType::F16.half_ulp(f64::from(q.zero)) * step;
            let scale_off = 15.0 * DType::F16.half_ulp(step);
            for (i, &x) in x.iter().enumerate() {
                let off = (q.value(i) - f64::from(x)).abs();
                prop_assert!(off <= 0.5 * step * (1.0 + 1e-5) + 2.0 * zero_off + scale_off);
            }
        }

        /// Quantising what was read back changes nothing: every code is its own rounding.
        #[test]
        fn codes_are_stable(x in prop::collection::vec(-300f32..300.0, 1..40)) {
            let q = Int8Vector::quantise("k", &x).unwrap();
            for i in 0..x.len() {
                prop_assert_eq!(int8_code(q.value(i) as f32, q.scale), q.codes[i]);
            }
            let q = Int4Vector::quantise("v", &x).unwrap();
            for i in 0..x.len() {
                let again = int4_code(q.value(i) as f32, q.scale, q.zero);
                prop_assert_eq!(again, nibble(&q.packed, i));
            }
        }
    }
}
