//! Shapes and options, from the call's own words.

use crate::submission::{Call, Value};
use crate::tensor::{DType, Tensor};
use reference::View;
use reference::attention::{Batch, Options, Window};
use reference::numbers::Element;

/// Sequences, heads, and where their rows lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::task) struct Shape {
    pub(in crate::task) query_heads: usize,
    pub(in crate::task) kv_heads: usize,
    pub(in crate::task) head_size: usize,
    /// Queries and keys of each sequence.
    pub(in crate::task) lengths: Vec<(usize, usize)>,
    /// Whether sequences lie end to end instead of in a dense batch of equal lengths.
    pub(in crate::task) packed: bool,
}

impl Shape {
    /// Query heads that read one KV head.
    pub(in crate::task) fn group(&self) -> usize {
        self.query_heads / self.kv_heads.max(1)
    }

    /// Row number of a query.
    pub(in crate::task) fn query_row(&self, sequence: usize, head: usize, at: usize) -> usize {
        let before: usize = self.lengths[..sequence].iter().map(|l| l.0).sum();
        match self.packed {
            true => (before + at) * self.query_heads + head,
            false => before * self.query_heads + head * self.lengths[sequence].0 + at,
        }
    }

    /// Row number of a key.
    pub(in crate::task) fn key_row(&self, sequence: usize, head: usize, at: usize) -> usize {
        let before: usize = self.lengths[..sequence].iter().map(|l| l.1).sum();
        match self.packed {
            true => (before + at) * self.kv_heads + head,
            false => before * self.kv_heads + head * self.lengths[sequence].1 + at,
        }
    }

    /// Rows of q, heads and sequences together.
    pub(in crate::task) fn query_rows(&self) -> usize {
        self.lengths.iter().map(|l| l.0).sum::<usize>() * self.query_heads
    }

    /// Rows of k and v.
    pub(in crate::task) fn key_rows(&self) -> usize {
        self.lengths.iter().map(|l| l.1).sum::<usize>() * self.kv_heads
    }

    /// The shape of q without its last axis.
    pub(in crate::task) fn query_outer(&self) -> Vec<usize> {
        let total = self.lengths.iter().map(|l| l.0).sum();
        match self.packed {
            true => vec![total, self.query_heads],
            false => vec![self.lengths.len(), self.query_heads, self.lengths[0].0],
        }
    }

    /// The shape of k without its last axis.
    pub(in crate::task) fn key_outer(&self) -> Vec<usize> {
        let total = self.lengths.iter().map(|l| l.1).sum();
        match self.packed {
            true => vec![total, self.kv_heads],
            false => vec![self.lengths.len(), self.kv_heads, self.lengths[0].1],
        }
    }

    /// Where sequences begin and the last ends, of queries or of keys.
    pub(in crate::task) fn bounds(&self, of: impl Fn(&(usize, usize)) -> usize) -> Vec<i32> {
        let mut bounds = vec![0];
        for lengths in &self.lengths {
            bounds.push(bounds[bounds.len() - 1] + of(lengths) as i32);
        }
        bounds
    }

    /// `sequence 1, query 17, head 2` of a row of q.
    pub(in crate::task) fn query_place(&self, row: usize) -> String {
        self.place(row, self.query_heads, "query", |l| l.0)
    }

    /// The same of a row of k.
    pub(in crate::task) fn key_place(&self, row: usize) -> String {
        self.place(row, self.kv_heads, "key", |l| l.1)
    }

    fn place(
        &self,
        mut row: usize,
        heads: usize,
        what: &str,
        of: impl Fn(&(usize, usize)) -> usize,
    ) -> String {
        for (sequence, lengths) in self.lengths.iter().enumerate() {
            let length = of(lengths);
            if row < length * heads {
                let (head, at) = match self.packed {
                    true => (row % heads, row / heads),
                    false => (row / length, row % length),
                };
                let tile = at / super::TILE;
                return format!("sequence {sequence}, head {head}, {what} {at} (tile {tile})");
            }
            row -= length * heads;
        }
        format!("row {row} past the end")
    }
}

/// A call's shape and options.
#[derive(Clone, Debug)]
pub(in crate::task) struct Problem {
    pub(in crate::task) shape: Shape,
    pub(in crate::task) options: Options,
    pub(in crate::task) dtype: DType,
}

