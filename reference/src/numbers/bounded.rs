//! A value with the error a right implementation may make, and how errors travel.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::DType;
use crate::error::Result;
use crate::tensor::elements;

/// `value`, and how far a right answer may be from it.
///
/// The operators propagate the errors of their operands and add none of their own: for an
/// operation an implementation *rounds*, apply [`super::Precision::round`] to the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// The exact result on the inputs as given; may be NaN or infinite by a family's rule.
    pub value: f64,
    /// The largest permitted `|got − value|`; zero beside an odd value.
    pub bound: f64,
}

impl Bounded {
    /// `value`, from which an answer may be `bound` away.
    #[inline(always)]
    pub fn new(value: f64, bound: f64) -> Self {
        Self { value, bound }
    }

    /// A number that no implementation gets wrong, as an input.
    #[inline(always)]
    pub fn exact(value: f64) -> Self {
        Self { value, bound: 0.0 }
    }

    /// Whether `got` is right. Written so that NaN fails unless NaN is what is expected.
    ///
    /// * expected NaN: any NaN, of any sign and payload;
    /// * expected ±inf: that infinity, whatever the bound;
    /// * expected finite: `|got − value| ≤ bound`, so −0 and +0 are the same number and an
    ///   infinity is right only under an infinite bound, which [`Bounded::stored`] gives to
    ///   values on the edge of overflow.
    pub fn admits(self, got: f64) -> bool {
        if self.value.is_nan() {
            got.is_nan()
        } else if self.value.is_infinite() {
            got == self.value
        } else {
            (got - self.value).abs() <= self.bound
        }
    }

    /// Error ÷ bound: 0 for an exact answer, at most 1 for a right one, infinite for NaN where a
    /// number is expected and for any mistake beside an odd value.
    pub fn ratio(self, got: f64) -> f64 {
        if !self.admits(got) {
            let ratio = (got - self.value).abs() / self.bound;
            // NaN, an infinity off its value, or a bound of zero: as wrong as can be.
            return if ratio > 1.0 { ratio } else { f64::INFINITY };
        }
        if got == self.value || got.is_nan() || self.bound.is_infinite() {
            return 0.0;
        }
        (got - self.value).abs() / self.bound
    }

    /// The largest magnitude a right answer may have.
    #[inline(always)]
    pub fn magnitude(self) -> f64 {
        self.value.abs() + self.bound
    }

    /// More error of the given size.
    #[inline(always)]
    pub fn widen(self, error: f64) -> Self {
        Self {
            value: self.value,
            bound: self.bound + error,
        }
    }

    /// Times an exact factor.
    pub fn scale(self, factor: f64) -> Self {
        Self {
            value: self.value * factor,
            bound: self.bound * factor.abs(),
        }
    }

    /// `eˣ`: an error b of the argument multiplies the result by up to `e^b`.
    pub fn exp(self) -> Self {
        let value = self.value.exp();
        Self {
            value,
            bound: odd_or(value, value * self.bound.exp_m1()),
        }
    }

    /// `ln x`: the result moves by at most `−ln(1 − b/x)`.
    pub fn ln(self) -> Self {
        let value = self.value.ln();
        let relative = self.bound / self.value;
        let bound = if relative < 1.0 {
            -(-relative).ln_1p()
        } else {
            f64::INFINITY
        };
        Self {
            value,
            bound: odd_or(value, bound),
        }
    }

    /// `√x`: `√x − √(x−b)`, or `√b` when the argument may be zero.
    pub fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        let low = (self.value - self.bound).max(0.0).sqrt();
        Self {
            value,
            bound: odd_or(value, value - low),
        }
    }

    /// `1/√x`.
    pub fn rsqrt(self) -> Self {
        let value = self.value.sqrt().recip();
        let low = self.value - self.bound;
        let bound = if low > 0.0 {
            low.sqrt().recip() - value
        } else {
            f64::INFINITY
        };
        Self {
            value,
            bound: odd_or(value, bound),
        }
    }

    /// Stored in `dtype`: half an ulp more (for f32 also a flush of subnormals to zero).
    ///
    /// A value that surely overflows becomes that infinity; one on the edge gets an infinite
    /// bound, so that a case which holds one fails its null margin.
    pub fn stored(self, dtype: DType) -> Self {
        if !self.value.is_finite() {
            return Self::exact(self.value);
        }
        let edge = dtype.overflow_threshold();
        if self.value.abs() - self.bound >= edge {
            return Self::exact(f64::INFINITY.copysign(self.value));
        }
        if self.magnitude() >= edge {
            return Self::new(self.value, f64::INFINITY);
        }
        let flush = if dtype == DType::F32 {
            dtype.smallest_normal()
        } else {
            0.0
        };
        self.widen(dtype.half_ulp(self.magnitude()) + flush)
    }
}

/// Beside a NaN or an infinity there is no distance to measure.
fn odd_or(value: f64, bound: f64) -> f64 {
    if value.is_finite() { bound } else { 0.0 }
}

impl Add for Bounded {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.bound + other.bound)
    }
}

impl Sub for Bounded {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self::new(self.value - other.value, self.bound + other.bound)
    }
}

impl Neg for Bounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(-self.value, self.bound)
    }
}

