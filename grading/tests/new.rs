//! Skeletons of `touchstone new` run, and are wrong: nothing else is.

use grading::grade::{Live, ManifestSource, Options, Source, run_check};
use grading::lane::process::launcher::Launcher;
use grading::new::{Language, NewError, write};
use grading::submission::{Answer, Call, Failure, OpenOptions, Submission};
use grading::task::{self, Budget, Task};
use grading::verdict::Verdict;
use std::process::{Command, Stdio};

/// The Rust skeleton, as it stands in the template.
#[path = "../templates/lib.rs.in"]
#[allow(unreachable_pub, reason = "the template is a crate's own root")]
mod skeleton;

/// Checks of a task that a skeleton is asked.
const CHECKS: usize = 4;

fn is_wrong(task: &Task, source: &dyn Source, what: &str) {
    let mut live = Live::new(source);
    let options = Options::new("skeleton", Budget::Quick);
    let mut wrong = 0;
    for check in task.checks.iter().take(CHECKS) {
        let verdict = run_check(task, check, &mut live, &options).verdict;
        match verdict {
            Verdict::Wrong(_) => wrong += 1,
            // Zeros may be right of a part: a refusal that is asked for, or outputs of zeros.
            Verdict::Pass | Verdict::NotAttempted(_) => {}
            other => panic!(
                "{what}, {}: {}: {}",
                check.path(),
                other.name(),
                other.because()
            ),
        }
    }
    assert!(wrong > 0, "{what}: zeros pass the first {CHECKS} checks");
}

fn there(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn graded(language: Language) {
    let parent = tempfile::tempdir().expect("a folder");
    for task in task::all() {
        let folder = parent.path().join(task.spec.name);
        write(task, language, &folder).unwrap_or_else(|error| panic!("{error}"));
        if language == Language::C {
            let built = Command::new("sh").arg(folder.join("build.sh")).status();
            assert!(built.is_ok_and(|status| status.success()));
        }
        let options = OpenOptions {
            launcher: Some(Launcher::at(env!("CARGO_BIN_EXE_touchstone"))),
            ..OpenOptions::default()
        };
        let source = ManifestSource::new(&folder, options);
        let source = source.unwrap_or_else(|error| panic!("{error}"));
        is_wrong(task, &source, &format!("{} in {language}", task.spec.name));
    }
}

#[test]
fn python() {
    if there("python3", &["-c", "import numpy"]) {
        graded(Language::Python);
    } else {
        eprintln!("skipped: no python3 with numpy");
    }
}

#[test]
fn c() {
    if there("cc", &["--version"]) {
        graded(Language::C);
    } else {
        eprintln!("skipped: no cc");
    }
}

#[test]
fn ptx() {
    graded(Language::Ptx);
}

#[test]
fn cuda() {
    graded(Language::Cuda);
}

#[test]
fn triton() {
    graded(Language::Triton);
}

/// The skeleton's own code, under the name of each task.
struct Renamed;

impl Submission for Renamed {
    fn name(&self) -> String {
        skeleton::Mine.name()
    }

    fn supports(&self, _task: &str, op: &str) -> bool {
        skeleton::Mine.supports("{task}", op)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        skeleton::Mine.call(call)
    }
}

#[test]
fn rust() {
    let open = || -> Box<dyn Submission> { Box::new(Renamed) };
    for task in task::all() {
        is_wrong(task, &open, &format!("{} in Rust", task.spec.name));
    }
}

#[test]
fn nothing_is_overwritten() {
    let parent = tempfile::tempdir().expect("a folder");
    let task = &task::all()[0];
    let written = write(task, Language::Ptx, parent.path());
    assert!(matches!(written, Err(NewError::Exists(_))));
}
