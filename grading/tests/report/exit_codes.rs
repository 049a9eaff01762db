//! The documented exit codes.

use super::{failing, mistaken, options, plain, report};
use grading::submission::Failure;
use std::process::Command;

fn touchstone(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_touchstone"))
        .args(arguments)
        .output()
        .expect("the binary was built for this test");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn zero_when_all_is_right() {
    let (code, stdout, _) = touchstone(&["grade", "plain", "--task", "softmax-topk"]);
    assert_eq!(code, Some(0), "{stdout}");
    // The secret seed of the run is told afterwards.
    assert!(stdout.contains("seed "), "{stdout}");
}

#[test]
fn one_when_something_is_wrong_and_its_replay_is_too() {
    let (code, stdout, _) = touchstone(&[
        "grade",
        "mistake:ties-by-higher",
        "--task",
        "softmax-topk",
        "--seed",
        "5",
    ]);
    assert_eq!(code, Some(1), "{stdout}");
    let replay = stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("again: touchstone "))
        .expect("a command to repeat it");
    let arguments: Vec<&str> = replay.split(' ').collect();
    let (code, stdout, stderr) = touchstone(&arguments);
    assert_eq!(code, Some(1), "{replay}: {stdout}{stderr}");
    assert!(stdout.contains("ties-by-higher"), "{stdout}");
}

#[test]
fn two_for_usage_and_for_what_is_not_there() {
    for arguments in [
        &["grade"][..],
        &["grade", "no-such-submission"],
        &["grade", "plain", "--task", "no-such-task"],
        &["grade", "plain", "--quick", "--full"],
        &["explain", "no-such-task"],
        &[
            "replay",
            "plain",
            "--check",
            "softmax-topk::trap::none",
            "--seed",
            "1",
        ],
        &[
            "replay",
            "plain",
            "--check",
            "softmax-topk::trap::all-equal",
            "--seed",
            "1",
            "--dims",
            "V",
        ],
    ] {
        let (code, _, stderr) = touchstone(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn three_when_nothing_was_graded_and_seventy_for_ours() {
    let softmax = options("softmax-topk", 1);
    assert_eq!(report(&failing(None), &softmax).exit_code(), 3);
    let ours = failing(Some(Failure::Grader("a bug".into())));
    assert_eq!(report(&ours, &softmax).exit_code(), 70);
    assert_eq!(report(&plain(), &softmax).exit_code(), 0);
    assert_eq!(report(&mistaken("no-rescale"), &softmax).exit_code(), 1);
}

/// Runs `touchstone` where the kernel makes no namespace; `None` where it makes none for us either.
fn without_namespaces(arguments: &[&str]) -> Option<(Option<i32>, String, String)> {
    let refuse = "for kind in user mnt net pid ipc; do \
                  echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 99; done; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", refuse, "sh"])
        .arg(env!("CARGO_BIN_EXE_touchstone"))
        .args(arguments)
        .output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output {
        Ok(output)
            if output.status.code() != Some(99)
                && !text(&output.stderr).starts_with("unshare:") =>
        {
            Some((
                output.status.code(),
                text(&output.stdout),
                text(&output.stderr),
            ))
        }
        _ => None,
    }
}

#[test]
fn four_when_a_sandbox_is_required_and_the_kernel_refuses_it() {
    let folder = tempfile::tempdir().expect("a directory");
    let manifest = "schema = 1\nname = \"ends at once\"\nlane = \"process\"\n\
                    [[task]]\nname = \"softmax-topk\"\ncommand = [\"true\"]\n";
    std::fs::write(folder.path().join("submission.toml"), manifest).expect("a file");
    let path = folder.path().to_str().expect("UTF-8");
    let grade = ["grade", path, "--task", "softmax-topk", "--quick"];
    let required: Vec<&str> = grade.iter().copied().chain(["--require-sandbox"]).collect();
    let Some((code, _, stderr)) = without_namespaces(&required) else {
        println!("skipped: no user namespaces, so none that could be refused");
        return;
    };
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("mount namespace: refused"), "{stderr}");
    assert!(stderr.contains("without --require-sandbox"), "{stderr}");

    // Not required, it is graded, and the report says what was refused.
    let (code, stdout, stderr) = without_namespaces(&grade).expect("it was possible above");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains("network namespace: refused"), "{stdout}");
}

#[test]
fn tasks_are_listed_as_text_and_as_json() {
    let (code, text, _) = touchstone(&["tasks"]);
    assert_eq!(code, Some(0));
    let (code, json, _) = touchstone(&["tasks", "--json"]);
    assert_eq!(code, Some(0));
    let listed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let names: Vec<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|task| task["name"].as_str())
        .collect();
    assert_eq!(text.lines().count(), names.len());
    assert!(names.iter().all(|name| text.contains(name)));
    // The names of traps are nobody's to read.
    assert!(!json.contains("ties-across-threads"));
}
