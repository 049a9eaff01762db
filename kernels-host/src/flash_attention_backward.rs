//! Flash attention, backward: the gradients of q, k and v. Deterministic unless asked otherwise; its
//! workspace is then one f32 a row of q.

use crate::attention::{Float, Options, Problem, Shape, entry_name, is_plain};
use crate::{Arg, Buffer, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::flash_attention_backward::{
    DELTA_ROWS, FAMILY, FUSED_HEAD_SIZE, PLAIN_ROWS, ROWS, WARPS, fused_shared, parts,
    plain_shared, shared,
};

/// What is read: the forward pass's inputs and outputs, and the gradient of its output.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T: Float> {
    /// Queries.
    pub q: &'a Buffer<T>,
    /// Keys.
    pub k: &'a Buffer<T>,
    /// Values.
    pub v: &'a Buffer<T>,
    /// The output that the forward pass gave, in the shape of q.
    pub o: &'a Buffer<T>,
    /// The log of its normalisers, natural, in the shape of q without its last axis.
    pub lse: &'a Buffer<f32>,
    /// The gradient of o.
    pub d_o: &'a Buffer<T>,
}

/// What is written, each in the shape of its tensor.
#[derive(Debug)]
pub struct Gradients<'a, T: Float> {
    /// Gradient of q.
    pub dq: &'a mut Buffer<T>,
    /// Gradient of k.
    pub dk: &'a mut Buffer<T>,
    /// Gradient of v.
    pub dv: &'a mut Buffer<T>,
}

/// In which order the parts of dq are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accumulation {
    /// In one order: the same inputs give the same bits. Scores are made twice.
    #[default]
    Ordered,
    /// As they come, in f32 in memory: scores are made once, 5 products of a pair instead of 7, and
    /// the last bits of dq differ from run to run. For f16 and bf16 with a head size of 128;
    /// takes D numbers of f32 a row of q more memory.
    Unordered,
}

/// Makes the gradients of `Σ do∘o`. A query that sees nothing gets a zero gradient and gives none.
/// The same inputs give the same bits.
///
/// ```
/// use kernels_host::attention::{Layout, Options, Shape};
/// use kernels_host::flash_attention_backward::{Gradients, Inputs, flash_attention_backward};
/// use kernels_host::{Buffer, Device, Result, Vm};
/// use std::sync::Arc;
///
/// # fn main() -> Result<()> {
/// let device: Arc<dyn Device> = Vm::new();
/// let layout = Layout::Dense { batch: 1, queries: 1, keys: 2 };
/// let shape = Shape { layout, query_heads: 1, kv_heads: 1, head_size: 32 };
/// // Both keys have half of the weight, and the values are all 1.
/// let q = Buffer::from_slice(&device, &[0.0_f32; 32])?;
/// let k = Buffer::from_slice(&device, &[1.0_f32; 64])?;
/// let v = Buffer::from_slice(&device, &[1.0_f32; 64])?;
/// let o = Buffer::from_slice(&device, &[1.0_f32; 32])?;
/// let lse = Buffer::from_slice(&device, &[2.0_f32.ln()])?;
/// let d_o = Buffer::from_slice(&device, &[3.0_f32; 32])?;
/// let inputs = Inputs { q: &q, k: &k, v: &v, o: &o, lse: &lse, d_o: &d_o };
/// let mut dq = Buffer::uninit(&device, 32)?;
/// let (mut dk, mut dv) = (Buffer::uninit(&device, 64)?, Buffer::uninit(&device, 64)?);
/// let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
/// flash_attention_backward(&shape, &Options::new(1.0), inputs, gradients)?;
/// // An example, not a proof: loose enough to read; the tests hold the oracle's derived bounds.
/// assert!(dv.to_vec()?.iter().all(|x| (x - 1.5).abs() < 1e-5));
/// assert!(dq.to_vec()?.iter().all(|x| x.abs() < 1e-4));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When shapes, options and buffers do not fit; nothing is launched then. When there is no memory
/// for the workspace.
pub fn flash_attention_backward<T: Float>(
    shape: &Shape<'_>,
    options: &Options,
    inputs: Inputs<'_, T>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    flash_attention_backward_by(Accumulation::Ordered, shape, options, inputs, gradients)
}

