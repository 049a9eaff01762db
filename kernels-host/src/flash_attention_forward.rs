//! Flash attention, forward: softmax(scale·q·kᵀ)·v and the log of its normalisers, without the
//! matrix of scores and without workspace.

use crate::attention::{Float, Options, Problem, Shape, entry_name, is_plain};
use crate::{Arg, Buffer, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::flash_attention_forward::{FAMILY, PLAIN_ROWS, PLAIN_WARPS, plain_shared, tiling};

/// What is written.
#[derive(Debug)]
pub struct Outputs<'a, T: Float> {
    /// In the shape of q.
    pub o: &'a mut Buffer<T>,
    /// In the shape of q without its last axis: the natural log of Σ exp(score).
    pub lse: &'a mut Buffer<f32>,
}

/// A kernel of the family's ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Rung 1: f32, a score a lane.
    Plain,
    /// Rung 2: f16 and bf16 on the tensor cores.
    TensorCore,
}

/// Runs attention with the rung that fits the type.
///
/// A query that sees nothing, or only scores of −inf, gets o = 0 and lse = −inf. NaN among what a
/// query sees makes its o and lse NaN (in v: that component of o); what it does not see does not
/// reach it.
///
/// ```
/// use kernels_host::attention::{Layout, Options, Shape};
/// use kernels_host::flash_attention_forward::{Outputs, flash_attention_forward};
/// use kernels_host::{Buffer, Device, Result, Vm};
/// use std::sync::Arc;
///
/// # fn main() -> Result<()> {
/// let device: Arc<dyn Device> = Vm::new();
/// let layout = Layout::Dense { batch: 1, queries: 2, keys: 3 };
/// let shape = Shape { layout, query_heads: 1, kv_heads: 1, head_size: 32 };
/// // Equal scores: each query takes the mean of the values it sees.
/// let q = Buffer::from_slice(&device, &[0.0_f32; 2 * 32])?;
/// let k = Buffer::from_slice(&device, &[1.0_f32; 3 * 32])?;
/// let v = [[1.0_f32; 32], [3.0; 32], [8.0; 32]].concat();
/// let v = Buffer::from_slice(&device, &v)?;
/// let mut o = Buffer::uninit(&device, 2 * 32)?;
/// let mut lse = Buffer::uninit(&device, 2)?;
/// let options = Options { causal: true, ..Options::new(1.0) };
/// flash_attention_forward(&shape, &options, &q, &k, &v, Outputs { o: &mut o, lse: &mut lse })?;
/// // Aligned bottom-right: query 0 sees two keys, query 1 three.
/// let o = o.to_vec()?;
/// assert_eq!((o[0], o[32]), (2.0, 4.0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When shapes, options and buffers do not fit; nothing is launched then.
pub fn flash_attention_forward<T: Float>(
    shape: &Shape<'_>,
    options: &Options,
    q: &Buffer<T>,
    k: &Buffer<T>,
    v: &Buffer<T>,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    let rung = if is_plain::<T>() {
        Rung::Plain
    } else {
        Rung::TensorCore
    };
    flash_attention_forward_by(rung, shape, options, q, k, v, outputs)
}

/// [`flash_attention_forward`] by a rung of the caller's choice.
///
/// # Errors
/// As there, and when the rung does not take the type.
pub fn flash_attention_forward_by<T: Float>(
    rung: Rung,
    shape: &Shape<'_>,
    options: &Options,
    q: &Buffer<T>,
    k: &Buffer<T>,
    v: &Buffer<T>,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    let problem = Problem::new(shape, options)?;
    let Problem {
        query_rows,
        key_rows,
        ..
    } = problem;
    problem.expect_vectors("q", query_rows, q)?;
    problem.expect_vectors("k", key_rows, k)?;
    problem.expect_vectors("v", key_rows, v)?;
    problem.expect_vectors("o", query_rows, outputs.o)?;
    outputs
        .lse
        .expect_shape("lse", &[("rows (positions × heads)", query_rows)])?;

    if (rung == Rung::Plain) != is_plain::<T>() {
        return Err(Error::Parameter {
            name: "rung",
            got: format!("{rung:?} for {}", T::NAME),
            must_be: "Plain for f32, TensorCore for f16 and bf16".into(),
        });
    }
    if query_rows == 0 {
        return Ok(());
    }
    let (rows, warps, shared, factor, cap) = match rung {
        Rung::Plain => (
            PLAIN_ROWS,
            PLAIN_WARPS,
            plain_shared(problem.head_size),
            problem.scale,
            problem.softcap,
        ),
        Rung::TensorCore => {
            let tiling = tiling(problem.head_size);
            let (factor, cap) = problem.base_2();
            (tiling.rows, tiling.warps, tiling.shared, factor, cap)
        }
    };
    let device = q.device();
    let name = entry_name::<T>("flash_forward", problem.head_size);
    let kernel = Module::embedded(FAMILY.name, &**device)?.kernel(&name)?;
    let config = LaunchConfig {
        grid: [
            problem.packed_rows().div_ceil(rows),
            problem.kv_heads,
            problem.sequences,
        ],
        block: [32 * warps, 1, 1],
        shared,
    };
    let mut args: Vec<Arg> = vec![
        q.into(),
        k.into(),
        v.into(),
        outputs.o.into(),
        outputs.lse.into(),
        problem.cu_queries,
        problem.cu_keys,
        problem.queries.into(),
        problem.keys.into(),
        problem.group.into(),
        problem.left.into(),
        problem.right.into(),
        factor.into(),
        cap.into(),
    ];
    if rung == Rung::Plain {
        args.push(problem.head_size.into());
    }
    launch(&**device, &kernel, config, &args)
}
