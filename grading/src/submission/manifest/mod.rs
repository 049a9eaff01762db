//! `submission.toml`: what is submitted. The format is described in `grading/SUBMISSION.md`.

mod error;
mod ptx;
mod raw;

pub use error::{ManifestError, ManifestErrorKind, Place};
pub use ptx::{Argument, Kernel, Scalar, Scratch, Variant};

use crate::lane::limits::Limits;
use error::Blame;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The version of the format.
pub const SCHEMA: u64 = 1;

/// The tasks, by the names that manifests use.
pub const TASKS: [&str; 8] = [
    "layernorm-backward",
    "softmax-topk",
    "paged-kv-attention",
    "flash-attention-forward",
    "beam-search",
    "flash-attention-backward",
    "tree-verify",
    "ternary-matmul",
];

/// What is submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The folder that its paths are relative to.
    pub folder: PathBuf,
    /// What reports call the submission.
    pub name: String,
    /// What it may use.
    pub limits: Limits,
    /// The lane, and what the lane needs.
    pub lane: Lane,
}

/// The lane of a submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Lane {
    /// Programs that speak the protocol of `grading/PROTOCOL.md`.
    Process(Vec<Program>),
    /// PTX files.
    Ptx(Vec<Variant>),
}

/// A program that answers the calls of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The task.
    pub task: String,
    /// The operations that it has; empty for all.
    pub ops: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

impl Manifest {
    /// Reads a manifest; `path` is the file or the folder with a `submission.toml`.
    ///
    /// # Errors
    /// With line and key, when it is not one.
    pub fn read(path: &Path) -> Result<Manifest, ManifestError> {
        let file = if path.is_dir() {
            path.join("submission.toml")
        } else {
            path.to_owned()
        };
        let whole = |error| ManifestError::whole(&file, ManifestErrorKind::Read(error));
        let text = fs::read_to_string(&file).map_err(whole)?;
        // The program runs in a folder of its own, so that its path must not be relative to ours.
        let absolute = file.canonicalize().map_err(whole)?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        Manifest::parse(&text, &file, folder)
    }

    /// Reads the text of a manifest whose paths are relative to `folder`.
    ///
    /// # Errors
    /// With line and key, when it is not one.
    pub fn parse(text: &str, file: &Path, folder: &Path) -> Result<Manifest, ManifestError> {
        let blame = Blame { path: file, text };
        let raw: raw::Manifest = toml::from_str(text).map_err(|error| {
            let kind = ManifestErrorKind::Toml(error.message().trim_end().to_owned());
            match error.span() {
                Some(span) => blame.at(span, "", kind),
                None => ManifestError::whole(file, kind),
            }
        })?;
        let schema = *raw.schema.get_ref();
        if schema != SCHEMA {
            let kind = ManifestErrorKind::Schema {
                found: schema,
                known: SCHEMA,
            };
            return Err(blame.at(raw.schema.span(), "schema", kind));
        }
        if raw.task.is_empty() {
            let kind = ManifestErrorKind::Lane(
                "no [[task]]: write one for each task that is submitted".into(),
            );
            return Err(ManifestError::whole(file, kind));
        }
        let lane = match raw.lane.get_ref().as_str() {
            "process" => Lane::Process(programs(&blame, &raw.task, folder)?),
            "ptx" => Lane::Ptx(ptx::variants(&blame, &raw.task, folder)?),
            "rust" => {
                let kind = ManifestErrorKind::Lane(
                    "a Rust submission is linked, not opened: implement `grading::submission::Submission` \
                     and grade it in a test of its crate"
                        .into(),
                );
                return Err(blame.at(raw.lane.span(), "lane", kind));
            }
            other => {
                let kind = unknown("lane", other, &["process", "ptx", "rust"]);
                return Err(blame.at(raw.lane.span(), "lane", kind));
            }
        };
        Ok(Manifest {
            folder: folder.to_owned(),
            name: raw.name.into_inner(),
            limits: limits(&blame, &raw.limits)?,
            lane,
        })
    }
}

fn unknown(what: &'static str, name: &str, known: &[&str]) -> ManifestErrorKind {
    ManifestErrorKind::Unknown {
        what,
        name: name.to_owned(),
        known: known.join(", "),
    }
}

