//! Calls of acceptance and masks.

use super::TASK;
use crate::submission::{Call, Named, OutputSpec, Value};
use crate::tensor::{DType, Scalar, Tensor};
use reference::cases::Rng;
use reference::numbers::Element;

/// One item of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    pub(super) token: Vec<i32>,
    pub(super) parent: Vec<i32>,
    /// `[1 + N, V]`.
    pub(super) logits: Vec<f64>,
}

/// What a call of acceptance is made of.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) vocabulary: usize,
    pub(super) items: Vec<Item>,
    pub(super) stop: Vec<i32>,
    pub(super) with_slots: bool,
    pub(super) dtype: DType,
    pub(super) sampling: Option<Sampling>,
}

/// The numbers that decide a sampled walk.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    pub(super) temperature: f32,
    /// `[Σ (1 + N), V]`.
    pub(super) draft: Option<Vec<f32>>,
    pub(super) uniform: Vec<f32>,
    pub(super) bonus_uniform: Vec<f32>,
}

pub(super) fn named(name: &str, tensor: Tensor) -> Named {
    Named {
        name: name.to_owned(),
        tensor,
    }
}

pub(super) fn of<T: Scalar>(name: &str, shape: &[usize], elements: &[T]) -> Named {
    let tensor = Tensor::of(shape, elements).expect("as many as the shape was made for");
    named(name, tensor)
}

pub(super) fn output(name: &str, dtype: DType, shape: &[usize]) -> OutputSpec {
    OutputSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

/// A vector of integers of a call.
pub(super) fn integers(call: &Call, name: &str) -> Result<Vec<i32>, String> {
    let tensor = call.input(name).and_then(Tensor::to_vec);
    tensor.ok_or_else(|| format!("no {name} in i32"))
}

/// Where items begin and the last ends.
pub(super) fn starts<'a>(sizes: impl Iterator<Item = usize> + 'a) -> Vec<i32> {
    let mut starts = vec![0];
    for size in sizes {
        starts.push(starts[starts.len() - 1] + size as i32);
    }
    starts
}

impl Draft {
    /// Greedy acceptance of those items in f32.
    pub(super) fn new(vocabulary: usize, items: Vec<Item>) -> Draft {
        Draft {
            vocabulary,
            items,
            stop: Vec::new(),
            with_slots: false,
            dtype: DType::F32,
            sampling: None,
        }
    }

    /// The call.
    pub(super) fn call(&self) -> Call {
        let all = |of: fn(&Item) -> &Vec<i32>| -> Vec<i32> {
            self.items
                .iter()
                .flat_map(|item| of(item).clone())
                .collect()
        };
        let (token, parent) = (all(|item| &item.token), all(|item| &item.parent));
        let (nodes, batch) = (token.len(), self.items.len());
        let starts = starts(self.items.iter().map(|item| item.token.len()));
        let logits: Vec<f64> = (self.items.iter())
            .flat_map(|item| item.logits.clone())
            .collect();
        let rows = [nodes + batch, self.vocabulary];
        let logits = Tensor::from_f64(self.dtype, &rows, &logits).expect("a row a node and prompt");
        let mut inputs = vec![
            of("token", &[nodes], &token),
            of("parent", &[nodes], &parent),
            of("starts", &[starts.len()], &starts),
            named("logits", logits),
        ];
        if !self.stop.is_empty() {
            inputs.push(of("stop", &[self.stop.len()], &self.stop));
        }
        let mut outputs = vec![
            output("node", DType::I32, &[nodes]),
            output("accepted", DType::I32, &[nodes]),
        ];
        if self.with_slots {
            // Slots that are not the nodes' numbers.
            let top = 1000.max(3 * nodes as i32);
            let slots: Vec<i32> = (0..nodes as i32).map(|at| top - 3 * at).collect();
            inputs.push(of("slots", &[nodes], &slots));
            outputs.push(output("slot", DType::I32, &[nodes]));
        }
        outputs.push(output("count", DType::I32, &[batch]));
        outputs.push(output("bonus", DType::I32, &[batch]));
        let sizes = [("B", batch), ("T", nodes), ("V", self.vocabulary)];
        let mut call = Call {
            task: TASK,
            op: "accept",
            sizes: sizes.map(|(name, n)| (name.to_owned(), n as u64)).into(),
            parameters: [].into(),
            inputs,
            outputs,
        };
        if let Some(sampling) = &self.sampling {
            call.op = "sample";
            let temperature = Value::Float(sampling.temperature.into());
            call.parameters
                .insert("temperature".to_owned(), temperature);
            if let Some(draft) = &sampling.draft {
                call.inputs.push(of("draft", &rows, draft));
            }
            call.inputs.push(of("uniform", &[nodes], &sampling.uniform));
            let bonus = of("bonus_uniform", &[batch], &sampling.bonus_uniform);
            call.inputs.push(bonus);
        }
        call
    }

