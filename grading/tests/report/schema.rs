//! The JSON is what its schema says, is whole at any time, and is taken up again.

use super::{failing, mistaken, options, plain, report};
use crate::json_schema::check;
use grading::grade::{Event, HonestSource, Journal, Options, Report, grade};
use grading::lane::process::SandboxReport;
use grading::lane::process::sandbox::Layer;
use grading::submission::Failure;
use grading::task::{self, Budget};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn conforms(report: &Report) {
    let schema: Value =
        serde_json::from_str(include_str!("../../schema/report.json")).expect("JSON");
    let value = serde_json::to_value(report).expect("a report is JSON");
    check(&schema, &schema, &value, "report").unwrap_or_else(|wrong| panic!("{wrong}"));
    // And what is read back is the same.
    let again: Report = serde_json::from_value(value.clone()).expect("it reads its own");
    assert_eq!(serde_json::to_value(&again).expect("JSON"), value);
}

#[test]
fn reports_of_every_kind_conform() {
    let softmax = options("softmax-topk", 11);
    conforms(&report(&plain(), &softmax));
    // Infinite ratios and NaN are in this one.
    conforms(&report(&mistaken("no-maximum"), &softmax));
    for failure in [
        Failure::Crash("signal 11".into()),
        Failure::Unsupported("f16".into()),
        Failure::Grader("ours".into()),
    ] {
        conforms(&report(&failing(Some(failure)), &softmax));
    }
    conforms(&report(&failing(None), &softmax));
    let mut confined = report(&plain(), &softmax);
    let layer = |name: &str, refused: Option<&str>| Layer {
        name: name.into(),
        refused: refused.map(str::to_owned),
    };
    let layers = vec![
        layer("Landlock", None),
        layer("user namespace", Some("ENOSPC")),
    ];
    confined.tasks[0].sandbox = Some(SandboxReport { layers });
    conforms(&confined);
}

#[test]
fn what_does_not_conform_is_found() {
    let schema: Value =
        serde_json::from_str(include_str!("../../schema/report.json")).expect("JSON");
    let report = report(&failing(None), &options("softmax-topk", 11));
    let mut value = serde_json::to_value(report).expect("JSON");
    value["overall"]["passed"] = "many".into();
    assert!(check(&schema, &schema, &value, "report").is_err());
}

/// A run that is stopped after its first task is taken up with the same seed and does not grade
/// that task again.
#[test]
fn a_stopped_run_is_taken_up_again() {
    std::panic::set_hook(Box::new(|_| ()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.json");
    let run = |seed: u64, tell: &(dyn Fn(Event<'_>) + Sync)| {
        let options = Options {
            seed,
            jobs: 1,
            tasks: ["layernorm-backward", "softmax-topk"]
                .map(|name| task::named(name).expect("a task").clone())
                .into(),
            ..Options::new("plain", Budget::Quick)
        };
        let source: HonestSource = plain();
        grade(&source, &options, &mut Journal::at(&path), tell)
    };
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        run(41, &|event| {
            if let Event::Begun("softmax-topk", _) = event {
                panic!("as if it were killed");
            }
        })
    }));
    assert!(stopped.is_err());
    let read = || -> Report {
        let text = std::fs::read_to_string(&path).expect("a whole file");
        serde_json::from_str(&text).expect("a report")
    };
    let half = read();
    assert!(!half.complete && half.tasks.len() == 1 && half.seed == 41);
    conforms(&half);

    let begun = std::sync::Mutex::new(Vec::new());
    let report = run(42, &|event| {
        if let Event::Begun(task, _) = event {
            begun.lock().expect("no panic").push(task.to_owned());
        }
    });
    let report = report.expect("a report");
    assert_eq!(*begun.lock().expect("no panic"), ["softmax-topk"]);
    assert!(report.complete && report.seed == 41 && report.tasks.len() == 2);
    assert_eq!(read().tasks.len(), 2);

    // What is complete is begun anew.
    let report = run(43, &|_| ()).expect("a report");
    assert_eq!(report.seed, 43);
}
