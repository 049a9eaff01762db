//! Attention over pages.

use super::{BlockTable, Format, Pages, type_code};
use crate::attention::{Float, Sequences};
use crate::{Arg, Buffer, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::paged_kv::{
    FAMILY, MAX_SPLITS, MERGE_WARPS, PLAIN_WARPS, TENSOR_KEYS, TENSOR_ROWS, TENSOR_WARPS,
    tensor_shared,
};
use std::f64::consts::LOG2_E;

/// What is asked for besides the tensors. Queries are causal, aligned with the end of their sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Factor on q·k; usually 1/√D.
    pub scale: f32,
    /// How many keys before its own position a query sees; `None`: all.
    pub window: Option<usize>,
    /// The first keys of a sequence that are seen from everywhere, whatever the window.
    pub sinks: usize,
    /// `s ← c·tanh(s/c)` on the scaled score.
    pub softcap: Option<f32>,
}

impl Options {
    /// Every key up to the query's own.
    pub fn new(scale: f32) -> Options {
        Options {
            scale,
            window: None,
            sinks: 0,
            softcap: None,
        }
    }
}

/// The queries.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a, T: Float> {
    /// `[B, Hq, D]`, one a sequence; with starts `[T, Hq, D]`.
    pub q: &'a Buffer<T>,
    /// Hq, a multiple of the KV heads: query head h reads KV head `h / (Hq/Hkv)`.
    pub heads: usize,
    /// Where the queries of each sequence begin: a chunk of them stands at its end.
    pub starts: Option<&'a Sequences>,
    /// A learned logit a query head, which joins the softmax and has no value.
    pub sink_logits: Option<&'a Buffer<f32>>,
}

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
    /// Rung 1: a warp a query and head; every type, format and head size.
    Plain,
    /// Rung 2: on the tensor cores; head sizes 64 and 128 (int4: 128), q in f16, or in bf16 over
    /// pages that are not in f16.
    Tensor {
        /// Into how many parts a row's keys are cut, 1 to 128.
        splits: usize,
    },
}

/// A token tree at the end of each sequence, as [`attend`] is given it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    /// `[T, words]`
    pub(crate) mask: &'a Buffer<u32>,
    /// `[T]`
    pub(crate) depth: &'a Buffer<i32>,
    pub(crate) words: usize,
}

/// Longest sequence, and a window that cuts nothing.
const UNLIMITED: usize = 1 << 30;
/// Blocks that keep a large GPU busy: two for each of 132 processors.
const ENOUGH_BLOCKS: usize = 264;

/// Attention of the queries over the keys and values that the table names, by the rung that fits.
///
/// A sequence without tokens gives o = 0 and lse = −inf (with a sink logit: that). NaN in what a
/// query sees makes its o and lse NaN (in v: that component of o); what it does not see, and slots
/// and pages that hold no token of its sequence, do not reach it.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::paged_kv::{
///     Format, KvCache, Options, Outputs, PageShape, Queries, paged_attention,
/// };
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let shape = PageShape { pages: 4, page: 2, heads: 1, head_size: 64 };
/// let mut cache = KvCache::new(&device, 1, shape, Format::Int8)?;
/// let sequence = cache.create();
/// let slots = cache.extend(&[(sequence, 3)])?;
/// // Equal keys: the query takes the mean of the values.
/// let k = Buffer::from_slice(&device, &[0.0_f32; 3 * 64])?;
/// let v = Buffer::from_slice(&device, &[[127.0_f32; 64], [254.0; 64], [0.0; 64]].concat())?;
/// cache.append(0, &slots, &k, &v, None)?;
/// let q = Buffer::from_slice(&device, &[half::f16::ONE; 64])?;
/// let mut o = Buffer::uninit(&device, 64)?;
/// let mut lse = Buffer::uninit(&device, 1)?;
/// paged_attention(
///     &Queries { q: &q, heads: 1, starts: None, sink_logits: None },
///     cache.pages(0)?,
///     &cache.block_table(&[sequence])?,
///     &Options::new(0.125),
///     Outputs { o: &mut o, lse: &mut lse },
/// )?;
/// assert_eq!(o.to_vec()?[0].to_f32(), 127.0);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When shapes, options and buffers do not fit; nothing is launched then.
pub fn paged_attention<T: Float>(
    queries: &Queries<'_, T>,
    pages: &Pages,
    table: &BlockTable,
    options: &Options,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    attend(None, queries, pages, table, options, None, outputs)
}

/// [`paged_attention`] by a rung of the caller's choice.
///
/// # Errors
/// As there, and when the rung does not take the types or the head size.
pub fn paged_attention_by<T: Float>(
    rung: Rung,
    queries: &Queries<'_, T>,
    pages: &Pages,
    table: &BlockTable,
    options: &Options,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    attend(Some(rung), queries, pages, table, options, None, outputs)
}

