//! Cases of attention of a token tree over a paged prefix.

use super::paged_kv::{Cache, Shape as PagedShape, draw_options, forward_margin};
use super::{Case, NoMargin, Rng, mixed_up_to};
use crate::attention::{Forward, Mask, Method, Options};
use crate::error::Result;
use crate::numbers::{DType, Element, Precision};
use crate::paged_kv::{Format, PageStore, PagedKeys, PagedQueries};
use crate::tensor::View;
use crate::tree_attention::{TreeKeys, tree_attention, tree_attention_under};

/// Sizes of a tree attention problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Prefix tokens of each item; may be 0.
    pub prefix: Vec<usize>,
    /// Nodes of each item's tree; may be 0.
    pub nodes: Vec<usize>,
    /// Whether the nodes' K and V are in the cache behind the prefix, not in tensors of their own.
    pub in_cache: bool,
    /// Tokens per page.
    pub page: usize,
    /// Hq, a multiple of Hkv.
    pub query_heads: usize,
    /// Hkv.
    pub kv_heads: usize,
    /// D.
    pub head_size: usize,
    /// How the cache stores K and V.
    pub format: Format,
}

impl Shape {
    /// Small sizes: ragged, with empty prefixes and trees among them.
    pub fn draw<T: Element>(rng: &mut Rng) -> Self {
        let items = rng.between(1, 3);
        let mut nodes: Vec<usize> = (0..items)
            .map(|_| match rng.chance(0.15) {
                true => 0,
                false => rng.between(1, 40),
            })
            .collect();
        // At least one tree that can be got wrong.
        nodes[0] = nodes[0].max(3);
        let kv_heads = rng.between(1, 2);
        Self {
            prefix: (0..items)
                .map(|_| rng.choose(&[0, 1, 16, 33, 100]))
                .collect(),
            nodes,
            in_cache: rng.chance(0.5),
            page: rng.choose(&[1, 4, 16, 64]),
            query_heads: kv_heads * rng.choose(&[1, 2, 4]),
            kv_heads,
            head_size: rng.choose(&[64, 128]),
            format: rng.choose(&[Format::Float(T::DTYPE), Format::Int8, Format::Int4]),
        }
    }

    fn paged(&self) -> PagedShape {
        let behind =
            |(prefix, nodes): (&usize, &usize)| prefix + if self.in_cache { *nodes } else { 0 };
        PagedShape {
            seq_len: self.prefix.iter().zip(&self.nodes).map(behind).collect(),
            chunks: Some(self.nodes.clone()),
            page: self.page,
            query_heads: self.query_heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            format: self.format,
        }
    }
}

/// Inputs of tree attention, poisoned as [`super::paged_kv::PagedKv`] is.
#[derive(Clone, Debug)]
pub struct TreeAttention<T> {
    /// Scale, window, softcap; a window is measured in positions, by depth.
    pub options: Options,
    /// Hq.
    pub query_heads: usize,
    /// `[T, Hq, D]`, one query per node.
    pub q: Vec<T>,
    /// Where the nodes of each item start, and the end of the last.
    pub starts: Vec<i32>,
    /// `[T]`, numbered within each item; −1 for a child of the last prompt token.
    pub parent: Vec<i32>,
    /// K pages.
    pub k: PageStore,
    /// V pages.
    pub v: PageStore,
    /// K and V of the nodes, `[T, Hkv, D]` each; `None` where they are in the cache.
    pub nodes: Option<(Vec<T>, Vec<T>)>,
    /// `[B, width]`.
    pub block_table: Vec<i32>,
    /// Most pages of a sequence that the table has room for.
    pub width: usize,
    /// `[B]`: tokens of the prefix, and of the tree where it is in the cache.
    pub seq_len: Vec<i32>,
}

