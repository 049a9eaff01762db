//! The launcher: our own program, started again to confine itself and then start the submission.
//!
//! Confining a child from outside would need `unsafe` between fork and exec. A program of ours that
//! confines itself does not, and what is forbidden is forbidden before the first instruction of
//! the submission runs.
//!
//! Two processes do it, since a process never enters a PID namespace itself, only its children do:
//!
//! ```text
//! grader ── outer (own group; makes the namespaces) ── init (PID 1 of them: mounts, limits,
//!           Landlock, seccomp) ── the program
//! ```
//!
//! The three descriptors that `std` can hand on carry requests (0), answers (1) and control
//! records (2). The program gets the first two as 3 and 4; it never holds the control pipe, so it
//! cannot forge what the launcher says of it.

mod control;
mod filesystem;
mod init;
mod outer;
mod seccomp;

pub use control::{Ended, Record, read_record};

use super::sandbox::{Layer, SandboxReport};
use crate::lane::limits::Limits;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The first argument that makes our program a launcher.
const WORD: &str = "__sandbox";

/// What the launcher is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Policy {
    /// The program and its arguments; none to only say what the kernel allows.
    pub(super) command: Vec<String>,
    /// Its empty working directory.
    pub(super) directory: PathBuf,
    /// Folders that it must not see.
    pub(super) hidden: Vec<PathBuf>,
    /// What it may use.
    pub(super) limits: Limits,
    /// Whether a layer that is refused is an error.
    pub(super) require: bool,
    /// What was set up so far.
    pub(super) layers: Vec<Layer>,
}

/// Why there is no launcher, or it did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LauncherError {
    /// No `touchstone` program was found.
    #[error(
        "the `touchstone` program, which confines submissions, is not beside {} nor in PATH; \
         build it with `cargo build -p grading`",
        looked.display()
    )]
    Missing {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// It could not be started, or ended early.
    #[error("the launcher failed: {0}")]
    Failed(String),
}

/// Where the launcher is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// That program; it must begin with [`entered`].
    pub fn at(program: impl Into<PathBuf>) -> Launcher {
        Launcher {
            program: program.into(),
        }
    }

    /// The `touchstone` program: this one, one beside it (as cargo lays out tests and examples), or
    /// one in `PATH`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Launcher, LauncherError> {
        let own = std::env::current_exe().unwrap_or_default();
        let name = Path::new("touchstone");
        if own.file_stem() == Some(name.as_os_str()) {
            return Ok(Launcher::at(own));
        }
        let beside = own.ancestors().skip(1).take(2).map(|f| f.join(name));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).map(|folder| folder.join(name));
        match beside.chain(in_path).find(|file| file.is_file()) {
            Some(program) => Ok(Launcher::at(program)),
            None => Err(LauncherError::Missing { looked: own }),
        }
    }

    /// The command that starts it.
    pub(super) fn command(&self, policy: &Policy) -> Result<Command, LauncherError> {
        let mut command = Command::new(&self.program);
        command.args([WORD, "outer", &encode(policy)?]);
        Ok(command)
    }

    /// Sets up a sandbox with nothing in it, and says what the kernel allowed.
    ///
    /// # Errors
    /// When the launcher does not do its work.
    pub fn probe(&self) -> Result<SandboxReport, LauncherError> {
        let failed = |why: &dyn ToString| LauncherError::Failed(why.to_string());
        let directory = tempfile::tempdir().map_err(|error| failed(&error))?;
        let policy = Policy {
            command: Vec::new(),
            directory: directory.path().to_owned(),
            hidden: Vec::new(),
            limits: Limits::DEFAULT,
            require: false,
            layers: Vec::new(),
        };
        let out = self
            .command(&policy)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| failed(&error))?;
        match read_record(&mut &out.stderr[..]) {
            Ok(Some(Record::Layers(layers))) => Ok(SandboxReport { layers }),
            _ => Err(failed(&String::from_utf8_lossy(&out.stderr))),
        }
    }
}

fn encode(policy: &Policy) -> Result<String, LauncherError> {
    serde_json::to_string(policy).map_err(|error| LauncherError::Failed(error.to_string()))
}

/// Must stand first in `main` of every program that serves as launcher: when it was started as
/// one, does a launcher's work and says with what code to exit.
pub fn entered() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let stage = arguments.next()?;
    let policy: Policy = serde_json::from_str(&arguments.next()?).ok()?;
    Some(match stage.as_str() {
        "outer" => outer::run(policy),
        _ => init::run(policy),
    })
}