fn task_name(
    blame: &Blame<'_>,
    index: usize,
    task: &raw::Task,
) -> Result<&'static str, ManifestError> {
    let name = task.name.get_ref();
    TASKS
        .into_iter()
        .find(|known| known == name)
        .ok_or_else(|| {
            let key = format!("task[{index}].name");
            blame.at(task.name.span(), key, unknown("task", name, &TASKS))
        })
}

fn programs(
    blame: &Blame<'_>,
    tasks: &[Spanned<raw::Task>],
    folder: &Path,
) -> Result<Vec<Program>, ManifestError> {
    let mut programs: Vec<Program> = Vec::new();
    for (index, spanned) in tasks.iter().enumerate() {
        let task = spanned.get_ref();
        let name = task_name(blame, index, task)?;
        let key = |key: &str| format!("task[{index}].{key}");
        if let Some(variant) = task.variant.first() {
            let kind = ManifestErrorKind::Lane(
                "the process lane has no variants; they belong to `lane = \"ptx\"`".into(),
            );
            return Err(blame.at(variant.span(), key("variant"), kind));
        }
        let needs = || {
            ManifestErrorKind::Lane(
                "the process lane needs the program: command = [\"python3\", \"softmax_topk.py\"]"
                    .into(),
            )
        };
        let Some(command) = &task.command else {
            return Err(blame.at(spanned.span(), key("command"), needs()));
        };
        let [program, ..] = &command.get_ref()[..] else {
            return Err(blame.at(command.span(), key("command"), needs()));
        };
        if programs.iter().any(|earlier| earlier.task == name) {
            let kind = ManifestErrorKind::Value(format!(
                "`{name}` was submitted before; one program answers all its operations"
            ));
            return Err(blame.at(task.name.span(), key("name"), kind));
        }
        // A path is the submission's own file; a bare name is looked up where programs are.
        let local = folder.join(program);
        let mut command: Vec<String> = command.get_ref().clone();
        if program.contains('/') {
            if !local.exists() {
                let kind = ManifestErrorKind::File {
                    file: PathBuf::from(program),
                    why: "there is no such file".into(),
                };
                let span = task.command.as_ref().map_or(0..0, Spanned::span);
                return Err(blame.at(span, key("command"), kind));
            }
            command[0] = local.to_string_lossy().into_owned();
        }
        // Arguments that name files of the submission go as whole paths: the program starts in an
        // empty folder.
        for argument in command.iter_mut().skip(1) {
            let local = folder.join(&*argument);
            if !argument.is_empty() && !argument.starts_with('-') && local.is_file() {
                *argument = local.to_string_lossy().into_owned();
            }
        }
        programs.push(Program {
            task: name.to_owned(),
            ops: task.ops.iter().map(|op| op.get_ref().clone()).collect(),
            command,
        });
    }
    Ok(programs)
}

fn limits(blame: &Blame<'_>, raw: &raw::Limits) -> Result<Limits, ManifestError> {
    let mut limits = Limits::DEFAULT;
    let most = Limits::MOST;
    for (key, raw, limit, most) in [
        (
            "wall_seconds",
            &raw.wall_seconds,
            &mut limits.wall_seconds,
            most.wall_seconds,
        ),
        (
            "start_seconds",
            &raw.start_seconds,
            &mut limits.start_seconds,
            most.start_seconds,
        ),
        (
            "cpu_seconds",
            &raw.cpu_seconds,
            &mut limits.cpu_seconds,
            most.cpu_seconds,
        ),
        (
            "memory_mib",
            &raw.memory_mib,
            &mut limits.memory_mib,
            most.memory_mib,
        ),
        (
            "processes",
            &raw.processes,
            &mut limits.processes,
            most.processes,
        ),
        ("files", &raw.files, &mut limits.files, most.files),
        (
            "disk_mib",
            &raw.disk_mib,
            &mut limits.disk_mib,
            most.disk_mib,
        ),
        (
            "answer_mib",
            &raw.answer_mib,
            &mut limits.answer_mib,
            most.answer_mib,
        ),
        ("steps", &raw.steps, &mut limits.steps, most.steps),
    ] {
        let Some(asked) = raw else { continue };
        *limit = *asked.get_ref();
        let key = format!("limits.{key}");
        if *limit > most {
            let asked_for = *limit;
            let kind = ManifestErrorKind::Limit {
                asked: asked_for,
                most,
            };
            return Err(blame.at(asked.span(), key, kind));
        }
        if *limit == 0 {
            let kind = ManifestErrorKind::Value("a limit of nothing lets nothing run".into());
            return Err(blame.at(asked.span(), key, kind));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests;