impl<T: Element> TreeAttention<T> {
    /// A case of this shape and these options.
    pub fn with_shape(rng: &mut Rng, shape: &Shape, options: Options) -> Result<Self> {
        let paged = shape.paged();
        let cache = Cache::new(rng, &paged, T::DTYPE)?;
        let total: usize = shape.nodes.iter().sum();
        let (mut starts, mut parent) = (vec![0], Vec::with_capacity(total));
        for &nodes in &shape.nodes {
            parent.extend(random_parents(rng, nodes));
            starts.push(parent.len() as i32);
        }
        let top_v = if T::DTYPE == DType::F16 { 1.0 } else { 1e3 };
        let mut rows =
            |heads: usize, top: f64| mixed_up_to::<T>(rng, total * heads, shape.head_size, top);
        let q = rows(shape.query_heads, 1.0);
        let nodes =
            (!shape.in_cache).then(|| (rows(shape.kv_heads, 1e3), rows(shape.kv_heads, top_v)));
        Ok(Self {
            options,
            query_heads: shape.query_heads,
            q,
            starts,
            parent,
            k: cache.k,
            v: cache.v,
            nodes,
            block_table: cache.block_table,
            width: cache.width,
            seq_len: paged.seq_len.iter().map(|&tokens| tokens as i32).collect(),
        })
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Forward> {
        self.with(|queries, nodes, keys| {
            let precision = Precision::of(T::DTYPE);
            let (options, method) = (&self.options, Method::Tiled);
            tree_attention(
                queries,
                &self.parent,
                nodes,
                keys,
                options,
                precision,
                method,
            )
        })
    }

    /// The oracle's inputs: queries, the nodes' K and V, the cache.
    fn with<R>(
        &self,
        run: impl FnOnce(&PagedQueries<'_, T>, TreeKeys<'_, T>, &PagedKeys<'_>) -> Result<R>,
    ) -> Result<R> {
        let shape = self.k.shape();
        let (total, d) = (self.parent.len(), shape.head_size);
        let queries = PagedQueries {
            q: View::new("q", &self.q, [total, self.query_heads, d])?,
            starts: Some(&self.starts),
            sink_logits: None,
        };
        let keys = PagedKeys {
            k: self.k.pages(),
            v: self.v.pages(),
            shape,
            block_table: View::new(
                "block_table",
                &self.block_table,
                [self.seq_len.len(), self.width],
            )?,
            seq_len: &self.seq_len,
        };
        let of_nodes = [total, shape.heads, d];
        let nodes = match &self.nodes {
            None => TreeKeys::InCache,
            Some((k, v)) => TreeKeys::Tensors {
                k: View::new("k", k, of_nodes)?,
                v: View::new("v", v, of_nodes)?,
            },
        };
        run(&queries, nodes, &keys)
    }

    /// Whether every tree is one chain.
    fn is_chain(&self) -> bool {
        self.starts.windows(2).all(|ends| {
            let parents = &self.parent[ends[0] as usize..ends[1] as usize];
            let follows = |(i, &parent): (usize, &i32)| parent == i as i32 - 1;
            parents.iter().enumerate().all(follows)
        })
    }

    /// The answer of a kernel that takes the tree for a chain: every node sees all before it.
    fn as_chain(&self) -> Result<Forward> {
        self.with(|queries, nodes, keys| {
            tree_attention_under(
                queries,
                &self.parent,
                nodes,
                keys,
                &self.options,
                Precision::of(T::DTYPE),
                Method::Tiled,
                |mask| Box::new(Chain(mask)) as Box<dyn Mask>,
            )
        })
    }
}

/// A tree mask with the holes filled.
struct Chain(Box<dyn Mask>);

impl Mask for Chain {
    fn ranges(&self, row: usize) -> Vec<std::ops::Range<usize>> {
        let ranges = self.0.ranges(row);
        let ends = ranges.first().zip(ranges.last());
        ends.map(|(first, last)| first.start..last.end)
            .into_iter()
            .collect()
    }
}

/// Parents of a random tree: bushy, deep, or a chain.
pub(crate) fn random_parents(rng: &mut Rng, nodes: usize) -> Vec<i32> {
    let deep = rng.choose(&[0.2, 0.7, 0.7, 1.0]);
    let parent = |i: usize, rng: &mut Rng| match rng.chance(deep) {
        true => i as i32 - 1,
        false => rng.below(i + 1) as i32 - 1,
    };
    (0..nodes).map(|i| parent(i, rng)).collect()
}

impl<T: Element> Case for TreeAttention<T> {
    fn draw(rng: &mut Rng) -> Self {
        let shape = Shape::draw::<T>(rng);
        let options = draw_options(rng, shape.head_size);
        match Self::with_shape(rng, &shape, options) {
            Ok(case) => case,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }

    /// The usual wrong answers; the tree taken for a chain, unless it is one.
    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let (Ok(right), Ok(chain)) = (self.oracle(), self.as_chain()) else {
            unreachable!("a generated case has its shapes")
        };
        let chain = ("the tree taken for a chain", &chain);
        forward_margin(&self.q, &right, (!self.is_chain()).then_some(chain))
    }
}
