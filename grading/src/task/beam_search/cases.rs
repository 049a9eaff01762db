//! Calls.

use crate::submission::{Call, Value};
use crate::task::{Cost, Dims, Draft};
use crate::tensor::{DType, Scalar};
use half::{bf16, f16};
use reference::beam::Rules;
use reference::cases::Rng;
use reference::cases::beam::BeamStep;
use reference::numbers;

/// A type of logits.
pub(super) trait Real: Scalar + numbers::Element {}

impl Real for f32 {}
impl Real for f16 {}
impl Real for bf16 {}

/// A step that is put together.
#[derive(Clone, Debug)]
pub(super) struct Step<T> {
    pub(super) rules: Rules,
    pub(super) vocabulary: usize,
    /// `[B, K, V]`.
    pub(super) logits: Vec<T>,
    /// `[B, K]`.
    pub(super) acc: Vec<f32>,
    pub(super) length: Vec<i32>,
    pub(super) finished: Vec<u8>,
}

impl<T: Real> Step<T> {
    /// Items of so many beams with those logits: sums falling from −1, lengths 4, no EOS, α = 0.
    pub(super) fn new(beams: usize, vocabulary: usize, logits: Vec<T>) -> Step<T> {
        let n = logits.len() / vocabulary;
        let acc = (0..n).map(|at| -1.0 - (at % beams) as f32 / 4.0);
        Step {
            rules: Rules {
                eos: Vec::new(),
                ..Rules::new(beams, 0)
            },
            vocabulary,
            acc: acc.collect(),
            length: vec![4; n],
            finished: vec![0; n],
            logits,
        }
    }

    /// With normal logits of that spread.
    pub(super) fn normal(rng: &mut Rng, dims: &Dims, spread: f64) -> Step<T> {
        let [items, beams, vocabulary] = shape(dims);
        let logits = reference::cases::normal(rng, items * beams * vocabulary, spread);
        Step::new(beams, vocabulary, logits)
    }

    /// The row of a beam.
    pub(super) fn row(&mut self, beam: usize) -> &mut [T] {
        let vocabulary = self.vocabulary;
        &mut self.logits[beam * vocabulary..(beam + 1) * vocabulary]
    }

    /// The call.
    pub(super) fn call(self) -> Call {
        let (beams, vocabulary) = (self.rules.beams, self.vocabulary);
        let items = self.acc.len() / beams;
        let each = [items, beams];
        let eos = self.rules.eos.iter().map(|token| i64::from(*token));
        let output = [
            ("parent", DType::I32),
            ("token", DType::I32),
            ("acc", DType::F32),
            ("length", DType::I32),
            ("finished", DType::U8),
            ("score", DType::F32),
        ];
        let draft = Draft::new("beam-search", "step")
            .size("B", items)
            .size("K", beams)
            .size("V", vocabulary)
            .set("alpha", Value::Float(self.rules.alpha.into()))
            .set("eos", Value::Ints(eos.collect()))
            .set("count_eos", Value::Bool(self.rules.count_eos))
            .set("min_length", Value::Int(self.rules.min_length as i64))
            .input("logits", &[items, beams, vocabulary], &self.logits)
            .input("acc", &each, &self.acc)
            .input("length", &each, &self.length)
            .input("finished", &each, &self.finished);
        let all = output.into_iter().fold(draft, |draft, (name, dtype)| {
            draft.output(name, dtype, &each)
        });
        all.call()
    }
}

/// B, K, V.
pub(super) fn shape(dims: &Dims) -> [usize; 3] {
    ["B", "K", "V"].map(|name| dims.get(name))
}

/// A step of everything at once, as reference draws it.
pub(super) fn mixed<T: Real>(dims: &Dims, rng: &mut Rng) -> Step<T> {
    let case = BeamStep::<T>::with_shape(rng, shape(dims));
    Step {
        rules: case.rules,
        vocabulary: case.vocabulary,
        logits: case.logits,
        acc: case.acc,
        length: case.length,
        finished: case.finished.into_iter().map(u8::from).collect(),
    }
}

/// A step at α = 0 with at most one EOS token, which counts.
pub(super) fn basic<T: Real>(dims: &Dims, rng: &mut Rng) -> Step<T> {
    let step = mixed(dims, rng);
    let rules = Rules {
        alpha: 0.0,
        eos: step.rules.eos.iter().copied().take(1).collect(),
        count_eos: true,
        min_length: 0,
        ..step.rules
    };
    Step { rules, ..step }
}

/// [`basic`] in f32, as a call.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(basic::<f32>(dims, rng).call())
}

/// Two beams over three tokens, the second one finished.
pub(super) fn example() -> Call {
    let mut step = Step::<f32>::new(2, 3, vec![1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    step.rules.eos = vec![2];
    step.finished = vec![0, 1];
    step.call()
}

/// Bytes once; the best of at most 256 parts of each row.
pub(super) fn cost(call: &Call) -> Cost {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0);
    let (rows, beams) = (size("B") * size("K"), size("K"));
    let eos = match call.parameters.get("eos") {
        Some(Value::Ints(eos)) => eos.len() as u64,
        _ => 0,
    };
    Cost {
        bytes: call.compulsory_bytes(),
        flops: 4 * rows * size("V"),
        workspace: 256 * rows * (16 * beams + 8) + 64 * rows * beams + 4 * eos,
    }
}

/// `score of item 1, rank 0 of 4`.
pub(super) fn place(call: &Call, output: &str, index: &[usize]) -> String {
    match index {
        [item, rank] => {
            let beams = call.sizes.get("K").copied().unwrap_or(0);
            format!("{output} of item {item}, rank {rank} of {beams}")
        }
        _ => format!("{output} at {index:?}"),
    }
}

/// The call's rules.
pub(super) fn rules(call: &Call) -> Rules {
    let beams = call.sizes.get("K").copied().unwrap_or(1) as usize;
    let parameter = |name: &str| call.parameters.get(name);
    Rules {
        alpha: match parameter("alpha") {
            Some(Value::Float(alpha)) => *alpha as f32,
            Some(Value::Int(alpha)) => *alpha as f32,
            _ => 0.0,
        },
        eos: match parameter("eos") {
            Some(Value::Ints(eos)) => eos.iter().map(|token| *token as i32).collect(),
            _ => Vec::new(),
        },
        count_eos: !matches!(parameter("count_eos"), Some(Value::Bool(false))),
        min_length: match parameter("min_length") {
            Some(Value::Int(length)) => *length as usize,
            _ => 0,
        },
        ..Rules::new(beams, 0)
    }
}
