//! The examples pass: what people copy is right.

use grading::grade::{Journal, ManifestSource, Options, Paint, grade, render};
use grading::lane::process::launcher::Launcher;
use grading::submission::OpenOptions;
use grading::task::Budget;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Every deciding check of every task that is submitted.
fn passes(folder: &Path) {
    let options = OpenOptions {
        launcher: Some(Launcher::at(env!("CARGO_BIN_EXE_touchstone"))),
        ..OpenOptions::default()
    };
    let source = ManifestSource::new(folder, options).unwrap_or_else(|error| panic!("{error}"));
    let mut options = Options::new("example", Budget::Quick);
    if let Ok(seed) = std::env::var("TOUCHSTONE_SEED") {
        options.seed = seed.parse().expect("TOUCHSTONE_SEED is a number");
    }
    let report = grade(&source, &options, &mut Journal::none(), &|_| ());
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    let text = render(&report, Paint::plain());
    assert_eq!(report.exit_code(), 0, "{text}");
}

#[test]
fn numpy() {
    if runs("python3", &["-c", "import numpy"]) {
        passes(&folder("python"));
    } else {
        eprintln!("skipped: no python3 with numpy");
    }
}

#[test]
fn c() {
    if !runs("cc", &["--version"]) {
        eprintln!("skipped: no cc");
        return;
    }
    // Compiled beside a copy, so that the checkout stays as it is.
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder("c"))
        .expect("the example")
        .flatten()
    {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
        }
    }
    let built = Command::new("sh")
        .arg(copy.path().join("build.sh"))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "it does not compile"
    );
    passes(copy.path());
}

#[test]
fn cuda() {
    passes(&folder("cuda"));
}

#[test]
fn triton() {
    passes(&folder("triton"));
}
