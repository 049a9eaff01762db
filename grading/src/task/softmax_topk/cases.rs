//! Calls, and what is right for them.

use crate::submission::{Call, Named, Value};
use crate::task::{Cost, Dims, Draft, Element, Judged, JudgedOutput, Oracle};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::cases::{Rng, mixed};
use reference::numbers::{self, Bounded, Precision};
use reference::softmax_topk::{Answer, Input, Ks, TopK, topk};

/// What a call is made of.
pub(super) struct Logits {
    pub(super) rows: usize,
    pub(super) logits: Tensor,
    pub(super) k: usize,
    pub(super) temperature: f32,
    pub(super) mask: Option<Vec<u8>>,
    pub(super) row_k: Option<Vec<i32>>,
}

impl Logits {
    /// Those logits, at temperature 1.
    pub(super) fn new<T: Scalar>(rows: usize, logits: &[T], k: usize) -> Logits {
        let shape = [rows, logits.len() / rows.max(1)];
        Logits {
            rows,
            logits: Tensor::of(&shape, logits).expect("whole rows"),
            k,
            temperature: 1.0,
            mask: None,
            row_k: None,
        }
    }

    /// The call.
    pub(super) fn call(self) -> Call {
        let shape = [self.rows, self.logits.len() / self.rows.max(1)];
        let chosen = [self.rows, self.k];
        Draft::new("softmax-topk", "softmax-topk")
            .size("R", self.rows)
            .size("V", shape[1])
            .size("K", self.k)
            .set("K", Value::Int(self.k as i64))
            .set("temperature", Value::Float(self.temperature.into()))
            .tensor("logits", self.logits)
            .maybe("mask", &shape, self.mask.as_deref())
            .maybe("row_k", &[self.rows], self.row_k.as_deref())
            .output("prob", DType::F32, &chosen)
            .output("index", DType::I32, &chosen)
            .output("lse", DType::F32, &[self.rows])
            .call()
    }
}

/// Rows that mix patterns and scales, and a temperature.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    drawn::<f32>(dims, rng)
}

/// [`ordinary`] in another type.
pub(super) fn drawn<T: Scalar + numbers::Element>(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
    let logits: Vec<T> = mixed(rng, rows, vocabulary);
    let draft = Logits::new(rows, &logits, dims.get("K").min(vocabulary));
    Some(
        Logits {
            temperature: rng.choose(&[1.0, 1.0, 0.5, 0.7, 3.0]),
            ..draft
        }
        .call(),
    )
}

/// Two rows of three logits.
pub(super) fn example() -> Call {
    let logits = [1.0_f32, 3.0, 2.0, 0.5, 0.5, -1.0];
    Logits::new(2, &logits, 2).call()
}

/// Bytes once; the partial results of at most 256 parts of each row.
pub(super) fn cost(call: &Call) -> Cost {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0);
    let (rows, vocabulary, k) = (size("R"), size("V"), size("K"));
    Cost {
        bytes: call.compulsory_bytes(),
        flops: 4 * rows * vocabulary,
        workspace: 256 * rows * (8 * k + 8) + 4 * rows,
    }
}

/// `row 3, rank 1 of 5`.
pub(super) fn place(call: &Call, output: &str, index: &[usize]) -> String {
    match (output, index) {
        ("lse", [row]) => format!("lse of row {row}"),
        (_, [row, rank]) => {
            let k = call.sizes.get("K").copied().unwrap_or(0);
            format!("{output} of row {row}, rank {rank} of {k}")
        }
        _ => format!("{output} at {index:?}"),
    }
}

/// What is right for a call.
pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let logits = call.input("logits").ok_or("no logits")?;
    match logits.dtype() {
        DType::F16 => of::<f16>(call, logits),
        DType::Bf16 => of::<bf16>(call, logits),
        _ => of::<f32>(call, logits),
    }
}

fn of<T: Scalar + numbers::Element>(
    call: &Call,
    logits: &Tensor,
) -> Result<Box<dyn Oracle>, String> {
    let data: Vec<T> = logits.to_vec().ok_or("logits of an unexpected type")?;
    let &[rows, vocabulary] = logits.shape() else {
        return Err("logits are not a matrix".into());
    };
    let mask: Option<Vec<bool>> = call
        .input("mask")
        .map(|mask| mask.bytes().iter().map(|m| *m != 0).collect());
    let row_k: Option<Vec<usize>> = call
        .input("row_k")
        .and_then(|k| k.to_vec::<i32>())
        .map(|ks| ks.into_iter().map(|k| k as usize).collect());
    let width = call.output("prob").map_or(0, |prob| prob.shape[1]);
    let temperature = temperature(call);
    let build = || {
        let shape = [rows, vocabulary];
        let input = Input {
            logits: View::new("logits", &data, shape)?,
            k: row_k.as_deref().map_or(Ks::Uniform(width), Ks::PerRow),
            temperature,
            mask: mask
                .as_deref()
                .map(|mask| View::new("mask", mask, shape))
                .transpose()?,
        };
        topk(
            &input,
            Precision::scalar(<T as numbers::Element>::DTYPE).with_output(numbers::DType::F32),
        )
    };
    let mut right = build().map_err(|error: reference::Error| error.to_string())?;
    // The outputs are as wide as the call says, also where every row has a smaller K.
    right.width = width;
    Ok(Box::new(Right(right)))
}

