//! Softmax and top-k: the k greatest logits of each row, their probabilities under the softmax of
//! the whole row, and the log of its normaliser, in one pass.

use crate::{Arg, Buffer, Device, Element, Error, LaunchConfig, Limits, Module, Result, launch};
use kernels_gpu::softmax_topk::{
    BLOCK_MAX_K, BLOCK_THREADS, FAMILY, MAX_SPLITS, WARP_MAX_K, WARP_ROWS, WARP_THREADS,
};
use std::sync::Arc;

/// A type that logits come in: f32, f16 or bf16.
pub trait Logit: Element {}

impl Logit for f32 {}
impl Logit for half::f16 {}
impl Logit for half::bf16 {}

/// The shape and the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Rows.
    pub rows: usize,
    /// Logits in a row.
    pub vocabulary: usize,
    /// How many to return for each row, and the width of the outputs: 1 to the vocabulary, and at
    /// most 1024.
    pub k: usize,
    /// What logits are divided by: positive, finite, not subnormal.
    pub temperature: f32,
}

/// What a caller may choose, and need not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// A k of its own for each row, 1 to [`Parameters::k`]. Ranks from there on hold index −1 and
    /// probability 0.
    pub ks: Option<&'a [usize]>,
    /// The rung of the ladder; without one it is chosen by the shape.
    pub rung: Option<Rung>,
}

/// A rung of the family's ladder (see [`kernels_gpu::softmax_topk`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// A warp per row: k to 32.
    Warp,
    /// A block per row.
    Block,
    /// So many blocks per row, at most 256, and a merge. Where rows are short there may be fewer.
    Split(usize),
}

/// What is written.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// `[rows, k]`: probabilities, in falling order of the logits, equal ones by rising index.
    pub probability: &'a mut Buffer<f32>,
    /// `[rows, k]`: where they stand in the row.
    pub index: &'a mut Buffer<i32>,
    /// `[rows]`: log Σ exp(logit / temperature).
    pub lse: &'a mut Buffer<f32>,
}

/// Runs softmax and top-k over `logits[rows, vocabulary]`. Elements whose byte in
/// `mask[rows, vocabulary]` is not 0 count as −inf. A row with an unmasked NaN or +inf gets
/// probabilities and lse NaN and indices −1; a row of −inf only gets probabilities 0, lse −inf and
/// indices 0…k−1.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::softmax_topk::{Outputs, Parameters, softmax_topk};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let logits = Buffer::from_slice(&device, &[0.0_f32, 3.0, 1.0, 3.0, 2.0])?;
/// let mut probability = Buffer::uninit(&device, 3)?;
/// let mut index = Buffer::uninit(&device, 3)?;
/// let mut lse = Buffer::uninit(&device, 1)?;
/// softmax_topk(
///     Parameters { rows: 1, vocabulary: 5, k: 3, temperature: 1.0 },
///     &logits,
///     None,
///     Outputs { probability: &mut probability, index: &mut index, lse: &mut lse },
/// )?;
/// assert_eq!(index.to_vec()?, [1, 3, 4]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When a shape, k or the temperature is out of range; nothing is launched then.
pub fn softmax_topk<T: Logit>(
    parameters: Parameters,
    logits: &Buffer<T>,
    mask: Option<&Buffer<u8>>,
    outputs: Outputs<'_>,
) -> Result<()> {
    softmax_topk_with(parameters, Options::default(), logits, mask, outputs)
}

