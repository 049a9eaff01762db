//! From checks to a grade, by the published rubric.

use super::report::{CheckReport, Grade, LevelReport, Lost, Overall, TaskReport};
use crate::task::{Kind, Task};
use crate::verdict::Verdict;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The rubric's text.
pub const TEXT: &str = include_str!("rubric.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rubric {
    version: u32,
    points: Points,
    letters: BTreeMap<String, f64>,
    precision: Vec<Step>,
    bytes: Vec<Step>,
    flops: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Points {
    levels: f64,
    precision: f64,
    memory: f64,
    cost: f64,
    determinism: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    up_to: f64,
    share: f64,
}

fn rubric() -> &'static Rubric {
    static RUBRIC: LazyLock<Rubric> =
        LazyLock::new(|| toml::from_str(TEXT).expect("the rubric is read in a test"));
    &RUBRIC
}

/// The rubric's version.
pub(super) fn version() -> u32 {
    rubric().version
}

fn share(steps: &[Step], figure: f64) -> f64 {
    let step = steps.iter().find(|step| figure <= step.up_to);
    step.map_or(0.0, |step| step.share)
}

/// A part of the grade: what it is worth, how much of it was earned, and why not all.
struct Part {
    criterion: &'static str,
    worth: f64,
    share: f64,
    evidence: String,
}

/// Which levels were reached.
pub(super) fn levels(task: &Task, checks: &[CheckReport]) -> Vec<LevelReport> {
    let state = |level: &str| {
        let of_level = || checks.iter().filter(|check| check.level == level);
        let decides = |check: &&CheckReport| decides(check);
        if of_level().any(|check| check.verdict.is_bad() && decides(&check)) {
            "not reached"
        } else if of_level().any(|check| matches!(check.verdict, Verdict::Unsupported(_))) {
            "not claimed"
        } else if of_level().any(|check| matches!(check.verdict, Verdict::Pass)) {
            "reached"
        } else {
            "not counted"
        }
    };
    let levels = task.spec.levels.iter();
    levels
        .map(|level| LevelReport {
            name: level.name.to_owned(),
            state: state(level.name).to_owned(),
        })
        .collect()
}

fn decides(check: &CheckReport) -> bool {
    let kind = Kind::ALL.into_iter().find(|k| k.name() == check.kind);
    kind.is_some_and(Kind::decides)
}

