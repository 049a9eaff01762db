//! What people read.

use super::{failing, mistaken, options, plain, report};
use grading::grade::{Paint, render};
use grading::submission::Failure;
use grading::task;

#[test]
fn everything_right() {
    let report = report(&plain(), &options("softmax-topk", 7));
    let text = render(&report, Paint::plain());
    assert!(!text.contains("wrong"), "{text}");
    let task = task::named("softmax-topk").expect("a task");
    // What was checked is always told.
    for check in &task.checks {
        assert!(text.contains(&check.path()), "{}: {text}", check.path());
    }
    assert!(
        text.contains("1 passed, 0 failed, 0 not attempted"),
        "{text}"
    );
}

#[test]
fn a_mistake_is_shown_where_it_is_and_named() {
    let report = report(&mistaken("rescale-direction"), &options("softmax-topk", 7));
    let text = render(&report, Paint::plain());
    for said in [
        "wrong         trap::rescale-direction",
        "times the bound",
        "looks like `rescale-direction` (100% of the errors agree)",
        "mend: multiply by exp(m_old − m_new)",
        "again: touchstone replay plain --check softmax-topk::trap::rescale-direction --seed ",
        " failures look like `rescale-direction`: ",
        "0 passed, 1 failed, 0 not attempted",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_timeout_is_no_wrong_answer() {
    let late = failing(Some(Failure::Timeout("no answer in 10 s".into())));
    let report = report(&late, &options("layernorm-backward", 7));
    let text = render(&report, Paint::plain());
    assert!(
        text.contains("timeout") && !text.contains("wrong  "),
        "{text}"
    );
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn nothing_claimed_is_not_attempted() {
    let report = report(&failing(None), &options("beam-search", 7));
    insta::assert_snapshot!(render(&report, Paint::plain()));
}

#[test]
fn a_contract() {
    let task = task::named("softmax-topk").expect("a task");
    insta::assert_snapshot!(task::explain(task));
}
