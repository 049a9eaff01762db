//! Comparing an answer with its bounds, and the distribution of error ÷ bound.

use super::{Bounded, BoundedTensor, Element};
use crate::error::{Error, Result};

/// The first element found wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    /// Its flat index.
    pub index: usize,
    /// What was answered.
    pub got: f64,
    /// What was expected.
    pub expected: Bounded,
}

/// How one answer lies in its bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Elements compared.
    pub elements: usize,
    /// Elements outside their bound.
    pub failures: usize,
    /// The first of them.
    pub first_failure: Option<Failure>,
    /// Index and error ÷ bound of the worst element.
    pub worst: Option<(usize, f64)>,
    /// All error ÷ bound.
    pub histogram: Histogram,
}

impl Comparison {
    /// Whether every element is right. An empty comparison is: shapes were checked before.
    pub fn is_right(&self) -> bool {
        self.failures == 0
    }
}

impl BoundedTensor {
    /// Compares an answer, element by element; `argument` is what an error calls it.
    pub fn compare<T: Element>(&self, argument: &'static str, got: &[T]) -> Result<Comparison> {
        self.compare_f64(argument, got.len(), got.iter().map(|x| x.to_f64()))
    }

    /// [`BoundedTensor::compare`] for numbers already read into float64.
    pub fn compare_f64(
        &self,
        argument: &'static str,
        len: usize,
        got: impl IntoIterator<Item = f64>,
    ) -> Result<Comparison> {
        if len != self.len() {
            return Err(Error::Length {
                argument,
                shape: self.shape().to_vec(),
                expected: self.len(),
                got: len,
            });
        }
        let mut result = Comparison::default();
        for (index, (&expected, got)) in self.items().iter().zip(got).enumerate() {
            result.elements += 1;
            if !expected.admits(got) {
                result.failures += 1;
                result.first_failure.get_or_insert(Failure {
                    index,
                    got,
                    expected,
                });
            }
            let ratio = expected.ratio(got);
            result.histogram.add(ratio);
            if result.worst.is_none_or(|(_, worst)| ratio > worst) {
                result.worst = Some((index, ratio));
            }
        }
        Ok(result)
    }
}

/// Error ÷ bound on a logarithmic scale, four buckets to an octave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Elements that were exactly right.
    pub exact: u64,
    /// `buckets[k]` counts ratios in `(2^((k−81)/4), 2^((k−80)/4)]`; the first also all below, the
    /// last ends at 1.
    pub buckets: [u64; Self::BUCKETS],
    /// Elements outside their bound.
    pub outside: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            exact: 0,
            buckets: [0; Self::BUCKETS],
            outside: 0,
        }
    }
}

impl Histogram {
    /// Number of buckets: down to 2⁻²⁰.
    pub const BUCKETS: usize = 81;

    /// Counts one ratio.
    pub fn add(&mut self, ratio: f64) {
        if ratio == 0.0 {
            self.exact += 1;
        } else if ratio <= 1.0 {
            let below_one = (-4.0 * ratio.log2()).floor() as usize;
            self.buckets[Self::BUCKETS - 1 - below_one.min(Self::BUCKETS - 1)] += 1;
        } else {
            self.outside += 1;
        }
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        self.exact += other.exact;
        self.outside += other.outside;
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
    }

    /// Elements counted.
    pub fn total(&self) -> u64 {
        self.exact + self.buckets.iter().sum::<u64>() + self.outside
    }

    /// Upper end of the bucket below which a fraction `q` of the elements with an error lie:
    /// exact answers say nothing about how tight a bound is. `None` without such elements.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let inexact = self.total() - self.exact;
        if inexact == 0 {
            return None;
        }
        let rank = ((q * inexact as f64).ceil() as u64).clamp(1, inexact);
        let mut seen = 0;
        for (k, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(((k as f64 - (Self::BUCKETS - 1) as f64) / 4.0).exp2());
            }
        }
        Some(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(items: &[(f64, f64)]) -> BoundedTensor {
        let items: Vec<_> = items.iter().map(|&(v, b)| Bounded::new(v, b)).collect();
        BoundedTensor::new("t", &[items.len()], items).unwrap()
    }

    #[test]
    fn the_first_failure_and_the_worst_element_are_reported() {
        let expected = tensor(&[(1.0, 0.1), (2.0, 0.1), (3.0, 0.1), (4.0, 1.0)]);
        let result = expected
            .compare("o", &[1.0f32, 2.5, f32::NAN, 4.5])
            .unwrap();
        assert_eq!((result.elements, result.failures), (4, 2));
        assert_eq!(result.first_failure.unwrap().index, 1);
        assert_eq!(result.worst.unwrap(), (2, f64::INFINITY));
        assert_eq!((result.histogram.exact, result.histogram.outside), (1, 2));
        assert!(!result.is_right());
    }

    #[test]
    fn a_short_answer_is_an_error_not_a_pass() {
        let expected = tensor(&[(1.0, 0.1), (2.0, 0.1)]);
        assert_eq!(expected.compare::<f32>("o", &[]).unwrap_err().about(), "o");
    }

    #[test]
    fn quantiles_leave_out_exact_answers() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for ratio in [0.0, 0.0, 0.0, 0.5, 0.26, 1.0, 1e-9] {
            histogram.add(ratio);
        }
        // The second of four is 0.26, in (2^−2, 2^−1.75].
        assert_eq!(histogram.quantile(0.5), Some((-1.75f64).exp2()));
        assert_eq!(histogram.quantile(1.0), Some(1.0));
        assert_eq!(histogram.quantile(0.01), Some(2f64.powi(-20)));
        assert_eq!(histogram.total(), 7);
    }
}
