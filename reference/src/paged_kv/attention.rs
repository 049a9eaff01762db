//! Attention over pages: decode and chunked prefill.
//!
//! Sequence b has the tokens `0..seq_len[b]`; token t lies in page `block_table[b][t / page]` at
//! offset `t % page`. Its queries stand at the end of it (aligned bottom-right) and are causal: one
//! decode query sees every token. Everything else is [`crate::attention`], on the exact values that
//! the stored bits stand for. Entries of the block table, slots and pages that hold no token of the
//! sequence are never read.

use ndarray::Array2;

use super::store::{PageShape, Pages};
use crate::attention::{
    Band, Forward, Gathered, Layout, Mask, Method, Options, Vectors, attend, boundaries,
    check_groups,
};
use crate::error::{Error, Result};
use crate::numbers::{Element, Precision};
use crate::tensor::{View, nonzero};

/// K and V of many sequences, in pages.
#[derive(Clone, Copy, Debug)]
pub struct PagedKeys<'a> {
    /// Key pages.
    pub k: Pages<'a>,
    /// Value pages, in the format of the keys.
    pub v: Pages<'a>,
    /// Sizes of both.
    pub shape: PageShape,
    /// `[B, maxp]`; entries behind a sequence's last page are padding.
    pub block_table: View<'a, i32, 2>,
    /// Tokens of each sequence.
    pub seq_len: &'a [i32],
}

impl PagedKeys<'_> {
    /// Errors when shapes do not fit, a length is negative or beyond the table, or a page that is
    /// needed lies outside. Returns the lengths.
    pub(crate) fn check(&self) -> Result<Vec<usize>> {
        self.k.check("k pages", &self.shape)?;
        self.v.check("v pages", &self.shape)?;
        if self.k.format() != self.v.format() {
            return Err(Error::argument(
                "v pages",
                format!("{:?}", self.v.format()),
                format!("{:?}, as the k pages", self.k.format()),
            ));
        }
        let [batch, width] = self.block_table.shape();
        if self.seq_len.len() != batch {
            return Err(Error::Shape {
                argument: "seq_len",
                expected: vec![batch],
                got: vec![self.seq_len.len()],
                because: "B as `block_table`",
            });
        }
        nonzero("seq_len", batch)?;
        let longest = width * self.shape.page;
        let mut lengths = Vec::with_capacity(batch);
        for (b, &tokens) in self.seq_len.iter().enumerate() {
            let length = usize::try_from(tokens)
                .ok()
                .filter(|&t| t <= longest)
                .ok_or_else(|| {
                    let allowed = format!("0 to {longest} ({width} pages of {})", self.shape.page);
                    Error::entry("seq_len", b, tokens, allowed)
                })?;
            for column in 0..length.div_ceil(self.shape.page) {
                let page = self.block_table.at([b, column]);
                if !usize::try_from(page).is_ok_and(|page| page < self.shape.pages) {
                    let allowed = format!("0 to {} (a page)", self.shape.pages.saturating_sub(1));
                    let index = b * width + column;
                    return Err(Error::entry(self.block_table.name(), index, page, allowed));
                }
            }
            lengths.push(length);
        }
        Ok(lengths)
    }

    /// Slot of token `token` of sequence `b`. The table was checked.
    fn slot(&self, b: usize, token: usize) -> usize {
        let page = self.block_table.at([b, token / self.shape.page]) as usize;
        page * self.shape.page + token % self.shape.page
    }

    /// The first `tokens` vectors of one head, then those of `more`.
    pub(crate) fn gather(
        &self,
        pages: &Pages<'_>,
        (b, head): (usize, usize),
        tokens: usize,
        more: &[f64],
    ) -> Vectors {
        let d = self.shape.head_size;
        let rows = tokens + more.len() / d;
        let (mut value, mut size) = (Array2::zeros((rows, d)), Array2::zeros((rows, d)));
        for token in 0..tokens {
            let vector = self.slot(b, token) * self.shape.heads + head;
            for c in 0..d {
                let component = pages.read(vector, c, d);
                value[[token, c]] = component.value;
                size[[token, c]] = component.size;
            }
        }
        for (at, &x) in more.iter().enumerate() {
            value[[tokens + at / d, at % d]] = x;
            size[[tokens + at / d, at % d]] = x.abs();
        }
        Vectors::new(value, Some(size))
    }
}

