//! Whole runs and other properties: the model is ours, each step is the submission's, and what it
//! returns goes into its next step.

use super::cases::{Step, mixed, shape};
use crate::submission::Named;
use crate::task::{Check, Dims, Kind, Session, Stop, fixed};
use crate::verdict::Verdict;
use reference::beam::{self, Rules};
use reference::cases::Rng;
use reference::lm::{HashModel, Model, greedy};
use reference::numbers::{DType, Precision};
use std::collections::HashSet;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Property,
            "greedy",
            "with one beam a run is greedy decoding",
            fixed([("B", 2), ("V", 40), ("T", 8)]),
            |session, dims, rng| {
                let model = HashModel::new(rng.bits(), dims.get("V"));
                let rules = rules(1, dims, Vec::new());
                let prompts = prompts(rng, dims.get("B"), dims.get("V"));
                let results = run(session, &model, &prompts, &rules)?;
                for (item, (prompt, result)) in prompts.iter().zip(&results).enumerate() {
                    let plain = greedy(&model, prompt, rules.max_new_tokens, &HashSet::new());
                    if result[0] != plain {
                        let why = format!("item {item}: {:?}, greedily {plain:?}", result[0]);
                        return Err(Verdict::wrong(why).into());
                    }
                }
                Ok(())
            },
        )
        .cases(1, 3),
        Check::new(
            Kind::Property,
            "run",
            "a run over prompts of different lengths gives the sequences that the search by exact \
             log-probabilities gives, wherever those decide",
            fixed([("B", 3), ("K", 4), ("V", 24), ("T", 7)]),
            |session, dims, rng| {
                // Rarely tied, so that nearly every choice is decided.
                let model = HashModel::new(rng.bits(), dims.get("V")).with_levels((1 << 20) + 1);
                let eos = vec![rng.below(dims.get("V")) as i32];
                let rules = rules(dims.get("K"), dims, eos);
                let prompts = prompts(rng, dims.get("B"), dims.get("V"));
                let results = run(session, &model, &prompts, &rules)?;
                let borrowed: Vec<&[i32]> = prompts.iter().map(Vec::as_slice).collect();
                let precision = Precision::scalar(DType::F32);
                let exact = beam::run(&model, &borrowed, &rules, precision);
                let exact = exact.map_err(|e| Verdict::Grader(e.to_string().into()))?;
                for (item, (exact, result)) in exact.iter().zip(&results).enumerate() {
                    let tokens: Vec<_> =
                        exact.hypotheses.iter().map(|h| h.tokens.clone()).collect();
                    if exact.undecided.is_none() && *result != tokens {
                        let why = format!("item {item}: {result:?}, exactly {tokens:?}");
                        return Err(Verdict::wrong(why).into());
                    }
                }
                Ok(())
            },
        )
        .cases(1, 4),
        Check::new(
            Kind::Property,
            "exhaustive",
            "with as many beams as there are sequences, the best one of all is found",
            fixed([("V", 3), ("T", 3)]),
            |session, dims, rng| {
                let (vocabulary, steps) = (dims.get("V"), dims.get("T"));
                let beams = vocabulary.pow(steps as u32);
                let model = HashModel::new(rng.bits(), vocabulary).with_levels((1 << 20) + 1);
                let rules = rules(beams, dims, Vec::new());
                let results = run(session, &model, &[vec![0]], &rules)?;
                let best = exhaustive(&model, vec![0], steps).1;
                match results[0].first() {
                    Some(found) if *found == best => Ok(()),
                    found => {
                        let why = format!("{found:?}, the best of all is {best:?}");
                        Err(Verdict::wrong(why).into())
                    }
                }
            },
        ),
        Check::new(
            Kind::Property,
            "items-are-independent",
            "an item is continued alike whatever its place in the batch, and alone",
            fixed([("B", 4), ("K", 3), ("V", 50)]),
            independent,
        ),
        Check::new(
            Kind::Property,
            "alpha-zero",
            "at alpha 0 the score is the sum, to the bit",
            fixed([("B", 2), ("K", 4), ("V", 60)]),
            |session, dims, rng| {
                let outputs = session.judge(&Step::<f32>::normal(rng, dims, 2.0).call())?;
                match outputs[2].tensor.bytes() == outputs[5].tensor.bytes() {
                    true => Ok(()),
                    false => Err(Verdict::wrong("score and acc differ at alpha 0").into()),
                }
            },
        ),
    ]
}

fn rules(beams: usize, dims: &Dims, eos: Vec<i32>) -> Rules {
    Rules {
        eos,
        max_new_tokens: dims.get("T"),
        ..Rules::new(beams, 0)
    }
}

/// Prompts of different lengths.
fn prompts(rng: &mut Rng, items: usize, vocabulary: usize) -> Vec<Vec<i32>> {
    (0..items)
        .map(|item| {
            (0..=2 * item)
                .map(|_| rng.below(vocabulary) as i32)
                .collect()
        })
        .collect()
}

