//! The plain implementation, and what can go wrong in it.

use crate::submission::{Call, Failure, Named};
use crate::task::{Mistake, Order, Way};
use crate::tensor::{DType, Tensor};
use half::bf16;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "variance-by-squares",
        caught_by: &["offset-rows"],
        says: "rstd is computed again, from E[x²] − E[x]²",
        mend: "use the rstd that forward saved, or Σ(x − mean)²",
    },
    Mistake {
        name: "products-subtracted",
        caught_by: &["offset-rows"],
        says: "x̂ is x·rstd − mean·rstd",
        mend: "subtract the mean first: (x − mean)·rstd",
    },
    Mistake {
        name: "eps-forgotten",
        caught_by: &["constant-rows"],
        says: "rstd is computed again, without eps: a constant row divides by 0",
        mend: "use the rstd that forward saved",
    },
    Mistake {
        name: "divided-by-d-minus-1",
        caught_by: &["one-column"],
        says: "row sums are divided by D − 1",
        mend: "the variance of LayerNorm is Σ/D",
    },
    Mistake {
        name: "vector-tail-dropped",
        caught_by: &["odd-width"],
        says: "the last D mod 4 elements of a row are left out of its sums",
        mend: "read what is left after the last whole vector one by one",
    },
    Mistake {
        name: "tail-masked-too-early",
        caught_by: &["masked-tail"],
        says: "lanes past the end of a row are set to 0 before the mean is subtracted, and add \
               mean² to the variance that is computed again",
        mend: "mask after the mean is subtracted",
    },
    Mistake {
        name: "columns-in-16-bits",
        caught_by: &["many-rows-16-bit"],
        says: "dgamma and dbeta are summed in the type of x",
        mend: "accumulate in f32",
    },
    Mistake {
        name: "columns-in-one-chain",
        caught_by: &["one-long-chain"],
        says: "dgamma is one chain of f32 additions over all rows",
        mend: "sum blocks of rows, then the blocks",
    },
    Mistake {
        name: "row-sums-not-divided",
        caught_by: &["missing-1-over-d"],
        says: "the row sums are not divided by D",
        mend: "c1 and c2 are means",
    },
    Mistake {
        name: "divided-by-padded-width",
        caught_by: &["odd-width"],
        says: "row sums are divided by the width of the block, not of the row",
        mend: "divide by D; the block's lanes past the end only add zeros",
    },
    Mistake {
        name: "mean-of-g-forgotten",
        caught_by: &["missing-1-over-d"],
        says: "dx lacks the term c1, the mean of g",
        mend: "dx = rstd·(g − c1 − x̂·c2): the mean depends on every x of the row",
    },
    Mistake {
        name: "projection-forgotten",
        caught_by: &["missing-1-over-d"],
        says: "dx lacks the term x̂·c2, the mean of g·x̂",
        mend: "dx = rstd·(g − c1 − x̂·c2): rstd depends on every x of the row",
    },
    Mistake {
        name: "gamma-in-the-means-only",
        caught_by: &["gamma-in-the-means"],
        says: "dx takes dy in place of g = dy·gamma, the means do not",
        mend: "dx = rstd·(g − c1 − x̂·c2) with g = dy·gamma throughout",
    },
    Mistake {
        name: "statistics-in-16-bits",
        caught_by: &["statistics-of-16-bit-rows"],
        says: "mean and rstd are rounded to the type of x",
        mend: "keep mean and rstd in f32",
    },
    Mistake {
        name: "last-rows-skipped",
        caught_by: &["rows-left-over"],
        says: "the last R mod 8 rows are left out of dgamma and dbeta",
        mend: "look at the upper end of the loop over the rows of a block",
    },
    Mistake {
        name: "gamma-left-out-of-means",
        caught_by: &["gamma-in-the-means"],
        says: "c1 and c2 are means of dy instead of dy·gamma",
        mend: "g = dy·gamma before any sum over a row",
    },
    Mistake {
        name: "rms-subtracts-mean",
        caught_by: &["rms-has-no-mean-term"],
        says: "the mean of g is subtracted also for RMSNorm",
        mend: "c1 is 0 for RMSNorm",
    },
    Mistake {
        name: "residual-scaled",
        caught_by: &["residual-added-last"],
        says: "the residual's gradient is multiplied by rstd with the rest",
        mend: "add the residual after the product with rstd",
    },
    Mistake {
        name: "dgamma-without-rstd",
        caught_by: &["dgamma-of-x-hat"],
        says: "dgamma sums dy·(x − mean)",
        mend: "dgamma sums dy·x̂, and x̂ has rstd in it",
    },
    Mistake::near("terms-together", "dx is rstd·(g − (c1 + x̂·c2))"),
    Mistake::near("rstd-distributed", "dx is rstd·g − rstd·c1 − rstd·x̂·c2"),
    Mistake::near("one-over-d", "row sums are multiplied by 1/D"),
    Mistake::near(
        "columns-backward",
        "columns are summed from the last block to the first",
    ),
];

