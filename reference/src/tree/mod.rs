//! Tree verification: token trees, their ancestor masks, and which path a target model accepts.
//!
//! ```text
//! tree      token[N], parent[N];  parent −1: child of the last prompt token;  parent[i] < i
//! mask      node i attends to j  ⇔  j = i or j is an ancestor of i
//! logits    row 0: after the last prompt token;  row 1+i: after node i
//! greedy    stand at the root; t = argmax of the current node's row; go to its first child with
//!           token t; when there is none emit t as the bonus token and stop
//! sampling  stand at the root; p = softmax(row/T); try the children in order, each accepted with
//!           probability min(1, p(x)/q(x)); after a rejection p ← max(0, p − q), normalised; when
//!           none is accepted draw the bonus token from what p has become
//! ```
//!
//! Conventions. A row belongs to the node whose *successor* it predicts: children of node i are
//! judged by row 1+i, whatever their position or depth. "First" is the lowest node index, so of
//! two siblings with the same token the lower one is taken. A stop token inside the path ends the
//! walk there: it is accepted, and the bonus is −1. N = 0 is allowed: the bonus comes from row 0.
//!
//! In sampling q is the distribution the children of a node were drawn from, independently; where
//! no draft probabilities are given, the draft is deterministic: q puts everything on x, so a child
//! is accepted with probability p(x) and after a rejection p loses x. Either way the emitted token
//! has exactly the distribution p; a chain is ordinary speculative sampling. Child i is tried with
//! the uniform number `uniform[i]` (accepted when `uniform·q(x) < p(x)`), the bonus token is drawn
//! by inversion with `bonus_uniform` (the first token at which the running sum of p exceeds it).
//!
//! Odd values. Argmax skips NaN, ties go to the lower id; in sampling NaN and −∞ have probability
//! 0. A row without a finite logit yields no token: the walk stops and the bonus is −1. +∞ is
//! refused. Cycles and parents that come later are errors.

mod greedy;
mod mask;
mod sampling;
#[cfg(test)]
mod tests;

pub use greedy::{Accepted, Misaccepted, accept};
pub use mask::Mask;
pub use sampling::{Attempt, Sampled, Sampling, accept_sampled, attempts};

use crate::error::{Error, Result};
use crate::numbers::Element;
use crate::tensor::View;

/// One item's token tree, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    token: Vec<i32>,
    parent: Vec<Option<usize>>,
}

impl Tree {
    /// Checks that tokens are not negative and that every parent is −1 or comes before its child.
    pub fn new(token: &[i32], parent: &[i32]) -> Result<Self> {
        View::new("parent", parent, [token.len()])?;
        if let Some(index) = token.iter().position(|&token| token < 0) {
            return Err(Error::entry("token", index, token[index], "0 or more"));
        }
        let checked = |(i, &parent): (usize, &i32)| match usize::try_from(parent) {
            _ if parent == -1 => Ok(None),
            Ok(parent) if parent < i => Ok(Some(parent)),
            _ => {
                let allowed = format!("-1 or an earlier node, below {i}");
                Err(Error::entry("parent", i, parent, allowed))
            }
        };
        let parent = parent
            .iter()
            .enumerate()
            .map(checked)
            .collect::<Result<_>>()?;
        Ok(Self {
            token: token.to_vec(),
            parent,
        })
    }

    /// N.
    pub fn len(&self) -> usize {
        self.token.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.token.is_empty()
    }

    /// Token of each node.
    pub fn tokens(&self) -> &[i32] {
        &self.token
    }

    /// Parent of each node; `None` for a child of the last prompt token.
    pub fn parents(&self) -> &[Option<usize>] {
        &self.parent
    }

    /// Children of a node (of the root for `None`), lowest first.
    pub fn children(&self, node: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(move |&i| self.parent[i] == node)
    }

    /// Depth of each node: 0 for children of the last prompt token. Its position in the text is the
    /// prompt's length plus this.
    pub fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.len());
        for parent in &self.parent {
            depths.push(parent.map_or(0, |parent| depths[parent] + 1));
        }
        depths
    }

    /// The nodes from the root's child down to `node`, itself included.
    pub fn path(&self, node: usize) -> Vec<usize> {
        let mut path: Vec<usize> =
            std::iter::successors(Some(node), |&node| self.parent[node]).collect();
        path.reverse();
        path
    }

    /// The same tree with node `order[i]` as its node i. `order` must name every node once and put
    /// parents first.
    pub fn renumbered(&self, order: &[usize]) -> Result<Self> {
        let mut new_of = vec![None; self.len()];
        View::new("order", order, [self.len()])?;
        for (new, &old) in order.iter().enumerate() {
            if old >= self.len() || new_of[old].is_some() {
                let allowed = format!("each of 0..{} once", self.len());
                return Err(Error::entry("order", new, old, allowed));
            }
            new_of[old] = Some(new as i32);
        }
        let token: Vec<i32> = order.iter().map(|&old| self.token[old]).collect();
        let parent = |&old: &usize| self.parent[old].and_then(|p| new_of[p]).unwrap_or(-1);
        Self::new(&token, &order.iter().map(parent).collect::<Vec<_>>())
    }

    /// Errors unless `logits` has the rows of this tree and no +∞, and all tokens are in it.
    fn check_logits<T: Element>(&self, logits: &View<'_, T, 2>) -> Result<()> {
        let [_, vocabulary] = logits.shape();
        logits.expect_shape(
            [1 + self.len(), vocabulary],
            "one row for the prompt and per node",
        )?;
        crate::tensor::nonzero("V", vocabulary)?;
        if let Some(i) = self
            .token
            .iter()
            .position(|&token| token as usize >= vocabulary)
        {
            return Err(Error::entry(
                "token",
                i,
                self.token[i],
                format!("in 0..{vocabulary}"),
            ));
        }
        match logits
            .data()
            .iter()
            .position(|x| x.to_f64() == f64::INFINITY)
        {
            Some(index) => Err(Error::entry(logits.name(), index, "+inf", "below +inf")),
            None => Ok(()),
        }
    }
}

/// The row of logits after `node` (after the prompt for `None`).
fn row_after<'a, T>(logits: &View<'a, T, 2>, node: Option<usize>) -> &'a [T] {
    logits.row(&[node.map_or(0, |node| 1 + node)])
}