/// What a step left behind for the next.
struct State {
    acc: Vec<f32>,
    length: Vec<i32>,
    finished: Vec<u8>,
    tokens: Vec<Vec<i32>>,
}

/// Searches; each step is judged. The result: for each item its sequences, best first.
fn run(
    session: &mut Session<'_>,
    model: &HashModel,
    prompts: &[Vec<i32>],
    rules: &Rules,
) -> Result<Vec<Vec<Vec<i32>>>, Stop> {
    let beams = rules.beams;
    let n = prompts.len() * beams;
    let first = |at: usize| {
        if at.is_multiple_of(beams) {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    };
    let mut state = State {
        acc: (0..n).map(first).collect(),
        length: vec![0; n],
        finished: vec![0; n],
        tokens: vec![Vec::new(); n],
    };
    for _ in 0..rules.max_new_tokens {
        let lives = |at: usize| state.acc[at] > f32::NEG_INFINITY && state.finished[at] == 0;
        if !(0..n).any(lives) {
            break;
        }
        let mut logits = Vec::new();
        for at in 0..n {
            logits.extend(match lives(at) {
                true => model.logits(&[&prompts[at / beams][..], &state.tokens[at]].concat()),
                // Nobody may read these.
                false => vec![f32::NAN; model.vocabulary()],
            });
        }
        let step = Step {
            rules: rules.clone(),
            acc: state.acc.clone(),
            length: state.length.clone(),
            finished: state.finished.clone(),
            ..Step::new(beams, model.vocabulary(), logits)
        };
        // A step may be without a margin (one token left); the run as a whole is not.
        let kept = session.without_margin().judge(&step.call())?;
        state = state.next(&kept, beams);
    }
    let item = |item: usize| -> Vec<Vec<i32>> {
        (item * beams..(item + 1) * beams)
            .filter(|at| state.acc[*at] > f32::NEG_INFINITY)
            .map(|at| state.tokens[at].clone())
            .collect()
    };
    Ok((0..prompts.len()).map(item).collect())
}

impl State {
    /// After a step whose answer was right.
    fn next(&self, kept: &[Named], beams: usize) -> State {
        let ints = |at: usize| kept[at].tensor.to_vec::<i32>().unwrap_or_default();
        let (parent, token) = (ints(0), ints(1));
        let tokens = (0..parent.len()).map(|at| match usize::try_from(parent[at]) {
            Ok(parent) => {
                let mut tokens = self.tokens[at / beams * beams + parent].clone();
                tokens.extend((token[at] >= 0).then_some(token[at]));
                tokens
            }
            Err(_) => Vec::new(),
        });
        State {
            tokens: tokens.collect(),
            acc: kept[2].tensor.to_f32(),
            length: ints(3),
            finished: kept[4].tensor.bytes().to_vec(),
        }
    }
}

/// The most probable sequence of all, with its log-probability.
fn exhaustive(model: &HashModel, history: Vec<i32>, steps: usize) -> (f64, Vec<i32>) {
    if steps == 0 {
        return (0.0, Vec::new());
    }
    let logits: Vec<f64> = model.logits(&history).into_iter().map(f64::from).collect();
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    let mut best = (f64::NEG_INFINITY, Vec::new());
    for (token, logit) in logits.iter().enumerate() {
        let token = token as i32;
        let (rest, mut tokens) = exhaustive(model, [&history[..], &[token]].concat(), steps - 1);
        if logit - lse + rest > best.0 {
            tokens.insert(0, token);
            best = (logit - lse + rest, tokens);
        }
    }
    best
}

fn independent(session: &mut Session<'_>, dims: &Dims, rng: &mut Rng) -> Result<(), Stop> {
    let [items, beams, vocabulary] = shape(dims);
    let step = Step {
        rules: Rules {
            alpha: 0.0,
            eos: Vec::new(),
            min_length: 0,
            ..mixed::<f32>(dims, rng).rules
        },
        ..mixed::<f32>(dims, rng)
    };
    fn reversed<T: Clone>(of: &[T], items: usize) -> Vec<T> {
        let each = of.len() / items;
        of.chunks(each).rev().flatten().cloned().collect()
    }
    let other = Step {
        logits: reversed(&step.logits, items),
        acc: reversed(&step.acc, items),
        length: reversed(&step.length, items),
        finished: reversed(&step.finished, items),
        ..step.clone()
    };
    // Not to the bit: where a row begins may decide how its sum is cut.
    session.judge(&step.call())?;
    session.judge(&other.clone().call())?;
    // And alone: nothing of the others is needed.
    let alone = Step {
        logits: other.logits[..beams * vocabulary].to_vec(),
        acc: other.acc[..beams].to_vec(),
        length: other.length[..beams].to_vec(),
        finished: other.finished[..beams].to_vec(),
        ..other
    };
    session.judge(&alone.call()).map(drop)
}
