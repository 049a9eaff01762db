//! The gradients against finite differences and the Jacobian as a matrix, the properties of the
//! task, its odd values and its refusals.

use half::bf16;
use proptest::prelude::*;

use super::backward::{Column, Row};
use super::*;
use crate::cases::{Rng, mixed, normal, strategy};
use crate::numbers::{DType, Precision};

const EPS: f64 = 1e-5;

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}

/// μ and ρ in float64; μ is 0 for RMSNorm.
fn statistics(x: &[f64], norm: Norm) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = if norm == Norm::Layer {
        x.iter().sum::<f64>() / n
    } else {
        0.0
    };
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, (variance + EPS).sqrt().recip())
}

/// `Σ dy·y(x, γ, β)`: its derivatives are the gradients.
fn loss(x: &[f64], dy: &[f64], gamma: &[f64], beta: &[f64], norm: Norm) -> f64 {
    let width = gamma.len();
    let mut total = 0.0;
    for (x, dy) in x.chunks(width).zip(dy.chunks(width)) {
        let (mean, rstd) = statistics(x, norm);
        for i in 0..width {
            total += dy[i] * ((x[i] - mean) * rstd * gamma[i] + beta[i]);
        }
    }
    total
}

/// Central difference of `f` in each coordinate of `at`. The step `2⁻¹⁷ ≈ ε^⅓` balances the
/// truncation h² against the cancellation ε/h: about 1e-10 of the scale of f either way.
fn finite_differences(at: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 2f64.powi(-17);
    let mut moved = at.to_vec();
    (0..at.len())
        .map(|i| {
            moved[i] = at[i] + step;
            let high = f(&moved);
            moved[i] = at[i] - step;
            let low = f(&moved);
            moved[i] = at[i];
            (high - low) / (2.0 * step)
        })
        .collect()
}

fn close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= tolerance * scale,
            "{what}[{i}]: {got} against {expected}"
        );
    }
}

#[test]
fn every_gradient_agrees_with_finite_differences() {
    for norm in [Norm::Layer, Norm::Rms] {
        for (rows, width) in [(1, 1), (3, 2), (1, 5), (4, 16), (2, 33)] {
            let mut rng = Rng::new((rows * 100 + width) as u64);
            let mut draw = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f64>>();
            let (x, dy) = (draw(rows * width), draw(rows * width));
            let (gamma, beta) = (draw(width), draw(width));

            let mut columns = vec![Column::default(); width];
            let mut dx = Vec::new();
            for (x, dy) in x.chunks(width).zip(dy.chunks(width)) {
                let (mean, rstd) = statistics(x, norm);
                let mean = (norm == Norm::Layer).then_some(mean);
                let row = Row {
                    x,
                    dy,
                    gamma: Some(&gamma),
                    mean,
                    rstd,
                };
                dx.extend(
                    row.dx(&mut columns, precision())
                        .iter()
                        .map(|item| item.value),
                );
            }
            let dgamma: Vec<_> = columns.iter().map(|c| c.dgamma.total.value).collect();
            let dbeta: Vec<_> = columns.iter().map(|c| c.dbeta.total.value).collect();

            let what = format!("{norm:?} {rows}x{width}");
            let numeric = finite_differences(&x, |x| loss(x, &dy, &gamma, &beta, norm));
            // At D = 1 the true curvature is 1/√ε³ and the truncation h²/ε^(5/2) dominates.
            if width > 1 {
                close(&dx, &numeric, 1e-7, &format!("{what} dx"));
            }
            let numeric = finite_differences(&gamma, |g| loss(&x, &dy, g, &beta, norm));
            close(&dgamma, &numeric, 1e-8, &format!("{what} dgamma"));
            let numeric = finite_differences(&beta, |b| loss(&x, &dy, &gamma, b, norm));
            close(&dbeta, &numeric, 1e-8, &format!("{what} dbeta"));
        }
    }
}

/// `dx = ρ·(I − 11ᵀ/D − x̂x̂ᵀ/D)·g` with the matrix written out.
#[test]
fn dx_agrees_with_the_jacobian_as_a_matrix() {
    let width = 24;
    let mut rng = Rng::new(9);
    let mut draw = || (0..width).map(|_| rng.normal()).collect::<Vec<f64>>();
    let (x, dy, gamma) = (draw(), draw(), draw());
    let (mean, rstd) = statistics(&x, Norm::Layer);
    let xhat: Vec<_> = x.iter().map(|x| (x - mean) * rstd).collect();
    let jacobian = |i: usize, j: usize| {
        let identity = if i == j { 1.0 } else { 0.0 };
        rstd * (identity - 1.0 / width as f64 - xhat[i] * xhat[j] / width as f64)
    };
    let expected: Vec<f64> = (0..width)
        .map(|i| (0..width).map(|j| jacobian(i, j) * dy[j] * gamma[j]).sum())
        .collect();
    let row = Row {
        x: &x,
        dy: &dy,
        gamma: Some(&gamma),
        mean: Some(mean),
        rstd,
    };
    let mut columns = vec![Column::default(); width];
    let dx: Vec<_> = row
        .dx(&mut columns, precision())
        .iter()
        .map(|item| item.value)
        .collect();
    close(&dx, &expected, 1e-13, "dx");
}

