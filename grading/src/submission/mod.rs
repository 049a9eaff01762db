//! What is graded, whatever lane it came by: something that answers calls.
//!
//! A [`Call`] names an operation of a task, its sizes and parameters, and carries the inputs. A
//! [`Submission`] returns an [`Answer`], or a [`Failure`] that says whose fault it was. Only bytes
//! cross this line: the oracle, the expected values, the seeds and the verdict stay on the
//! grader's side.

mod answer;
mod call;
pub mod manifest;
mod open;

use crate::lane::process::SandboxReport;
pub use answer::{Answer, Counted, CountedLaunch, Failure, Finding};
pub use call::{Call, Named, OutputSpec, Value};
pub use manifest::{Manifest, ManifestError};
pub use open::{OpenError, OpenOptions, open, open_with};

/// Something that answers calls.
///
/// What a submission claims is not believed: [`supports`](Submission::supports) only decides what
/// is asked of it, and what is not supported is reported as not attempted or unsupported.
pub trait Submission: Send {
    /// What reports call it.
    fn name(&self) -> String;

    /// Whether it says that it has this operation of this task.
    fn supports(&self, task: &str, op: &str) -> bool;

    /// Answers a call.
    ///
    /// # Errors
    /// When there is no answer; the kind of failure says why.
    fn call(&mut self, call: &Call) -> Result<Answer, Failure>;

    /// Answers on the PTX machine's usual schedule from now on, so that counts compare: on one that
    /// explores, lanes that were parted by chance run an instruction apart. Of no matter to what does
    /// not run on that machine.
    fn usual_schedule(&mut self) {}

    /// What confined the program that answered the last call; `None` where nothing is confined, or no
    /// program has run yet.
    fn sandbox(&self) -> Option<&SandboxReport> {
        None
    }
}
