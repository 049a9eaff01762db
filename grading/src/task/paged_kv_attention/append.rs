//! Calls that append, and what is right for them.

use super::cases::{TASK, integers};
use super::pages::{Owned, shape, tensors};
use crate::submission::{Call, Named, OutputSpec, Value};
use crate::task::{Cost, Element as Judgement, Judged, JudgedOutput, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::cases::paged_append::PagedAppend;
use reference::numbers::{Bounded, BoundedTensor, Element, Precision};
use reference::paged_kv::append::{RopePairs, rotate};
use reference::paged_kv::{PageShape, PageStore, judge_append};

/// The call of a case.
pub(super) fn call<T: Scalar + Element>(case: &PagedAppend<T>) -> Call {
    let sizes = case.before_k.shape();
    let (tokens, d) = (case.slots.len(), sizes.head_size);
    let named = |name: &str, tensor: Tensor| Named {
        name: name.to_owned(),
        tensor,
    };
    let good = "as many as the case's shape says";
    let of = |numbers: &[T]| Tensor::of(&[tokens, sizes.heads, d], numbers).expect(good);
    let mut inputs = vec![
        named("k", of(&case.k)),
        named("v", of(&case.v)),
        named("slots", Tensor::of(&[tokens], &case.slots).expect(good)),
    ];
    let before = tensors(&case.before_k, &case.before_v);
    let outputs = before.iter().map(|page| OutputSpec {
        name: page.name.clone(),
        dtype: page.tensor.dtype(),
        shape: page.tensor.shape().to_vec(),
    });
    let outputs: Vec<OutputSpec> = outputs.collect();
    inputs.extend(before);
    let mut parameters = Vec::new();
    let positions = case.rope.as_ref().map_or(0, |rope| rope.positions);
    if let Some(rope) = &case.rope {
        let table = [rope.positions, d / 2];
        inputs.push(named("cos", Tensor::of(&table, &rope.cos).expect(good)));
        inputs.push(named("sin", Tensor::of(&table, &rope.sin).expect(good)));
        inputs.push(named(
            "position",
            Tensor::of(&[tokens], &rope.position).expect(good),
        ));
        let pairs = match rope.pairs {
            RopePairs::Half => "half",
            RopePairs::Interleaved => "interleaved",
        };
        parameters.push(("rope_pairs".to_owned(), Value::Text(pairs.to_owned())));
    }
    let all = [
        ("N", tokens),
        ("Hkv", sizes.heads),
        ("D", d),
        ("P", sizes.pages),
        ("page", sizes.page),
        ("positions", positions),
    ];
    Call {
        task: TASK,
        op: "append",
        sizes: all.map(|(name, n)| (name.to_owned(), n as u64)).into(),
        parameters: parameters.into_iter().collect(),
        inputs,
        outputs,
    }
}

/// How keys are rotated.
pub(super) fn pairs(call: &Call) -> Option<RopePairs> {
    match call.parameters.get("rope_pairs") {
        Some(Value::Text(pairs)) if pairs == "interleaved" => Some(RopePairs::Interleaved),
        Some(_) => Some(RopePairs::Half),
        None => None,
    }
}

pub(super) fn cost(call: &Call) -> Cost {
    let bytes = |name: &str| call.input(name).map_or(0, |t| t.bytes().len() as u64);
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0);
    let slots = (size("P") * size("page")).max(1);
    let stored = [
        "k_pages", "v_pages", "k_scale", "v_scale", "k_zero", "v_zero",
    ];
    let stored: u64 = stored
        .iter()
        .map(|part| bytes(part) / slots * size("N"))
        .sum();
    Cost {
        bytes: bytes("k") + bytes("v") + bytes("slots") + bytes("position") + stored,
        flops: 0,
        workspace: 16 * size("N"),
    }
}

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.input("k").map(Tensor::dtype) {
        Some(DType::F16) => of::<f16>(call),
        Some(DType::Bf16) => of::<bf16>(call),
        _ => of::<f32>(call),
    }
}

/// New keys (rotated) and values, as they are before they are stored.
struct Right {
    before: Vec<Named>,
    shape: PageShape,
    slots: Vec<usize>,
    k: BoundedTensor,
    v: BoundedTensor,
    best: Vec<Named>,
}

