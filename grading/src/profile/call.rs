//! Calls of the shapes that are measured.

use super::numbers::Draw;
use super::shape::{Scale, Shape, Sizes};
use super::{ProfileError, ready};
use crate::submission::{Call, Value};
use crate::task::Draft;
use crate::tensor::{DType, Scalar};
use half::{bf16, f16};
use kernels_host::Device;
use reference::numbers::Element;
use std::sync::Arc;

/// What forward adds to the variance.
const EPS: f64 = 1e-5;
/// Weights that share a scale, and bytes of a packed group of two-bit codes with it.
const GROUP: usize = 128;
const GROUP_BYTES: usize = 34;

/// A call of the shape. `device` is where a forward pass runs whose outputs a backward pass takes.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn of(shape: &Shape, scale: Scale, device: &Arc<dyn Device>) -> Result<Call, ProfileError> {
    match shape.element()? {
        DType::F16 => typed::<f16>(shape, scale, device),
        DType::Bf16 => typed::<bf16>(shape, scale, device),
        _ => typed::<f32>(shape, scale, device),
    }
}

/// Sizes, read by their names.
struct Named<'a>(&'a Shape, &'a Sizes);

impl Named<'_> {
    fn get<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N], ProfileError> {
        let mut sizes = [0; N];
        for (size, name) in sizes.iter_mut().zip(names) {
            let missing = || ProfileError::Size(format!("{} has no size {name}", self.0.name));
            *size = self.1.get(name).copied().ok_or_else(missing)?;
        }
        Ok(sizes)
    }
}

/// A type of inputs.
trait Real: Scalar + Element {}
impl Real for f32 {}
impl Real for f16 {}
impl Real for bf16 {}

fn typed<T: Real>(
    shape: &Shape,
    scale: Scale,
    device: &Arc<dyn Device>,
) -> Result<Call, ProfileError> {
    let sizes = Named(shape, shape.sizes(scale));
    match (shape.task.as_str(), shape.op.as_str()) {
        ("layernorm-backward", _) => Ok(layernorm::<T>(sizes.get(["R", "D"])?)),
        ("softmax-topk", _) => softmax::<T>(sizes.get(["R", "V", "K"])?),
        ("beam-search", "step") => Ok(beam::<T>(sizes.get(["B", "K", "V"])?)),
        ("ternary-matmul", "forward") => ternary::<T>(sizes.get(["M", "N", "K"])?),
        ("flash-attention-forward", "forward") => {
            forward::<T>(sizes.get(["B", "Hq", "Hkv", "N", "D"])?, shape.causal)
        }
        ("flash-attention-backward", "backward") => backward::<T>(
            sizes.get(["B", "Hq", "Hkv", "N", "D"])?,
            shape.causal,
            device,
        ),
        ("paged-kv-attention", "decode") => paged::<T>(&sizes, None),
        ("paged-kv-attention", "prefill") => {
            let [chunk] = sizes.get(["T"])?;
            paged::<T>(&sizes, Some(chunk))
        }
        ("tree-verify", "attention") => tree::<T>(&sizes),
        ("tree-verify", "accept") => Ok(accept::<T>(sizes.get(["B", "N", "V"])?)),
        (task, op) => Err(ProfileError::Size(format!(
            "no call is made of `{op}` of {task}"
        ))),
    }
}

fn layernorm<T: Real>([rows, width]: [usize; 2]) -> Call {
    let mut draw = Draw::new();
    let shape = [rows, width];
    let x: Vec<T> = draw.normal(rows * width);
    let statistics = x.chunks(width).map(|row| {
        let n = width as f64;
        let mean = row.iter().map(|x| x.to_f64()).sum::<f64>() / n;
        let squares = row.iter().map(|x| (x.to_f64() - mean).powi(2));
        let variance = squares.sum::<f64>() / n;
        (mean as f32, (variance + EPS).sqrt().recip() as f32)
    });
    let (mean, rstd): (Vec<f32>, Vec<f32>) = statistics.unzip();
    Draft::new("layernorm-backward", "layernorm-backward")
        .size("R", rows)
        .size("D", width)
        .set("eps", Value::Float(EPS))
        .input("x", &shape, &x)
        .input("dy", &shape, &draw.normal::<T>(rows * width))
        .input("gamma", &[width], &draw.normal::<T>(width))
        .input("mean", &[rows], &mean)
        .input("rstd", &[rows], &rstd)
        .output("dx", <T as Scalar>::DTYPE, &shape)
        .output("dgamma", DType::F32, &[width])
        .output("dbeta", DType::F32, &[width])
        .call()
}

