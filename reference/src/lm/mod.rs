//! A tiny exact language model, and the two decoders too simple to be wrong.
//!
//! [`HashModel`] hashes the whole history and a candidate token into a logit. Any vocabulary, any
//! depth, no state; the logits are small multiples of a power of two, so they are the same
//! numbers in f32, f16 and bf16 and on every machine. A token chosen wrongly anywhere changes all
//! logits after it, so a decoder that goes astray is seen at once.
//!
//! Argmax, here and in the tree family: NaN is skipped, ties go to the lower id, and a row without
//! a finite logit yields no token. +∞ is not a logit: families refuse it.

use std::collections::HashSet;

use crate::cases::Rng;

/// A language model as a function of the tokens so far.
pub trait Model {
    /// V: tokens are `0..V`.
    fn vocabulary(&self) -> usize;

    /// Logits of the token after `history`, V of them.
    fn logits(&self, history: &[i32]) -> Vec<f32>;
}

/// Logits by hashing.
#[derive(Clone, Debug)]
pub struct HashModel {
    seed: u64,
    vocabulary: usize,
    levels: usize,
    forbidden: f64,
}

impl HashModel {
    /// A model over `vocabulary` tokens with logits among 129 multiples of 1/16 from −4 to 4: all
    /// are bf16 numbers, and exact ties are frequent in all but the smallest vocabularies.
    pub fn new(seed: u64, vocabulary: usize) -> Self {
        Self {
            seed,
            vocabulary,
            levels: 129,
            forbidden: 0.0,
        }
    }

    /// The same with logits among `levels` (at least 2) equidistant numbers from −4 to 4: with 2²⁰ +1
    /// ties are rare and the logits are f32 numbers; with 3 nearly all are ties. For exact logits
    /// `levels − 1` should be a power of two.
    pub fn with_levels(self, levels: usize) -> Self {
        Self {
            levels: levels.max(2),
            ..self
        }
    }

    /// The same with each token forbidden with probability `forbidden`: half as −∞, half as NaN.
    pub fn with_forbidden(self, forbidden: f64) -> Self {
        Self { forbidden, ..self }
    }
}

impl Model for HashModel {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn logits(&self, history: &[i32]) -> Vec<f32> {
        // Each token forks the stream, so that equal suffixes of different histories differ.
        let start = Rng::new(self.seed);
        let mut rng = history
            .iter()
            .fold(start, |rng, &token| rng.fork(token as u64));
        (0..self.vocabulary)
            .map(|_| {
                let level = rng.below(self.levels) as f64 / (self.levels - 1) as f64;
                match rng.unit() {
                    x if x >= self.forbidden => (8.0 * level - 4.0) as f32,
                    x if x < 0.5 * self.forbidden => f32::NAN,
                    _ => f32::NEG_INFINITY,
                }
            })
            .collect()
    }
}

/// The most probable token (see the module's head).
pub fn argmax(logits: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (token, logit) in logits.into_iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|(_, high)| logit > high) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}

/// Plain greedy decoding: up to `max_new_tokens` tokens after `prompt`, ending with the first of
/// `stop`, or where no token is left.
pub fn greedy(
    model: &impl Model,
    prompt: &[i32],
    max_new_tokens: usize,
    stop: &HashSet<i32>,
) -> Vec<i32> {
    let mut history = prompt.to_vec();
    for _ in 0..max_new_tokens {
        let logits = model.logits(&history);
        let Some(token) = argmax(logits.into_iter().map(f64::from)) else {
            break;
        };
        history.push(token as i32);
        if stop.contains(&(token as i32)) {
            break;
        }
    }
    history.split_off(prompt.len())
}

/// A continuation with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The generated tokens, a final stop token included.
    pub tokens: Vec<i32>,
    /// Sum of their log-probabilities.
    pub log_probability: f64,
    /// Whether the last token is a stop token.
    pub finished: bool,
}

