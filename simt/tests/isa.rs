//! Every line of the instruction table is used by a test file, and so is every word that may stand
//! at a place of a line, and every place that may be left empty. What is not is listed below
//! `isa/` with the reason; what is listed and used after all fails.

mod support;

use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Untested {
    #[serde(default)]
    form: Vec<Form>,
    #[serde(default)]
    choice: Vec<Choices>,
}

/// A line that no test uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// The line, as the table has it.
    pattern: String,
    reason: String,
}

/// What no test uses of a line that tests use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choices {
    pattern: String,
    /// Each as a failure shows it: the place, a colon, the word, if any.
    words: Vec<String>,
    reason: String,
}

/// The reasons of all files below `isa/`.
fn listed() -> Untested {
    let mut all = Untested {
        form: Vec::new(),
        choice: Vec::new(),
    };
    for path in support::files(&support::folder("isa"), "toml") {
        let text = std::fs::read_to_string(&path).expect("readable");
        let one: Untested =
            toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        all.form.extend(one.form);
        all.choice.extend(one.choice);
    }
    all
}

/// What the test files use, of each by `look`.
fn used<T: Ord>(look: fn(&simt::ptx::ast::Module) -> BTreeSet<T>) -> BTreeSet<T> {
    let mut used = BTreeSet::new();
    for folder in ["ops", "foreign", "check"] {
        for path in support::files(&support::folder(folder), "ptx") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let module = simt::ptx::parse(&text).unwrap_or_else(|e| panic!("{e}"));
            used.extend(look(&module));
        }
    }
    used
}

fn nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_line_of_the_table_has_a_test() {
    let used = used(simt::isa::used);
    let table: BTreeSet<&str> = (simt::isa::listing().into_iter())
        .flat_map(|(_, forms)| forms)
        .collect();
    assert!(table.len() > 200, "only {} lines", table.len());
    let listed = listed().form;
    let mut wrong = Vec::new();
    for form in &listed {
        let pattern = form.pattern.as_str();
        if !table.contains(pattern) {
            wrong.push(format!("no such line: {pattern}"));
        } else if used.contains(pattern) {
            wrong.push(format!("is tested, though listed: {pattern}"));
        }
        assert!(!form.reason.is_empty(), "{pattern}: why?");
    }
    let listed: BTreeSet<&str> = listed.iter().map(|f| f.pattern.as_str()).collect();
    for pattern in table.difference(&used) {
        if !listed.contains(pattern) {
            wrong.push(format!("no test uses: {pattern}"));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_choice_of_the_table_has_a_test() {
    let name = |(pattern, place, word): &simt::isa::Choice| (*pattern, format!("{place}:{word}"));
    let used: BTreeSet<_> = used(simt::isa::used_choices).iter().map(name).collect();
    let table: BTreeSet<_> = simt::isa::choices().iter().map(name).collect();
    assert!(table.len() > 1500, "only {} choices", table.len());
    let Untested { form, choice } = listed();
    // A line of which nothing is used has said so.
    let lines: BTreeSet<&str> = form.iter().map(|f| f.pattern.as_str()).collect();
    let mut listed = BTreeSet::new();
    let mut wrong = Vec::new();
    for Choices {
        pattern,
        words,
        reason,
    } in &choice
    {
        assert!(!reason.is_empty(), "{pattern}: why?");
        for word in words {
            let one = (pattern.as_str(), word.clone());
            if !table.contains(&one) {
                wrong.push(format!("no such choice: {pattern}  {word}"));
            } else if used.contains(&one) {
                wrong.push(format!("is tested, though listed: {pattern}  {word}"));
            }
            listed.insert(one);
        }
    }
    for (pattern, word) in table.difference(&used) {
        let reason = lines.contains(pattern) || listed.contains(&(*pattern, word.clone()));
        if !reason {
            wrong.push(format!("no test uses: {pattern}  {word}"));
        }
    }
    nothing_wrong(&wrong);
}