/// Queries over paged keys.
#[derive(Clone, Copy, Debug)]
pub struct PagedQueries<'a, T> {
    /// `[B, Hq, D]` for decode, `[T, Hq, D]` for chunked prefill.
    pub q: View<'a, T, 3>,
    /// Where the queries of each sequence start, and the end of the last; `None` for decode, one
    /// query per sequence.
    pub starts: Option<&'a [i32]>,
    /// A learned logit per query head that joins the softmax and carries no value (and is part of
    /// lse).
    pub sink_logits: Option<&'a [f32]>,
}

impl<T: Element> PagedQueries<'_, T> {
    pub(crate) fn layout(&self, keys: &PagedKeys<'_>) -> Result<Layout> {
        let [rows, heads, d] = self.q.shape();
        nonzero(self.q.name(), heads)?;
        if d != keys.shape.head_size {
            self.q
                .expect_shape([rows, heads, keys.shape.head_size], "D as the pages")?;
        }
        check_groups("k pages", heads, keys.shape.heads)?;
        if let Some(sinks) = self.sink_logits.filter(|sinks| sinks.len() != heads) {
            return Err(Error::Shape {
                argument: "sink_logits",
                expected: vec![heads],
                got: vec![sinks.len()],
                because: "query heads of `q`",
            });
        }
        let sequences = keys.seq_len.len();
        let bounds: Vec<usize> = match self.starts {
            Some(starts) => boundaries("query starts", starts, rows)?,
            None => (0..=rows).collect(),
        };
        if bounds.len() != sequences + 1 {
            return Err(match self.starts {
                Some(starts) => Error::Shape {
                    argument: "query starts",
                    expected: vec![sequences + 1],
                    got: vec![starts.len()],
                    because: "B as `seq_len`",
                },
                None => Error::Shape {
                    argument: self.q.name(),
                    expected: vec![sequences, heads, d],
                    got: vec![rows, heads, d],
                    because: "one query per sequence",
                },
            });
        }
        Ok(Layout::packed(&bounds, heads))
    }
}

/// Decode or chunked prefill over pages. `options.causal` is taken as set.
pub fn paged_attention<T: Element>(
    queries: &PagedQueries<'_, T>,
    keys: &PagedKeys<'_>,
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Forward> {
    paged_attention_under(queries, keys, options, precision, method, |mask| mask)
}

/// The same under changed masks, for answers that are wrong on purpose.
pub(crate) fn paged_attention_under<T: Element>(
    queries: &PagedQueries<'_, T>,
    keys: &PagedKeys<'_>,
    options: &Options,
    precision: Precision,
    method: Method,
    change: impl Fn(Box<dyn Mask>) -> Box<dyn Mask>,
) -> Result<Forward> {
    options.check()?;
    let lengths = keys.check()?;
    let layout = queries.layout(keys)?;
    let options = options.causal();
    let (mut k, mut v) = (Vec::new(), Vec::new());
    let mut masks: Vec<Box<dyn Mask>> = Vec::new();
    for (b, &length) in lengths.iter().enumerate() {
        for head in 0..keys.shape.heads {
            k.push(keys.gather(&keys.k, (b, head), length, &[]));
            v.push(keys.gather(&keys.v, (b, head), length, &[]));
        }
        let band = Band::new(layout.length(b), length, &options);
        masks.push(change(Box::new(band)));
    }
    let gathered = Gathered {
        q: layout.gather(queries.q.data(), keys.shape.head_size),
        k,
        v,
        kv_heads: keys.shape.heads,
    };
    let sinks = queries.sink_logits;
    attend(
        &gathered, &layout, &masks, sinks, &options, precision, method,
    )
}
