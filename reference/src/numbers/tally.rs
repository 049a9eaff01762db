//! What has to be known of a sum to bound it, gathered term by term.

use super::{Bounded, LAMBDA};

/// Number, total and size of the terms of a sum; [`super::Precision::sum_of`] makes the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    /// Number of terms.
    pub n: usize,
    /// Exact sum of the values; the bounds add up linearly.
    pub total: Bounded,
    /// `Σ|xᵢ|`, with the terms' errors: what the rounding of partial sums is relative to.
    pub size: f64,
    squares: f64,
}

impl Tally {
    /// No terms.
    pub const EMPTY: Self = Self {
        n: 0,
        total: Bounded {
            value: 0.0,
            bound: 0.0,
        },
        size: 0.0,
        squares: 0.0,
    };

    /// One term more.
    pub fn add(&mut self, term: Bounded) {
        self.n += 1;
        self.total = self.total + term;
        self.size += term.magnitude();
        self.squares += term.bound * term.bound;
    }

    /// The terms of another tally too.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.total = self.total + other.total;
        self.size += other.size;
        self.squares += other.squares;
    }

    /// For terms whose errors are fresh, independent roundings: their total error is then at most
    /// `λ√(Σbᵢ²)` where that is less than `Σbᵢ` (see [`super::independent`]).
    pub fn with_independent_errors(mut self) -> Self {
        self.total.bound = self.total.bound.min(LAMBDA * self.squares.sqrt());
        self
    }
}

impl FromIterator<Bounded> for Tally {
    fn from_iter<I: IntoIterator<Item = Bounded>>(terms: I) -> Self {
        let mut tally = Self::EMPTY;
        for term in terms {
            tally.add(term);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::independent;

    #[test]
    fn merging_is_adding_all_terms() {
        let terms: Vec<_> = (0..100)
            .map(|i| Bounded::new(f64::from(i) - 40.0, 0.25))
            .collect();
        let mut halves: Tally = terms[..37].iter().copied().collect();
        halves.merge(&terms[37..].iter().copied().collect());
        let whole: Tally = terms.iter().copied().collect();
        assert_eq!(halves, whole);
        assert_eq!(whole.total, Bounded::new(950.0, 25.0));
        let bounds = terms.iter().map(|t| t.bound);
        assert_eq!(
            whole.with_independent_errors().total.bound,
            independent(bounds)
        );
    }
}
