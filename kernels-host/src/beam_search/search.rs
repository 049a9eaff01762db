//! Whole runs: a batch of prompts, a model, and the steps between them.

use super::{BackPointers, Beams, Kept, Rules, Shape, beam_step};
use crate::softmax_topk::Logit;
use crate::{Buffer, Device, Error, Result};
use std::sync::Arc;

/// A model as the search sees it.
pub trait Model<T: Logit> {
    /// What can go wrong in it.
    type Error: From<Error>;

    /// V: tokens are 0…V−1.
    fn vocabulary(&self) -> usize;

    /// The logits after each beam's last token, `[items, beams, vocabulary]` on the search's device.
    /// Rows of beams that are not [active](Turn::is_active) are not read and may hold anything.
    ///
    /// # Errors
    /// The model's own; they end the run.
    fn logits(&mut self, turn: &Turn<'_>) -> std::result::Result<Buffer<T>, Self::Error>;
}

/// Where a run stands when the model is asked.
#[derive(Debug)]
pub struct Turn<'a> {
    prompts: &'a [&'a [i32]],
    beams: usize,
    table: &'a BackPointers,
    active: &'a [bool],
}

impl Turn<'_> {
    /// Tokens generated so far; 0 when the model first sees the prompts.
    pub fn step(&self) -> usize {
        self.table.steps()
    }

    /// Items of the batch.
    pub fn items(&self) -> usize {
        self.prompts.len()
    }

    /// Beams an item.
    pub fn beams(&self) -> usize {
        self.beams
    }

    /// The prompt of an item.
    pub fn prompt(&self, item: usize) -> &[i32] {
        self.prompts[item]
    }

    /// Whether a beam takes a token: its row of logits is read. At step 0 there is one an item.
    pub fn is_active(&self, item: usize, beam: usize) -> bool {
        self.active[item * self.beams + beam]
    }

    /// Which beam came from which.
    pub fn table(&self) -> &BackPointers {
        self.table
    }

    /// The prompt and all tokens of a beam.
    pub fn history(&self, item: usize, beam: usize) -> Vec<i32> {
        let mut tokens = self.prompts[item].to_vec();
        tokens.extend(self.table.tokens(item, beam));
        tokens
    }
}

/// One result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Generated tokens, a final EOS included.
    pub tokens: Vec<i32>,
    /// The sum of their log-probabilities.
    pub acc: f32,
    /// Its length as the rules count it.
    pub length: usize,
    /// Whether it ended with EOS.
    pub finished: bool,
    /// acc/len^α.
    pub score: f32,
}

/// Beam search over whole batches.
#[derive(Debug)]
pub struct BeamSearch {
    device: Arc<dyn Device>,
    rules: Rules,
    eos: Buffer<i32>,
}

/// An item's beams, on the host.
struct State {
    acc: Vec<f32>,
    length: Vec<i32>,
    finished: Vec<u8>,
    score: Vec<f32>,
}

impl BeamSearch {
    /// A search on a device.
    ///
    /// # Errors
    /// When a rule is out of range, or there is no memory.
    pub fn new(device: &Arc<dyn Device>, rules: Rules) -> Result<BeamSearch> {
        rules.check()?;
        Ok(BeamSearch {
            eos: Buffer::from_slice(device, &rules.eos)?,
            device: device.clone(),
            rules,
        })
    }

