//! Calls of attention over pages, and what is right for them.

use super::pages::{Owned, shape, tensors};
use crate::submission::{Call, Named, OutputSpec, Value};
use crate::task::{BoundedOutputs, Cost, Dims, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::attention::{Method, Options, Window};
use reference::cases::Rng;
use reference::cases::paged_kv::{PagedKv, Shape};
use reference::numbers::{self, Element, Precision};
use reference::paged_kv::{Format, PagedKeys, PagedQueries, paged_attention};

pub(super) const TASK: &str = "paged-kv-attention";

/// The format that dims name: 0 f16, 1 bf16, 2 int8, 3 int4.
pub(super) fn format(dims: &Dims) -> Format {
    match dims.get("format") {
        1 => Format::Float(numbers::DType::Bf16),
        2 => Format::Int8,
        3 => Format::Int4,
        _ => Format::Float(numbers::DType::F16),
    }
}

/// A shape from dims `B, tokens, page, Hq, Hkv, D, format`, and `chunk` for prefill: the first
/// sequence has all tokens, the others fewer.
pub(super) fn drawn(dims: &Dims, rng: &mut Rng, prefill: bool) -> Shape {
    let tokens = dims.get("tokens").max(1);
    let mut seq_len = vec![tokens];
    for _ in 1..dims.get("B") {
        seq_len.push(rng.between(1, tokens));
    }
    let chunk = dims.get("chunk").max(1);
    let chunks = prefill.then(|| {
        let of = |n: &usize| rng.between(1, chunk.min(*n));
        seq_len.iter().map(of).collect()
    });
    let kv_heads = dims.get("Hkv");
    Shape {
        chunks,
        seq_len,
        page: dims.get("page"),
        query_heads: dims.get("Hq").div_ceil(kv_heads) * kv_heads,
        kv_heads,
        head_size: dims.get("D"),
        format: format(dims),
    }
}

/// Numbers of a shape, with unused slots poisoned, and options without window and softcap.
pub(super) fn numbers_of<T: Element>(shape: &Shape, rng: &mut Rng) -> PagedKv<T> {
    let options = Options::new(1.0 / (shape.head_size as f32).sqrt());
    let mut case = PagedKv::with_shape(rng, shape, options).expect("sizes that fit each other");
    case.sink_logits = None;
    case
}

/// The call of a case.
pub(super) fn call<T: Scalar + Element>(case: &PagedKv<T>) -> Call {
    let sizes = case.k.shape();
    let d = sizes.head_size;
    let rows = case.q.len() / (case.query_heads * d);
    let named = |name: &str, tensor: Tensor| Named {
        name: name.to_owned(),
        tensor,
    };
    let of = |shape: &[usize], numbers: &[i32]| Tensor::of(shape, numbers).expect("a table");
    let batch = case.seq_len.len();
    let q = Tensor::of(&[rows, case.query_heads, d], &case.q).expect("as many as rows");
    let mut inputs = vec![named("q", q)];
    inputs.extend(tensors(&case.k, &case.v));
    inputs.push(named(
        "block_table",
        of(&[batch, case.width], &case.block_table),
    ));
    inputs.push(named("seq_len", of(&[batch], &case.seq_len)));
    if let Some(starts) = &case.starts {
        inputs.push(named("starts", of(&[starts.len()], starts)));
    }
    if let Some(sinks) = &case.sink_logits {
        let sinks = Tensor::of(&[sinks.len()], sinks).expect("one a head");
        inputs.push(named("sink_logits", sinks));
    }
    let mut all = vec![
        ("B", batch),
        ("Hq", case.query_heads),
        ("Hkv", sizes.heads),
        ("D", d),
        ("P", sizes.pages),
        ("page", sizes.page),
        ("maxp", case.width),
    ];
    if case.starts.is_some() {
        all.push(("T", rows));
    }
    let mut parameters = vec![("scale", Value::Float(case.options.scale.into()))];
    if let Some(window) = case.options.window {
        if let Some(left) = window.left {
            parameters.push(("window", Value::Int(left as i64)));
        }
        parameters.push(("sinks", Value::Int(window.sinks as i64)));
    }
    if let Some(cap) = case.options.softcap {
        parameters.push(("softcap", Value::Float(cap.into())));
    }
    let output = |name: &str, dtype, shape: &[usize]| OutputSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    };
    Call {
        task: TASK,
        op: match case.starts {
            Some(_) => "prefill",
            None => "decode",
        },
        sizes: all
            .into_iter()
            .map(|(name, n)| (name.to_owned(), n as u64))
            .collect(),
        parameters: parameters
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        inputs,
        outputs: vec![
            output("o", <T as Scalar>::DTYPE, &[rows, case.query_heads, d]),
            output("lse", DType::F32, &[rows, case.query_heads]),
        ],
    }
}

