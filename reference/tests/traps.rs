//! Well-known mistakes of the families, in otherwise exact arithmetic: each is outside the bounds on a
//! case made for it, and the same computation without the mistake is inside.

use half::bf16;
use reference::View;
use reference::cases::{Rng, normal};
use reference::layernorm::{Backward, Forward, Gradients, Norm, backward, forward};
use reference::numbers::{BoundedTensor, DType, Precision};

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}

fn admits(expected: &BoundedTensor, got: &[f32]) -> bool {
    expected.compare("got", got).unwrap().is_right()
}

/// Variance as E[x²] − E[x]² in f32 under an offset of 10⁴σ, against the two passes.
#[test]
fn variance_by_the_difference_of_squares_is_found() {
    let width = 256;
    let x: Vec<f32> = normal::<f32>(&mut Rng::new(1), width, 1.0)
        .iter()
        .map(|x| x + 1e4)
        .collect();
    let view = View::new("x", &x, [1, width]).unwrap();
    let input = Forward {
        x: view,
        gamma: None,
        beta: None,
        eps: 1e-5,
        norm: Norm::Layer,
    };
    let expected = forward(&input, precision()).unwrap().rstd;
    let n = width as f32;
    let mean = x.iter().sum::<f32>() / n;
    let squares = x.iter().map(|x| x * x).sum::<f32>() / n;
    let one_pass = ((squares - mean * mean).max(0.0) + 1e-5).sqrt().recip();
    let two_passes = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
    assert!(!admits(&expected, &[one_pass]));
    assert!(admits(&expected, &[(two_passes + 1e-5).sqrt().recip()]));
}

/// Backward in f32 with the statistics and the column sums passed through `keep`.
struct Backprop {
    rows: usize,
    width: usize,
    x: Vec<f32>,
    dy: Vec<f32>,
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

impl Backprop {
    fn new(rows: usize, width: usize, offset: f32) -> Self {
        let mut rng = Rng::new(2);
        let draw = |rng: &mut Rng| normal::<f32>(rng, rows * width, 1.0);
        let x: Vec<f32> = draw(&mut rng).iter().map(|x| x + offset).collect();
        let dy = draw(&mut rng);
        let (mean, rstd) = x
            .chunks(width)
            .map(|row| {
                let mean = row.iter().sum::<f32>() / width as f32;
                let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
                (mean, (square + 1e-5).sqrt().recip())
            })
            .unzip();
        Self {
            rows,
            width,
            x,
            dy,
            mean,
            rstd,
        }
    }

    fn expected(&self) -> Gradients {
        let shape = [self.rows, self.width];
        let input = Backward {
            x: View::new("x", &self.x, shape).unwrap(),
            dy: View::new("dy", &self.dy, shape).unwrap(),
            gamma: None,
            mean: Some(View::new("mean", &self.mean, [self.rows]).unwrap()),
            rstd: View::new("rstd", &self.rstd, [self.rows]).unwrap(),
            residual: None,
        };
        backward(&input, precision()).unwrap()
    }

    fn run(
        &self,
        statistic: fn(f32) -> f32,
        sum: fn(f32) -> f32,
        padded: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let n = self.width as f32;
        let (mut dx, mut dgamma) = (Vec::new(), vec![0.0f32; self.width]);
        for r in 0..self.rows {
            let (x, dy) = (
                &self.x[r * self.width..][..self.width],
                &self.dy[r * self.width..],
            );
            let (mean, rstd) = (statistic(self.mean[r]), statistic(self.rstd[r]));
            let xhat: Vec<f32> = x.iter().map(|x| (x - mean) * rstd).collect();
            let c1 = dy[..self.width].iter().sum::<f32>() / n;
            // Tail lanes hold x = 0: masked before the mean is subtracted, they are worth −mean·rstd,
            // and pair with dy = 1 here.
            let tail = -mean * rstd * padded as f32;
            let c2 = (xhat.iter().zip(dy).map(|(a, b)| a * b).sum::<f32>() + tail) / n;
            for i in 0..self.width {
                dx.push(rstd * (dy[i] - c1 - xhat[i] * c2));
                dgamma[i] = sum(dgamma[i] + dy[i] * xhat[i]);
            }
        }
        (dx, dgamma)
    }
}

fn exact(x: f32) -> f32 {
    x
}

fn short(x: f32) -> f32 {
    bf16::from_f64(f64::from(x)).to_f32()
}

#[test]
fn statistics_or_column_sums_in_16_bits_and_unmasked_tails_are_found() {
    let case = Backprop::new(64, 48, 3.0);
    let expected = case.expected();
    let (dx, dgamma) = case.run(exact, exact, 0);
    assert!(
        admits(&expected.dx, &dx) && admits(&expected.dgamma, &dgamma),
        "the honest one"
    );
    let (dx, _) = case.run(short, exact, 0);
    assert!(!admits(&expected.dx, &dx), "statistics in bf16");
    let (dx, dgamma) = case.run(exact, short, 0);
    assert!(
        admits(&expected.dx, &dx) && !admits(&expected.dgamma, &dgamma),
        "sums in bf16"
    );
    let (dx, _) = case.run(exact, exact, 16);
    assert!(!admits(&expected.dx, &dx), "tail lanes");
}
