//! `softmax-topk`; `touchstone explain softmax-topk` prints the contract.

use super::macros::{inputs, outputs, task};
use super::{Floats, View};

inputs! {
    /// What is asked.
    Inputs<'a> {
        /// Rows.
        r: usize = "R",
        /// Logits in a row.
        v: usize = "V",
        /// Entries returned for each row.
        k: usize = "K",
        /// What logits are divided by.
        temperature: f32 = "temperature" or 1.0,
        /// `[R, V]`.
        logits: Floats<'a> = "logits",
        /// `[R, V]`: where it is not 0, the logit counts as −∞.
        mask: Option<View<'a, u8>> = "mask",
        /// `[R]`: a K of its own for each row.
        row_k: Option<View<'a, i32>> = "row_k",
    }
}

outputs! {
    /// What is answered.
    Outputs {
        /// `[R, K]`.
        prob: Vec<f32> = "prob",
        /// `[R, K]`.
        index: Vec<i32> = "index",
        /// `[R]`.
        lse: Vec<f32> = "lse",
    }
}

task! {
    /// Softmax of each row and its K most probable entries.
    SoftmaxTopk = "softmax-topk" {
        /// All of it.
        softmax_topk("softmax-topk"): Inputs -> Outputs;
    }
}
