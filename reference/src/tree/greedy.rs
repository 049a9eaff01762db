//! Greedy acceptance, and judging an answer to it.

use std::collections::HashSet;

use super::{Tree, row_after};
use crate::error::Result;
use crate::lm::argmax;
use crate::numbers::Element;
use crate::tensor::View;

/// What a walk accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Accepted nodes, from the root down.
    pub nodes: Vec<usize>,
    /// Their tokens.
    pub tokens: Vec<i32>,
    /// The token after them; −1 when there is none.
    pub bonus: i32,
}

impl Accepted {
    /// The text this adds: the accepted tokens and the bonus, if there is one.
    pub fn text(&self) -> Vec<i32> {
        self.tokens
            .iter()
            .copied()
            .chain((self.bonus >= 0).then_some(self.bonus))
            .collect()
    }

    /// The cache slots to keep, in order, where node i was written to `slots[i]`.
    ///
    /// # Panics
    /// When there is not a slot per node.
    pub fn slots<S: Copy>(&self, slots: &[S]) -> Vec<S> {
        self.nodes.iter().map(|&node| slots[node]).collect()
    }
}

/// Greedy verification of one item: exact, argmax needs no tolerance.
pub fn accept<T: Element>(
    tree: &Tree,
    logits: View<'_, T, 2>,
    stop: &HashSet<i32>,
) -> Result<Accepted> {
    tree.check_logits(&logits)?;
    let (mut nodes, mut tokens) = (Vec::new(), Vec::new());
    let bonus = loop {
        let current = nodes.last().copied();
        let row = row_after(&logits, current);
        let Some(best) = argmax(row.iter().map(|x| x.to_f64())) else {
            break -1;
        };
        let best = best as i32;
        let Some(child) = tree
            .children(current)
            .find(|&child| tree.tokens()[child] == best)
        else {
            break best;
        };
        nodes.push(child);
        tokens.push(best);
        if stop.contains(&best) {
            break -1;
        }
    };
    Ok(Accepted {
        nodes,
        tokens,
        bonus,
    })
}

/// Where an answer leaves the right walk. Steps count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misaccepted {
    /// The walk should go on.
    #[error("step {step}: after {} the target's token is {token}, which node {node} has; yours stopped", named(*after))]
    StoppedEarly {
        /// Accepted nodes before this one.
        step: usize,
        /// The last of them; `None` at the root.
        after: Option<usize>,
        /// The token that comes next.
        token: i32,
        /// The child that has it.
        node: usize,
    },
    /// The walk should have ended.
    #[error("step {step}: the walk ends after {}, yours went on to node {got}", named(*after))]
    WentOn {
        /// Accepted nodes before this one.
        step: usize,
        /// The last of them; `None` at the root.
        after: Option<usize>,
        /// The node accepted beyond.
        got: usize,
    },
    /// Another node comes next.
    #[error("step {step}: after {} node {expected} (token {token}) comes next, yours is {got}", named(*after))]
    OtherNode {
        /// Accepted nodes before this one.
        step: usize,
        /// The last of them; `None` at the root.
        after: Option<usize>,
        /// The node that comes next.
        expected: usize,
        /// Its token.
        token: i32,
        /// The node answered.
        got: usize,
    },
    /// The nodes are right, their tokens are not.
    #[error("step {step}: node {node} has token {expected}, yours is {got:?}")]
    Token {
        /// Accepted nodes before this one.
        step: usize,
        /// The node.
        node: usize,
        /// Its token.
        expected: i32,
        /// What was answered there, if anything.
        got: Option<i32>,
    },
    /// The walk is right, the token after it is not.
    #[error("after {} the bonus token is {expected}, yours is {got}", named(*after))]
    Bonus {
        /// The last accepted node; `None` at the root.
        after: Option<usize>,
        /// The bonus; −1 for none.
        expected: i32,
        /// What was answered.
        got: i32,
    },
}

fn named(node: Option<usize>) -> String {
    node.map_or("the prompt".into(), |node| format!("node {node}"))
}

impl Accepted {
    /// Compares an answer with this walk and names the first step at which it goes astray.
    pub fn judge(&self, answer: &Self) -> std::result::Result<(), Misaccepted> {
        self.judge_path(answer)?;
        if answer.bonus != self.bonus {
            let after = self.nodes.last().copied();
            return Err(Misaccepted::Bonus {
                after,
                expected: self.bonus,
                got: answer.bonus,
            });
        }
        Ok(())
    }

    /// [`Accepted::judge`] without the bonus.
    pub(super) fn judge_path(&self, answer: &Self) -> std::result::Result<(), Misaccepted> {
        for step in 0..self.nodes.len().max(answer.nodes.len()) {
            let after = step.checked_sub(1).map(|before| self.nodes[before]);
            match (
                self.nodes.get(step).copied(),
                answer.nodes.get(step).copied(),
            ) {
                (Some(expected), Some(got)) if expected != got => {
                    let token = self.tokens[step];
                    return Err(Misaccepted::OtherNode {
                        step,
                        after,
                        expected,
                        token,
                        got,
                    });
                }
                (Some(node), None) => {
                    let token = self.tokens[step];
                    return Err(Misaccepted::StoppedEarly {
                        step,
                        after,
                        token,
                        node,
                    });
                }
                (None, Some(got)) => return Err(Misaccepted::WentOn { step, after, got }),
                _ => {}
            }
            let (expected, got) = (self.tokens[step], answer.tokens.get(step).copied());
            if got != Some(expected) {
                return Err(Misaccepted::Token {
                    step,
                    node: self.nodes[step],
                    expected,
                    got,
                });
            }
        }
        match answer.tokens.get(self.tokens.len()) {
            Some(&extra) => {
                let after = self.nodes.last().copied();
                Err(Misaccepted::Bonus {
                    after,
                    expected: self.bonus,
                    got: extra,
                })
            }
            None => Ok(()),
        }
    }
}
