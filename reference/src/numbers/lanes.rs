//! Arithmetic on many numbers at once: loops without branches and calls, which the compiler turns into
//! vectors as wide as the machine has them.

use std::ops::Add;

use pulp::{Arch, Simd, WithSimd};

/// Work on many numbers. `call`, and what it calls, must be marked `#[inline(always)]` to have wide
/// vectors: a function that stays by itself is compiled for the narrowest.
pub(crate) trait InLanes {
    type Output;

    fn call(self) -> Self::Output;
}

/// `work` with the widest vectors of this machine.
pub(crate) fn wide<W: InLanes>(work: W) -> W::Output {
    Arch::new().dispatch(Work(work))
}

struct Work<W>(W);

impl<W: InLanes> WithSimd for Work<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> W::Output {
        self.0.call()
    }
}

/// Partial results side by side, as additions in one chain wait for each other.
const LANES: usize = 16;

/// Folds `numbers` into one, in no particular order.
#[inline(always)]
fn fold<N: Copy>(numbers: &[N], start: N, step: impl Fn(N, N) -> N) -> N {
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = step(lanes[i], chunk[i]);
        }
    }
    // In halves, as a chain of them would wait again.
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = step(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    rest.iter().fold(lanes[0], |all, &x| step(all, x))
}

/// `Σ x`.
#[inline(always)]
pub(crate) fn sum<N: Copy + Default + Add<Output = N>>(numbers: &[N]) -> N {
    fold(numbers, N::default(), |a, b| a + b)
}

/// The largest that is not NaN; −∞ of none.
#[inline(always)]
pub(crate) fn largest<N: Copy + PartialOrd + From<f32>>(numbers: &[N]) -> N {
    let start = N::from(f32::NEG_INFINITY);
    fold(numbers, start, |a, b| if b > a { b } else { a })
}

/// The smallest that is not NaN; ∞ of none.
#[inline(always)]
pub(crate) fn lowest(numbers: &[f64]) -> f64 {
    fold(numbers, f64::INFINITY, |a, b| if b < a { b } else { a })
}

/// `eˣ` to within 2 ulp; 0 below the normal numbers (x < −708), ∞ from 709 on.
///
/// ```text
/// x = k·ln 2 + r,  |r| ≤ ½·ln 2      k·(leading bits of ln 2) is exact, and so is the difference
/// eˣ = 2ᵏ·Σ_{i ≤ 13} rⁱ/i!           the rest is below e^{|r|}·|r|¹⁴/14! < 2⁻⁵⁷
/// ```
///
/// Horner's rule adds to 1 a number below ½ that is right to some ulp: one rounding of the result, half
/// of one from that number, and what `k·(the other bits of ln 2)` loses.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    // Adding 1.5·2⁵² rounds to an integer and leaves it in the lowest bits.
    const INTEGER: f64 = 6_755_399_441_055_744.0;
    // 32 bits of ln 2, and what they leave out of 0.69314718055994530941723212145817656807….
    const LN_2: f64 = f64::from_bits(std::f64::consts::LN_2.to_bits() & !0x1f_ffff);
    const LN_2_REST: f64 = 1.908_214_929_270_587_7e-10;
    let shifted = x * std::f64::consts::LOG2_E + INTEGER;
    let k = shifted - INTEGER;
    let r = (x - k * LN_2) - k * LN_2_REST;
    let mut sum = INVERSE_FACTORIALS[13];
    for i in (0..13).rev() {
        sum = sum.mul_add(r, INVERSE_FACTORIALS[i]);
    }
    let power = f64::from_bits((shifted.to_bits().wrapping_add(1023)) << 52);
    let result = sum * power;
    let result = if x < -708.0 { 0.0 } else { result };
    if x >= 709.0 { f64::INFINITY } else { result }
}

/// `1/i!`, each rounded once: the factorials are exact.
const INVERSE_FACTORIALS: [f64; 14] = {
    let mut all = [1.0; 14];
    let (mut factorial, mut i) = (1.0, 1);
    while i < 14 {
        factorial *= i as f64;
        all[i] = 1.0 / factorial;
        i += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Rng;

    /// The library's own is within 1 ulp, and ours within 2: together 3.
    #[test]
    fn exponentials_are_those_of_the_library() {
        let mut rng = Rng::new(1);
        let check = |x: f64| {
            let (got, expected) = (exp(x), x.exp());
            let ulp = f64::EPSILON * expected;
            assert!((got - expected).abs() <= 3.0 * ulp, "{x}: {got} {expected}");
        };
        for x in [0.0, -0.0, 1.0, -1.0, 1e-300, -1e-17, 708.99, -708.0] {
            check(x);
        }
        for _ in 0..100_000 {
            check(rng.uniform(-708.0, 709.0));
            check(rng.uniform(-1.0, 1.0));
        }
        // Where k changes.
        for k in -1020..1022 {
            for near in [-1e-13, 0.0, 1e-13] {
                check((f64::from(k) + 0.5) * std::f64::consts::LN_2 + near);
            }
        }
    }

    #[test]
    fn odd_exponentials() {
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!((exp(f64::NEG_INFINITY), exp(-1e5)), (0.0, 0.0));
        assert_eq!(
            (exp(f64::INFINITY), exp(1e5)),
            (f64::INFINITY, f64::INFINITY)
        );
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn folds_take_every_number() {
        for n in [0, 1, 15, 16, 40] {
            let mut numbers: Vec<f64> = (0..n).map(f64::from).collect();
            assert_eq!(sum::<f64>(&numbers), f64::from(n * (n - 1).max(0) / 2));
            let top = if n == 0 {
                f64::NEG_INFINITY
            } else {
                f64::from(n - 1)
            };
            assert_eq!(largest(&numbers), top);
            numbers.push(f64::NAN);
            assert_eq!(largest(&numbers), top);
            assert!(sum(&numbers).is_nan());
        }
    }
}
