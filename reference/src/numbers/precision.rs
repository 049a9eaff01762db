//! The declared precision of an implementation: which roundings a right one may make.

use super::{Bounded, DType, LAMBDA, Tally};

/// How products are added up. Always in f32; they differ in how they round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulate {
    /// Round to nearest after each operation (with or without fma).
    Nearest,
    /// Tensor cores: exact products, added in blocks and *truncated* to f32 (Fasi, Higham,
    /// Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021). A truncation errs by
    /// up to 2u and by u on average, always towards zero, once per block of at least
    /// [`Accumulate::BLOCK`] terms.
    TensorCore,
}

impl Accumulate {
    /// Fewest terms a tensor core adds before it truncates (`mma.m16n8k8`).
    pub const BLOCK: f64 = 8.0;
}

/// How `exp` is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exponential {
    /// Within 2 ulp (4u) of `eˣ`, as CUDA's `expf` and every C library's.
    Accurate,
    /// `ex2.approx(x·log₂e)`: the table of the PTX manual allows 2⁻²² (4u) relative for `ex2`; the
    /// product with a rounded constant adds `2u·|x|`.
    Approximate,
}

/// What the bounds assume of a right implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Precision {
    /// How sums are accumulated.
    pub accumulate: Accumulate,
    /// Type to which softmax weights (and score gradients) may be rounded before they enter a
    /// product; [`DType::F32`] when they may not.
    pub weights: DType,
    /// How `exp` is computed.
    pub exponential: Exponential,
    /// Type in which the main outputs are stored. Statistics are always f32.
    pub output: DType,
}

impl Precision {
    /// What TASKS grants for inputs of this type: f32 arithmetic, an approximate exponential, and
    /// for 16-bit inputs tensor cores, weights rounded to the input type and output in it.
    pub fn of(input: DType) -> Self {
        let accumulate = match input {
            DType::F32 => Accumulate::Nearest,
            DType::F16 | DType::Bf16 => Accumulate::TensorCore,
        };
        Self {
            accumulate,
            weights: input,
            exponential: Exponential::Approximate,
            output: input,
        }
    }

    /// The same without tensor cores: for families that have no matrix product to give them.
    pub fn scalar(input: DType) -> Self {
        Self {
            accumulate: Accumulate::Nearest,
            ..Self::of(input)
        }
    }

    /// The same with another output type.
    pub fn with_output(self, output: DType) -> Self {
        Self { output, ..self }
    }

    /// u of the f32 that everything is computed in.
    pub fn unit(self) -> f64 {
        DType::F32.unit_roundoff()
    }

    /// η: what one f32 operation may lose below the normal range (a flush to zero).
    pub fn underflow(self) -> f64 {
        DType::F32.smallest_normal()
    }

    /// γ(n): relative error of n successive roundings, `min(n·u, λ√n·u)`; for tensor cores the
    /// scatter of truncations of 2u, plus their mean u once per block: `λ√n·2u + (n/8)·u`, at most
    /// `n·2u`.
    ///
    /// `n` counts roundings a term may pass through: n for a dot product of n terms, n − 1 for
    /// a sum.
    pub fn gamma(self, n: usize) -> f64 {
        let (n, u) = (n as f64, self.unit());
        let gamma = match self.accumulate {
            Accumulate::Nearest => f64::min(n * u, LAMBDA * n.sqrt() * u),
            Accumulate::TensorCore => f64::min(
                n * 2.0 * u,
                LAMBDA * n.sqrt() * 2.0 * u + n / Accumulate::BLOCK * u,
            ),
        };
        // (1+u)ⁿ − 1 instead of n·u: only seen by absurd n, but then it matters.
        gamma.exp_m1()
    }

    /// One f32 rounding: `x(1+δ) + η`.
    pub fn round(self, x: Bounded) -> Bounded {
        self.in_range(x.widen(self.unit() * x.magnitude() + self.underflow()), 0.0)
    }

    /// The result of a division, square root or reciprocal square root, which may be 2 ulp (4u)
    /// off (`div.full`, `sqrt.approx`, `rsqrt.approx`).
    pub fn round_special(self, x: Bounded) -> Bounded {
        self.in_range(
            x.widen(4.0 * self.unit() * x.magnitude() + self.underflow()),
            0.0,
        )
    }

    /// A sum in any order: the terms' own errors, and `γ(n−1)·(Σ|xᵢ| + |Σxᵢ|)/2`.
    ///
    /// Every addition errs by u times a partial sum, and no partial sum, of whichever terms, is
    /// larger than the positive terms together or the negative ones together, that is
    /// `max(P, N) = (P + N + |P − N|)/2 = (Σ|xᵢ| + |Σxᵢ|)/2`.
    pub fn sum(self, terms: impl IntoIterator<Item = Bounded>) -> Bounded {
        self.sum_of(&terms.into_iter().collect())
    }

    /// [`Precision::sum`] of terms already tallied.
    pub fn sum_of(self, tally: &Tally) -> Bounded {
        self.accumulated(tally, tally.n.saturating_sub(1))
    }

