//! Our kernels.

use super::cases::temperature;
use crate::builtin::{Bench, Job};
use crate::submission::{Answer, Call, Failure};
use crate::tensor::DType;
use half::{bf16, f16};
use kernels_host::softmax_topk::{Logit, Options, Outputs, Parameters, softmax_topk_with};

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let dtype = call.input("logits").map(|logits| logits.dtype());
    match dtype {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn run<T: Logit + crate::tensor::Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let parameters = Parameters {
        rows: job.size("R"),
        vocabulary: job.size("V"),
        k: job.size("K"),
        temperature: temperature(call),
    };
    let logits = job.input::<T>("logits")?;
    let mask = job.optional::<u8>("mask")?;
    let ks: Option<Vec<usize>> = call
        .input("row_k")
        .and_then(|k| k.to_vec::<i32>())
        .map(|ks| ks.into_iter().map(|k| k as usize).collect());
    let mut probability = job.output::<f32>("prob")?;
    let mut index = job.output::<i32>("index")?;
    let mut lse = job.output::<f32>("lse")?;
    let options = Options {
        ks: ks.as_deref(),
        rung: None,
    };
    job.run(|| {
        let outputs = Outputs {
            probability: &mut probability,
            index: &mut index,
            lse: &mut lse,
        };
        softmax_topk_with(parameters, options, &logits, mask.as_ref(), outputs)
    })?;
    job.unchanged("logits", &logits)?;
    job.written("prob", &probability)?;
    job.written("index", &index)?;
    job.written("lse", &lse)?;
    Ok(Job::answer(job))
}