/// Decode in f16 over pages of the format that dims name.
pub(super) fn decode(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let shape = drawn(dims, rng, false);
    Some(match format(dims) {
        Format::Float(numbers::DType::Bf16) => call(&numbers_of::<bf16>(&shape, rng)),
        _ => call(&numbers_of::<f16>(&shape, rng)),
    })
}

/// Two tokens in pages 1 and 0, of three pages of one token.
pub(super) fn example() -> Call {
    let shape = Shape {
        seq_len: vec![2],
        chunks: None,
        page: 1,
        query_heads: 1,
        kv_heads: 1,
        head_size: 2,
        format: Format::Float(numbers::DType::F32),
    };
    call(&numbers_of::<f32>(&shape, &mut Rng::new(5)))
}

fn float(call: &Call, name: &str) -> Option<f32> {
    match call.parameters.get(name)? {
        Value::Float(x) => Some(*x as f32),
        Value::Int(x) => Some(*x as f32),
        _ => None,
    }
}

fn count(call: &Call, name: &str) -> Option<usize> {
    match call.parameters.get(name)? {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

/// The options of a call.
pub(super) fn options(call: &Call) -> Result<Options, String> {
    let window = count(call, "window").map(|left| Window {
        left: Some(left),
        right: Some(0),
        sinks: count(call, "sinks").unwrap_or(0),
    });
    Ok(Options {
        scale: float(call, "scale").ok_or("no scale")?,
        causal: true,
        window,
        softcap: float(call, "softcap"),
    })
}

/// A vector of integers of a call.
pub(super) fn integers(call: &Call, name: &str) -> Result<Vec<i32>, String> {
    let tensor = call.input(name).and_then(Tensor::to_vec);
    tensor.ok_or_else(|| format!("no {name} in i32"))
}

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.input("q").map(Tensor::dtype) {
        Some(DType::F16) => of::<f16>(call),
        Some(DType::Bf16) => of::<bf16>(call),
        _ => of::<f32>(call),
    }
}

fn of<T: Scalar + Element>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let tensor = call.input("q").ok_or("no q")?;
    let q: Vec<T> = tensor.to_vec().ok_or("q of an unexpected type")?;
    let &[rows, heads, d] = tensor.shape() else {
        return Err(format!("q of shape {:?}", tensor.shape()));
    };
    let (k, v) = (
        Owned::read("k", &call.inputs)?,
        Owned::read("v", &call.inputs)?,
    );
    let table = integers(call, "block_table")?;
    let seq_len = integers(call, "seq_len")?;
    let starts = call.input("starts").and_then(Tensor::to_vec::<i32>);
    let sinks = call.input("sink_logits").and_then(Tensor::to_vec::<f32>);
    let sizes = shape(call, d)?;
    let options = options(call)?;
    let width = table.len() / seq_len.len().max(1);
    let right = || {
        let queries = PagedQueries {
            q: View::new("q", &q, [rows, heads, d])?,
            starts: starts.as_deref(),
            sink_logits: sinks.as_deref(),
        };
        let keys = PagedKeys {
            k: k.pages(),
            v: v.pages(),
            shape: sizes,
            block_table: View::new("block_table", &table, [seq_len.len(), width])?,
            seq_len: &seq_len,
        };
        let precision = Precision::of(<T as Element>::DTYPE);
        paged_attention(&queries, &keys, &options, precision, Method::Tiled)
    };
    let right = right().map_err(|error: reference::Error| error.to_string())?;
    Ok(Box::new(BoundedOutputs(vec![
        ("o", <T as Scalar>::DTYPE, right.o),
        ("lse", DType::F32, right.lse),
    ])))
}

pub(super) fn cost(call: &Call) -> Cost {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0);
    let lengths = integers(call, "seq_len").unwrap_or_default();
    let tokens: u64 = lengths.iter().map(|n| *n as u64).sum();
    let slots = size("P") * size("page");
    let bytes = |part: &str| call.input(part).map_or(0, |t| t.bytes().len() as u64);
    // Tokens only: what else the pages hold is not read.
    let paged: u64 = [
        "k_pages", "v_pages", "k_scale", "v_scale", "k_zero", "v_zero",
    ]
    .iter()
    .map(|part| bytes(part) / slots.max(1) * tokens)
    .sum();
    let rows = match call.op {
        "prefill" => size("T"),
        _ => size("B"),
    };
    let rest = bytes("q") + bytes("seq_len") + bytes("starts") + bytes("sink_logits");
    let table = 4 * tokens.div_ceil(size("page").max(1));
    let outputs: u64 = call.outputs.iter().map(|o| o.bytes() as u64).sum();
    let seen = match call.op {
        "prefill" => tokens * rows / size("B").max(1),
        _ => tokens,
    };
    Cost {
        bytes: paged + rest + table + outputs,
        flops: 4 * size("D") * size("Hq") * seen,
        workspace: 256 * (size("D") + 2) * rows * size("Hq"),
    }
}