/// [`softmax_topk`] with [`Options`].
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::softmax_topk::{Options, Outputs, Parameters, Rung, softmax_topk_with};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let logits = Buffer::from_slice(&device, &[0.0_f32, 3.0, 1.0, 5.0, 4.0, 6.0])?;
/// let mut probability = Buffer::uninit(&device, 4)?;
/// let mut index = Buffer::uninit(&device, 4)?;
/// let mut lse = Buffer::uninit(&device, 2)?;
/// softmax_topk_with(
///     Parameters { rows: 2, vocabulary: 3, k: 2, temperature: 1.0 },
///     Options { ks: Some(&[2, 1]), rung: Some(Rung::Block) },
///     &logits,
///     None,
///     Outputs { probability: &mut probability, index: &mut index, lse: &mut lse },
/// )?;
/// assert_eq!(index.to_vec()?, [1, 2, 2, -1]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// Those of [`softmax_topk`], and when the options do not fit the shape.
pub fn softmax_topk_with<T: Logit>(
    parameters: Parameters,
    options: Options<'_>,
    logits: &Buffer<T>,
    mask: Option<&Buffer<u8>>,
    outputs: Outputs<'_>,
) -> Result<()> {
    check(&parameters, &options)?;
    let Parameters {
        rows,
        vocabulary,
        k: width,
        ..
    } = parameters;
    logits.expect_shape("logits", &[("rows", rows), ("vocabulary", vocabulary)])?;
    if let Some(mask) = mask {
        mask.expect_shape("mask", &[("rows", rows), ("vocabulary", vocabulary)])?;
    }
    outputs
        .probability
        .expect_shape("probability", &[("rows", rows), ("k", width)])?;
    outputs
        .index
        .expect_shape("index", &[("rows", rows), ("k", width)])?;
    outputs.lse.expect_shape("lse", &[("rows", rows)])?;

    let device = logits.device();
    let ks = options
        .ks
        .map(|ks| ks.iter().map(|k| *k as u32).collect::<Vec<_>>())
        .map(|ks| Buffer::from_slice(device, &ks))
        .transpose()?;
    let run = Run {
        device,
        module: Module::embedded(FAMILY.name, &**device)?,
        parameters,
        logits: logits.into(),
        mask: Arg::optional(mask),
        ks: Arg::optional(ks.as_ref()),
        probability: outputs.probability.into(),
        index: outputs.index.into(),
        lse: outputs.lse.into(),
    };
    match options
        .rung
        .unwrap_or_else(|| choose(&parameters, device.limits()))
    {
        Rung::Warp => run.warp(T::NAME),
        Rung::Block => run.block(T::NAME, Parts::of(vocabulary, 1), None),
        Rung::Split(parts) => run.split(T::NAME, Parts::of(vocabulary, parts)),
    }
}

fn check(parameters: &Parameters, options: &Options<'_>) -> Result<()> {
    let Parameters {
        rows,
        vocabulary,
        k,
        temperature,
    } = *parameters;
    let out_of_range =
        |name, got: String, must_be: String| Err(Error::Parameter { name, got, must_be });
    // Grids count blocks in 31 bits, columns are counted up to a step past the end in 32.
    let max = i32::MAX as usize;
    if !(1..=max).contains(&rows) {
        return out_of_range("rows", rows.to_string(), format!("1 to {max}"));
    }
    if !(1..=max).contains(&vocabulary) {
        return out_of_range("vocabulary", vocabulary.to_string(), format!("1 to {max}"));
    }
    let limit = match options.rung {
        Some(Rung::Warp) => WARP_MAX_K as usize,
        _ => BLOCK_MAX_K as usize,
    };
    let max_k = vocabulary.min(limit);
    if !(1..=max_k).contains(&k) {
        let must_be = format!(
            "1 to {max_k} (the vocabulary has {vocabulary}, the kernel's limit is {limit})"
        );
        return out_of_range("k", k.to_string(), must_be);
    }
    if !(temperature > 0.0 && temperature.is_normal()) {
        return out_of_range(
            "temperature",
            temperature.to_string(),
            "positive, finite and not subnormal".into(),
        );
    }
    if let Some(ks) = options.ks {
        if ks.len() != rows {
            return Err(Error::Length {
                name: "ks",
                got: ks.len(),
                expected: rows,
                shape: format!("rows {rows}"),
            });
        }
        if let Some((row, got)) = ks
            .iter()
            .enumerate()
            .find(|(_, own)| !(1..=k).contains(*own))
        {
            return out_of_range("ks", format!("{got} for row {row}"), format!("1 to {k}"));
        }
    }
    if let Some(Rung::Split(parts)) = options.rung {
        let most = MAX_SPLITS as usize;
        if !(1..=most).contains(&parts) {
            return out_of_range("parts", parts.to_string(), format!("1 to {most}"));
        }
        if rows.checked_mul(parts).is_none_or(|blocks| blocks > max) {
            return out_of_range(
                "parts",
                parts.to_string(),
                format!("so few that {rows} rows make at most {max} blocks"),
            );
        }
    }
    Ok(())
}