/// Owned inputs with the statistics of their own forward pass.
struct Case<T> {
    rows: usize,
    width: usize,
    x: Vec<T>,
    dy: Vec<T>,
    gamma: Vec<T>,
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

impl<T: Element> Case<T> {
    fn new(rows: usize, width: usize, x: Vec<T>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let dy = normal(&mut rng, rows * width, 1.0);
        let gamma = normal(&mut rng, width, 1.0);
        let (mean, rstd) = x
            .chunks(width)
            .map(|row| {
                let row: Vec<f64> = row.iter().map(|x| x.to_f64()).collect();
                let (mean, rstd) = statistics(&row, Norm::Layer);
                (mean as f32, rstd as f32)
            })
            .unzip();
        Self {
            rows,
            width,
            x,
            dy,
            gamma,
            mean,
            rstd,
        }
    }

    fn input(&self) -> Backward<'_, T> {
        let shape = [self.rows, self.width];
        Backward {
            x: View::new("x", &self.x, shape).unwrap(),
            dy: View::new("dy", &self.dy, shape).unwrap(),
            gamma: Some(View::new("gamma", &self.gamma, [self.width]).unwrap()),
            mean: Some(View::new("mean", &self.mean, [self.rows]).unwrap()),
            rstd: View::new("rstd", &self.rstd, [self.rows]).unwrap(),
            residual: None,
        }
    }

