//! Sampling acceptance: the law of one node, and the walk under given uniform numbers.

use std::collections::HashSet;

use super::greedy::{Accepted, Misaccepted};
use super::{Tree, row_after};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, Element, Precision};
use crate::softmax_topk::RowOracle;
use crate::tensor::View;

/// Inputs of sampling beside tree and logits.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// T > 0, finite.
    pub temperature: f32,
    /// `[1+N, V]`: the distribution the children of the prompt (row 0) or of node i (row 1+i) were
    /// drawn from, independently. Absent for a deterministic draft.
    pub draft: Option<View<'a, f32, 2>>,
    /// `[N]`, each in [0, 1): the number node i is tried with.
    pub uniform: &'a [f32],
    /// In [0, 1): the number the bonus token is drawn with.
    pub bonus_uniform: f32,
}

/// Trying one child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt {
    /// The child.
    pub node: usize,
    /// p(x), of what p has become when its turn comes.
    pub target: Bounded,
    /// q(x); 1 for a deterministic draft.
    pub draft: f64,
}

impl Attempt {
    /// Probability that the child is accepted, once it is tried.
    pub fn acceptance(&self) -> f64 {
        if self.target.value < self.draft {
            self.target.value / self.draft
        } else {
            1.0
        }
    }
}

/// The law of one node: its children in the order they are tried, and the distribution the bonus
/// token is drawn from when all are rejected. `p` is the target's distribution there, `q` the
/// draft's.
///
/// After a rejection `p ← max(0, p − q)/Σ max(0, p − q)`; the errors of f32 travel along: the
/// difference rounds once, the sum as a sum, the quotient as a division.
pub fn attempts(
    tree: &Tree,
    node: Option<usize>,
    mut p: Vec<Bounded>,
    q: Option<&[f64]>,
    precision: Precision,
) -> (Vec<Attempt>, Vec<Bounded>) {
    let mut tried = Vec::new();
    for child in tree.children(node) {
        let token = tree.tokens()[child] as usize;
        let draft = q.map_or(1.0, |q| q[token]);
        tried.push(Attempt {
            node: child,
            target: p[token],
            draft,
        });
        let rest: Vec<Bounded> = p
            .iter()
            .enumerate()
            .map(|(t, &p)| {
                let q = q.map_or(if t == token { 1.0 } else { 0.0 }, |q| q[t]);
                if q == 0.0 {
                    p
                } else {
                    positive(precision.round(p - Bounded::exact(q)))
                }
            })
            .collect();
        let mass = precision.sum(rest.iter().copied());
        // No mass is left only when p = q, and then no child is ever rejected.
        if mass.value > 0.0 {
            p = rest
                .into_iter()
                .map(|r| precision.round_special(r / mass))
                .collect();
        }
    }
    (tried, p)
}

/// max(0, x): surely zero when all of x's interval is.
fn positive(x: Bounded) -> Bounded {
    let reach = (x.value + x.bound).max(0.0);
    Bounded::new(
        x.value.max(0.0),
        if x.value > 0.0 { x.bound } else { reach },
    )
}

/// A sampled walk.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Path and bonus under exact arithmetic.
    pub accepted: Accepted,
    /// Every bonus token that is right given the bounds; the exact one among them. Just −1 when no
    /// token is drawn.
    pub bonuses: Vec<i32>,
    /// The first node whose trial the bounds do not decide: from there another path is right too.
    pub undecided: Option<usize>,
}

impl Sampled {
    /// Compares an answer with this walk. Only for decided walks: an undecided one has no single
    /// right path, and a case that holds one is to be drawn again.
    pub fn judge(&self, answer: &Accepted) -> std::result::Result<(), Misaccepted> {
        self.accepted.judge_path(answer)?;
        if self.bonuses.contains(&answer.bonus) {
            return Ok(());
        }
        let after = self.accepted.nodes.last().copied();
        let (expected, got) = (self.accepted.bonus, answer.bonus);
        Err(Misaccepted::Bonus {
            after,
            expected,
            got,
        })
    }
}

