//! One step: what each item's beams become.

use super::Rules;
use crate::softmax_topk::{Logit, Parts};
use crate::{Arg, Buffer, Device, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::beam_search::{BLOCK_THREADS, FAMILY};
use std::sync::Arc;

/// The shape of a step; the number of beams an item is in the [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Items of the batch.
    pub items: usize,
    /// Logits of a beam.
    pub vocabulary: usize,
    /// Into how many parts a beam's row is cut, 1 to 256; without a number it is chosen. Where rows
    /// are short there may be fewer.
    pub parts: Option<usize>,
}

/// The beams of all items, `[items, beams]`.
#[derive(Debug)]
pub struct Beams {
    /// Sums of log-probabilities; −inf where there is no beam.
    pub acc: Buffer<f32>,
    /// Generated tokens, as the rules count them.
    pub length: Buffer<i32>,
    /// Not 0 where the beam has ended.
    pub finished: Buffer<u8>,
}

impl Beams {
    /// The beams before the first step: one an item, nothing generated.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub fn start(device: &Arc<dyn Device>, items: usize, beams: usize) -> Result<Beams> {
        let acc: Vec<f32> = (0..items * beams)
            .map(|at| {
                if at % beams == 0 {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
            .collect();
        Ok(Beams {
            acc: Buffer::from_slice(device, &acc)?,
            length: Buffer::from_slice(device, &vec![0; items * beams])?,
            finished: Buffer::from_slice(device, &vec![0; items * beams])?,
        })
    }

    /// Room for a step's result.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub fn uninit(device: &Arc<dyn Device>, items: usize, beams: usize) -> Result<Beams> {
        Ok(Beams {
            acc: Buffer::uninit(device, items * beams)?,
            length: Buffer::uninit(device, items * beams)?,
            finished: Buffer::uninit(device, items * beams)?,
        })
    }

    fn expect_shape(&self, shape: &[(&str, usize)]) -> Result<()> {
        self.acc.expect_shape("acc", shape)?;
        self.length.expect_shape("length", shape)?;
        self.finished.expect_shape("finished", shape)
    }
}

/// What a step writes, `[items, beams]`, best first.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The beams kept. Where the pool held fewer than K: acc −inf, length 0.
    pub beams: &'a mut Beams,
    /// The beam each continues, or the finished one it is; −1 where there is none.
    pub parent: &'a mut Buffer<i32>,
    /// The token it appends; −1 for a finished beam and where there is none.
    pub token: &'a mut Buffer<i32>,
    /// acc/len^α; −inf where there is none.
    pub score: &'a mut Buffer<f32>,
}

