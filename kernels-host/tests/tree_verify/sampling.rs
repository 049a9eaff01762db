//! Sampling acceptance: walks against the oracle, and the distribution of what comes out.

use crate::{parents, random_parents, scheduled, token_tree};
use kernels_host::Buffer;
use kernels_host::tree_verify::{Logits, Sampling, TokenTree, Trees, Walk, accept_sampled};
use reference::View;
use reference::cases::Rng;
use reference::numbers::{DType, Precision};
use reference::tree::{self, Accepted, Tree};
use std::collections::HashSet;

struct Batch {
    trees: Vec<TokenTree>,
    rows: Vec<f32>,
    draft: Option<Vec<f32>>,
    uniform: Vec<f32>,
    bonus: Vec<f32>,
    vocabulary: usize,
    temperature: f32,
}

impl Batch {
    fn run(&self, seed: u64) -> Vec<Walk> {
        let device = scheduled(seed);
        let trees = Trees::new(&device, &self.trees).unwrap();
        let rows = Buffer::from_slice(&device, &self.rows).unwrap();
        let draft = self.draft.as_ref();
        let draft = draft.map(|draft| Buffer::from_slice(&device, draft).unwrap());
        let stop = Buffer::from_slice(&device, &[]).unwrap();
        let logits = Logits {
            rows: &rows,
            vocabulary: self.vocabulary,
        };
        let sampling = Sampling {
            temperature: self.temperature,
            draft: draft.as_ref(),
            uniform: &self.uniform,
            bonus_uniform: &self.bonus,
        };
        let accepted = accept_sampled(&trees, logits, &sampling, &stop, None).unwrap();
        accepted.walks().unwrap()
    }
}

/// A number in [0, 1) of 24 bits: an f32, never 1.
fn uniform(rng: &mut Rng) -> f32 {
    rng.below(1 << 24) as f32 / (1 << 24) as f32
}

fn distribution(rng: &mut Rng, vocabulary: usize) -> Vec<f32> {
    let weights: Vec<f64> = (0..vocabulary).map(|_| rng.unit() + 0.05).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| (w / total) as f32).collect()
}

fn drawn(rng: &mut Rng, with_draft: bool, vocabulary: usize, count: usize) -> (Batch, Vec<Tree>) {
    let mut trees = Vec::new();
    let mut batch = Batch {
        trees: Vec::new(),
        rows: Vec::new(),
        draft: with_draft.then(Vec::new),
        uniform: Vec::new(),
        bonus: Vec::new(),
        vocabulary,
        temperature: 0.7,
    };
    for _ in 0..count {
        let nodes = rng.between(0, 9);
        let tokens: Vec<i32> = (0..nodes).map(|_| rng.below(vocabulary) as i32).collect();
        let tree = Tree::new(&tokens, &random_parents(rng, nodes)).unwrap();
        for _ in 0..1 + nodes {
            batch
                .rows
                .extend((0..vocabulary).map(|_| rng.normal() as f32));
            if let Some(draft) = &mut batch.draft {
                draft.extend(distribution(rng, vocabulary));
            }
        }
        batch.uniform.extend((0..nodes).map(|_| uniform(rng)));
        batch.bonus.push(uniform(rng));
        batch.trees.push(token_tree(&tree));
        trees.push(tree);
    }
    (batch, trees)
}

/// Walk by walk as the oracle's, wherever its bounds decide; the same on every schedule.
#[test]
fn walks_are_the_oracles() {
    let mut rng = Rng::new(1);
    for (with_draft, vocabulary, count) in [(false, 5, 300), (true, 5, 300), (true, 600, 20)] {
        let (batch, trees) = drawn(&mut rng, with_draft, vocabulary, count);
        let walks = batch.run(0);
        assert_eq!(walks, batch.run(3));
        let (mut row, mut node, mut decided) = (0, 0, 0);
        for (n, tree) in trees.iter().enumerate() {
            let rows = row * vocabulary..(row + 1 + tree.len()) * vocabulary;
            let shape = [1 + tree.len(), vocabulary];
            let draft = batch
                .draft
                .as_ref()
                .map(|draft| View::new("draft", &draft[rows.clone()], shape).unwrap());
            let sampling = tree::Sampling {
                temperature: batch.temperature,
                draft,
                uniform: &batch.uniform[node..node + tree.len()],
                bonus_uniform: batch.bonus[n],
            };
            let logits = View::new("logits", &batch.rows[rows], shape).unwrap();
            let precision = Precision::scalar(DType::F32);
            let right =
                tree::accept_sampled(tree, logits, &sampling, &HashSet::new(), precision).unwrap();
            if right.undecided.is_none() {
                decided += 1;
                let answer = Accepted {
                    nodes: walks[n].nodes.clone(),
                    tokens: walks[n].tokens.clone(),
                    bonus: walks[n].bonus.unwrap_or(-1),
                };
                right
                    .judge(&answer)
                    .unwrap_or_else(|error| panic!("{error} {:?}", parents(tree)));
            }
            row += 1 + tree.len();
            node += tree.len();
        }
        assert!(decided * 10 > count * 9, "{decided} of {count}");
    }
}

