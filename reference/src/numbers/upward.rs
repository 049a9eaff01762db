//! Bounds in float32. What only bounds an error needs to be no smaller than in exact arithmetic, and a
//! millionth larger does no harm; in float32 a product of matrices takes half the time.
//!
//! Let X be made of numbers ≥ 0 by additions and multiplications alone, so that no term passes through
//! more than n roundings of float32, and X̂ what comes out. Each rounding is `(1 + δ)`, `|δ| ≤ u = 2⁻²⁴`,
//! or, of a product below the normal numbers, an absolute `2⁻¹⁵⁰` (additions are exact there). So
//!
//! ```text
//! X̂ ≥ (1 − u)ⁿ·(X − N·2⁻¹⁵⁰)        N products, in a sum where none is multiplied again
//! X ≤ X̂·(1 − u)⁻ⁿ + N·2⁻¹⁵⁰ ≤ (X̂ + N·2⁻¹⁴⁹)·e^{(n+1)u}          for n < 2²⁴
//! ```
//!
//! since `−ln(1 − u) < u + u²`. A quantity that *is* multiplied again ([`TINY`]) is kept normal.

/// u of the arithmetic.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// What is added to a factor that could be smaller, so that its roundings are relative: the smallest
/// normal number.
pub(crate) const TINY: f32 = f32::MIN_POSITIVE;

/// Roundings that a number passes through, beside those of a sum, in what goes to an [`Upward`]: the
/// longest formula, dS and its error in `attention::pairs`, has 40.
pub(crate) const FORMULA: usize = 48;

/// From sums of `n` products to what they surely bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upward {
    factor: f64,
    lost: f64,
}

impl Upward {
    pub(crate) fn sum(n: usize) -> Self {
        Self {
            factor: ((n + FORMULA + 1) as f64 * UNIT).exp(),
            // 2⁻¹⁴⁹ is the smallest number.
            lost: n as f64 * f64::from(f32::from_bits(1)),
        }
    }

    /// No less than the sum would be in exact arithmetic.
    #[inline(always)]
    pub(crate) fn of(self, computed: f32) -> f64 {
        (f64::from(computed) + self.lost) * self.factor
    }
}

/// The least float32 that is not below `x ≥ 0`.
#[inline(always)]
pub(crate) fn above(x: f64) -> f32 {
    let nearest = x as f32;
    // The next one above: numbers ≥ 0 are in the order of their bits, and below ∞ there is always one.
    let next = f32::from_bits(nearest.to_bits().wrapping_add(1));
    if f64::from(nearest) < x {
        next
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Rng;

    #[test]
    fn above_is_the_least_number_that_is_not_below() {
        let mut rng = Rng::new(1);
        for _ in 0..10_000 {
            let x = rng.uniform(1.0, 2.0) * 2f64.powi(rng.below(290) as i32 - 160);
            let got = above(x);
            assert!(
                f64::from(got) >= x && f64::from(got.next_down()) < x,
                "{x:e}"
            );
        }
        assert_eq!(above(0.0), 0.0);
        assert_eq!(above(1e-300), f32::from_bits(1));
        assert_eq!(
            (above(1e39), above(f64::INFINITY)),
            (f32::INFINITY, f32::INFINITY)
        );
        assert!(above(f64::NAN).is_nan());
    }

    /// Chains as long and as unlucky as can be made: each addition rounds down by nearly u.
    #[test]
    fn sums_are_never_below_the_exact_ones() {
        for n in [1usize, 3, 100, 5000] {
            // From 1 on, one less than half the distance to the next number is lost whole.
            let term = f32::EPSILON * 0.499;
            let computed = (1..n).fold(1.0f32, |sum, _| sum + term);
            let exact = 1.0 + (n - 1) as f64 * f64::from(term);
            assert!(n == 1 || f64::from(computed) < exact);
            assert!(Upward::sum(n).of(computed) >= exact);
            assert!(Upward::sum(n).of(computed) <= exact * (1.0 + (n + 99) as f64 * UNIT));
            // Products below the smallest number.
            let small = f32::from_bits(1);
            let computed = (0..n).fold(0.0f32, |sum, _| sum + small * 0.49);
            let exact = n as f64 * f64::from(small) * 0.49;
            assert!(computed == 0.0 && Upward::sum(n).of(computed) >= exact);
        }
    }
}