fn of<T: Scalar + Element>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let tensor = call.input("k").ok_or("no k")?;
    let &[tokens, heads, d] = tensor.shape() else {
        return Err(format!("k of shape {:?}", tensor.shape()));
    };
    let read = |name: &str| -> Result<Vec<T>, String> {
        let tensor = call.input(name).and_then(Tensor::to_vec);
        tensor.ok_or_else(|| format!("no {name} in the type of k"))
    };
    let (k, v) = (read("k")?, read("v")?);
    let slots: Vec<usize> = (integers(call, "slots")?.into_iter())
        .map(|slot| slot.max(0) as usize)
        .collect();
    let shape = shape(call, d)?;
    let exact =
        |x: &[T]| -> Vec<Bounded> { x.iter().map(|x| Bounded::exact(x.to_f64())).collect() };
    let rotated = match pairs(call) {
        None => exact(&k),
        Some(pairs) => {
            let table = |name: &str| {
                let tensor = call.input(name).and_then(Tensor::to_vec::<f32>);
                tensor.ok_or_else(|| format!("no {name}"))
            };
            let (cos, sin) = (table("cos")?, table("sin")?);
            let position = integers(call, "position")?;
            let rows = cos.len() / (d / 2).max(1);
            let all = || -> reference::Result<Vec<Bounded>> {
                let cos = View::new("cos", &cos, [rows, d / 2])?;
                let sin = View::new("sin", &sin, [rows, d / 2])?;
                let precision = Precision::scalar(<T as Element>::DTYPE);
                let mut all = Vec::with_capacity(k.len());
                for (at, x) in k.chunks(d).enumerate() {
                    let position = position[at / heads].max(0) as usize;
                    all.extend(rotate(x, position, cos, sin, pairs, precision)?);
                }
                Ok(all)
            };
            all().map_err(|error| error.to_string())?
        }
    };
    let bounded = |name, items| {
        BoundedTensor::new(name, &[tokens, heads, d], items).map_err(|error| error.to_string())
    };
    let (k, v) = (bounded("k", rotated)?, bounded("v", exact(&v))?);
    let before: Vec<Named> = call
        .outputs
        .iter()
        .filter_map(|output| {
            let input = call.inputs.iter().find(|input| input.name == output.name)?;
            Some(input.clone())
        })
        .collect();
    let best = best(&before, shape, &slots, &k, &v)?;
    Ok(Box::new(Right {
        before,
        shape,
        slots,
        k,
        v,
        best,
    }))
}

/// The pages before, with the tokens written as the formats say.
fn best(
    before: &[Named],
    shape: PageShape,
    slots: &[usize],
    k: &BoundedTensor,
    v: &BoundedTensor,
) -> Result<Vec<Named>, String> {
    let written = |which: &str, tokens: &BoundedTensor| -> Result<PageStore, String> {
        let format = Owned::read(which, before)?.pages().format();
        let width = shape.heads * shape.head_size;
        let values: Vec<f32> = tokens.values().map(|x| x as f32).collect();
        let write = || {
            let mut store = PageStore::new(shape, format)?;
            for (token, slot) in values.chunks(width).zip(slots) {
                store.write("token", *slot, token)?;
            }
            Ok(store)
        };
        write().map_err(|error: reference::Error| error.to_string())
    };
    let stored = tensors(&written("k", k)?, &written("v", v)?);
    let merged = before.iter().zip(&stored).map(|(old, new)| Named {
        name: old.name.clone(),
        tensor: replaced(&old.tensor, &new.tensor, shape, slots),
    });
    Ok(merged.collect())
}

/// `old` with the bytes of some slots from `new`.
fn replaced(old: &Tensor, new: &Tensor, shape: PageShape, slots: &[usize]) -> Tensor {
    let mut bytes = old.bytes().to_vec();
    let each = bytes.len() / shape.slots().max(1);
    for slot in slots {
        let at = slot * each..(slot + 1) * each;
        bytes[at.clone()].copy_from_slice(&new.bytes()[at]);
    }
    Tensor::new(old.dtype(), old.shape().to_vec(), bytes).expect("as many bytes as before")
}

impl Right {
    /// What is wrong with pages after the append.
    fn fault(&self, outputs: &[Named]) -> Option<String> {
        // What nothing was appended to must be as it was, bit for bit.
        for (old, new) in self.before.iter().zip(outputs) {
            let restored = replaced(&old.tensor, &new.tensor, self.shape, &self.slots);
            if restored != new.tensor {
                let each = new.tensor.bytes().len() / self.shape.slots().max(1);
                let differs = |(a, b): (&[u8], &[u8])| a != b;
                let (a, b) = (
                    restored.bytes().chunks(each),
                    new.tensor.bytes().chunks(each),
                );
                let slot = a.zip(b).position(differs).unwrap_or(0);
                let name = &new.name;
                return Some(format!(
                    "{name}: slot {slot} was changed, and no token was appended there"
                ));
            }
        }
        for (which, tokens) in [("k", &self.k), ("v", &self.v)] {
            // The rest was compared above: here it is left out by being the same zeros in both.
            let judged = || {
                let found = Owned::read(which, outputs)?;
                let empty = PageStore::new(self.shape, found.pages().format())
                    .map_err(|error| error.to_string())?;
                let zeros = tensors(&empty, &empty);
                let only: Vec<Named> = zeros
                    .iter()
                    .zip(outputs)
                    .map(|(zero, new)| Named {
                        name: new.name.clone(),
                        tensor: replaced(&zero.tensor, &new.tensor, self.shape, &self.slots),
                    })
                    .collect();
                let found = Owned::read(which, &only)?;
                judge_append(&empty, tokens, &self.slots, &found.pages())
                    .map_err(|error| error.to_string())
            };
            match judged() {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => return Some(format!("{which}: {fault}")),
                Err(why) => return Some(why),
            }
        }
        None
    }
}

impl Oracle for Right {
    fn best(&self) -> Vec<Named> {
        self.best.clone()
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let note = self.fault(outputs);
        let right = note.is_none();
        let judged = self.best.iter().zip(outputs).map(|(best, got)| {
            let (expected, answered) = (best.tensor.to_f64(), got.tensor.to_f64());
            let elements = answered.into_iter().zip(expected).map(|(got, expected)| {
                let same = got == expected || (got.is_nan() && expected.is_nan());
                Judgement {
                    got,
                    expected: Bounded::exact(expected),
                    right: right || same,
                }
            });
            JudgedOutput {
                name: best.name.clone(),
                shape: best.tensor.shape().to_vec(),
                elements: elements.collect(),
            }
        });
        Judged {
            outputs: judged.collect(),
            note,
        }
    }
}