    /// Searches from each prompt, each item by itself: the `n_best` best continuations, best first;
    /// fewer where beams dropped out.
    ///
    /// An item ends when all its beams are finished or none is left, and with
    /// [`Rules::early_stop`] when no unfinished beam can still enter its results; then those that are
    /// not finished are left out. The run ends with its last item, or after `max_new_tokens`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::beam_search::{BeamSearch, Model, Rules, Turn};
    /// use kernels_host::{Buffer, Device, Error, Vm};
    ///
    /// /// After token t come t + 1 (probable) and t + 2; 9 ends.
    /// struct Counting(Arc<dyn Device>);
    ///
    /// impl Model<f32> for Counting {
    ///     type Error = Error;
    ///     fn vocabulary(&self) -> usize {
    ///         10
    ///     }
    ///     fn logits(&mut self, turn: &Turn<'_>) -> Result<Buffer<f32>, Error> {
    ///         let mut logits = vec![f32::NEG_INFINITY; turn.items() * turn.beams() * 10];
    ///         for item in 0..turn.items() {
    ///             for beam in (0..turn.beams()).filter(|beam| turn.is_active(item, *beam)) {
    ///                 let last = turn.history(item, beam).last().map_or(0, |t| *t as usize);
    ///                 let row = &mut logits[(item * turn.beams() + beam) * 10..][..10];
    ///                 row[(last + 1).min(9)] = 1.0;
    ///                 row[(last + 2).min(9)] = 0.5;
    ///             }
    ///         }
    ///         Buffer::from_slice(&self.0, &logits)
    ///     }
    /// }
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let search = BeamSearch::new(&device, Rules::new(2, 9))?;
    /// let found = search.run(&mut Counting(device.clone()), &[&[1, 2, 3, 4, 5], &[7]])?;
    /// assert_eq!(found[0][0].tokens, [6, 7, 8, 9]);
    /// assert_eq!(found[1][0].tokens, [8, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When a shape is out of range, a buffer of the model does not fit, or the model fails.
    pub fn run<T: Logit, M: Model<T>>(
        &self,
        model: &mut M,
        prompts: &[&[i32]],
    ) -> std::result::Result<Vec<Vec<Hypothesis>>, M::Error> {
        let (items, k) = (prompts.len(), self.rules.beams);
        if items == 0 {
            return Ok(Vec::new());
        }
        let shape = Shape {
            items,
            vocabulary: model.vocabulary(),
            parts: None,
        };
        let mut now = Beams::start(&self.device, items, k)?;
        let mut next = Beams::uninit(&self.device, items, k)?;
        let mut parent = Buffer::uninit(&self.device, items * k)?;
        let mut token = Buffer::uninit(&self.device, items * k)?;
        let mut score = Buffer::uninit(&self.device, items * k)?;
        let mut table = BackPointers::new(items, k);
        let mut results: Vec<Option<Vec<Hypothesis>>> = vec![None; items];
        let mut state = State {
            acc: now.acc.to_vec()?,
            length: now.length.to_vec()?,
            finished: now.finished.to_vec()?,
            score: now.acc.to_vec()?,
        };
        loop {
            self.close(&mut state, &table, &mut results);
            let active: Vec<bool> = (0..items * k).map(|at| state.takes_token(at)).collect();
            if !active.contains(&true) {
                break;
            }
            // A closed item's beams are none from now on.
            now.acc.write(&state.acc)?;
            let logits = model.logits(&Turn {
                prompts,
                beams: k,
                table: &table,
                active: &active,
            })?;
            beam_step(
                &self.rules,
                shape,
                &logits,
                &self.eos,
                &now,
                Kept {
                    beams: &mut next,
                    parent: &mut parent,
                    token: &mut token,
                    score: &mut score,
                },
            )?;
            std::mem::swap(&mut now, &mut next);
            table.push(&parent.to_vec()?, &token.to_vec()?);
            state = State {
                acc: now.acc.to_vec()?,
                length: now.length.to_vec()?,
                finished: now.finished.to_vec()?,
                score: score.to_vec()?,
            };
        }
        Ok(results.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Takes the results of the items that end here, and their beams out of the run.
    fn close(
        &self,
        state: &mut State,
        table: &BackPointers,
        results: &mut [Option<Vec<Hypothesis>>],
    ) {
        let k = self.rules.beams;
        for (item, result) in results.iter_mut().enumerate() {
            if result.is_some() {
                continue;
            }
            let beams: Vec<usize> = (item * k..(item + 1) * k)
                .filter(|at| state.acc[*at] > f32::NEG_INFINITY)
                .collect();
            let settled = self.rules.early_stop && self.is_settled(state, &beams);
            let over = table.steps() >= self.rules.max_new_tokens;
            if !over && !settled && beams.iter().any(|at| state.takes_token(*at)) {
                continue;
            }
            // When it stops early, beams that would fall behind must not stand in front.
            let reported = beams
                .into_iter()
                .filter(|at| over || !settled || state.finished[*at] != 0);
            let hypotheses = reported.take(self.rules.n_best).map(|at| Hypothesis {
                tokens: table.tokens(item, at - item * k),
                acc: state.acc[at],
                length: state.length[at] as usize,
                finished: state.finished[at] != 0,
                score: state.score[at],
            });
            *result = Some(hypotheses.collect());
            state.acc[item * k..(item + 1) * k].fill(f32::NEG_INFINITY);
        }
    }

    /// Whether no unfinished beam can enter the results any more. Sums never rise, so what a beam can
    /// still reach is its sum over the penalty of the length that is best for it: the longest when
    /// α > 0, its next when α ≤ 0.
    fn is_settled(&self, state: &State, beams: &[usize]) -> bool {
        let rules = &self.rules;
        let finished = beams.iter().filter(|at| state.finished[**at] != 0);
        let Some(last) = finished
            .map(|at| f64::from(state.score[*at]))
            .nth(rules.n_best - 1)
        else {
            return false;
        };
        let alpha = f64::from(rules.alpha);
        let unfinished = beams.iter().filter(|at| state.finished[**at] == 0);
        unfinished.into_iter().all(|at| {
            let length = if rules.alpha > 0.0 {
                rules.max_new_tokens
            } else {
                // EOS may not count, and then the next length is the present one.
                state.length[*at] as usize + usize::from(rules.count_eos)
            };
            let length = length.max(1) as f64;
            let attainable = f64::from(state.acc[*at]) / length.powf(alpha);
            // The device's scores are off by 12u + 4u·|α ln len| at most: the power by
            // 8u + 4u·|α ln len|, the product by the rest. Both sides are scores.
            let error = (12.0 + 4.0 * (alpha * length.ln()).abs()) * 2_f64.powi(-24);
            attainable + 2.0 * error * attainable.abs().max(last.abs()) < last
        })
    }
}

impl State {
    fn takes_token(&self, at: usize) -> bool {
        self.acc[at] > f32::NEG_INFINITY && self.finished[at] == 0
    }
}
