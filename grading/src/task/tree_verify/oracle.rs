//! What is right for acceptance and masks.

use super::walks::{elements, integers};
use crate::submission::{Call, Named, Value};
use crate::task::{Element as Judgement, Judged, JudgedOutput, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::numbers::{Bounded, Element, Precision};
use reference::tree::{Accepted, Sampled, Sampling, Tree, accept, accept_sampled};
use reference::tree_attention::AncestorMask;
use std::collections::HashSet;

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    if call.op == "mask" {
        return mask(call);
    }
    let items = match call.input("logits").map(Tensor::dtype) {
        Some(DType::F16) => items::<f16>(call),
        Some(DType::Bf16) => items::<bf16>(call),
        _ => items::<f32>(call),
    }?;
    let slots = integers(call, "slots").ok();
    Ok(Box::new(Walks {
        names: call.outputs.iter().map(|o| o.name.clone()).collect(),
        starts: integers(call, "starts")?,
        slots,
        items,
    }))
}

/// Whether the bounds decide every step of a sampled call.
pub(super) fn is_decided(call: &Call) -> bool {
    let items = match call.input("logits").map(Tensor::dtype) {
        Some(DType::F16) => items::<f16>(call),
        Some(DType::Bf16) => items::<bf16>(call),
        _ => items::<f32>(call),
    };
    items.is_ok_and(|items| items.iter().all(|item| item.undecided.is_none()))
}

/// The right walk of each item. A greedy one is decided, and its bonus the only one.
fn items<T: Scalar + Element>(call: &Call) -> Result<Vec<Sampled>, String> {
    let tensor = call.input("logits").ok_or("no logits")?;
    let logits: Vec<T> = elements(tensor);
    let vocabulary = tensor.shape()[1];
    let (token, parent) = (integers(call, "token")?, integers(call, "parent")?);
    let starts = integers(call, "starts")?;
    let stop: HashSet<i32> = integers(call, "stop")
        .unwrap_or_default()
        .into_iter()
        .collect();
    let float = |name: &str| call.input(name).map(Tensor::to_f32);
    let (draft, uniform, bonus) = (float("draft"), float("uniform"), float("bonus_uniform"));
    let temperature = match call.parameters.get("temperature") {
        Some(Value::Float(t)) => *t as f32,
        Some(Value::Int(t)) => *t as f32,
        _ => 1.0,
    };
    let one = |b: usize| {
        let (from, to) = (starts[b] as usize, starts[b + 1] as usize);
        let nodes = to - from;
        let tree = Tree::new(&token[from..to], &parent[from..to])?;
        let rows = (from + b) * vocabulary..(to + b + 1) * vocabulary;
        let shape = [1 + nodes, vocabulary];
        let view = View::new("logits", &logits[rows.clone()], shape)?;
        let Some(uniform) = &uniform else {
            let accepted = accept(&tree, view, &stop)?;
            return Ok(Sampled {
                bonuses: vec![accepted.bonus],
                accepted,
                undecided: None,
            });
        };
        let sampling = Sampling {
            temperature,
            draft: draft
                .as_ref()
                .map(|draft| View::new("draft", &draft[rows.clone()], shape))
                .transpose()?,
            uniform: &uniform[from..to],
            bonus_uniform: bonus.as_ref().map_or(0.0, |bonus| bonus[b]),
        };
        accept_sampled(
            &tree,
            view,
            &sampling,
            &stop,
            Precision::scalar(<T as Element>::DTYPE),
        )
    };
    let all = (0..starts.len() - 1).map(one);
    all.collect::<reference::Result<_>>()
        .map_err(|error| error.to_string())
}

struct Walks {
    names: Vec<String>,
    starts: Vec<i32>,
    slots: Option<Vec<i32>>,
    items: Vec<Sampled>,
}

impl Walks {
    fn nodes(&self) -> usize {
        self.starts.last().map_or(0, |end| *end as usize)
    }

    /// An output of the right answer.
    fn values(&self, name: &str) -> Vec<f64> {
        let per_item = |of: &dyn Fn(&Accepted) -> i32| -> Vec<f64> {
            let each = self.items.iter().map(|item| f64::from(of(&item.accepted)));
            each.collect()
        };
        match name {
            "count" => return per_item(&|accepted| accepted.nodes.len() as i32),
            "bonus" => return per_item(&|accepted| accepted.bonus),
            _ => {}
        }
        let mut values = vec![-1.0; self.nodes()];
        for (item, start) in self.items.iter().zip(&self.starts) {
            let start = *start as usize;
            for (step, node) in item.accepted.nodes.iter().enumerate() {
                let value = match (name, &self.slots) {
                    ("node", _) => *node as i32,
                    ("slot", Some(slots)) => slots[start + node],
                    _ => item.accepted.tokens[step],
                };
                values[start + step] = f64::from(value);
            }
        }
        values
    }

