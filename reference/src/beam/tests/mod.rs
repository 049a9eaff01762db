//! Whole runs, steps and their rules, explanations and refusals.

mod explained;
mod runs;
mod steps;

use proptest::prelude::*;

use super::*;
use crate::cases::Rng;
use crate::numbers::DType;
use crate::tensor::View;

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}

fn alpha() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0f32), Just(0.6), Just(1.0), Just(-0.5), -2.0f32..2.0]
}

/// Owned inputs of a step.
struct StepCase {
    shape: [usize; 3],
    logits: Vec<f32>,
    acc: Vec<f32>,
    length: Vec<i32>,
    finished: Vec<bool>,
}

impl StepCase {
    fn random(rng: &mut Rng, items: usize, beams: usize, vocabulary: usize) -> Self {
        let n = items * beams;
        let logit = |rng: &mut Rng| match rng.below(10) {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            _ => (rng.normal() * 3.0) as f32,
        };
        Self {
            shape: [items, beams, vocabulary],
            logits: (0..n * vocabulary).map(|_| logit(rng)).collect(),
            acc: (0..n).map(|_| -(rng.uniform(0.0, 9.0) as f32)).collect(),
            length: (0..n).map(|_| rng.between(0, 6) as i32).collect(),
            finished: (0..n).map(|_| rng.chance(0.3)).collect(),
        }
    }

    /// One item with these sums, lengths and ends, all logits equal to the given row.
    fn of(beams: &[(f32, i32, bool)], row: &[f32]) -> Self {
        Self {
            shape: [1, beams.len(), row.len()],
            logits: row.repeat(beams.len()),
            acc: beams.iter().map(|b| b.0).collect(),
            length: beams.iter().map(|b| b.1).collect(),
            finished: beams.iter().map(|b| b.2).collect(),
        }
    }

    fn oracle(&self, rules: &Rules) -> Step {
        self.try_oracle(rules).unwrap()
    }

    fn try_oracle(&self, rules: &Rules) -> Result<Step> {
        let [items, beams, _] = self.shape;
        let input = StepInput {
            logits: View::new("logits", &self.logits, self.shape)?,
            acc: View::new("acc", &self.acc, [items, beams])?,
            length: View::new("length", &self.length, [items, beams])?,
            finished: View::new("finished", &self.finished, [items, beams])?,
        };
        step(&input, rules, precision())
    }

    /// Parents and tokens kept in item 0.
    fn kept(&self, rules: &Rules) -> Vec<(usize, i32)> {
        let kept = self.oracle(rules).pools[0].best(rules.beams);
        kept.iter()
            .map(|c| (c.parent, c.token.unwrap_or(-1)))
            .collect()
    }
}

/// Logits of probability ½, ¼, ¼.
const HALF: [f32; 3] = [std::f32::consts::LN_2, 0.0, 0.0];
