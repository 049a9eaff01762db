//! Judging an answer: which indices, in which order, with which probabilities.

use super::oracle::{RowOracle, TopK};
use crate::decision::{Misranked, check_ranking, plus_minus, shortest};
use crate::error::Result;
use crate::numbers::{Bounded, Element, Histogram};
use crate::tensor::View;

/// An answer to judge.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a, P> {
    /// `[R, width]`.
    pub prob: View<'a, P, 2>,
    /// `[R, width]`.
    pub index: View<'a, i32, 2>,
    /// `[R]`.
    pub lse: View<'a, f32, 1>,
}

/// What is wrong with a row, in words a kernel's author can act on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Wrong {
    /// An index that is none.
    #[error("row {row}, rank {rank}: index {index} is not in 0..{vocabulary}")]
    NotAnIndex {
        /// Row of the logits.
        row: usize,
        /// Rank in the answer.
        rank: usize,
        /// What stands there.
        index: i32,
        /// V.
        vocabulary: usize,
    },
    /// −1 is expected: the row holds NaN or +∞, or the rank lies beyond its K.
    #[error("row {row}, rank {rank}: index must be -1 ({because}), yours is {index}")]
    NotNoIndex {
        /// Row of the logits.
        row: usize,
        /// Rank in the answer.
        rank: usize,
        /// What stands there.
        index: i32,
        /// Why no index is expected.
        because: &'static str,
    },
    /// The indices are not the K best in order. Candidates are indices, scores scaled logits.
    #[error("row {row}: {misranked}")]
    Order {
        /// Row of the logits.
        row: usize,
        /// What is out of order.
        misranked: Misranked,
    },
    /// An index with the wrong probability.
    #[error(
        "row {row}, rank {rank}: index {index} has probability {}, yours {}",
        plus_minus(*expected), shortest(*got)
    )]
    Probability {
        /// Row of the logits.
        row: usize,
        /// Rank in the answer.
        rank: usize,
        /// Index answered there.
        index: i32,
        /// Its probability.
        expected: Bounded,
        /// What was answered.
        got: f64,
    },
    /// The wrong log-sum-exp.
    #[error("row {row}: lse is {}, yours {}", plus_minus(*expected), shortest(*got))]
    Lse {
        /// Row of the logits.
        row: usize,
        /// What was expected.
        expected: Bounded,
        /// What was answered.
        got: f64,
    },
}

impl TopK {
    /// Judges an answer: the outer error is a malformed one (wrong shapes), the inner one the
    /// first wrong row; right answers give the distribution of error ÷ bound.
    pub fn judge<P: Element>(
        &self,
        answer: &Answer<'_, P>,
    ) -> Result<std::result::Result<Histogram, Wrong>> {
        let shape = [self.rows.len(), self.width];
        answer.prob.expect_shape(shape, "rows by the largest K")?;
        answer.index.expect_shape(shape, "rows by the largest K")?;
        answer.lse.expect_shape([shape[0]], "one per row")?;
        let mut histogram = Histogram::default();
        for (row, oracle) in self.rows.iter().enumerate() {
            let prob: Vec<f64> = answer.prob.row(&[row]).iter().map(|p| p.to_f64()).collect();
            let lse = f64::from(answer.lse.data()[row]);
            let judged = oracle.judge(row, answer.index.row(&[row]), &prob, lse, &mut histogram);
            if let Err(wrong) = judged {
                return Ok(Err(wrong));
            }
        }
        Ok(Ok(histogram))
    }
}

impl RowOracle {
    fn judge(
        &self,
        row: usize,
        index: &[i32],
        prob: &[f64],
        lse: f64,
        histogram: &mut Histogram,
    ) -> std::result::Result<(), Wrong> {
        let (mine, beyond) = index.split_at(self.k);
        let none =
            |offset: usize, indices: &[i32], because| match indices.iter().position(|&i| i != -1) {
                Some(at) => {
                    let (rank, index) = (offset + at, indices[at]);
                    Err(Wrong::NotNoIndex {
                        row,
                        rank,
                        index,
                        because,
                    })
                }
                None => Ok(()),
            };
        none(self.k, beyond, "beyond the row's K")?;
        if self.is_odd() {
            none(0, mine, "the row holds NaN or +inf")?;
        } else {
            self.check_order(row, mine)?;
        }
        for (rank, (&index, &got)) in index.iter().zip(prob).enumerate() {
            let expected = match (rank < self.k, self.is_odd()) {
                (false, _) => Bounded::exact(0.0),
                (true, true) => Bounded::exact(f64::NAN),
                (true, false) => self.probability(index as usize),
            };
            histogram.add(expected.ratio(got));
            if !expected.admits(got) {
                return Err(Wrong::Probability {
                    row,
                    rank,
                    index,
                    expected,
                    got,
                });
            }
        }
        histogram.add(self.lse.ratio(lse));
        if !self.lse.admits(lse) {
            return Err(Wrong::Lse {
                row,
                expected: self.lse,
                got: lse,
            });
        }
        Ok(())
    }

    fn check_order(&self, row: usize, index: &[i32]) -> std::result::Result<(), Wrong> {
        let vocabulary = self.vocabulary();
        let mut chosen = Vec::with_capacity(index.len());
        for (rank, &index) in index.iter().enumerate() {
            match usize::try_from(index) {
                Ok(i) if i < vocabulary => chosen.push(i),
                _ => {
                    return Err(Wrong::NotAnIndex {
                        row,
                        rank,
                        index,
                        vocabulary,
                    });
                }
            }
        }
        // Equal logits are scaled to equal scores. Adding zero makes one number of −0 and +0.
        let class = |i: usize| (self.logits[i] + 0.0).to_bits();
        check_ranking(&self.scores, class, &chosen)
            .map_err(|misranked| Wrong::Order { row, misranked })
    }
}
