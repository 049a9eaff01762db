//! `touchstone tasks` and `touchstone explain`.

use super::{task_names, unknown};
use grading::task::{self, Kind, Spec};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    spec: &'static Spec,
    checks: Vec<Counted>,
}

#[derive(Serialize)]
struct Counted {
    kind: Kind,
    count: usize,
}

pub(crate) fn tasks(json: bool) -> ExitCode {
    if !json {
        for task in task::all() {
            println!("{:<26} {}", task.spec.name, task.spec.summary);
        }
        return ExitCode::SUCCESS;
    }
    let count = |task: &task::Task, kind| task.checks.iter().filter(|c| c.kind == kind).count();
    let listed: Vec<Listed> = task::all()
        .iter()
        .map(|task| Listed {
            spec: task.spec,
            checks: Kind::ALL
                .map(|kind| Counted {
                    kind,
                    count: count(task, kind),
                })
                .into(),
        })
        .collect();
    match serde_json::to_string_pretty(&listed) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("touchstone: the tasks cannot be written as JSON: {error}");
            ExitCode::from(crate::EX_SOFTWARE)
        }
    }
}

pub(crate) fn explain(name: &str) -> ExitCode {
    match task::named(name) {
        Some(task) => {
            print!("{}", task::explain(task));
            ExitCode::SUCCESS
        }
        None => unknown("task", name, &task_names()),
    }
}
