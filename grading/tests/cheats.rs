//! Each cheat of `cheats/` is graded, and gets the verdict that stands in its first line: never
//! `pass`.

use grading::grade::{Live, ManifestSource, Options, Source, run_check};
use grading::lane::limits::Limits;
use grading::lane::process::ProcessLane;
use grading::lane::process::launcher::Launcher;
use grading::submission::manifest::Program;
use grading::submission::{OpenOptions, Submission};
use grading::task::{self, Budget};
use grading::verdict::Verdict;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const TASK: &str = "softmax-topk";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cheats");
    let python = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let python = python.is_ok_and(|status| status.success());
    if !python {
        eprintln!("skipped: no python3, so that programs do not run");
    }
    let mut trials = Vec::new();
    for path in files(&folder).into_iter().chain(files(&folder.join("ptx"))) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let Some(expected) = first.strip_prefix("# expect: ").map(str::to_owned) else {
            continue;
        };
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_program = path.extension().is_some_and(|extension| extension == "py");
        let trial = Trial::test(name, move || caught(&path, &expected));
        trials.push(trial.with_ignored_flag(is_program && !python));
    }
    assert!(trials.len() >= 25, "{} samples", trials.len());
    trials.push(Trial::test("honest", honest).with_ignored_flag(!python));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    files
}

fn program(path: &Path) -> impl Fn() -> Box<dyn Submission> + Send + Sync + use<> {
    let path = path.to_string_lossy().into_owned();
    let limits = Limits {
        wall_seconds: 10,
        ..Limits::DEFAULT
    };
    move || {
        let program = Program {
            task: TASK.into(),
            ops: Vec::new(),
            command: vec!["python3".into(), path.clone()],
        };
        let launcher = Launcher::at(env!("CARGO_BIN_EXE_touchstone"));
        Box::new(ProcessLane::new("sample", vec![program], limits, launcher))
    }
}

/// That of `TOUCHSTONE_SEED`, so that a run repeats; a fresh one without it.
fn seed(fresh: u64) -> u64 {
    let named = std::env::var("TOUCHSTONE_SEED").ok();
    named.map_or(fresh, |seed| {
        seed.parse().expect("TOUCHSTONE_SEED is a number")
    })
}

/// The first verdict that is bad, and the check it is of.
fn first_bad(source: &dyn Source) -> Option<(String, Verdict)> {
    let task = task::named(TASK)?;
    let mut live = Live::new(source);
    let mut options = Options::new("sample", Budget::Quick);
    options.seed = seed(options.seed);
    task.checks.iter().find_map(|check| {
        let report = run_check(task, check, &mut live, &options);
        let decides = check.kind.decides() || !matches!(report.verdict, Verdict::Wrong(_));
        (report.verdict.is_bad() && decides).then_some((report.name, report.verdict))
    })
}

fn caught(path: &Path, expected: &str) -> Result<(), Failed> {
    let bad = if path.extension().is_some_and(|extension| extension == "py") {
        first_bad(&program(path))
    } else {
        first_bad(&ManifestSource::new(path, OpenOptions::default())?)
    };
    match bad {
        None => Err("it passes".into()),
        // Which check finds it first depends on the seed: some samples name two verdicts.
        Some((_, verdict)) if expected.split('|').any(|name| name == verdict.name()) => Ok(()),
        Some((check, verdict)) => {
            let (name, because) = (verdict.name(), verdict.because());
            Err(format!("{name} in {check}, not {expected}: {because}").into())
        }
    }
}

/// What the samples cheat about, done honestly, passes: they are caught for their cheating.
fn honest() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cheats/honest.py");
    match first_bad(&program(&path)) {
        None => Ok(()),
        Some((check, verdict)) => {
            let (name, because) = (verdict.name(), verdict.because());
            Err(format!("{name} in {check}: {because}").into())
        }
    }
}
