//! A linear layer that is trained with ternary weights.

use super::{TernaryWeights, forward, input_gradient, weight_gradient};
use crate::{Buffer, Error, Float, Result};

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
///
/// // A step: the gradients of dy, and the weights down that of theirs, with the next product.
/// let dy = Buffer::from_slice(&device, &[2.0_f32])?;
/// let mut dx = Buffer::uninit(&device, 128)?;
/// let mut dw = Buffer::uninit(&device, 128)?;
/// layer.backward(&x, &dy, Some(&mut dx), &mut dw, 1)?;
/// assert_eq!((dx.to_vec()?[0], dw.to_vec()?[0]), (-1.0, 2.0));
/// let step: Vec<f32> = dw.to_vec()?.iter().map(|g| -0.5 - 0.125 * g).collect();
/// layer.update_forward(|latent| latent.write(&step), &x, &mut y, 1)?;
/// assert_eq!(y.to_vec()?, [-96.0]);
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

    /// [`update`](TernaryLinear::update) and [`forward`](TernaryLinear::forward) in one launch.
    ///
    /// # Errors
    /// Those of `change`, and of [`TernaryWeights::requantise_forward`]. When W has changed and the
    /// product was refused, Ŵ still is its image.
    pub fn update_forward<T: Float>(
        &mut self,
        change: impl FnOnce(&mut Buffer<f32>) -> Result<()>,
        x: &Buffer<T>,
        y: &mut Buffer<T>,
        m: usize,
    ) -> Result<()> {
        let outcome = change(&mut self.latent)
            .and_then(|()| self.weights.requantise_forward(&self.latent, x, y, m));
        if outcome.is_err() {
            self.weights.requantise(&self.latent)?;
        }
        outcome
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
        let here = self.latent.device().id();
        for (index, device) in [dy.device(), x.device(), dw.device()]
            .into_iter()
            .enumerate()
        {
            if device.id() != here {
                return Err(Error::ForeignBuffer {
                    entry: "TernaryLinear::backward".into(),
                    index,
                });
            }
        }
        if let Some(dx) = dx {
            input_gradient(&self.weights, dy, dx, m)?;
        }
        weight_gradient(dy, x, dw, [m, n, k])
    }
}
