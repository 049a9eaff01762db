//! Cases of one beam-search step.

use super::{Case, NoMargin, Rng, WrongAnswer, mixed, normal, null_margin, usual_wrong_answers};
use crate::beam::{Rules, Step, StepInput, step};
use crate::error::Result;
use crate::numbers::{BoundedTensor, DType, Element, Precision};
use crate::tensor::View;

/// Inputs of a step.
#[derive(Clone, Debug)]
pub struct BeamStep<T> {
    /// B.
    pub items: usize,
    /// V.
    pub vocabulary: usize,
    /// The search's parameters, K among them.
    pub rules: Rules,
    /// `[B, K, V]`, with forbidden tokens of both kinds.
    pub logits: Vec<T>,
    /// `[B, K]`; −∞ where there is no beam.
    pub acc: Vec<f32>,
    /// `[B, K]`.
    pub length: Vec<i32>,
    /// `[B, K]`.
    pub finished: Vec<bool>,
}

impl<T: Element> BeamStep<T> {
    /// A case of the given shape, `[B, K, V]`.
    pub fn with_shape(rng: &mut Rng, [items, beams, vocabulary]: [usize; 3]) -> Self {
        let n = items * beams;
        let mut logits: Vec<T> = match rng.chance(0.5) {
            true => mixed(rng, n, vocabulary),
            false => normal(rng, n * vocabulary, 3.0),
        };
        let forbidden = rng.choose(&[0.0, 0.0, 0.1, 0.6]);
        for logit in &mut logits {
            if rng.chance(forbidden) {
                *logit = T::from_f64(rng.choose(&[f64::NAN, f64::NEG_INFINITY]));
            }
        }
        if beams > 1 && rng.chance(0.3) {
            // Two beams with the same row: exact ties across parents where their sums are equal.
            logits.copy_within(..vocabulary, vocabulary);
        }
        let first = rng.chance(0.15);
        let mut sum = |b: usize| match first {
            true if b.is_multiple_of(beams) => 0.0,
            true => f32::NEG_INFINITY,
            false if rng.chance(0.2) => -2.5,
            false => -rng.uniform(0.0, 30.0) as f32,
        };
        let acc: Vec<f32> = (0..n).map(&mut sum).collect();
        let mut length = || if first { 0 } else { rng.between(1, 20) as i32 };
        let length = (0..n).map(|_| length()).collect();
        let finished = (0..n).map(|_| !first && rng.chance(0.25)).collect();
        let rules = Rules {
            alpha: rng.choose(&[0.0, 0.6, 1.0, -0.5, 2.0]),
            eos: (0..rng.below(3))
                .map(|_| rng.below(vocabulary) as i32)
                .collect(),
            count_eos: rng.chance(0.7),
            min_length: rng.choose(&[0, 0, 5]),
            ..Rules::new(beams, 0)
        };
        Self {
            items,
            vocabulary,
            rules,
            logits,
            acc,
            length,
            finished,
        }
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Step> {
        let shape = [self.items, self.rules.beams];
        let input = StepInput {
            logits: View::new(
                "logits",
                &self.logits,
                [shape[0], shape[1], self.vocabulary],
            )?,
            acc: View::new("acc", &self.acc, shape)?,
            length: View::new("length", &self.length, shape)?,
            finished: View::new("finished", &self.finished, shape)?,
        };
        step(&input, &self.rules, Precision::scalar(T::DTYPE))
    }
}

impl<T: Element> Case for BeamStep<T> {
    fn draw(rng: &mut Rng) -> Self {
        let shape = [
            rng.between(1, 3),
            rng.between(1, 6),
            rng.choose(&[2, 7, 33, 100, 257]),
        ];
        Self::with_shape(rng, shape)
    }

    /// The sums of the kept beams reject the usual answers, and log-softmax left out.
    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(oracle) = self.oracle() else {
            unreachable!("a generated case has its shapes")
        };
        let beams = self.rules.beams;
        let (mut sums, mut raw, mut old) = (Vec::new(), Vec::new(), Vec::new());
        for (item, pool) in oracle.pools.iter().enumerate() {
            for kept in pool.best(beams).iter().filter(|kept| kept.token.is_some()) {
                let beam = item * beams + kept.parent;
                let token = kept.token.unwrap_or(0) as usize;
                let logit = self.logits[beam * self.vocabulary + token].to_f64();
                sums.push(kept.beam.acc);
                raw.push(f64::from(self.acc[beam]) + logit);
                old.push(f64::from(self.acc[beam]));
            }
        }
        let n = sums.len();
        let Ok(sums) = BoundedTensor::new("acc", &[n], sums) else {
            unreachable!("as counted")
        };
        let mut wrong = usual_wrong_answers(&sums, DType::F32, old);
        wrong.push(WrongAnswer {
            name: "log-softmax left out",
            values: raw,
        });
        null_margin("acc", &sums, &wrong)
    }
}
