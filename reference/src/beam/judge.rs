//! Judging one step's answer.

use super::step::Step;
use crate::decision::{Misranked, check_ranking, plus_minus, shortest};
use crate::error::Result;
use crate::numbers::{Bounded, Histogram};
use crate::tensor::View;

/// What a step answers, all `[B, K]`.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Beam continued; −1 where there is none.
    pub parent: View<'a, i32, 2>,
    /// Token appended; −1 for a finished beam and where there is none.
    pub token: View<'a, i32, 2>,
    /// Raw sum; −∞ where there is none.
    pub acc: View<'a, f32, 2>,
    /// Generated tokens; 0 where there is none.
    pub length: View<'a, i32, 2>,
    /// Whether it has ended.
    pub finished: View<'a, bool, 2>,
    /// acc/len^α; −∞ where there is none.
    pub score: View<'a, f32, 2>,
}

/// What is wrong with a step. Ranks count from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Misstep {
    /// The pool has no such member.
    #[error(
        "item {item}, rank {rank}: parent {parent} with token {token} is not in the pool: {because}"
    )]
    NotInPool {
        /// Item of the batch.
        item: usize,
        /// Rank in the answer.
        rank: usize,
        /// Parent answered.
        parent: i32,
        /// Token answered.
        token: i32,
        /// What rules it out.
        because: &'static str,
    },
    /// The pool holds a candidate for this rank, or holds none and something was answered.
    #[error(
        "item {item}, rank {rank}: the pool has {available} candidates, so this rank must be {expected}"
    )]
    Count {
        /// Item of the batch.
        item: usize,
        /// Rank in the answer.
        rank: usize,
        /// Candidates in the pool.
        available: usize,
        /// "a beam" or "empty".
        expected: &'static str,
    },
    /// Not the K best in order. The candidates are given as parent and token.
    #[error("item {item}: {misranked}; as (parent, token): {candidates}")]
    Order {
        /// Item of the batch.
        item: usize,
        /// What is out of order; candidates by their place in the pool.
        misranked: Misranked,
        /// The candidates it speaks of.
        candidates: String,
    },
    /// A number of a kept beam is wrong.
    #[error(
        "item {item}, rank {rank}: {what} of parent {parent}, token {token} is {}, yours {}",
        plus_minus(*expected), shortest(*got)
    )]
    Value {
        /// Item of the batch.
        item: usize,
        /// Rank in the answer.
        rank: usize,
        /// Which number.
        what: &'static str,
        /// Parent answered.
        parent: i32,
        /// Token answered.
        token: i32,
        /// What it should be.
        expected: Bounded,
        /// What was answered.
        got: f64,
    },
}

impl Step {
    /// Judges an answer: the outer error is a malformed one, the inner one the first wrong item.
    pub fn judge(&self, kept: &Kept<'_>) -> Result<std::result::Result<Histogram, Misstep>> {
        let shape = [self.pools.len(), self.beams];
        let because = "items by K";
        kept.parent.expect_shape(shape, because)?;
        kept.token.expect_shape(shape, because)?;
        kept.acc.expect_shape(shape, because)?;
        kept.length.expect_shape(shape, because)?;
        kept.finished.expect_shape(shape, because)?;
        kept.score.expect_shape(shape, because)?;
        let mut histogram = Histogram::default();
        for item in 0..self.pools.len() {
            if let Err(wrong) = self.judge_item(item, kept, &mut histogram) {
                return Ok(Err(wrong));
            }
        }
        Ok(Ok(histogram))
    }

