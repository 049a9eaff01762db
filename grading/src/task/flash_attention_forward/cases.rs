//! Calls, and what is right for them.

use crate::submission::{Call, Named};
use crate::task::attention::{Draft, Problem, Shape};
use crate::task::bounded::BoundedOutputs;
use crate::task::{Cost, Dims, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::attention::{Method, forward};
use reference::cases::Rng;
use reference::numbers::{Element, Precision};

pub(super) const TASK: &str = "flash-attention-forward";

/// The call of a draft.
pub(in crate::task) fn call(draft: &Draft) -> Call {
    let op = match draft.shape.packed {
        true => "forward-packed",
        false => "forward",
    };
    let outer = draft.shape.query_outer();
    let o = [&outer[..], &[draft.shape.head_size]].concat();
    Call {
        outputs: vec![
            draft.output("o", draft.dtype, &o),
            draft.output("lse", DType::F32, &outer),
        ],
        ..draft.call(TASK, op)
    }
}

/// Mixed scales, causal or not, in f32.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(call(&drawn(dims, rng)))
}

/// The draft of [`ordinary`].
pub(super) fn drawn(dims: &Dims, rng: &mut Rng) -> Draft {
    let mut draft = Draft::drawn(Draft::dense(dims), rng);
    draft.options.causal = rng.chance(0.5);
    draft
}

/// Two queries and three keys.
pub(super) fn example() -> Call {
    let shape = Shape {
        query_heads: 1,
        kv_heads: 1,
        head_size: 2,
        lengths: vec![(2, 3)],
        packed: false,
    };
    let draft = Draft {
        options: reference::attention::Options::new(1.0).causal(),
        dtype: DType::F32,
        shape,
        q: vec![1.0, 0.0, 0.0, 2.0],
        k: vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0],
        v: vec![1.0, -1.0, 2.0, 0.0, 4.0, 1.0],
    };
    call(&draft)
}

pub(super) fn cost(call: &Call) -> Cost {
    let Ok(problem) = Problem::of(call) else {
        return Cost {
            bytes: 0,
            flops: 0,
            workspace: 0,
        };
    };
    let d = problem.shape.head_size as u64;
    Cost {
        bytes: call.compulsory_bytes(),
        flops: 4 * d * problem.pairs(),
        workspace: 64 * (d + 2) * problem.shape.query_rows() as u64,
    }
}

/// `o of sequence 0, head 1, query 70 (tile 1), component 3`.
pub(super) fn place(call: &Call, output: &str, index: &[usize]) -> String {
    let Ok(problem) = Problem::of(call) else {
        return format!("{output} at {index:?}");
    };
    let outer = problem.shape.query_outer();
    let row = index.iter().zip(&outer).fold(0, |row, (i, n)| row * n + i);
    let place = problem.shape.query_place(row);
    match index.get(outer.len()) {
        Some(component) => format!("{output} of {place}, component {component}"),
        None => format!("{output} of {place}"),
    }
}

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.input("q").map(Tensor::dtype) {
        Some(DType::F16) => of::<f16>(call),
        Some(DType::Bf16) => of::<bf16>(call),
        _ => of::<f32>(call),
    }
}

fn of<T: Scalar + Element>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let problem = Problem::of(call)?;
    let read = |name: &str| -> Result<Vec<T>, String> {
        let tensor = call.input(name).ok_or_else(|| format!("no {name}"))?;
        let unexpected = || format!("`{name}` of another type than q");
        tensor.to_vec().ok_or_else(unexpected)
    };
    let (q, k, v) = (read("q")?, read("k")?, read("v")?);
    let precision = Precision::of(<T as Element>::DTYPE);
    let right = problem
        .batch(&q, &k, &v)
        .and_then(|batch| forward(&batch, &problem.options, precision, Method::Tiled))
        .map_err(|error| error.to_string())?;
    Ok(Box::new(BoundedOutputs(vec![
        ("o", problem.dtype, right.o),
        ("lse", DType::F32, right.lse),
    ])))
}

/// The right o and lse of a draft, as a forward pass would have saved them.
///
/// # Panics
/// When the draft is none: a mistake of the check that made it.
pub(in crate::task) fn saved(draft: &Draft) -> Vec<Named> {
    let call = call(draft);
    let right = oracle(&call).expect("a draft is a good call");
    right.best()
}