    /// What an item of an answer says.
    fn answered(&self, outputs: &[Named], b: usize) -> Option<Accepted> {
        let read = |name: &str| -> Option<Vec<i32>> {
            outputs.iter().find(|o| o.name == name)?.tensor.to_vec()
        };
        let (node, token) = (read("node")?, read("accepted")?);
        let count = usize::try_from(*read("count")?.get(b)?).ok()?;
        let start = self.starts[b] as usize;
        let end = (self.starts[b + 1] as usize).min(start + count);
        let nodes = node[start..end].iter().map(|n| usize::try_from(*n).ok());
        Some(Accepted {
            nodes: nodes.collect::<Option<_>>()?,
            tokens: token[start..end].to_vec(),
            bonus: *read("bonus")?.get(b)?,
        })
    }
}

impl Oracle for Walks {
    fn best(&self) -> Vec<Named> {
        let output = |name: &String| {
            let values = self.values(name);
            let tensor = Tensor::from_f64(DType::I32, &[values.len()], &values);
            Named {
                name: name.clone(),
                tensor: tensor.expect("as many as there are"),
            }
        };
        self.names.iter().map(output).collect()
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let mut note = None;
        for (b, right) in self.items.iter().enumerate() {
            let answered = self.answered(outputs, b);
            let fault = match answered {
                None => Some("count or nodes make no path".to_owned()),
                Some(answer) => right.judge(&answer).err().map(|fault| fault.to_string()),
            };
            if let Some(fault) = fault.filter(|_| note.is_none()) {
                note = Some(format!("item {b}: {fault}"));
            }
        }
        let judged = outputs.iter().map(|output| {
            let expected = self.values(&output.name);
            let answered = output.tensor.to_f64();
            let elements = answered.into_iter().zip(expected).enumerate();
            let element = |(at, (got, expected)): (usize, (f64, f64))| {
                let other = output.name == "bonus" && {
                    let right = &self.items[at].bonuses;
                    right.iter().any(|bonus| f64::from(*bonus) == got)
                };
                Judgement {
                    got,
                    expected: Bounded::exact(expected),
                    right: got == expected || other,
                }
            };
            JudgedOutput {
                name: output.name.clone(),
                shape: output.tensor.shape().to_vec(),
                elements: elements.map(element).collect(),
            }
        });
        Judged {
            outputs: judged.collect(),
            note,
        }
    }
}

/// Exact integers.
struct Exact(Vec<Named>);

impl Oracle for Exact {
    fn best(&self) -> Vec<Named> {
        self.0.clone()
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let judged = self.0.iter().zip(outputs).map(|(right, got)| JudgedOutput {
            name: right.name.clone(),
            shape: right.tensor.shape().to_vec(),
            elements: (got.tensor.to_f64().into_iter())
                .zip(right.tensor.to_f64())
                .map(|(got, right)| Judgement::within(got, Bounded::exact(right)))
                .collect(),
        });
        Judged {
            outputs: judged.collect(),
            note: None,
        }
    }
}

fn mask(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let (parent, starts) = (integers(call, "parent")?, integers(call, "starts")?);
    let width = call.output("mask").map_or(0, |mask| mask.shape[1]);
    let (mut words, mut depth) = (Vec::new(), Vec::new());
    for ends in starts.windows(2) {
        let of = &parent[ends[0] as usize..ends[1] as usize];
        let mask = AncestorMask::new(of).map_err(|error| error.to_string())?;
        let own = of.len().div_ceil(32);
        for i in 0..of.len() {
            let mut row = mask.words()[i * own..(i + 1) * own].to_vec();
            row.resize(width, 0);
            words.extend(row);
            depth.push(mask.depth(i) as i32);
        }
    }
    let good = "a row a node";
    Ok(Box::new(Exact(vec![
        Named {
            name: "mask".into(),
            tensor: Tensor::of(&[parent.len(), width], &words).expect(good),
        },
        Named {
            name: "depth".into(),
            tensor: Tensor::of(&[parent.len()], &depth).expect(good),
        },
    ])))
}