fn softmax<T: Real>([rows, vocabulary, k]: [usize; 3]) -> Result<Call, ProfileError> {
    if k > vocabulary {
        return Err(ProfileError::Size(format!("K={k} of V={vocabulary}")));
    }
    let logits = Draw::new().normal::<T>(rows * vocabulary);
    let draft = Draft::new("softmax-topk", "softmax-topk")
        .size("R", rows)
        .size("V", vocabulary)
        .size("K", k)
        .set("K", Value::Int(k as i64))
        .set("temperature", Value::Float(1.0))
        .input("logits", &[rows, vocabulary], &logits)
        .output("prob", DType::F32, &[rows, k])
        .output("index", DType::I32, &[rows, k])
        .output("lse", DType::F32, &[rows]);
    Ok(draft.call())
}

fn beam<T: Real>([items, beams, vocabulary]: [usize; 3]) -> Call {
    let each = [items, beams];
    let n = items * beams;
    let acc: Vec<f32> = (0..n).map(|at| -1.0 - (at % beams) as f32 / 4.0).collect();
    let outputs = [
        ("parent", DType::I32),
        ("token", DType::I32),
        ("acc", DType::F32),
        ("length", DType::I32),
        ("finished", DType::U8),
        ("score", DType::F32),
    ];
    let logits = Draw::new().normal::<T>(n * vocabulary);
    let draft = Draft::new("beam-search", "step")
        .size("B", items)
        .size("K", beams)
        .size("V", vocabulary)
        .set("alpha", Value::Float(f64::from(0.6_f32)))
        .set("eos", Value::Ints(vec![2]))
        .set("count_eos", Value::Bool(true))
        .set("min_length", Value::Int(0))
        .input("logits", &[items, beams, vocabulary], &logits)
        .input("acc", &each, &acc)
        .input("length", &each, &vec![4_i32; n])
        .input("finished", &each, &vec![0_u8; n]);
    let all = outputs.into_iter().fold(draft, |draft, (name, dtype)| {
        draft.output(name, dtype, &each)
    });
    all.call()
}

fn ternary<T: Real>([m, n, k]: [usize; 3]) -> Result<Call, ProfileError> {
    if !k.is_multiple_of(GROUP) {
        return Err(ProfileError::Size(format!(
            "K={k}; it must be a multiple of {GROUP}"
        )));
    }
    let mut draw = Draw::new();
    let groups = n * k / GROUP;
    let mut packed = draw.bytes(groups * GROUP_BYTES);
    let scales = draw.scales::<f16>(groups);
    for (group, scale) in packed.chunks_exact_mut(GROUP_BYTES).zip(scales) {
        group[..2].copy_from_slice(&scale.to_le_bytes());
        // Two bits a code; 3 is reserved, and becomes 1.
        for byte in &mut group[2..] {
            let both = *byte & (*byte >> 1) & 0x55;
            *byte &= !(both << 1);
        }
    }
    let draft = Draft::new("ternary-matmul", "forward")
        .size("N", n)
        .size("K", k)
        .size("BLOCK", GROUP_BYTES)
        .size("M", m)
        .set("packing", Value::Text("two-bit".into()))
        .input("x", &[m, k], &draw.normal::<T>(m * k))
        .input("packed", &[n, k / GROUP, GROUP_BYTES], &packed)
        .output("y", <T as Scalar>::DTYPE, &[m, n]);
    Ok(draft.call())
}

fn heads(query_heads: usize, kv_heads: usize) -> Result<(), ProfileError> {
    match query_heads.is_multiple_of(kv_heads) {
        true => Ok(()),
        false => Err(ProfileError::Size(format!(
            "Hq={query_heads} is no multiple of Hkv={kv_heads}"
        ))),
    }
}

/// 1/√D as f32 holds it.
fn scale(head_size: usize) -> Value {
    Value::Float((1.0 / (head_size as f32).sqrt()).into())
}

/// A draft of self-attention with q, k and v.
fn attention<T: Real>(
    task: &'static str,
    op: &'static str,
    [batch, hq, hkv, n, d]: [usize; 5],
    causal: bool,
    draw: &mut Draw,
) -> Result<Draft, ProfileError> {
    heads(hq, hkv)?;
    let (of_q, of_k) = ([batch, hq, n, d], [batch, hkv, n, d]);
    let q: Vec<T> = draw.normal(of_q.iter().product());
    let k: Vec<T> = draw.normal(of_k.iter().product());
    let v: Vec<T> = draw.normal(of_k.iter().product());
    Ok(Draft::new(task, op)
        .size("B", batch)
        .size("Hq", hq)
        .size("Hkv", hkv)
        .size("Nq", n)
        .size("Nk", n)
        .size("D", d)
        .set("scale", scale(d))
        .set("causal", Value::Bool(causal))
        .input("q", &of_q, &q)
        .input("k", &of_k, &k)
        .input("v", &of_k, &v))
}