/// Shapes that fit each other, in the kernels' terms.
struct Problem {
    sequences: usize,
    /// Queries of the longest sequence.
    queries: usize,
    /// Rows of q.
    rows: usize,
    group: usize,
    head_size: usize,
}

fn refuse(name: &'static str, got: String, must_be: impl Into<String>) -> Error {
    Error::Parameter {
        name,
        got,
        must_be: must_be.into(),
    }
}

impl Problem {
    fn new<T: Float>(
        queries: &Queries<'_, T>,
        pages: &Pages,
        table: &BlockTable,
        options: &Options,
    ) -> Result<Problem> {
        let shape = pages.shape();
        table.expect(&shape)?;
        let heads = queries.heads;
        if heads == 0 || !heads.is_multiple_of(shape.heads) {
            let must_be = format!("a multiple of the {} KV heads", shape.heads);
            return Err(refuse("heads", heads.to_string(), must_be));
        }
        let (total, longest) = match queries.starts {
            None => (table.sequences(), 1),
            Some(starts) if starts.count() != table.sequences() => {
                let got = format!("{} sequences", starts.count());
                let must_be = format!("those of the block table: {}", table.sequences());
                return Err(refuse("starts", got, must_be));
            }
            Some(starts) => (starts.total(), starts.longest()),
        };
        let group = heads / shape.heads;
        // Rows of a tile are numbered in 32 bits, up to a tile past the end.
        if longest.saturating_mul(group) > 1 << 29 || total.saturating_mul(heads) > 1 << 31 {
            let must_be = "at most 2²⁹ rows of a KV head and 2³¹ of all";
            return Err(refuse(
                "queries × heads",
                format!("{total} × {heads}"),
                must_be,
            ));
        }
        if !options.scale.is_finite() {
            return Err(refuse("scale", options.scale.to_string(), "finite"));
        }
        let largest = f32::MAX / 4.0;
        if let Some(cap) = options.softcap
            && !(cap > 0.0 && cap <= largest && (options.scale / cap).abs() < largest)
        {
            let must_be = "positive, and neither it nor scale / softcap near f32's greatest number";
            return Err(refuse("softcap", cap.to_string(), must_be));
        }
        Ok(Problem {
            sequences: table.sequences(),
            queries: longest,
            rows: total * heads,
            group,
            head_size: shape.head_size,
        })
    }

    /// Enough splits to fill a large GPU, each with two rounds of the block's warps at least.
    fn splits(&self, kv_heads: usize, longest: usize) -> usize {
        let blocks = self.tiles() * kv_heads * self.sequences;
        let round = (TENSOR_WARPS * TENSOR_KEYS) as usize;
        let most = (longest / (2 * round)).clamp(1, MAX_SPLITS as usize);
        (ENOUGH_BLOCKS / blocks.max(1)).clamp(1, most)
    }

    fn tiles(&self) -> usize {
        (self.queries * self.group).div_ceil(TENSOR_ROWS as usize)
    }
}

/// Parts that q and the weights are split into, if rung 2 takes the types and the head size.
fn parts<T: Float>(format: Format, head_size: usize) -> Option<u32> {
    match (format, T::NAME) {
        (Format::Int4, _) if head_size != 128 => None,
        _ if !matches!(head_size, 64 | 128) => None,
        // Over f16 pages f16 numbers are multiplied, over all others bf16; bf16 goes beyond f16.
        (Format::F16, "f16") => Some(1),
        (Format::F16, _) => None,
        (_, "bf16") => Some(1),
        // f16 is two bf16 numbers.
        (_, "f16") => Some(2),
        _ => None,
    }
}

