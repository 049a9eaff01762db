//! Flash attention, forward and backward.

use crate::row::{Row, bytes, filled};
use crate::shapes::{Shapes, Size};
use half::bf16;
use kernels_host::attention::{Float, Layout, Options, Shape};
use kernels_host::flash_attention_backward::{Gradients, Inputs, flash_attention_backward};
use kernels_host::flash_attention_forward::{Outputs, flash_attention_forward};
use kernels_host::{Buffer, Device, Result};
use std::sync::Arc;

const SIZES: [&str; 5] = ["B", "Hq", "Hkv", "N", "D"];

/// Sizes of a self-attention.
#[derive(Clone, Copy)]
struct Sizes {
    shape: Shape<'static>,
    queries: usize,
    keys: usize,
    options: Options,
}

impl Sizes {
    fn of([batch, query_heads, kv_heads, n, head_size]: [usize; 5]) -> Sizes {
        let layout = Layout::Dense {
            batch,
            queries: n,
            keys: n,
        };
        Sizes {
            shape: Shape {
                layout,
                query_heads,
                kv_heads,
                head_size,
            },
            queries: batch * query_heads * n,
            keys: batch * kv_heads * n,
            options: Options {
                causal: true,
                ..Options::new(1.0 / (head_size as f32).sqrt())
            },
        }
    }

    fn text(&self, dtype: &str) -> String {
        let Shape {
            query_heads,
            kv_heads,
            head_size,
            ..
        } = self.shape;
        let n = self.queries / query_heads.max(1);
        format!("{dtype} {query_heads}/{kv_heads} heads N={n} D={head_size} causal")
    }
}

pub(crate) fn forward(device: &Arc<dyn Device>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let sizes = Sizes::of(shapes.sizes("forward-16k-causal", size, SIZES));
    Ok(vec![
        one_forward::<f32>(device, sizes, "Plain", "f32")?,
        one_forward::<bf16>(device, sizes, "TensorCore", "bf16")?,
    ])
}

fn one_forward<T: Float + reference::numbers::Element>(
    device: &Arc<dyn Device>,
    sizes: Sizes,
    rung: &str,
    dtype: &str,
) -> Result<Row> {
    let d = sizes.shape.head_size;
    let q = filled::<T>(device, sizes.queries * d)?;
    let (k, v) = (
        filled::<T>(device, sizes.keys * d)?,
        filled::<T>(device, sizes.keys * d)?,
    );
    let mut o = Buffer::<T>::uninit(device, sizes.queries * d)?;
    let mut lse = Buffer::<f32>::uninit(device, sizes.queries)?;
    Ok(Row {
        task: "flash-attention-forward",
        rung: rung.into(),
        shape: sizes.text(dtype),
        compulsory: bytes(&q) + bytes(&k) + bytes(&v) + bytes(&o) + bytes(&lse),
        run: Box::new(move || {
            let outputs = Outputs {
                o: &mut o,
                lse: &mut lse,
            };
            flash_attention_forward(&sizes.shape, &sizes.options, &q, &k, &v, outputs)
        }),
    })
}

pub(crate) fn backward(device: &Arc<dyn Device>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let sizes = Sizes::of(shapes.sizes("backward-16k-causal", size, SIZES));
    Ok(vec![
        one_backward::<f32>(device, sizes, "Plain", "f32")?,
        one_backward::<bf16>(device, sizes, "TensorCore", "bf16")?,
    ])
}

fn one_backward<T: Float + reference::numbers::Element>(
    device: &Arc<dyn Device>,
    sizes: Sizes,
    rung: &str,
    dtype: &str,
) -> Result<Row> {
    let d = sizes.shape.head_size;
    let of_queries = || filled::<T>(device, sizes.queries * d);
    let of_keys = || filled::<T>(device, sizes.keys * d);
    let (q, o, d_o) = (of_queries()?, of_queries()?, of_queries()?);
    let (k, v) = (of_keys()?, of_keys()?);
    // Whatever lse is, the work is the same.
    let lse = filled::<f32>(device, sizes.queries)?;
    let mut dq = Buffer::<T>::uninit(device, sizes.queries * d)?;
    let mut dk = Buffer::<T>::uninit(device, sizes.keys * d)?;
    let mut dv = Buffer::<T>::uninit(device, sizes.keys * d)?;
    let compulsory = 4 * bytes(&q) + 4 * bytes(&k) + bytes(&lse);
    Ok(Row {
        task: "flash-attention-backward",
        rung: rung.into(),
        shape: sizes.text(dtype),
        compulsory,
        run: Box::new(move || {
            let inputs = Inputs {
                q: &q,
                k: &k,
                v: &v,
                o: &o,
                lse: &lse,
                d_o: &d_o,
            };
            let gradients = Gradients {
                dq: &mut dq,
                dk: &mut dk,
                dv: &mut dv,
            };
            flash_attention_backward(&sizes.shape, &sizes.options, inputs, gradients)
        }),
    })
}
