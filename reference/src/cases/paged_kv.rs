//! Cases of attention over pages: decode and chunked prefill.

use half::f16;

use super::{
    Case, NoMargin, Rng, WrongAnswer, mixed_up_to, normal, null_margin, usual_wrong_answers,
};
use crate::attention::{Forward, Mask, Method, Options, Window, WithoutLastTile};
use crate::error::Result;
use crate::numbers::{BoundedTensor, DType, Element, Precision};
use crate::paged_kv::{
    Format, PageShape, PageStore, PagedKeys, PagedQueries, paged_attention, paged_attention_under,
};
use crate::tensor::View;

/// Sizes of a paged problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of each sequence; may be 0.
    pub seq_len: Vec<usize>,
    /// Queries of each sequence for chunked prefill; `None` for decode, one each.
    pub chunks: Option<Vec<usize>>,
    /// Tokens per page.
    pub page: usize,
    /// Hq, a multiple of Hkv.
    pub query_heads: usize,
    /// Hkv.
    pub kv_heads: usize,
    /// D.
    pub head_size: usize,
    /// How K and V are stored.
    pub format: Format,
}

impl Shape {
    /// Small sizes: pages of 1 to 256, sequences without tokens, last pages full or holding one.
    pub fn draw<T: Element>(rng: &mut Rng) -> Self {
        let page = rng.choose(&[1, 2, 7, 16, 16, 32, 64, 128, 256]);
        let mut seq_len: Vec<usize> = (0..rng.between(1, 4))
            .map(|_| match rng.below(6) {
                0 => 0,
                1 => page.min(256) * rng.between(1, 2),
                2 => page + 1,
                _ => rng.between(1, 140),
            })
            .collect();
        if seq_len.iter().all(|&tokens| tokens == 0) {
            // At least one sequence that can be got wrong.
            seq_len[0] = 2 * page + 1;
        }
        let chunk = |&tokens: &usize| match tokens {
            0 => 0,
            _ => rng.between(1, tokens.min(40)),
        };
        let chunks: Vec<usize> = seq_len.iter().map(chunk).collect();
        let kv_heads = rng.between(1, 2);
        Self {
            chunks: rng.chance(0.4).then_some(chunks),
            seq_len,
            page,
            query_heads: kv_heads * rng.choose(&[1, 1, 2, 4, 8]),
            kv_heads,
            head_size: rng.choose(&[64, 64, 128, 256]),
            format: rng.choose(&[Format::Float(T::DTYPE), Format::Int8, Format::Int4]),
        }
    }
}

/// Inputs of paged attention. Slots and pages that hold no token are poisoned with NaN, entries of the
/// block table behind a sequence's last page with numbers that are no pages.
#[derive(Clone, Debug)]
pub struct PagedKv<T> {
    /// Scale, window, softcap; causal is meant, set or not.
    pub options: Options,
    /// Hq.
    pub query_heads: usize,
    /// `[B, Hq, D]`, or `[T, Hq, D]` for chunked prefill.
    pub q: Vec<T>,
    /// Where the queries of each sequence start, and the end of the last; `None` for decode.
    pub starts: Option<Vec<i32>>,
    /// K pages, `[P, page, Hkv, D]`.
    pub k: PageStore,
    /// V pages, likewise.
    pub v: PageStore,
    /// `[B, width]`.
    pub block_table: Vec<i32>,
    /// Most pages of a sequence that the table has room for.
    pub width: usize,
    /// `[B]`.
    pub seq_len: Vec<i32>,
    /// A learned logit per query head.
    pub sink_logits: Option<Vec<f32>>,
}

