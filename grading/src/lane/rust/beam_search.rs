//! `beam-search`; `touchstone explain beam-search` prints the contract.

use super::macros::{inputs, outputs, task};
use super::{Floats, View};

inputs! {
    /// A step of the search.
    Inputs<'a> {
        /// Items of the batch.
        b: usize = "B",
        /// Beams of an item.
        k: usize = "K",
        /// Tokens.
        v: usize = "V",
        /// Exponent of the length penalty.
        alpha: f32 = "alpha" or 0.0,
        /// Tokens that end a beam.
        eos: &'a [i64] = "eos" or &[],
        /// Whether they count in the length.
        count_eos: bool = "count_eos" or true,
        /// They are not allowed to a beam with a smaller length.
        min_length: usize = "min_length" or 0,
        /// `[B, K, V]`.
        logits: Floats<'a> = "logits",
        /// `[B, K]`: sums of log-probabilities; −∞ where there is no beam.
        acc: View<'a, f32> = "acc",
        /// `[B, K]`: generated tokens.
        length: View<'a, i32> = "length",
        /// `[B, K]`: 1 where the beam has ended.
        finished: View<'a, u8> = "finished",
    }
}

outputs! {
    /// The beams after it, each `[B, K]`, the best first.
    Outputs {
        /// The beam that is continued or kept.
        parent: Vec<i32> = "parent",
        /// The token appended; −1 for a finished beam.
        token: Vec<i32> = "token",
        /// The raw sum.
        acc: Vec<f32> = "acc",
        /// Generated tokens.
        length: Vec<i32> = "length",
        /// 1 where it has ended.
        finished: Vec<u8> = "finished",
        /// acc / length^alpha.
        score: Vec<f32> = "score",
    }
}

task! {
    /// Beam search, a step at a time: the grader drives the model.
    BeamSearch = "beam-search" {
        /// The K best continuations of each item.
        step("step"): Inputs -> Outputs;
    }
}
