//! What must hold between calls.

use super::cases::call;
use crate::submission::Named;
use crate::task::attention::Draft;
use crate::task::{Check, Kind, Stop, fixed};
use crate::verdict::Verdict;
use reference::numbers::{BoundedTensor, DType, Precision};

fn wrong(why: String) -> Stop {
    Verdict::wrong(why).into()
}

fn values(outputs: &[Named], at: usize) -> Vec<f64> {
    outputs[at].tensor.to_f64()
}

/// The bounds on o and lse of an f32 draft, to compare answers to two calls.
fn right(draft: &Draft) -> Result<(BoundedTensor, BoundedTensor), Stop> {
    let bits = |numbers: &[f64]| -> Vec<f32> { numbers.iter().map(|x| *x as f32).collect() };
    let (q, k, v) = (bits(&draft.q), bits(&draft.k), bits(&draft.v));
    let call = call(draft);
    let ours = |why: String| Stop::from(Verdict::Grader(why.into()));
    let problem = crate::task::attention::Problem::of(&call).map_err(ours)?;
    let both = || {
        let batch = problem.batch(&q, &k, &v)?;
        let method = reference::attention::Method::Tiled;
        let precision = Precision::of(DType::F32);
        reference::attention::forward(&batch, &problem.options, precision, method)
    };
    let right = both().map_err(|error: reference::Error| ours(error.to_string()))?;
    Ok((right.o, right.lse))
}

pub(super) fn properties() -> Vec<Check> {
    let small = || {
        fixed([
            ("B", 1),
            ("Hq", 2),
            ("Hkv", 2),
            ("Nq", 17),
            ("Nk", 75),
            ("D", 32),
        ])
    };
    vec![
        Check::new(
            Kind::Property,
            "constant-values",
            "where every value is the same vector, every output is that vector",
            small(),
            |session, dims, rng| {
                let mut draft = Draft::drawn(Draft::dense(dims), rng);
                let d = dims.get("D");
                let one: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
                for v in draft.v.chunks_mut(d) {
                    v.copy_from_slice(&one);
                }
                session.without_margin().judge(&call(&draft)).map(drop)
            },
        ),
        Check::new(
            Kind::Property,
            "convex-combination",
            "every output lies between the least and the greatest value of its component, within \
             its bound",
            small(),
            |session, dims, rng| {
                let draft = Draft::drawn(Draft::dense(dims), rng);
                let o = values(&session.judge(&call(&draft))?, 0);
                let (bounds, _) = right(&draft)?;
                let (d, nk) = (dims.get("D"), dims.get("Nk"));
                let nq = dims.get("Nq");
                for (at, (x, bound)) in o.iter().zip(bounds.items()).enumerate() {
                    let (row, c) = (at / d, at % d);
                    let head = row / nq % draft.shape.query_heads / draft.shape.group();
                    let sequence = row / nq / draft.shape.query_heads;
                    let first = draft.shape.key_row(sequence, head, 0);
                    let of = |j: usize| f64::from(draft.v[(first + j) * d + c] as f32);
                    let least = (0..nk).map(of).fold(f64::INFINITY, f64::min);
                    let most = (0..nk).map(of).fold(f64::NEG_INFINITY, f64::max);
                    if !(*x >= least - bound.bound && *x <= most + bound.bound) {
                        return Err(wrong(format!(
                            "component {c} of row {row} is {x}; its values lie in {least} to {most}"
                        )));
                    }
                }
                Ok(())
            },
        ),
        Check::new(
            Kind::Property,
            "orthogonal-keys",
            "adding to every key a vector that is orthogonal to every query changes nothing",
            small(),
            |session, dims, rng| {
                let mut draft = Draft::normal(Draft::dense(dims), rng);
                let d = dims.get("D");
                // Queries live in the first half of the components, the addition in the second.
                for q in draft.q.chunks_mut(d) {
                    q[d / 2..].fill(0.0);
                }
                session.judge(&call(&draft))?;
                for k in draft.k.chunks_mut(d) {
                    k[d / 2..].iter_mut().for_each(|x| *x += 100.0);
                }
                session.judge(&call(&draft)).map(drop)
            },
        ),
        Check::new(
            Kind::Property,
            "future-poisoned",
            "with a causal mask row i ignores everything after it: NaN there changes no bit",
            fixed([
                ("B", 1),
                ("Hq", 1),
                ("Hkv", 1),
                ("Nq", 70),
                ("Nk", 70),
                ("D", 32),
            ]),
            |session, dims, rng| {
                let mut draft = Draft::normal(Draft::dense(dims), rng);
                draft.options.causal = true;
                let clean = session.judge(&call(&draft))?;
                let (d, nk) = (dims.get("D"), dims.get("Nk"));
                let from = nk / 2;
                draft.k[from * d..].fill(f64::NAN);
                draft.v[from * d..].fill(f64::NAN);
                let poisoned = session.call(&call(&draft))?;
                let seen = dims.get("Nq").saturating_sub(nk - from);
                for (name, at, width) in [("o", 0, d), ("lse", 1, 1)] {
                    let (a, b) = (values(&clean, at), values(&poisoned, at));
                    let rows = a.iter().zip(&b).take(seen * width);
                    if let Some(i) = rows.clone().position(|(a, b)| a.to_bits() != b.to_bits()) {
                        let (row, after) = (i / width, from);
                        return Err(wrong(format!(
                            "{name} of row {row} changed when keys from {after} on became NaN"
                        )));
                    }
                }
                Ok(())
            },
        ),
        Check::new(
            Kind::Property,
            "heads-independent",
            "exchanging two heads exchanges their outputs and changes nothing else",
            small(),
            |session, dims, rng| {
                let draft = Draft::normal(Draft::dense(dims), rng);
                let (d, nq, nk) = (dims.get("D"), dims.get("Nq"), dims.get("Nk"));
                if draft.shape.query_heads != 2 || draft.shape.kv_heads != 2 {
                    return Err(Stop::Unfit);
                }
                let mut other = draft.clone();
                for (numbers, n) in [
                    (&mut other.q, nq * d),
                    (&mut other.k, nk * d),
                    (&mut other.v, nk * d),
                ] {
                    for pair in numbers.chunks_mut(2 * n) {
                        pair.rotate_left(n);
                    }
                }
                session.judge(&call(&draft))?;
                session.judge(&call(&other)).map(drop)
            },
        ),
        Check::new(
            Kind::Property,
            "split-keys",
            "attending to two parts of the keys and merging by lse gives the whole, within the \
             bounds of all three",
            small(),
            split_keys,
        ),
    ]
}