impl<T: Element> PagedKv<T> {
    /// A case of this shape and these options. Pages lie in random order, some belong to nobody, and
    /// sequences may share the whole pages of a common prefix.
    pub fn with_shape(rng: &mut Rng, shape: &Shape, options: Options) -> Result<Self> {
        let cache = Cache::new(rng, shape, T::DTYPE)?;
        let queries = match &shape.chunks {
            Some(chunks) => chunks.iter().sum(),
            None => shape.seq_len.len(),
        };
        let starts = shape.chunks.as_ref().map(|chunks| {
            let ends = chunks.iter().scan(0, |end, &chunk| {
                *end += chunk as i32;
                Some(*end)
            });
            std::iter::once(0).chain(ends).collect()
        });
        Ok(Self {
            options,
            query_heads: shape.query_heads,
            q: mixed_up_to(rng, queries * shape.query_heads, shape.head_size, 1.0),
            starts,
            k: cache.k,
            v: cache.v,
            block_table: cache.block_table,
            width: cache.width,
            seq_len: shape.seq_len.iter().map(|&tokens| tokens as i32).collect(),
            sink_logits: rng
                .chance(0.25)
                .then(|| normal(rng, shape.query_heads, 1.0)),
        })
    }

    /// The oracle's queries.
    pub fn queries(&self) -> Result<PagedQueries<'_, T>> {
        let d = self.k.shape().head_size;
        let rows = self.q.len() / (self.query_heads * d).max(1);
        Ok(PagedQueries {
            q: View::new("q", &self.q, [rows, self.query_heads, d])?,
            starts: self.starts.as_deref(),
            sink_logits: self.sink_logits.as_deref(),
        })
    }

    /// The oracle's keys and values.
    pub fn keys(&self) -> Result<PagedKeys<'_>> {
        Ok(PagedKeys {
            k: self.k.pages(),
            v: self.v.pages(),
            shape: self.k.shape(),
            block_table: View::new(
                "block_table",
                &self.block_table,
                [self.seq_len.len(), self.width],
            )?,
            seq_len: &self.seq_len,
        })
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Forward> {
        let precision = Precision::of(T::DTYPE);
        let (queries, keys) = (self.queries()?, self.keys()?);
        paged_attention(&queries, &keys, &self.options, precision, Method::Tiled)
    }

    fn paged_margin(&self) -> Result<std::result::Result<(), NoMargin>> {
        let right = self.oracle()?;
        let short = paged_attention_under(
            &self.queries()?,
            &self.keys()?,
            &self.options,
            Precision::of(T::DTYPE),
            Method::Tiled,
            |mask| Box::new(WithoutLastTile(mask)) as Box<dyn Mask>,
        )?;
        let short = ("the last tile of keys missing", &short);
        Ok(forward_margin(&self.q, &right, Some(short)))
    }
}

