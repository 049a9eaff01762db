//! What was written, held against the oracle.
//!
//! A self-attention at a real size is more than a CPU computes in float64 while somebody waits, so of
//! such a call parts are judged: rows of every head, each a whole call of its own to the oracle.

use super::ProfileError;
use crate::submission::{Call, Failure, Named, OutputSpec, Value};
use crate::task::{self, Judged};
use crate::tensor::Tensor;
use reference::cases::Rng;
use serde::{Deserialize, Serialize};

/// Operations that the oracle is asked for at once: minutes on two cores.
const WHOLE: u64 = 1_000_000_000_000;
/// Queries, and keys, of a part.
const ROWS: usize = 16;
const KEYS: usize = 128;

/// What the oracle says of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// Elements that were judged.
    pub elements: usize,
    /// The greatest error, in bounds: right up to 1.
    pub worst: f64,
    /// The first that is wrong, in words.
    pub wrong: Option<String>,
    /// Whether parts were judged instead of all of it.
    pub sampled: bool,
}

impl Judgement {
    fn none() -> Judgement {
        Judgement {
            elements: 0,
            worst: 0.0,
            wrong: None,
            sampled: true,
        }
    }
}

fn ours(why: String) -> ProfileError {
    ProfileError::Failed(Failure::Grader(why))
}

fn judged(call: &Call, outputs: &[Named]) -> Result<Judged, ProfileError> {
    let unknown = || ours(format!("there is no task `{}`", call.task));
    let task = task::named(call.task).ok_or_else(unknown)?;
    let form = outputs.len() == call.outputs.len()
        && outputs.iter().zip(&call.outputs).all(|(got, asked)| {
            let tensor = &got.tensor;
            got.name == asked.name && tensor.dtype() == asked.dtype && tensor.shape() == asked.shape
        });
    if !form {
        let why = "the outputs have other names, types or shapes than the contract says";
        return Err(Failure::Malformed(why.into()).into());
    }
    let oracle = (task.oracle)(call).map_err(ours)?;
    Ok(oracle.judge(outputs))
}

/// Judges the outputs of a call.
///
/// # Errors
/// When the oracle refuses the call: a mistake of ours.
pub fn judge(call: &Call, outputs: &[Named]) -> Result<Judgement, ProfileError> {
    let judged = judged(call, outputs)?;
    let elements = judged.outputs.iter().flat_map(|output| &output.elements);
    let ratios = elements.map(|element| element.ratio());
    let task = task::named(call.task);
    let wrong = task.and_then(|task| judged.wrong(task, call));
    Ok(Judgement {
        elements: judged.outputs.iter().map(|o| o.elements.len()).sum(),
        worst: ratios.fold(0.0, f64::max),
        wrong: wrong.map(|wrong| wrong.message),
        sampled: false,
    })
}

/// [`judge`], of parts where the whole is too much.
///
/// # Errors
/// As for [`judge`].
pub fn judge_at_scale(call: &Call, outputs: &[Named]) -> Result<Judgement, ProfileError> {
    let flops = task::named(call.task).map_or(0, |task| (task.cost)(call).flops);
    if flops > WHOLE
        && let Some(judgement) = judge_parts(call, outputs)?
    {
        return Ok(judgement);
    }
    judge(call, outputs)
}

/// Judges parts of a self-attention: of every KV head the first rows, the last, and some in between,
/// and the last keys. `None` for other calls.
///
/// # Errors
/// As for [`judge`].
pub fn judge_parts(call: &Call, outputs: &[Named]) -> Result<Option<Judgement>, ProfileError> {
    let sizes = ["B", "Hq", "Hkv", "Nq", "Nk"].map(|name| call.sizes.get(name).copied());
    let [Some(batch), Some(hq), Some(hkv), Some(nq), Some(nk)] = sizes else {
        return Ok(None);
    };
    if nq != nk {
        return Ok(None);
    }
    let self_attention = SelfAttention {
        call,
        outputs,
        batch: batch as usize,
        group: (hq / hkv.max(1)) as usize,
        kv_heads: hkv as usize,
        n: nq as usize,
        causal: call.parameters.get("causal") == Some(&Value::Bool(true)),
    };
    self_attention.parts().map(Some)
}

/// A call of self-attention, of which parts are judged.
struct SelfAttention<'a> {
    call: &'a Call,
    outputs: &'a [Named],
    batch: usize,
    group: usize,
    kv_heads: usize,
    n: usize,
    causal: bool,
}

