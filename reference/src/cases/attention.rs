//! Cases of attention, forward and backward.

pub use super::attention_shape::{Lengths, Shape};
use super::attention_shape::{draw_options, queries_and_keys};
use super::paged_kv::forward_margin;
use super::{Case, NoMargin, Rng, WrongAnswer, mixed_up_to, null_margin, usual_wrong_answers};
use crate::attention::{
    Batch, Delta, Forward, Gradients, Mask, Method, Options, Saved, WithoutLastTile, backward,
    backward_under, bands, forward, forward_under,
};
use crate::error::Result;
use crate::numbers::{BoundedTensor, DType, Element, Precision};
use crate::tensor::View;

/// Inputs of a forward pass.
#[derive(Clone, Debug)]
pub struct Attention<T> {
    /// Sizes and layout of the tensors.
    pub shape: Shape,
    /// Scale, masks, softcap.
    pub options: Options,
    /// `[B, Hq, Nq, D]` or `[Tq, Hq, D]`.
    pub q: Vec<T>,
    /// `[B, Hkv, Nk, D]` or `[Tk, Hkv, D]`.
    pub k: Vec<T>,
    /// As k.
    pub v: Vec<T>,
}

impl<T: Element> Attention<T> {
    /// A case of this shape and these options. Heads differ in what their scores are like, rows of v
    /// in scale and pattern.
    pub fn with_shape(rng: &mut Rng, shape: Shape, options: Options) -> Self {
        let (queries, keys) = (shape.queries(), shape.keys());
        let (q, k) = queries_and_keys(rng, &queries, &keys, shape.head_size, options.scale);
        let v = mixed_up_to(rng, keys.rows(), shape.head_size, largest_value(T::DTYPE));
        Self {
            shape,
            options,
            q,
            k,
            v,
        }
    }

    /// The oracle's input.
    pub fn batch(&self) -> Result<Batch<'_, T>> {
        let Shape {
            ref lengths,
            query_heads,
            kv_heads,
            head_size,
        } = self.shape;
        match lengths {
            &Lengths::Dense {
                batch,
                queries,
                keys,
            } => {
                let of_keys = [batch, kv_heads, keys, head_size];
                Batch::dense(
                    View::new("q", &self.q, [batch, query_heads, queries, head_size])?,
                    View::new("k", &self.k, of_keys)?,
                    View::new("v", &self.v, of_keys)?,
                )
            }
            Lengths::Packed { cu_q, cu_k } => {
                let rows = |heads: usize, len: usize| len / (heads * head_size).max(1);
                let of_keys = [rows(kv_heads, self.k.len()), kv_heads, head_size];
                let of_queries = [rows(query_heads, self.q.len()), query_heads, head_size];
                Batch::packed(
                    View::new("q", &self.q, of_queries)?,
                    View::new("k", &self.k, of_keys)?,
                    View::new("v", &self.v, of_keys)?,
                    cu_q,
                    cu_k,
                )
            }
        }
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Forward> {
        let precision = Precision::of(T::DTYPE);
        forward(&self.batch()?, &self.options, precision, Method::Tiled)
    }

    /// Masks that never come to the last tile of a row's keys.
    fn short_masks(&self, batch: &Batch<'_, T>) -> Vec<Box<dyn Mask>> {
        bands(batch, &self.options)
            .into_iter()
            .map(|mask| Box::new(WithoutLastTile(mask)) as Box<dyn Mask>)
            .collect()
    }

    fn forward_margin(&self) -> Result<std::result::Result<(), NoMargin>> {
        let right = self.oracle()?;
        let batch = self.batch()?;
        let masks = self.short_masks(&batch);
        let precision = Precision::of(T::DTYPE);
        let short = forward_under(&batch, &masks, &self.options, precision, Method::Tiled)?;
        let short = ("the last tile of keys missing", &short);
        Ok(forward_margin(&self.q, &right, Some(short)))
    }
}

