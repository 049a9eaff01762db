//! Cases of layernorm backward.

use super::{Case, NoMargin, Rng, WrongAnswer, mixed, normal, null_margin, usual_wrong_answers};
use crate::error::Result;
use crate::layernorm::{Backward, Gradients, backward};
use crate::numbers::{DType, Element, Precision};
use crate::tensor::View;

/// Inputs, with the statistics of their own forward pass.
#[derive(Clone, Debug)]
pub struct LayerNorm<T> {
    /// R.
    pub rows: usize,
    /// D.
    pub width: usize,
    /// `[R, D]`, mixing scales and patterns by row.
    pub x: Vec<T>,
    /// `[R, D]`.
    pub dy: Vec<T>,
    /// `[D]`.
    pub gamma: Option<Vec<T>>,
    /// `[R]`; absent for RMSNorm.
    pub mean: Option<Vec<f32>>,
    /// `[R]`.
    pub rstd: Vec<f32>,
    /// `[R, D]`.
    pub residual: Option<Vec<T>>,
}

impl<T: Element> LayerNorm<T> {
    /// A case of the given shape.
    pub fn with_shape(rng: &mut Rng, rows: usize, width: usize) -> Self {
        let x: Vec<T> = mixed(rng, rows, width);
        // Products of a gradient of 10³ and an rstd of 1/√ε leave f16's range.
        let scales: &[f64] = if T::DTYPE == DType::F16 {
            &[1e-3, 1.0]
        } else {
            &[1e-3, 1.0, 1e3]
        };
        let dy: Vec<T> = (0..rows)
            .flat_map(|_| {
                let scale = rng.choose(scales);
                normal::<T>(rng, width, scale)
            })
            .collect();
        let (is_layer, eps) = (rng.chance(0.7), 1e-5);
        let statistics = x.chunks(width).map(|row| {
            let n = width as f64;
            let total: f64 = row.iter().map(|x| x.to_f64()).sum();
            let mean = if is_layer { total / n } else { 0.0 };
            let variance = row.iter().map(|x| (x.to_f64() - mean).powi(2)).sum::<f64>() / n;
            (mean as f32, (variance + eps).sqrt().recip() as f32)
        });
        let (mean, rstd): (Vec<f32>, Vec<f32>) = statistics.unzip();
        Self {
            rows,
            width,
            dy,
            gamma: rng.chance(0.7).then(|| normal(rng, width, 1.0)),
            mean: is_layer.then_some(mean),
            rstd,
            residual: rng.chance(0.3).then(|| normal(rng, rows * width, 1.0)),
            x,
        }
    }

    /// The oracle's input.
    pub fn input(&self) -> Result<Backward<'_, T>> {
        let shape = [self.rows, self.width];
        let like_x = |name, data| View::new(name, data, shape);
        Ok(Backward {
            x: like_x("x", &self.x)?,
            dy: like_x("dy", &self.dy)?,
            gamma: self
                .gamma
                .as_ref()
                .map(|g| View::new("gamma", g, [self.width]))
                .transpose()?,
            mean: self
                .mean
                .as_ref()
                .map(|m| View::new("mean", m, [self.rows]))
                .transpose()?,
            rstd: View::new("rstd", &self.rstd, [self.rows])?,
            residual: self
                .residual
                .as_ref()
                .map(|r| like_x("residual", r))
                .transpose()?,
        })
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Gradients> {
        backward(&self.input()?, Precision::scalar(T::DTYPE))
    }

    /// dx and dγ in float64 with mistakes: row sums that miss the last quarter of the columns, or
    /// are not divided by D; column sums that miss the last quarter of the rows.
    fn mistaken(&self, skip_tile: bool, divide: bool) -> (Vec<f64>, Vec<f64>) {
        let (width, n) = (self.width, self.width as f64);
        let columns = if skip_tile {
            width - width.div_ceil(4)
        } else {
            width
        };
        let rows = if skip_tile {
            self.rows - self.rows.div_ceil(4)
        } else {
            self.rows
        };
        let (mut dx, mut dgamma) = (Vec::new(), vec![0.0; width]);
        for r in 0..self.rows {
            let rstd = f64::from(self.rstd[r]);
            let mean = self.mean.as_ref().map_or(0.0, |mean| f64::from(mean[r]));
            let xhat = |i: usize| (self.x[r * width + i].to_f64() - mean) * rstd;
            let dy = |i: usize| self.dy[r * width + i].to_f64();
            let g = |i: usize| dy(i) * self.gamma.as_ref().map_or(1.0, |gamma| gamma[i].to_f64());
            let by = if divide { n } else { 1.0 };
            let c1: f64 = match self.mean {
                Some(_) => (0..columns).map(g).sum::<f64>() / by,
                None => 0.0,
            };
            let c2 = (0..columns).map(|i| g(i) * xhat(i)).sum::<f64>() / by;
            let residual = |i: usize| {
                self.residual
                    .as_ref()
                    .map_or(0.0, |res| res[r * width + i].to_f64())
            };
            dx.extend((0..width).map(|i| rstd * (g(i) - c1 - xhat(i) * c2) + residual(i)));
            if r < rows {
                (0..width).for_each(|i| dgamma[i] += dy(i) * xhat(i));
            }
        }
        (dx, dgamma)
    }
}

impl<T: Element> Case for LayerNorm<T> {
    fn draw(rng: &mut Rng) -> Self {
        let rows = rng.between(3, 12);
        let width = rng.choose(&[2, 3, 7, 32, 64, 100, 128, 257]);
        Self::with_shape(rng, rows, width)
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(expected) = self.oracle() else {
            unreachable!("a generated case has its shapes")
        };
        let x = || self.x.iter().map(|x| x.to_f64());
        let (dx, dgamma) = self.mistaken(true, true);
        let (undivided, _) = self.mistaken(false, false);
        let mut wrong = usual_wrong_answers(&expected.dx, T::DTYPE, x());
        wrong.push(WrongAnswer {
            name: "row sums without the last tile",
            values: dx,
        });
        wrong.push(WrongAnswer {
            name: "row sums not divided by D",
            values: undivided,
        });
        null_margin("dx", &expected.dx, &wrong)?;
        let mut wrong = usual_wrong_answers(&expected.dgamma, DType::F32, x());
        wrong.push(WrongAnswer {
            name: "column sums without the last rows",
            values: dgamma,
        });
        null_margin("dgamma", &expected.dgamma, &wrong)?;
        match &expected.dbeta {
            Some(dbeta) => {
                null_margin("dbeta", dbeta, &usual_wrong_answers(dbeta, DType::F32, x()))
            }
            None => Ok(()),
        }
    }
}
