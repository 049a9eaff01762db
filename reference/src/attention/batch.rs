//! Where the rows of each sequence and head lie, and their values in float64.

use ndarray::Array2;

use super::weighted::Vectors;
use crate::error::{Error, Result};
use crate::numbers::Element;
use crate::tensor::{View, nonzero};

/// Rows of a tensor by sequence, head and position. The row number also indexes what has one
/// number per row (lse).
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// First row of each sequence.
    starts: Vec<usize>,
    /// Positions of each sequence.
    lengths: Vec<usize>,
    heads: usize,
    head_stride: usize,
    position_stride: usize,
    /// Shape without the last axis.
    outer: Vec<usize>,
}

impl Layout {
    /// `[B, H, N, D]`.
    pub(crate) fn dense(batch: usize, heads: usize, length: usize) -> Self {
        Self {
            starts: (0..batch).map(|b| b * heads * length).collect(),
            lengths: vec![length; batch],
            heads,
            head_stride: length,
            position_stride: 1,
            outer: vec![batch, heads, length],
        }
    }

    /// `[T, H, D]`, sequence s at positions `bounds[s]..bounds[s+1]`.
    pub(crate) fn packed(bounds: &[usize], heads: usize) -> Self {
        Self {
            starts: bounds.iter().map(|start| start * heads).collect(),
            lengths: bounds.windows(2).map(|w| w[1] - w[0]).collect(),
            heads,
            head_stride: 1,
            position_stride: heads,
            outer: vec![bounds.last().copied().unwrap_or(0), heads],
        }
    }

    pub(crate) fn sequences(&self) -> usize {
        self.lengths.len()
    }

    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    pub(crate) fn length(&self, sequence: usize) -> usize {
        self.lengths[sequence]
    }

    pub(crate) fn row(&self, sequence: usize, head: usize, position: usize) -> usize {
        self.starts[sequence] + head * self.head_stride + position * self.position_stride
    }

    pub(crate) fn rows(&self) -> usize {
        self.outer.iter().product()
    }

    /// Shape of what has one number per row.
    pub(crate) fn row_shape(&self) -> &[usize] {
        &self.outer
    }

    /// Shape of the tensor.
    pub(crate) fn shape(&self, head_size: usize) -> Vec<usize> {
        let mut shape = self.outer.clone();
        shape.push(head_size);
        shape
    }

    /// The vectors of each sequence and head, sequence by sequence.
    pub(crate) fn gather<T: Element>(&self, data: &[T], d: usize) -> Vec<Vectors> {
        let mut all = Vec::with_capacity(self.sequences() * self.heads);
        for sequence in 0..self.sequences() {
            for head in 0..self.heads {
                let value = Array2::from_shape_fn((self.length(sequence), d), |(i, c)| {
                    data[self.row(sequence, head, i) * d + c].to_f64()
                });
                all.push(Vectors::new(value, None));
            }
        }
        all
    }

    /// One number per position of a sequence and head.
    pub(crate) fn gather_rows<S: Copy + Into<f64>>(
        &self,
        data: &[S],
        sequence: usize,
        head: usize,
    ) -> Vec<f64> {
        (0..self.length(sequence))
            .map(|i| data[self.row(sequence, head, i)].into())
            .collect()
    }
}

/// Queries, keys and values whose shapes fit each other.
#[derive(Clone, Debug)]
pub struct Batch<'a, T> {
    pub(crate) q: &'a [T],
    pub(crate) k: &'a [T],
    pub(crate) v: &'a [T],
    pub(crate) queries: Layout,
    pub(crate) keys: Layout,
    pub(crate) head_size: usize,
}

