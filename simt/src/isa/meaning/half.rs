//! f16 and bf16: values are bits; arithmetic goes through f32 or f64 and is rounded once.

use super::Flags;
use super::float;

/// A 16-bit format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
}

/// The canonical NaN of both formats.
pub(crate) const NAN: u16 = 0x7fff;

/// f16 to f32; exact.
#[inline(always)]
pub(crate) fn f16_to_f32(h: u16) -> f32 {
    // The exponent is moved by a multiplication, which also normalises subnormals.
    let magnitude = u32::from(h & 0x7fff) << 13;
    let scaled = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    // Infinity and NaN come out as 2^16·…; their exponent field is set by hand.
    let special = h & 0x7c00 == 0x7c00;
    let bits = if special {
        magnitude | 0x7f80_0000
    } else {
        scaled.to_bits()
    };
    f32::from_bits(bits | u32::from(h & 0x8000) << 16)
}

/// f32 to f16, to nearest even.
#[inline(always)]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return NAN;
    }
    let value = if magnitude < 0x3880_0000 {
        // Subnormal or zero: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
        (f32::from_bits(magnitude) + 0.5)
            .to_bits()
            .wrapping_sub(0x3f00_0000)
    } else {
        let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
        (rounded >> 13).wrapping_sub(0x1c000).min(0x7c00)
    };
    value as u16 | sign
}

/// bf16 to f32; exact.
#[inline(always)]
pub(crate) fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// f32 to bf16, to nearest even.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if x.is_nan() { NAN } else { rounded }
}

impl Format {
    /// To f32.
    #[inline(always)]
    pub(crate) fn widen(self, h: u16) -> f32 {
        match self {
            Format::F16 => f16_to_f32(h),
            Format::BF16 => bf16_to_f32(h),
        }
    }

    /// From f32, to nearest even.
    #[inline(always)]
    pub(crate) fn narrow(self, x: f32) -> u16 {
        match self {
            Format::F16 => f32_to_f16(x),
            Format::BF16 => f32_to_bf16(x),
        }
    }

    fn flush(self, h: u16) -> u16 {
        let exponent = if self == Format::F16 { 0x7c00 } else { 0x7f80 };
        if h & exponent == 0 { h & 0x8000 } else { h }
    }

    /// What `.ftz` does to an operand.
    pub(crate) fn flushed(self, h: u16, flags: Flags) -> u16 {
        if flags.ftz() { self.flush(h) } else { h }
    }

    fn output(self, h: u16, flags: Flags) -> u16 {
        let h = if flags.ftz() { self.flush(h) } else { h };
        let x = self.widen(h);
        if flags.sat() {
            self.narrow(float::saturate(x))
        } else if flags.relu() {
            if x.is_nan() {
                NAN
            } else if x > 0.0 {
                h
            } else {
                0
            }
        } else {
            h
        }
    }

    /// A binary operation whose f64 result from these operands is exact or rounds innocuously.
    #[inline(always)]
    pub(crate) fn binary(self, a: u16, b: u16, flags: Flags, f: impl Fn(f32, f32) -> f32) -> u16 {
        if flags.0 == 0 {
            return self.narrow(f(self.widen(a), self.widen(b)));
        }
        let (a, b) = (self.flushed(a, flags), self.flushed(b, flags));
        self.output(self.narrow(f(self.widen(a), self.widen(b))), flags)
    }

    /// `a·b + c`, rounded once.
    #[inline(always)]
    pub(crate) fn fma(self, a: u16, b: u16, c: u16, flags: Flags) -> u16 {
        let wide = |h| f64::from(self.widen(self.flushed(h, flags)));
        // The product of two 11- or 8-bit significands is exact in f64; the sum may round, so
        // it is made odd before it is rounded to f32 and from there to 16 bits.
        let (p, c) = (wide(a) * wide(b), wide(c));
        let sum = p + c;
        let other = sum - p;
        let error = (p - (sum - other)) + (c - other);
        let odd = to_odd(sum, error);
        self.output(self.narrow(to_odd32(odd)), flags)
    }

    /// `min`/`max`.
    pub(crate) fn extremum(self, a: u16, b: u16, flags: Flags, max: bool) -> u16 {
        let (a, b) = (self.flushed(a, flags), self.flushed(b, flags));
        let x = float::extremum(self.widen(a), self.widen(b), flags, max);
        self.narrow(x)
    }

    /// A unary function computed in f32.
    pub(crate) fn unary(self, a: u16, flags: Flags, f: impl Fn(f32) -> f32) -> u16 {
        self.output(self.narrow(f(self.widen(self.flushed(a, flags)))), flags)
    }
}

/// Makes a rounded-to-nearest sum odd when it is inexact.
#[inline(always)]
fn to_odd(sum: f64, error: f64) -> f64 {
    let bits = sum.to_bits();
    if error == 0.0 || !sum.is_finite() || !error.is_finite() || bits & 1 == 1 {
        return sum;
    }
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { bits + 1 } else { bits - 1 })
}

/// f64 to f32, rounded to odd, so that the next rounding sees every lost bit.
#[inline(always)]
pub(crate) fn to_odd32(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || !x.is_finite() {
        return near;
    }
    let bits = near.to_bits();
    // Towards zero first, then the last bit is set.
    let towards_zero = if back.abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(towards_zero | 1)
}

/// A comparison; see [`float::compare`].
pub(crate) fn compare(format: Format, a: u16, b: u16, relation: u16) -> bool {
    float::compare(format.widen(a).into(), format.widen(b).into(), relation)
}

/// Applies a 16-bit operation to both halves of a packed pair.
#[inline(always)]
pub(crate) fn pair(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    super::integer::both(a, b, f)
}

/// Applies a 16-bit operation of three operands to both halves.
#[inline(always)]
pub(crate) fn triple(a: u32, b: u32, c: u32, f: impl Fn(u16, u16, u16) -> u16) -> u32 {
    let low = f(a as u16, b as u16, c as u16);
    let high = f((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
    u32::from(high) << 16 | u32::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_converts_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let (f, b) = (half::f16::from_bits(bits), half::bf16::from_bits(bits));
            if f.is_nan() {
                assert!(f16_to_f32(bits).is_nan());
            } else {
                assert_eq!(
                    f16_to_f32(bits).to_bits(),
                    f.to_f32().to_bits(),
                    "{bits:#x}"
                );
                assert_eq!(f32_to_f16(f.to_f32()), bits);
            }
            if !b.is_nan() {
                assert_eq!(f32_to_bf16(b.to_f32()), bits);
            }
        }
    }

    #[test]
    fn narrowing_rounds_as_the_half_crate_does() {
        for step in 0..=u16::MAX {
            for low in [
                0u32, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff,
            ] {
                let x = f32::from_bits(u32::from(step) << 16 | low);
                if !x.is_nan() {
                    assert_eq!(f32_to_f16(x), half::f16::from_f32(x).to_bits(), "{x:e}");
                    assert_eq!(f32_to_bf16(x), half::bf16::from_f32(x).to_bits(), "{x:e}");
                }
            }
        }
    }
}
