//! Our kernels. Packed weights are laid out anew for them in every call, and that counts.

use super::cases::packing;
use crate::builtin::{Bench, Job, failure};
use crate::submission::{Answer, Call, Failure};
use crate::tensor::{DType, Scalar};
use half::{bf16, f16};
use kernels_host::ternary_matmul::{
    GROUP, Packing, TernaryWeights, forward, input_gradient, weight_gradient,
};
use kernels_host::{Buffer, Float};
use reference::ternary;

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    if call.op == "embed" {
        return match call.outputs.first().map(|output| output.dtype) {
            Some(DType::F16) => embed::<f16>(bench, call),
            Some(DType::Bf16) => embed::<bf16>(bench, call),
            _ => embed::<f32>(bench, call),
        };
    }
    match call.inputs.first().map(|input| input.tensor.dtype()) {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn ours(call: &Call) -> Packing {
    match packing(call) {
        ternary::Packing::TwoBit => Packing::TwoBit,
        ternary::Packing::Base3 => Packing::Base3,
    }
}

fn embed<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let (tokens, packed) = (job.input::<i32>("tokens")?, job.input::<u8>("packed")?);
    let mut rows = job.output::<T>("rows")?;
    let shape = [job.size("N"), job.size("K")];
    job.run(|| TernaryWeights::from_packed(ours(call), &packed, shape)?.embed(&tokens, &mut rows))?;
    job.unchanged("tokens", &tokens)?;
    job.unchanged("packed", &packed)?;
    job.written("rows", &rows)?;
    Ok(job.answer())
}

fn run<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let [m, n, k] = ["M", "N", "K"].map(|name| job.size(name));
    match call.op {
        "forward" => {
            let (x, packed) = (job.input::<T>("x")?, job.input::<u8>("packed")?);
            let mut y = job.output::<T>("y")?;
            job.run(|| {
                let weights = TernaryWeights::from_packed(ours(call), &packed, [n, k])?;
                forward(&weights, &x, &mut y, m)
            })?;
            job.unchanged("x", &x)?;
            job.unchanged("packed", &packed)?;
            job.written("y", &y)?;
        }
        "input-gradient" => {
            let (dy, packed) = (job.input::<T>("dy")?, job.input::<u8>("packed")?);
            let mut dx = job.output::<T>("dx")?;
            job.run(|| {
                let weights = TernaryWeights::from_packed(ours(call), &packed, [n, k])?;
                input_gradient(&weights, &dy, &mut dx, m)
            })?;
            job.unchanged("dy", &dy)?;
            job.unchanged("packed", &packed)?;
            job.written("dx", &dx)?;
        }
        "weight-gradient" => {
            let (dy, x) = (job.input::<T>("dy")?, job.input::<T>("x")?);
            let mut dw = job.output::<f32>("dW")?;
            job.run(|| weight_gradient(&dy, &x, &mut dw, [m, n, k]))?;
            job.unchanged("dy", &dy)?;
            job.unchanged("x", &x)?;
            job.written("dW", &dw)?;
        }
        "quantise" | "pack-exact" => pack::<T>(&mut job, call, [n, k])?,
        "quantise-forward" => quantise_forward::<T>(&mut job, call, [m, n, k])?,
        other => return Err(Failure::Unsupported(other.to_owned())),
    }
    Ok(job.answer())
}

fn whole_groups(k: usize) -> Result<(), Failure> {
    match k.is_multiple_of(GROUP) {
        true => Ok(()),
        false => Err(Failure::Unsupported(format!(
            "K is {k}; it must be a multiple of {GROUP}"
        ))),
    }
}

/// As a step of training has it: into weights that are there, of whatever was quantised before.
fn quantise_forward<T: Float + Scalar>(
    job: &mut Job<'_>,
    call: &Call,
    [m, n, k]: [usize; 3],
) -> Result<(), Failure> {
    whole_groups(k)?;
    let (x, w) = (job.input::<T>("x")?, job.input::<f32>("W")?);
    let mut y = job.output::<T>("y")?;
    let before = vec![0_u8; n * k / GROUP * ours(call).block_bytes()];
    let before = Buffer::from_slice(x.device(), &before).map_err(failure)?;
    let mut packed: Option<Buffer<u8>> = None;
    job.run(|| {
        let mut weights = TernaryWeights::from_packed(ours(call), &before, [n, k])?;
        weights.requantise_forward(&w, &x, &mut y, m)?;
        packed = Some(weights.to_packed(ours(call))?);
        Ok(())
    })?;
    job.unchanged("x", &x)?;
    job.unchanged("W", &w)?;
    job.written("y", &y)?;
    let nothing = || Failure::Grader("a job that ran has no result".into());
    let packed = packed.ok_or_else(nothing)?;
    job.written("packed", &packed)
}

fn pack<T: Float + Scalar>(
    job: &mut Job<'_>,
    call: &Call,
    shape: [usize; 2],
) -> Result<(), Failure> {
    whole_groups(shape[1])?;
    let w = job.input::<T>("W")?;
    let mut packed: Option<Buffer<u8>> = None;
    job.run(|| {
        let weights = match call.op {
            "pack-exact" => TernaryWeights::exact(&w, shape)?,
            _ => TernaryWeights::quantise(&w, shape)?,
        };
        packed = Some(weights.to_packed(ours(call))?);
        Ok(())
    })?;
    job.unchanged("W", &w)?;
    let nothing = || Failure::Grader("a job that ran has no result".into());
    let packed = packed.ok_or_else(nothing)?;
    job.written("packed", &packed)
}
