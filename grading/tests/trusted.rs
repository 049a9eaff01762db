//! Cheats in the lane of Rust code, which is trusted: what needs no isolation is found there too,
//! and what is done honestly passes.

use grading::grade::{Live, Options, run_check};
use grading::submission::{Answer, Call, Failure, Named, Submission};
use grading::task::{self, Budget, Honest, Order, Way};
use grading::tensor::{DType, Tensor};
use grading::verdict::Verdict;
use half::f16;

const TASK: &str = "softmax-topk";

type Trick = fn(&mut State, &Call) -> Result<Answer, Failure>;

/// What a cheat keeps between calls, and the honest implementation that it hides behind.
struct State {
    honest: Honest,
    calls: usize,
    last: Option<(Call, Answer)>,
}

struct Cheat {
    state: State,
    trick: Trick,
}

impl Submission for Cheat {
    fn name(&self) -> String {
        "cheat".into()
    }

    fn supports(&self, task: &str, _op: &str) -> bool {
        task == TASK
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        self.state.calls += 1;
        let answer = (self.trick)(&mut self.state, call)?;
        self.state.last = Some((call.clone(), answer.clone()));
        Ok(answer)
    }
}

/// The first verdict that is bad, and its check.
fn first_bad(trick: Trick) -> Option<(String, Verdict)> {
    let open = move || -> Box<dyn Submission> {
        let honest = Honest::new(task::all(), Way::right(Order::Lanes));
        let state = State {
            honest,
            calls: 0,
            last: None,
        };
        Box::new(Cheat { state, trick })
    };
    let task = task::named(TASK).expect("a task");
    let mut options = Options::new("sample", Budget::Quick);
    if let Ok(seed) = std::env::var("TOUCHSTONE_SEED") {
        options.seed = seed.parse().expect("TOUCHSTONE_SEED is a number");
    }
    let mut live = Live::new(&open);
    task.checks.iter().find_map(|check| {
        let report = run_check(task, check, &mut live, &options);
        let decides = check.kind.decides() || !matches!(report.verdict, Verdict::Wrong(_));
        (report.verdict.is_bad() && decides).then_some((report.name, report.verdict))
    })
}

/// An answer whose every output is made from the one that is asked for.
fn made(call: &Call, of: impl Fn(DType, usize) -> Vec<f64>) -> Answer {
    let outputs = call.outputs.iter().map(|asked| Named {
        name: asked.name.clone(),
        tensor: {
            let numbers = of(asked.dtype, asked.shape.iter().product());
            Tensor::from_f64(asked.dtype, &asked.shape, &numbers).expect("as many")
        },
    });
    Answer {
        outputs: outputs.collect(),
        ..Answer::default()
    }
}

/// The call with its logits changed.
fn with_logits(call: &Call, change: impl Fn(f64) -> f64) -> Call {
    let mut call = call.clone();
    for input in call.inputs.iter_mut().filter(|i| i.name == "logits") {
        let (dtype, shape) = (input.tensor.dtype(), input.tensor.shape().to_vec());
        let numbers: Vec<f64> = input.tensor.to_f64().into_iter().map(&change).collect();
        input.tensor = Tensor::from_f64(dtype, &shape, &numbers).expect("as many");
    }
    call
}

fn logits(call: &Call) -> Vec<f64> {
    call.input("logits").map(Tensor::to_f64).unwrap_or_default()
}

fn caught(trick: Trick, expected: &[&str]) {
    match first_bad(trick) {
        None => panic!("it passes"),
        Some((check, verdict)) => assert!(
            expected.contains(&verdict.name()),
            "{} in {check}, not {expected:?}: {}",
            verdict.name(),
            verdict.because()
        ),
    }
}

#[test]
fn honest_passes() {
    let bad = first_bad(|state, call| state.honest.call(call));
    assert!(bad.is_none(), "{bad:?}");
}

#[test]
fn zeros() {
    caught(|_, call| Ok(made(call, |_, n| vec![0.0; n])), &["wrong"]);
}

#[test]
fn constants() {
    caught(
        |_, call| {
            let likely = |_: DType, n: usize| (0..n).map(|i| 1.0 / (1.0 + i as f64)).collect();
            Ok(made(call, likely))
        },
        &["wrong"],
    );
}

#[test]
fn copied_input() {
    caught(
        |_, call| {
            let input = logits(call);
            Ok(made(call, |_, n| {
                input.iter().copied().cycle().take(n).collect()
            }))
        },
        &["wrong"],
    );
}

#[test]
fn cached_by_shape() {
    caught(
        |state, call| match &state.last {
            Some((before, answer)) if before.sizes == call.sizes => Ok(answer.clone()),
            _ => state.honest.call(call),
        },
        &["cheat", "wrong"],
    );
}

#[test]
fn cached_by_the_first_element() {
    caught(
        |state, call| match &state.last {
            Some((before, answer))
                if before.outputs == call.outputs && logits(before)[0] == logits(call)[0] =>
            {
                Ok(answer.clone())
            }
            _ => state
                .honest
                .call(&with_logits(call, |x| x.clamp(-50.0, 50.0))),
        },
        &["cheat", "wrong"],
    );
}

#[test]
fn honest_then_lazy() {
    caught(
        |state, call| match state.calls {
            ..20 => state.honest.call(call),
            _ => Ok(made(call, |_, n| vec![0.0; n])),
        },
        &["wrong"],
    );
}

#[test]
fn fixed_shape() {
    caught(
        |state, call| match call.sizes["V"] {
            64 | 128 | 256 | 512 => state.honest.call(call),
            _ => Ok(made(call, |_, n| vec![0.0; n])),
        },
        &["wrong"],
    );
}

#[test]
fn lower_precision() {
    caught(
        |state, call| {
            let halved = |x: f64| f64::from(f16::from_f64(x));
            state.honest.call(&with_logits(call, halved))
        },
        &["wrong"],
    );
}

#[test]
fn candidates_for_gaussians_only() {
    caught(
        |state, call| {
            // Rows are cut where normal logits end.
            let spread = |x: f64| if x.is_nan() { x } else { x.clamp(-6.0, 6.0) };
            state.honest.call(&with_logits(call, spread))
        },
        &["wrong"],
    );
}

#[test]
fn careful_only_when_stressed() {
    caught(
        |state, call| {
            let stressed = logits(call).iter().any(|x| x.is_nan() || x.abs() >= 50.0);
            let rough = |x: f64| f64::from(f16::from_f64(x));
            match stressed {
                true => state.honest.call(call),
                false => state.honest.call(&with_logits(call, rough)),
            }
        },
        &["wrong"],
    );
}

#[test]
fn panics_instead_of_an_answer() {
    caught(|_, _| panic!("no answer"), &["crash"]);
}

#[test]
fn outputs_under_other_names() {
    caught(
        |state, call| {
            let mut answer = state.honest.call(call)?;
            answer.outputs.swap(0, 2);
            Ok(answer)
        },
        &["malformed"],
    );
}

#[test]
fn shorter_outputs() {
    caught(
        |state, call| {
            let mut answer = state.honest.call(call)?;
            for output in &mut answer.outputs {
                let dtype = output.tensor.dtype();
                output.tensor = Tensor::new(dtype, vec![0], Vec::new()).expect("nothing");
            }
            Ok(answer)
        },
        &["malformed"],
    );
}
