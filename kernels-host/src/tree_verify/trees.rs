//! Token trees, checked on the host, and their masks, made on the device.

use crate::attention::Sequences;
use crate::{Buffer, Device, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::tree_verify::{FAMILY, MASK_WARPS, MAX_NODES};
use std::sync::Arc;

/// The tree of one item: a token and a parent for each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTree {
    tokens: Vec<i32>,
    parents: Vec<i32>,
}

impl TokenTree {
    /// Node i continues node `parents[i]`, or the last prompt token where that is −1. Parents come
    /// first. There may be no nodes.
    ///
    /// # Errors
    /// When there is not a parent a token, there are more than 1024 nodes, a token is negative, or a
    /// parent is not −1 or an earlier node (a cycle has one that is not).
    pub fn new(tokens: &[i32], parents: &[i32]) -> Result<TokenTree> {
        if tokens.len() != parents.len() {
            return Err(Error::Length {
                name: "parents",
                got: parents.len(),
                expected: tokens.len(),
                shape: format!("nodes {}", tokens.len()),
            });
        }
        if tokens.len() > MAX_NODES as usize {
            return Err(Error::Parameter {
                name: "nodes",
                got: tokens.len().to_string(),
                must_be: format!("at most {MAX_NODES}"),
            });
        }
        let refuse = |name, index, got: i32, must_be| {
            Err(Error::Entry {
                name,
                index,
                got: got.into(),
                must_be,
            })
        };
        for (i, (&token, &parent)) in tokens.iter().zip(parents).enumerate() {
            if token < 0 {
                return refuse("tokens", i, token, "0 or more".into());
            }
            if parent < -1 || parent >= i as i32 {
                let must_be = format!("−1 or an earlier node, below {i}");
                return refuse("parents", i, parent, must_be);
            }
        }
        Ok(TokenTree {
            tokens: tokens.to_vec(),
            parents: parents.to_vec(),
        })
    }

    /// A chain: each token continues the one before it.
    ///
    /// # Errors
    /// Those of [`TokenTree::new`].
    pub fn chain(tokens: &[i32]) -> Result<TokenTree> {
        let parents: Vec<i32> = (-1..).take(tokens.len()).collect();
        TokenTree::new(tokens, &parents)
    }

    /// N.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Token of each node.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Parent of each node, −1 for a child of the last prompt token.
    pub fn parents(&self) -> &[i32] {
        &self.parents
    }

    /// The nodes from the prompt's child down to `node`.
    pub fn path(&self, node: usize) -> Vec<usize> {
        let up = |&at: &usize| usize::try_from(self.parents[at]).ok();
        let mut path: Vec<usize> = std::iter::successors(Some(node), up).collect();
        path.reverse();
        path
    }
}

/// The trees of a batch, end to end, on a device.
#[derive(Debug)]
pub struct Trees {
    pub(crate) token: Buffer<i32>,
    pub(crate) parent: Buffer<i32>,
    pub(crate) starts: Sequences,
    sizes: Vec<usize>,
    greatest_token: i32,
}

impl Trees {
    /// Copies trees to a device.
    ///
    /// # Errors
    /// When there are none, or there is no memory.
    pub fn new(device: &Arc<dyn Device>, trees: &[TokenTree]) -> Result<Trees> {
        if !(1..=65_535).contains(&trees.len()) {
            return Err(Error::Parameter {
                name: "trees",
                got: trees.len().to_string(),
                must_be: "1 to 65535".into(),
            });
        }
        let all = |of: fn(&TokenTree) -> &[i32]| -> Vec<i32> {
            trees.iter().flat_map(of).copied().collect()
        };
        let (token, parent) = (all(TokenTree::tokens), all(TokenTree::parents));
        let mut bounds = vec![0];
        for tree in trees {
            bounds.push(bounds[bounds.len() - 1] + tree.len() as i32);
        }
        Ok(Trees {
            greatest_token: token.iter().copied().max().unwrap_or(-1),
            token: Buffer::from_slice(device, &token)?,
            parent: Buffer::from_slice(device, &parent)?,
            starts: Sequences::new(device, &bounds)?,
            sizes: trees.iter().map(TokenTree::len).collect(),
        })
    }

    /// Items.
    pub fn items(&self) -> usize {
        self.sizes.len()
    }

    /// Nodes of each item.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Nodes of all items.
    pub fn nodes(&self) -> usize {
        self.starts.total()
    }

    /// Rows of logits: one for each prompt and each node.
    pub fn rows(&self) -> usize {
        self.nodes() + self.items()
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        self.token.device()
    }

    /// Fails unless all tokens are below `vocabulary`.
    pub(crate) fn expect_vocabulary(&self, vocabulary: usize) -> Result<()> {
        if !(1..=i32::MAX as usize).contains(&vocabulary) {
            return Err(Error::Parameter {
                name: "vocabulary",
                got: vocabulary.to_string(),
                must_be: format!("1 to {}", i32::MAX),
            });
        }
        if (self.greatest_token as i64) < vocabulary as i64 {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "tokens",
            got: format!("up to {}", self.greatest_token),
            must_be: format!("below the vocabulary, {vocabulary}"),
        })
    }
}

/// Which node sees which: itself and its ancestors.
#[derive(Debug)]
pub struct TreeMask {
    pub(crate) mask: Buffer<u32>,
    pub(crate) depth: Buffer<i32>,
    pub(crate) words: usize,
}

impl TreeMask {
    /// Makes the masks of all trees on their device.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::tree_verify::{TokenTree, TreeMask, Trees};
    /// use kernels_host::{Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// // Two branches: 0 → 1 → 3 and 0 → 2.
    /// let tree = TokenTree::new(&[5, 6, 7, 8], &[-1, 0, 0, 1])?;
    /// let mask = TreeMask::new(&Trees::new(&device, &[tree])?)?;
    /// assert_eq!(mask.words()?, [0b0001, 0b0011, 0b0101, 0b1011]);
    /// assert_eq!(mask.depths()?, [0, 1, 1, 2]);
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there is no memory, or the launch fails.
    pub fn new(trees: &Trees) -> Result<TreeMask> {
        let device = trees.device();
        let longest = trees.starts.longest();
        let words = longest.div_ceil(32);
        let mask = Buffer::uninit(device, trees.nodes() * words)?;
        let depth = Buffer::uninit(device, trees.nodes())?;
        if longest > 0 {
            let kernel = Module::embedded(FAMILY.name, &**device)?.kernel("tree_mask")?;
            let config = LaunchConfig {
                grid: [
                    (longest as u32).div_ceil(MASK_WARPS),
                    trees.items() as u32,
                    1,
                ],
                block: [32 * MASK_WARPS, 1, 1],
                shared: 0,
            };
            let args = [
                (&trees.parent).into(),
                trees.starts.arg(),
                (&mask).into(),
                (&depth).into(),
                (words as u32).into(),
            ];
            launch(&**device, &kernel, config, &args)?;
        }
        Ok(TreeMask { mask, depth, words })
    }

    /// Words of a node's row: ⌈N/32⌉ of the largest tree.
    pub fn width(&self) -> usize {
        self.words
    }

    /// `[nodes, width]`: bit j % 32 of word j / 32 says that the node sees node j of its tree.
    ///
    /// # Errors
    /// When work before it failed.
    pub fn words(&self) -> Result<Vec<u32>> {
        self.mask.to_vec()
    }

    /// The depth of each node: 0 for a child of the last prompt token.
    ///
    /// # Errors
    /// When work before it failed.
    pub fn depths(&self) -> Result<Vec<i32>> {
        self.depth.to_vec()
    }
}