/// The grade of a task.
pub(super) fn grade(checks: &[CheckReport], levels: &[LevelReport]) -> Grade {
    let asked = |check: &CheckReport| !matches!(check.verdict, Verdict::NotAttempted(_));
    if !checks.iter().any(asked) {
        return Grade::default();
    }
    let basic = |check: &CheckReport| {
        check.level == "basic" && matches!(check.verdict, Verdict::Unsupported(_))
    };
    let failed: Vec<&CheckReport> = checks
        .iter()
        .filter(|check| {
            // A crash or a cheat fails a task wherever it is seen.
            let wrong = matches!(check.verdict, Verdict::Wrong(_));
            (check.verdict.is_bad() && (decides(check) || !wrong)) || basic(check)
        })
        .collect();
    let parts = parts(checks, levels);
    let whole: f64 = parts.iter().map(|part| part.worth).sum();
    let scale = 100.0 / whole.max(1.0);
    let points: f64 = parts.iter().map(|part| part.worth * part.share).sum();
    let points = points * scale;
    let mut lost: Vec<Lost> = parts
        .into_iter()
        .filter(|part| part.share < 1.0)
        .map(|part| Lost {
            criterion: part.criterion.to_owned(),
            points: (1.0 - part.share) * part.worth * scale,
            evidence: part.evidence,
        })
        .collect();
    let passed = failed.is_empty();
    if !passed {
        lost.insert(
            0,
            Lost {
                criterion: "right and wrong".to_owned(),
                points,
                evidence: failed
                    .iter()
                    .map(|check| format!("{}: {}", check.name, check.verdict.name()))
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        );
    }
    Grade {
        passed: Some(passed),
        letter: Some(letter(passed, points)),
        points: if passed { points } else { 0.0 },
        lost,
    }
}

fn letter(passed: bool, points: f64) -> String {
    if !passed {
        return "F".to_owned();
    }
    let letters = rubric().letters.iter();
    let reached = letters.filter(|(_, least)| points >= **least);
    let best = reached.max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or_else(|| "E".to_owned(), |(letter, _)| letter.clone())
}

fn parts(checks: &[CheckReport], levels: &[LevelReport]) -> Vec<Part> {
    let points = &rubric().points;
    let mut parts = Vec::new();
    let counted: Vec<&LevelReport> = levels.iter().filter(|l| l.state != "not counted").collect();
    let missing: Vec<&str> = counted
        .iter()
        .filter(|level| level.state != "reached")
        .map(|level| level.name.as_str())
        .collect();
    parts.push(Part {
        criterion: "levels",
        worth: points.levels,
        share: 1.0 - missing.len() as f64 / counted.len().max(1) as f64,
        evidence: format!("not reached: {}", missing.join(", ")),
    });
    let worst = checks
        .iter()
        .filter_map(|check| Some((check.figures.p99?, check)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((figure, check)) = worst {
        parts.push(Part {
            criterion: "precision",
            worth: points.precision,
            share: share(&rubric().precision, figure),
            evidence: format!(
                "99% of errors are within {figure:.2} of the bound in {}",
                check.name
            ),
        });
    }
    for (criterion, worth, kind) in [
        ("memory", points.memory, Kind::Memory),
        ("determinism", points.determinism, Kind::Determinism),
    ] {
        let of_kind: Vec<_> = checks
            .iter()
            .filter(|c| c.kind == kind.name())
            .filter(|c| matches!(c.verdict, Verdict::Pass) || c.verdict.is_bad())
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        let bad: Vec<_> = of_kind.iter().filter(|c| c.verdict.is_bad()).collect();
        parts.push(Part {
            criterion,
            worth,
            share: 1.0 - bad.len() as f64 / of_kind.len() as f64,
            evidence: bad
                .iter()
                .map(|c| c.verdict.because().to_owned())
                .collect::<Vec<_>>()
                .join("; "),
        });
    }
    parts.extend(cost(checks, points.cost));
    parts
}

/// Half for the bytes, half for the operations; all for the bytes where operations do not count.
fn cost(checks: &[CheckReport], worth: f64) -> Vec<Part> {
    let of_kind = checks.iter().filter(|c| c.kind == Kind::Cost.name());
    let Some((check, counted)) = of_kind
        .filter_map(|check| Some((check, check.figures.counted.as_ref()?)))
        .next()
    else {
        return Vec::new();
    };
    let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
    let bytes = ratio(counted.bytes_moved, counted.bytes_compulsory);
    let halves = if counted.flops_plain == 0 { 1.0 } else { 2.0 };
    let mut parts = vec![Part {
        criterion: "cost in bytes",
        worth: worth / halves,
        share: share(&rubric().bytes, bytes),
        evidence: format!(
            "{bytes:.2} times the bytes that must be moved, at {}",
            check.dims
        ),
    }];
    if counted.flops_plain > 0 {
        let flops = ratio(counted.flops, counted.flops_plain);
        parts.push(Part {
            criterion: "cost in operations",
            worth: worth / halves,
            share: share(&rubric().flops, flops),
            evidence: format!("{flops:.2} times the plain algorithm's, at {}", check.dims),
        });
    }
    parts
}

/// The grade of all tasks.
pub(super) fn overall(tasks: &[TaskReport]) -> Overall {
    let count = |passed| tasks.iter().filter(|t| t.grade.passed == passed).count();
    let graded: Vec<f64> = tasks
        .iter()
        .filter(|task| task.grade.passed.is_some())
        .map(|task| task.grade.points)
        .collect();
    let points = graded.iter().sum::<f64>() / graded.len().max(1) as f64;
    let failed = count(Some(false));
    Overall {
        passed: count(Some(true)),
        failed,
        not_attempted: count(None),
        letter: (!graded.is_empty()).then(|| letter(failed == 0, points)),
        points,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rubric_is_whole() {
        let rubric = rubric();
        let p = &rubric.points;
        let sum = p.levels + p.precision + p.memory + p.cost + p.determinism;
        assert_eq!(sum, 100.0);
        assert_eq!(letter(true, 100.0), "A");
        assert_eq!(letter(true, 0.0), "E");
        assert_eq!(letter(false, 100.0), "F");
        for steps in [&rubric.precision, &rubric.bytes, &rubric.flops] {
            assert!(steps.is_sorted_by(|a, b| a.up_to < b.up_to && a.share > b.share));
        }
    }
}
