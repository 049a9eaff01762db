//! Beam search, one step and whole runs.
//!
//! ```text
//! per unfinished beam   logp = logits − lse(logits), the 2K best tokens by logit
//! continuation          acc' = acc + logp     len' = len + 1     finished' = token ∈ EOS
//! pool of an item       its finished beams as they are, and all continuations
//! kept                  the K best by acc/len^α, best first
//! ```
//!
//! Conventions.
//! * len counts generated tokens, never the prompt's; EOS too unless [`Rules::count_eos`] is off.
//!   A length of 0 enters the penalty as 1.
//! * acc is the raw sum always; the penalised score ranks and is reported, and is never summed.
//! * Ties go to the lower parent, then the lower token. A finished beam keeps its place as parent
//!   and has token −1: nothing is appended.
//! * A beam with acc = −∞ is no beam. At step 0 beam 0 is the only one ([`Beam::start`]); where a
//!   pool holds fewer than K, the rest of the outputs is parent −1, token −1, acc and score −∞,
//!   length 0.
//! * EOS is not allowed before `min_length` other tokens have been generated. Disallowing it does
//!   not renormalise: the log-probabilities are those of the full softmax.
//! * A run stops when all beams are finished or after `max_new_tokens`; with
//!   [`Rules::early_stop`], also when `n_best` finished beams can no longer be overtaken. Log-
//!   probabilities are at most 0, so an unfinished beam reaches at most acc/len^α at the length
//!   that is best for it: the longest for α > 0, its next for α ≤ 0.
//! * Results are the `n_best` best beams by penalised score.
//!
//! Odd values. NaN and −∞ logits are forbidden tokens: probability 0, never chosen. A beam without
//! an allowed token drops out. +∞ is refused.
//!
//! Bounds. lse as in [`crate::softmax_topk`]; logp and acc' one rounding each; `len^α` within
//! `8u + 4u·|α·ln len|` (`powf`, or `exp2(α·log2 len)`), and a division. Which parent and token are
//! right under these bounds: [`crate::decision`]. Two candidates are in one tie class when the same
//! operations made their scores from the same numbers.

mod judge;
mod pool;
mod run;
mod step;
#[cfg(test)]
mod tests;

pub use judge::{Kept, Misstep};
pub use pool::{Beam, Candidate, Pool};
pub use run::{Hypothesis, Run, Undecided, run};
pub use step::{Step, StepInput, step};

use crate::error::{Error, Result};
use crate::numbers::{Bounded, Precision};

/// The parameters of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// K: beams per item.
    pub beams: usize,
    /// α of the length penalty; any finite number.
    pub alpha: f32,
    /// Tokens that end a beam.
    pub eos: Vec<i32>,
    /// Whether EOS counts in the length.
    pub count_eos: bool,
    /// Tokens other than EOS that must come before EOS is allowed.
    pub min_length: usize,
    /// Tokens after which a run ends.
    pub max_new_tokens: usize,
    /// Results per item, at most K.
    pub n_best: usize,
    /// Whether a run ends when no unfinished beam can still enter the results.
    pub early_stop: bool,
}

impl Rules {
    /// K beams, α = 0, one EOS token, counted; everything else off; `max_new_tokens` 16.
    pub fn new(beams: usize, eos: i32) -> Self {
        Self {
            beams,
            alpha: 0.0,
            eos: vec![eos],
            count_eos: true,
            min_length: 0,
            max_new_tokens: 16,
            n_best: beams,
            early_stop: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        crate::tensor::nonzero("K", self.beams)?;
        if !self.alpha.is_finite() {
            return Err(Error::argument("alpha", self.alpha, "finite"));
        }
        if self.n_best == 0 || self.n_best > self.beams {
            let allowed = format!("1 to K = {}", self.beams);
            return Err(Error::argument("n_best", self.n_best, allowed));
        }
        Ok(())
    }

    /// `acc/len^α`.
    pub fn score(&self, acc: Bounded, length: usize, precision: Precision) -> Bounded {
        let (alpha, length) = (f64::from(self.alpha), length.max(1) as f64);
        if alpha == 0.0 || acc.value == f64::NEG_INFINITY {
            return acc;
        }
        let power = length.powf(alpha);
        let relative = precision.unit() * (8.0 + 4.0 * (alpha * length.ln()).abs());
        precision.round_special(acc / Bounded::new(power, power * relative))
    }

    /// Whether `token` ends a beam.
    pub fn is_eos(&self, token: i32) -> bool {
        self.eos.contains(&token)
    }
}