pub(crate) fn attend<T: Float>(
    rung: Option<Rung>,
    queries: &Queries<'_, T>,
    pages: &Pages,
    table: &BlockTable,
    options: &Options,
    tree: Option<Tree<'_>>,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    let problem = Problem::new(queries, pages, table, options)?;
    let shape = pages.shape();
    let vectors = [("rows (queries × heads)", problem.rows)];
    let d = ("D", problem.head_size);
    queries.q.expect_shape("q", &[vectors[0], d])?;
    outputs.o.expect_shape("o", &[vectors[0], d])?;
    outputs.lse.expect_shape("lse", &vectors)?;
    if let Some(logits) = queries.sink_logits {
        logits.expect_shape("sink_logits", &[("heads", queries.heads)])?;
    }
    let parts = parts::<T>(pages.format(), problem.head_size);
    let rung = rung.unwrap_or(match parts {
        Some(_) => Rung::Tensor {
            splits: problem.splits(shape.heads, table.longest()),
        },
        None => Rung::Plain,
    });
    let splits = match rung {
        Rung::Plain => None,
        Rung::Tensor { splits } => {
            let Some(parts) = parts else {
                let got = format!(
                    "{rung:?} for {} over {:?}, D = {}",
                    T::NAME,
                    pages.format(),
                    problem.head_size
                );
                let must_be = "Plain, or D = 64 or 128 (int4: 128) and q in f16, or in bf16 over pages not in f16";
                return Err(refuse("rung", got, must_be));
            };
            if !(1..=MAX_SPLITS as usize).contains(&splits) {
                let must_be = format!("1 to {MAX_SPLITS}");
                return Err(refuse("splits", splits.to_string(), must_be));
            }
            Some((splits, parts))
        }
    };
    if problem.rows == 0 {
        return Ok(());
    }

    let device = pages.device();
    let module = Module::embedded(FAMILY.name, &**device)?;
    let [k, k_scale, k_zero] = pages.k().args();
    let [v, v_scale, v_zero] = pages.v().args();
    let starts = queries.starts.map_or(Arg::Null, Sequences::arg);
    let sink_logits = Arg::optional(queries.sink_logits);
    let left = options.window.unwrap_or(UNLIMITED).min(UNLIMITED) as i32;
    let sinks = options.sinks.min(UNLIMITED) as u32;
    let tensors = [
        queries.q.into(),
        k,
        v,
        k_scale,
        v_scale,
        k_zero,
        v_zero,
        (&table.table).into(),
        (&table.lengths).into(),
        starts,
        tree.map_or(Arg::Null, |tree| tree.mask.into()),
        tree.map_or(Arg::Null, |tree| tree.depth.into()),
    ];
    let tables = [
        table.width().into(),
        (shape.page as u32).into(),
        (tree.map_or(0, |tree| tree.words) as u32).into(),
        left.into(),
        sinks.into(),
    ];
    let (o, lse): (Arg, Arg) = (outputs.o.into(), outputs.lse.into());
    let group: Arg = (problem.group as u32).into();
    let number_type: Arg = type_code::<T>().into();
    let grid = |x: usize| [x as u32, shape.heads as u32, problem.sequences as u32];

    let Some((splits, parts)) = splits else {
        let name = format!("paged_attention_plain_{}", pages.format().name());
        let config = LaunchConfig {
            grid: grid((problem.queries * problem.group).div_ceil(PLAIN_WARPS as usize)),
            block: [32 * PLAIN_WARPS, 1, 1],
            shared: 0,
        };
        let rest = [
            (problem.head_size as u32).into(),
            number_type,
            group,
            options.scale.into(),
            options.softcap.unwrap_or(0.0).into(),
        ];
        let args = [&tensors[..], &[sink_logits, o, lse], &tables, &rest].concat();
        return launch(&**device, &module.kernel(&name)?, config, &args);
    };

    let (part_rows, one) = (splits * problem.rows, splits == 1);
    let room = |n: usize| Buffer::<f32>::uninit(device, if one { 0 } else { n });
    let part_o = room(part_rows * problem.head_size)?;
    let part_lse = room(part_rows)?;
    let name = format!(
        "paged_attention_{}_{}",
        pages.format().name(),
        problem.head_size
    );
    let config = LaunchConfig {
        grid: grid(problem.tiles() * splits),
        block: [32 * TENSOR_WARPS, 1, 1],
        shared: tensor_shared(problem.head_size as u32),
    };
    let (factor, cap) = base_2(options);
    let partial = |buffer: &Buffer<f32>| if one { Arg::Null } else { buffer.into() };
    let outcome = [sink_logits, o, lse, partial(&part_o), partial(&part_lse)];
    let rest = [
        (problem.rows as u32).into(),
        number_type,
        parts.into(),
        group,
        (splits as u32).into(),
        factor.into(),
        cap.into(),
    ];
    let args = [&tensors[..], &outcome, &tables, &rest].concat();
    launch(&**device, &module.kernel(&name)?, config, &args)?;
    if one {
        return Ok(());
    }
    launch(
        &**device,
        &module.kernel("paged_merge")?,
        LaunchConfig::linear(
            (problem.rows as u32).div_ceil(MERGE_WARPS),
            32 * MERGE_WARPS,
        ),
        &[
            (&part_o).into(),
            (&part_lse).into(),
            sink_logits,
            o,
            lse,
            (problem.rows as u32).into(),
            (queries.heads as u32).into(),
            (problem.head_size as u32).into(),
            (splits as u32).into(),
            number_type,
        ],
    )
}

/// `factor` and `cap` of scores in units of ln 2: without softcap scale·log₂e and 0; with softcap c
/// 2·log₂e·scale/c, the exponent of tanh, and c·log₂e.
fn base_2(options: &Options) -> (f32, f32) {
    let scale = f64::from(options.scale) * LOG2_E;
    match options.softcap {
        None => (scale as f32, 0.0),
        Some(cap) => {
            let cap = f64::from(cap);
            ((2.0 * scale / cap) as f32, (cap * LOG2_E) as f32)
        }
    }
}
