//! What is right for a call.

use super::cases::{Real, rules};
use crate::submission::{Call, Named};
use crate::task::{Element, Judged, JudgedOutput, Oracle};
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::beam::{Kept, Step, StepInput, step};
use reference::numbers::{self, Bounded, Precision};

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.input("logits").map(Tensor::dtype) {
        Some(DType::F16) => of::<f16>(call),
        Some(DType::Bf16) => of::<bf16>(call),
        _ => of::<f32>(call),
    }
}

fn of<T: Real>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let tensor = |name: &str| call.input(name).ok_or(format!("no {name}"));
    let logits: Vec<T> = tensor("logits")?.to_vec().ok_or("logits of another type")?;
    let acc: Vec<f32> = tensor("acc")?.to_f32();
    let length: Vec<i32> = tensor("length")?.to_vec().ok_or("length of another type")?;
    let finished: Vec<bool> = tensor("finished")?
        .bytes()
        .iter()
        .map(|f| *f != 0)
        .collect();
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0) as usize;
    let (items, beams, vocabulary) = (size("B"), size("K"), size("V"));
    let pools = || {
        let each = [items, beams];
        let input = StepInput {
            logits: View::new("logits", &logits, [items, beams, vocabulary])?,
            acc: View::new("acc", &acc, each)?,
            length: View::new("length", &length, each)?,
            finished: View::new("finished", &finished, each)?,
        };
        step(
            &input,
            &rules(call),
            Precision::scalar(<T as numbers::Element>::DTYPE),
        )
    };
    let pools = pools().map_err(|error: reference::Error| error.to_string())?;
    Ok(Box::new(Right {
        pools,
        items,
        beams,
    }))
}

struct Right {
    pools: Step,
    items: usize,
    beams: usize,
}

/// What a rank holds: parent, token, sum, length, finished, score.
type Rank = [Bounded; 6];

const NOTHING: Rank = [
    Bounded {
        value: -1.0,
        bound: 0.0,
    },
    Bounded {
        value: -1.0,
        bound: 0.0,
    },
    MINUS_INFINITY,
    Bounded {
        value: 0.0,
        bound: 0.0,
    },
    Bounded {
        value: 0.0,
        bound: 0.0,
    },
    MINUS_INFINITY,
];

const MINUS_INFINITY: Bounded = Bounded {
    value: f64::NEG_INFINITY,
    bound: 0.0,
};

impl Right {
    /// The ranks of an item: of each, the candidate that was answered there, or else the best one.
    fn ranks(&self, item: usize, answered: impl Fn(usize) -> Option<(i32, i32)>) -> Vec<Rank> {
        let pool = &self.pools.pools[item];
        let best = pool.best(self.beams);
        (0..self.beams)
            .map(|rank| {
                let of = answered(rank).and_then(|(parent, token)| {
                    let mut candidates = pool.candidates().iter();
                    candidates.find(|c| c.parent as i32 == parent && c.token.unwrap_or(-1) == token)
                });
                let Some(candidate) = of.or(best.get(rank)) else {
                    return NOTHING;
                };
                let exact = |x: f64| Bounded::exact(x);
                [
                    exact(candidate.parent as f64),
                    exact(candidate.token.unwrap_or(-1).into()),
                    candidate.beam.acc,
                    exact(candidate.beam.length as f64),
                    exact(f64::from(u8::from(candidate.beam.finished))),
                    candidate.score,
                ]
            })
            .collect()
    }

    fn note(&self, numbers: &[Vec<f64>]) -> Option<String> {
        let ints = |at: usize| -> Vec<i32> { numbers[at].iter().map(|x| *x as i32).collect() };
        let floats = |at: usize| -> Vec<f32> { numbers[at].iter().map(|x| *x as f32).collect() };
        let (parent, token, length) = (ints(0), ints(1), ints(3));
        let (acc, score) = (floats(2), floats(5));
        let finished: Vec<bool> = numbers[4].iter().map(|x| *x != 0.0).collect();
        let shape = [self.items, self.beams];
        let judged = || {
            self.pools.judge(&Kept {
                parent: View::new("parent", &parent, shape)?,
                token: View::new("token", &token, shape)?,
                acc: View::new("acc", &acc, shape)?,
                length: View::new("length", &length, shape)?,
                finished: View::new("finished", &finished, shape)?,
                score: View::new("score", &score, shape)?,
            })
        };
        match judged() {
            Ok(Ok(_)) => None,
            Ok(Err(wrong)) => Some(wrong.to_string()),
            Err(malformed) => Some(malformed.to_string()),
        }
    }
}

const NAMES: [(&str, DType); 6] = [
    ("parent", DType::I32),
    ("token", DType::I32),
    ("acc", DType::F32),
    ("length", DType::I32),
    ("finished", DType::U8),
    ("score", DType::F32),
];

impl Oracle for Right {
    fn best(&self) -> Vec<Named> {
        let ranks: Vec<Rank> = (0..self.items)
            .flat_map(|item| self.ranks(item, |_| None))
            .collect();
        let shape = [self.items, self.beams];
        let outputs = NAMES.iter().enumerate();
        outputs
            .map(|(at, (name, dtype))| {
                let numbers: Vec<f64> = ranks.iter().map(|rank| rank[at].value).collect();
                Named {
                    name: (*name).to_owned(),
                    tensor: Tensor::from_f64(*dtype, &shape, &numbers).expect("items by beams"),
                }
            })
            .collect()
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let numbers: Vec<Vec<f64>> = outputs.iter().map(|o| o.tensor.to_f64()).collect();
        let note = self.note(&numbers);
        let right = note.is_none();
        let mut elements: Vec<Vec<Element>> = vec![Vec::new(); 6];
        for item in 0..self.items {
            let best = self.ranks(item, |_| None);
            let at = |rank: usize| item * self.beams + rank;
            // The numbers of a rank belong to the candidate that is there; which candidate may be
            // there is judged by the whole.
            let own = self.ranks(item, |rank| {
                Some((numbers[0][at(rank)] as i32, numbers[1][at(rank)] as i32))
            });
            for rank in 0..self.beams {
                for output in 0..6 {
                    let got = numbers[output][at(rank)];
                    let expected = match output {
                        0 | 1 => best[rank][output],
                        _ => own[rank][output],
                    };
                    let element = Element::within(got, expected);
                    elements[output].push(Element {
                        right: element.right || right,
                        ..element
                    });
                }
            }
        }
        let judged = outputs.iter().zip(elements);
        Judged {
            outputs: judged
                .map(|(output, elements)| JudgedOutput {
                    name: output.name.clone(),
                    shape: output.tensor.shape().to_vec(),
                    elements,
                })
                .collect(),
            note,
        }
    }
}