/// The usual wrong answers, and the one with a tile missing.
fn wrong<T: Element>(
    right: &BoundedTensor,
    dtype: DType,
    input: &[T],
    short: &BoundedTensor,
) -> Vec<WrongAnswer> {
    let mut wrong = usual_wrong_answers(right, dtype, input.iter().map(|x| x.to_f64()));
    wrong.push(WrongAnswer {
        name: "the last tile of keys missing",
        values: short.values().collect(),
    });
    wrong
}

/// Largest scale of v and do: the products of two rows may be rounded to f16.
fn largest_value(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 1.0,
        DType::F32 | DType::Bf16 => 1e3,
    }
}

impl<T: Element> Case for Attention<T> {
    fn draw(rng: &mut Rng) -> Self {
        let shape = Shape::draw(rng);
        let options = draw_options(rng, shape.head_size);
        Self::with_shape(rng, shape, options)
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        match self.forward_margin() {
            Ok(margin) => margin,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }
}

/// Inputs of a backward pass: those of a forward pass, what it saved, and the gradient of o.
#[derive(Clone, Debug)]
pub struct AttentionBackward<T> {
    /// q, k, v, shape and options.
    pub forward: Attention<T>,
    /// The shape of q.
    pub d_o: Vec<T>,
    /// o as the forward pass stored it: the right one, rounded. The shape of q.
    pub o: Vec<T>,
    /// lse likewise; the shape of q without D.
    pub lse: Vec<f32>,
}

impl<T: Element> AttentionBackward<T> {
    /// The backward pass of `forward`, with a gradient whose rows mix scales and patterns.
    pub fn of(rng: &mut Rng, forward: Attention<T>) -> Result<Self> {
        let saved = forward.oracle()?;
        let d = forward.shape.head_size;
        let rows = forward.shape.queries().rows();
        Ok(Self {
            d_o: mixed_up_to(rng, rows, d, largest_value(T::DTYPE)),
            o: saved.o.values().map(T::from_f64).collect(),
            lse: saved.lse.values().map(|x| x as f32).collect(),
            forward,
        })
    }

    /// What the oracle is given of the forward pass.
    pub fn saved(&self) -> Saved<'_, T> {
        Saved {
            lse: &self.lse,
            delta: Delta::From(&self.o),
        }
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Gradients> {
        self.under(None, self.saved())
    }

    fn under(&self, masks: Option<Vec<Box<dyn Mask>>>, saved: Saved<'_, T>) -> Result<Gradients> {
        let batch = self.forward.batch()?;
        let (options, precision) = (&self.forward.options, Precision::of(T::DTYPE));
        let method = Method::Tiled;
        match masks {
            None => backward(&batch, saved, &self.d_o, options, precision, method),
            Some(masks) => {
                backward_under(&batch, &masks, saved, &self.d_o, options, precision, method)
            }
        }
    }

    fn backward_margin(&self) -> Result<std::result::Result<(), NoMargin>> {
        let right = self.oracle()?;
        let masks = self.forward.short_masks(&self.forward.batch()?);
        let short = self.under(Some(masks), self.saved())?;
        let zeros = vec![0.0; self.lse.len()];
        let saved = Saved {
            lse: &self.lse,
            delta: Delta::Given(&zeros),
        };
        let without_delta = self.under(None, saved)?;
        let Attention { q, k, v, .. } = &self.forward;
        let outputs = [
            ("dq", &right.dq, q, &short.dq, Some(&without_delta.dq)),
            ("dk", &right.dk, k, &short.dk, Some(&without_delta.dk)),
            ("dv", &right.dv, v, &short.dv, None),
        ];
        for (name, right, input, short, without_delta) in outputs {
            let mut wrong = wrong(right, T::DTYPE, input, short);
            wrong.extend(without_delta.map(|dq| WrongAnswer {
                name: "rowsum(do∘o) left out",
                values: dq.values().collect(),
            }));
            if let Err(error) = null_margin(name, right, &wrong) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

impl<T: Element> Case for AttentionBackward<T> {
    fn draw(rng: &mut Rng) -> Self {
        let forward = Attention::draw(rng);
        match Self::of(rng, forward) {
            Ok(case) => case,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        match self.backward_margin() {
            Ok(margin) => margin,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }
}
