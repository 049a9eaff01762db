//! Products with ternary weights in f32 and on tensor cores.

use reference::cases::build;
use reference::cases::ternary::Ternary;
use reference::numbers::{DType, Element};
use reference::ternary::GROUP;

use super::Report;
use super::arithmetic::{Order, STYLES, Style, TENSOR_CORE};

pub fn trial<T: Element>(seed: u64, report: &mut Report) {
    let Some(case) = report.built(seed, build::<Ternary<T>>(seed)) else {
        return;
    };
    let expected = case.oracle().expect("a built case has an oracle");
    let tensor_core: &[Style] = if T::DTYPE == DType::F32 {
        &[]
    } else {
        &TENSOR_CORE
    };
    for style in STYLES.iter().chain(tensor_core) {
        let honest = Honest::new(&case, *style);
        let stored = |x: f32| T::from_f64(f64::from(x)).to_f64();
        report.compare(
            "y",
            style.name,
            seed,
            &expected.y,
            honest.y().into_iter().map(stored),
        );
        report.compare(
            "dx",
            style.name,
            seed,
            &expected.dx,
            honest.dx().into_iter().map(stored),
        );
        let dw = honest.dw().into_iter().map(f64::from);
        report.compare("dW", style.name, seed, &expected.dw, dw);
    }
}

struct Honest {
    style: Style,
    m: usize,
    n: usize,
    k: usize,
    x: Vec<f32>,
    dy: Vec<f32>,
    /// d of every weight, and t.
    scale: Vec<f32>,
    sign: Vec<f32>,
}

impl Honest {
    fn new<T: Element>(case: &Ternary<T>, style: Style) -> Self {
        let read = |v: &[T]| v.iter().map(|x| x.to_f64() as f32).collect();
        let [n, k] = case.weights.shape();
        let scale = |d: &half::f16| {
            let d = d.to_f64();
            (if style.rounded_weights {
                T::DTYPE.round(d)
            } else {
                d
            }) as f32
        };
        Self {
            style,
            m: case.m,
            n,
            k,
            x: read(&case.x),
            dy: read(&case.dy),
            scale: case
                .weights
                .scales()
                .iter()
                .flat_map(|d| [scale(d); GROUP])
                .collect(),
            sign: case.weights.signs().iter().map(|&t| f32::from(t)).collect(),
        }
    }

    /// Three ways: dequantised weights; group sums scaled once; codes 0, 1, 2 with the group's sum
    /// of x taken off.
    fn y(&self) -> Vec<f32> {
        let style = self.style;
        let one = |m: usize, n: usize| {
            let x = &self.x[m * self.k..][..self.k];
            let (scale, sign) = (
                &self.scale[n * self.k..][..self.k],
                &self.sign[n * self.k..][..self.k],
            );
            if style.rounded_weights {
                let weights: Vec<f32> = scale.iter().zip(sign).map(|(d, t)| d * t).collect();
                return style.dot(x, &weights);
            }
            let groups: Vec<f32> = (0..self.k)
                .step_by(GROUP)
                .map(|g| {
                    let (x, sign) = (&x[g..g + GROUP], &sign[g..g + GROUP]);
                    let sum = if style.approximate && style.order != Order::TensorCore {
                        let codes: Vec<f32> = sign.iter().map(|t| t + 1.0).collect();
                        style.dot(x, &codes) - style.sum(x)
                    } else {
                        style.dot(x, sign)
                    };
                    scale[g] * sum
                })
                .collect();
            style.sum(&groups)
        };
        (0..self.m * self.n)
            .map(|i| one(i / self.n, i % self.n))
            .collect()
    }

    fn dx(&self) -> Vec<f32> {
        let one = |m: usize, k: usize| {
            let weights: Vec<f32> = (0..self.n)
                .map(|n| self.scale[n * self.k + k] * self.sign[n * self.k + k])
                .collect();
            self.style.dot(&self.dy[m * self.n..][..self.n], &weights)
        };
        (0..self.m * self.k)
            .map(|i| one(i / self.k, i % self.k))
            .collect()
    }

    fn dw(&self) -> Vec<f32> {
        let column = |v: &[f32], width: usize, i: usize| -> Vec<f32> {
            v.iter().skip(i).step_by(width).copied().collect()
        };
        let one = |n: usize, k: usize| {
            self.style
                .dot(&column(&self.dy, self.n, n), &column(&self.x, self.k, k))
        };
        (0..self.n * self.k)
            .map(|i| one(i / self.k, i % self.k))
            .collect()
    }
}
