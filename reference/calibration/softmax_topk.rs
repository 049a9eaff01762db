//! Softmax and top-k in f32.

use reference::cases::build;
use reference::cases::softmax_topk::SoftmaxTopK;
use reference::numbers::Element;
use reference::softmax_topk::Answer;
use reference::tensor::View;

use super::Report;
use super::arithmetic::{Order, STYLES, Style};

pub fn trial<T: Element>(seed: u64, report: &mut Report) {
    let Some(case) = report.built(seed, build::<SoftmaxTopK<T>>(seed)) else {
        return;
    };
    let oracle = case.oracle().expect("a built case has an oracle");
    for style in STYLES {
        let (mut prob, mut index, mut lse) = (Vec::new(), Vec::new(), Vec::new());
        for r in 0..case.rows {
            let row = honest(&case, r, oracle.width, style);
            prob.extend(row.0);
            index.extend(row.1);
            lse.push(row.2);
        }
        let shape = [case.rows, oracle.width];
        let answer = Answer {
            prob: View::new("prob", &prob, shape).expect("rows by K"),
            index: View::new("index", &index, shape).expect("rows by K"),
            lse: View::new("lse", &lse, [case.rows]).expect("one per row"),
        };
        let verdict = oracle.judge(&answer).expect("well-formed");
        report.judged("prob, lse", style.name, seed, verdict);
    }
}

fn honest<T: Element>(
    case: &SoftmaxTopK<T>,
    r: usize,
    width: usize,
    style: Style,
) -> (Vec<f32>, Vec<i32>, f32) {
    let vocabulary = case.vocabulary;
    let reciprocal = 1.0 / case.temperature;
    let s: Vec<f32> = (r * vocabulary..(r + 1) * vocabulary)
        .map(|i| {
            let x = case.logits[i].to_f64() as f32;
            match (
                case.mask.as_ref().is_some_and(|mask| mask[i]),
                style.approximate,
            ) {
                (true, _) => f32::NEG_INFINITY,
                (false, true) => x * reciprocal,
                (false, false) => x / case.temperature,
            }
        })
        .collect();
    let (max, sum) = max_and_sum(&s, style);
    let mut order: Vec<usize> = (0..vocabulary).collect();
    order.sort_by(|&a, &b| s[b].partial_cmp(&s[a]).expect("no NaN").then(a.cmp(&b)));
    let k = case.ks[r];
    let mut prob: Vec<f32> = order[..k]
        .iter()
        .map(|&i| style.div(style.exp_minus(s[i], max), sum))
        .collect();
    let mut index: Vec<i32> = order[..k].iter().map(|&i| i as i32).collect();
    prob.resize(width, 0.0);
    index.resize(width, -1);
    (prob, index, max + style.ln(sum))
}

/// Maximum and `Σ exp(s − max)`, in two passes or one.
pub fn max_and_sum(s: &[f32], style: Style) -> (f32, f32) {
    let chain = |part: &mut dyn Iterator<Item = f32>| {
        let mut state = (f32::NEG_INFINITY, 0.0f32);
        for x in part {
            state = merge(
                state,
                (x, if x == f32::NEG_INFINITY { 0.0 } else { 1.0 }),
                style,
            );
        }
        state
    };
    if style.online {
        return match style.order {
            Order::Pairwise => tree(s, style),
            Order::Strided(threads) => {
                let parts =
                    (0..threads).map(|t| chain(&mut s.iter().skip(t).step_by(threads).copied()));
                parts
                    .reduce(|a, b| merge(a, b, style))
                    .expect("at least one thread")
            }
            _ => chain(&mut s.iter().copied()),
        };
    }
    let max = s.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let terms: Vec<f32> = s
        .iter()
        .map(|&x| {
            if x == f32::NEG_INFINITY {
                0.0
            } else {
                style.exp_minus(x, max)
            }
        })
        .collect();
    (max, style.sum(&terms))
}

fn tree(s: &[f32], style: Style) -> (f32, f32) {
    match s {
        [] => (f32::NEG_INFINITY, 0.0),
        [one] => (*one, if *one == f32::NEG_INFINITY { 0.0 } else { 1.0 }),
        _ => {
            let (left, right) = s.split_at(s.len() / 2);
            merge(tree(left, style), tree(right, style), style)
        }
    }
}

/// Both sums under the larger maximum.
fn merge(a: (f32, f32), b: (f32, f32), style: Style) -> (f32, f32) {
    let max = a.0.max(b.0);
    if max == f32::NEG_INFINITY {
        return (max, 0.0);
    }
    let factor = |m: f32| match m {
        f32::NEG_INFINITY => 0.0,
        m if m == max => 1.0,
        m => style.exp_minus(m, max),
    };
    (max, style.mul_add(a.1, factor(a.0), b.1 * factor(b.0)))
}
