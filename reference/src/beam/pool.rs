//! The pool of one item: what may be kept, with which scores.

use std::collections::HashMap;

use super::Rules;
use crate::decision;
use crate::numbers::{Bounded, Precision};
use crate::softmax_topk::RowOracle;

/// One beam of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// Sum of log-probabilities; −∞ when there is no beam.
    pub acc: Bounded,
    /// Generated tokens, as the rules count them.
    pub length: usize,
    /// Whether it ended with EOS.
    pub finished: bool,
    /// Beams of one class have sums that the same operations made from the same numbers.
    pub class: u64,
}

impl Beam {
    /// The only beam of step 0: nothing generated.
    pub fn start() -> Self {
        Self {
            acc: Bounded::exact(0.0),
            length: 0,
            finished: false,
            class: 0,
        }
    }

    /// Whether there is a beam here.
    pub fn exists(&self) -> bool {
        self.acc.value != f64::NEG_INFINITY
    }
}

/// One member of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The beam it continues, or the finished beam it is.
    pub parent: usize,
    /// The token it appends; `None` for a finished beam.
    pub token: Option<i32>,
    /// The beam it would be, its sum rounded once more.
    pub beam: Beam,
    /// acc/len^α.
    pub score: Bounded,
}

/// All candidates of an item, in the order of the tie rule.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(super) candidates: Vec<Candidate>,
    pub(super) scores: Vec<Bounded>,
}

impl Pool {
    /// The pool of `beams`, where beam b has `logits[b]` (not read for finished or absent beams;
    /// NaN and −∞ are forbidden tokens, and there is no +∞).
    pub fn new(beams: &[Beam], logits: &[Vec<f64>], rules: &Rules, precision: Precision) -> Self {
        let mut candidates = Vec::new();
        let mut classes = Classes::default();
        for (parent, beam) in beams.iter().enumerate().filter(|(_, beam)| beam.exists()) {
            if beam.finished {
                let class = classes.of([beam.class, u64::MAX, 0, 0]);
                let score = rules.score(beam.acc, beam.length, precision);
                let beam = Beam { class, ..*beam };
                candidates.push(Candidate {
                    parent,
                    token: None,
                    beam,
                    score,
                });
                continue;
            }
            // Beams whose rows hold the same numbers compute the same log-probabilities.
            let same_row = |other: &usize| {
                let equal = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
                logits[*other].len() == logits[parent].len()
                    && logits[*other].iter().zip(&logits[parent]).all(equal)
            };
            let row = (0..parent).find(same_row).unwrap_or(parent) as u64;
            for (token, logit, logp) in continuations(beam, &logits[parent], rules, precision) {
                let finished = rules.is_eos(token);
                let length = beam.length + usize::from(!finished || rules.count_eos);
                // Adding zero makes one number of −0 and +0.
                let key = [beam.class, row, (logit + 0.0).to_bits(), length as u64];
                let acc = precision.store_statistic(beam.acc + logp);
                let beam = Beam {
                    acc,
                    length,
                    finished,
                    class: classes.of(key),
                };
                let score = rules.score(acc, length, precision);
                candidates.push(Candidate {
                    parent,
                    token: Some(token),
                    beam,
                    score,
                });
            }
        }
        let scores = candidates.iter().map(|c| c.score).collect();
        Self { candidates, scores }
    }

    /// The candidates, by parent, then token.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The `k` best by exact score, best first; fewer when the pool holds fewer.
    pub fn best(&self, k: usize) -> Vec<Candidate> {
        decision::rank(&self.scores, k)
            .into_iter()
            .map(|i| self.candidates[i])
            .collect()
    }

    /// The candidates that [`Pool::best`] puts in the wrong order under some scores within the
    /// bounds, if there are: then more than one answer is right.
    pub fn undecided(&self, k: usize) -> Option<[Candidate; 2]> {
        let order = decision::rank(&self.scores, self.scores.len());
        for (rank, &i) in order.iter().enumerate().take(k) {
            for &j in &order[rank + 1..] {
                let (better, worse) = (self.candidates[i], self.candidates[j]);
                let separated =
                    better.score.value - better.score.bound > worse.score.value + worse.score.bound;
                if !separated && better.beam.class != worse.beam.class {
                    return Some([better, worse]);
                }
            }
        }
        None
    }
}

/// The 2K best allowed tokens by logit (ties to the lower), in the order of their ids, with their
/// log-probabilities before they are added.
fn continuations(
    beam: &Beam,
    logits: &[f64],
    rules: &Rules,
    precision: Precision,
) -> Vec<(i32, f64, Bounded)> {
    let permitted = |x: &f64| if x.is_nan() { f64::NEG_INFINITY } else { *x };
    let logits: Vec<f64> = logits.iter().map(permitted).collect();
    let lse = RowOracle::new(logits.clone(), 1, 1.0, precision).lse;
    let may_end = beam.length >= rules.min_length;
    let allowed: Vec<usize> = (0..logits.len())
        .filter(|&token| logits[token].is_finite() && (may_end || !rules.is_eos(token as i32)))
        .collect();
    let scores: Vec<_> = allowed
        .iter()
        .map(|&token| Bounded::exact(logits[token]))
        .collect();
    let mut best: Vec<usize> = decision::rank(&scores, 2 * rules.beams)
        .into_iter()
        .map(|i| allowed[i])
        .collect();
    best.sort_unstable();
    let logp = |token: usize| precision.round(Bounded::exact(logits[token]) - lse);
    best.into_iter()
        .map(|token| (token as i32, logits[token], logp(token)))
        .collect()
}

/// Numbers for tie classes.
#[derive(Default)]
struct Classes(HashMap<[u64; 4], u64>);

impl Classes {
    fn of(&mut self, key: [u64; 4]) -> u64 {
        let next = self.0.len() as u64;
        *self.0.entry(key).or_insert(next)
    }
}
