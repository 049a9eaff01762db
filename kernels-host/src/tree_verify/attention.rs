//! Attention of the nodes of trees.

use super::{TreeMask, Trees};
use crate::attention::Float;
use crate::paged_kv::{BlockTable, Options, Outputs, Pages, Queries, Rung, Tree, attend};
use crate::{Error, Result};

/// Attention of each node over its item's whole prefix, itself and its ancestors, in one pass over the
/// pages: `queries.q[nodes, Hq, D]`, a query a node, and no starts. The nodes lie in the cache behind
/// their prefix: node i is token `length − N + i` of its sequence. A window is measured in positions,
/// `prefix + depth`, so siblings see the same prefix.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::paged_kv::{Format, KvCache, Options, Outputs, PageShape, Queries};
/// use kernels_host::tree_verify::{TokenTree, TreeMask, Trees, tree_attention};
/// use kernels_host::{Buffer, Device, Vm};
/// use half::f16;
///
/// let device: Arc<dyn Device> = Vm::new();
/// let shape = PageShape { pages: 2, page: 4, heads: 1, head_size: 64 };
/// let mut cache = KvCache::new(&device, 1, shape, Format::F16)?;
/// let sequence = cache.create();
/// // One token of prefix, and two siblings.
/// let slots = cache.extend(&[(sequence, 3)])?;
/// let v: Vec<f32> = [[1.0; 64], [3.0; 64], [5.0; 64]].concat();
/// let (k, v) = (Buffer::from_slice(&device, &[0.0_f32; 192])?, Buffer::from_slice(&device, &v)?);
/// cache.append(0, &slots, &k, &v, None)?;
/// let trees = Trees::new(&device, &[TokenTree::new(&[7, 8], &[-1, -1])?])?;
/// let q = Buffer::from_slice(&device, &[f16::ONE; 128])?;
/// let (mut o, mut lse) = (Buffer::uninit(&device, 128)?, Buffer::uninit(&device, 2)?);
/// tree_attention(
///     &Queries { q: &q, heads: 1, starts: None, sink_logits: None },
///     &trees,
///     &TreeMask::new(&trees)?,
///     cache.pages(0)?,
///     &cache.block_table(&[sequence])?,
///     &Options::new(1.0),
///     None,
///     Outputs { o: &mut o, lse: &mut lse },
/// )?;
/// // Each takes the mean of the prefix and itself.
/// let o = o.to_vec()?;
/// assert_eq!((o[0].to_f32(), o[64].to_f32()), (2.0, 3.0));
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When shapes, options and buffers do not fit, or a sequence has fewer tokens than its tree has nodes;
/// nothing is launched then.
#[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
pub fn tree_attention<T: Float>(
    queries: &Queries<'_, T>,
    trees: &Trees,
    mask: &TreeMask,
    pages: &Pages,
    table: &BlockTable,
    options: &Options,
    rung: Option<Rung>,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    if queries.starts.is_some() {
        return Err(Error::Parameter {
            name: "starts",
            got: "given".into(),
            must_be: "none: the trees say where they begin".into(),
        });
    }
    mask.depth
        .expect_shape("mask", &[("nodes", trees.nodes())])?;
    mask.mask
        .expect_shape("mask", &[("nodes", trees.nodes()), ("words", mask.words)])?;
    if table.sequences() == trees.items() {
        let lengths = table.lengths().iter().zip(trees.sizes());
        if let Some(b) = lengths.clone().position(|(length, nodes)| length < nodes) {
            return Err(Error::Entry {
                name: "seq_len",
                index: b,
                got: table.lengths()[b] as i64,
                must_be: format!("at least the {} nodes of its tree", trees.sizes()[b]),
            });
        }
    }
    let tree = Tree {
        mask: &mask.mask,
        depth: &mask.depth,
        words: mask.words,
    };
    let queries = Queries {
        starts: Some(&trees.starts),
        ..*queries
    };
    attend(rung, &queries, pages, table, options, Some(tree), outputs)
}
