//! Calls, and what is right for them.

use crate::submission::{Call, Value};
use crate::task::{BoundedOutputs, Cost, Dims, Draft, Oracle, dtype};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::cases::{Rng, mixed, normal};
use reference::layernorm::{Backward, backward};
use reference::numbers::{self, Precision};

/// What forward adds to the variance.
const EPS: f64 = 1e-5;

/// A type of x.
pub(super) trait Real: Scalar + numbers::Element {}

impl Real for f32 {}
impl Real for f16 {}
impl Real for bf16 {}

/// What a call is made of; the statistics are those of x.
#[derive(Clone, Debug)]
pub(super) struct Norm<T> {
    pub(super) width: usize,
    pub(super) x: Vec<T>,
    pub(super) dy: Vec<T>,
    pub(super) gamma: Option<Vec<T>>,
    pub(super) rms: bool,
    pub(super) residual: Option<Vec<T>>,
}

impl<T: Real> Norm<T> {
    /// LayerNorm of those rows, with a normal gradient and scale.
    pub(super) fn new(rng: &mut Rng, width: usize, x: Vec<T>) -> Norm<T> {
        Norm {
            width,
            dy: normal(rng, x.len(), 1.0),
            gamma: Some(normal(rng, width, 1.0)),
            rms: false,
            residual: None,
            x,
        }
    }

    /// LayerNorm of normal rows.
    pub(super) fn normal(rng: &mut Rng, rows: usize, width: usize) -> Norm<T> {
        let x = normal(rng, rows * width, 1.0);
        Norm::new(rng, width, x)
    }

    /// LayerNorm of rows of mixed scales and patterns; gradients of mixed scale.
    pub(super) fn drawn(rng: &mut Rng, rows: usize, width: usize) -> Norm<T> {
        let x = mixed(rng, rows, width);
        // Products of a gradient of 10³ and an rstd of 1/√eps leave f16's range.
        let scales: &[f64] = match <T as Scalar>::DTYPE {
            DType::F16 => &[1e-3, 1.0],
            _ => &[1e-3, 1.0, 1e3],
        };
        let mut dy = Vec::with_capacity(x.len());
        for _ in 0..rows {
            let scale = rng.choose(scales);
            dy.extend(normal::<T>(rng, width, scale));
        }
        let gamma = rng.chance(0.7);
        let norm = Norm::new(rng, width, x);
        Norm {
            dy,
            gamma: norm.gamma.filter(|_| gamma),
            ..norm
        }
    }

    /// The call.
    pub(super) fn call(&self) -> Call {
        let (width, rows) = (self.width, self.x.len() / self.width);
        let n = width as f64;
        let statistics = self.x.chunks(width).map(|row| {
            let total: f64 = row.iter().map(|x| x.to_f64()).sum();
            let mean = if self.rms { 0.0 } else { total / n };
            let squares = row.iter().map(|x| (x.to_f64() - mean).powi(2));
            let variance = squares.sum::<f64>() / n;
            (mean as f32, (variance + EPS).sqrt().recip() as f32)
        });
        let (mean, rstd): (Vec<f32>, Vec<f32>) = statistics.unzip();
        let shape = [rows, width];
        let draft = Draft::new("layernorm-backward", "layernorm-backward")
            .size("R", rows)
            .size("D", width)
            .set("eps", Value::Float(EPS))
            .input("x", &shape, &self.x)
            .input("dy", &shape, &self.dy)
            .maybe("gamma", &[width], self.gamma.as_deref())
            .maybe("mean", &[rows], (!self.rms).then_some(&mean[..]))
            .input("rstd", &[rows], &rstd)
            .maybe("residual", &shape, self.residual.as_deref())
            .output("dx", <T as Scalar>::DTYPE, &shape)
            .output("dgamma", DType::F32, &[width]);
        match self.rms {
            true => draft.call(),
            false => draft.output("dbeta", DType::F32, &[width]).call(),
        }
    }
}

/// LayerNorm in f32.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    drawn::<f32>(dims, rng)
}

/// [`ordinary`] in another type.
pub(super) fn drawn<T: Real>(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(Norm::<T>::drawn(rng, dims.get("R"), dims.get("D")).call())
}

/// Two rows of three.
pub(super) fn example() -> Call {
    Norm {
        width: 3,
        x: vec![1.0_f32, 2.0, 4.0, -1.0, 0.0, 0.5],
        dy: vec![1.0, 0.0, 0.0, 0.5, -0.5, 1.0],
        gamma: Some(vec![1.0, 2.0, 0.5]),
        rms: false,
        residual: None,
    }
    .call()
}

/// Bytes once; the partial sums of at most 1056 blocks, and of at most one a row.
pub(super) fn cost(call: &Call) -> Cost {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0);
    let (rows, width) = (size("R"), size("D"));
    Cost {
        bytes: call.compulsory_bytes(),
        flops: 13 * rows * width,
        workspace: 8 * width * rows.min(1056),
    }
}

/// `dx in row 3, column 17 of 100`.
pub(super) fn place(call: &Call, output: &str, index: &[usize]) -> String {
    let width = call.sizes.get("D").copied().unwrap_or(0);
    match index {
        [row, column] => format!("{output} in row {row}, column {column} of {width}"),
        [column] => format!("{output} of column {column} of {width}"),
        _ => format!("{output} at {index:?}"),
    }
}

/// What is right for a call.
pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.input("x").map(Tensor::dtype) {
        Some(DType::F16) => of::<f16>(call),
        Some(DType::Bf16) => of::<bf16>(call),
        _ => of::<f32>(call),
    }
}

fn of<T: Real>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let read = |name: &str| call.input(name).and_then(|tensor| tensor.to_vec::<T>());
    let saved = |name: &str| call.input(name).and_then(|tensor| tensor.to_vec::<f32>());
    let (x, dy) = (read("x").ok_or("no x")?, read("dy").ok_or("no dy")?);
    let (gamma, residual) = (read("gamma"), read("residual"));
    let (mean, rstd) = (saved("mean"), saved("rstd").ok_or("no rstd")?);
    let (rows, width) = (rstd.len(), x.len() / rstd.len().max(1));
    let shape = [rows, width];
    let gradients = || {
        let input = Backward {
            x: View::new("x", &x, shape)?,
            dy: View::new("dy", &dy, shape)?,
            gamma: gamma
                .as_deref()
                .map(|gamma| View::new("gamma", gamma, [width]))
                .transpose()?,
            mean: mean
                .as_deref()
                .map(|mean| View::new("mean", mean, [rows]))
                .transpose()?,
            rstd: View::new("rstd", &rstd, [rows])?,
            residual: residual
                .as_deref()
                .map(|residual| View::new("residual", residual, shape))
                .transpose()?,
        };
        backward(&input, Precision::scalar(<T as numbers::Element>::DTYPE))
    };
    let gradients = gradients().map_err(|error: reference::Error| error.to_string())?;
    let mut outputs = vec![
        ("dx", dtype(<T as numbers::Element>::DTYPE), gradients.dx),
        ("dgamma", DType::F32, gradients.dgamma),
    ];
    outputs.extend(gradients.dbeta.map(|dbeta| ("dbeta", DType::F32, dbeta)));
    Ok(Box::new(BoundedOutputs(outputs)))
}
