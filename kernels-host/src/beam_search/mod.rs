//! Beam search: one step over a batch ([`beam_step`]), and whole runs from a model
//! ([`BeamSearch`]).
//!
//! Scores are log-probabilities summed over the generated tokens and divided by len^α, where the
//! length counts generated tokens only. The raw sum is never altered; finished beams stay in the
//! running until K better ones push them out.

mod search;
mod step;
mod table;

pub use search::{BeamSearch, Hypothesis, Model, Turn};
pub use step::{Beams, Kept, Shape, beam_step};
pub use table::BackPointers;

use crate::{Error, Result};
use kernels_gpu::beam_search::MAX_BEAMS;

/// The parameters of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// K: beams an item, 1 to 512.
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
    /// Results an item, 1 to K.
    pub n_best: usize,
    /// Whether a run ends when no unfinished beam can still enter the results.
    pub early_stop: bool,
}

impl Rules {
    /// K beams, α = 0, one EOS token, counted, 16 tokens at most; everything else off.
    pub fn new(beams: usize, eos: i32) -> Rules {
        Rules {
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
        let refuse =
            |name, got: String, must_be: String| Err(Error::Parameter { name, got, must_be });
        if !(1..=MAX_BEAMS as usize).contains(&self.beams) {
            return refuse("beams", self.beams.to_string(), format!("1 to {MAX_BEAMS}"));
        }
        if !self.alpha.is_finite() {
            return refuse("alpha", self.alpha.to_string(), "finite".into());
        }
        if !(1..=self.beams).contains(&self.n_best) {
            let must_be = format!("1 to the number of beams, {}", self.beams);
            return refuse("n_best", self.n_best.to_string(), must_be);
        }
        let most = i32::MAX as usize;
        for (name, got) in [
            ("min_length", self.min_length),
            ("max_new_tokens", self.max_new_tokens),
            ("eos", self.eos.len()),
        ] {
            if got > most {
                return refuse(name, got.to_string(), format!("at most {most}"));
            }
        }
        Ok(())
    }
}
