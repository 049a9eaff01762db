//! Typed implementations together, as the submission that is graded.

use crate::submission::{Answer, Call, Failure, Named, Submission};
use crate::task;
use std::time::Instant;

/// What implements the trait of the task that `Task` marks; made for it, never by hand.
pub trait Answers<Task>: Send {
    /// The task's name.
    const TASK: &'static str;

    /// Answers a call.
    ///
    /// # Errors
    /// When there is no answer.
    fn answer(&mut self, call: &Call) -> Result<Vec<Named>, Failure>;
}

type Entry = Box<dyn FnMut(&Call) -> Result<Vec<Named>, Failure> + Send>;

/// Implementations of tasks, each by its typed trait.
pub struct Typed {
    name: String,
    entries: Vec<(&'static str, Entry)>,
}

impl Typed {
    /// None yet; reports call them so.
    pub fn new(name: &str) -> Typed {
        Typed {
            name: name.to_owned(),
            entries: Vec::new(),
        }
    }

    /// With an implementation of that task: `.with(softmax_topk::Task, Mine)`.
    #[must_use]
    pub fn with<Task, T: Answers<Task> + 'static>(
        mut self,
        _: Task,
        mut implementation: T,
    ) -> Typed {
        let answer = move |call: &Call| implementation.answer(call);
        self.entries.push((T::TASK, Box::new(answer)));
        self
    }
}

impl Submission for Typed {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn supports(&self, task: &str, op: &str) -> bool {
        let known = self.entries.iter().any(|(name, _)| *name == task);
        known && task::named(task).is_some_and(|task| task.spec.op(op).is_some())
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        let entry = self.entries.iter_mut().find(|(name, _)| *name == call.task);
        let unknown = || Failure::Unsupported(call.task.to_owned());
        let (_, answer) = entry.ok_or_else(unknown)?;
        let started = Instant::now();
        let outputs = answer(call)?;
        Ok(Answer {
            outputs,
            elapsed: started.elapsed(),
            ..Answer::default()
        })
    }
}
