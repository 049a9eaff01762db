//! One step over tensors, as a kernel sees it.

use rayon::prelude::*;

use super::{Beam, Pool, Rules};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, Element, Precision};
use crate::tensor::{View, nonzero};

/// Inputs of [`step`].
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a, T> {
    /// `[B, K, V]`. Rows of finished and absent beams are not read.
    pub logits: View<'a, T, 3>,
    /// `[B, K]`: sums of log-probabilities; −∞ where there is no beam.
    pub acc: View<'a, f32, 2>,
    /// `[B, K]`: generated tokens.
    pub length: View<'a, i32, 2>,
    /// `[B, K]`.
    pub finished: View<'a, bool, 2>,
}

/// The oracle of one step.
#[derive(Clone, Debug)]
pub struct Step {
    /// One pool per item.
    pub pools: Vec<Pool>,
    pub(super) beams: usize,
}

/// The pools of all items.
pub fn step<T: Element>(
    input: &StepInput<'_, T>,
    rules: &Rules,
    precision: Precision,
) -> Result<Step> {
    rules.check()?;
    let [items, beams, vocabulary] = input.logits.shape();
    nonzero("B", items)?;
    nonzero("V", vocabulary)?;
    input
        .logits
        .expect_shape([items, rules.beams, vocabulary], "K of the rules")?;
    input.acc.expect_shape([items, beams], "as `logits`")?;
    input.length.expect_shape([items, beams], "as `logits`")?;
    input.finished.expect_shape([items, beams], "as `logits`")?;
    let no_sum = |acc: &f32| acc.is_nan() || *acc == f32::INFINITY;
    if let Some(index) = input.acc.data().iter().position(no_sum) {
        let allowed = "a number, or -inf where there is no beam";
        return Err(Error::entry("acc", index, input.acc.data()[index], allowed));
    }
    if let Some(index) = input.length.data().iter().position(|&length| length < 0) {
        return Err(Error::entry(
            "length",
            index,
            input.length.data()[index],
            "0 or more",
        ));
    }
    let pools = (0..items)
        .into_par_iter()
        .map(|item| pool(input, item, rules, precision));
    Ok(Step {
        pools: pools.collect::<Result<_>>()?,
        beams,
    })
}

fn pool<T: Element>(
    input: &StepInput<'_, T>,
    item: usize,
    rules: &Rules,
    precision: Precision,
) -> Result<Pool> {
    let mut logits = Vec::with_capacity(rules.beams);
    let mut beams = Vec::with_capacity(rules.beams);
    for b in 0..rules.beams {
        let acc = f64::from(input.acc.at([item, b]));
        let length = input.length.at([item, b]) as usize;
        // Equal sums and lengths are equal numbers, whatever their history.
        let class = u64::from(input.acc.at([item, b]).to_bits()) | (length as u64) << 32;
        let finished = input.finished.at([item, b]);
        let beam = Beam {
            acc: Bounded::exact(acc),
            length,
            finished,
            class,
        };
        let row: Vec<f64> = input
            .logits
            .row(&[item, b])
            .iter()
            .map(|x| x.to_f64())
            .collect();
        if beam.exists() && !finished && row.contains(&f64::INFINITY) {
            let index = item * rules.beams + b;
            return Err(Error::entry(
                "logits",
                index,
                "a row with +inf",
                "below +inf",
            ));
        }
        beams.push(beam);
        logits.push(row);
    }
    Ok(Pool::new(&beams, &logits, rules, precision))
}