    /// A dot product in any order: the factors' own errors, `u·Σ|aᵢbᵢ|` for the products, and their
    /// sum as [`Precision::sum`] (fused, products are exact and the first is rounded alone).
    pub fn dot(self, pairs: impl IntoIterator<Item = (Bounded, Bounded)>) -> Bounded {
        self.dot_of(&pairs.into_iter().map(|(a, b)| a * b).collect())
    }

    /// [`Precision::dot`] of products already tallied.
    pub fn dot_of(self, tally: &Tally) -> Bounded {
        self.accumulated(tally, tally.n)
            .widen(self.unit() * tally.size)
    }

    fn accumulated(self, tally: &Tally, roundings: usize) -> Bounded {
        let rounding = self.gamma(roundings) * partial_sums(tally.size, tally.total);
        let total = tally
            .total
            .widen(rounding + roundings as f64 * self.underflow());
        // The sum is in range, but a partial sum need not be.
        self.in_range(total, tally.size)
    }

    /// `x`, unless something of magnitude `size` on the way to it may be beyond f32: then nothing
    /// can be said about what comes out, and the bound is infinite.
    pub(crate) fn in_range(self, x: Bounded, size: f64) -> Bounded {
        if x.value.is_finite() && size.max(x.magnitude()) > DType::F32.largest() {
            return Bounded::new(x.value, f64::INFINITY);
        }
        x
    }

    /// `eˣ` as this precision computes it: argument error propagated, then the function's own.
    pub fn exp(self, x: Bounded) -> Bounded {
        let u = self.unit();
        let relative = match self.exponential {
            Exponential::Accurate => 4.0 * u,
            Exponential::Approximate => 4.0 * u + 2.0 * u * x.magnitude(),
        };
        let result = x.exp();
        if !result.value.is_finite() || x.value == f64::NEG_INFINITY {
            return Bounded::exact(result.value);
        }
        result.widen(result.magnitude() * relative.exp_m1() + self.underflow())
    }

    /// `ln x` as this precision computes it: 2 ulp of the result; with the approximate functions
    /// (`lg2.approx·ln2`) also 2⁻²² absolute, which the PTX manual allows near x = 1.
    pub fn ln(self, x: Bounded) -> Bounded {
        let result = x.ln();
        if !result.value.is_finite() {
            return Bounded::exact(result.value);
        }
        let absolute = match self.exponential {
            Exponential::Accurate => 0.0,
            Exponential::Approximate => 4.0 * self.unit(),
        };
        result.widen(4.0 * self.unit() * result.magnitude() + absolute)
    }

    /// The rounding to the output type.
    pub fn store(self, x: Bounded) -> Bounded {
        x.stored(self.output)
    }

    /// The rounding of a statistic (mean, rstd, lse, score), always f32.
    pub fn store_statistic(self, x: Bounded) -> Bounded {
        x.stored(DType::F32)
    }
}

/// Largest partial sum of terms of this total size and sum, in any order (see [`Precision::sum`]).
pub(crate) fn partial_sums(size: f64, total: Bounded) -> f64 {
    0.5 * (size + total.magnitude())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_certain_for_few_roundings_and_probable_for_many() {
        let p = Precision::of(DType::F32);
        let u = p.unit();
        assert!((p.gamma(10) / (10.0 * u) - 1.0).abs() < 1e-5);
        assert!((p.gamma(10_000) / (LAMBDA * 100.0 * u) - 1.0).abs() < 1e-4);
        assert_eq!(p.gamma(0), 0.0);
        let tensor = Precision::of(DType::Bf16);
        assert!(tensor.gamma(4096) > 2.0 * p.gamma(4096));
    }

    /// Rounding each step of a chain in f32 stays inside; the bound is not a thousand times it.
    #[test]
    fn a_chain_of_f32_operations_stays_inside() {
        let p = Precision::of(DType::F32);
        let (a, b, c) = (0.1f32, 3.7f32, -2.9f32);
        let exact = |x: f32| Bounded::exact(f64::from(x));
        let product = p.round(exact(a) * exact(b));
        let sum = p.round(product + exact(c));
        let got = f64::from(a * b + c);
        assert!(sum.admits(got));
        assert!(sum.bound < 1e-6);
        let root = p.round_special(sum.scale(-1.0).rsqrt());
        assert!(root.admits(f64::from((-(a * b + c)).sqrt().recip())));
    }

    #[test]
    fn what_overflows_f32_on_the_way_has_no_bound() {
        let p = Precision::of(DType::F32);
        let big = Bounded::exact(2e38);
        assert_eq!(p.round(big + big).bound, f64::INFINITY);
        let total = p.sum([big, big, -big]);
        assert_eq!((total.value, total.bound), (2e38, f64::INFINITY));
    }

    #[test]
    fn exponentials_of_odd_arguments_are_odd() {
        let p = Precision::of(DType::F32);
        assert_eq!(
            p.exp(Bounded::exact(f64::NEG_INFINITY)),
            Bounded::exact(0.0)
        );
        assert!(p.exp(Bounded::exact(f64::NAN)).value.is_nan());
        assert_eq!(p.ln(Bounded::exact(0.0)), Bounded::exact(f64::NEG_INFINITY));
    }
}