fn forward<T: Real>(sizes: [usize; 5], causal: bool) -> Result<Call, ProfileError> {
    let [batch, hq, _, n, d] = sizes;
    let task = "flash-attention-forward";
    let draft = attention::<T>(task, "forward", sizes, causal, &mut Draw::new())?
        .output("o", <T as Scalar>::DTYPE, &[batch, hq, n, d])
        .output("lse", DType::F32, &[batch, hq, n]);
    Ok(draft.call())
}

/// o and lse are those of a forward pass on the device.
fn backward<T: Real>(
    sizes: [usize; 5],
    causal: bool,
    device: &Arc<dyn Device>,
) -> Result<Call, ProfileError> {
    let [batch, hq, hkv, n, d] = sizes;
    let before = forward::<T>(sizes, causal)?;
    let mut pass = ready::best(&before, device)?;
    pass.run()?;
    let mut draw = Draw::new();
    let task = "flash-attention-backward";
    let mut draft = attention::<T>(task, "backward", sizes, causal, &mut draw)?;
    for saved in pass.outputs()? {
        draft = draft.tensor(&saved.name, saved.tensor);
    }
    let (of_q, of_k) = ([batch, hq, n, d], [batch, hkv, n, d]);
    let d_o: Vec<T> = draw.normal(of_q.iter().product());
    let dtype = <T as Scalar>::DTYPE;
    let draft = draft
        .input("do", &of_q, &d_o)
        .output("dq", dtype, &of_q)
        .output("dk", dtype, &of_k)
        .output("dv", dtype, &of_k);
    Ok(draft.call())
}

/// Adds pages of k and v that hold `tokens` a sequence, each page somewhere, and the block table.
fn with_pages(
    draft: Draft,
    kv: Option<&str>,
    [batch, tokens, hkv, d, page]: [usize; 5],
    draw: &mut Draw,
) -> Result<Draft, ProfileError> {
    let width = tokens.div_ceil(page);
    let pages = batch * width;
    let order = draw.order(pages);
    let table: Vec<i32> = order.into_iter().map(|page| page as i32).collect();
    let vectors = [pages, page, hkv];
    let count = pages * page * hkv;
    let shape = |last: usize| [pages, page, hkv, last];
    let each = ["k", "v"];
    let name = |which: &str, part: &str| format!("{which}_{part}");
    let mut draft = draft
        .size("Hkv", hkv)
        .size("D", d)
        .size("P", pages)
        .size("page", page)
        .size("maxp", width);
    match kv {
        Some("f16") => {
            for which in each {
                let x = draw.normal::<f16>(count * d);
                draft = draft.input(&name(which, "pages"), &shape(d), &x);
            }
        }
        Some("bf16") => {
            for which in each {
                let x = draw.normal::<bf16>(count * d);
                draft = draft.input(&name(which, "pages"), &shape(d), &x);
            }
        }
        Some("int8") => {
            for which in each {
                // −128 is no code.
                let codes = draw.bytes(count * d).into_iter();
                let codes: Vec<i8> = codes.map(|code| (code as i8).max(-127)).collect();
                draft = draft.input(&name(which, "pages"), &shape(d), &codes);
            }
            for which in each {
                let scales = draw.scales::<f16>(count);
                draft = draft.input(&name(which, "scale"), &vectors, &scales);
            }
        }
        Some("int4") => {
            for which in each {
                let bytes = d.div_ceil(2);
                let codes = draw.bytes(count * bytes);
                draft = draft.input(&name(which, "pages"), &shape(bytes), &codes);
            }
            for which in each {
                let scales = draw.scales::<f16>(count);
                draft = draft.input(&name(which, "scale"), &vectors, &scales);
            }
            for which in each {
                let zero = |_| f16::from_f32(6.0 + draw.below(16) as f32 / 8.0);
                let zeros: Vec<f16> = (0..count).map(zero).collect();
                draft = draft.input(&name(which, "zero"), &vectors, &zeros);
            }
        }
        other => {
            let why = format!("pages in {other:?}; they hold f16, bf16, int8 or int4");
            return Err(ProfileError::Size(why));
        }
    }
    let lengths = vec![tokens as i32; batch];
    Ok(draft
        .input("block_table", &[batch, width], &table)
        .input("seq_len", &[batch], &lengths))
}

