//! Matrix products `out[i,j] = Σ_p a[i,p]·b[p,j]`, the right operand packed once and used often: in
//! float64, and in float32 for bounds.
//!
//! b lies in panels of 16 columns (32 in float32), so that a step of the inner loop reads one line of
//! each. A block of the result, 4 rows by two panels, stays in registers while p runs through 128 rows of
//! the panels, which stay in the first-level cache while the blocks below use them:
//!
//! ```text
//! for p in steps of 128, for each two panels, for each 4 rows:
//!     out[4 × 2·16] += a[4 × 128]·panels[128 × 2·16]
//! ```
//!
//! With the widest vectors that is 16 sums, four vectors of b and, one after the other, four numbers of a:
//! eight reads for 16 multiplications, as many as a core does in the same time.
//!
//! The terms of an element are added in the order of p whatever the machine; vectors and fused
//! multiplication are the widest that it has (`pulp`).

use std::ops::Range;

use ndarray::ArrayView2;
use pulp::{Arch, Simd, WithSimd};

use super::lane::Number;

/// Rows of two panels (32 KiB) that are used for all rows of `a` before the next.
const DEPTH: usize = 128;

/// Rows of a block.
const ROWS: usize = 4;

/// A right operand.
pub(crate) struct Panels<N: Number> {
    /// Panel after panel, each `depth` lines; the columns missing from the last are zero.
    lines: Vec<N::Line>,
    depth: usize,
    columns: usize,
}