/// [`flash_attention_backward`] with dq added in an order of the caller's choice.
///
/// # Errors
/// As there, and when the order is not for the type or the head size.
pub fn flash_attention_backward_by<T: Float>(
    accumulation: Accumulation,
    shape: &Shape<'_>,
    options: &Options,
    inputs: Inputs<'_, T>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    let problem = Problem::new(shape, options)?;
    let Problem {
        query_rows,
        key_rows,
        head_size,
        ..
    } = problem;
    for (name, buffer, rows) in [
        ("q", inputs.q, query_rows),
        ("k", inputs.k, key_rows),
        ("v", inputs.v, key_rows),
        ("o", inputs.o, query_rows),
        ("do", inputs.d_o, query_rows),
        ("dq", &*gradients.dq, query_rows),
        ("dk", &*gradients.dk, key_rows),
        ("dv", &*gradients.dv, key_rows),
    ] {
        problem.expect_vectors(name, rows, buffer)?;
    }
    let shape = [("rows (positions × heads)", query_rows)];
    inputs.lse.expect_shape("lse", &shape)?;
    let plain = is_plain::<T>();
    let unordered = accumulation == Accumulation::Unordered;
    if unordered && (plain || head_size != FUSED_HEAD_SIZE) {
        return Err(Error::Parameter {
            name: "accumulation",
            got: format!("Unordered for {}, D = {head_size}", T::NAME),
            must_be: format!("Ordered, or f16 or bf16 with D = {FUSED_HEAD_SIZE}"),
        });
    }

    // Each launch checks its own buffers, but the first goes before the second is checked.
    let device = inputs.q.device();
    let vectors = [inputs.k, inputs.v, inputs.o, inputs.d_o];
    let outputs = [&*gradients.dq, &*gradients.dk, &*gradients.dv];
    let mut devices: Vec<_> = vectors
        .into_iter()
        .chain(outputs)
        .map(Buffer::device)
        .collect();
    devices.push(inputs.lse.device());
    if let Some(at) = devices.iter().position(|other| other.id() != device.id()) {
        return Err(Error::ForeignBuffer {
            entry: FAMILY.name.into(),
            index: at + 1,
        });
    }
    let module = Module::embedded(FAMILY.name, &**device)?;
    let delta = Buffer::<f32>::uninit(device, query_rows)?;
    let row_sums = module.kernel(&format!("flash_backward_delta_{}", T::NAME))?;
    for first in (0..query_rows).step_by(DELTA_ROWS as usize) {
        let end = query_rows.min(first + DELTA_ROWS as usize);
        launch(
            &**device,
            &row_sums,
            LaunchConfig::linear(((end - first) as u32).div_ceil(WARPS), 32 * WARPS),
            &[
                inputs.o.into(),
                inputs.d_o.into(),
                (&delta).into(),
                (first as u64).into(),
                (end as u64).into(),
                head_size.into(),
            ],
        )?;
    }

    let (own, shared, parts) = if plain {
        (PLAIN_ROWS, plain_shared(head_size), 1)
    } else if unordered {
        (ROWS, fused_shared(head_size), 1)
    } else {
        (ROWS, shared(head_size), parts(head_size))
    };
    let (factor, cap) = if plain {
        (problem.scale, problem.softcap)
    } else {
        problem.base_2()
    };
    let pass = |kernel: &str, outputs: &[Arg], blocks: u32| -> Result<()> {
        if blocks == 0 {
            return Ok(());
        }
        let kernel = module.kernel(&entry_name::<T>(kernel, head_size))?;
        let mut args: Vec<Arg> = vec![
            inputs.q.into(),
            inputs.k.into(),
            inputs.v.into(),
            inputs.d_o.into(),
            inputs.lse.into(),
            (&delta).into(),
        ];
        args.extend(outputs);
        args.extend([problem.cu_queries, problem.cu_keys]);
        args.extend([problem.queries, problem.keys, problem.group].map(Arg::from));
        args.extend([problem.left, problem.right].map(Arg::from));
        args.extend([factor, cap].map(Arg::from));
        args.push(if plain {
            problem.head_size.into()
        } else {
            problem.scale.into()
        });
        let config = LaunchConfig {
            grid: [blocks, problem.kv_heads, problem.sequences],
            block: [32 * WARPS, 1, 1],
            shared,
        };
        launch(&**device, &kernel, config, &args)
    };
    if unordered {
        let quads = query_rows * head_size as usize / 4;
        let sums = Buffer::<f32>::uninit(device, 4 * quads)?;
        let clear = module.kernel("flash_backward_clear")?;
        for range in ranges(quads) {
            let args = [(&sums).into(), range.first, range.end];
            launch(&**device, &clear, range.config, &args)?;
        }
        pass(
            "flash_backward_fused",
            &[gradients.dk.into(), gradients.dv.into(), (&sums).into()],
            problem.keys.div_ceil(own),
        )?;
        let round = module.kernel(&format!("flash_backward_round_{}", T::NAME))?;
        for range in ranges(quads) {
            let (sums, dq) = ((&sums).into(), (&*gradients.dq).into());
            let args = [sums, dq, range.first, range.end, problem.scale.into()];
            launch(&**device, &round, range.config, &args)?;
        }
        return Ok(());
    }
    pass(
        "flash_backward_dq",
        &[gradients.dq.into()],
        problem.packed_rows().div_ceil(own),
    )?;
    pass(
        "flash_backward_dkdv",
        &[gradients.dk.into(), gradients.dv.into()],
        problem.keys.div_ceil(own) * parts,
    )
}

/// A launch over a range of fours, a thread each: threads are counted in 32 bits.
struct Range {
    config: LaunchConfig,
    first: Arg,
    end: Arg,
}

fn ranges(quads: usize) -> impl Iterator<Item = Range> {
    const MOST: usize = 1 << 30;
    (0..quads).step_by(MOST).map(move |first| {
        let end = quads.min(first + MOST);
        Range {
            config: LaunchConfig::linear(((end - first) as u32).div_ceil(32 * WARPS), 32 * WARPS),
            first: (first as u64).into(),
            end: (end as u64).into(),
        }
    })
}
