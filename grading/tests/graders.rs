//! The grader is graded. All by discovery: a trap that no mistake falls into, a mistake that its
//! trap does not catch, a near miss or an honest order that fails anything, fails here.

use grading::grade::{HonestSource, Live, Options, Paint, render_check, run_check};
use grading::task::{self, Budget, Check, Kind, Mistake, Order, Task, Way};
use grading::verdict::Verdict;

const SEEDS: [u64; 3] = [1, 0xfeed_beef, 20_260_101];

fn options(seed: u64) -> Options {
    Options {
        seed,
        ..Options::new("honest", Budget::Quick)
    }
}

fn verdict(task: &Task, check: &Check, way: Way, seed: u64) -> (Verdict, String) {
    let source = HonestSource(way);
    let report = run_check(task, check, &mut Live::new(&source), &options(seed));
    let text = render_check(&report, Paint::plain());
    (report.verdict, text)
}

#[test]
fn every_trap_has_a_mistake_that_it_catches() {
    for task in task::all() {
        let traps = task.checks.iter().filter(|check| check.kind == Kind::Trap);
        for trap in traps {
            let name = trap.name;
            let mut mistakes = task
                .mistakes
                .iter()
                .filter(|m| m.caught_by.contains(&name))
                .peekable();
            assert!(
                mistakes.peek().is_some(),
                "{}: no mistake falls into `{name}`",
                task.spec.name
            );
            for mistake in mistakes {
                for seed in SEEDS {
                    let (verdict, text) = verdict(task, trap, mistake.way(), seed);
                    assert!(
                        matches!(verdict, Verdict::Wrong(_)),
                        "{}: `{}` is not caught by `{name}` (seed {seed}): {text}",
                        task.spec.name,
                        mistake.name
                    );
                }
            }
        }
    }
}

#[test]
fn every_mistake_names_traps_that_exist() {
    for task in task::all() {
        for mistake in task.mistakes {
            for trap in mistake.caught_by {
                let known = |check: &Check| check.kind == Kind::Trap && check.name == *trap;
                assert!(
                    task.checks.iter().any(known),
                    "{}: `{}` names no trap: {trap}",
                    task.spec.name,
                    mistake.name
                );
            }
            assert!(mistake.is_near() || !mistake.mend.is_empty());
        }
    }
}

/// What is wrong by a switch is recognised by its own name.
#[test]
fn mistakes_are_diagnosed_as_themselves() {
    for task in task::all() {
        let (mut seen, mut recognised, mut mistaken) = (0, 0, Vec::new());
        for mistake in task.mistakes.iter().filter(|m| !m.is_near()) {
            for trap in mistake.caught_by {
                let check = task.check(&format!("trap::{trap}")).expect("named");
                let (verdict, _) = verdict(task, check, mistake.way(), SEEDS[0]);
                let Verdict::Wrong(wrong) = verdict else {
                    continue;
                };
                seen += 1;
                let Some(diagnosis) = wrong.diagnosis else {
                    continue;
                };
                let also = &diagnosis.also;
                match diagnosis.mistake == mistake.name || also.iter().any(|m| m == mistake.name) {
                    true => recognised += 1,
                    false => mistaken.push((mistake.name, diagnosis.mistake)),
                }
            }
        }
        // Property traps make no single call whose pattern could be compared.
        assert!(
            2 * recognised >= seen,
            "{}: {recognised} of {seen}",
            task.spec.name
        );
        assert!(
            20 * mistaken.len() <= seen,
            "{}: of {seen}, taken for another: {mistaken:?}",
            task.spec.name
        );
    }
}

/// A submission's tiles are its own: what goes wrong at their edges is recognised at any usual length.
#[test]
fn mistakes_at_the_edges_of_tiles_are_recognised_at_any_length() {
    let cases = [
        (
            "flash-attention-forward",
            "partial-last-tile",
            "tail-not-masked",
        ),
        (
            "flash-attention-forward",
            "fewer-keys-than-a-tile",
            "last-tile-dropped",
        ),
        ("flash-attention-forward", "late-outlier", "no-rescale"),
        (
            "flash-attention-forward",
            "late-outlier",
            "sum-not-rescaled",
        ),
        (
            "flash-attention-backward",
            "partial-query-tile",
            "tail-not-masked",
        ),
    ];
    for (task, trap, name) in cases {
        let task = task::named(task).expect("a task");
        let mistake = task.mistakes.iter().find(|m| m.name == name).expect(name);
        let check = task.check(&format!("trap::{trap}")).expect(trap);
        let mut recognised = 0;
        for tile in [16, 32, 128] {
            let way = Way {
                tile: Some(tile),
                ..mistake.way()
            };
            // At some lengths and sizes the mistake makes no difference.
            let (verdict, text) = verdict(task, check, way, SEEDS[0]);
            let Verdict::Wrong(wrong) = verdict else {
                continue;
            };
            let diagnosis = wrong.diagnosis.expect("one that is known");
            assert!(
                diagnosis.agreement > 0.95,
                "{name}, tiles of {tile}: {text}"
            );
            assert!(diagnosis.mistake == name, "{name}, tiles of {tile}: {text}");
            recognised += 1;
        }
        assert!(recognised > 0, "{name} is never wrong");
    }
}

#[test]
fn twelve_at_least() {
    for task in task::all() {
        assert!(task.mistakes.len() >= 12, "{}", task.spec.name);
        assert!(task.mistakes.iter().any(Mistake::is_near));
    }
}

fn passes_everything(task: &Task, way: Way, seed: u64) {
    for check in &task.checks {
        let (verdict, text) = verdict(task, check, way, seed);
        assert!(
            matches!(verdict, Verdict::Pass | Verdict::NotAttempted(_)),
            "{}, {way:?}, seed {seed}: {text}",
            task.spec.name
        );
    }
}

#[test]
fn near_misses_pass() {
    for task in task::all() {
        for near in task.mistakes.iter().filter(|m| m.is_near()) {
            passes_everything(task, near.way(), SEEDS[1]);
        }
    }
}

#[test]
fn honest_orders_pass() {
    for task in task::all() {
        for order in Order::ALL {
            for seed in SEEDS {
                passes_everything(task, Way::right(order), seed);
            }
        }
    }
}

/// The example of a contract is a call of it, and the oracle's own answer is right.
#[test]
fn examples_are_right() {
    for task in task::all() {
        let call = (task.example)();
        assert_eq!(task.spec.violations(&call), Vec::<String>::new());
        let oracle = (task.oracle)(&call).expect("an oracle");
        assert!(
            oracle.judge(&oracle.best()).is_right(),
            "{}",
            task.spec.name
        );
        let text = task::explain(task);
        for check in &task.checks {
            match check.kind {
                Kind::Property => assert!(text.contains(check.name)),
                Kind::Trap => assert!(!text.contains(check.name), "{}", check.name),
                _ => {}
            }
        }
    }
}

#[test]
fn names_are_unique() {
    for task in task::all() {
        let mut names: Vec<String> = task.checks.iter().map(Check::path).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "{}", task.spec.name);
        let levels: Vec<&str> = task.spec.levels.iter().map(|level| level.name).collect();
        for check in &task.checks {
            assert!(levels.contains(&check.level), "{}", check.path());
        }
        for level in levels {
            let of_level = |check: &Check| check.level == level;
            assert!(task.checks.iter().any(of_level), "nothing checks {level}");
        }
    }
}
