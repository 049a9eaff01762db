//! Cases of sampled tree verification.

use std::collections::HashSet;

use super::tree_attention::random_parents;
use super::{Case, NoMargin, Rng, mixed, normal};
use crate::error::Result;
use crate::numbers::{DType, Element, Precision};
use crate::softmax_topk::RowOracle;
use crate::tensor::View;
use crate::tree::{Sampled, Sampling, Tree, accept_sampled};

/// One item: a drafted tree, the target's logits, the draft's distributions and all random numbers.
#[derive(Clone, Debug)]
pub struct TreeSampling<T> {
    /// The drafted tree.
    pub tree: Tree,
    /// V.
    pub vocabulary: usize,
    /// `[1+N, V]`.
    pub logits: Vec<T>,
    /// Of the target's softmax.
    pub temperature: f32,
    /// `[1+N, V]`: what the children of the prompt and of each node were drawn from; `None` for a
    /// deterministic draft.
    pub draft: Option<Vec<f32>>,
    /// `[N]`, each in [0, 1).
    pub uniform: Vec<f32>,
    /// In [0, 1).
    pub bonus_uniform: f32,
    /// Tokens that end a walk.
    pub stop: HashSet<i32>,
}

/// A number in [0, 1) that f32 holds exactly.
fn uniform(rng: &mut Rng) -> f32 {
    rng.below(1 << 24) as f32 / (1 << 24) as f32
}

/// A token drawn from a distribution.
fn drawn(rng: &mut Rng, p: &[f64]) -> usize {
    let mut left = rng.unit() * p.iter().sum::<f64>();
    let found = p.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    found.unwrap_or(p.len() - 1)
}

impl<T: Element> TreeSampling<T> {
    /// A tree of `nodes` nodes whose tokens are drawn from its draft, or are likely ones of the target
    /// where the draft is deterministic: there siblings differ, a drawn one may repeat.
    pub fn with_size(rng: &mut Rng, nodes: usize, vocabulary: usize) -> Self {
        let logits: Vec<T> = match rng.chance(0.3) {
            true => mixed(rng, 1 + nodes, vocabulary),
            false => normal(rng, (1 + nodes) * vocabulary, 2.0),
        };
        let temperature = rng.choose(&[1.0, 1.0, 0.7, 2.0]);
        let target: Vec<Vec<f64>> = logits
            .chunks(vocabulary)
            .map(|row| distribution(row, temperature))
            .collect();
        let draft: Option<Vec<f32>> = rng.chance(0.6).then(|| {
            let noisy = |rng: &mut Rng, p: f64| (p + 0.02) * rng.uniform(0.5, 1.5);
            let mut rows = Vec::with_capacity((1 + nodes) * vocabulary);
            for p in &target {
                let row: Vec<f64> = p.iter().map(|&p| noisy(rng, p)).collect();
                let total: f64 = row.iter().sum();
                rows.extend(row.iter().map(|q| (q / total) as f32));
            }
            rows
        });
        let parent = random_parents(rng, nodes);
        let mut token: Vec<i32> = Vec::with_capacity(nodes);
        for (i, &parent_of_i) in parent.iter().enumerate() {
            let row = (parent_of_i + 1) as usize;
            let p: Vec<f64> = match &draft {
                Some(draft) => {
                    let row = &draft[row * vocabulary..(row + 1) * vocabulary];
                    row.iter().map(|&q| f64::from(q)).collect()
                }
                None => {
                    let mut p = target[row].clone();
                    let siblings = (0..i).filter(|&j| parent[j] == parent_of_i);
                    siblings.for_each(|j| p[token[j] as usize] = 0.0);
                    p
                }
            };
            token.push(drawn(rng, &p) as i32);
        }
        let tree = match Tree::new(&token, &parent) {
            Ok(tree) => tree,
            Err(error) => unreachable!("parents come first: {error}"),
        };
        Self {
            tree,
            vocabulary,
            logits,
            temperature,
            draft,
            uniform: (0..nodes).map(|_| uniform(rng)).collect(),
            bonus_uniform: uniform(rng),
            stop: (0..rng.below(2))
                .map(|_| rng.below(vocabulary) as i32)
                .collect(),
        }
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Sampled> {
        let shape = [1 + self.tree.len(), self.vocabulary];
        let draft = self.draft.as_ref();
        let sampling = Sampling {
            temperature: self.temperature,
            draft: draft.map(|q| View::new("draft", q, shape)).transpose()?,
            uniform: &self.uniform,
            bonus_uniform: self.bonus_uniform,
        };
        let logits = View::new("logits", &self.logits, shape)?;
        let precision = Precision::scalar(DType::F32);
        accept_sampled(&self.tree, logits, &sampling, &self.stop, precision)
    }
}

/// softmax(row/T).
fn distribution<T: Element>(row: &[T], temperature: f32) -> Vec<f64> {
    let logits = row.iter().map(|x| x.to_f64()).collect();
    let precision = Precision::scalar(DType::F32);
    let oracle = RowOracle::new(logits, 1, f64::from(temperature), precision);
    (0..row.len())
        .map(|token| oracle.probability(token).value)
        .collect()
}

impl<T: Element> Case for TreeSampling<T> {
    fn draw(rng: &mut Rng) -> Self {
        let (nodes, vocabulary) = (rng.between(1, 24), rng.choose(&[3, 9, 50, 128]));
        Self::with_size(rng, nodes, vocabulary)
    }

    /// There is one right walk and one right bonus token; something is accepted, and not everything.
    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(right) = self.oracle() else {
            unreachable!("a generated case has its shapes")
        };
        let accepted = right.accepted.nodes.len();
        let wrong = if right.undecided.is_some() {
            "another walk, at a number within its threshold's error,"
        } else if right.bonuses.len() != 1 {
            "another bonus token"
        } else if accepted == 0 {
            "nothing accepted"
        } else if accepted == self.tree.len() && accepted > 1 {
            "everything accepted"
        } else {
            return Ok(());
        };
        Err(NoMargin {
            output: "accepted",
            wrong,
        })
    }
}