/// What a call holds, as f32.
struct Rows {
    width: usize,
    x: Vec<f32>,
    dy: Vec<f32>,
    gamma: Option<Vec<f32>>,
    mean: Option<Vec<f32>>,
    rstd: Vec<f32>,
    residual: Option<Vec<f32>>,
    eps: f32,
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let none = |name: &str| Failure::Grader(format!("no {name}"));
    let maybe = |name: &str| call.input(name).map(Tensor::to_f32);
    let need = |name: &str| maybe(name).ok_or_else(|| none(name));
    let mut rows = Rows {
        width: call.sizes.get("D").copied().unwrap_or(1) as usize,
        x: need("x")?,
        dy: need("dy")?,
        gamma: maybe("gamma"),
        mean: maybe("mean"),
        rstd: need("rstd")?,
        residual: maybe("residual"),
        eps: 1e-5,
    };
    if way.has("statistics-in-16-bits") {
        let short = |x: &mut f32| *x = bf16::from_f32(*x).to_f32();
        rows.rstd.iter_mut().for_each(short);
        rows.mean.iter_mut().flatten().for_each(short);
    }
    let (dx, xhat): (Vec<_>, Vec<_>) = (0..rows.rstd.len()).map(|r| rows.row(r, way)).unzip();
    let (dx, xhat) = (dx.concat(), xhat.concat());
    let half = call.input("x").is_some_and(|x| x.dtype() != DType::F32);
    let dgamma = rows.columns(way, half, |at| rows.dy[at] * xhat[at]);
    let dbeta = rows.columns(way, half, |at| rows.dy[at]);
    let outputs = [dx, dgamma, dbeta];
    // RMSNorm asks for two.
    call.outputs
        .iter()
        .zip(outputs)
        .map(|(spec, numbers)| {
            let numbers: Vec<f64> = numbers.into_iter().map(f64::from).collect();
            let tensor = Tensor::from_f64(spec.dtype, &spec.shape, &numbers)
                .map_err(|error| Failure::Grader(error.to_string()))?;
            Ok(Named {
                name: spec.name.clone(),
                tensor,
            })
        })
        .collect()
}

