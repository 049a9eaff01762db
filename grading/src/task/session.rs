//! One check's conversation with a submission: every call goes through here, and the contract is
//! enforced around each.

use super::check::Stop;
use super::diagnosis::diagnose;
use super::oracle::{Element, Judged, Oracle, null_margin};
use super::{Cost, Task};
use crate::submission::{Answer, Call, Counted, Failure, Named, Submission};
use crate::verdict::{Verdict, Wrong};
use reference::numbers::Histogram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longer than this, and an answer is late, whatever the lane thinks of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured on the way.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Calls that were answered.
    pub calls: u64,
    /// Their time.
    pub elapsed: Duration,
    /// Error ÷ bound of every element judged.
    pub histogram: Histogram,
    /// What the machine counted in the last call, and what that call costs at least.
    pub counted: Option<(Counted, Cost)>,
}

/// A check's conversation with a submission.
pub struct Session<'a> {
    task: &'a Task,
    submission: &'a mut dyn Submission,
    diagnose: bool,
    /// Whether a case must tell right from wrong; a check about values that are zero by the
    /// contract says no.
    margin: bool,
    /// What was measured.
    pub figures: Figures,
    /// What the last judged answer was held against.
    last: Judged,
}

impl<'a> Session<'a> {
    /// A conversation about a task. With `diagnose` wrong answers are compared with those of the
    /// mistakes we know.
    pub fn new(task: &'a Task, submission: &'a mut dyn Submission, diagnose: bool) -> Session<'a> {
        Session {
            task,
            submission,
            diagnose,
            margin: true,
            figures: Figures::default(),
            last: Judged::default(),
        }
    }

    /// The elements of an output of the last answer that was judged, with their bounds.
    pub fn judged(&self, output: &str) -> &[Element] {
        let found = self.last.outputs.iter().find(|o| o.name == output);
        found.map_or(&[], |output| &output.elements)
    }

    /// The bounds of [`judged`](Session::judged).
    pub fn bounds(&self, output: &str) -> Vec<f64> {
        let elements = self.judged(output).iter();
        elements.map(|element| element.expected.bound).collect()
    }

    /// The task.
    pub fn task(&self) -> &'a Task {
        self.task
    }

    /// From here on the null margin is not asked for: the contract itself makes the outputs of
    /// these cases zeros or constants.
    pub fn without_margin(&mut self) -> &mut Self {
        self.margin = false;
        self
    }

    /// Makes a call and holds the form of the answer against the contract. Values are not judged.
    ///
    /// # Errors
    /// With the verdict, when there is no well-formed answer.
    pub fn call(&mut self, call: &Call) -> Result<Vec<Named>, Stop> {
        debug_assert_eq!(
            self.task.spec.violations(call),
            Vec::<String>::new(),
            "a call of {}",
            call.task
        );
        let started = Instant::now();
        let answer = answered(self.submission, call).map_err(Verdict::from)?;
        let took = started.elapsed();
        if took > PATIENCE {
            let why = format!("a call took {took:.0?}");
            return Err(Verdict::Timeout(why.into()).into());
        }
        self.figures.calls += 1;
        self.figures.elapsed += answer.elapsed;
        form(call, &answer)?;
        if let Some(counted) = answer.counted {
            self.figures.counted = Some((counted, (self.task.cost)(call)));
        }
        Ok(answer.outputs)
    }

    /// Makes a call and judges the answer.
    ///
    /// # Errors
    /// With the verdict, when it is not right; with the missing margin, when the case is no case.
    pub fn judge(&mut self, call: &Call) -> Result<Vec<Named>, Stop> {
        let oracle = self.oracle(call)?;
        if self.margin {
            let lower = false;
            null_margin(call, &*oracle, lower).map_err(Stop::NoMargin)?;
        }
        self.judge_by(&*oracle, call)
    }

    /// [`judge`](Session::judge), of a case that must also tell one precision from the next lower.
    ///
    /// # Errors
    /// As for `judge`.
    pub fn judge_values(&mut self, call: &Call) -> Result<Vec<Named>, Stop> {
        let oracle = self.oracle(call)?;
        null_margin(call, &*oracle, true).map_err(Stop::NoMargin)?;
        self.judge_by(&*oracle, call)
    }

    fn oracle(&self, call: &Call) -> Result<Box<dyn Oracle>, Stop> {
        let ours = |why| Stop::from(Verdict::Grader(format!("the oracle refuses: {why}").into()));
        (self.task.oracle)(call).map_err(ours)
    }

    fn judge_by(&mut self, oracle: &dyn Oracle, call: &Call) -> Result<Vec<Named>, Stop> {
        let outputs = self.call(call)?;
        let judged = oracle.judge(&outputs);
        self.figures.histogram.merge(&judged.histogram());
        match judged.wrong(self.task, call) {
            None => {
                self.last = judged;
                Ok(outputs)
            }
            Some(wrong) => {
                let diagnosis = self
                    .diagnose
                    .then(|| diagnose(self.task, call, oracle, &judged))
                    .flatten();
                let wrong = Wrong { diagnosis, ..wrong };
                Err(Verdict::Wrong(Box::new(wrong)).into())
            }
        }
    }

    /// Makes a call that must be refused.
    ///
    /// # Errors
    /// When it is answered, or fails in another way than by a refusal.
    pub fn refused(&mut self, call: &Call, why: &str) -> Result<(), Stop> {
        match answered(self.submission, call) {
            Err(Failure::Unsupported(_)) => Ok(()),
            Err(other) => Err(Verdict::from(other).into()),
            Ok(_) => {
                let message = format!("answered what must be refused: {why}");
                Err(Verdict::wrong(message).into())
            }
        }
    }
}

