//! Plain tree attention in f32, and what can go wrong in it.

use super::attention::options;
use super::walks::integers;
use crate::submission::{Call, Failure, Named};
use crate::task::Way;
use crate::task::honest::answer;
use crate::task::paged_kv_attention::pages::{Owned, shape};
use reference::attention::Options;
use reference::paged_kv::PageShape;

struct Problem<'a> {
    way: &'a Way,
    options: Options,
    shape: PageShape,
    q: Vec<f32>,
    heads: usize,
    k: Owned,
    v: Owned,
    table: Vec<i32>,
    width: usize,
    lengths: Vec<usize>,
    parent: Vec<i32>,
    starts: Vec<usize>,
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let problem = Problem::of(call, way).map_err(Failure::Grader)?;
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for b in 0..problem.lengths.len() {
        for node in 0..problem.starts[b + 1] - problem.starts[b] {
            for head in 0..problem.heads {
                let (of_row, of_lse) = problem.attend(b, node, head);
                o.extend(of_row.into_iter().map(f64::from));
                lse.push(f64::from(of_lse));
            }
        }
    }
    answer(call, [o, lse])
}

impl<'a> Problem<'a> {
    fn of(call: &Call, way: &'a Way) -> Result<Problem<'a>, String> {
        let tensor = call.input("q").ok_or("no q")?;
        let &[_, heads, d] = tensor.shape() else {
            return Err("q is no vector a head".into());
        };
        let sizes = |name: &str| -> Result<Vec<usize>, String> {
            Ok(integers(call, name)?
                .into_iter()
                .map(|n| n as usize)
                .collect())
        };
        let (table, lengths) = (integers(call, "block_table")?, sizes("seq_len")?);
        Ok(Problem {
            way,
            options: options(call)?,
            shape: shape(call, d)?,
            q: tensor.to_f32(),
            heads,
            k: Owned::read("k", &call.inputs)?,
            v: Owned::read("v", &call.inputs)?,
            width: table.len() / lengths.len().max(1),
            table,
            lengths,
            parent: integers(call, "parent")?,
            starts: sizes("starts")?,
        })
    }

    fn parents(&self, b: usize) -> &[i32] {
        &self.parent[self.starts[b]..self.starts[b + 1]]
    }

    fn depth(&self, b: usize, node: usize) -> usize {
        let parents = self.parents(b);
        let above = |at: &i32| usize::try_from(*at).ok().map(|at| parents[at]);
        std::iter::successors(Some(parents[node]), above).count() - 1
    }

    fn is_ancestor_or_self(&self, b: usize, of: usize, node: usize) -> bool {
        let parents = self.parents(b);
        let above = |at: &usize| usize::try_from(parents[*at]).ok();
        std::iter::successors(Some(of), above).any(|at| at == node)
    }

    /// Whether a node sees a token of the cache: the prefix, then nodes.
    fn sees(&self, b: usize, node: usize, token: usize) -> bool {
        let way = self.way;
        let nodes = self.parents(b).len();
        let prefix = self.lengths[b] - nodes;
        let position = |node: usize| match way.has("window-by-number") {
            true => prefix + node,
            false => prefix + self.depth(b, node),
        };
        let at = match token < prefix {
            true => token,
            false => position(token - prefix),
        };
        let left = self.options.window.and_then(|window| window.left);
        if left.is_some_and(|left| at + left < position(node)) {
            return false;
        }
        if token < prefix {
            return !(way.has("first-prefix-token-lost") && token == 0);
        }
        match way.mistake {
            Some("siblings-seen") => token - prefix <= node,
            Some("itself-unseen") => {
                token - prefix != node && self.is_ancestor_or_self(b, node, token - prefix)
            }
            _ => self.is_ancestor_or_self(b, node, token - prefix),
        }
    }

    fn vector(&self, pages: &Owned, b: usize, head: usize, token: usize) -> Vec<f32> {
        let (page, d) = (self.shape.page, self.shape.head_size);
        let entry = self.table[b * self.width + token / page] as usize;
        let kv_head = head / (self.heads / self.shape.heads);
        let vector = (entry * page + token % page) * self.shape.heads + kv_head;
        let read = |c| pages.pages().read(vector, c, d).value as f32;
        (0..d).map(read).collect()
    }

    fn attend(&self, b: usize, node: usize, head: usize) -> (Vec<f32>, f32) {
        let (way, d) = (self.way, self.shape.head_size);
        let row = (self.starts[b] + node) * self.heads + head;
        let q = &self.q[row * d..(row + 1) * d];
        let nodes = self.parents(b).len();
        let prefix = self.lengths[b] - nodes;
        let part = |from: usize, to: usize| -> (f32, f32, Vec<f32>) {
            let seen: Vec<usize> = (from..to).filter(|t| self.sees(b, node, *t)).collect();
            let score = |token: &usize| {
                let k = self.vector(&self.k, b, head, *token);
                self.options.scale * way.order.sum(d, |c| q[c] * k[c])
            };
            let scores: Vec<f32> = seen.iter().map(score).collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
            let values: Vec<Vec<f32>> = (seen.iter())
                .map(|token| self.vector(&self.v, b, head, *token))
                .collect();
            let sum = way.order.sum(weights.len(), |at| weights[at]);
            let o = (0..d).map(|c| way.order.sum(seen.len(), |at| weights[at] * values[at][c]));
            (max, sum, o.collect())
        };
        let parts = match way.mistake {
            Some("one-pass") => vec![part(0, self.lengths[b])],
            _ => vec![part(0, prefix), part(prefix, self.lengths[b])],
        };
        let max = parts.iter().fold(f32::NEG_INFINITY, |m, p| m.max(p.0));
        if max == f32::NEG_INFINITY {
            return (vec![0.0; d], max);
        }
        let factor = |of: f32| match of {
            f32::NEG_INFINITY => 0.0,
            _ if way.has("parts-not-rescaled") => 1.0,
            of => (of - max).exp(),
        };
        let sum: f32 = parts.iter().map(|p| p.1 * factor(p.0)).sum();
        let component = |c: usize| {
            let total: f32 = parts.iter().map(|p| p.2[c] * factor(p.0)).sum();
            total / sum
        };
        ((0..d).map(component).collect(), max + sum.ln())
    }
}