impl<'a, T: Element> Batch<'a, T> {
    /// `q[B,Hq,Nq,D]`, `k` and `v` `[B,Hkv,Nk,D]`. Query head h reads KV head `h / (Hq/Hkv)`.
    /// There may be no keys; every other size is at least one.
    pub fn dense(q: View<'a, T, 4>, k: View<'a, T, 4>, v: View<'a, T, 4>) -> Result<Self> {
        let [batch, hq, nq, d] = q.shape();
        let [_, hkv, nk, _] = k.shape();
        for size in [batch, hq, nq, d] {
            nonzero(q.name(), size)?;
        }
        k.expect_shape([batch, hkv, nk, d], "B and D as `q`")?;
        v.expect_shape(k.shape(), "as `k`")?;
        check_groups(k.name(), hq, hkv)?;
        Ok(Self {
            q: q.data(),
            k: k.data(),
            v: v.data(),
            queries: Layout::dense(batch, hq, nq),
            keys: Layout::dense(batch, hkv, nk),
            head_size: d,
        })
    }

    /// Sequences of different lengths end to end: `q[Tq,Hq,D]`, `k` and `v` `[Tk,Hkv,D]`; sequence
    /// s has the queries `cu_q[s]..cu_q[s+1]` and the keys `cu_k[s]..cu_k[s+1]`. A sequence may
    /// have no queries or no keys.
    pub fn packed(
        q: View<'a, T, 3>,
        k: View<'a, T, 3>,
        v: View<'a, T, 3>,
        cu_q: &[i32],
        cu_k: &[i32],
    ) -> Result<Self> {
        let [tq, hq, d] = q.shape();
        let [tk, hkv, _] = k.shape();
        for size in [hq, d] {
            nonzero(q.name(), size)?;
        }
        k.expect_shape([tk, hkv, d], "D as `q`")?;
        v.expect_shape(k.shape(), "as `k`")?;
        check_groups(k.name(), hq, hkv)?;
        let cu_q = boundaries("cu_q", cu_q, tq)?;
        let cu_k = boundaries("cu_k", cu_k, tk)?;
        if cu_q.len() != cu_k.len() {
            return Err(Error::Shape {
                argument: "cu_k",
                expected: vec![cu_q.len()],
                got: vec![cu_k.len()],
                because: "as `cu_q`",
            });
        }
        Ok(Self {
            q: q.data(),
            k: k.data(),
            v: v.data(),
            queries: Layout::packed(&cu_q, hq),
            keys: Layout::packed(&cu_k, hkv),
            head_size: d,
        })
    }

    /// Query heads per KV head.
    pub(crate) fn group(&self) -> usize {
        self.queries.heads() / self.keys.heads()
    }
}

/// Query heads must divide evenly among KV heads.
pub(crate) fn check_groups(argument: &'static str, hq: usize, hkv: usize) -> Result<()> {
    nonzero(argument, hkv)?;
    if hq.is_multiple_of(hkv) {
        return Ok(());
    }
    Err(Error::argument(
        argument,
        format!("{hkv} heads"),
        format!("a number of heads that divides the {hq} query heads"),
    ))
}

/// Sequence boundaries: from 0 to `total`, never falling.
pub(crate) fn boundaries(argument: &'static str, cu: &[i32], total: usize) -> Result<Vec<usize>> {
    if cu.len() < 2 {
        return Err(Error::argument(
            argument,
            format!("{} numbers", cu.len()),
            "the start of each sequence and the end of the last: at least 2 numbers",
        ));
    }
    let mut out = Vec::with_capacity(cu.len());
    for (index, &at) in cu.iter().enumerate() {
        let low = out.last().copied().unwrap_or(0);
        let high = if index == 0 { 0 } else { total };
        match usize::try_from(at) {
            Ok(at) if (low..=high).contains(&at) => out.push(at),
            _ => {
                return Err(Error::entry(
                    argument,
                    index,
                    at,
                    format!("{low} to {high}"),
                ));
            }
        }
    }
    if out.last() != Some(&total) {
        let last = cu.len() - 1;
        return Err(Error::entry(
            argument,
            last,
            cu[last],
            format!("the {total} rows there are"),
        ));
    }
    Ok(out)
}
