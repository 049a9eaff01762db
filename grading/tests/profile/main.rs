//! `touchstone profile` and `touchstone plot` as people outside use them, the pages and pictures they
//! make, and the schema of results. The results here are synthetic.

mod count;
mod formulas;
#[path = "../support/mod.rs"]
mod json_schema;
mod measure;
mod page;
mod plot;
mod results;
#[path = "../support/small.rs"]
mod small;
mod timing;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the command in a folder.
fn touchstone(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_touchstone"))
        .args(words)
        .current_dir(folder)
        // Registers are asked of an assembler only where a test is about that.
        .env("TOUCHSTONE_PTXAS", "/nowhere/ptxas")
        .output()
        .expect("it starts")
}

/// `profile` of a task's shape for the submission in a folder, with further words.
fn profile_of(folder: &Path, task: &str, shape: &str, submission: &Path, more: &[&str]) -> Output {
    let path = submission.to_str().expect("a path");
    let words = ["profile", task, "--shape", shape, "--submission", path];
    touchstone(folder, &[&words, more].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn exits(output: &Output, code: i32, says: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}{err}", out(output));
    let all = format!("{}{err}", out(output));
    assert!(all.contains(says), "no {says:?} in:\n{all}");
}

/// A file beside these tests.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/profile")
        .join(name)
}