    fn judge_item(
        &self,
        item: usize,
        kept: &Kept<'_>,
        histogram: &mut Histogram,
    ) -> std::result::Result<(), Misstep> {
        let pool = &self.pools[item];
        let available = pool.candidates.len();
        let mut chosen = Vec::new();
        for rank in 0..self.beams {
            let (parent, token) = (kept.parent.at([item, rank]), kept.token.at([item, rank]));
            let empty = parent == -1 && token == -1;
            match (rank < available, empty) {
                (true, false) => chosen.push(self.find(item, rank, parent, token)?),
                (false, true) => {}
                (true, true) => {
                    return Err(Misstep::Count {
                        item,
                        rank,
                        available,
                        expected: "a beam",
                    });
                }
                (false, false) => {
                    return Err(Misstep::Count {
                        item,
                        rank,
                        available,
                        expected: "empty",
                    });
                }
            }
        }
        let class = |i: usize| pool.candidates[i].beam.class;
        check_ranking(&pool.scores, class, &chosen).map_err(|misranked| {
            let candidates = self.named(item, &misranked);
            Misstep::Order {
                item,
                misranked,
                candidates,
            }
        })?;
        for rank in 0..self.beams {
            self.judge_values(item, rank, chosen.get(rank).copied(), kept, histogram)?;
        }
        Ok(())
    }

    /// The pool's candidate with this parent and token.
    fn find(
        &self,
        item: usize,
        rank: usize,
        parent: i32,
        token: i32,
    ) -> std::result::Result<usize, Misstep> {
        let candidates = &self.pools[item].candidates;
        let wanted = (token != -1).then_some(token);
        let same_parent = |p: usize| i32::try_from(p) == Ok(parent);
        let found = candidates
            .iter()
            .position(|c| same_parent(c.parent) && c.token == wanted);
        found.ok_or_else(|| {
            let siblings: Vec<_> = candidates
                .iter()
                .filter(|c| same_parent(c.parent))
                .collect();
            let because = match siblings.first() {
                None => "the parent is no beam, or has no allowed token",
                Some(c) if c.token.is_none() => "the parent is finished and takes no token",
                Some(_) if wanted.is_none() => "the parent is not finished",
                Some(_) => "the token is forbidden or not among the parent's 2K best",
            };
            Misstep::NotInPool {
                item,
                rank,
                parent,
                token,
                because,
            }
        })
    }

    fn judge_values(
        &self,
        item: usize,
        rank: usize,
        chosen: Option<usize>,
        kept: &Kept<'_>,
        histogram: &mut Histogram,
    ) -> std::result::Result<(), Misstep> {
        let at = [item, rank];
        let none = Bounded::exact(f64::NEG_INFINITY);
        let (acc, length, finished, score) = match chosen.map(|i| self.pools[item].candidates[i]) {
            Some(c) => (c.beam.acc, c.beam.length, c.beam.finished, c.score),
            None => (none, 0, false, none),
        };
        let flag = |x: bool| f64::from(u8::from(x));
        for (what, expected, got) in [
            ("sum", acc, f64::from(kept.acc.at(at))),
            (
                "length",
                Bounded::exact(length as f64),
                f64::from(kept.length.at(at)),
            ),
            (
                "finished",
                Bounded::exact(flag(finished)),
                flag(kept.finished.at(at)),
            ),
            ("score", score, f64::from(kept.score.at(at))),
        ] {
            if !expected.admits(got) {
                let (parent, token) = (kept.parent.at(at), kept.token.at(at));
                return Err(Misstep::Value {
                    item,
                    rank,
                    what,
                    parent,
                    token,
                    expected,
                    got,
                });
            }
            if expected.bound > 0.0 {
                histogram.add(expected.ratio(got));
            }
        }
        Ok(())
    }

    fn named(&self, item: usize, misranked: &Misranked) -> String {
        let numbers = match *misranked {
            Misranked::Duplicate { candidate, .. } => vec![candidate],
            Misranked::Order {
                candidate, before, ..
            } => vec![candidate, before],
            Misranked::LeftOut {
                missing, candidate, ..
            } => vec![missing, candidate],
            Misranked::Tie { lower, chosen } => vec![lower, chosen],
        };
        let name = |i: &usize| {
            let candidate = &self.pools[item].candidates[*i];
            format!(
                "{i} = ({}, {})",
                candidate.parent,
                candidate.token.unwrap_or(-1)
            )
        };
        numbers.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}
