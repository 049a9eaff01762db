//! Our kernels.

use crate::builtin::Bench;
use crate::submission::{Answer, Call, Failure};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::Float;
use kernels_host::layernorm_backward::{Inputs, Outputs, Shape, layernorm_backward};

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    match call.input("x").map(Tensor::dtype) {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn run<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let shape = Shape {
        rows: job.size("R"),
        width: job.size("D"),
    };
    let (x, dy) = (job.input::<T>("x")?, job.input::<T>("dy")?);
    let gamma = job.optional::<T>("gamma")?;
    let mean = job.optional::<f32>("mean")?;
    let rstd = job.input::<f32>("rstd")?;
    let residual = job.optional::<T>("residual")?;
    let mut dx = job.output::<T>("dx")?;
    let mut dgamma = job.output::<f32>("dgamma")?;
    let mut dbeta = match mean {
        Some(_) => Some(job.output::<f32>("dbeta")?),
        None => None,
    };
    job.run(|| {
        let inputs = Inputs {
            x: &x,
            dy: &dy,
            gamma: gamma.as_ref(),
            mean: mean.as_ref(),
            rstd: &rstd,
            residual: residual.as_ref(),
        };
        let outputs = Outputs {
            dx: &mut dx,
            dgamma: &mut dgamma,
            dbeta: dbeta.as_mut(),
        };
        layernorm_backward(shape, inputs, outputs)
    })?;
    job.unchanged("x", &x)?;
    job.unchanged("dy", &dy)?;
    job.unchanged("rstd", &rstd)?;
    job.written("dx", &dx)?;
    job.written("dgamma", &dgamma)?;
    if let Some(dbeta) = &dbeta {
        job.written("dbeta", dbeta)?;
    }
    Ok(job.answer())
}