fn split_keys(
    session: &mut crate::task::Session<'_>,
    dims: &crate::task::Dims,
    rng: &mut reference::cases::Rng,
) -> Result<(), Stop> {
    let (d, nk) = (dims.get("D"), dims.get("Nk"));
    if nk < 2 {
        return Err(Stop::Unfit);
    }
    let whole = Draft::normal(Draft::dense(dims), rng);
    let cut = rng.between(1, nk - 1);
    let part = |from: usize, to: usize| {
        let mut shape = whole.shape.clone();
        shape.lengths.iter_mut().for_each(|l| l.1 = to - from);
        let take = |numbers: &[f64]| -> Vec<f64> {
            let rows = numbers.chunks(nk * d);
            rows.flat_map(|head| head[from * d..to * d].to_vec())
                .collect()
        };
        Draft {
            k: take(&whole.k),
            v: take(&whole.v),
            q: whole.q.clone(),
            shape,
            ..whole.clone()
        }
    };
    let parts = [part(0, cut), part(cut, nk)];
    let all = session.judge(&call(&whole))?;
    let (all_o, _) = right(&whole)?;
    let mut answers = Vec::new();
    for part in &parts {
        let outputs = session.judge(&call(part))?;
        answers.push((outputs, right(part)?));
    }
    let o = values(&all, 0);
    for (at, (got, bound)) in o.iter().zip(all_o.items()).enumerate() {
        let row = at / d;
        let lse: Vec<f64> = answers.iter().map(|(out, _)| values(out, 1)[row]).collect();
        let top = lse[0].max(lse[1]);
        let weight: Vec<f64> = lse.iter().map(|l| (l - top).exp()).collect();
        let total = weight[0] + weight[1];
        let merged: f64 = (0..2)
            .map(|p| weight[p] / total * values(&answers[p].0, 0)[at])
            .sum();
        // First order: each part's own error by its weight, and the errors of the lse times the
        // distance of the parts.
        let share = weight[0] / total * (weight[1] / total);
        let of = |p: usize| (&answers[p].1.0.items()[at], &answers[p].1.1.items()[row]);
        let apart = (of(0).0.value - of(1).0.value).abs();
        let allowed = bound.bound
            + weight[0] / total * of(0).0.bound
            + weight[1] / total * of(1).0.bound
            + share * apart * (of(0).1.bound + of(1).1.bound);
        let right = (got - merged).abs() <= allowed;
        if !right {
            return Err(wrong(format!(
                "component {} of row {row}: {got} over all keys, {merged} merged from two parts",
                at % d
            )));
        }
    }
    Ok(())
}