/// Sampling verification of one item.
pub fn accept_sampled<T: Element>(
    tree: &Tree,
    logits: View<'_, T, 2>,
    sampling: &Sampling<'_>,
    stop: &HashSet<i32>,
    precision: Precision,
) -> Result<Sampled> {
    tree.check_logits(&logits)?;
    check(tree, logits.shape(), sampling)?;
    let mut accepted = Accepted {
        nodes: Vec::new(),
        tokens: Vec::new(),
        bonus: -1,
    };
    let mut undecided = None;
    let no_bonus = |accepted, undecided| {
        Ok(Sampled {
            accepted,
            bonuses: vec![-1],
            undecided,
        })
    };
    loop {
        let current = accepted.nodes.last().copied();
        let Some(p) = distribution(row_after(&logits, current), sampling.temperature, precision)
        else {
            return no_bonus(accepted, undecided);
        };
        let q: Option<Vec<f64>> = sampling.draft.map(|draft| {
            row_after(&draft, current)
                .iter()
                .map(|&q| f64::from(q))
                .collect()
        });
        let (tried, rest) = attempts(tree, current, p, q.as_deref(), precision);
        let taken = tried.iter().find(|attempt| {
            let left = f64::from(sampling.uniform[attempt.node]) * attempt.draft;
            // uniform·q rounds once in f32.
            let unsure = attempt.target.bound + precision.unit() * left;
            if (left - attempt.target.value).abs() <= unsure && unsure > 0.0 {
                undecided.get_or_insert(attempt.node);
            }
            left < attempt.target.value
        });
        let Some(taken) = taken else {
            let bonuses = draw(&rest, f64::from(sampling.bonus_uniform), precision);
            accepted.bonus = bonuses.0;
            return Ok(Sampled {
                accepted,
                bonuses: bonuses.1,
                undecided,
            });
        };
        let token = tree.tokens()[taken.node];
        accepted.nodes.push(taken.node);
        accepted.tokens.push(token);
        if stop.contains(&token) {
            return no_bonus(accepted, undecided);
        }
    }
}

fn check(tree: &Tree, logits: [usize; 2], sampling: &Sampling<'_>) -> Result<()> {
    let temperature = sampling.temperature;
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(Error::argument(
            "temperature",
            temperature,
            "finite and above zero",
        ));
    }
    View::new("uniform", sampling.uniform, [tree.len()])?;
    let uniform = |u: &f32| (0.0..1.0).contains(u);
    if let Some(index) = sampling.uniform.iter().position(|u| !uniform(u)) {
        return Err(Error::entry(
            "uniform",
            index,
            sampling.uniform[index],
            "in [0, 1)",
        ));
    }
    if !uniform(&sampling.bonus_uniform) {
        return Err(Error::argument(
            "bonus_uniform",
            sampling.bonus_uniform,
            "in [0, 1)",
        ));
    }
    if let Some(draft) = &sampling.draft {
        draft.expect_shape(logits, "as `logits`")?;
        if let Some(index) = draft.data().iter().position(|q| !(0.0..=1.0).contains(q)) {
            return Err(Error::entry(
                "draft",
                index,
                draft.data()[index],
                "a probability",
            ));
        }
    }
    Ok(())
}

/// softmax(row/T); `None` without a finite logit.
fn distribution<T: Element>(
    row: &[T],
    temperature: f32,
    precision: Precision,
) -> Option<Vec<Bounded>> {
    let permitted = |x: &T| {
        if x.to_f64().is_nan() {
            f64::NEG_INFINITY
        } else {
            x.to_f64()
        }
    };
    let logits: Vec<f64> = row.iter().map(permitted).collect();
    let oracle = RowOracle::new(logits, 1, f64::from(temperature), precision);
    let some = oracle.lse.value.is_finite();
    some.then(|| {
        (0..row.len())
            .map(|token| oracle.probability(token))
            .collect()
    })
}

/// The first token at which the running sum exceeds `uniform`, and all that may be it: those whose
/// step of the running sum comes within its error of `uniform`.
fn draw(p: &[Bounded], uniform: f64, precision: Precision) -> (i32, Vec<i32>) {
    let total: f64 = p.iter().map(|p| p.value).sum();
    let error = precision.sum(p.iter().copied()).bound;
    let (mut exact, mut right, mut before) = (None, Vec::new(), 0.0);
    for (token, p) in p.iter().enumerate().filter(|(_, p)| p.value > 0.0) {
        let (low, high) = (before, before + p.value);
        // The probabilities sum to 1 but for rounding, which the last token takes.
        if exact.is_none() && (high > uniform || high >= total) {
            exact = Some(token as i32);
        }
        if low - error <= uniform && uniform <= high + error {
            right.push(token as i32);
        }
        before = high;
    }
    let exact = exact.unwrap_or(-1);
    if !right.contains(&exact) {
        right.push(exact);
    }
    (exact, right)
}