fn paged<T: Real>(sizes: &Named<'_>, chunk: Option<usize>) -> Result<Call, ProfileError> {
    let [batch, tokens, hq, hkv, d, page] = sizes.get(["B", "S", "Hq", "Hkv", "D", "page"])?;
    heads(hq, hkv)?;
    let queries = chunk.unwrap_or(1);
    if queries > tokens {
        return Err(ProfileError::Size(format!("T={queries} of S={tokens}")));
    }
    let rows = batch * queries;
    let mut draw = Draw::new();
    let q = draw.normal::<T>(rows * hq * d);
    let op = match chunk {
        Some(_) => "prefill",
        None => "decode",
    };
    let draft = Draft::new("paged-kv-attention", op)
        .size("B", batch)
        .size("Hq", hq)
        .set("scale", scale(d))
        .input("q", &[rows, hq, d], &q);
    let pages = [batch, tokens, hkv, d, page];
    let mut draft = with_pages(draft, sizes.0.kv.as_deref(), pages, &mut draw)?;
    if chunk.is_some() {
        let starts: Vec<i32> = (0..=batch).map(|b| (b * queries) as i32).collect();
        draft = draft.size("T", rows).input("starts", &[batch + 1], &starts);
    }
    let draft = draft
        .output("o", <T as Scalar>::DTYPE, &[rows, hq, d])
        .output("lse", DType::F32, &[rows, hq]);
    Ok(draft.call())
}

/// Trees of two children a node.
fn parents(batch: usize, nodes: usize) -> Vec<i32> {
    let of_a_tree = (0..nodes as i32).map(|node| (node + 1) / 2 - 1);
    let tree: Vec<i32> = of_a_tree.collect();
    tree.iter().copied().cycle().take(batch * nodes).collect()
}

fn tree<T: Real>(sizes: &Named<'_>) -> Result<Call, ProfileError> {
    let [batch, prefix, nodes, hq, hkv, d, page] =
        sizes.get(["B", "P", "N", "Hq", "Hkv", "D", "page"])?;
    heads(hq, hkv)?;
    let total = batch * nodes;
    let mut draw = Draw::new();
    let q = draw.normal::<T>(total * hq * d);
    let starts: Vec<i32> = (0..=batch).map(|b| (b * nodes) as i32).collect();
    let draft = Draft::new("tree-verify", "attention")
        .size("B", batch)
        .size("T", total)
        .size("Hq", hq)
        .set("scale", scale(d))
        .input("q", &[total, hq, d], &q);
    let pages = [batch, prefix + nodes, hkv, d, page];
    let draft = with_pages(draft, sizes.0.kv.as_deref(), pages, &mut draw)?
        .input("parent", &[total], &parents(batch, nodes))
        .input("starts", &[batch + 1], &starts)
        .output("o", <T as Scalar>::DTYPE, &[total, hq, d])
        .output("lse", DType::F32, &[total, hq]);
    Ok(draft.call())
}

/// Each node's token is the argmax of its parent's row: the walk goes down to a leaf.
fn accept<T: Real>([batch, nodes, vocabulary]: [usize; 3]) -> Call {
    let (total, rows) = (batch * nodes, batch * (nodes + 1));
    let logits = Draw::new().normal::<T>(rows * vocabulary);
    let parent = parents(batch, nodes);
    let greatest = |row: &[T]| -> i32 {
        let mut best = 0;
        for (at, x) in row.iter().enumerate() {
            if x.to_f64() > row[best].to_f64() {
                best = at;
            }
        }
        best as i32
    };
    let argmax: Vec<i32> = logits.chunks(vocabulary).map(greatest).collect();
    let token = (0..total).map(|at| {
        let row = at / nodes * (nodes + 1) + (parent[at] + 1) as usize;
        argmax[row]
    });
    let token: Vec<i32> = token.collect();
    let starts: Vec<i32> = (0..=batch).map(|b| (b * nodes) as i32).collect();
    Draft::new("tree-verify", "accept")
        .size("B", batch)
        .size("T", total)
        .size("V", vocabulary)
        .input("token", &[total], &token)
        .input("parent", &[total], &parent)
        .input("starts", &[batch + 1], &starts)
        .input("logits", &[rows, vocabulary], &logits)
        .output("node", DType::I32, &[total])
        .output("accepted", DType::I32, &[total])
        .output("count", DType::I32, &[batch])
        .output("bonus", DType::I32, &[batch])
        .call()
}
