//! The `process` lane: any program, in a sandbox, asked through pipes.
//!
//! Only bytes cross: the program never holds the oracle, expected values, seeds or the verdict. It
//! is asked by a protocol that `grading/PROTOCOL.md` describes, and started anew after every
//! failure, so that one call's crash is not the next one's.

pub mod launcher;
mod message;
mod running;
pub mod sandbox;
mod tree;

pub use message::PROTOCOL;
pub use sandbox::SandboxReport;

use crate::lane::limits::Limits;
use crate::submission::manifest::Program;
use crate::submission::{Answer, Call, Failure, OutputSpec, Submission};
use launcher::Launcher;
use running::Running;
use std::path::PathBuf;

/// A submission of programs.
#[derive(Debug)]
pub struct ProcessLane {
    name: String,
    programs: Vec<Program>,
    limits: Limits,
    launcher: Launcher,
    hidden: Vec<PathBuf>,
    require_sandbox: bool,
    running: Option<Running>,
    sandbox: SandboxReport,
    log: String,
}

impl ProcessLane {
    /// Programs, not yet started.
    pub fn new(
        name: impl Into<String>,
        programs: Vec<Program>,
        limits: Limits,
        launcher: Launcher,
    ) -> ProcessLane {
        ProcessLane {
            name: name.into(),
            programs,
            limits,
            launcher,
            hidden: Vec::new(),
            require_sandbox: false,
            running: None,
            sandbox: SandboxReport::default(),
            log: String::new(),
        }
    }

    /// Folders that the programs must not see: where reports and resumed runs keep their seeds.
    #[must_use]
    pub fn hiding(mut self, folders: &[PathBuf]) -> ProcessLane {
        self.hidden = folders.to_vec();
        self
    }

    /// Starts no program when the kernel refuses a layer of the sandbox.
    #[must_use]
    pub fn requiring_sandbox(mut self) -> ProcessLane {
        self.require_sandbox = true;
        self
    }

    /// The end of what the program of the last call wrote to its standard output and error, as far
    /// as it has come through by now.
    pub fn log(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(|| self.log.clone(), Running::log)
    }

    fn program(&self, task: &str, op: &str) -> Option<&Program> {
        let has = |program: &&Program| {
            program.task == task && (program.ops.is_empty() || program.ops.iter().any(|o| o == op))
        };
        self.programs.iter().find(has)
    }

    /// The program that answers, started if it does not run.
    fn running(&mut self, command: &[String]) -> Result<&mut Running, Failure> {
        let other = |running: &Running| running.command() != command;
        if self.running.as_ref().is_some_and(other) {
            self.running = None;
        }
        if self.running.is_none() {
            self.running = Some(Running::start(
                &self.launcher,
                command,
                self.limits,
                &self.hidden,
                self.require_sandbox,
            )?);
        }
        self.running
            .as_mut()
            .ok_or_else(|| Failure::Grader("the program was not started".into()))
    }
}

impl Submission for ProcessLane {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn supports(&self, task: &str, op: &str) -> bool {
        self.program(task, op).is_some()
    }

    fn sandbox(&self) -> Option<&SandboxReport> {
        (!self.sandbox.layers.is_empty()).then_some(&self.sandbox)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        let Some(program) = self.program(call.task, call.op) else {
            return Err(Failure::Unsupported(format!(
                "no program for `{}` of `{}`",
                call.op, call.task
            )));
        };
        let command = program.command.clone();
        let nonce = nonce()?;
        let request = message::request(call, &nonce)?;
        let outputs: u64 = call
            .outputs
            .iter()
            .map(|o| OutputSpec::bytes(o) as u64)
            .sum();
        let most_body = outputs.saturating_add(self.limits.answer());
        let running = self.running(&command)?;
        let answered = running.exchange(request, most_body);
        let (layers, log) = (running.layers(), running.log());
        self.sandbox = SandboxReport { layers };
        self.log = log;
        let answer = answered.and_then(|(raw, elapsed)| {
            Ok(Answer {
                outputs: raw.outputs(call, &nonce)?,
                elapsed,
                ..Answer::default()
            })
        });
        // After a failure nothing is known of the program's state. One that refuses a call is well.
        if !matches!(answer, Ok(_) | Err(Failure::Unsupported(_))) {
            self.running = None;
        }
        answer
    }
}

/// What nobody can know before the call.
fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Grader(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