/// Every continuation of `prompt` there is: all that stop within `max_new_tokens` tokens and all
/// of exactly that many that do not; V^max_new_tokens of them, in lexicographic order. Continuations
/// that run into a row without a finite logit are no continuations.
pub fn exhaustive(
    model: &impl Model,
    prompt: &[i32],
    max_new_tokens: usize,
    stop: &HashSet<i32>,
) -> Vec<Continuation> {
    let mut all = Vec::new();
    let root = Continuation {
        tokens: Vec::new(),
        log_probability: 0.0,
        finished: false,
    };
    extend(model, prompt, max_new_tokens, stop, root, &mut all);
    all
}

fn extend(
    model: &impl Model,
    prompt: &[i32],
    max_new_tokens: usize,
    stop: &HashSet<i32>,
    start: Continuation,
    all: &mut Vec<Continuation>,
) {
    if start.finished || start.tokens.len() == max_new_tokens {
        all.push(start);
        return;
    }
    let history = [prompt, &start.tokens].concat();
    let logits: Vec<f64> = model.logits(&history).into_iter().map(f64::from).collect();
    // Plainly: no maximum is subtracted. The model's logits are small.
    let total: f64 = logits
        .iter()
        .filter(|x| x.is_finite())
        .map(|x| x.exp())
        .sum();
    for (token, logit) in logits.iter().enumerate().filter(|(_, x)| x.is_finite()) {
        let token = token as i32;
        let next = Continuation {
            tokens: [&start.tokens[..], &[token]].concat(),
            log_probability: start.log_probability + (logit.exp() / total).ln(),
            finished: stop.contains(&token),
        };
        extend(model, prompt, max_new_tokens, stop, next, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn logits_are_bf16_numbers_and_depend_on_all_of_the_history() {
        let model = HashModel::new(5, 300);
        let logits = model.logits(&[1, 2, 3]);
        assert_eq!(logits.len(), 300);
        assert!(
            logits
                .iter()
                .all(|&x| bf16::from_f32(x).to_f32() == x && x.abs() <= 4.0)
        );
        assert_eq!(logits, model.logits(&[1, 2, 3]));
        for other in [&[0, 2, 3][..], &[1, 2], &[2, 3], &[1, 3, 2], &[]] {
            assert_ne!(logits, model.logits(other), "{other:?}");
        }
    }

    #[test]
    fn forbidden_tokens_are_of_both_kinds() {
        let logits = HashModel::new(5, 400).with_forbidden(0.3).logits(&[]);
        let nan = logits.iter().filter(|x| x.is_nan()).count();
        let infinite = logits.iter().filter(|x| **x == f32::NEG_INFINITY).count();
        assert!(
            (30..90).contains(&nan) && (30..90).contains(&infinite),
            "{nan} {infinite}"
        );
    }

    #[test]
    fn argmax_skips_nan_and_prefers_the_lower_id() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (row, expected) in [
            (vec![1.0, 2.0, 2.0], Some(1)),
            (vec![nan, -1.0, nan], Some(1)),
            (vec![-0.0, 0.0], Some(0)),
            (vec![nan, -inf], None),
            (vec![], None),
        ] {
            assert_eq!(argmax(row.iter().copied()), expected, "{row:?}");
        }
    }

    #[test]
    fn greedy_is_the_best_of_the_exhaustive_list_at_one_step() {
        let stop = HashSet::from([0]);
        for seed in 0..50 {
            let model = HashModel::new(seed, 7).with_levels((1 << 20) + 1);
            let all = exhaustive(&model, &[3], 1, &stop);
            let best = all
                .iter()
                .max_by(|a, b| a.log_probability.total_cmp(&b.log_probability))
                .unwrap();
            assert_eq!(best.tokens, greedy(&model, &[3], 1, &stop));
        }
    }

    #[test]
    fn exhaustive_continuations_have_probability_one_together() {
        let stop = HashSet::from([2]);
        let all = exhaustive(&HashModel::new(1, 4), &[0, 1], 3, &stop);
        // 3 tokens do not stop: 27 at full length, and 1 + 3 + 9 that stop on the way.
        assert_eq!(all.len(), 27 + 13);
        let total: f64 = all.iter().map(|c| c.log_probability.exp()).sum();
        assert!((total - 1.0).abs() < 1e-13);
    }
}
