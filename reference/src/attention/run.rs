//! Whole batches: tiles of all heads and sequences over all cores.

use std::ops::Range;

use rayon::prelude::*;

use super::backward::{Group, QueryHead};
use super::batch::{Batch, Layout};
use super::forward::{Head, Rows, column_medians};
use super::options::{Band, Mask, Options};
use super::weighted::Vectors;
use crate::error::{Error, Result};
use crate::numbers::{Bounded, BoundedTensor, DType, Element, Precision};

/// Rows per tile: enough for the matrix products, few enough that `tile × N` stays small.
const TILE: usize = 128;

/// How to evaluate; both give the same numbers up to float64 rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By matrix products where all inputs are finite, else plainly.
    Tiled,
    /// Pair by pair, as the formula reads.
    Plain,
}

/// Expected outputs of the forward pass.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Shape of q.
    pub o: BoundedTensor,
    /// Shape of q without its last axis.
    pub lse: BoundedTensor,
}

/// What the backward pass is given of the forward pass. Statistics (`S`) are f32 where a
/// submission gets them; float64 evaluates the formula where nothing was rounded yet.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T, S = f32> {
    /// Log-sum-exp per query, natural.
    pub lse: &'a [S],
    /// Where D comes from.
    pub delta: Delta<'a, T, S>,
}

/// Where `D = rowsum(do∘o)` comes from.
#[derive(Clone, Copy, Debug)]
pub enum Delta<'a, T, S = f32> {
    /// To be computed from this o, in the shape of q.
    From(&'a [T]),
    /// Given, one per query.
    Given(&'a [S]),
}

/// Expected outputs of the backward pass, each in the shape of its input.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Gradient of q.
    pub dq: BoundedTensor,
    /// Gradient of k.
    pub dk: BoundedTensor,
    /// Gradient of v.
    pub dv: BoundedTensor,
}

/// One head's work on a range of its rows.
struct Piece {
    sequence: usize,
    head: usize,
    rows: Range<usize>,
}

fn pieces(layout: &Layout) -> Vec<Piece> {
    let mut all = Vec::new();
    for sequence in 0..layout.sequences() {
        for head in 0..layout.heads() {
            let length = layout.length(sequence);
            all.extend((0..length).step_by(TILE).map(|start| Piece {
                sequence,
                head,
                rows: start..length.min(start + TILE),
            }));
        }
    }
    all
}

/// The vectors of all sequences and heads, in float64.
pub(crate) struct Gathered {
    /// Sequence-major: `sequence·Hq + head`.
    pub(crate) q: Vec<Vectors>,
    /// `sequence·Hkv + head`.
    pub(crate) k: Vec<Vectors>,
    /// As k.
    pub(crate) v: Vec<Vectors>,
    pub(crate) kv_heads: usize,
}

