//! Attention of a token tree over a paged prefix (task `tree-verify`, parts a and b).
//!
//! Item b has a prefix of P tokens in pages and a tree of N nodes, `parent[i] < i` the number of
//! node i's parent or −1 for a child of the last prompt token.
//!
//! ```text
//! a. mask: node i sees node j  ⇔  j is i, or an ancestor of i
//! b. o_i, lse_i: attention of q_i over all P prefix tokens and the nodes it sees
//! ```
//!
//! Node i stands at position `P + depth(i)`, children of the prompt at depth 0. A window is
//! measured in positions, so siblings see the same prefix. `causal` and `right` have nothing to cut
//! off: a node sees nothing that comes after it.
//!
//! The nodes' K and V are in the cache behind the prefix (node i is token `P + i`), or in tensors
//! of their own.

use std::ops::Range;

use crate::attention::{
    Forward, Gathered, Mask, Method, Options, Vectors, Window, attend, boundaries, join,
};
use crate::error::{Error, Result};
use crate::numbers::{Element, Precision};
use crate::paged_kv::{PagedKeys, PagedQueries};
use crate::tensor::View;

/// Which nodes of one tree see which: a bit per pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AncestorMask {
    nodes: usize,
    words_per_row: usize,
    words: Vec<u32>,
    depth: Vec<usize>,
}

impl AncestorMask {
    /// The mask of the tree with these parents.
    ///
    /// ```text
    /// row(i) = row(parent(i)) | bit i
    /// ```
    pub fn new(parent: &[i32]) -> Result<Self> {
        let nodes = parent.len();
        let words_per_row = nodes.div_ceil(32);
        let mut mask = Self {
            nodes,
            words_per_row,
            words: vec![0; nodes * words_per_row],
            depth: Vec::with_capacity(nodes),
        };
        for (i, &p) in parent.iter().enumerate() {
            let depth = match usize::try_from(p) {
                Ok(p) if p < i => {
                    let from = p * words_per_row..(p + 1) * words_per_row;
                    mask.words.copy_within(from, i * words_per_row);
                    mask.depth[p] + 1
                }
                Err(_) if p == -1 => 0,
                _ => {
                    let allowed = "−1 or an earlier node (parents come first)";
                    return Err(Error::entry("parent", i, p, allowed));
                }
            };
            mask.words[i * words_per_row + i / 32] |= 1 << (i % 32);
            mask.depth.push(depth);
        }
        Ok(mask)
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Whether node `i` sees node `j`.
    pub fn sees(&self, i: usize, j: usize) -> bool {
        self.words[i * self.words_per_row + j / 32] >> (j % 32) & 1 == 1
    }

    /// `[N, ⌈N/32⌉]`, bit j of row i in word `j / 32` at position `j % 32`.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Edges from a child of the prompt down to node `i`.
    pub fn depth(&self, i: usize) -> usize {
        self.depth[i]
    }
}

/// Prefix and tree as one row of keys: prefix tokens first, then nodes.
struct TreeMask {
    prefix: usize,
    tree: AncestorMask,
    window: Option<Window>,
}

impl TreeMask {
    /// First position that node `row` still sees, sinks apart.
    fn first(&self, row: usize) -> usize {
        let left = self.window.and_then(|window| window.left);
        let position = self.prefix + self.tree.depth(row);
        left.map_or(0, |left| position.saturating_sub(left))
    }

    fn sinks(&self) -> usize {
        self.window.map_or(0, |window| window.sinks)
    }
}

impl Mask for TreeMask {
    fn ranges(&self, row: usize) -> Vec<Range<usize>> {
        let (first, sinks, prefix) = (self.first(row), self.sinks(), self.prefix);
        let ends = |start: usize, end: usize| (start as i128, end as i128);
        let near = |node: usize| {
            let position = prefix + self.tree.depth(node);
            position >= first || position < sinks
        };
        let nodes = (0..=row).filter(|&node| self.tree.sees(row, node) && near(node));
        let nodes = nodes.map(|node| ends(prefix + node, prefix + node + 1));
        join(
            [ends(0, sinks.min(prefix)), ends(first, prefix)]
                .into_iter()
                .chain(nodes),
        )
    }
}

/// Where the nodes' K and V are.
#[derive(Clone, Copy, Debug)]
pub enum TreeKeys<'a, T> {
    /// In the pages, behind the prefix: `seq_len` counts prefix and nodes.
    InCache,
    /// `[T, Hkv, D]`, in the order of the queries; `seq_len` counts the prefix alone.
    Tensors {
        /// Keys.
        k: View<'a, T, 3>,
        /// Values.
        v: View<'a, T, 3>,
    },
}

/// Attention of all nodes of all trees: `queries.q` is `[T, Hq, D]` with one query per node,
/// `queries.starts` says where each item's nodes start (they may be none), `parent[T]` numbers
/// nodes within their item.
pub fn tree_attention<T: Element>(
    queries: &PagedQueries<'_, T>,
    parent: &[i32],
    nodes: TreeKeys<'_, T>,
    keys: &PagedKeys<'_>,
    options: &Options,
    precision: Precision,
    method: Method,
) -> Result<Forward> {
    let unchanged = |mask| mask;
    tree_attention_under(
        queries, parent, nodes, keys, options, precision, method, unchanged,
    )
}