/// The rung for a shape. Short rows do not fill a block.
fn choose(parameters: &Parameters, limits: Limits) -> Rung {
    let Parameters {
        rows,
        vocabulary,
        k,
        ..
    } = *parameters;
    if k <= WARP_MAX_K as usize && vocabulary <= SHORT {
        return Rung::Warp;
    }
    match Parts::choose(limits, rows, vocabulary, k).count {
        1 => Rung::Block,
        parts => Rung::Split(parts),
    }
}

/// Rows up to this are read by a block in a step or two.
const SHORT: usize = 2048;

/// How a row is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// How many parts.
    pub(crate) count: usize,
    /// Columns of each but the last, which may have fewer.
    pub(crate) columns: usize,
}

impl Parts {
    /// At most `count` parts, each but the last a whole number of sectors of 32 bytes.
    pub(crate) fn of(vocabulary: usize, count: usize) -> Parts {
        let columns = vocabulary.div_ceil(count).next_multiple_of(16);
        Parts {
            count: vocabulary.div_ceil(columns),
            columns,
        }
    }

    /// The parts for a shape on a device. Where there are not three blocks for each multiprocessor
    /// rows are split, but not into parts so short that selecting and merging their k best would
    /// outweigh reading them.
    pub(crate) fn choose(limits: Limits, rows: usize, vocabulary: usize, k: usize) -> Parts {
        let blocks = 3 * limits.multiprocessors as usize;
        let shortest = (32 * k).max(4 * SHORT);
        let parts = (vocabulary / shortest)
            .min(blocks / rows)
            .clamp(1, MAX_SPLITS as usize);
        Parts::of(vocabulary, parts)
    }
}

/// A checked call, on its way to the device.
struct Run<'a> {
    device: &'a Arc<dyn Device>,
    module: Arc<Module>,
    parameters: Parameters,
    logits: Arg,
    mask: Arg,
    ks: Arg,
    probability: Arg,
    index: Arg,
    lse: Arg,
}

impl Run<'_> {
    fn launch(&self, entry: &str, config: LaunchConfig, args: &[Arg]) -> Result<()> {
        launch(&**self.device, &self.module.kernel(entry)?, config, args)
    }

    fn warp(&self, dtype: &str) -> Result<()> {
        let p = self.parameters;
        let rows = p.rows as u32;
        self.launch(
            &format!("softmax_topk_warp_{dtype}"),
            LaunchConfig::linear(rows.div_ceil(WARP_ROWS), WARP_THREADS),
            &[
                self.logits,
                self.mask,
                self.ks,
                self.probability,
                self.index,
                self.lse,
                rows.into(),
                (p.vocabulary as u32).into(),
                (p.k as u32).into(),
                p.temperature.recip().into(),
            ],
        )
    }

    /// A block for each part of each row. One part writes the results; more leave `partial`.
    fn block(
        &self,
        dtype: &str,
        parts: Parts,
        partial: Option<(&Buffer<u64>, &Buffer<f32>)>,
    ) -> Result<()> {
        let p = self.parameters;
        self.launch(
            &format!("softmax_topk_block_{dtype}"),
            LaunchConfig::linear((p.rows * parts.count) as u32, BLOCK_THREADS),
            &[
                self.logits,
                self.mask,
                self.ks,
                self.probability,
                self.index,
                self.lse,
                Arg::optional(partial.map(|(keys, _)| keys)),
                Arg::optional(partial.map(|(_, states)| states)),
                (p.vocabulary as u32).into(),
                (p.k as u32).into(),
                (parts.count as u32).into(),
                (parts.columns as u32).into(),
                p.temperature.recip().into(),
            ],
        )
    }

    fn split(&self, dtype: &str, parts: Parts) -> Result<()> {
        if parts.count == 1 {
            return self.block(dtype, parts, None);
        }
        let p = self.parameters;
        let blocks = p.rows * parts.count;
        let keys = Buffer::<u64>::uninit(self.device, blocks * p.k)?;
        let states = Buffer::<f32>::uninit(self.device, 2 * blocks)?;
        self.block(dtype, parts, Some((&keys, &states)))?;
        self.launch(
            "softmax_topk_merge",
            LaunchConfig::linear(p.rows as u32, BLOCK_THREADS),
            &[
                (&keys).into(),
                (&states).into(),
                self.ks,
                self.probability,
                self.index,
                self.lse,
                (parts.count as u32).into(),
                (p.k as u32).into(),
                p.temperature.recip().into(),
            ],
        )
    }
}
