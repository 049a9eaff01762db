//! Every line of the instruction table is used by a test file, or is listed with the reason why
//! not; what is listed and used after all fails.

mod support;

use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Untested {
    form: Vec<Form>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// The line, as the table has it.
    pattern: String,
    reason: String,
}

#[test]
fn every_line_of_the_table_has_a_test() {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for folder in ["ops", "foreign", "check"] {
        for path in support::files(&support::folder(folder), "ptx") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let module = simt::ptx::parse(&text).unwrap_or_else(|e| panic!("{e}"));
            used.extend(simt::isa::used(&module));
        }
    }
    let table: BTreeSet<&str> = (simt::isa::listing().into_iter())
        .flat_map(|(_, forms)| forms)
        .collect();
    assert!(table.len() > 200, "only {} lines", table.len());
    let text = std::fs::read_to_string(support::folder("isa_untested.toml")).expect("readable");
    let listed: Untested = toml::from_str(&text).unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = Vec::new();
    for form in &listed.form {
        let pattern = form.pattern.as_str();
        if !table.contains(pattern) {
            wrong.push(format!("no such line: {pattern}"));
        } else if used.contains(pattern) {
            wrong.push(format!("is tested, though listed: {pattern}"));
        }
        assert!(!form.reason.is_empty(), "{pattern}: why?");
    }
    let listed: BTreeSet<&str> = listed.form.iter().map(|f| f.pattern.as_str()).collect();
    for pattern in table.difference(&used) {
        if !listed.contains(pattern) {
            wrong.push(format!("no test uses: {pattern}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} lines\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
