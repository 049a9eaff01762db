//! The subcommands that have to do with grading.

pub(crate) mod grade;
pub(crate) mod mutate;
pub(crate) mod new;
pub(crate) mod plot;
pub(crate) mod profile;
pub(crate) mod replay;
pub(crate) mod tasks;

use clap::ValueEnum;
use grading::builtin::Place;
use grading::grade::{GradeError, OpenError};
use std::process::ExitCode;

/// Usage, or a manifest that is not right.
const USAGE: u8 = 2;
/// The sandbox that was asked for could not be set up.
const NO_SANDBOX: u8 = 4;

/// What kernels run on.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum DeviceName {
    /// The PTX machine
    #[default]
    Vm,
    /// The first GPU
    Cuda,
}

impl DeviceName {
    fn place(self) -> Place {
        match self {
            DeviceName::Vm => Place::Vm,
            DeviceName::Cuda => Place::Cuda,
        }
    }
}

/// Says what is wrong with what was asked, in the words and with the code of its kind.
fn refuse(error: &GradeError) -> ExitCode {
    eprintln!("touchstone: {error}");
    ExitCode::from(match error {
        GradeError::Open(OpenError::Sandbox(_)) => NO_SANDBOX,
        GradeError::Open(_) | GradeError::Journal(_) => USAGE,
    })
}

/// What was asked for is not there; `known` is what is.
fn unknown(what: &str, name: &str, known: &[&str]) -> ExitCode {
    eprintln!(
        "touchstone: there is no {what} `{name}`; there are {}",
        known.join(", ")
    );
    ExitCode::from(USAGE)
}

fn task_names() -> Vec<&'static str> {
    grading::task::all().iter().map(|t| t.spec.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that refuses a sandbox is not at hand everywhere: the mapping is what is tested.
    #[test]
    fn a_sandbox_that_is_refused_has_its_own_code() {
        let code = |error: OpenError| format!("{:?}", refuse(&GradeError::Open(error)));
        let expected = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(OpenError::Sandbox("refused".into())), expected(4));
        assert_eq!(code(OpenError::Manifest("wrong".into())), expected(2));
        assert_eq!(code(OpenError::Device("no GPU".into())), expected(2));
    }
}