/// The call's temperature.
pub(super) fn temperature(call: &Call) -> f32 {
    match call.parameters.get("temperature") {
        Some(Value::Float(t)) => *t as f32,
        Some(Value::Int(t)) => *t as f32,
        _ => 1.0,
    }
}

struct Right(TopK);

impl Right {
    fn answer(&self, row: usize) -> (Vec<f64>, Vec<f64>, f64) {
        let oracle = &self.0.rows[row];
        let width = self.0.width;
        let mut index: Vec<f64> = oracle.index().into_iter().map(f64::from).collect();
        let chosen = |i: &f64| oracle.probability(i.max(0.0) as usize).value;
        let mut prob: Vec<f64> = index.iter().map(chosen).collect();
        index.resize(width, -1.0);
        prob.resize(width, 0.0);
        (prob, index, oracle.lse.value)
    }
}

impl Oracle for Right {
    fn best(&self) -> Vec<Named> {
        let (rows, width) = (self.0.rows.len(), self.0.width);
        let (mut prob, mut index, mut lse) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows {
            let (p, i, l) = self.answer(row);
            prob.extend(p);
            index.extend(i);
            lse.push(l);
        }
        let named = |name: &str, dtype, shape: &[usize], numbers: &[f64]| Named {
            name: name.into(),
            tensor: Tensor::from_f64(dtype, shape, numbers).expect("rows by width"),
        };
        vec![
            named("prob", DType::F32, &[rows, width], &prob),
            named("index", DType::I32, &[rows, width], &index),
            named("lse", DType::F32, &[rows], &lse),
        ]
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let (rows, width) = (self.0.rows.len(), self.0.width);
        let prob: Vec<f32> = outputs[0].tensor.to_f32();
        let index: Vec<i32> = outputs[1].tensor.to_vec().unwrap_or_default();
        let lse: Vec<f32> = outputs[2].tensor.to_f32();
        let verdict = judge(&self.0, &prob, &index, &lse);
        let mut elements = [Vec::new(), Vec::new(), Vec::new()];
        for row in 0..rows {
            let at = row * width..(row + 1) * width;
            let (_, best, _) = self.answer(row);
            let oracle = &self.0.rows[row];
            // Only a wrong answer needs to know which of its rows are.
            let order = verdict.is_none() || {
                let own = TopK {
                    rows: vec![oracle.clone()],
                    width,
                };
                let (p, i) = (&prob[at.clone()], &index[at.clone()]);
                let ranked = judge(&own, p, i, &lse[row..=row]);
                !matches!(ranked, Some(Ranking::Order(_)))
            };
            for (rank, flat) in at.enumerate() {
                let answered = index[flat];
                let known = usize::try_from(answered)
                    .ok()
                    .filter(|i| *i < oracle.vocabulary());
                let expected = match (rank < oracle.k, oracle.is_odd(), known) {
                    (false, ..) => Bounded::exact(0.0),
                    (true, true, _) => Bounded::exact(f64::NAN),
                    (true, false, Some(i)) => oracle.probability(i),
                    (true, false, None) => oracle.probability(best[rank] as usize),
                };
                elements[0].push(Element::within(prob[flat].into(), expected));
                let expected = Bounded::exact(best[rank]);
                let got = f64::from(answered);
                elements[1].push(Element {
                    got,
                    expected,
                    right: order || got == best[rank],
                });
            }
            elements[2].push(Element::within(lse[row].into(), oracle.lse));
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
            note: verdict.map(|(Ranking::Order(text) | Ranking::Value(text))| text),
        }
    }
}

/// What the decision oracle says of a wrong answer.
enum Ranking {
    /// The indices are wrong.
    Order(String),
    /// The indices are right; a number is not.
    Value(String),
}

fn judge(right: &TopK, prob: &[f32], index: &[i32], lse: &[f32]) -> Option<Ranking> {
    use reference::softmax_topk::Wrong;
    let shape = [right.rows.len(), right.width];
    let judged = || {
        right.judge(&Answer {
            prob: View::new("prob", prob, shape)?,
            index: View::new("index", index, shape)?,
            lse: View::new("lse", lse, [shape[0]])?,
        })
    };
    match judged() {
        Err(malformed) => Some(Ranking::Order(malformed.to_string())),
        Ok(Ok(_)) => None,
        Ok(Err(wrong @ (Wrong::Probability { .. } | Wrong::Lse { .. }))) => {
            Some(Ranking::Value(wrong.to_string()))
        }
        Ok(Err(wrong)) => Some(Ranking::Order(wrong.to_string())),
    }
}
