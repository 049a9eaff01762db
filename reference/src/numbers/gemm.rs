//! Float64 matrix products `out[i,j] = Σ_p a[i,p]·b[p,j]`, the right operand packed once and used often.
//!
//! b lies in panels of 16 columns, so that a step of the inner loop reads one line of it. A block of
//! the result, 8 rows by two vectors, stays in registers while p runs through 256 rows of a panel, which
//! stay in the first-level cache while the blocks below use them:
//!
//! ```text
//! for p in steps of 256, for each panel, for each 8 rows:
//!     out[8 × 16] += a[8 × 256]·panel[256 × 16]
//! ```
//!
//! The terms of an element are added in the order of p whatever the machine; vectors and fused
//! multiplication are the widest that it has (`pulp`).

use std::ops::Range;

use ndarray::ArrayView2;
use pulp::{Arch, Simd, WithSimd};

/// Columns of a panel: two vectors of eight numbers, or four of four.
pub(crate) const WIDTH: usize = 16;

/// Rows of a panel (32 KiB) that are used for all rows of `a` before the next.
const DEPTH: usize = 256;

/// A right operand.
pub(crate) struct Panels {
    /// Panel after panel, each `depth` lines; the columns missing from the last are zero.
    lines: Vec<[f64; WIDTH]>,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Packs `b`, in any layout.
    pub(crate) fn new(b: ArrayView2<'_, f64>) -> Self {
        let (depth, columns) = (b.nrows(), b.ncols());
        let panels = columns.div_ceil(WIDTH);
        let mut lines = Vec::with_capacity(panels * depth);
        for first in (0..columns).step_by(WIDTH) {
            let width = WIDTH.min(columns - first);
            for p in 0..depth {
                let mut line = [0.0; WIDTH];
                for (j, x) in line[..width].iter_mut().enumerate() {
                    *x = b[[p, first + j]];
                }
                lines.push(line);
            }
        }
        Self {
            lines,
            depth,
            columns,
        }
    }

    /// How many columns b has.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Lines `range` of panel `at`.
    #[inline(always)]
    fn panel(&self, at: usize, range: Range<usize>) -> &[[f64; WIDTH]] {
        &self.lines[at * self.depth..][range]
    }
}

/// `a·b[depth, columns]` into `out`, row-major. The first column must begin a panel.
///
/// # Panics
/// When shapes do not fit: a mistake in a formula, never of the input.
pub(crate) fn product(
    a: ArrayView2<'_, f64>,
    b: &Panels,
    depth: Range<usize>,
    columns: Range<usize>,
    out: &mut [f64],
) {
    assert_eq!(a.ncols(), depth.len(), "rows of the right operand");
    assert_eq!(columns.start % WIDTH, 0, "columns begin with a panel");
    assert!(columns.end <= b.columns && depth.end <= b.depth);
    assert_eq!(out.len(), a.nrows() * columns.len(), "size of the result");
    let rows = a.nrows();
    if rows == 0 || columns.is_empty() {
        return;
    }
    if depth.is_empty() {
        out.fill(0.0);
        return;
    }
    let packed;
    let a = match a.to_slice() {
        Some(a) => a,
        None => {
            packed = a.iter().copied().collect::<Vec<_>>();
            &packed
        }
    };
    Arch::new().dispatch(Product {
        a,
        rows,
        b,
        depth,
        columns,
        out,
    });
}

struct Product<'a> {
    /// `rows × depth`.
    a: &'a [f64],
    rows: usize,
    b: &'a Panels,
    depth: Range<usize>,
    columns: Range<usize>,
    out: &'a mut [f64],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Twice as many sums as rows, two vectors of b and one of a.
        if S::REGISTER_COUNT >= 32 {
            self.in_blocks::<S, 8>(simd);
        } else {
            self.in_blocks::<S, 4>(simd);
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn in_blocks<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let whole = self.rows - self.rows % ROWS;
        for start in (0..self.depth.len()).step_by(DEPTH) {
            let steps = start..self.depth.len().min(start + DEPTH);
            for first in (0..self.columns.len()).step_by(WIDTH) {
                for row in (0..whole).step_by(ROWS) {
                    self.block::<S, ROWS>(simd, row, first, steps.clone());
                }
                for row in whole..self.rows {
                    self.block::<S, 1>(simd, row, first, steps.clone());
                }
            }
        }
    }

    /// ROWS rows of the result by one panel of columns, over some steps of the sum.
    #[inline(always)]
    fn block<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        row: usize,
        first: usize,
        steps: Range<usize>,
    ) {
        let depth = self.depth.len();
        let mut rows = [&[][..]; ROWS];
        for (r, of) in rows.iter_mut().enumerate() {
            *of = &self.a[(row + r) * depth..][steps.clone()];
        }
        let lines = self.depth.start + steps.start..self.depth.start + steps.end;
        let panel = self.b.panel((self.columns.start + first) / WIDTH, lines);
        let sums = sums::<S, ROWS>(simd, rows, panel);

        let columns = self.columns.len();
        let width = WIDTH.min(columns - first);
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(row + r) * columns + first..][..width];
            match <&mut [f64; WIDTH]>::try_from(&mut *out) {
                Ok(out) if steps.start == 0 => *out = *sums,
                Ok(out) => out.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum),
                Err(_) if steps.start == 0 => out.copy_from_slice(&sums[..width]),
                Err(_) => out.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum),
            }
        }
    }
}

