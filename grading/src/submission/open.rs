//! From a manifest to something that answers calls.

use super::manifest::{Lane, Manifest, ManifestError};
use super::{Failure, Submission};
use crate::lane::process::ProcessLane;
use crate::lane::process::launcher::{Launcher, LauncherError};
use crate::lane::process::sandbox::SandboxReport;
use crate::lane::ptx::PtxLane;
use std::path::{Path, PathBuf};

/// How a submission is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Whether a layer of the sandbox that the kernel refuses is an error.
    pub require_sandbox: bool,
    /// Folders that programs must not see.
    pub hidden: Vec<PathBuf>,
    /// The program that confines others; looked for, if there is none.
    pub launcher: Option<Launcher>,
}

/// Why a submission is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is no launcher.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// The sandbox is not whole, and was required.
    #[error(
        "the sandbox is not whole, and --require-sandbox was given:\n{0}run as root, or where \
         user namespaces and Landlock are allowed, or without --require-sandbox"
    )]
    Sandbox(SandboxReport),
}

impl OpenError {
    /// 2 the manifest, 4 the sandbox.
    pub fn exit_code(&self) -> u8 {
        match self {
            OpenError::Manifest(_) => ManifestError::EXIT_CODE,
            OpenError::Launcher(_) | OpenError::Sandbox(_) => 4,
        }
    }
}

/// Opens the submission of a `submission.toml` or of the folder with one.
///
/// # Errors
/// When the manifest is not one. A sandbox that cannot be set up is seen at the first call.
pub fn open(path: &Path) -> Result<Box<dyn Submission>, ManifestError> {
    let manifest = Manifest::read(path)?;
    let options = OpenOptions::default();
    Ok(match Launcher::find() {
        Ok(launcher) => opened(manifest, &options, launcher),
        Err(missing) => match manifest.lane {
            Lane::Ptx(_) => opened(manifest, &options, Launcher::at("")),
            Lane::Process(_) => Box::new(Unlaunched {
                name: manifest.name,
                why: missing,
            }),
        },
    })
}

/// [`open`], and says at once when the sandbox is not what was asked for.
///
/// # Errors
/// Each kind has its exit code.
pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Box<dyn Submission>, OpenError> {
    let manifest = Manifest::read(path)?;
    if matches!(manifest.lane, Lane::Ptx(_)) {
        return Ok(opened(manifest, options, Launcher::at("")));
    }
    let launcher = match &options.launcher {
        Some(launcher) => launcher.clone(),
        None => Launcher::find()?,
    };
    if options.require_sandbox {
        let report = launcher.probe()?;
        if !report.complete() {
            return Err(OpenError::Sandbox(report));
        }
    }
    Ok(opened(manifest, options, launcher))
}

fn opened(manifest: Manifest, options: &OpenOptions, launcher: Launcher) -> Box<dyn Submission> {
    let (name, limits) = (manifest.name, manifest.limits);
    match manifest.lane {
        Lane::Process(programs) => {
            let lane = ProcessLane::new(name, programs, limits, launcher);
            let lane = lane.hiding(&options.hidden);
            Box::new(if options.require_sandbox {
                lane.requiring_sandbox()
            } else {
                lane
            })
        }
        Lane::Ptx(variants) => Box::new(PtxLane::new(name, variants, limits)),
    }
}

/// Programs without a launcher: nothing runs unconfined.
struct Unlaunched {
    name: String,
    why: LauncherError,
}

impl Submission for Unlaunched {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn supports(&self, _task: &str, _op: &str) -> bool {
        true
    }

    fn call(&mut self, _call: &super::Call) -> Result<super::Answer, Failure> {
        Err(Failure::Grader(self.why.to_string()))
    }
}
