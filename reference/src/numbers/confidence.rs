//! The one confidence λ, and the two ways roundings add up.

/// Output elements that all runs together will ever compare.
///
/// 10⁶ cases of 10⁶ elements: a year of nightly campaigns.
pub const OUTPUTS: f64 = 1e12;

/// Chance we accept that, over all [`OUTPUTS`], one right element is called wrong.
pub const FAILURE: f64 = 1e-3;

/// λ: how many standard deviations a sum of independent roundings may lie from zero.
///
/// Roundings `δ₁…δₙ` that are independent, of mean zero and `|δᵢ| ≤ cᵢ` satisfy (Hoeffding)
///
/// ```text
/// P(|Σδᵢ| > λ·√(Σcᵢ²)) ≤ 2·exp(−λ²/2)
/// ```
///
/// which for `cᵢ = u·T` is the `λ√n·u` of Higham and Mary, "A new approach to probabilistic
/// rounding error analysis" (SIAM J. Sci. Comput. 41, 2019), and holds for any order of summation
/// with `T = Σ|xᵢ|` because every partial sum is at most T (errors of a summation form a
/// martingale; Ipsen and Zhou, "Probabilistic error analysis for inner products", 2020).
/// A union over all outputs asks `OUTPUTS·2·exp(−λ²/2) ≤ FAILURE`, so
///
/// ```text
/// λ = √(2·ln(2·OUTPUTS/FAILURE)) = 8.3942…
/// ```
///
/// The hypothesis fails by design for one long chain of *equal* terms: there every rounding of a
/// binade has the same sign and the error grows like `n·u/3`, which passes `λ√n·u` at
/// n ≈ 9λ² ≈ 630. Such a chain is a fault of its implementation, which the bound reports.
pub const LAMBDA: f64 = 8.394_274_664_969_05;

/// Bound on `|Σeᵢ|` for independent errors of mean zero with `|eᵢ|` at most the given bounds:
/// the smaller of the certain `Σ|eᵢ|` and the probable `λ·√(Σeᵢ²)`.
///
/// Only for errors that are made afresh for each term (the rounding of each `pⱼ` to 16 bits).
/// An error that all terms share, as that of a mean, adds up linearly.
pub fn independent(bounds: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, squares) = bounds
        .into_iter()
        .fold((0.0, 0.0), |(s, q), e: f64| (s + e.abs(), q + e * e));
    f64::min(sum, LAMBDA * f64::sqrt(squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_follows_from_the_two_stated_numbers() {
        let derived = (2.0 * (2.0 * OUTPUTS / FAILURE).ln()).sqrt();
        assert!((LAMBDA - derived).abs() < 1e-12, "{derived}");
    }

    #[test]
    fn few_errors_add_linearly_and_many_by_their_squares() {
        assert_eq!(independent([1.0, -2.0]), 3.0);
        assert_eq!(independent([1.0; 10_000]), LAMBDA * 100.0);
        assert_eq!(independent([]), 0.0);
    }
}
