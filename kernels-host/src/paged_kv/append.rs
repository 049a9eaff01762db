//! Tokens into their slots.

use super::{Pages, Slots};
use crate::attention::Float;
use crate::{Arg, Buffer, Device, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::paged_kv::{APPEND_WARPS, FAMILY, TYPE_BF16, TYPE_F16, TYPE_F32};
use std::sync::Arc;

/// Which components of a vector RoPE turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Component f with f + D/2 (GPT-NeoX, Llama).
    Half,
    /// Component 2f with 2f + 1 (GPT-J).
    Interleaved,
}

/// The tables of rotary position embedding, `[positions, D/2]`.
#[derive(Debug)]
pub struct RopeTable {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    head_size: usize,
    positions: usize,
    pairs: RopePairs,
}

impl RopeTable {
    /// Tables of the caller's.
    ///
    /// # Errors
    /// When D is odd or 0, or the tables are not whole rows of the same number; when there is no
    /// memory.
    pub fn new(
        device: &Arc<dyn Device>,
        cos: &[f32],
        sin: &[f32],
        head_size: usize,
        pairs: RopePairs,
    ) -> Result<RopeTable> {
        if head_size == 0 || !head_size.is_multiple_of(2) {
            return Err(Error::Parameter {
                name: "head_size",
                got: head_size.to_string(),
                must_be: "even, to be rotated".into(),
            });
        }
        let half = head_size / 2;
        if cos.len() != sin.len() || !cos.len().is_multiple_of(half) {
            return Err(Error::Length {
                name: "sin",
                got: sin.len(),
                expected: cos.len() / half * half,
                shape: format!("positions × D/2 {half}, as cos"),
            });
        }
        Ok(RopeTable {
            cos: Buffer::from_slice(device, cos)?,
            sin: Buffer::from_slice(device, sin)?,
            head_size,
            positions: cos.len() / half,
            pairs,
        })
    }

    /// Angle `position·θ^(−2f/D)` for the positions from 0 on.
    ///
    /// # Errors
    /// Those of [`RopeTable::new`].
    pub fn of_base(
        device: &Arc<dyn Device>,
        theta: f64,
        head_size: usize,
        positions: usize,
        pairs: RopePairs,
    ) -> Result<RopeTable> {
        let half = (head_size / 2).max(1);
        let angles = (0..positions * half).map(|i| {
            let exponent = -2.0 * (i % half) as f64 / head_size as f64;
            (i / half) as f64 * theta.powf(exponent)
        });
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| (angle.cos() as f32, angle.sin() as f32))
            .unzip();
        RopeTable::new(device, &cos, &sin, head_size, pairs)
    }
}

/// Keys are to be rotated: by which tables, and to which position each token's.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// The tables.
    pub table: &'a RopeTable,
    /// A row of the tables for each token.
    pub positions: &'a [usize],
}

/// The number of a type in the kernels' terms.
pub(crate) fn type_code<T: Float>() -> u32 {
    match T::NAME {
        "f32" => TYPE_F32,
        "f16" => TYPE_F16,
        _ => TYPE_BF16,
    }
}

/// Writes `k` and `v[tokens, heads, D]` into slots: rounded or quantised to the pages' format, keys
/// rotated first if asked.
///
/// What int8 and int4 cannot hold (a vector with NaN or infinity, or one that is too large for an
/// f16 scale) is stored with the scale NaN, and reads as NaN.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::paged_kv::{Format, PageShape, Pages, Slots, Store, append};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let shape = PageShape { pages: 2, page: 4, heads: 1, head_size: 4 };
/// let mut pages = Pages::uninit(&device, shape, Format::Int8)?;
/// let k = Buffer::from_slice(&device, &[127.0_f32, -127.0, 0.5, 1.5])?;
/// let slots = Slots::new(&device, &shape, &[6])?;
/// append(&mut pages, &k, &k, &slots, None)?;
/// let Store::Int8 { codes, .. } = pages.k() else { unreachable!() };
/// // Halves go to even codes.
/// assert_eq!(codes.to_vec()?[6 * 4..7 * 4], [127, -127, 0, 2]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When a buffer does not fit, a slot is not in the pages, or a position is not in the tables;
/// nothing is launched then.
pub fn append<T: Float>(
    pages: &mut Pages,
    k: &Buffer<T>,
    v: &Buffer<T>,
    slots: &Slots,
    rope: Option<Rope<'_>>,
) -> Result<()> {
    let shape = pages.shape();
    let tokens = slots.len();
    let all = [
        ("tokens", tokens),
        ("heads", shape.heads),
        ("D", shape.head_size),
    ];
    k.expect_shape("k", &all)?;
    v.expect_shape("v", &all)?;
    slots.expect(&shape)?;
    let vectors = tokens * shape.heads;
    if vectors > i32::MAX as usize {
        return Err(Error::Parameter {
            name: "tokens",
            got: tokens.to_string(),
            must_be: format!("at most {}", i32::MAX as usize / shape.heads),
        });
    }
    if let Some(rope) = rope {
        check_rope(&rope, tokens, shape.head_size)?;
    }
    if tokens == 0 {
        return Ok(());
    }
    let device = pages.device().clone();
    let kernel = Module::embedded(FAMILY.name, &*device)?
        .kernel(&format!("paged_append_{}", pages.format().name()))?;
    let positions = match rope {
        None => None,
        Some(rope) => {
            let positions: Vec<i32> = rope.positions.iter().map(|p| *p as i32).collect();
            Some(Buffer::from_slice(&device, &positions)?)
        }
    };
    let [k_codes, k_scale, k_zero] = pages.k().args();
    let [v_codes, v_scale, v_zero] = pages.v().args();
    let interleaved = rope.is_some_and(|rope| rope.table.pairs == RopePairs::Interleaved);
    let config = LaunchConfig {
        grid: [(vectors as u32).div_ceil(APPEND_WARPS), 2, 1],
        block: [32 * APPEND_WARPS, 1, 1],
        shared: 0,
    };
    launch(
        &*device,
        &kernel,
        config,
        &[
            k.into(),
            v.into(),
            k_codes,
            v_codes,
            k_scale,
            v_scale,
            k_zero,
            v_zero,
            (&slots.slots).into(),
            Arg::optional(positions.as_ref()),
            rope.map_or(Arg::Null, |rope| (&rope.table.cos).into()),
            rope.map_or(Arg::Null, |rope| (&rope.table.sin).into()),
            (tokens as u32).into(),
            (shape.heads as u32).into(),
            (shape.head_size as u32).into(),
            type_code::<T>().into(),
            u32::from(interleaved).into(),
        ],
    )
}

fn check_rope(rope: &Rope<'_>, tokens: usize, head_size: usize) -> Result<()> {
    let table = rope.table;
    if table.head_size != head_size {
        return Err(Error::Parameter {
            name: "rope",
            got: format!("tables for D = {}", table.head_size),
            must_be: format!("for the pages' D = {head_size}"),
        });
    }
    if rope.positions.len() != tokens {
        return Err(Error::Length {
            name: "positions",
            got: rope.positions.len(),
            expected: tokens,
            shape: format!("tokens {tokens}"),
        });
    }
    let outside = rope.positions.iter().position(|p| *p >= table.positions);
    outside.map_or(Ok(()), |index| {
        Err(Error::Entry {
            name: "positions",
            index,
            got: rope.positions[index] as i64,
            must_be: format!("one of the {} positions of the tables", table.positions),
        })
    })
}
