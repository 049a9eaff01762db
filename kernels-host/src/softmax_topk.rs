//! Softmax and top-k: the k greatest logits of each row, their probabilities under the softmax of
//! the whole row, and the log of its normaliser, in one pass.

use crate::{Arg, Buffer, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::softmax_topk::{FAMILY, WARP_MAX_K, WARP_ROWS, WARP_THREADS};

/// The shape and the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Rows.
    pub rows: usize,
    /// Logits in a row.
    pub vocabulary: usize,
    /// How many to return for each row: 1 to the vocabulary, and at most 32.
    pub k: usize,
    /// What logits are divided by: positive and finite.
    pub temperature: f32,
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
pub fn softmax_topk(
    parameters: Parameters,
    logits: &Buffer<f32>,
    mask: Option<&Buffer<u8>>,
    outputs: Outputs<'_>,
) -> Result<()> {
    let Parameters {
        rows,
        vocabulary,
        k,
        temperature,
    } = parameters;
    let out_of_range =
        |name, got: String, must_be: String| Err(Error::Parameter { name, got, must_be });
    // Grids count blocks in 31 bits, columns are counted up to a step past the end in 32.
    let max_rows = i32::MAX as usize;
    if !(1..=max_rows).contains(&rows) {
        return out_of_range("rows", rows.to_string(), format!("1 to {max_rows}"));
    }
    if !(1..=max_rows).contains(&vocabulary) {
        return out_of_range(
            "vocabulary",
            vocabulary.to_string(),
            format!("1 to {max_rows}"),
        );
    }
    let max_k = vocabulary.min(WARP_MAX_K as usize);
    if !(1..=max_k).contains(&k) {
        let must_be = format!(
            "1 to {max_k} (the vocabulary has {vocabulary}, the kernel's limit \
                               is {WARP_MAX_K})"
        );
        return out_of_range("k", k.to_string(), must_be);
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return out_of_range(
            "temperature",
            temperature.to_string(),
            "positive and finite".into(),
        );
    }
    logits.expect_shape("logits", &[("rows", rows), ("vocabulary", vocabulary)])?;
    if let Some(mask) = mask {
        mask.expect_shape("mask", &[("rows", rows), ("vocabulary", vocabulary)])?;
    }
    outputs
        .probability
        .expect_shape("probability", &[("rows", rows), ("k", k)])?;
    outputs
        .index
        .expect_shape("index", &[("rows", rows), ("k", k)])?;
    outputs.lse.expect_shape("lse", &[("rows", rows)])?;

    let device = logits.device();
    let module = Module::embedded(FAMILY.name, &**device)?;
    let kernel = module.kernel("softmax_topk_warp_f32")?;
    let (rows, vocabulary, k) = (rows as u32, vocabulary as u32, k as u32);
    launch(
        &**device,
        &kernel,
        LaunchConfig::linear(rows.div_ceil(WARP_ROWS), WARP_THREADS),
        &[
            logits.into(),
            Arg::optional(mask),
            outputs.probability.into(),
            outputs.index.into(),
            outputs.lse.into(),
            rows.into(),
            vocabulary.into(),
            k.into(),
            temperature.into(),
        ],
    )
}
