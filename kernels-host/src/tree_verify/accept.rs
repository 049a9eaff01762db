//! Which path of a tree the target accepts.

use super::Trees;
use crate::attention::Float;
use crate::paged_kv::Slots;
use crate::{Arg, Buffer, Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::tree_verify::{FAMILY, WALK_THREADS};

/// The target's logits after the prompts and nodes.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a, T: Float> {
    /// `[Σ (1 + N), V]`, item by item: the row after the prompt, then the row after each node.
    pub rows: &'a Buffer<T>,
    /// V.
    pub vocabulary: usize,
}

/// What sampling needs besides: the numbers that decide, so that the same ones decide alike.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// What logits are divided by; positive, and so is its reciprocal.
    pub temperature: f32,
    /// In the shape of the logits: the distribution that the children after that row were drawn from,
    /// independently. Without one the draft is taken to be certain of each child.
    pub draft: Option<&'a Buffer<f32>>,
    /// In [0, 1), one a node.
    pub uniform: &'a [f32],
    /// In [0, 1), one an item: what the bonus token is drawn with.
    pub bonus_uniform: &'a [f32],
}

/// The accepted paths of a batch, on the device.
#[derive(Debug)]
pub struct Accepted {
    /// `[nodes]`, item by item: the accepted nodes from the prompt down, −1 behind them.
    pub node: Buffer<i32>,
    /// `[nodes]`: their tokens.
    pub token: Buffer<i32>,
    /// `[nodes]`: the slots to keep, in order; where slots were given.
    pub slot: Option<Buffer<i32>>,
    /// `[items]`: how many nodes were accepted.
    pub count: Buffer<i32>,
    /// `[items]`: the token after them, −1 for none.
    pub bonus: Buffer<i32>,
    sizes: Vec<usize>,
}

/// The accepted path of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Accepted nodes, from the prompt down.
    pub nodes: Vec<usize>,
    /// Their tokens.
    pub tokens: Vec<i32>,
    /// The token after them; none where the text ends.
    pub bonus: Option<i32>,
}

impl Accepted {
    /// The paths, item by item.
    ///
    /// # Errors
    /// When work before it failed.
    pub fn walks(&self) -> Result<Vec<Walk>> {
        let (node, token) = (self.node.to_vec()?, self.token.to_vec()?);
        let (count, bonus) = (self.count.to_vec()?, self.bonus.to_vec()?);
        let mut first = 0;
        let walk = |(item, size): (usize, &usize)| {
            let path = first..first + count[item] as usize;
            first += size;
            Walk {
                nodes: node[path.clone()].iter().map(|n| *n as usize).collect(),
                tokens: token[path].to_vec(),
                bonus: (bonus[item] >= 0).then_some(bonus[item]),
            }
        };
        Ok(self.sizes.iter().enumerate().map(walk).collect())
    }

    pub(crate) fn sizes(&self) -> &[usize] {
        &self.sizes
    }
}

/// Follows the greatest logits: among the children of the current node the first whose token is the
/// argmax of that node's row is accepted; where there is none the argmax is the bonus token. A token
/// of `stop` ends the walk, accepted and without bonus. What is not finite is never chosen; a row with
/// nothing else ends the walk without bonus. Ties go to the lower id. One launch for all items.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::tree_verify::{Logits, TokenTree, Trees, accept_greedy};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// // The prompt's children guess 1 and 2; 2 is continued by 0.
/// let trees = Trees::new(&device, &[TokenTree::new(&[1, 2, 0], &[-1, -1, 1])?])?;
/// let rows = [[0.0_f32, 1.0, 2.0], [9.0, 0.0, 0.0], [3.0, 3.0, 0.0], [0.0, 5.0, 0.0]];
/// let rows = Buffer::from_slice(&device, &rows.concat())?;
/// let stop = Buffer::from_slice(&device, &[])?;
/// let accepted = accept_greedy(&trees, Logits { rows: &rows, vocabulary: 3 }, &stop, None)?;
/// let walk = &accepted.walks()?[0];
/// assert_eq!((&walk.nodes[..], walk.bonus), (&[1, 2][..], Some(1)));
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When shapes do not fit, or a token is not in the vocabulary; nothing is launched then.
pub fn accept_greedy<T: Float>(
    trees: &Trees,
    logits: Logits<'_, T>,
    stop: &Buffer<i32>,
    slots: Option<&Slots>,
) -> Result<Accepted> {
    check(trees, &logits, slots)?;
    let accepted = room(trees, slots)?;
    let given = [
        (&trees.token).into(),
        (&trees.parent).into(),
        trees.starts.arg(),
        stop_arg(stop),
        slots.map_or(Arg::Null, |slots| (&slots.slots).into()),
    ];
    let sizes = [
        (logits.vocabulary as u32).into(),
        (stop.len() as u32).into(),
    ];
    let rows = [logits.rows.into()];
    let args = [&rows[..], &given, &written(&accepted), &sizes].concat();
    run::<T>("greedy", trees, &args)?;
    Ok(accepted)
}