/// The same under changed masks, for answers that are wrong on purpose.
#[expect(
    clippy::too_many_arguments,
    reason = "those of `tree_attention`, and the change"
)]
pub(crate) fn tree_attention_under<T: Element>(
    queries: &PagedQueries<'_, T>,
    parent: &[i32],
    nodes: TreeKeys<'_, T>,
    keys: &PagedKeys<'_>,
    options: &Options,
    precision: Precision,
    method: Method,
    change: impl Fn(Box<dyn Mask>) -> Box<dyn Mask>,
) -> Result<Forward> {
    options.check()?;
    let lengths = keys.check()?;
    let layout = queries.layout(keys)?;
    let total: usize = (0..layout.sequences()).map(|b| layout.length(b)).sum();
    if parent.len() != total {
        return Err(Error::Shape {
            argument: "parent",
            expected: vec![total],
            got: vec![parent.len()],
            because: "one per query",
        });
    }
    let shape = keys.shape;
    let starts: Vec<usize> = match queries.starts {
        Some(starts) => boundaries("query starts", starts, total)?,
        None => (0..=total).collect(),
    };
    if let TreeKeys::Tensors { k, v } = nodes {
        k.expect_shape(
            [total, shape.heads, shape.head_size],
            "one row per query, as the pages",
        )?;
        v.expect_shape(k.shape(), "as the tree's keys")?;
    }

    let (mut all_k, mut all_v) = (Vec::<Vectors>::new(), Vec::new());
    let mut masks: Vec<Box<dyn Mask>> = Vec::new();
    for (b, &length) in lengths.iter().enumerate() {
        let range = starts[b]..starts[b + 1];
        let tree = AncestorMask::new(&parent[range.clone()]).map_err(|e| shift(e, range.start))?;
        let prefix = match nodes {
            TreeKeys::Tensors { .. } => length,
            TreeKeys::InCache => length.checked_sub(range.len()).ok_or_else(|| {
                let allowed = format!("at least the {} nodes of its tree", range.len());
                Error::entry("seq_len", b, length, allowed)
            })?,
        };
        for head in 0..shape.heads {
            let rows = |view: View<'_, T, 3>| -> Vec<f64> {
                let row = |t: usize| view.row(&[t, head]).iter().map(|x| x.to_f64());
                range.clone().flat_map(row).collect()
            };
            let (more_k, more_v) = match nodes {
                TreeKeys::Tensors { k, v } => (rows(k), rows(v)),
                TreeKeys::InCache => (Vec::new(), Vec::new()),
            };
            all_k.push(keys.gather(&keys.k, (b, head), length, &more_k));
            all_v.push(keys.gather(&keys.v, (b, head), length, &more_v));
        }
        masks.push(change(Box::new(TreeMask {
            prefix,
            tree,
            window: options.window,
        })));
    }
    let gathered = Gathered {
        q: layout.gather(queries.q.data(), shape.head_size),
        k: all_k,
        v: all_v,
        kv_heads: shape.heads,
    };
    let sinks = queries.sink_logits;
    attend(
        &gathered, &layout, &masks, sinks, options, precision, method,
    )
}

/// The error of one item's tree, by its place among all nodes.
fn shift(error: Error, start: usize) -> Error {
    match error {
        Error::Entry {
            argument,
            index,
            got,
            allowed,
        } => Error::Entry {
            argument,
            index: index + start,
            got,
            allowed,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parents(n: usize) -> impl Strategy<Value = Vec<i32>> {
        prop::collection::vec(any::<u32>(), 0..n).prop_map(|draws| {
            let parent = |(i, draw): (usize, u32)| (draw as usize % (i + 1)) as i32 - 1;
            draws.into_iter().enumerate().map(parent).collect()
        })
    }

    proptest! {
        /// A node sees exactly what walking up to the prompt meets; as often as it is deep.
        #[test]
        fn masks_are_what_a_walk_to_the_root_meets(parent in parents(100)) {
            let mask = AncestorMask::new(&parent).unwrap();
            for i in 0..parent.len() {
                let walk = std::iter::successors(Some(i), |&j| usize::try_from(parent[j]).ok());
                let met: Vec<usize> = walk.collect();
                for j in 0..parent.len() {
                    prop_assert_eq!(mask.sees(i, j), met.contains(&j));
                }
                prop_assert_eq!(mask.depth(i) + 1, met.len());
            }
        }
    }

    #[test]
    fn words_are_little_endian_bits() {
        let chain: Vec<i32> = (0..34).map(|i| i - 1).collect();
        let mask = AncestorMask::new(&chain).unwrap();
        assert_eq!(&mask.words()[..2], &[1, 0]);
        assert_eq!(&mask.words()[66..], &[u32::MAX, 3]);
    }

    #[test]
    fn parents_that_come_later_are_errors() {
        for (parent, index) in [(&[0][..], 0), (&[-1, 1], 1), (&[1, -1], 0), (&[-1, -2], 1)] {
            let error = AncestorMask::new(parent).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("`parent`[{index}]")),
                "{error}"
            );
        }
        assert_eq!(AncestorMask::new(&[]).unwrap().nodes(), 0);
    }
}
