//! Float64 matrix products, row blocks in parallel. The formula they stand for is
//! `c[i,j] = Σ_p a[i,p]·b[p,j]`, with which the tests compare them.

use ndarray::{ArrayView2, Axis, Slice};
use rayon::prelude::*;

use super::gemm::{self, Panels};

/// Rows of the result that one task computes: enough that reading `b` does not count.
const ROWS: usize = 128;

/// `a[m,k]·b[k,n]`.
pub fn plain(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    product(view(a, [m, k]), view(b, [k, n]))
}

/// `a[m,k]·b[n,k]ᵀ`.
pub fn by_transposed(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    product(view(a, [m, k]), view(b, [n, k]).reversed_axes())
}

/// `a[k,m]ᵀ·b[k,n]`.
pub fn of_transposed(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    product(view(a, [k, m]).reversed_axes(), view(b, [k, n]))
}

/// # Panics
/// When a slice does not have its shape: a mistake in a formula, never of the input.
fn view(data: &[f64], shape: [usize; 2]) -> ArrayView2<'_, f64> {
    match ArrayView2::from_shape(shape, data) {
        Ok(view) => view,
        Err(error) => panic!("matrix of shape {shape:?}: {error}"),
    }
}

fn product(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Vec<f64> {
    let (m, n, k) = (a.nrows(), b.ncols(), a.ncols());
    let mut out = vec![0.0; m * n];
    let b = Panels::new(b, f64::from);
    out.par_chunks_mut(ROWS * n.max(1))
        .enumerate()
        .for_each(|(block, out)| {
            let first = block * ROWS;
            let rows = first..first + out.len() / n;
            let a = a.slice_axis(Axis(0), Slice::from(rows));
            gemm::product(a, &b, 0..k, 0..n, out);
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Rng;

    #[test]
    fn products_follow_the_formula() {
        for [m, n, k] in [
            [1, 1, 1],
            [3, 5, 7],
            [130, 2, 40],
            [64, 65, 1],
            [2, 3, 0],
            [0, 3, 2],
        ] {
            let mut rng = Rng::new((m * n + k) as u64);
            // Small integers: every order of summation is exact.
            let mut draw = |n: usize| {
                (0..n)
                    .map(|_| rng.below(9) as f64 - 4.0)
                    .collect::<Vec<_>>()
            };
            let (a, b) = (draw(m * k), draw(k * n));
            let transposed = |x: &[f64], [r, c]: [usize; 2]| -> Vec<f64> {
                (0..c)
                    .flat_map(|j| (0..r).map(move |i| x[i * c + j]).collect::<Vec<_>>())
                    .collect()
            };
            let expected: Vec<f64> = (0..m * n)
                .map(|ij| (0..k).map(|p| a[ij / n * k + p] * b[p * n + ij % n]).sum())
                .collect();
            assert_eq!(plain(&a, &b, [m, n, k]), expected);
            assert_eq!(
                by_transposed(&a, &transposed(&b, [k, n]), [m, n, k]),
                expected
            );
            assert_eq!(
                of_transposed(&transposed(&a, [m, k]), &b, [m, n, k]),
                expected
            );
        }
    }
}