fn float(call: &Call, name: &str) -> Option<f32> {
    match call.parameters.get(name)? {
        Value::Float(x) => Some(*x as f32),
        Value::Int(x) => Some(*x as f32),
        _ => None,
    }
}

fn count(call: &Call, name: &str) -> Option<usize> {
    match call.parameters.get(name)? {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

impl Problem {
    /// That of a call.
    pub(in crate::task) fn of(call: &Call) -> Result<Problem, String> {
        let q = call.input("q").ok_or("no q")?;
        let k = call.input("k").ok_or("no k")?;
        let bounds = |name: &str| call.input(name).and_then(Tensor::to_vec::<i32>);
        let shape = match (q.shape(), k.shape(), bounds("cu_q"), bounds("cu_k")) {
            (&[b, hq, nq, d], &[_, hkv, nk, _], None, None) => Shape {
                query_heads: hq,
                kv_heads: hkv,
                head_size: d,
                lengths: vec![(nq, nk); b],
                packed: false,
            },
            (&[_, hq, d], &[_, hkv, _], Some(cu_q), Some(cu_k)) => {
                let lengths = |cu: &[i32]| -> Vec<usize> {
                    cu.windows(2).map(|w| (w[1] - w[0]) as usize).collect()
                };
                Shape {
                    query_heads: hq,
                    kv_heads: hkv,
                    head_size: d,
                    lengths: lengths(&cu_q).into_iter().zip(lengths(&cu_k)).collect(),
                    packed: true,
                }
            }
            (q, k, ..) => return Err(format!("q {q:?} and k {k:?} fit no layout")),
        };
        let (left, right) = (count(call, "window_left"), count(call, "window_right"));
        let window = (left.is_some() || right.is_some()).then_some(Window {
            left,
            right,
            sinks: 0,
        });
        Ok(Problem {
            shape,
            options: Options {
                scale: float(call, "scale").ok_or("no scale")?,
                causal: call.parameters.get("causal") == Some(&Value::Bool(true)),
                window,
                softcap: float(call, "softcap"),
            },
            dtype: q.dtype(),
        })
    }

    /// The oracle's view of q, k and v.
    pub(in crate::task) fn batch<'a, T: Element>(
        &self,
        q: &'a [T],
        k: &'a [T],
        v: &'a [T],
    ) -> Result<Batch<'a, T>, reference::Error> {
        let Shape {
            query_heads: hq,
            kv_heads: hkv,
            head_size: d,
            ..
        } = self.shape;
        if self.shape.packed {
            let (tq, tk) = (self.shape.query_rows() / hq, self.shape.key_rows() / hkv);
            return Batch::packed(
                View::new("q", q, [tq, hq, d])?,
                View::new("k", k, [tk, hkv, d])?,
                View::new("v", v, [tk, hkv, d])?,
                &self.shape.bounds(|l| l.0),
                &self.shape.bounds(|l| l.1),
            );
        }
        let (b, (nq, nk)) = (self.shape.lengths.len(), self.shape.lengths[0]);
        Batch::dense(
            View::new("q", q, [b, hq, nq, d])?,
            View::new("k", k, [b, hkv, nk, d])?,
            View::new("v", v, [b, hkv, nk, d])?,
        )
    }

    /// Pairs of a query and a key that it sees, over all heads.
    pub(in crate::task) fn pairs(&self) -> u64 {
        let heads = self.shape.query_heads as u64;
        let per_head = self.shape.lengths.iter().map(|&(nq, nk)| {
            let seen = |i: usize| (0..nk).filter(|j| self.sees(nq, nk, i, *j)).count() as u64;
            (0..nq).map(seen).sum::<u64>()
        });
        heads * per_head.sum::<u64>()
    }

    /// Whether query i of `nq` sees key j of `nk`.
    pub(in crate::task) fn sees(&self, nq: usize, nk: usize, i: usize, j: usize) -> bool {
        let position = i as i64 + nk as i64 - nq as i64;
        let j = j as i64;
        if self.options.causal && j > position {
            return false;
        }
        let window = self.options.window;
        let left = window.and_then(|w| w.left);
        let right = window.and_then(|w| w.right);
        left.is_none_or(|left| j >= position - left as i64)
            && right.is_none_or(|right| j <= position + right as i64)
    }
}
