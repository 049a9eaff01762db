//! The list of mutants that are known to be equivalent.

use grading::mutate::Options;
use std::path::Path;

/// An entry of the list that names no kernel we have explains nothing.
#[test]
fn the_list_of_equivalent_mutants_speaks_of_our_kernels() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let options = Options::of_checkout(&root, 1, 0).unwrap_or_else(|error| panic!("{error}"));
    let texts: Vec<String> = std::fs::read_dir(&options.ptx)
        .expect("the PTX files")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect();
    for known in &options.explained {
        let entry = format!(".entry {}(", known.kernel);
        let line = format!("\t{};\n", known.from.trim_end_matches(';'));
        let there = texts.iter().any(|text| {
            let spaced: String = text.replace(" \t", " ");
            text.contains(&entry) && spaced.contains(&line)
        });
        assert!(there, "{}: no line `{}`", known.kernel, known.from);
        assert!(!known.because.trim().is_empty(), "{}", known.from);
    }
}
