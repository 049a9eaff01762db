//! Whole batches: tiles of all heads and sequences over all cores.

use std::ops::Range;

use rayon::prelude::*;

use super::backward::{Group, QueryHead};
use super::batch::{Batch, Layout};
use super::forward::{Head, Packed, Rows, column_medians};
use super::options::{Band, Mask, Options};
use super::weighted::Vectors;
use crate::error::{Error, Result};
use crate::numbers::upward::above;
use crate::numbers::{Bounded, BoundedTensor, Element, Precision};

/// Rows per tile: enough for the matrix products, few enough that `tile × N` stays small.
const TILE: usize = 64;

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

/// The tiles of so many rows.
fn tiles(rows: usize) -> Vec<Range<usize>> {
    let starts = (0..rows).step_by(TILE);
    starts.map(|start| start..rows.min(start + TILE)).collect()
}

/// Results of a tile of some head, to be put where its rows belong.
struct Part<T> {
    head: usize,
    rows: Range<usize>,
    result: T,
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

    let results: Vec<Vec<Part<Rows>>> = (0..gathered.k.len())
        .into_par_iter()
        .map(|of_kv| {
            let (sequence, kv_head) = (of_kv / gathered.kv_heads, of_kv % gathered.kv_heads);
            let (k, v, center) = (&gathered.k[of_kv], &gathered.v[of_kv], &centers[of_kv]);
            let finite = method == Method::Tiled && k_finite[of_kv] && v_finite[of_kv];
            let packed = finite.then(|| Packed::new(k, v, center, precision));
            let tiles = tiles(queries.length(sequence));
            let work = |head: usize, rows: &Range<usize>| {
                let of_q = sequence * queries.heads() + head;
                let this = Head {
                    q: &gathered.q[of_q],
                    k,
                    v,
                    center,
                    mask: masks[sequence].as_ref(),
                    sink: sinks.map(|sinks| f64::from(sinks[head])),
                    options,
                    precision,
                };
                let result = match &packed {
                    Some(packed) if q_finite[of_q] => this.tiled(packed, rows.clone()),
                    _ => this.plainly(rows.clone()),
                };
                Part {
                    head,
                    rows: rows.clone(),
                    result,
                }
            };
            (kv_head * group..(kv_head + 1) * group)
                .into_par_iter()
                .flat_map(|head| tiles.par_iter().map(move |rows| (head, rows)))
                .map(|(head, rows)| work(head, rows))
                .collect()
        })
        .collect();
    let mut o = vec![Bounded::exact(0.0); queries.rows() * d];
    let mut lse = vec![Bounded::exact(0.0); queries.rows()];
    for (of_kv, parts) in results.into_iter().enumerate() {
        let sequence = of_kv / gathered.kv_heads;
        for part in parts {
            put(queries, sequence, &part, d, &part.result.o, &mut o);
            put(queries, sequence, &part, 1, &part.result.lse, &mut lse);
        }
    }
    Ok(Forward {
        o: BoundedTensor::new("o", &queries.shape(d), o)?,
        lse: BoundedTensor::new("lse", queries.row_shape(), lse)?,
    })
}

/// Copies the rows of a part, `d` numbers each, to where they belong in the whole.
fn put<T>(
    layout: &Layout,
    sequence: usize,
    part: &Part<T>,
    d: usize,
    from: &[Bounded],
    whole: &mut [Bounded],
) {
    for (at, i) in part.rows.clone().enumerate() {
        let row = layout.row(sequence, part.head, i);
        whole[row * d..(row + 1) * d].copy_from_slice(&from[at * d..(at + 1) * d]);
    }
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
    let d = batch.head_size;
    let gathered = Gathered {
        q: batch.queries.gather(batch.q, d),
        k: batch.keys.gather(batch.k, d),
        v: batch.keys.gather(batch.v, d),
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
pub fn backward<T: Element, S: Copy + Into<f64> + Sync>(
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
pub(crate) fn backward_under<T: Element, S: Copy + Into<f64> + Sync>(
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

    let (q, d_o_all) = (queries.gather(batch.q, d), queries.gather(d_o, d));
    let (k, v) = (keys.gather(batch.k, d), keys.gather(batch.v, d));
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
    let group_of = |at: usize| {
        let (sequence, kv_head) = (at / keys.heads(), at % keys.heads());
        let heads = kv_head * batch.group()..(kv_head + 1) * batch.group();
        let head = |head: usize| {
            let delta = delta_of(sequence, head);
            QueryHead {
                q: &q[sequence * queries.heads() + head],
                d_o: &d_o_all[sequence * queries.heads() + head],
                lse: queries.gather_rows(saved.lse, sequence, head),
                delta: delta.iter().map(|delta| delta.value).collect(),
                delta_error: delta.iter().map(|delta| above(delta.bound)).collect(),
            }
        };
        Group {
            heads: heads.map(head).collect(),
            k: &k[at],
            v: &v[at],
            mask: masks[sequence].as_ref(),
            queries: queries.length(sequence),
            options,
            precision,
        }
    };
    type Parts = (Vec<Part<Vec<Bounded>>>, Vec<Part<[Vec<Bounded>; 2]>>);
    let results: Vec<Parts> = (0..keys.sequences() * keys.heads())
        .into_par_iter()
        .map(|at| {
            let (sequence, kv_head) = (at / keys.heads(), at % keys.heads());
            let group = group_of(at);
            let finite = method == Method::Tiled && group.all_finite();
            let packed = finite.then(|| group.pack());
            let of_queries = tiles(queries.length(sequence));
            let dq = (0..batch.group())
                .into_par_iter()
                .flat_map(|head| of_queries.par_iter().map(move |rows| (head, rows)))
                .map(|(head, rows)| Part {
                    head: kv_head * batch.group() + head,
                    rows: rows.clone(),
                    result: match &packed {
                        Some(packed) => group.dq_tiled(packed, head, rows.clone()),
                        None => group.dq_plainly(head, rows.clone()),
                    },
                });
            let dkv = tiles(keys.length(sequence))
                .into_par_iter()
                .map(|rows| Part {
                    head: kv_head,
                    rows: rows.clone(),
                    result: match &packed {
                        Some(packed) => group.dkv_tiled(packed, rows),
                        None => group.dkv_plainly(rows),
                    },
                });
            (dq.collect(), dkv.collect())
        })
        .collect();
    let zeros = |layout: &Layout| vec![Bounded::exact(0.0); layout.rows() * d];
    let (mut dq, mut dk, mut dv) = (zeros(queries), zeros(keys), zeros(keys));
    for (at, (of_queries, of_keys)) in results.into_iter().enumerate() {
        let sequence = at / keys.heads();
        for part in of_queries {
            put(queries, sequence, &part, d, &part.result, &mut dq);
        }
        for part in of_keys {
            put(keys, sequence, &part, d, &part.result[0], &mut dk);
            put(keys, sequence, &part, d, &part.result[1], &mut dv);
        }
    }
    Ok(Gradients {
        dq: BoundedTensor::new("dq", &queries.shape(d), dq)?,
        dk: BoundedTensor::new("dk", &keys.shape(d), dk)?,
        dv: BoundedTensor::new("dv", &keys.shape(d), dv)?,
    })
}
