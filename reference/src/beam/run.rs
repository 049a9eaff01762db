//! Whole runs from a model.

use super::{Beam, Candidate, Pool, Rules};
use crate::error::{Error, Result};
use crate::lm::Model;
use crate::numbers::{Bounded, Precision};

/// One result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Generated tokens, a final EOS included.
    pub tokens: Vec<i32>,
    /// Raw sum of their log-probabilities.
    pub acc: Bounded,
    /// Length as the rules count it.
    pub length: usize,
    /// Whether it ended with EOS.
    pub finished: bool,
    /// acc/len^α.
    pub score: Bounded,
}

/// The results of one item.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Best first; fewer than `n_best` when beams dropped out.
    pub hypotheses: Vec<Hypothesis>,
    /// Steps taken.
    pub steps: usize,
    /// The first step at which more than one choice was right: the search may go on differently
    /// from there, and an answer is to be judged step by step. `None` in nearly every run.
    pub undecided: Option<Undecided>,
}

/// Two candidates whose order the bounds do not decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Undecided {
    /// The step, from 0.
    pub step: usize,
    /// The two.
    pub candidates: [Candidate; 2],
}

/// Searches from each prompt, each by itself.
pub fn run(
    model: &impl Model,
    prompts: &[&[i32]],
    rules: &Rules,
    precision: Precision,
) -> Result<Vec<Run>> {
    rules.check()?;
    crate::tensor::nonzero("V", model.vocabulary())?;
    prompts
        .iter()
        .map(|prompt| run_one(model, prompt, rules, precision))
        .collect()
}

fn run_one(model: &impl Model, prompt: &[i32], rules: &Rules, precision: Precision) -> Result<Run> {
    let mut beams = vec![Beam::start()];
    let mut tokens: Vec<Vec<i32>> = vec![Vec::new()];
    let (mut steps, mut undecided) = (0, None);
    while steps < rules.max_new_tokens && beams.iter().any(|beam| !beam.finished) {
        if rules.early_stop && is_settled(&beams, rules, precision) {
            // Beams that would fall behind must not be reported in front.
            let (kept, left) = std::mem::take(&mut beams)
                .into_iter()
                .zip(std::mem::take(&mut tokens))
                .filter(|(beam, _)| beam.finished)
                .unzip();
            (beams, tokens) = (kept, left);
            break;
        }
        let mut logits = Vec::with_capacity(beams.len());
        for (beam, tokens) in beams.iter().zip(&tokens) {
            let row = match beam.finished {
                true => Vec::new(),
                false => model.logits(&[prompt, tokens].concat()),
            };
            if row.contains(&f32::INFINITY) {
                return Err(Error::entry(
                    "logits",
                    steps,
                    "a row with +inf",
                    "below +inf",
                ));
            }
            logits.push(row.into_iter().map(f64::from).collect());
        }
        let pool = Pool::new(&beams, &logits, rules, precision);
        if undecided.is_none() {
            let step = steps;
            undecided = pool
                .undecided(rules.beams)
                .map(|candidates| Undecided { step, candidates });
        }
        let kept = pool.best(rules.beams);
        tokens = kept
            .iter()
            .map(|c| [&tokens[c.parent][..], c.token.as_slice()].concat())
            .collect();
        beams = kept.iter().map(|c| c.beam).collect();
        steps += 1;
    }
    let hypotheses = beams
        .iter()
        .zip(tokens)
        .take(rules.n_best)
        .map(|(beam, tokens)| Hypothesis {
            tokens,
            acc: beam.acc,
            length: beam.length,
            finished: beam.finished,
            score: rules.score(beam.acc, beam.length, precision),
        });
    Ok(Run {
        hypotheses: hypotheses.collect(),
        steps,
        undecided,
    })
}

/// Whether no unfinished beam can enter the results any more. Beams are sorted, best first.
fn is_settled(beams: &[Beam], rules: &Rules, precision: Precision) -> bool {
    let score = |acc, length| rules.score(acc, length, precision).value;
    let finished = beams.iter().filter(|beam| beam.finished);
    let Some(last) = finished
        .map(|b| score(b.acc, b.length))
        .nth(rules.n_best - 1)
    else {
        return false;
    };
    let attainable = |beam: &Beam| {
        // EOS may not count, and then the next length is the present one.
        let next = beam.length + usize::from(rules.count_eos);
        let length = if rules.alpha > 0.0 {
            rules.max_new_tokens
        } else {
            next
        };
        score(beam.acc, length)
    };
    beams
        .iter()
        .filter(|beam| !beam.finished)
        .all(|beam| attainable(beam) < last)
}
