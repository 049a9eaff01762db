//! Our kernels.

use super::append::pairs;
use super::cases::{integers, options};
use super::pages::shape;
use crate::builtin::{Bench, Job, failure};
use crate::submission::{Answer, Call, Failure};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::attention::{Float, Sequences};
use kernels_host::paged_kv::{
    self, BlockTable, Options, Outputs, PageShape, Pages, Queries, Rope, RopePairs, RopeTable,
    Slots, Store, paged_attention,
};

pub(super) fn call(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    // The type of q, or of the tokens that are appended.
    match call.inputs.first().map(|input| input.tensor.dtype()) {
        Some(DType::F16) => run::<f16>(bench, call),
        Some(DType::Bf16) => run::<bf16>(bench, call),
        _ => run::<f32>(bench, call),
    }
}

fn run<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    match call.op {
        "append" => append::<T>(bench, call),
        _ => attend::<T>(bench, call),
    }
}

/// The sizes of a call's pages.
pub(in crate::task) fn page_shape(call: &Call, head_size: usize) -> Result<PageShape, Failure> {
    let shape = shape(call, head_size).map_err(Failure::Grader)?;
    Ok(PageShape {
        pages: shape.pages,
        page: shape.page,
        heads: shape.heads,
        head_size,
    })
}

/// The pages of k or of v on the device.
fn store(job: &Job<'_>, call: &Call, which: &str) -> Result<Store, Failure> {
    let name = |part: &str| format!("{which}_{part}");
    let pages = name("pages");
    match call.input(&pages).map(Tensor::dtype) {
        Some(DType::F16) => Ok(Store::F16(job.input(&pages)?)),
        Some(DType::Bf16) => Ok(Store::Bf16(job.input(&pages)?)),
        Some(DType::I8) => Ok(Store::Int8 {
            codes: job.input(&pages)?,
            scale: job.input(&name("scale"))?,
        }),
        Some(DType::U8) => Ok(Store::Int4 {
            packed: job.input(&pages)?,
            scale: job.input(&name("scale"))?,
            zero: job.input(&name("zero"))?,
        }),
        other => Err(Failure::Unsupported(format!("pages in {other:?}"))),
    }
}

/// K and V pages on the device.
pub(in crate::task) fn pages(
    job: &Job<'_>,
    call: &Call,
    head_size: usize,
) -> Result<Pages, Failure> {
    let (k, v) = (store(job, call, "k")?, store(job, call, "v")?);
    Pages::new(page_shape(call, head_size)?, k, v).map_err(failure)
}

/// The block table on the device.
pub(in crate::task) fn table(
    job: &Job<'_>,
    call: &Call,
    shape: &PageShape,
) -> Result<BlockTable, Failure> {
    let read = |name| integers(call, name).map_err(Failure::Grader);
    let (table, lengths) = (read("block_table")?, read("seq_len")?);
    BlockTable::new(job.device(), shape, &table, &lengths).map_err(failure)
}

fn attend<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let d = job.size("D");
    let q = job.input::<T>("q")?;
    let pages = pages(&job, call, d)?;
    let table = table(&job, call, &pages.shape())?;
    let starts = match call.op {
        "prefill" => {
            let starts = integers(call, "starts").map_err(Failure::Grader)?;
            Some(Sequences::new(job.device(), &starts).map_err(failure)?)
        }
        _ => None,
    };
    let sink_logits = job.optional::<f32>("sink_logits")?;
    let mut o = job.output::<T>("o")?;
    let mut lse = job.output::<f32>("lse")?;
    let asked = options(call).map_err(Failure::Grader)?;
    let options = Options {
        window: asked.window.and_then(|window| window.left),
        sinks: asked.window.map_or(0, |window| window.sinks),
        softcap: asked.softcap,
        ..Options::new(asked.scale)
    };
    let heads = job.size("Hq");
    job.run(|| {
        let queries = Queries {
            q: &q,
            heads,
            starts: starts.as_ref(),
            sink_logits: sink_logits.as_ref(),
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        paged_attention(&queries, &pages, &table, &options, outputs)
    })?;
    job.unchanged("q", &q)?;
    for (which, store) in [("k", pages.k()), ("v", pages.v())] {
        unchanged(&mut job, which, store)?;
    }
    job.written("o", &o)?;
    job.written("lse", &lse)?;
    Ok(job.answer())
}

/// Notes pages that an attention wrote to.
pub(in crate::task) fn unchanged(
    job: &mut Job<'_>,
    which: &str,
    store: &Store,
) -> Result<(), Failure> {
    let pages = format!("{which}_pages");
    match store {
        Store::F16(x) => job.unchanged(&pages, x),
        Store::Bf16(x) => job.unchanged(&pages, x),
        Store::Int8 { codes, .. } => job.unchanged(&pages, codes),
        Store::Int4 { packed, .. } => job.unchanged(&pages, packed),
    }
}

fn append<T: Float + Scalar>(bench: &Bench, call: &Call) -> Result<Answer, Failure> {
    let mut job = bench.job(call);
    let d = job.size("D");
    let (k, v) = (job.input::<T>("k")?, job.input::<T>("v")?);
    let mut pages = pages(&job, call, d)?;
    let numbers = |name| -> Result<Vec<usize>, Failure> {
        let numbers = integers(call, name).map_err(Failure::Grader)?;
        Ok(numbers.into_iter().map(|n| n as usize).collect())
    };
    let slots = Slots::new(job.device(), &pages.shape(), &numbers("slots")?).map_err(failure)?;
    let rope = match pairs(call) {
        None => None,
        Some(pairs) => {
            let table = |name: &str| call.input(name).map(Tensor::to_f32).unwrap_or_default();
            let pairs = match pairs {
                reference::paged_kv::append::RopePairs::Half => RopePairs::Half,
                reference::paged_kv::append::RopePairs::Interleaved => RopePairs::Interleaved,
            };
            let (cos, sin) = (table("cos"), table("sin"));
            let table = RopeTable::new(job.device(), &cos, &sin, d, pairs).map_err(failure)?;
            Some((table, numbers("position")?))
        }
    };
    job.run(|| {
        let rope = rope
            .as_ref()
            .map(|(table, positions)| Rope { table, positions });
        paged_kv::append(&mut pages, &k, &v, &slots, rope)
    })?;
    job.unchanged("k", &k)?;
    job.unchanged("v", &v)?;
    for output in &call.outputs {
        let (which, part) = output.name.split_once('_').unwrap_or(("k", "pages"));
        let store = if which == "k" { pages.k() } else { pages.v() };
        written(&mut job, &output.name, part, store)?;
    }
    Ok(job.answer())
}

fn written(job: &mut Job<'_>, name: &str, part: &str, store: &Store) -> Result<(), Failure> {
    match (store, part) {
        (Store::F16(x), _) => job.written(name, x),
        (Store::Bf16(x), _) => job.written(name, x),
        (Store::Int8 { codes, .. }, "pages") => job.written(name, codes),
        (Store::Int4 { packed, .. }, "pages") => job.written(name, packed),
        (Store::Int8 { scale, .. }, _) => job.written(name, scale),
        (Store::Int4 { scale, .. }, "scale") => job.written(name, scale),
        (Store::Int4 { zero, .. }, _) => job.written(name, zero),
    }
}