impl Rows {
    /// dx and x̂ of a row.
    fn row(&self, r: usize, way: &Way) -> (Vec<f32>, Vec<f32>) {
        let width = self.width;
        let at = r * width..(r + 1) * width;
        let (x, dy) = (&self.x[at.clone()], &self.dy[at.clone()]);
        let mean = self.mean.as_ref().map_or(0.0, |mean| mean[r]);
        let rstd = self.again(x, mean, way).unwrap_or(self.rstd[r]);
        let xhat: Vec<f32> = x
            .iter()
            .map(|x| match way.mistake {
                Some("products-subtracted") => x * rstd - mean * rstd,
                Some("dgamma-without-rstd") => x - mean,
                _ => (x - mean) * rstd,
            })
            .collect();
        let scaled = |d: usize| self.gamma.as_ref().map_or(1.0, |gamma| gamma[d]);
        let g: Vec<f32> = (0..width).map(|d| dy[d] * scaled(d)).collect();
        let in_means = match way.has("gamma-left-out-of-means") {
            true => dy,
            false => &g,
        };
        let seen = match way.has("vector-tail-dropped") {
            true => width / 4 * 4,
            false => width,
        };
        let n = match way.mistake {
            Some("divided-by-d-minus-1") => width as f32 - 1.0,
            Some("row-sums-not-divided") => 1.0,
            Some("divided-by-padded-width") => width.next_multiple_of(way.tile(128)) as f32,
            _ => width as f32,
        };
        let mean_of = |sum: f32| match way.has("one-over-d") {
            true => sum * n.recip(),
            false => sum / n,
        };
        let normalised = |d: usize| match way.has("dgamma-without-rstd") {
            true => xhat[d] * rstd,
            false => xhat[d],
        };
        let with_c1 = self.mean.is_some() || way.has("rms-subtracts-mean");
        let c1 = match with_c1 && !way.has("mean-of-g-forgotten") {
            true => mean_of(way.order.sum(seen, |d| in_means[d])),
            false => 0.0,
        };
        let c2 = match way.has("projection-forgotten") {
            true => 0.0,
            false => mean_of(way.order.sum(seen, |d| in_means[d] * normalised(d))),
        };
        let dx = (0..width)
            .map(|d| {
                let xhat = normalised(d);
                let g = match way.has("gamma-in-the-means-only") {
                    true => dy,
                    false => &g,
                };
                let residual = self.residual.as_ref().map_or(0.0, |add| add[at.start + d]);
                match way.mistake {
                    Some("terms-together") => rstd * (g[d] - (c1 + xhat * c2)) + residual,
                    Some("rstd-distributed") => {
                        rstd * g[d] - rstd * c1 - rstd * xhat * c2 + residual
                    }
                    Some("residual-scaled") => rstd * (g[d] - c1 - xhat * c2 + residual),
                    _ => rstd * (g[d] - c1 - xhat * c2) + residual,
                }
            })
            .collect();
        (dx, xhat)
    }

    /// rstd computed again, by those who do.
    fn again(&self, x: &[f32], mean: f32, way: &Way) -> Option<f32> {
        let width = self.width as f32;
        let squares = |x: &[f32]| x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        match way.mistake {
            Some("variance-by-squares") => {
                let squares = x.iter().map(|x| x * x).sum::<f32>() / width;
                Some((squares - mean * mean + self.eps).sqrt().recip())
            }
            Some("eps-forgotten") => Some((squares(x) / width).sqrt().recip()),
            Some("tail-masked-too-early") => {
                let mut padded = x.to_vec();
                padded.resize(x.len().next_multiple_of(4), 0.0);
                Some((squares(&padded) / width + self.eps).sqrt().recip())
            }
            _ => None,
        }
    }

    /// Sums over the rows, in blocks.
    fn columns(&self, way: &Way, half: bool, term: impl Fn(usize) -> f32) -> Vec<f32> {
        let width = self.width;
        let rows = match way.has("last-rows-skipped") {
            true => self.rstd.len() / 8 * 8,
            false => self.rstd.len(),
        };
        let column = |d: usize| {
            let term = |r: usize| term(r * width + d);
            if way.has("columns-in-one-chain") {
                return (0..rows).map(term).fold(0.0, |a, b| a + b);
            }
            if way.has("columns-in-16-bits") && half {
                let short = |x: f32| bf16::from_f32(x).to_f32();
                return (0..rows).map(term).fold(0.0, |a, b| short(a + b));
            }
            match way.has("columns-backward") {
                true => Order::Backward.sum(rows, term),
                false => way.order.sum(rows, term),
            }
        };
        (0..width).map(column).collect()
    }
}
