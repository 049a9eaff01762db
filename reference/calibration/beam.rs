//! A beam-search step in f32.

use reference::beam::Kept;
use reference::cases::beam::BeamStep;
use reference::cases::build;
use reference::numbers::Element;
use reference::tensor::View;

use super::Report;
use super::arithmetic::{STYLES, Style};
use super::softmax_topk::max_and_sum;

pub fn trial<T: Element>(seed: u64, report: &mut Report) {
    let Some(case) = report.built(seed, build::<BeamStep<T>>(seed)) else {
        return;
    };
    let oracle = case.oracle().expect("a built case has an oracle");
    let shape = [case.items, case.rules.beams];
    for style in STYLES {
        let mut kept = Vec::new();
        for item in 0..case.items {
            let mut pool = pool(&case, item, style);
            pool.sort_by(|a, b| {
                let by_score = b.score.partial_cmp(&a.score).expect("no NaN");
                by_score
                    .then(a.parent.cmp(&b.parent))
                    .then(a.token.cmp(&b.token))
            });
            pool.resize(case.rules.beams, NONE);
            kept.extend(pool);
        }
        let ints = |f: fn(&Member) -> i32| kept.iter().map(f).collect::<Vec<_>>();
        let floats = |f: fn(&Member) -> f32| kept.iter().map(f).collect::<Vec<_>>();
        let (parent, token, length) = (ints(|m| m.parent), ints(|m| m.token), ints(|m| m.length));
        let (acc, score) = (floats(|m| m.acc), floats(|m| m.score));
        let finished: Vec<bool> = kept.iter().map(|m| m.finished).collect();
        let answer = Kept {
            parent: View::new("parent", &parent, shape).expect("items by K"),
            token: View::new("token", &token, shape).expect("items by K"),
            acc: View::new("acc", &acc, shape).expect("items by K"),
            length: View::new("length", &length, shape).expect("items by K"),
            finished: View::new("finished", &finished, shape).expect("items by K"),
            score: View::new("score", &score, shape).expect("items by K"),
        };
        let verdict = oracle.judge(&answer).expect("well-formed");
        report.judged("acc, score", style.name, seed, verdict);
    }
}

#[derive(Clone, Copy)]
struct Member {
    parent: i32,
    token: i32,
    acc: f32,
    length: i32,
    finished: bool,
    score: f32,
}

const NONE: Member = Member {
    parent: -1,
    token: -1,
    acc: f32::NEG_INFINITY,
    length: 0,
    finished: false,
    score: f32::NEG_INFINITY,
};

fn pool<T: Element>(case: &BeamStep<T>, item: usize, style: Style) -> Vec<Member> {
    let (beams, rules) = (case.rules.beams, &case.rules);
    let score = |acc: f32, length: i32| match rules.alpha {
        0.0 => acc,
        alpha => style.div(acc, style.pow(length.max(1) as f32, alpha)),
    };
    let mut pool = Vec::new();
    for b in 0..beams {
        let at = item * beams + b;
        let (acc, length) = (case.acc[at], case.length[at]);
        let parent = b as i32;
        if acc == f32::NEG_INFINITY {
            continue;
        }
        if case.finished[at] {
            let score = score(acc, length);
            pool.push(Member {
                parent,
                token: -1,
                acc,
                length,
                finished: true,
                score,
            });
            continue;
        }
        let row: Vec<f32> = case.logits[at * case.vocabulary..][..case.vocabulary]
            .iter()
            .map(|x| x.to_f64() as f32)
            .map(|x| if x.is_nan() { f32::NEG_INFINITY } else { x })
            .collect();
        let (max, sum) = max_and_sum(&row, style);
        let log_sum = style.ln(sum);
        let may_end = length as usize >= rules.min_length;
        let mut tokens: Vec<usize> = (0..row.len())
            .filter(|&t| row[t] > f32::NEG_INFINITY)
            .filter(|&t| may_end || !rules.eos.contains(&(t as i32)))
            .collect();
        tokens.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).expect("no NaN").then(a.cmp(&b)));
        for token in tokens.into_iter().take(2 * beams) {
            let logp = match style.fma {
                true => row[token] - (max + log_sum),
                false => (row[token] - max) - log_sum,
            };
            let token = token as i32;
            let finished = rules.eos.contains(&token);
            let length = length + i32::from(!finished || rules.count_eos);
            let acc = acc + logp;
            pool.push(Member {
                parent,
                token,
                acc,
                length,
                finished,
                score: score(acc, length),
            });
        }
    }
    pool
}