impl<N: Number> Panels<N> {
    /// Packs `number` of each element of `b`, in any layout.
    pub(crate) fn new(b: ArrayView2<'_, f64>, number: impl Fn(f64) -> N) -> Self {
        let (depth, columns) = (b.nrows(), b.ncols());
        let panels = columns.div_ceil(N::WIDTH);
        let mut lines = Vec::with_capacity(panels * depth);
        for first in (0..columns).step_by(N::WIDTH) {
            let width = N::WIDTH.min(columns - first);
            for p in 0..depth {
                let mut line = N::ZEROS;
                for (j, x) in line.as_mut()[..width].iter_mut().enumerate() {
                    *x = number(b[[p, first + j]]);
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
    fn panel(&self, at: usize, range: Range<usize>) -> &[N::Line] {
        &self.lines[at * self.depth..][range]
    }
}

/// `a·b[depth, columns]` into `out`, row-major. The first column must begin a panel.
///
/// # Panics
/// When shapes do not fit: a mistake in a formula, never of the input.
pub(crate) fn product<N: Number>(
    a: ArrayView2<'_, N>,
    b: &Panels<N>,
    depth: Range<usize>,
    columns: Range<usize>,
    out: &mut [N],
) {
    assert_eq!(a.ncols(), depth.len(), "rows of the right operand");
    assert_eq!(columns.start % N::WIDTH, 0, "columns begin with a panel");
    assert!(columns.end <= b.columns && depth.end <= b.depth);
    assert_eq!(out.len(), a.nrows() * columns.len(), "size of the result");
    let rows = a.nrows();
    if rows == 0 || columns.is_empty() {
        return;
    }
    if depth.is_empty() {
        out.fill(N::default());
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

struct Product<'a, N: Number> {
    /// `rows × depth`.
    a: &'a [N],
    rows: usize,
    b: &'a Panels<N>,
    depth: Range<usize>,
    columns: Range<usize>,
    out: &'a mut [N],
}

impl<N: Number> WithSimd for Product<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.in_blocks::<S, 2>(simd);
        } else {
            self.in_blocks::<S, 1>(simd);
        }
    }
}

impl<N: Number> Product<'_, N> {
    #[inline(always)]
    fn in_blocks<S: Simd, const PANELS: usize>(mut self, simd: S) {
        let width = PANELS * N::WIDTH;
        let whole = self.columns.len() - self.columns.len() % width;
        for start in (0..self.depth.len()).step_by(DEPTH) {
            let steps = start..self.depth.len().min(start + DEPTH);
            for first in (0..whole).step_by(width) {
                self.down::<S, PANELS>(simd, first, steps.clone());
            }
            for first in (whole..self.columns.len()).step_by(N::WIDTH) {
                self.down::<S, 1>(simd, first, steps.clone());
            }
        }
    }

    /// All rows of the result by some panels, over some steps of the sum.
    #[inline(always)]
    fn down<S: Simd, const PANELS: usize>(&mut self, simd: S, first: usize, steps: Range<usize>) {
        let whole = self.rows - self.rows % ROWS;
        for row in (0..whole).step_by(ROWS) {
            self.block::<S, ROWS, PANELS>(simd, row, first, steps.clone());
        }
        for row in whole..self.rows {
            self.block::<S, 1, PANELS>(simd, row, first, steps.clone());
        }
    }

    /// Some rows of the result by some panels, over some steps of the sum.
    #[inline(always)]
    fn block<S: Simd, const ROWS: usize, const PANELS: usize>(
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
        let mut panels = [&[][..]; PANELS];
        for (at, panel) in panels.iter_mut().enumerate() {
            let at = (self.columns.start + first) / N::WIDTH + at;
            *panel = self.b.panel(at, lines.clone());
        }
        let sums = sums::<S, N, ROWS, PANELS>(simd, rows, panels);

        let columns = self.columns.len();
        for (r, sums) in sums.iter().enumerate() {
            for (at, sums) in sums.iter().enumerate() {
                let first = first + at * N::WIDTH;
                let width = N::WIDTH.min(columns - first);
                let out = &mut self.out[(row + r) * columns + first..][..width];
                match N::line_mut(out) {
                    Some(out) if steps.start == 0 => *out = *sums,
                    Some(out) => add(out.as_mut(), sums.as_ref()),
                    None if steps.start == 0 => out.copy_from_slice(&sums.as_ref()[..width]),
                    None => add(out, &sums.as_ref()[..width]),
                }
            }
        }
    }
}

#[inline(always)]
fn add<N: Number>(to: &mut [N], sums: &[N]) {
    to.iter_mut().zip(sums).for_each(|(x, &sum)| *x += sum);
}

/// `Σ_p rows[r][p]·panel[p][j]`, two vectors of each panel at a time.
#[inline(always)]
fn sums<S: Simd, N: Number, const ROWS: usize, const PANELS: usize>(
    simd: S,
    mut rows: [&[N]; ROWS],
    mut panels: [&[N::Line]; PANELS],
) -> [[N::Line; PANELS]; ROWS] {
    // So that no index needs to be checked below.
    let steps = panels[0].len();
    for row in &mut rows {
        *row = &row[..steps];
    }
    for panel in &mut panels {
        *panel = &panel[..steps];
    }
    let mut out = [[N::ZEROS; PANELS]; ROWS];
    let vectors = size_of::<N::Line>() / size_of::<N::Vector<S>>();
    for vector in (0..vectors).step_by(2) {
        let zero = N::default().splat(simd);
        let mut sums = [[[zero; 2]; PANELS]; ROWS];
        for p in 0..steps {
            let mut lines = [[zero; 2]; PANELS];
            for at in 0..PANELS {
                let line = N::vectors::<S>(&panels[at][p]);
                lines[at] = [line[vector], line[vector + 1]];
            }
            for r in 0..ROWS {
                let a = rows[r][p].splat(simd);
                for at in 0..PANELS {
                    sums[r][at][0] = N::mul_add(simd, a, lines[at][0], sums[r][at][0]);
                    sums[r][at][1] = N::mul_add(simd, a, lines[at][1], sums[r][at][1]);
                }
            }
        }
        for r in 0..ROWS {
            for at in 0..PANELS {
                let out = N::vectors_mut::<S>(&mut out[r][at]);
                [out[vector], out[vector + 1]] = sums[r][at];
            }
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
            for columns in [0, 1, 16, 40, 64] {
                for depth in [0, 1, 127, 128, 300] {
                    let (a, b) = (draw(&mut rng, rows, depth), draw(&mut rng, depth, columns));
                    let mut out = vec![f64::NAN; rows * columns];
                    product(
                        a.view(),
                        &Panels::new(b.view(), f64::from),
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
        let panels = Panels::new(b.t(), f64::from);
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
        let panels = Panels::new(b.view(), f64::from);
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