/// A panic of a submission that lives in this process is a crash like others.
fn answered(submission: &mut dyn Submission, call: &Call) -> Result<Answer, Failure> {
    let answer = catch_unwind(AssertUnwindSafe(|| submission.call(call)));
    answer.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure::Crash(format!(
            "panicked: {}",
            text.unwrap_or("without a message")
        )))
    })
}

/// Names, order, types and shapes of the outputs; everything written, inputs untouched, nothing
/// found by a checker.
fn form(call: &Call, answer: &Answer) -> Result<(), Stop> {
    let malformed = |why: String| Err(Verdict::Malformed(why.into()).into());
    if let Some(finding) = answer.findings.first() {
        let why = format!("{}: {}", finding.kind, finding.text);
        return Err(Verdict::Fault(why.into()).into());
    }
    if let Some(name) = answer.touched_inputs.first() {
        let why = format!("input `{name}` was overwritten");
        return Err(Verdict::Cheat(why.into()).into());
    }
    if answer.outputs.len() != call.outputs.len() {
        let names = |names: Vec<&str>| names.join(", ");
        return malformed(format!(
            "{} outputs ({}), {} are asked for ({})",
            answer.outputs.len(),
            names(answer.outputs.iter().map(|o| o.name.as_str()).collect()),
            call.outputs.len(),
            names(call.outputs.iter().map(|o| o.name.as_str()).collect()),
        ));
    }
    for (got, asked) in answer.outputs.iter().zip(&call.outputs) {
        let name = &asked.name;
        if got.name != *name {
            return malformed(format!("output `{}` where `{name}` belongs", got.name));
        }
        if got.tensor.dtype() != asked.dtype {
            return malformed(format!(
                "output `{name}` is {}, not {}",
                got.tensor.dtype(),
                asked.dtype
            ));
        }
        if got.tensor.shape() != asked.shape {
            return malformed(format!(
                "output `{name}` has shape {:?}, not {:?}",
                got.tensor.shape(),
                asked.shape
            ));
        }
    }
    if let Some(name) = answer.unwritten.first() {
        let message = format!("output `{name}` has elements that were never written");
        return Err(Verdict::wrong(message).into());
    }
    Ok(())
}