/// Queries and keys of a sequence and a KV head.
#[derive(Clone, Copy, Debug)]
struct Part {
    sequence: usize,
    kv_head: usize,
    queries: (usize, usize),
    keys: (usize, usize),
}

impl SelfAttention<'_> {
    fn parts(&self) -> Result<Judgement, ProfileError> {
        let mut rng = Rng::new(1);
        let mut all = Judgement::none();
        let (rows, keys) = (ROWS.min(self.n), KEYS.min(self.n));
        for sequence in 0..self.batch {
            for kv_head in 0..self.kv_heads {
                for end in [rows, self.n, rng.between(rows, self.n)] {
                    let seen = if self.causal { end } else { self.n };
                    let part = Part {
                        sequence,
                        kv_head,
                        queries: (end - rows, end),
                        keys: (0, seen),
                    };
                    self.part(part, &["o", "lse", "dq"], &mut all)?;
                }
                // A key's gradient is of all queries that see it: here of the last ones.
                let first = if self.causal { self.n - keys } else { 0 };
                let part = Part {
                    sequence,
                    kv_head,
                    queries: (first, self.n),
                    keys: (self.n - keys, self.n),
                };
                self.part(part, &["dk", "dv"], &mut all)?;
            }
        }
        Ok(all)
    }

    /// Judges some outputs of a part: a call of its own, aligned at its end as the whole is.
    fn part(&self, part: Part, names: &[&str], all: &mut Judgement) -> Result<(), ProfileError> {
        if !self
            .outputs
            .iter()
            .any(|o| names.contains(&o.name.as_str()))
        {
            return Ok(());
        }
        let cut = |named: &Named| Named {
            name: named.name.clone(),
            tensor: self.cut(&named.name, &named.tensor, part),
        };
        let mut sizes = self.call.sizes.clone();
        let ours = [
            ("B", 1),
            ("Hq", self.group),
            ("Hkv", 1),
            ("Nq", part.queries.1 - part.queries.0),
            ("Nk", part.keys.1 - part.keys.0),
        ];
        sizes.extend(ours.map(|(name, n)| (name.to_owned(), n as u64)));
        let outputs: Vec<Named> = self.outputs.iter().map(cut).collect();
        let call = Call {
            sizes,
            inputs: self.call.inputs.iter().map(cut).collect(),
            outputs: outputs
                .iter()
                .map(|output| OutputSpec {
                    name: output.name.clone(),
                    dtype: output.tensor.dtype(),
                    shape: output.tensor.shape().to_vec(),
                })
                .collect(),
            task: self.call.task,
            op: self.call.op,
            parameters: self.call.parameters.clone(),
        };
        let judged = judged(&call, &outputs)?;
        for output in judged.outputs {
            if !names.contains(&output.name.as_str()) {
                continue;
            }
            all.elements += output.elements.len();
            for (at, element) in output.elements.iter().enumerate() {
                all.worst = all.worst.max(element.ratio());
                if !element.right && all.wrong.is_none() {
                    let (name, expected) = (&output.name, element.expected);
                    all.wrong = Some(format!(
                        "{name} of {part:?}, element {at}: expected {} ± {}, got {}",
                        expected.value, expected.bound, element.got
                    ));
                }
            }
        }
        Ok(())
    }

    /// The rows of `[B, heads, N, …]` that a part has.
    fn cut(&self, name: &str, tensor: &Tensor, part: Part) -> Tensor {
        let of_keys = matches!(name, "k" | "v" | "dk" | "dv");
        let (heads, first, (from, to)) = match of_keys {
            true => (1, part.kv_head, part.keys),
            false => (self.group, part.kv_head * self.group, part.queries),
        };
        let rest = &tensor.shape()[3..];
        let row = rest.iter().product::<usize>() * tensor.dtype().bytes();
        let all_heads = tensor.shape()[1];
        let mut bytes = Vec::with_capacity(heads * (to - from) * row);
        for head in first..first + heads {
            let begin = (part.sequence * all_heads + head) * self.n;
            bytes.extend_from_slice(&tensor.bytes()[(begin + from) * row..(begin + to) * row]);
        }
        let shape = [&[1, heads, to - from], rest].concat();
        Tensor::new(tensor.dtype(), shape, bytes).expect("as many rows as the shape says")
    }
}
