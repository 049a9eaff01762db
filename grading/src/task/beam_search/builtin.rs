//! Our kernels.

use super::cases::rules;
use crate::builtin::{Bench, failure};
use crate::submission::{Answer, Call, Failure};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::Buffer;
use kernels_host::beam_search::{Beams, Kept, Rules, Shape, beam_step};
use kernels_host::softmax_topk::Logit;

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    match call.input("logits").map(Tensor::dtype) {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn run<T: Logit + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let asked = rules(call);
    let rules = Rules {
        alpha: asked.alpha,
        eos: asked.eos,
        count_eos: asked.count_eos,
        min_length: asked.min_length,
        ..Rules::new(asked.beams, 0)
    };
    let shape = Shape {
        items: job.size("B"),
        vocabulary: job.size("V"),
        parts: None,
    };
    let logits = job.input::<T>("logits")?;
    let eos = Buffer::from_slice(job.device(), &rules.eos).map_err(failure)?;
    let beams = Beams {
        acc: job.input("acc")?,
        length: job.input("length")?,
        finished: job.input("finished")?,
    };
    let mut kept = Beams {
        acc: job.output("acc")?,
        length: job.output("length")?,
        finished: job.output("finished")?,
    };
    let mut parent = job.output::<i32>("parent")?;
    let mut token = job.output::<i32>("token")?;
    let mut score = job.output::<f32>("score")?;
    job.run(|| {
        let kept = Kept {
            beams: &mut kept,
            parent: &mut parent,
            token: &mut token,
            score: &mut score,
        };
        beam_step(&rules, shape, &logits, &eos, &beams, kept)
    })?;
    job.unchanged("logits", &logits)?;
    job.unchanged("acc", &beams.acc)?;
    job.unchanged("length", &beams.length)?;
    job.unchanged("finished", &beams.finished)?;
    job.written("parent", &parent)?;
    job.written("token", &token)?;
    job.written("acc", &kept.acc)?;
    job.written("length", &kept.length)?;
    job.written("finished", &kept.finished)?;
    job.written("score", &score)?;
    Ok(job.answer())
}
