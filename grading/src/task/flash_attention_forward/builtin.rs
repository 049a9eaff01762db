//! Our kernels.

use crate::builtin::{Bench, Job};
use crate::submission::{Answer, Call, Failure};
use crate::task::attention::{Problem, Setup};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::attention::Float;
use kernels_host::flash_attention_forward::{Outputs, flash_attention_forward};

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    match call.input("q").map(Tensor::dtype) {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn run<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let problem = Problem::of(call).map_err(Failure::Grader)?;
    let mut job = bench.job(call);
    let q = job.input::<T>("q")?;
    let k = job.input::<T>("k")?;
    let v = job.input::<T>("v")?;
    let mut o = job.output::<T>("o")?;
    let mut lse = job.output::<f32>("lse")?;
    let setup = Setup::new(problem, &job)?;
    job.run(|| {
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        flash_attention_forward(&setup.shape(), &setup.options(), &q, &k, &v, outputs)
    })?;
    job.unchanged("q", &q)?;
    job.unchanged("k", &k)?;
    job.unchanged("v", &v)?;
    job.written("o", &o)?;
    job.written("lse", &lse)?;
    Ok(Job::answer(job))
}