/// Σ (observed − expected)²/expected.
fn chi_square(counts: &[usize], expected: &[f64], total: usize) -> f64 {
    let terms = counts.iter().zip(expected).map(|(&count, &p)| {
        let mean = p * total as f64;
        (count as f64 - mean).powi(2) / mean
    });
    terms.sum()
}

fn softmax(row: &[f32], temperature: f32) -> Vec<f64> {
    let weights: Vec<f64> = row
        .iter()
        .map(|x| f64::from(x / temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// The first emitted token has the target's distribution whatever the draft, and given it so has the
/// second: 4000 trees in one launch, a fixed seed. 5 degrees of freedom: beyond 25.75 lies 1e-4.
#[test]
fn emitted_tokens_have_the_targets_distribution() {
    const V: usize = 6;
    const N: usize = 4000;
    const LIMIT: f64 = 25.75;
    let mut rng = Rng::new(20);
    let target: Vec<f32> = (0..V).map(|_| rng.normal() as f32).collect();
    let second: Vec<f32> = (0..V).map(|_| rng.normal() as f32).collect();
    for with_draft in [true, false] {
        let q = distribution(&mut rng, V);
        let draw = |rng: &mut Rng| {
            let u = rng.unit();
            let mut sum = 0.0;
            let crossed = q.iter().position(|q| {
                sum += f64::from(*q);
                sum > u
            });
            crossed.unwrap_or(V - 1) as i32
        };
        let mut batch = Batch {
            trees: Vec::new(),
            rows: Vec::new(),
            draft: with_draft.then(Vec::new),
            uniform: Vec::new(),
            bonus: Vec::new(),
            vocabulary: V,
            temperature: 0.8,
        };
        for _ in 0..N {
            // Two siblings, each with a child; without a distribution the draft is the same each time.
            let tokens: Vec<i32> = match with_draft {
                true => (0..4).map(|_| draw(&mut rng)).collect(),
                false => vec![1, 4, 0, 0],
            };
            batch
                .trees
                .push(TokenTree::new(&tokens, &[-1, -1, 0, 1]).unwrap());
            batch.rows.extend(&target);
            (0..4).for_each(|_| batch.rows.extend(&second));
            if let Some(draft) = &mut batch.draft {
                (0..5).for_each(|_| draft.extend(&q));
            }
            batch.uniform.extend((0..4).map(|_| uniform(&mut rng)));
            batch.bonus.push(uniform(&mut rng));
        }
        let (mut first_counts, mut second_counts, mut seconds) = ([0; V], [0; V], 0);
        for walk in batch.run(0) {
            let text: Vec<i32> = walk.tokens.iter().copied().chain(walk.bonus).collect();
            first_counts[text[0] as usize] += 1;
            if let Some(token) = text.get(1) {
                second_counts[*token as usize] += 1;
                seconds += 1;
            }
        }
        let (p, p2) = (softmax(&target, 0.8), softmax(&second, 0.8));
        let chi = chi_square(&first_counts, &p, N);
        assert!(chi < LIMIT, "{chi}: {first_counts:?}");
        let chi = chi_square(&second_counts, &p2, seconds);
        assert!(chi < LIMIT && seconds > N / 8, "{chi}: {second_counts:?}");
        // The test can fail: the draft's own distribution, and the target's at another temperature,
        // are far outside.
        let q: Vec<f64> = q.iter().map(|q| f64::from(*q)).collect();
        assert!(chi_square(&first_counts, &q, N) > 4.0 * LIMIT);
        assert!(chi_square(&first_counts, &softmax(&target, 1.1), N) > LIMIT);
    }
}