/// `Σ_p rows[r][p]·panel[p][j]`, two vectors of columns at a time.
#[inline(always)]
fn sums<S: Simd, const ROWS: usize>(
    simd: S,
    mut rows: [&[f64]; ROWS],
    panel: &[[f64; WIDTH]],
) -> [[f64; WIDTH]; ROWS] {
    // So that no index needs to be checked below.
    for row in &mut rows {
        *row = &row[..panel.len()];
    }
    let mut out = [[0.0; WIDTH]; ROWS];
    for vector in (0..WIDTH / S::F64_LANES).step_by(2) {
        let mut sums = [[simd.splat_f64s(0.0); 2]; ROWS];
        for (p, line) in panel.iter().enumerate() {
            let (line, _) = S::as_simd_f64s(line);
            let (left, right) = (line[vector], line[vector + 1]);
            for r in 0..ROWS {
                let a = simd.splat_f64s(rows[r][p]);
                sums[r][0] = simd.mul_add_e_f64s(a, left, sums[r][0]);
                sums[r][1] = simd.mul_add_e_f64s(a, right, sums[r][1]);
            }
        }
        for (out, [left, right]) in out.iter_mut().zip(sums) {
            let (out, _) = S::as_mut_simd_f64s(out);
            (out[vector], out[vector + 1]) = (left, right);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Rng;
    use ndarray::{Array2, Axis, Slice};

    fn draw(rng: &mut Rng, rows: usize, columns: usize) -> Array2<f64> {
        // Small integers: every order of summation is exact.
        Array2::from_shape_fn((rows, columns), |_| rng.below(9) as f64 - 4.0)
    }

    fn plain(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Vec<f64> {
        let element = |i, j| (0..a.ncols()).map(|p| a[[i, p]] * b[[p, j]]).sum();
        (0..a.nrows())
            .flat_map(|i| (0..b.ncols()).map(move |j| (i, j)))
            .map(|(i, j)| element(i, j))
            .collect()
    }

    #[test]
    fn blocks_and_their_remainders_follow_the_formula() {
        let mut rng = Rng::new(1);
        for rows in [0, 1, 7, 8, 21] {
            for columns in [0, 1, 16, 40] {
                for depth in [0, 1, 255, 256, 600] {
                    let (a, b) = (draw(&mut rng, rows, depth), draw(&mut rng, depth, columns));
                    let mut out = vec![f64::NAN; rows * columns];
                    product(
                        a.view(),
                        &Panels::new(b.view()),
                        0..depth,
                        0..columns,
                        &mut out,
                    );
                    assert_eq!(out, plain(a.view(), b.view()), "{rows}×{columns}×{depth}");
                }
            }
        }
    }

    #[test]
    fn a_part_of_the_right_operand_and_transposed_ones() {
        let mut rng = Rng::new(2);
        let (a, b) = (draw(&mut rng, 5, 9), draw(&mut rng, 50, 30));
        let mut out = vec![f64::NAN; 9 * 34];
        // aᵀ and bᵀ: 9×5 by 5 of 30 rows and columns 16 to 50.
        let panels = Panels::new(b.t());
        product(a.t(), &panels, 20..25, 16..50, &mut out);
        let part = b.t();
        let part = part.slice_axis(Axis(0), Slice::from(20..25));
        let part = part.slice_axis(Axis(1), Slice::from(16..50));
        assert_eq!(out, plain(a.t(), part));
    }

    /// Whatever vectors the machine has, the terms are added in the same order.
    #[test]
    fn narrow_vectors_give_the_same_sums() {
        let mut rng = Rng::new(3);
        let (a, b) = (draw(&mut rng, 9, 300), draw(&mut rng, 300, 20));
        let panels = Panels::new(b.view());
        let mut out = vec![f64::NAN; 180];
        Product {
            a: a.as_slice().unwrap(),
            rows: 9,
            b: &panels,
            depth: 0..300,
            columns: 0..20,
            out: &mut out,
        }
        .with_simd(pulp::Scalar::new());
        assert_eq!(out, plain(a.view(), b.view()));
    }
}
