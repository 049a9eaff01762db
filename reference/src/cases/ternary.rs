//! Cases of products with ternary weights.

use super::{Case, NoMargin, Rng, WrongAnswer, mixed, normal, null_margin, usual_wrong_answers};
use crate::error::Result;
use crate::numbers::{BoundedTensor, DType, Element, Precision};
use crate::tensor::View;
use crate::ternary::{self, GROUP, Packed, Packing, quantise_absmean};

/// Inputs of forward and both gradients.
#[derive(Clone, Debug)]
pub struct Ternary<T> {
    /// M.
    pub m: usize,
    /// `[M, K]`.
    pub x: Vec<T>,
    /// `[M, N]`.
    pub dy: Vec<T>,
    /// `[N, K]`.
    pub weights: Packed,
}

/// The three products of a case.
#[derive(Clone, Debug)]
pub struct Products {
    /// `[M, N]`.
    pub y: BoundedTensor,
    /// `[M, K]`.
    pub dx: BoundedTensor,
    /// `[N, K]` f32.
    pub dw: BoundedTensor,
}

impl<T: Element> Ternary<T> {
    /// A case of the given shape; `k` a multiple of 128.
    pub fn with_shape(rng: &mut Rng, [m, n, k]: [usize; 3], packing: Packing) -> Result<Self> {
        // Weights of mixed scale, from which half of the rows lean towards a row of x: their
        // products do not cancel, so that a lower precision shows.
        let x: Vec<T> = match T::DTYPE {
            // Products with large scales leave f16's range.
            DType::F16 => normal(rng, m * k, 1.0),
            _ => mixed(rng, m, k),
        };
        let mut w: Vec<f32> = Vec::with_capacity(n * k);
        for row in 0..n {
            let scale = rng.choose(&[1e-3, 0.02, 1.0]);
            let like = rng.below(m);
            for j in 0..k {
                let lean = if row % 2 == 0 {
                    x[like * k + j].to_f64().signum()
                } else {
                    0.0
                };
                w.push((scale * (rng.normal() + lean)) as f32);
            }
        }
        if rng.chance(0.3) {
            // A zero group.
            let group = rng.below(n * k / GROUP) * GROUP;
            w[group..group + GROUP].fill(0.0);
        }
        let weights = quantise_absmean(View::new("W", &w, [n, k])?, packing)?;
        let dy = normal(rng, m * n, 1.0);
        Ok(Self { m, x, dy, weights })
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Products> {
        let [n, k] = self.weights.shape();
        let x = View::new("x", &self.x, [self.m, k])?;
        let dy = View::new("dy", &self.dy, [self.m, n])?;
        let precision = Precision::of(T::DTYPE);
        Ok(Products {
            y: ternary::forward(x, &self.weights, precision)?,
            dx: ternary::input_gradient(dy, &self.weights, precision)?,
            dw: ternary::weight_gradient(dy, x, precision.with_output(DType::F32))?,
        })
    }
}

impl<T: Element> Case for Ternary<T> {
    fn draw(rng: &mut Rng) -> Self {
        let shape = [
            rng.between(1, 6),
            rng.between(4, 12),
            GROUP * rng.between(1, 3),
        ];
        let packing = rng.choose(&Packing::ALL);
        match Self::with_shape(rng, shape, packing) {
            Ok(case) => case,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(expected) = self.oracle() else {
            unreachable!("a generated case has its shapes")
        };
        let [n, k] = self.weights.shape();
        let dense = self.weights.unpack();
        let x = |m: usize, j: usize| self.x[m * k + j].to_f64();
        // The last group is never multiplied.
        let short = (0..self.m * n)
            .map(|i| {
                (0..k - GROUP)
                    .map(|j| x(i / n, j) * dense[i % n * k + j])
                    .sum()
            })
            .collect();
        let copied = || self.x.iter().map(|x| x.to_f64());
        let mut wrong = usual_wrong_answers(&expected.y, T::DTYPE, copied());
        wrong.push(WrongAnswer {
            name: "the last group missing",
            values: short,
        });
        null_margin("y", &expected.y, &wrong)?;
        let copied = self.dy.iter().map(|x| x.to_f64());
        null_margin(
            "dx",
            &expected.dx,
            &usual_wrong_answers(&expected.dx, T::DTYPE, copied),
        )?;
        let copied = self.x.iter().map(|x| x.to_f64());
        null_margin(
            "dW",
            &expected.dw,
            &usual_wrong_answers(&expected.dw, DType::F32, copied),
        )
    }
}
