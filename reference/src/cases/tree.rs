//! Cases of greedy tree verification.

use std::collections::HashSet;

use super::{Case, NoMargin, Rng};
use crate::error::Result;
use crate::lm::{HashModel, Model, greedy};
use crate::numbers::Element;
use crate::tensor::View;
use crate::tree::{Accepted, Tree, accept};

/// One item: a tree, a model's logits along it, stop tokens.
#[derive(Clone, Debug)]
pub struct TreeWalk<T> {
    /// The drafted tree.
    pub tree: Tree,
    /// V.
    pub vocabulary: usize,
    /// `[1+N, V]`, of a model that depends on the whole path.
    pub logits: Vec<T>,
    /// Tokens that end a walk.
    pub stop: HashSet<i32>,
    /// The model, to decode with plainly.
    pub model: HashModel,
    /// The text before the tree.
    pub prompt: Vec<i32>,
}

impl<T: Element> TreeWalk<T> {
    /// A tree of up to `nodes` nodes that partly follows the model's greedy text; ties and forbidden
    /// tokens are frequent.
    pub fn with_size(rng: &mut Rng, nodes: usize, vocabulary: usize) -> Self {
        let model = HashModel::new(rng.bits(), vocabulary)
            .with_forbidden(rng.choose(&[0.0, 0.2]))
            .with_levels(rng.choose(&[5, 129]));
        let prompt: Vec<i32> = (0..rng.between(1, 4))
            .map(|_| rng.below(vocabulary) as i32)
            .collect();
        let stop: HashSet<i32> = (0..rng.below(2))
            .map(|_| rng.below(vocabulary) as i32)
            .collect();
        let guide = greedy(&model, &prompt, nodes, &HashSet::new());
        let tree = guided(rng, nodes, vocabulary, &guide);
        let mut logits = model.logits(&prompt);
        for node in 0..tree.len() {
            let path = tree.path(node).into_iter().map(|n| tree.tokens()[n]);
            let history: Vec<i32> = prompt.iter().copied().chain(path).collect();
            logits.extend(model.logits(&history));
        }
        let logits = logits
            .into_iter()
            .map(|x| T::from_f64(f64::from(x)))
            .collect();
        Self {
            tree,
            vocabulary,
            logits,
            stop,
            model,
            prompt,
        }
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Accepted> {
        let shape = [1 + self.tree.len(), self.vocabulary];
        accept(
            &self.tree,
            View::new("logits", &self.logits, shape)?,
            &self.stop,
        )
    }
}

/// Nodes that continue the guide where they can and stray where they will; no two siblings alike.
fn guided(rng: &mut Rng, nodes: usize, vocabulary: usize, guide: &[i32]) -> Tree {
    let (mut token, mut parent) = (Vec::new(), Vec::new());
    // The last node on the guide, and how much of it its path spells.
    let (mut tip, mut spelled) = (-1i32, 0);
    for _ in 0..nodes {
        let follow = spelled < guide.len() && rng.chance(0.5);
        let (above, next) = match follow {
            true => (tip, guide[spelled]),
            false => (
                rng.between(0, token.len()) as i32 - 1,
                rng.below(vocabulary) as i32,
            ),
        };
        if (0..token.len()).any(|i| parent[i] == above && token[i] == next) {
            continue;
        }
        if above == tip && guide.get(spelled) == Some(&next) {
            (tip, spelled) = (token.len() as i32, spelled + 1);
        }
        token.push(next);
        parent.push(above);
    }
    match Tree::new(&token, &parent) {
        Ok(tree) => tree,
        Err(error) => unreachable!("parents come first: {error}"),
    }
}

impl<T: Element> Case for TreeWalk<T> {
    fn draw(rng: &mut Rng) -> Self {
        let (nodes, vocabulary) = (rng.between(1, 24), rng.choose(&[2, 9, 50]));
        Self::with_size(rng, nodes, vocabulary)
    }

    /// Something is accepted, so that a walk that accepts nothing is wrong, and not everything is.
    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(right) = self.oracle() else {
            unreachable!("a generated case has its shapes")
        };
        let output = "accepted";
        if right.nodes.is_empty() {
            return Err(NoMargin {
                output,
                wrong: "nothing accepted",
            });
        }
        if right.nodes.len() == self.tree.len() && self.tree.len() > 1 {
            return Err(NoMargin {
                output,
                wrong: "everything accepted",
            });
        }
        Ok(())
    }
}
