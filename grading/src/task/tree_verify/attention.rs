//! Calls of tree attention, and what is right for them.

use super::TASK;
use super::walks::{integers, of, output};
use crate::submission::{Call, Named, Value};
use crate::task::paged_kv_attention::pages::{Owned, shape, tensors};
use crate::task::{BoundedOutputs, Cost, Dims, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::attention::{Method, Options, Window};
use reference::cases::Rng;
use reference::cases::tree_attention::{Shape, TreeAttention};
use reference::numbers::{self, Element, Precision};
use reference::paged_kv::{Format, PagedKeys, PagedQueries};
use reference::tree_attention::{TreeKeys, tree_attention};

/// A case from dims `B, prefix, N, page, Hq, Hkv, D`, in the type `T`, stored as it is.
pub(super) fn drawn<T: Element>(dims: &Dims, rng: &mut Rng) -> TreeAttention<T> {
    let kv_heads = dims.get("Hkv");
    let items = dims.get("B");
    let up_to = |name: &str, rng: &mut Rng| rng.between(1, dims.get(name).max(1));
    let format = match T::DTYPE {
        numbers::DType::F32 => Format::Float(numbers::DType::F16),
        other => Format::Float(other),
    };
    let mut prefix: Vec<usize> = (0..items).map(|_| up_to("prefix", rng)).collect();
    let mut nodes: Vec<usize> = (0..items).map(|_| up_to("N", rng)).collect();
    (prefix[0], nodes[0]) = (dims.get("prefix"), dims.get("N"));
    let shape = Shape {
        prefix,
        nodes,
        in_cache: true,
        page: dims.get("page"),
        query_heads: dims.get("Hq").div_ceil(kv_heads) * kv_heads,
        kv_heads,
        head_size: dims.get("D"),
        format,
    };
    let options = Options::new(1.0 / (shape.head_size as f32).sqrt());
    TreeAttention::with_shape(rng, &shape, options).expect("sizes that fit each other")
}

/// The call of a case.
pub(super) fn call<T: Scalar + Element>(case: &TreeAttention<T>) -> Call {
    let sizes = case.k.shape();
    let (total, d) = (case.parent.len(), sizes.head_size);
    let batch = case.seq_len.len();
    let mut inputs = vec![of("q", &[total, case.query_heads, d], &case.q)];
    inputs.extend(tensors(&case.k, &case.v));
    inputs.push(of("block_table", &[batch, case.width], &case.block_table));
    inputs.push(of("seq_len", &[batch], &case.seq_len));
    inputs.push(of("parent", &[total], &case.parent));
    inputs.push(of("starts", &[batch + 1], &case.starts));
    let all = [
        ("B", batch),
        ("T", total),
        ("Hq", case.query_heads),
        ("Hkv", sizes.heads),
        ("D", d),
        ("P", sizes.pages),
        ("page", sizes.page),
        ("maxp", case.width),
    ];
    let scale = Value::Float(case.options.scale.into());
    let mut parameters = vec![("scale".to_owned(), scale)];
    if let Some(left) = case.options.window.and_then(|window| window.left) {
        parameters.push(("window".to_owned(), Value::Int(left as i64)));
    }
    Call {
        task: TASK,
        op: "attention",
        sizes: all.map(|(name, n)| (name.to_owned(), n as u64)).into(),
        parameters: parameters.into_iter().collect(),
        inputs,
        outputs: vec![
            output("o", <T as Scalar>::DTYPE, &[total, case.query_heads, d]),
            output("lse", DType::F32, &[total, case.query_heads]),
        ],
    }
}

/// Trees over f16 pages.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(call(&drawn::<f16>(dims, rng)))
}

/// The options of a call.
pub(super) fn options(call: &Call) -> Result<Options, String> {
    let scale = match call.parameters.get("scale") {
        Some(Value::Float(x)) => *x as f32,
        Some(Value::Int(x)) => *x as f32,
        _ => return Err("no scale".into()),
    };
    let window = match call.parameters.get("window") {
        Some(Value::Int(left)) => Some(Window {
            left: usize::try_from(*left).ok(),
            right: None,
            sinks: 0,
        }),
        _ => None,
    };
    Ok(Options {
        window,
        ..Options::new(scale)
    })
}

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.input("q").map(Tensor::dtype) {
        Some(DType::F16) => right::<f16>(call),
        Some(DType::Bf16) => right::<bf16>(call),
        _ => right::<f32>(call),
    }
}

fn right<T: Scalar + Element>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let tensor = call.input("q").ok_or("no q")?;
    let q: Vec<T> = tensor.to_vec().ok_or("q of an unexpected type")?;
    let &[rows, heads, d] = tensor.shape() else {
        return Err(format!("q of shape {:?}", tensor.shape()));
    };
    let read = |which: &str| Owned::read(which, &call.inputs as &[Named]);
    let (k, v) = (read("k")?, read("v")?);
    let (table, seq_len) = (integers(call, "block_table")?, integers(call, "seq_len")?);
    let (parent, starts) = (integers(call, "parent")?, integers(call, "starts")?);
    let (sizes, options) = (shape(call, d)?, options(call)?);
    let width = table.len() / seq_len.len().max(1);
    let right = || {
        let queries = PagedQueries {
            q: View::new("q", &q, [rows, heads, d])?,
            starts: Some(&starts),
            sink_logits: None,
        };
        let keys = PagedKeys {
            k: k.pages(),
            v: v.pages(),
            shape: sizes,
            block_table: View::new("block_table", &table, [seq_len.len(), width])?,
            seq_len: &seq_len,
        };
        let (nodes, method) = (TreeKeys::InCache, Method::Tiled);
        let precision = Precision::of(<T as Element>::DTYPE);
        tree_attention(&queries, &parent, nodes, &keys, &options, precision, method)
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
    let slots = (size("P") * size("page")).max(1);
    let bytes = |name: &str| call.input(name).map_or(0, |t| t.bytes().len() as u64);
    let pages: u64 = [
        "k_pages", "v_pages", "k_scale", "v_scale", "k_zero", "v_zero",
    ]
    .iter()
    .map(|part| bytes(part) / slots * tokens)
    .sum();
    let outputs: u64 = call.outputs.iter().map(|o| o.bytes() as u64).sum();
    let rows = size("T") * size("Hq");
    Cost {
        bytes: pages + bytes("q") + bytes("parent") + outputs,
        flops: 4 * size("D") * rows * tokens / size("B").max(1),
        workspace: 256 * (size("D") + 2) * rows + 256 * size("T"),
    }
}