/// The margin of o and lse against the usual answers and one more.
pub(crate) fn forward_margin<T: Element>(
    q: &[T],
    right: &Forward,
    more: Option<(&'static str, &Forward)>,
) -> std::result::Result<(), NoMargin> {
    type Of = fn(&Forward) -> &BoundedTensor;
    let outputs: [(&'static str, DType, Of); 2] = [
        ("o", T::DTYPE, |answer| &answer.o),
        ("lse", DType::F32, |answer| &answer.lse),
    ];
    outputs.into_iter().try_for_each(|(output, dtype, of)| {
        let mut wrong = usual_wrong_answers(of(right), dtype, q.iter().map(|x| x.to_f64()));
        wrong.extend(more.map(|(name, answer)| WrongAnswer {
            name,
            values: of(answer).values().collect(),
        }));
        null_margin(output, of(right), &wrong)
    })
}

/// Pages filled with sequences.
pub(crate) struct Cache {
    pub(crate) k: PageStore,
    pub(crate) v: PageStore,
    pub(crate) block_table: Vec<i32>,
    pub(crate) width: usize,
}

impl Cache {
    /// Tokens of mixed scale and pattern in pages of random order, for an output of this type.
    pub(crate) fn new(rng: &mut Rng, shape: &Shape, output: DType) -> Result<Self> {
        let pages_of = |tokens: usize| tokens.div_ceil(shape.page);
        let needed: usize = shape.seq_len.iter().map(|&tokens| pages_of(tokens)).sum();
        let sizes = PageShape {
            pages: needed + rng.between(1, 3),
            page: shape.page,
            heads: shape.kv_heads,
            head_size: shape.head_size,
        };
        let mut order: Vec<usize> = (0..sizes.pages).collect();
        rng.shuffle(&mut order);
        let (mut k, mut v) = (
            PageStore::new(sizes, shape.format)?,
            PageStore::new(sizes, shape.format)?,
        );
        (0..sizes.slots()).try_for_each(|slot| k.poison(slot).and(v.poison(slot)))?;

        let width = shape.seq_len.iter().map(|&tokens| pages_of(tokens)).max();
        let width = width.unwrap_or(0) + rng.below(3);
        let mut block_table = Vec::with_capacity(width * shape.seq_len.len());
        for (b, &tokens) in shape.seq_len.iter().enumerate() {
            // Whole pages of the first sequence, as a common prompt leaves them.
            let common = tokens.min(shape.seq_len[0]) / shape.page;
            let shared = match b > 0 && rng.chance(0.3) {
                true => rng.between(0, common),
                false => 0,
            };
            let mut pages: Vec<usize> = (0..shared).map(|at| block_table[at] as usize).collect();
            while pages.len() < pages_of(tokens) {
                pages.extend(order.pop());
            }
            for token in shared * shape.page..tokens {
                let slot = pages[token / shape.page] * shape.page + token % shape.page;
                let (k_token, v_token) = token_of(rng, shape, output);
                k.write("k", slot, &k_token)?;
                v.write("v", slot, &v_token)?;
            }
            block_table.extend(pages.iter().map(|&page| page as i32));
            while block_table.len() < (b + 1) * width {
                block_table.push(rng.choose(&[-1, i32::MIN, i32::MAX, sizes.pages as i32]));
            }
        }
        Ok(Self {
            k,
            v,
            block_table,
            width,
        })
    }
}

/// K and V of one token, rows of mixed patterns: an outlier among a vector's components costs a
/// quantised one its other components.
fn token_of(rng: &mut Rng, shape: &Shape, output: DType) -> (Vec<f32>, Vec<f32>) {
    let (heads, d) = (shape.kv_heads, shape.head_size);
    // The zero point of a constant int4 vector is that constant, in f16.
    let stored = matches!(shape.format, Format::Float(DType::F16) | Format::Int4);
    let mut rows = |narrow: bool| -> Vec<f32> {
        match narrow {
            // Within half of f16's range, which what is stored or comes out as f16 must not leave.
            true => mixed_up_to::<f16>(rng, heads, d, 1.0)
                .into_iter()
                .map(f32::from)
                .collect(),
            false => mixed_up_to(rng, heads, d, 1e3),
        }
    };
    (rows(stored), rows(stored || output == DType::F16))
}

/// Options of paged attention: scale, window with or without sinks, softcap.
pub(crate) fn draw_options(rng: &mut Rng, head_size: usize) -> Options {
    let mut options = Options::new(1.0 / (head_size as f32).sqrt()).causal();
    if rng.chance(0.3) {
        let sinks = rng.choose(&[0, 0, 1, 4]);
        options = options.window(Window::last(rng.between(1, 60)).with_sinks(sinks));
    }
    if rng.chance(0.25) {
        options = options.softcap(rng.choose(&[5.0, 15.0, 50.0]));
    }
    options
}

impl<T: Element> Case for PagedKv<T> {
    fn draw(rng: &mut Rng) -> Self {
        let shape = Shape::draw::<T>(rng);
        let options = draw_options(rng, shape.head_size);
        match Self::with_shape(rng, &shape, options) {
            Ok(case) => case,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        match self.paged_margin() {
            Ok(margin) => margin,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }
}