/// One step of a search: from `logits[items, beams, vocabulary]` after the beams' last tokens, the
/// K best of each item's pool. Rows of finished and absent beams are not read. `eos` holds the
/// rules' tokens on the device.
///
/// NaN and −inf logits are forbidden tokens. A beam whose logits hold +inf drops out.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::beam_search::{Beams, Kept, Rules, Shape, beam_step};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let rules = Rules::new(2, 0);
/// let eos = Buffer::from_slice(&device, &rules.eos)?;
/// let beams = Beams::start(&device, 1, 2)?;
/// // The second beam is none yet: its row is not read.
/// let logits = Buffer::from_slice(&device, &[1.0_f32, 3.0, 2.0, 0.0, 0.0, 0.0])?;
/// let mut next = Beams::uninit(&device, 1, 2)?;
/// let mut parent = Buffer::uninit(&device, 2)?;
/// let mut token = Buffer::uninit(&device, 2)?;
/// let mut score = Buffer::uninit(&device, 2)?;
/// beam_step(
///     &rules,
///     Shape { items: 1, vocabulary: 3, parts: None },
///     &logits,
///     &eos,
///     &beams,
///     Kept { beams: &mut next, parent: &mut parent, token: &mut token, score: &mut score },
/// )?;
/// assert_eq!(parent.to_vec()?, [0, 0]);
/// assert_eq!(token.to_vec()?, [1, 2]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When the rules or a shape are out of range; nothing is launched then.
pub fn beam_step<T: Logit>(
    rules: &Rules,
    shape: Shape,
    logits: &Buffer<T>,
    eos: &Buffer<i32>,
    beams: &Beams,
    kept: Kept<'_>,
) -> Result<()> {
    rules.check()?;
    let Shape {
        items, vocabulary, ..
    } = shape;
    let k = rules.beams;
    let most = i32::MAX as usize;
    let refuse = |name, got: usize, must_be: String| {
        Err(Error::Parameter {
            name,
            got: got.to_string(),
            must_be,
        })
    };
    // Blocks are counted in 31 bits: a row's parts, at most 256, included.
    let most_items = most / 256 / k;
    if !(1..=most_items).contains(&items) {
        return refuse("items", items, format!("1 to {most_items}"));
    }
    if !(1..=most).contains(&vocabulary) {
        return refuse("vocabulary", vocabulary, format!("1 to {most}"));
    }
    if let Some(parts) = shape.parts.filter(|parts| !(1..=256).contains(parts)) {
        return refuse("parts", parts, "1 to 256".into());
    }
    let all = [("items", items), ("beams", k)];
    logits.expect_shape(
        "logits",
        &[("items", items), ("beams", k), ("vocabulary", vocabulary)],
    )?;
    eos.expect_shape("eos", &[("tokens of the rules", rules.eos.len())])?;
    beams.expect_shape(&all)?;
    kept.beams.expect_shape(&all)?;
    kept.parent.expect_shape("parent", &all)?;
    kept.token.expect_shape("token", &all)?;
    kept.score.expect_shape("score", &all)?;

    let device = logits.device();
    let module = Module::embedded(FAMILY.name, &**device)?;
    let rows = items * k;
    let width = 2 * k;
    let parts = match shape.parts {
        Some(count) => Parts::of(vocabulary, count),
        None => Parts::choose(device.limits(), rows, vocabulary, width),
    };
    let eos_arg = if eos.is_empty() {
        Arg::Null
    } else {
        eos.into()
    };
    let eos_count = rules.eos.len() as u32;

    let blocks = rows * parts.count;
    let part_keys = Buffer::<u64>::uninit(device, blocks * width)?;
    let part_states = Buffer::<f32>::uninit(device, 2 * blocks)?;
    let start = |entry: &str, blocks: usize, args: &[Arg]| {
        let config = LaunchConfig::linear(blocks as u32, BLOCK_THREADS);
        launch(&**device, &module.kernel(entry)?, config, args)
    };
    // All of them are looked at before the first one is launched: a foreign buffer of the last would
    // otherwise be found when the first has run.
    same_device(device, beams, &kept, eos)?;
    start(
        &format!("beam_expand_{}", T::NAME),
        blocks,
        &[
            logits.into(),
            (&beams.acc).into(),
            (&beams.length).into(),
            (&beams.finished).into(),
            eos_arg,
            (&part_keys).into(),
            (&part_states).into(),
            (vocabulary as u32).into(),
            (width as u32).into(),
            (parts.count as u32).into(),
            (parts.columns as u32).into(),
            eos_count.into(),
            (rules.min_length as i32).into(),
        ],
    )?;
    let (keys, states) = if parts.count == 1 {
        (part_keys, part_states)
    } else {
        let keys = Buffer::<u64>::uninit(device, rows * width)?;
        let states = Buffer::<f32>::uninit(device, 2 * rows)?;
        start(
            "beam_merge",
            rows,
            &[
                (&part_keys).into(),
                (&part_states).into(),
                (&beams.acc).into(),
                (&beams.finished).into(),
                (&keys).into(),
                (&states).into(),
                (width as u32).into(),
                (parts.count as u32).into(),
            ],
        )?;
        (keys, states)
    };
    start(
        "beam_keep",
        items,
        &[
            (&keys).into(),
            (&states).into(),
            (&beams.acc).into(),
            (&beams.length).into(),
            (&beams.finished).into(),
            eos_arg,
            kept.parent.into(),
            kept.token.into(),
            (&mut kept.beams.acc).into(),
            (&mut kept.beams.length).into(),
            (&mut kept.beams.finished).into(),
            kept.score.into(),
            (k as u32).into(),
            (width as u32).into(),
            eos_count.into(),
            u32::from(rules.count_eos).into(),
            rules.alpha.into(),
        ],
    )
}

fn same_device(
    device: &Arc<dyn Device>,
    beams: &Beams,
    kept: &Kept<'_>,
    eos: &Buffer<i32>,
) -> Result<()> {
    let owners = [
        eos.device(),
        beams.acc.device(),
        beams.length.device(),
        beams.finished.device(),
        kept.beams.acc.device(),
        kept.beams.length.device(),
        kept.beams.finished.device(),
        kept.parent.device(),
        kept.token.device(),
        kept.score.device(),
    ];
    match owners.iter().position(|owner| owner.id() != device.id()) {
        Some(index) => Err(Error::ForeignBuffer {
            entry: "beam_step".into(),
            index,
        }),
        None => Ok(()),
    }
}
