//! Our kernels.

use super::attention::options;
use super::walks::integers;
use crate::builtin::{Bench, Job, failure};
use crate::submission::{Answer, Call, Failure, Named};
use crate::task::paged_kv_attention::kernels;
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::attention::Float;
use kernels_host::paged_kv::{Options, Outputs, PageShape, Queries, Slots};
use kernels_host::tree_verify::{
    Accepted, Logits, Sampling, TokenTree, TreeMask, Trees, accept_greedy, accept_sampled,
    tree_attention,
};
use kernels_host::{Buffer, Element};

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let decides = match call.op {
        "attention" => "q",
        _ => "logits",
    };
    match call.input(decides).map(Tensor::dtype) {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn run<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    match call.op {
        "mask" => mask(bench, call),
        "attention" => attend::<T>(bench, call),
        _ => accept::<T>(bench, call),
    }
}

/// The call's trees, without tokens where it has none.
fn trees(job: &Job<'_>, call: &Call) -> Result<Trees, Failure> {
    let read = |name| integers(call, name).map_err(Failure::Grader);
    let (parent, starts) = (read("parent")?, read("starts")?);
    let token = integers(call, "token").unwrap_or_else(|_| vec![0; parent.len()]);
    let item = |ends: &[i32]| {
        let nodes = ends[0] as usize..ends[1] as usize;
        TokenTree::new(&token[nodes.clone()], &parent[nodes])
    };
    let all = starts.windows(2).map(item).collect::<Result<Vec<_>, _>>();
    Trees::new(job.device(), &all.map_err(failure)?).map_err(failure)
}

fn mask(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let trees = trees(&job, call)?;
    let mut mask = None;
    job.run(|| {
        mask = Some(TreeMask::new(&trees)?);
        Ok(())
    })?;
    let nothing = || Failure::Grader("a job that ran has no result".into());
    let mask = mask.ok_or_else(nothing)?;
    push(&mut job, call, "mask", &mask.words().map_err(failure)?)?;
    push(&mut job, call, "depth", &mask.depths().map_err(failure)?)?;
    Ok(job.answer())
}

/// Gives host memory as an output.
fn push<E: Element + Scalar>(
    job: &mut Job<'_>,
    call: &Call,
    name: &str,
    elements: &[E],
) -> Result<(), Failure> {
    let missing = || Failure::Grader(format!("the call does not ask for `{name}`"));
    let spec = call.output(name).ok_or_else(missing)?;
    let tensor = Tensor::of(&spec.shape, elements);
    let tensor = tensor.map_err(|error| Failure::Grader(error.to_string()))?;
    job.give(Named {
        name: name.to_owned(),
        tensor,
    });
    Ok(())
}

fn accept<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let trees = trees(&job, call)?;
    let logits = job.input::<T>("logits")?;
    let stop = match job.optional::<i32>("stop")? {
        Some(stop) => stop,
        None => Buffer::from_slice(job.device(), &[]).map_err(failure)?,
    };
    let slots = match integers(call, "slots") {
        Err(_) => None,
        Ok(slots) => {
            let slots: Vec<usize> = slots.into_iter().map(|slot| slot as usize).collect();
            // Pages that have such slots: the walk only copies their numbers.
            let shape = PageShape {
                pages: slots.iter().max().map_or(1, |most| most + 1),
                page: 1,
                heads: 1,
                head_size: 1,
            };
            Some(Slots::new(job.device(), &shape, &slots).map_err(failure)?)
        }
    };
    let draft = job.optional::<f32>("draft")?;
    let float = |name: &str| call.input(name).map(Tensor::to_f32).unwrap_or_default();
    let (uniform, bonus_uniform) = (float("uniform"), float("bonus_uniform"));
    let temperature = match call.parameters.get("temperature") {
        Some(crate::submission::Value::Float(t)) => *t as f32,
        _ => 1.0,
    };
    let vocabulary = job.size("V");
    let mut accepted: Option<Accepted> = None;
    job.run(|| {
        let logits = Logits {
            rows: &logits,
            vocabulary,
        };
        accepted = Some(match call.op {
            "sample" => {
                let sampling = Sampling {
                    temperature,
                    draft: draft.as_ref(),
                    uniform: &uniform,
                    bonus_uniform: &bonus_uniform,
                };
                accept_sampled(&trees, logits, &sampling, &stop, slots.as_ref())?
            }
            _ => accept_greedy(&trees, logits, &stop, slots.as_ref())?,
        });
        Ok(())
    })?;
    job.unchanged("logits", &logits)?;
    let nothing = || Failure::Grader("a job that ran has no result".into());
    let accepted = accepted.ok_or_else(nothing)?;
    job.written("node", &accepted.node)?;
    job.written("accepted", &accepted.token)?;
    if let Some(slot) = &accepted.slot {
        job.written("slot", slot)?;
    }
    job.written("count", &accepted.count)?;
    job.written("bonus", &accepted.bonus)?;
    Ok(job.answer())
}

fn attend<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let (d, heads) = (job.size("D"), job.size("Hq"));
    let trees = trees(&job, call)?;
    let q = job.input::<T>("q")?;
    let pages = kernels::pages(&job, call, d)?;
    let table = kernels::table(&job, call, &pages.shape())?;
    let mut o = job.output::<T>("o")?;
    let mut lse = job.output::<f32>("lse")?;
    let asked = options(call).map_err(Failure::Grader)?;
    let options = Options {
        window: asked.window.and_then(|window| window.left),
        ..Options::new(asked.scale)
    };
    job.run(|| {
        let queries = Queries {
            q: &q,
            heads,
            starts: None,
            sink_logits: None,
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        let mask = TreeMask::new(&trees)?;
        tree_attention(
            &queries, &trees, &mask, &pages, &table, &options, None, outputs,
        )
    })?;
    job.unchanged("q", &q)?;
    for (which, store) in [("k", pages.k()), ("v", pages.v())] {
        kernels::unchanged(&mut job, which, store)?;
    }
    job.written("o", &o)?;
    job.written("lse", &lse)?;
    Ok(job.answer())
}
