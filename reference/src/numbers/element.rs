//! Element types, read exactly into float64 and rounded correctly from it.

use half::{bf16, f16};

/// A floating format of inputs, intermediates or outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16: binary32 with 16 bits of significand cut off.
    Bf16,
}

/// 2ⁿ for a normal exponent, −1022 to 1023.
const fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

impl DType {
    /// Its name in tasks, manifests and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bits of the significand, the hidden one included.
    pub const fn significand_bits(self) -> i32 {
        match self {
            Self::F32 => 24,
            Self::F16 => 11,
            Self::Bf16 => 8,
        }
    }

    /// Exponent of the smallest normal number.
    pub const fn min_exponent(self) -> i32 {
        match self {
            Self::F32 | Self::Bf16 => -126,
            Self::F16 => -14,
        }
    }

    /// Largest finite number.
    pub const fn largest(self) -> f64 {
        let max_exponent = 1 - self.min_exponent();
        (2.0 - 2.0 * self.unit_roundoff()) * power_of_two(max_exponent)
    }

    /// u: the largest relative error of rounding to nearest, `2^−significand_bits`.
    pub const fn unit_roundoff(self) -> f64 {
        power_of_two(-self.significand_bits())
    }

    /// Smallest positive normal number; below it f32 arithmetic on a GPU may flush to zero.
    pub const fn smallest_normal(self) -> f64 {
        power_of_two(self.min_exponent())
    }

    /// Smallest positive number.
    pub const fn smallest_subnormal(self) -> f64 {
        power_of_two(self.min_exponent() - self.significand_bits() + 1)
    }

    /// Half the distance between neighbouring numbers at `|x|`: the error of rounding `x`.
    pub fn half_ulp(self, x: f64) -> f64 {
        if !x.is_finite() {
            return f64::INFINITY;
        }
        0.5 * quantum(x, self.significand_bits(), self.min_exponent())
    }

    /// Rounds to nearest, ties to even; beyond the largest number to infinity.
    pub fn round(self, x: f64) -> f64 {
        let rounded = round_to_bits(x, self.significand_bits(), self.min_exponent());
        if rounded.abs() > self.largest() {
            f64::INFINITY.copysign(x)
        } else {
            rounded
        }
    }

    /// The least `|x|` that rounds to infinity.
    pub fn overflow_threshold(self) -> f64 {
        self.largest() + self.half_ulp(self.largest())
    }
}

/// Spacing at `x` of numbers with `bits` of significand and exponents from `min_exponent`.
fn quantum(x: f64, bits: i32, min_exponent: i32) -> f64 {
    // The exponent field is exact where log2 is not; float64 subnormals are below every format's.
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(min_exponent);
    power_of_two(exponent - bits + 1)
}

/// Rounds to `bits` of significand with exponents from `min_exponent` and no upper end; ties to
/// even. NaN and infinities stay.
pub fn round_to_bits(x: f64, bits: i32, min_exponent: i32) -> f64 {
    if !x.is_finite() {
        return x;
    }
    // Scaling by a power of two is exact: the quotient is at most 2^bits and never underflows.
    let quantum = quantum(x, bits, min_exponent);
    (x / quantum).round_ties_even() * quantum
}

/// A type of tensor elements.
pub trait Element: Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// Its format.
    const DTYPE: DType;

    /// Its value, exactly.
    fn to_f64(self) -> f64;

    /// The nearest element, ties to even.
    fn from_f64(x: f64) -> Self;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(x: f64) -> Self {
        x as f32
    }
}

// `half` converts from f64 through f32 where the processor can, which rounds twice; so the value
// is rounded here first and its conversion is exact.
impl Element for f16 {
    const DTYPE: DType = DType::F16;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(x: f64) -> Self {
        Self::from_f64(DType::F16.round(x))
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(x: f64) -> Self {
        Self::from_f64(DType::Bf16.round(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit number is its own rounding; between neighbours the midpoint goes to the even
    /// one and the least step off it decides.
    fn check_all<T: Element>(from_bits: impl Fn(u16) -> T, largest_bits: u16) {
        for bits in 0..largest_bits {
            let (low, high) = (from_bits(bits).to_f64(), from_bits(bits + 1).to_f64());
            for sign in [1.0, -1.0] {
                let near = |x: f64| T::from_f64(sign * x).to_f64() * sign;
                assert_eq!(near(low), low);
                let middle = 0.5 * (low + high);
                assert_eq!(near(middle), if bits % 2 == 0 { low } else { high });
                assert_eq!(near(middle.next_down()), low);
                assert_eq!(near(middle.next_up()), high);
            }
        }
        let largest = from_bits(largest_bits).to_f64();
        assert_eq!(largest, T::DTYPE.largest());
        let threshold = T::DTYPE.overflow_threshold();
        assert_eq!(T::from_f64(threshold.next_down()).to_f64(), largest);
        assert_eq!(T::from_f64(-threshold).to_f64(), f64::NEG_INFINITY);
        assert_eq!(from_bits(1).to_f64(), T::DTYPE.smallest_subnormal());
        assert!(T::from_f64(f64::NAN).to_f64().is_nan());
        assert!(T::from_f64(-0.0).to_f64().is_sign_negative());
    }

    #[test]
    fn f16_rounds_correctly_everywhere() {
        check_all(f16::from_bits, 0x7bff);
    }

    #[test]
    fn bf16_rounds_correctly_everywhere() {
        check_all(bf16::from_bits, 0x7f7f);
    }

    #[test]
    fn f32_rounding_is_that_of_the_language() {
        for x in [
            0.1,
            -1e-40,
            3.4028235677973366e38,
            1e-46,
            16_777_217.0,
            5e-324,
            -0.0,
        ] {
            assert_eq!(
                DType::F32.round(x).to_bits(),
                f64::from(x as f32).to_bits(),
                "{x:e}"
            );
        }
        assert_eq!(DType::F32.largest(), f64::from(f32::MAX));
        assert_eq!(
            DType::F32.smallest_subnormal(),
            f64::from(f32::from_bits(1))
        );
    }
}
