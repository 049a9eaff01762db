//! Cases of softmax and top-k.

use super::{Case, NoMargin, Rng, WrongAnswer, mixed, null_margin, usual_wrong_answers};
use crate::error::Result;
use crate::numbers::{BoundedTensor, DType, Element, Precision};
use crate::softmax_topk::{Input, Ks, TopK, topk};
use crate::tensor::View;

/// Inputs of one case.
#[derive(Clone, Debug)]
pub struct SoftmaxTopK<T> {
    /// R.
    pub rows: usize,
    /// V.
    pub vocabulary: usize,
    /// `[R, V]`, mixing scales and patterns by row.
    pub logits: Vec<T>,
    /// K of each row.
    pub ks: Vec<usize>,
    /// T.
    pub temperature: f32,
    /// `[R, V]`.
    pub mask: Option<Vec<bool>>,
}

impl<T: Element> SoftmaxTopK<T> {
    /// A case of the given shape.
    pub fn with_shape(rng: &mut Rng, rows: usize, vocabulary: usize) -> Self {
        let ks = (0..rows)
            .map(|_| rng.between(1, vocabulary.min(40)))
            .collect();
        Self {
            rows,
            vocabulary,
            logits: mixed(rng, rows, vocabulary),
            ks,
            temperature: rng.choose(&[1.0, 1.0, 0.5, 0.7, 3.0]),
            mask: rng.chance(0.3).then(|| {
                (0..rows * vocabulary)
                    .map(|i| i % vocabulary > 0 && rng.chance(0.2))
                    .collect()
            }),
        }
    }

    /// What is right.
    pub fn oracle(&self) -> Result<TopK> {
        let shape = [self.rows, self.vocabulary];
        let mask = self
            .mask
            .as_ref()
            .map(|mask| View::new("mask", mask, shape))
            .transpose()?;
        let logits = View::new("logits", &self.logits, shape)?;
        let input = Input {
            logits,
            k: Ks::PerRow(&self.ks),
            temperature: self.temperature,
            mask,
        };
        topk(&input, Precision::scalar(T::DTYPE).with_output(DType::F32))
    }

    /// The scaled logits of a row, −∞ where masked.
    pub fn row(&self, r: usize) -> Vec<f64> {
        let at = |i: usize| {
            let masked = self
                .mask
                .as_ref()
                .is_some_and(|mask| mask[r * self.vocabulary + i]);
            let logit = self.logits[r * self.vocabulary + i].to_f64();
            if masked {
                f64::NEG_INFINITY
            } else {
                logit / f64::from(self.temperature)
            }
        };
        (0..self.vocabulary).map(at).collect()
    }
}

impl<T: Element> Case for SoftmaxTopK<T> {
    fn draw(rng: &mut Rng) -> Self {
        let rows = rng.between(2, 6);
        let vocabulary = rng.choose(&[2, 5, 31, 64, 127, 256, 512]);
        Self::with_shape(rng, rows, vocabulary)
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(oracle) = self.oracle() else {
            unreachable!("a generated case has its shapes")
        };
        let best = |r: &crate::softmax_topk::RowOracle| r.probability(r.index()[0].max(0) as usize);
        let prob = oracle.rows.iter().map(best).collect::<Vec<_>>();
        let lse = oracle.rows.iter().map(|row| row.lse).collect::<Vec<_>>();
        let rows = [self.rows];
        let (Ok(prob), Ok(lse)) = (
            BoundedTensor::new("prob", &rows, prob),
            BoundedTensor::new("lse", &rows, lse),
        ) else {
            unreachable!("one per row")
        };
        // The quarter of the row that holds its maximum is never seen; the first logits copied.
        let first = (0..self.rows).map(|r| self.row(r)[0]);
        let unseen = (0..self.rows).map(|r| {
            let mut row = self.row(r);
            let tile = row.len().div_ceil(4);
            let top = (0..row.len())
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .unwrap_or(0);
            let start = top / tile * tile;
            let end = (start + tile).min(row.len());
            row[start..end].fill(f64::NEG_INFINITY);
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
        });
        let mut wrong = usual_wrong_answers(&lse, DType::F32, first);
        wrong.push(WrongAnswer {
            name: "a tile never seen",
            values: unseen.collect(),
        });
        null_margin("lse", &lse, &wrong)?;
        // A probability of exactly 1 is the same in any precision: lse has judged that already.
        let mut wrong =
            usual_wrong_answers(&prob, DType::F32, (0..self.rows).map(|r| self.row(r)[0]));
        wrong.retain(|wrong| wrong.name != "one precision lower");
        null_margin("prob", &prob, &wrong)
    }
}