/// Attention of all heads; one mask per sequence, one learned sink logit per query head or none.
pub(crate) fn attend(
    gathered: &Gathered,
    queries: &Layout,
    masks: &[Box<dyn Mask>],
    sinks: Option<&[f32]>,
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Forward> {
    let d = gathered.v.first().map_or(0, |v| v.value.ncols());
    let group = queries.heads() / gathered.kv_heads;
    let centers: Vec<Vec<f64>> = gathered
        .v
        .par_iter()
        .map(|v| column_medians(&v.value))
        .collect();
    let finite = |all: &[Vectors]| all.par_iter().map(Vectors::all_finite).collect::<Vec<_>>();
    let (q_finite, k_finite, v_finite) = (
        finite(&gathered.q),
        finite(&gathered.k),
        finite(&gathered.v),
    );

    let mut o = vec![Bounded::exact(0.0); queries.rows() * d];
    let mut lse = vec![Bounded::exact(0.0); queries.rows()];
    let pieces = pieces(queries);
    let results: Vec<Rows> = pieces
        .par_iter()
        .map(|piece| {
            let of_q = piece.sequence * queries.heads() + piece.head;
            let of_kv = piece.sequence * gathered.kv_heads + piece.head / group;
            let head = Head {
                q: &gathered.q[of_q],
                k: &gathered.k[of_kv],
                v: &gathered.v[of_kv],
                center: &centers[of_kv],
                mask: masks[piece.sequence].as_ref(),
                sink: sinks.map(|sinks| f64::from(sinks[piece.head])),
                options,
                precision,
            };
            let finite = q_finite[of_q] && k_finite[of_kv] && v_finite[of_kv];
            if method == Method::Tiled && finite {
                return head.tiled(piece.rows.clone());
            }
            let mut rows = Rows {
                o: Vec::new(),
                lse: Vec::new(),
            };
            for row in piece.rows.clone() {
                let one = head.plain(row);
                rows.o.extend(one.o);
                rows.lse.extend(one.lse);
            }
            rows
        })
        .collect();
    for (piece, rows) in pieces.iter().zip(results) {
        for (at, i) in piece.rows.clone().enumerate() {
            let row = queries.row(piece.sequence, piece.head, i);
            lse[row] = rows.lse[at];
            o[row * d..(row + 1) * d].copy_from_slice(&rows.o[at * d..(at + 1) * d]);
        }
    }
    Ok(Forward {
        o: BoundedTensor::new("o", &queries.shape(d), o)?,
        lse: BoundedTensor::new("lse", queries.row_shape(), lse)?,
    })
}

/// What the options leave each sequence's queries to see.
pub(crate) fn bands<T: Element>(batch: &Batch<'_, T>, options: &Options) -> Vec<Box<dyn Mask>> {
    (0..batch.queries.sequences())
        .map(|s| {
            let band = Band::new(batch.queries.length(s), batch.keys.length(s), options);
            Box::new(band) as Box<dyn Mask>
        })
        .collect()
}

/// The forward pass of a batch.
pub fn forward<T: Element>(
    batch: &Batch<'_, T>,
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Forward> {
    forward_under(batch, &bands(batch, options), options, precision, method)
}

/// The forward pass under any masks, one per sequence.
pub(crate) fn forward_under<T: Element>(
    batch: &Batch<'_, T>,
    masks: &[Box<dyn Mask>],
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Forward> {
    options.check()?;
    let rounded = precision.weights != DType::F32;
    let d = batch.head_size;
    let gathered = Gathered {
        q: batch.queries.gather(batch.q, d, false),
        k: batch.keys.gather(batch.k, d, false),
        v: batch.keys.gather(batch.v, d, rounded),
        kv_heads: batch.keys.heads(),
    };
    attend(
        &gathered,
        &batch.queries,
        masks,
        None,
        options,
        precision,
        method,
    )
}

fn expect_len(argument: &'static str, shape: Vec<usize>, got: usize) -> Result<()> {
    let expected = shape.iter().product();
    if got == expected {
        return Ok(());
    }
    Err(Error::Length {
        argument,
        shape,
        expected,
        got,
    })
}

/// The backward pass of a batch: the gradients of `Σ do∘o`.
pub fn backward<T: Element, S: Copy + Into<f64>>(
    batch: &Batch<'_, T>,
    saved: Saved<'_, T, S>,
    d_o: &[T],
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Gradients> {
    let masks = bands(batch, options);
    backward_under(batch, &masks, saved, d_o, options, precision, method)
}

/// The backward pass under any masks, one per sequence.
pub(crate) fn backward_under<T: Element, S: Copy + Into<f64>>(
    batch: &Batch<'_, T>,
    masks: &[Box<dyn Mask>],
    saved: Saved<'_, T, S>,
    d_o: &[T],
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Gradients> {
    options.check()?;
    let (queries, keys, d) = (&batch.queries, &batch.keys, batch.head_size);
    expect_len("lse", queries.row_shape().to_vec(), saved.lse.len())?;
    expect_len("do", queries.shape(d), d_o.len())?;
    match saved.delta {
        Delta::From(o) => expect_len("o", queries.shape(d), o.len())?,
        Delta::Given(delta) => expect_len("delta", queries.row_shape().to_vec(), delta.len())?,
    }

    let rounded = precision.weights != DType::F32;
    let q = queries.gather(batch.q, d, rounded);
    let d_o_all = queries.gather(d_o, d, rounded);
    let k = keys.gather(batch.k, d, rounded);
    let v = keys.gather(batch.v, d, false);
    let delta_of = |sequence: usize, head: usize| -> Vec<Bounded> {
        let rows = (0..queries.length(sequence)).map(|i| queries.row(sequence, head, i));
        match saved.delta {
            Delta::Given(delta) => rows.map(|row| Bounded::exact(delta[row].into())).collect(),
            Delta::From(o) => rows
                .map(|row| {
                    let exact = |x: &T| Bounded::exact(x.to_f64());
                    let range = row * d..(row + 1) * d;
                    let pairs = d_o[range.clone()].iter().zip(&o[range]);
                    precision.dot(pairs.map(|(a, b)| (exact(a), exact(b))))
                })
                .collect(),
        }
    };
    let groups: Vec<Group<'_>> = (0..keys.sequences() * keys.heads())
        .map(|at| {
            let (sequence, kv_head) = (at / keys.heads(), at % keys.heads());
            let heads = (kv_head * batch.group()..(kv_head + 1) * batch.group())
                .map(|head| QueryHead {
                    q: &q[sequence * queries.heads() + head],
                    d_o: &d_o_all[sequence * queries.heads() + head],
                    lse: queries.gather_rows(saved.lse, sequence, head),
                    delta: delta_of(sequence, head),
                })
                .collect();
            Group {
                heads,
                k: &k[at],
                v: &v[at],
                mask: masks[sequence].as_ref(),
                queries: queries.length(sequence),
                options,
                precision,
            }
        })
        .collect();
    let tiled: Vec<bool> = groups
        .par_iter()
        .map(|g| method == Method::Tiled && g.all_finite())
        .collect();

    let dq = scatter(queries, d, |piece| {
        let at = piece.sequence * keys.heads() + piece.head / batch.group();
        let (group, head) = (&groups[at], &groups[at].heads[piece.head % batch.group()]);
        let rows = piece.rows.clone();
        [if tiled[at] {
            group.dq_tiled(head, rows)
        } else {
            rows.flat_map(|i| group.dq_plain(head, i)).collect()
        }]
    });
    let dkv = scatter(keys, d, |piece| {
        let at = piece.sequence * keys.heads() + piece.head;
        let (mut dk, mut dv) = (Vec::new(), Vec::new());
        if tiled[at] {
            (dk, dv) = groups[at].dkv_tiled(piece.rows.clone());
        } else {
            for j in piece.rows.clone() {
                let (k_row, v_row) = groups[at].dkv_plain(j);
                dk.extend(k_row);
                dv.extend(v_row);
            }
        }
        [dk, dv]
    });
    let ([dq], [dk, dv]) = (dq, dkv);
    Ok(Gradients {
        dq: BoundedTensor::new("dq", &queries.shape(d), dq)?,
        dk: BoundedTensor::new("dk", &keys.shape(d), dk)?,
        dv: BoundedTensor::new("dv", &keys.shape(d), dv)?,
    })
}

/// Runs `work` on every piece of `layout` and puts its rows where they belong.
fn scatter<const N: usize>(
    layout: &Layout,
    d: usize,
    work: impl Fn(&Piece) -> [Vec<Bounded>; N] + Sync + Send,
) -> [Vec<Bounded>; N] {
    let pieces = pieces(layout);
    let results: Vec<_> = pieces.par_iter().map(work).collect();
    let mut out = [(); N].map(|()| vec![Bounded::exact(0.0); layout.rows() * d]);
    for (piece, parts) in pieces.iter().zip(results) {
        for (whole, part) in out.iter_mut().zip(parts) {
            for (at, i) in piece.rows.clone().enumerate() {
                let row = layout.row(piece.sequence, piece.head, i);
                whole[row * d..(row + 1) * d].copy_from_slice(&part[at * d..(at + 1) * d]);
            }
        }
    }
    out
}
