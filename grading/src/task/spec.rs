//! What a task asks for, as data: enough to print a contract from which it can be implemented.

use crate::submission::Call;
use serde::Serialize;

/// A task's contract.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spec {
    /// Its name: `softmax-topk`.
    pub name: &'static str,
    /// What it computes, in a sentence.
    pub summary: &'static str,
    /// The formulas.
    pub formula: &'static str,
    /// Its operations; a task with one gives it the task's own name.
    pub ops: &'static [Op],
    /// Orders, ties, alignment: what else must be known to be right.
    pub conventions: &'static [&'static str],
    /// What becomes of NaN, infinities and empty things.
    pub odd_values: &'static [&'static str],
    /// What a submission can have, the first being what it must have.
    pub levels: &'static [Level],
    /// What it costs at least.
    pub cost: CostModel,
}

/// An operation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Op {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The sizes that shapes are made of.
    pub sizes: &'static [Size],
    /// The parameters.
    pub parameters: &'static [Parameter],
    /// The inputs, in their order.
    pub inputs: &'static [Port],
    /// The outputs, in their order.
    pub outputs: &'static [Port],
}

/// A size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    /// Its name: `V`.
    pub name: &'static str,
    /// What it counts.
    pub meaning: &'static str,
}

/// A parameter.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its type: `int`, `float`, `bool`, `ints`, `text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it is when it is absent; without one it is always there.
    pub default: Option<&'static str>,
    /// What it does.
    pub meaning: &'static str,
}

/// An input or an output.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Its types: `f32|f16|bf16`, or `as x`.
    pub dtype: &'static str,
    /// Its shape over the sizes; an extent may be an expression: `K/128`.
    pub shape: &'static [&'static str],
    /// Whether a call may do without it.
    pub optional: bool,
    /// What it holds.
    pub meaning: &'static str,
}

/// Something a submission can have beyond the least.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Level {
    /// Its name: `k-1024`.
    pub name: &'static str,
    /// What must work.
    pub meaning: &'static str,
}

/// What a task costs at least, in words; the numbers come from [`Task::cost`](super::Task::cost).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CostModel {
    /// Bytes that must be moved.
    pub bytes: &'static str,
    /// Floating-point operations.
    pub flops: &'static str,
    /// Scratch memory that is allowed.
    pub workspace: &'static str,
}

/// What a call costs at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Bytes that must be moved: each input once, each output once.
    pub bytes: u64,
    /// Floating-point operations of the plain algorithm; 0 where they are not what it costs.
    pub flops: u64,
    /// Bytes of scratch memory that are allowed.
    pub workspace: u64,
}

impl Spec {
    /// The operation of that name.
    pub fn op(&self, name: &str) -> Option<&'static Op> {
        self.ops.iter().find(|op| op.name == name)
    }

    /// What in a call is not as the contract says; the calls we make are held against it.
    pub fn violations(&self, call: &Call) -> Vec<String> {
        let mut found = Vec::new();
        let Some(op) = self.op(call.op) else {
            return vec![format!("there is no operation `{}`", call.op)];
        };
        let given: Vec<_> = call
            .inputs
            .iter()
            .map(|i| {
                (
                    i.name.as_str(),
                    i.tensor.dtype().name(),
                    i.tensor.shape().len(),
                )
            })
            .collect();
        ports("input", op.inputs, &given, call, &mut found);
        let asked: Vec<_> = call
            .outputs
            .iter()
            .map(|o| (o.name.as_str(), o.dtype.name(), o.shape.len()))
            .collect();
        ports("output", op.outputs, &asked, call, &mut found);
        for parameter in op.parameters {
            if parameter.default.is_none() && !call.parameters.contains_key(parameter.name) {
                found.push(format!("parameter `{}` is missing", parameter.name));
            }
        }
        for name in call.parameters.keys() {
            if !op.parameters.iter().any(|p| p.name == name) {
                found.push(format!("there is no parameter `{name}`"));
            }
        }
        for size in op.sizes {
            if !call.sizes.contains_key(size.name) {
                found.push(format!("size `{}` is missing", size.name));
            }
        }
        for name in call.sizes.keys() {
            if !op.sizes.iter().any(|s| s.name == name) {
                found.push(format!("there is no size `{name}`"));
            }
        }
        found
    }
}

/// Names in their order, types and ranks.
fn ports(
    what: &str,
    contract: &[Port],
    given: &[(&str, &str, usize)],
    call: &Call,
    found: &mut Vec<String>,
) {
    let mut rest = given;
    for port in contract {
        match rest.first() {
            Some((name, dtype, rank)) if *name == port.name => {
                rest = &rest[1..];
                let allowed = match port.dtype.strip_prefix("as ") {
                    Some(other) => call
                        .input(other)
                        .is_some_and(|tensor| tensor.dtype().name() == *dtype),
                    None => port.dtype.split('|').any(|allowed| allowed == *dtype),
                };
                if !allowed {
                    found.push(format!("{what} `{name}` is {dtype}, not {}", port.dtype));
                }
                if *rank != port.shape.len() {
                    found.push(format!("{what} `{name}` has {rank} axes"));
                }
            }
            _ if port.optional => {}
            _ => found.push(format!("{what} `{}` is missing or out of order", port.name)),
        }
    }
    for (name, ..) in rest {
        found.push(format!("{what} `{name}` is not expected there"));
    }
}