    /// The mask of the same trees.
    pub(super) fn mask(&self) -> Call {
        let accept = self.call();
        let keep = |name: &str| {
            let found = accept.inputs.iter().find(|input| input.name == name);
            found.expect("every call has it").clone()
        };
        let nodes = accept.sizes["T"] as usize;
        let largest = self.items.iter().map(|item| item.token.len()).max();
        let words = largest.unwrap_or(0).div_ceil(32);
        let sizes = [("B", self.items.len()), ("T", nodes), ("W", words)];
        Call {
            op: "mask",
            sizes: sizes.map(|(name, n)| (name.to_owned(), n as u64)).into(),
            inputs: vec![keep("parent"), keep("starts")],
            outputs: vec![
                output("mask", DType::U32, &[nodes, words]),
                output("depth", DType::I32, &[nodes]),
            ],
            ..accept
        }
    }
}

/// Logits that are distinct multiples of 1/8: ties only where they are made.
pub(super) fn row(rng: &mut Rng, vocabulary: usize) -> Vec<f64> {
    let mut row: Vec<f64> = (0..vocabulary).map(|i| i as f64 / 8.0).collect();
    rng.shuffle(&mut row);
    row
}

/// The row's greatest token.
pub(super) fn greatest(row: &[f64]) -> i32 {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    best.unwrap_or(0) as i32
}

/// A tree with these parents whose nodes have random tokens, but `follow` of them (from the prompt
/// down) those that the target takes.
pub(super) fn following(
    rng: &mut Rng,
    parent: &[i32],
    vocabulary: usize,
    follow: &[usize],
) -> Item {
    let rows: Vec<Vec<f64>> = (0..=parent.len()).map(|_| row(rng, vocabulary)).collect();
    let after = |node: i32| &rows[(node + 1) as usize];
    let token = parent.iter().enumerate().map(|(i, above)| {
        let best = greatest(after(*above));
        match follow.contains(&i) {
            true => best,
            // Some token that the target does not take there.
            false => (best + rng.between(1, vocabulary.max(2) - 1) as i32) % vocabulary as i32,
        }
    });
    Item {
        token: token.collect(),
        parent: parent.to_vec(),
        logits: rows.concat(),
    }
}

/// A random item, followed by the target for a while.
pub(super) fn random(rng: &mut Rng, nodes: usize, vocabulary: usize) -> Item {
    let deep = rng.choose(&[0.3, 0.6, 1.0]);
    let parent: Vec<i32> = (0..nodes)
        .map(|i| match rng.chance(deep) {
            true => i as i32 - 1,
            false => rng.below(i + 1) as i32 - 1,
        })
        .collect();
    // A path from the prompt down: any child of what was followed last.
    let (mut follow, mut last) = (Vec::new(), -1);
    for (i, above) in parent.iter().enumerate() {
        if *above == last && rng.chance(0.7) {
            follow.push(i);
            last = i as i32;
        }
    }
    following(rng, &parent, vocabulary, &follow)
}

/// Two children of the prompt, and one of the second: it and its child are taken.
pub(super) fn example() -> Call {
    let item = Item {
        token: vec![2, 0, 1],
        parent: vec![-1, -1, 1],
        logits: vec![3.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.5, 4.0, 1.0, 2.0, 0.0, 1.0],
    };
    Draft::new(3, vec![item]).call()
}

/// The elements of logits in the type T, which were rounded to it when the call was made.
pub(super) fn elements<T: Scalar + Element>(tensor: &Tensor) -> Vec<T> {
    tensor.to_vec().unwrap_or_default()
}