impl Mul for Bounded {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let bound = self.value.abs() * other.bound + self.bound * other.magnitude();
        Self::new(self.value * other.value, bound)
    }
}

impl Div for Bounded {
    type Output = Self;
    /// `|a'/b' − a/b| ≤ (Δa + |a/b|·Δb) / (|b| − Δb)`, infinite when the divisor may be zero.
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let least = other.value.abs() - other.bound;
        let moved = self.bound + value.abs() * other.bound;
        let bound = match least > 0.0 {
            true => moved / least,
            false if moved == 0.0 => 0.0,
            false => f64::INFINITY,
        };
        Self::new(value, odd_or(value, bound))
    }
}

/// Expected output: shape, values and bounds, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundedTensor {
    shape: Vec<usize>,
    items: Vec<Bounded>,
}

impl BoundedTensor {
    /// Wraps `items` as a tensor of `shape`; `argument` is what an error calls it.
    pub fn new(argument: &'static str, shape: &[usize], items: Vec<Bounded>) -> Result<Self> {
        let expected = elements(argument, shape)?;
        if items.len() != expected {
            return Err(crate::Error::Length {
                argument,
                shape: shape.to_vec(),
                expected,
                got: items.len(),
            });
        }
        Ok(Self {
            shape: shape.to_vec(),
            items,
        })
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All elements, row-major.
    pub fn items(&self) -> &[Bounded] {
        &self.items
    }

    /// The values alone.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.items.iter().map(|item| item.value)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinities_fail_where_numbers_are_expected() {
        let one = Bounded::new(1.0, 0.5);
        for (got, right) in [
            (1.5, true),
            (0.49, false),
            (f64::NAN, false),
            (f64::INFINITY, false),
        ] {
            assert_eq!(one.admits(got), right, "{got}");
            assert_eq!(one.ratio(got) <= 1.0, right, "{got}");
        }
        assert!(Bounded::exact(0.0).admits(-0.0));
        assert!(
            !Bounded::new(1.0, f64::NAN).admits(1.0),
            "a bound that is NaN admits nothing"
        );
    }

    #[test]
    fn odd_values_match_only_themselves() {
        let nan = Bounded::exact(f64::NAN);
        assert!(nan.admits(-f64::NAN) && !nan.admits(0.0) && !nan.admits(f64::INFINITY));
        let low = Bounded::exact(f64::NEG_INFINITY);
        assert!(low.admits(f64::NEG_INFINITY) && !low.admits(f64::INFINITY));
        assert!(!low.admits(f64::NAN) && !low.admits(f64::MIN));
        assert_eq!(low.ratio(f64::MIN), f64::INFINITY);
        assert_eq!(nan.ratio(0.0), f64::INFINITY);
    }

    #[test]
    fn storing_knows_overflow_and_the_edge_of_it() {
        let far = Bounded::new(-70_000.0, 1.0).stored(DType::F16);
        assert_eq!(far, Bounded::exact(f64::NEG_INFINITY));
        let edge = Bounded::new(65_519.0, 2.0).stored(DType::F16);
        assert!(edge.admits(65_504.0) && edge.admits(f64::INFINITY) && !edge.admits(f64::NAN));
        let small = Bounded::exact(2f64.powi(-25)).stored(DType::F16);
        assert!(small.admits(0.0) && small.admits(2f64.powi(-24)) && !small.admits(1e-6));
    }

    /// Every operator's bound holds at the corners of its operands' intervals and is reached
    /// there up to second order.
    #[test]
    fn operators_enclose_their_corners() {
        let (a, b) = (Bounded::new(3.0, 1e-3), Bounded::new(-0.7, 2e-4));
        type Op = (fn(Bounded, Bounded) -> Bounded, fn(f64, f64) -> f64);
        let ops: [Op; 8] = [
            (|a, b| a + b, |x, y| x + y),
            (|a, b| a - b, |x, y| x - y),
            (|a, b| a * b, |x, y| x * y),
            (|a, b| a / b, |x, y| x / y),
            (|_, b| b.exp(), |_, y| y.exp()),
            (|a, _| a.ln(), |x, _| x.ln()),
            (|a, _| a.sqrt(), |x, _| x.sqrt()),
            (|a, _| a.rsqrt(), |x, _| x.sqrt().recip()),
        ];
        for (index, (propagate, plain)) in ops.into_iter().enumerate() {
            let result = propagate(a, b);
            assert_eq!(result.value, plain(a.value, b.value), "op {index}");
            let mut worst = 0.0f64;
            for (da, db) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
                let moved = plain(a.value + da * a.bound, b.value + db * b.bound);
                worst = worst.max((moved - result.value).abs());
            }
            let slack = result.bound / worst;
            assert!((1.0 - 1e-10..1.002).contains(&slack), "op {index}: {slack}");
        }
    }

    #[test]
    fn a_divisor_or_logarithm_that_may_be_zero_has_no_bound() {
        let near_zero = Bounded::new(1e-9, 1e-8);
        assert_eq!((Bounded::exact(1.0) / near_zero).bound, f64::INFINITY);
        assert_eq!(near_zero.ln().bound, f64::INFINITY);
        assert_eq!(near_zero.rsqrt().bound, f64::INFINITY);
    }
}
