//! The examples pass: what people copy is right.

use grading::builtin::Place;
use grading::grade::{Journal, ManifestSource, Options, Paint, Source, grade, render, source};
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

fn open(folder: &Path) -> ManifestSource {
    let options = OpenOptions {
        launcher: Some(Launcher::at(env!("CARGO_BIN_EXE_touchstone"))),
        ..OpenOptions::default()
    };
    ManifestSource::new(folder, options).unwrap_or_else(|error| panic!("{error}"))
}

/// Every deciding check of every task that is submitted.
fn passes(folder: &Path) {
    let mut options = Options::new("example", Budget::Quick);
    if let Ok(seed) = std::env::var("TOUCHSTONE_SEED") {
        options.seed = seed.parse().expect("TOUCHSTONE_SEED is a number");
    }
    passes_as(&open(folder), &options);
}

fn passes_as(source: &dyn Source, options: &Options) {
    let report = grade(source, options, &mut Journal::none(), &|_| ());
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    let text = render(&report, Paint::plain());
    assert_eq!(report.exit_code(), 0, "{text}");
}

/// The NumPy examples, where there is NumPy.
fn with_numpy() -> Option<std::path::PathBuf> {
    if runs("python3", &["-c", "import numpy"]) {
        return Some(folder("python"));
    }
    eprintln!("skipped: no python3 with numpy");
    None
}

#[test]
fn numpy() {
    if let Some(folder) = with_numpy() {
        passes(&folder);
    }
}

/// The C example, compiled.
fn compiled() -> Option<tempfile::TempDir> {
    if !runs("cc", &["--version"]) {
        eprintln!("skipped: no cc");
        return None;
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
    Some(copy)
}

#[test]
fn c() {
    if let Some(copy) = compiled() {
        passes(copy.path());
    }
}

#[test]
fn cuda() {
    passes(&folder("cuda"));
}

#[test]
fn triton() {
    passes(&folder("triton"));
}

/// Everything that is right, from ten seeds: no false alarm.
#[test]
#[ignore = "minutes: `cargo test --release -p grading --test examples -- --ignored`"]
fn ten_runs_of_everything_right() {
    let mut all: Vec<Box<dyn Source>> = Vec::new();
    for name in [
        "builtin",
        "plain:forward",
        "plain:backward",
        "plain:pairwise",
        "plain:lanes",
    ] {
        let named = source(name, Place::Vm);
        all.push(named.unwrap_or_else(|error| panic!("{error}")));
    }
    let copy = compiled();
    let folders = ["triton", "cuda"].map(folder).into_iter();
    let copy = copy.iter().map(|copy| copy.path().to_owned());
    for folder in folders.chain(with_numpy()).chain(copy) {
        all.push(Box::new(open(&folder)));
    }
    for seed in 1..=10 {
        for source in &all {
            let mut options = Options::new("example", Budget::Quick);
            options.seed = seed;
            passes_as(&**source, &options);
            println!("seed {seed}: {} passes", source.name());
        }
    }
}
