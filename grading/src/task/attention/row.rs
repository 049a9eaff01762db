//! Scores of one head, plainly in f32, with the mistakes that forward and backward can both make.

use super::{Problem, Shape};
use crate::task::Way;

/// Keys in a tile of the plain implementations.
pub(in crate::task) const TILE: usize = 64;

/// One query head of one sequence.
pub(in crate::task) struct Head<'a> {
    pub(in crate::task) problem: &'a Problem,
    pub(in crate::task) way: &'a Way,
    pub(in crate::task) sequence: usize,
    pub(in crate::task) head: usize,
    pub(in crate::task) q: &'a [f32],
    pub(in crate::task) k: &'a [f32],
}

impl Head<'_> {
    pub(in crate::task) fn shape(&self) -> &Shape {
        &self.problem.shape
    }

    /// Queries and keys.
    pub(in crate::task) fn lengths(&self) -> (usize, usize) {
        self.shape().lengths[self.sequence]
    }

    /// The KV head that this query head reads.
    pub(in crate::task) fn kv_head(&self) -> usize {
        match self.way.has("heads-interleaved") {
            true => self.head % self.shape().kv_heads,
            false => self.head / self.shape().group(),
        }
    }

    /// The vector of query i.
    pub(in crate::task) fn query(&self, i: usize) -> &[f32] {
        let (d, row) = (
            self.shape().head_size,
            self.shape().query_row(self.sequence, self.head, i),
        );
        &self.q[row * d..(row + 1) * d]
    }

    /// The row of key j in k and v.
    pub(in crate::task) fn key_row(&self, j: usize) -> usize {
        let sequence = match self.way.has("packed-first-sequence") {
            true => 0,
            false => self.sequence,
        };
        let row = self.shape().key_row(sequence, self.kv_head(), j);
        row.min(self.shape().key_rows() - 1)
    }

    /// The vector of key j.
    pub(in crate::task) fn key(&self, j: usize) -> &[f32] {
        let (d, row) = (self.shape().head_size, self.key_row(j));
        &self.k[row * d..(row + 1) * d]
    }

    /// Whether query i sees key j.
    pub(in crate::task) fn sees(&self, i: usize, j: usize) -> bool {
        let (nq, nk) = self.lengths();
        let longest = |of: fn(&(usize, usize)) -> usize| {
            self.shape().lengths.iter().map(of).max().unwrap_or(0)
        };
        let (nq, nk) = match self.way.has("packed-longest-aligned") {
            true => (longest(|l| l.0), longest(|l| l.1)),
            false => (nq, nk),
        };
        let position = match self.way.has("top-left") {
            true => i as i64,
            false => i as i64 + nk as i64 - nq as i64,
        };
        let j = j as i64;
        let options = &self.problem.options;
        let end = position - i64::from(self.way.has("diagonal-hidden"));
        if options.causal && j > end {
            return false;
        }
        let Some(window) = options.window else {
            return true;
        };
        let near = i64::from(self.way.has("window-short"));
        window
            .left
            .is_none_or(|left| j >= position - left as i64 + near)
            && window
                .right
                .is_none_or(|right| j <= position + right as i64)
    }

    /// q·k before scale.
    pub(in crate::task) fn product(&self, i: usize, j: usize) -> f32 {
        let (q, k) = (self.query(i), self.key(j));
        self.way.order.sum(q.len(), |c| q[c] * k[c])
    }

    /// The scale that is used.
    pub(in crate::task) fn scale(&self) -> f32 {
        let scale = self.problem.options.scale;
        match self.way.mistake {
            Some("scale-forgotten") => 1.0,
            Some("scale-twice") => scale * scale,
            Some("default-scale") => 1.0 / (self.shape().head_size as f32).sqrt(),
            _ => scale,
        }
    }

    /// The score of a pair, and the softcap's derivative there.
    pub(in crate::task) fn score(&self, i: usize, j: usize) -> (f32, f32) {
        let product = self.product(i, j);
        let scale = self.scale();
        match self.problem.options.softcap {
            Some(cap) if self.way.has("softcap-before-scale") => {
                (scale * cap * (product / cap).tanh(), 1.0)
            }
            Some(cap) if !self.way.has("softcap-missing") => {
                let t = (scale * product / cap).tanh();
                (cap * t, 1.0 - t * t)
            }
            _ => (scale * product, 1.0),
        }
    }
}
