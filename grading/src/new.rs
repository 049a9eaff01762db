//! `touchstone new`: a submission that runs, answers zeros, and is graded `wrong`.

use crate::submission::manifest::SCHEMA;
use crate::task::Task;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The lanes, and the languages that there are skeletons in for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate that implements the trait.
    Rust,
    /// A program in Python.
    Python,
    /// A program in C.
    C,
    /// PTX by hand.
    Ptx,
    /// PTX from CUDA.
    Cuda,
    /// PTX from Triton.
    Triton,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Rust => "Rust",
            Language::Python => "Python",
            Language::C => "C",
            Language::Ptx => "PTX",
            Language::Cuda => "CUDA",
            Language::Triton => "Triton",
        })
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// There is something already.
    #[error("{} is there already; give another folder", .0.display())]
    Exists(PathBuf),
    /// It cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Writes a skeleton for a task into a new folder.
///
/// # Errors
/// When the folder is there, or cannot be written.
pub fn write(task: &Task, language: Language, folder: &Path) -> Result<(), NewError> {
    if folder.exists() {
        return Err(NewError::Exists(folder.to_owned()));
    }
    for (name, text) in files(task, language) {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        let failed = |error| NewError::Write {
            path: path.clone(),
            error,
        };
        fs::create_dir_all(parent).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
    }
    Ok(())
}

/// How to go on, for the user.
pub fn next_step(task: &Task, language: Language, folder: &Path) -> String {
    let (name, folder) = (task.spec.name, folder.display());
    match language {
        Language::Rust => format!("cd {folder} && cargo test"),
        Language::C => format!("sh {folder}/build.sh && touchstone grade {folder} --task {name}"),
        _ => format!("touchstone grade {folder} --task {name}"),
    }
}

fn files(task: &Task, language: Language) -> Vec<(&'static str, String)> {
    let name = task.spec.name;
    let filled = |template: &str| template.replace("{task}", name);
    match language {
        Language::Rust => vec![
            (
                "Cargo.toml",
                filled(include_str!("../templates/Cargo.toml.in")),
            ),
            ("src/lib.rs", filled(include_str!("../templates/lib.rs.in"))),
            (
                "tests/graded.rs",
                filled(include_str!("../templates/graded.rs.in")),
            ),
        ],
        Language::Python => {
            let mut ops = String::new();
            for op in task.spec.ops {
                let _ = writeln!(ops, "    \"{}\": zeros,", op.name);
            }
            let program = filled(include_str!("../templates/program.py"));
            vec![
                (
                    "submission.toml",
                    process(task, "\"python3\", \"program.py\""),
                ),
                ("program.py", program.replace("{ops}", &ops)),
                (
                    "touchstone.py",
                    include_str!("../examples/python/touchstone.py").to_owned(),
                ),
            ]
        }
        Language::C => vec![
            // A path without a file is an error: the script says how it comes to be.
            ("submission.toml", process(task, "\"sh\", \"run.sh\"")),
            ("program.c", filled(include_str!("../templates/program.c"))),
            (
                "touchstone.h",
                include_str!("../examples/c/touchstone.h").to_owned(),
            ),
            ("build.sh", include_str!("../templates/build.sh").to_owned()),
            ("run.sh", include_str!("../templates/run.sh").to_owned()),
        ],
        Language::Ptx => ptx(task, include_str!("../templates/zeros.ptx"), None),
        Language::Cuda => {
            let source = ("zeros.cu", include_str!("../templates/zeros.cu"));
            ptx(
                task,
                include_str!("../templates/zeros.cuda.ptx"),
                Some(source),
            )
        }
        Language::Triton => {
            let source = ("zeros.py", include_str!("../templates/zeros.py"));
            ptx(
                task,
                include_str!("../templates/zeros.triton.ptx"),
                Some(source),
            )
        }
    }
}

fn head(task: &Task, lane: &str) -> String {
    format!(
        "# `touchstone explain {0}` prints what is asked.\n\
         schema = {SCHEMA}\nname = \"my {0}\"\nlane = \"{lane}\"\n\n[[task]]\nname = \"{0}\"\n",
        task.spec.name
    )
}

fn process(task: &Task, command: &str) -> String {
    format!("{}command = [{command}]\n", head(task, "process"))
}

/// A launch for every output of every operation.
fn ptx(
    task: &Task,
    kernel: &str,
    source: Option<(&'static str, &str)>,
) -> Vec<(&'static str, String)> {
    // Triton adds two pointers to its own scratch memories.
    let scratch = if kernel.contains("zeros_param_3") {
        ", \"null\", \"null\""
    } else {
        ""
    };
    let mut manifest = head(task, "ptx");
    for op in task.spec.ops {
        let _ = write!(manifest, "\n[[task.variant]]\nop = \"{}\"\n", op.name);
        for output in op.outputs {
            let when = match output.optional {
                true => format!("when = \"has({})\"\n", output.name),
                false => String::new(),
            };
            let _ = write!(
                manifest,
                "\n[[task.variant.kernel]]\n{when}file = \"zeros.ptx\"\nentry = \"zeros\"\n\
                 grid = [\"max(1, ceil_div(default_bytes, 128))\"]\nblock = [128]\n\
                 args = [\"{0}?\", \"u32: default_bytes\"{scratch}]\n",
                output.name
            );
            manifest = manifest.replace("default_bytes", &format!("bytes({})", output.name));
        }
    }
    let mut files = vec![
        ("submission.toml", manifest),
        ("zeros.ptx", kernel.to_owned()),
    ];
    files.extend(source.map(|(name, text)| (name, text.to_owned())));
    files
}
