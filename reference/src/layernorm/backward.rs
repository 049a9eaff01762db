//! Backward: dx, dγ, dβ.

use super::refuse_infinities;
use crate::error::Result;
use crate::numbers::{Bounded, BoundedTensor, Element, Precision, Tally};
use crate::tensor::{View, nonzero};

/// Inputs of [`backward`].
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a, T> {
    /// `[R, D]`.
    pub x: View<'a, T, 2>,
    /// `[R, D]`.
    pub dy: View<'a, T, 2>,
    /// `[D]`; ones when absent.
    pub gamma: Option<View<'a, T, 1>>,
    /// `[R]`, as saved by the forward pass; absent for RMSNorm.
    pub mean: Option<View<'a, f32, 1>>,
    /// `[R]`, as saved by the forward pass.
    pub rstd: View<'a, f32, 1>,
    /// `[R, D]`: gradient of a residual connection, added to dx.
    pub residual: Option<View<'a, T, 2>>,
}

/// Outputs of [`backward`].
#[derive(Clone, Debug)]
pub struct Gradients {
    /// `[R, D]` in the output type.
    pub dx: BoundedTensor,
    /// `[D]` f32.
    pub dgamma: BoundedTensor,
    /// `[D]` f32; absent for RMSNorm.
    pub dbeta: Option<BoundedTensor>,
}

/// The gradients of LayerNorm, or of RMSNorm when `mean` is absent.
pub fn backward<T: Element>(input: &Backward<'_, T>, precision: Precision) -> Result<Gradients> {
    let [rows, width] = input.x.shape();
    check(input)?;
    let gamma = input.gamma.map(|gamma| read(gamma.data()));
    let mut dx = Vec::with_capacity(rows * width);
    let mut columns = vec![Column::default(); width];
    for r in 0..rows {
        let row = Row {
            x: &read(input.x.row(&[r])),
            dy: &read(input.dy.row(&[r])),
            gamma: gamma.as_deref(),
            mean: input.mean.map(|mean| f64::from(mean.data()[r])),
            rstd: f64::from(input.rstd.data()[r]),
        };
        let residual = input.residual.map(|residual| residual.row(&[r]));
        for (i, item) in row.dx(&mut columns, precision).into_iter().enumerate() {
            let sum = match residual {
                Some(residual) => precision.round(item + Bounded::exact(residual[i].to_f64())),
                None => item,
            };
            dx.push(precision.store(sum));
        }
    }
    let statistic = |tally: Bounded| precision.store_statistic(tally);
    let dgamma = columns
        .iter()
        .map(|c| statistic(precision.dot_of(&c.dgamma)))
        .collect();
    let dbeta = columns
        .iter()
        .map(|c| statistic(precision.sum_of(&c.dbeta)))
        .collect();
    Ok(Gradients {
        dx: BoundedTensor::new("dx", &[rows, width], dx)?,
        dgamma: BoundedTensor::new("dgamma", &[width], dgamma)?,
        dbeta: match input.mean {
            Some(_) => Some(BoundedTensor::new("dbeta", &[width], dbeta)?),
            None => None,
        },
    })
}

fn check<T: Element>(input: &Backward<'_, T>) -> Result<()> {
    let [rows, width] = input.x.shape();
    nonzero("R", rows)?;
    nonzero("D", width)?;
    refuse_infinities(&input.x)?;
    input.rstd.expect_shape([rows], "one per row of `x`")?;
    refuse_infinities(&input.rstd)?;
    for like_x in [Some(&input.dy), input.residual.as_ref()]
        .into_iter()
        .flatten()
    {
        like_x.expect_shape([rows, width], "as `x`")?;
        refuse_infinities(like_x)?;
    }
    if let Some(gamma) = &input.gamma {
        gamma.expect_shape([width], "the width of `x`")?;
        refuse_infinities(gamma)?;
    }
    if let Some(mean) = &input.mean {
        mean.expect_shape([rows], "one per row of `x`")?;
        refuse_infinities(mean)?;
    }
    Ok(())
}

fn read<T: Element>(data: &[T]) -> Vec<f64> {
    data.iter().map(|x| x.to_f64()).collect()
}

/// The column sums of one feature: `Σ dy·x̂` and `Σ dy`.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) dgamma: Tally,
    pub(super) dbeta: Tally,
}

impl Default for Column {
    fn default() -> Self {
        Self {
            dgamma: Tally::EMPTY,
            dbeta: Tally::EMPTY,
        }
    }
}

/// One row, in float64.
pub(super) struct Row<'a> {
    pub(super) x: &'a [f64],
    pub(super) dy: &'a [f64],
    pub(super) gamma: Option<&'a [f64]>,
    pub(super) mean: Option<f64>,
    pub(super) rstd: f64,
}

impl Row<'_> {
    /// dx of this row before it is stored; its terms of dγ and dβ go to `columns`.
    ///
    /// Roundings: x−μ and ·ρ (two for x̂), dy·γ (one), then
    ///
    /// ```text
    /// c₁ = Σg/D     a sum of D terms     + the division
    /// c₂ = Σg·x̂/D   a dot product of D   + the division
    /// dx = ρ·s,  s = g − c₁ − x̂·c₂ in any order: γ(2)·(|g| + |c₁| + |x̂·c₂|)
    /// ```
    ///
    /// each beside the errors of its operands; a fused multiply-add only leaves one out.
    pub(super) fn dx(&self, columns: &mut [Column], precision: Precision) -> Vec<Bounded> {
        let width = self.x.len() as f64;
        let rstd = Bounded::exact(self.rstd);
        let xhat: Vec<Bounded> = self
            .x
            .iter()
            .map(|&x| match self.mean {
                Some(mean) => precision.round(Bounded::exact(x - mean)),
                None => Bounded::exact(x),
            })
            .map(|centred| precision.round(centred * rstd))
            .collect();
        let g: Vec<Bounded> = match self.gamma {
            Some(gamma) => self
                .dy
                .iter()
                .zip(gamma)
                .map(|(dy, gamma)| precision.round(Bounded::exact(dy * gamma)))
                .collect(),
            None => self.dy.iter().map(|&dy| Bounded::exact(dy)).collect(),
        };
        for ((column, &dy), &xhat) in columns.iter_mut().zip(self.dy).zip(&xhat) {
            column.dgamma.add(Bounded::exact(dy) * xhat);
            column.dbeta.add(Bounded::exact(dy));
        }
        let c1 = match self.mean {
            Some(_) => precision.sum(g.iter().copied()).scale(1.0 / width),
            None => Bounded::exact(0.0),
        };
        let c2 = precision
            .dot(g.iter().copied().zip(xhat.iter().copied()))
            .scale(1.0 / width);
        let (c1, c2) = (precision.round_special(c1), precision.round_special(c2));
        g.iter()
            .zip(&xhat)
            .map(|(&g, &xhat)| {
                let s = precision.sum([g, -c1, -precision.round(xhat * c2)]);
                precision.round(rstd * s)
            })
            .collect()
    }
}
