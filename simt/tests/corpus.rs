//! The front end reads every module of the corpus: the op tests and the foreign PTX.

use std::path::{Path, PathBuf};

fn modules(root: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root).expect("the corpus is here") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            modules(&path, found);
        } else if path.extension().is_some_and(|e| e == "ptx") {
            found.push(path);
        }
    }
}

#[test]
fn every_module_parses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = Vec::new();
    modules(&root.join("ops"), &mut found);
    modules(&root.join("foreign"), &mut found);
    assert!(
        found.len() > 2000,
        "only {} modules: the corpus is not whole",
        found.len()
    );
    let failures: Vec<String> = found
        .iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            let problem = simt::ptx::parse(&text).err()?;
            Some(format!("{}:\n{problem:?}", path.display()))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} modules\n{}",
        failures.len(),
        failures.join("\n")
    );
}
