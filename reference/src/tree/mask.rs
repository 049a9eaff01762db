//! The ancestor mask.

use super::Tree;

/// Which node attends to which: itself and its ancestors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    nodes: usize,
    /// One row of ⌈N/32⌉ words per node; bit j%32 of word j/32 is node j.
    words: Vec<u32>,
}

impl Mask {
    /// A node sees what its parent sees, and itself.
    pub fn new(tree: &Tree) -> Self {
        let (nodes, width) = (tree.len(), tree.len().div_ceil(32));
        let mut words = vec![0u32; nodes * width];
        for (i, parent) in tree.parents().iter().enumerate() {
            if let Some(parent) = parent {
                words.copy_within(parent * width..(parent + 1) * width, i * width);
            }
            words[i * width + i / 32] |= 1 << (i % 32);
        }
        Self { nodes, words }
    }

    /// N.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Words per node, ⌈N/32⌉.
    pub fn width(&self) -> usize {
        self.nodes.div_ceil(32)
    }

    /// All words, `[N, ⌈N/32⌉]`; bit j%32 of word j/32 is node j, and bits from N on are 0.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether node `i` attends to node `j` (both below N).
    pub fn attends(&self, i: usize, j: usize) -> bool {
        self.words[i * self.width() + j / 32] >> (j % 32) & 1 == 1
    }
}
