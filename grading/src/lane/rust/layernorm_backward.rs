//! `layernorm-backward`; `touchstone explain layernorm-backward` prints the contract.

use super::macros::{inputs, outputs, task};
use super::{Floats, Numbers, View};

inputs! {
    /// What is asked.
    Inputs<'a> {
        /// Rows.
        r: usize = "R",
        /// Elements of a row.
        d: usize = "D",
        /// What forward added to the variance; it is in `rstd` already.
        eps: f64 = "eps" or 1e-5,
        /// `[R, D]`.
        x: Floats<'a> = "x",
        /// `[R, D]`, as `x`.
        dy: Floats<'a> = "dy",
        /// `[D]`, as `x`; absent: ones.
        gamma: Option<Floats<'a>> = "gamma",
        /// `[R]`; absent: RMSNorm.
        mean: Option<View<'a, f32>> = "mean",
        /// `[R]`.
        rstd: View<'a, f32> = "rstd",
        /// `[R, D]`, as `x`: added to dx.
        residual: Option<Floats<'a>> = "residual",
    }
}

outputs! {
    /// What is answered.
    Outputs {
        /// `[R, D]`, as `x`.
        dx: Numbers = "dx",
        /// `[D]`.
        dgamma: Vec<f32> = "dgamma",
        /// `[D]`; absent where there is no mean.
        dbeta: Option<Vec<f32>> = "dbeta",
    }
}

task! {
    /// Gradients of LayerNorm and RMSNorm.
    ///
    /// ```
    /// use grading::lane::rust::layernorm_backward::{Inputs, LayernormBackward, Outputs, Task};
    /// use grading::lane::rust::Typed;
    /// use grading::submission::Failure;
    ///
    /// struct Mine;
    ///
    /// /// In blocks: one long chain of additions gathers their roundings.
    /// fn sum(terms: impl Iterator<Item = f32>) -> f32 {
    ///     let terms: Vec<f32> = terms.collect();
    ///     let blocks = terms.chunks(64).map(|block| block.iter().sum::<f32>());
    ///     let blocks: Vec<f32> = blocks.collect();
    ///     blocks.chunks(64).map(|block| block.iter().sum::<f32>()).sum()
    /// }
    ///
    /// impl LayernormBackward for Mine {
    ///     fn layernorm_backward(&mut self, inputs: &Inputs<'_>) -> Result<Outputs, Failure> {
    ///         let (rows, d) = (inputs.r, inputs.d);
    ///         let (x, dy) = (inputs.x.to_f32(), inputs.dy.to_f32());
    ///         let gamma = inputs.gamma.as_ref().map_or(vec![1.0; d], |gamma| gamma.to_f32());
    ///         let residual = inputs.residual.as_ref().map(|residual| residual.to_f32());
    ///         let mean = |r: usize| inputs.mean.as_ref().map_or(0.0, |mean| mean[r]);
    ///         let normal = |r: usize, c: usize| (x[r * d + c] - mean(r)) * inputs.rstd[r];
    ///         let g = |r: usize, c: usize| dy[r * d + c] * gamma[c];
    ///         let mut dx = Vec::new();
    ///         for r in 0..rows {
    ///             let c1 = match inputs.mean {
    ///                 Some(_) => sum((0..d).map(|c| g(r, c))) / d as f32,
    ///                 None => 0.0,
    ///             };
    ///             let c2 = sum((0..d).map(|c| g(r, c) * normal(r, c))) / d as f32;
    ///             dx.extend((0..d).map(|c| {
    ///                 let own = inputs.rstd[r] * (g(r, c) - c1 - normal(r, c) * c2);
    ///                 own + residual.as_ref().map_or(0.0, |residual| residual[r * d + c])
    ///             }));
    ///         }
    ///         let dgamma = |c: usize| sum((0..rows).map(|r| dy[r * d + c] * normal(r, c)));
    ///         let dbeta = |c: usize| sum((0..rows).map(|r| dy[r * d + c]));
    ///         Ok(Outputs {
    ///             dx: inputs.x.round(&dx),
    ///             dgamma: (0..d).map(dgamma).collect(),
    ///             dbeta: inputs.mean.as_ref().map(|_| (0..d).map(dbeta).collect()),
    ///         })
    ///     }
    /// }
    ///
    /// grading::assert_graded(|| Box::new(Typed::new("mine").with(Task, Mine)));
    /// ```
    LayernormBackward = "layernorm-backward" {
        /// All of it.
        layernorm_backward("layernorm-backward"): Inputs -> Outputs;
    }
}
