//! `cargo xtask tidy`: the workspace is what ARCHITECTURE.md says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is two rooms.
const MAX_LINES: usize = 800;

/// Where `unsafe` may stand: the device layer with its kernels, and the driver's edge.
const UNSAFE_PLACES: [&str; 2] = ["kernels-gpu/src/", "kernels-host/src/cuda"];

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut findings = Vec::new();
    let sources = sources(root)?;
    layering(root, &mut findings)?;
    for source in &sources {
        let text = read(&root.join(source))?;
        let shown = source.to_string_lossy();
        if text.lines().count() > MAX_LINES {
            findings.push(format!(
                "{shown}: over {MAX_LINES} lines: two rooms in one?"
            ));
        }
        if source
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            unsafe_is_reasoned(&shown, &text, &mut findings);
        }
    }
    test_data_is_discovered(root, &sources, &mut findings)?;
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(());
    }
    Err(findings.join("\n"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Code and scripts, relative to the root. Generated files (PTX, test data) do not count.
fn sources(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let items = fs::read_dir(&at).map_err(|e| format!("cannot list {}: {e}", at.display()))?;
        for item in items.flatten() {
            let path = folder.join(item.file_name());
            let name = item.file_name();
            if item.path().is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|e| e == "rs" || e == "py" || e == "sh")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The rooms' table in ARCHITECTURE.md, `| folder | crate | … | may use |`, against the manifests.
fn layering(root: &Path, findings: &mut Vec<String>) -> Result<(), String> {
    let allowed = rooms(&read(&root.join("ARCHITECTURE.md"))?);
    let workspace = manifest(&root.join("Cargo.toml"))?;
    let mut members = vec![String::from(".")];
    if let Some(list) = workspace
        .get("workspace")
        .and_then(|w| w.get("members")?.as_array())
    {
        members.extend(
            list.iter()
                .filter_map(|member| Some(member.as_str()?.to_owned())),
        );
    }
    let mut manifests = BTreeMap::new();
    for member in members {
        let manifest = manifest(&root.join(&member).join("Cargo.toml"))?;
        let name = manifest
            .get("package")
            .and_then(|p| p.get("name")?.as_str());
        let name = name
            .ok_or_else(|| format!("{member}/Cargo.toml names no package"))?
            .to_owned();
        manifests.insert(name, manifest);
    }
    for (name, manifest) in &manifests {
        let Some(may_use) = allowed.get(name) else {
            findings.push(format!("ARCHITECTURE.md: no row for the crate `{name}`"));
            continue;
        };
        for section in ["dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(|table| table.as_table()) else {
                continue;
            };
            for used in table.keys().filter(|used| manifests.contains_key(*used)) {
                if !may_use.contains(used) {
                    findings.push(format!(
                        "`{name}` uses `{used}` ({section}); ARCHITECTURE.md does not allow it"
                    ));
                }
            }
        }
    }
    for room in allowed.keys().filter(|room| !manifests.contains_key(*room)) {
        findings.push(format!("ARCHITECTURE.md: there is no crate `{room}`"));
    }
    Ok(())
}

fn manifest(path: &Path) -> Result<toml::Table, String> {
    read(path)?
        .parse()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Crate → the workspace crates it may use, from the table whose last column is headed "may use".
fn rooms(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms = BTreeMap::new();
    let mut in_table = false;
    for line in architecture.lines() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        if cells.last() == Some(&"may use") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && cells.len() >= 3 && !cells[0].starts_with("--") {
            let names = cells[cells.len() - 1].split(',');
            let may_use = names.map(|name| name.trim().trim_matches('`').to_owned());
            rooms.insert(cells[1].trim_matches('`').to_owned(), may_use.collect());
        }
    }
    rooms
}

/// Every `unsafe` block has a `SAFETY:` sentence above it, and stands where it may.
fn unsafe_is_reasoned(shown: &str, text: &str, findings: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let may = UNSAFE_PLACES.iter().any(|place| shown.starts_with(place));
    for (number, line) in lines.iter().enumerate() {
        let code = without_strings(line.split("//").next().unwrap_or_default());
        if !code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe")
        {
            continue;
        }
        if !may {
            findings.push(format!(
                "{shown}:{}: `unsafe` has no place here",
                number + 1
            ));
        } else if code.contains("unsafe {") {
            // Up through the statement and attributes that the block is part of.
            let reasoned = lines[..=number]
                .iter()
                .rev()
                .take(6)
                .any(|above| above.contains("SAFETY:"));
            if !reasoned {
                findings.push(format!(
                    "{shown}:{}: `unsafe` without `SAFETY:`",
                    number + 1
                ));
            }
        }
    }
}

/// A line of code with what stands between quotes left out.
fn without_strings(line: &str) -> String {
    let line = line.replace("\\\"", "");
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Every folder of test data is named by a test that walks it.
fn test_data_is_discovered(
    root: &Path,
    sources: &[PathBuf],
    findings: &mut Vec<String>,
) -> Result<(), String> {
    let mut test_folders = BTreeSet::new();
    for source in sources {
        let parts: Vec<_> = source.iter().collect();
        if let Some(at) = parts.iter().position(|part| *part == "tests") {
            test_folders.insert(parts[..=at].iter().collect::<PathBuf>());
        }
    }
    for tests in test_folders {
        let at = root.join(&tests);
        let items = fs::read_dir(&at).map_err(|e| format!("cannot list {}: {e}", at.display()))?;
        let (mut folders, mut programs) = (Vec::new(), String::new());
        for item in items.flatten() {
            if item.path().is_dir() {
                folders.push(item.file_name().to_string_lossy().into_owned());
            } else if item
                .path()
                .extension()
                .is_some_and(|extension| extension == "rs")
            {
                programs.push_str(&read(&item.path())?);
            }
        }
        for folder in folders {
            // insta keeps its files in `snapshots`; a folder with a main.rs is a test program that
            // cargo finds, one with a mod.rs part of one.
            let is_code = ["main.rs", "mod.rs"]
                .iter()
                .any(|f| at.join(&folder).join(f).is_file());
            let walked = programs.contains(&format!("\"{folder}\""))
                || programs.contains(&format!("/{folder}\""));
            if folder != "snapshots" && !is_code && !walked {
                findings.push(format!("{}/{folder}: no test walks it", tests.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_read_from_the_table() {
        let text = "# Map\n\n| folder | crate | may use |\n|---|---|---|\n\
            | `a/` | `a` | |\n| `b/` | `b` | `a`, `c` |\n\n| x | y |\n|---|---|\n| `q` | `r` |\n";
        let rooms = rooms(text);
        assert_eq!(rooms.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(rooms["b"].contains("a") && rooms["b"].contains("c"));
        assert!(!rooms["a"].contains("b"));
    }

    #[test]
    fn unsafe_needs_a_reason_and_a_place() {
        let check = |file: &str, text: &str| {
            let mut findings = Vec::new();
            unsafe_is_reasoned(file, text, &mut findings);
            findings.len()
        };
        let bare = "fn f() {\n    unsafe { g() }\n}\n";
        let reasoned = "fn f() {\n    // SAFETY: because\n    unsafe { g() }\n}\n";
        assert_eq!(check("kernels-gpu/src/lib.rs", bare), 1);
        assert_eq!(check("kernels-gpu/src/lib.rs", reasoned), 0);
        assert_eq!(check("simt/src/lib.rs", reasoned), 1);
        assert_eq!(check("simt/src/lib.rs", "let word = \"unsafe\";\n"), 0);
        assert_eq!(
            check("simt/src/lib.rs", "#![forbid(unsafe_code)]\n// unsafe\n"),
            0
        );
    }
}
