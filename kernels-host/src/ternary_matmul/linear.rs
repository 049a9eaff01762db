//! A linear layer that is trained with ternary weights.

use super::{TernaryWeights, forward, input_gradient, weight_gradient};
use crate::{Buffer, Float, Result};

/// `y = x·Ŵᵀ`, where Ŵ is the ternary image of f32 weights W that an optimiser moves.
///
/// The image always belongs to the weights: whatever changes them quantises them again.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::TernaryLinear;
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let latent = Buffer::from_slice(&device, &[0.25_f32; 128])?;
/// let mut layer = TernaryLinear::new(latent, [1, 128])?;
/// let x = Buffer::from_slice(&device, &[1.0_f32; 128])?;
/// let mut y = Buffer::<f32>::uninit(&device, 1)?;
/// layer.forward(&x, &mut y, 1)?;
/// assert_eq!(y.to_vec()?, [32.0]);
/// layer.update(|latent| latent.write(&[-0.5; 128]))?;
/// layer.forward(&x, &mut y, 1)?;
/// assert_eq!(y.to_vec()?, [-64.0]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
#[derive(Debug)]
pub struct TernaryLinear {
    latent: Buffer<f32>,
    weights: TernaryWeights,
}

impl TernaryLinear {
    /// A layer of weights `latent[N, K]`.
    ///
    /// # Errors
    /// Those of [`TernaryWeights::quantise`].
    pub fn new(latent: Buffer<f32>, shape: [usize; 2]) -> Result<TernaryLinear> {
        let weights = TernaryWeights::quantise(&latent, shape)?;
        Ok(TernaryLinear { latent, weights })
    }

    /// W.
    pub fn latent(&self) -> &Buffer<f32> {
        &self.latent
    }

    /// Ŵ.
    pub fn weights(&self) -> &TernaryWeights {
        &self.weights
    }

    /// Changes W, and Ŵ with it.
    ///
    /// # Errors
    /// Those of `change`, and of [`TernaryWeights::quantise`].
    pub fn update(&mut self, change: impl FnOnce(&mut Buffer<f32>) -> Result<()>) -> Result<()> {
        // Even when the change fails half-way.
        let changed = change(&mut self.latent);
        self.weights.requantise(&self.latent)?;
        changed
    }

    /// `y[M, N] = x[M, K]·Ŵᵀ`.
    ///
    /// # Errors
    /// When a shape does not fit; nothing is launched then.
    pub fn forward<T: Float>(&self, x: &Buffer<T>, y: &mut Buffer<T>, m: usize) -> Result<()> {
        forward(&self.weights, x, y, m)
    }

    /// `dx[M, K] = dy·Ŵ` (where asked for) and `dW[N, K] = dyᵀ·x`.
    ///
    /// # Errors
    /// When a shape does not fit; nothing is launched then.
    pub fn backward<T: Float>(
        &self,
        x: &Buffer<T>,
        dy: &Buffer<T>,
        dx: Option<&mut Buffer<T>>,
        dw: &mut Buffer<f32>,
        m: usize,
    ) -> Result<()> {
        let (n, k) = (self.weights.rows(), self.weights.columns());
        // Both are checked before either is launched.
        x.expect_shape("x", &[("M", m), ("K", k)])?;
        dw.expect_shape("dW", &[("N", n), ("K", k)])?;
        if let Some(dx) = dx {
            input_gradient(&self.weights, dy, dx, m)?;
        }
        weight_gradient(dy, x, dw, [m, n, k])
    }
}
