//! Our kernels.

use crate::builtin::{Bench, Job};
use crate::submission::{Answer, Call, Failure};
use crate::task::attention::{Problem, Setup};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::attention::Float;
use kernels_host::flash_attention_backward::{Gradients, Inputs, flash_attention_backward};

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
    let o = job.input::<T>("o")?;
    let lse = job.input::<f32>("lse")?;
    let d_o = job.input::<T>("do")?;
    let mut dq = job.output::<T>("dq")?;
    let mut dk = job.output::<T>("dk")?;
    let mut dv = job.output::<T>("dv")?;
    let setup = Setup::new(problem, &job)?;
    job.run(|| {
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            d_o: &d_o,
        };
        let gradients = Gradients {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        flash_attention_backward(&setup.shape(), &setup.options(), inputs, gradients)
    })?;
    for (name, buffer) in [("q", &q), ("k", &k), ("v", &v), ("o", &o), ("do", &d_o)] {
        job.unchanged(name, buffer)?;
    }
    job.unchanged("lse", &lse)?;
    job.written("dq", &dq)?;
    job.written("dk", &dk)?;
    job.written("dv", &dv)?;
    Ok(Job::answer(job))
}