    fn gradients(&self) -> Gradients {
        backward(&self.input(), Precision::scalar(T::DTYPE)).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With constant γ the gradient of a row sums to 0 and is orthogonal to x̂, up to the rounding
    /// of the saved statistics.
    #[test]
    fn dx_is_orthogonal_to_ones_and_to_xhat(
        (rows, width, x) in strategy::normal_matrix::<f32>(1..5, 2..80),
        seed in strategy::seed(),
    ) {
        let mut case = Case::new(rows, width, x, seed);
        case.gamma = vec![0.75; width];
        let dx = case.gradients().dx;
        for r in 0..rows {
            let row = &dx.items()[r * width..(r + 1) * width];
            let size: f64 = row.iter().map(|g| g.value.abs()).sum();
            let (mean, rstd) = (f64::from(case.mean[r]), f64::from(case.rstd[r]));
            let ones: f64 = row.iter().map(|g| g.value).sum();
            let along: f64 = row
                .iter()
                .zip(&case.x[r * width..])
                .map(|(g, &x)| g.value * (f64::from(x) - mean) * rstd)
                .sum();
            // Saved statistics are f32: x̂ has mean 1e-7 and square 1 ± 1e-7 (and ε's 1e-5/σ²).
            let off = 1e-6 + EPS * rstd * rstd;
            let gradient = case.dy[r * width..][..width].iter().map(|&g| f64::from(g).abs());
            let scale = size + rstd * gradient.sum::<f64>();
            prop_assert!(ones.abs() <= off * scale, "{ones} of {scale}");
            prop_assert!(along.abs() <= off * scale * (width as f64).sqrt(), "{along} of {scale}");
        }
    }

    #[test]
    fn gradients_are_linear_in_dy(
        (rows, width, x) in strategy::normal_matrix::<bf16>(1..5, 1..40),
        seed in strategy::seed(),
    ) {
        let mut case = Case::new(rows, width, x, seed);
        let one = case.gradients();
        // Doubling is exact in every type.
        case.dy.iter_mut().for_each(|g| *g = bf16::from_f64(2.0 * g.to_f64()));
        let two = case.gradients();
        for (one, two) in [(&one.dx, &two.dx), (&one.dgamma, &two.dgamma)] {
            for (one, two) in one.values().zip(two.values()) {
                prop_assert_eq!(2.0 * one, two);
            }
        }
    }

    /// Permuted rows permute dx bit for bit and leave dγ and dβ (up to float64 summation).
    #[test]
    fn rows_are_independent(
        (rows, width, x) in strategy::mixed_matrix::<f32>(2..6, 1..40),
        seed in strategy::seed(),
    ) {
        let mut case = Case::new(rows, width, x, seed);
        let before = case.gradients();
        case.x.rotate_left(width);
        case.dy.rotate_left(width);
        case.mean.rotate_left(1);
        case.rstd.rotate_left(1);
        let after = case.gradients();
        let mut rotated = before.dx.items().to_vec();
        rotated.rotate_left(width);
        prop_assert_eq!(after.dx.items(), &rotated[..]);
        for (a, b) in after.dgamma.items().iter().zip(before.dgamma.items()) {
            prop_assert!(a.admits(b.value));
        }
    }

    /// A residual is added to dx and touches nothing else.
    #[test]
    fn a_residual_is_added(
        (rows, width, x) in strategy::normal_matrix::<f32>(1..5, 1..40),
        seed in strategy::seed(),
    ) {
        let case = Case::new(rows, width, x, seed);
        let residual: Vec<f32> = mixed(&mut Rng::new(seed ^ 1), rows, width);
        let mut input = case.input();
        input.residual = Some(View::new("residual", &residual, [rows, width]).unwrap());
        let with = backward(&input, precision()).unwrap();
        let without = case.gradients();
        for ((with, without), residual) in
            with.dx.values().zip(without.dx.values()).zip(&residual)
        {
            prop_assert_eq!(with, without + f64::from(*residual));
        }
        prop_assert_eq!(with.dgamma.items(), without.dgamma.items());
    }

    /// The forward statistics enclose their own float64 values rounded to f32, and y those of
    /// a plain float64 evaluation.
    #[test]
    fn forward_agrees_with_a_plain_evaluation(
        (rows, width, x) in strategy::mixed_matrix::<f32>(1..6, 1..60),
        norm in prop_oneof![Just(Norm::Layer), Just(Norm::Rms)],
    ) {
        let view = View::new("x", &x, [rows, width]).unwrap();
        let input = Forward { x: view, gamma: None, beta: None, eps: EPS as f32, norm };
        let output = forward(&input, precision()).unwrap();
        prop_assert_eq!(output.mean.is_some(), norm == Norm::Layer);
        for r in 0..rows {
            let row: Vec<f64> = view.row(&[r]).iter().map(|&x| f64::from(x)).collect();
            let (mean, _) = statistics(&row, norm);
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let rstd = (variance + f64::from(EPS as f32)).sqrt().recip();
            prop_assert!(output.rstd.items()[r].admits(f64::from(rstd as f32)));
            for (i, x) in row.iter().enumerate() {
                let y = (x - mean) * rstd;
                let item = output.y.items()[r * width + i];
                prop_assert!((item.value - y).abs() <= 1e-9 * item.bound.max(y.abs()));
            }
        }
    }
}

#[test]
fn nan_spoils_its_row_and_its_column_only() {
    let mut case = Case::new(3, 4, normal::<f32>(&mut Rng::new(2), 12, 1.0), 3);
    case.dy[5] = f32::NAN;
    let gradients = case.gradients();
    for (i, value) in gradients.dx.values().enumerate() {
        assert_eq!(value.is_nan(), i / 4 == 1, "dx[{i}]");
    }
    for (i, value) in gradients.dgamma.values().enumerate() {
        assert_eq!(value.is_nan(), i == 1, "dgamma[{i}]");
    }
}

static SHORT: [f32; 3] = [1.0; 3];
static WIDE: [f32; 12] = [1.0; 12];
static INFINITE: [f32; 4] = [f32::INFINITY; 4];

#[test]
fn bad_input_is_refused_by_name() {
    let case = Case::new(3, 4, normal::<f32>(&mut Rng::new(2), 12, 1.0), 3);
    let refused = |change: &dyn Fn(&mut Backward<'_, f32>)| {
        let mut input = case.input();
        change(&mut input);
        backward(&input, precision()).unwrap_err().about()
    };
    assert_eq!(
        refused(&|i| i.gamma = Some(View::new("gamma", &SHORT, [3]).unwrap())),
        "gamma"
    );
    assert_eq!(
        refused(&|i| i.dy = View::new("dy", &WIDE, [4, 3]).unwrap()),
        "dy"
    );
    assert_eq!(
        refused(&|i| i.mean = Some(View::new("mean", &INFINITE, [4]).unwrap())),
        "mean"
    );
    assert_eq!(
        refused(&|i| i.rstd = View::new("rstd", &INFINITE, [4]).unwrap()),
        "rstd"
    );
    assert_eq!(
        refused(&|i| i.residual = Some(View::new("residual", &WIDE, [12, 1]).unwrap())),
        "residual"
    );
    assert_eq!(
        refused(&|i| i.gamma = Some(View::new("gamma", &INFINITE, [4]).unwrap())),
        "gamma"
    );
    assert_eq!(
        refused(&|i| i.x = View::new("x", &[], [0, 4]).unwrap()),
        "R"
    );
    assert_eq!(
        refused(&|i| i.x = View::new("x", &[], [3, 0]).unwrap()),
        "D"
    );

    let x = View::new("x", &WIDE, [3, 4]).unwrap();
    let forward_of = |eps| Forward {
        x,
        gamma: None,
        beta: None,
        eps,
        norm: Norm::Layer,
    };
    for eps in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(
            forward(&forward_of(eps), precision()).unwrap_err().about(),
            "eps"
        );
    }
}
