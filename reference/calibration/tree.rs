//! Sampled acceptance in f32.

use std::collections::HashSet;

use reference::cases::{Rng, mixed, normal};
use reference::numbers::{DType, Element, Histogram, Precision};
use reference::tensor::View;
use reference::tree::{Accepted, Sampling, Tree, accept_sampled};

use super::Report;
use super::arithmetic::{STYLES, Style};
use super::softmax_topk::max_and_sum;

pub fn trial<T: Element>(seed: u64, report: &mut Report) {
    let mut rng = Rng::new(seed);
    let (nodes, vocabulary) = (rng.below(8), rng.between(2, 40));
    let token: Vec<i32> = (0..nodes).map(|_| rng.below(vocabulary) as i32).collect();
    let parent: Vec<i32> = (0..nodes).map(|i| rng.between(0, i) as i32 - 1).collect();
    let tree = Tree::new(&token, &parent).expect("parents first");
    let logits: Vec<T> = match rng.chance(0.5) {
        true => mixed(&mut rng, 1 + nodes, vocabulary),
        false => normal(&mut rng, (1 + nodes) * vocabulary, 2.0),
    };
    let draft: Option<Vec<f32>> = rng.chance(0.5).then(|| {
        let weights = (0..(1 + nodes) * vocabulary).map(|_| rng.unit() as f32 + 1e-3);
        let mut draft: Vec<f32> = weights.collect();
        for row in draft.chunks_mut(vocabulary) {
            let total: f32 = row.iter().sum();
            row.iter_mut().for_each(|q| *q /= total);
        }
        draft
    });
    let shape = [1 + nodes, vocabulary];
    let uniform = |rng: &mut Rng| (rng.below(1 << 24) as f32) / (1 << 24) as f32;
    let numbers: Vec<f32> = (0..nodes).map(|_| uniform(&mut rng)).collect();
    let sampling = Sampling {
        temperature: rng.choose(&[1.0, 0.7, 2.0]),
        draft: draft
            .as_ref()
            .map(|q| View::new("draft", q, shape).expect("a row per node")),
        uniform: &numbers,
        bonus_uniform: uniform(&mut rng),
    };
    let view = View::new("logits", &logits, shape).expect("a row per node");
    let stop = HashSet::new();
    let precision = Precision::scalar(DType::F32);
    let right = accept_sampled(&tree, view, &sampling, &stop, precision).expect("well-formed");
    for style in STYLES {
        if right.undecided.is_some() {
            report.undecided += 1;
            continue;
        }
        let answer = honest(&tree, &logits, &sampling, vocabulary, style);
        let verdict = right.judge(&answer).map(|()| Histogram::default());
        report.judged("walks", style.name, seed, verdict);
    }
}

fn honest<T: Element>(
    tree: &Tree,
    logits: &[T],
    sampling: &Sampling<'_>,
    vocabulary: usize,
    style: Style,
) -> Accepted {
    let mut accepted = Accepted {
        nodes: Vec::new(),
        tokens: Vec::new(),
        bonus: -1,
    };
    loop {
        let current = accepted.nodes.last().copied();
        let row = current.map_or(0, |node: usize| node + 1) * vocabulary;
        let scaled: Vec<f32> = logits[row..row + vocabulary]
            .iter()
            .map(|x| style.div(x.to_f64() as f32, sampling.temperature))
            .collect();
        let (max, sum) = max_and_sum(&scaled, style);
        let mut p: Vec<f32> = scaled
            .iter()
            .map(|&s| style.div(style.exp_minus(s, max), sum))
            .collect();
        let q = |token: usize, child_token: usize| match &sampling.draft {
            Some(draft) => draft.data()[row + token],
            None => f32::from(u8::from(token == child_token)),
        };
        let mut next = None;
        for child in tree.children(current) {
            let token = tree.tokens()[child] as usize;
            if sampling.uniform[child] * q(token, token) < p[token] {
                next = Some(child);
                break;
            }
            let rest: Vec<f32> = (0..vocabulary)
                .map(|t| (p[t] - q(t, token)).max(0.0))
                .collect();
            let mass = style.sum(&rest);
            if mass > 0.0 {
                p = rest.into_iter().map(|r| style.div(r, mass)).collect();
            }
        }
        match next {
            Some(child) => {
                accepted.nodes.push(child);
                accepted.tokens.push(tree.tokens()[child]);
            }
            None => {
                let mut running = 0.0;
                let last = p.iter().rposition(|&p| p > 0.0).expect("some mass");
                let drawn = p.iter().position(|p| {
                    running += p;
                    running > sampling.bonus_uniform
                });
                accepted.bonus = drawn.unwrap_or(last).min(last) as i32;
                return accepted;
            }
        }
    }
}