/// Follows the target's distribution at a temperature: each emitted token, accepted or bonus, has exactly
/// the distribution softmax(row/T) of its row, whatever the draft. Children are tried from the first
/// to the last; child c with token x is accepted when `uniform[c]·q(x) < p(x)`, and after a rejection
/// p becomes max(0, p − q), normalised. A chain is speculative sampling.
///
/// # Errors
/// Those of [`accept_greedy`], and when the temperature or a number is out of range.
pub fn accept_sampled<T: Float>(
    trees: &Trees,
    logits: Logits<'_, T>,
    sampling: &Sampling<'_>,
    stop: &Buffer<i32>,
    slots: Option<&Slots>,
) -> Result<Accepted> {
    check(trees, &logits, slots)?;
    let temperature = sampling.temperature;
    if !(temperature > 0.0 && temperature.is_normal() && temperature.recip().is_normal()) {
        return Err(Error::Parameter {
            name: "temperature",
            got: temperature.to_string(),
            must_be: "positive, and neither it nor its reciprocal beyond f32".into(),
        });
    }
    let all = [("rows", trees.rows()), ("V", logits.vocabulary)];
    if let Some(draft) = sampling.draft {
        draft.expect_shape("draft", &all)?;
    }
    expect_uniform("uniform", sampling.uniform, trees.nodes())?;
    expect_uniform("bonus_uniform", sampling.bonus_uniform, trees.items())?;
    let device = trees.device();
    let accepted = room(trees, slots)?;
    let uniform = Buffer::from_slice(device, sampling.uniform)?;
    let bonus_uniform = Buffer::from_slice(device, sampling.bonus_uniform)?;
    let workspace = Buffer::<f32>::uninit(device, trees.items() * logits.vocabulary)?;
    let given = [
        logits.rows.into(),
        Arg::optional(sampling.draft),
        (&trees.token).into(),
        (&trees.parent).into(),
        trees.starts.arg(),
        stop_arg(stop),
        slots.map_or(Arg::Null, |slots| (&slots.slots).into()),
        (&uniform).into(),
        (&bonus_uniform).into(),
        (&workspace).into(),
    ];
    let sizes = [
        (logits.vocabulary as u32).into(),
        (stop.len() as u32).into(),
        temperature.recip().into(),
    ];
    let args = [&given[..], &written(&accepted), &sizes].concat();
    run::<T>("sample", trees, &args)?;
    Ok(accepted)
}

fn check<T: Float>(trees: &Trees, logits: &Logits<'_, T>, slots: Option<&Slots>) -> Result<()> {
    trees.expect_vocabulary(logits.vocabulary)?;
    let all = [("rows (1 + N)", trees.rows()), ("V", logits.vocabulary)];
    logits.rows.expect_shape("logits", &all)?;
    if let Some(slots) = slots {
        slots
            .slots
            .expect_shape("slots", &[("nodes", trees.nodes())])?;
    }
    Ok(())
}

fn expect_uniform(name: &'static str, numbers: &[f32], expected: usize) -> Result<()> {
    if numbers.len() != expected {
        return Err(Error::Length {
            name,
            got: numbers.len(),
            expected,
            shape: expected.to_string(),
        });
    }
    let outside = numbers.iter().position(|u| !(0.0..1.0).contains(u));
    outside.map_or(Ok(()), |index| {
        Err(Error::Parameter {
            name,
            got: format!("{} at {index}", numbers[index]),
            must_be: "in [0, 1)".into(),
        })
    })
}

fn stop_arg(stop: &Buffer<i32>) -> Arg {
    if stop.is_empty() {
        Arg::Null
    } else {
        stop.into()
    }
}

fn room(trees: &Trees, slots: Option<&Slots>) -> Result<Accepted> {
    let device = trees.device();
    let (nodes, items) = (trees.nodes(), trees.items());
    Ok(Accepted {
        node: Buffer::uninit(device, nodes)?,
        token: Buffer::uninit(device, nodes)?,
        slot: slots.map(|_| Buffer::uninit(device, nodes)).transpose()?,
        count: Buffer::uninit(device, items)?,
        bonus: Buffer::uninit(device, items)?,
        sizes: trees.sizes().to_vec(),
    })
}

fn written(accepted: &Accepted) -> [Arg; 5] {
    [
        (&accepted.node).into(),
        (&accepted.token).into(),
        Arg::optional(accepted.slot.as_ref()),
        (&accepted.count).into(),
        (&accepted.bonus).into(),
    ]
}

fn run<T: Float>(walk: &str, trees: &Trees, args: &[Arg]) -> Result<()> {
    let device = trees.device();
    let kernel =
        Module::embedded(FAMILY.name, &**device)?.kernel(&format!("tree_{walk}_{}", T::NAME))?;
    let config = LaunchConfig::linear(trees.items() as u32, WALK_THREADS);
    launch(&**device, &kernel, config, args)
}
