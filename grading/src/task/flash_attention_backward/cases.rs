//! Calls, and what is right for them.

use crate::submission::Call;
use crate::task::attention::{Draft, Problem, Shape, named, tensor};
use crate::task::bounded::BoundedOutputs;
use crate::task::flash_attention_forward::saved;
use crate::task::{Cost, Dims, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::attention::{Delta, Method, Options, Saved, backward};
use reference::cases::Rng;
use reference::numbers::{Element, Precision};

pub(super) const TASK: &str = "flash-attention-backward";

/// The call of a draft and a gradient of its o. The o and lse are the right ones.
pub(super) fn call(draft: &Draft, d_o: &[f64]) -> Call {
    let op = match draft.shape.packed {
        true => "backward-packed",
        false => "backward",
    };
    let with_d = |mut outer: Vec<usize>| {
        outer.push(draft.shape.head_size);
        outer
    };
    let (of_q, of_k) = (
        with_d(draft.shape.query_outer()),
        with_d(draft.shape.key_outer()),
    );
    let mut inputs = draft.inputs();
    inputs.extend(saved(draft));
    inputs.push(named("do", tensor(draft.dtype, &of_q, d_o)));
    inputs.extend(draft.starts());
    Call {
        inputs,
        outputs: vec![
            draft.output("dq", draft.dtype, &of_q),
            draft.output("dk", draft.dtype, &of_k),
            draft.output("dv", draft.dtype, &of_k),
        ],
        ..draft.call(TASK, op)
    }
}

/// A draft whose numbers do not overwhelm each other, and a gradient with a late outlier.
pub(super) fn drawn(shape: Shape, rng: &mut Rng) -> (Draft, Vec<f64>) {
    let draft = Draft::normal(shape, rng);
    let d_o = gradient(&draft, rng);
    (draft, d_o)
}

/// A gradient of o: rows at 10⁻³, 1 and 10.
pub(super) fn gradient(draft: &Draft, rng: &mut Rng) -> Vec<f64> {
    let (rows, d) = (draft.shape.query_rows(), draft.shape.head_size);
    let mut all = Vec::with_capacity(rows * d);
    for _ in 0..rows {
        let scale = rng.choose(&[1e-3, 1.0, 1.0, 10.0]);
        all.extend((0..d).map(|_| scale * rng.normal()));
    }
    all
}

/// Causal or not, in f32.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
    draft.options.causal = rng.chance(0.5);
    Some(call(&draft, &d_o))
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
        options: Options::new(1.0).causal(),
        dtype: DType::F32,
        shape,
        q: vec![1.0, 0.0, 0.0, 2.0],
        k: vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0],
        v: vec![1.0, -1.0, 2.0, 0.0, 4.0, 1.0],
    };
    call(&draft, &[1.0, 0.0, 0.5, -1.0])
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
    let longest = |of: fn(&(usize, usize)) -> usize| {
        problem.shape.lengths.iter().map(of).max().unwrap_or(0) as u64
    };
    let matrix = 4 * longest(|l| l.0) * longest(|l| l.1);
    let rows = 4 * (d + 2) * problem.shape.query_rows() as u64;
    Cost {
        bytes: call.compulsory_bytes(),
        flops: 10 * d * problem.pairs(),
        workspace: rows.max(matrix / 5),
    }
}

/// `dk of sequence 0, head 1, key 70 (tile 1), component 3`.
pub(super) fn place(call: &Call, output: &str, index: &[usize]) -> String {
    let Ok(problem) = Problem::of(call) else {
        return format!("{output} at {index:?}");
    };
    let of_query = output == "dq";
    let outer = match of_query {
        true => problem.shape.query_outer(),
        false => problem.shape.key_outer(),
    };
    let row = index.iter().zip(&outer).fold(0, |row, (i, n)| row * n + i);
    let place = match of_query {
        true => problem.shape.query_place(row),
        false => problem.shape.key_place(row),
    };
    let component = index.last().copied().unwrap_or(0);
    format!("{output} of {place}, component {component}")
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
    let (o, d_o) = (read("o")?, read("do")?);
    let lse = call.input("lse").map(Tensor::to_f32).ok_or("no lse")?;
    let saved = Saved {
        lse: &lse[..],
        delta: Delta::From(&o[..]),
    };
    let precision = Precision::of(<T as Element>::DTYPE);
    let right = problem
        .batch(&q, &k, &v)
        .and_then(|batch| {
            let method = Method::Tiled;
            backward(&batch, saved, &d_o, &problem.options, precision, method)
        })
        .map_err(|error| error.to_string())?;
    Ok(Box::new(BoundedOutputs(vec![
        ("dq", problem.dtype, right.dq),
        ("dk", problem.dtype, right.dk),
        ("dv", problem.dtype, right.dv),
    ])))
}
