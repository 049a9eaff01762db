//! The hash of what a PTX file was made from, and the header that records it.

use crate::recipe::{self, Target};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Why sources could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the device sources at {path}: {source}")]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// The directory or file stem in `src/` that holds a family's own code: `softmax-topk` lives in
/// `softmax_topk.rs` or `softmax_topk/`.
pub fn module_of(family: &str) -> String {
    family.replace('-', "_")
}

/// The module, a directory or file stem in `src/`, that a source file belongs to.
fn module_in(file: &Path) -> Option<&str> {
    let part = file.components().nth(1)?.as_os_str();
    Path::new(part).file_stem()?.to_str()
}

/// Whether a text has the word, be it in a path, in braces or in a comment.
fn names(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    })
}

/// The modules whose sources decide what PTX a family becomes: its own, `device`, and what these
/// name, directly or by way of another. A module can only be used by its name, so none is missed; one
/// that a comment names counts too.
fn modules_of<'a>(family: &str, sources: &'a [(PathBuf, String)]) -> BTreeSet<&'a str> {
    let all: BTreeSet<&str> = sources
        .iter()
        .filter_map(|(file, _)| module_in(file))
        .filter(|module| *module != "lib")
        .collect();
    let own = module_of(family);
    let mut counted: BTreeSet<&str> = all
        .iter()
        .copied()
        .filter(|module| *module == own || *module == "device")
        .collect();
    loop {
        let named = |module: &&str| {
            sources.iter().any(|(file, text)| {
                module_in(file).is_some_and(|of| counted.contains(of)) && names(text, module)
            })
        };
        let more: Vec<&str> = all.difference(&counted).copied().filter(named).collect();
        if more.is_empty() {
            return counted;
        }
        counted.extend(more);
    }
}

/// The hash of everything that decides what PTX a family becomes for a target: the sources of its
/// own module and of those it uses, the crate's root, its manifest and the compiler's flags.
///
/// `families` names all families: the sources of the others do not count, even where named.
///
/// # Errors
/// When a source file cannot be read.
pub fn source_hash(
    device_crate: &Path,
    family: &str,
    families: &[&str],
    target: Target,
) -> Result<String, ReadError> {
    let others: Vec<String> = families
        .iter()
        .filter(|name| **name != family)
        .map(|name| module_of(name))
        .collect();
    let mut files = Vec::new();
    collect(device_crate, Path::new("src"), &mut files)?;
    files.retain(|file| {
        // `families` is the list of all families, which only the host sees.
        !module_in(file).is_some_and(|module| {
            module == "families" || others.iter().any(|other| other == module)
        })
    });
    files.push(PathBuf::from("Cargo.toml"));
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let path = device_crate.join(&file);
        let text = fs::read(&path).map_err(|source| ReadError { path, source })?;
        // A checkout may have other line ends.
        sources.push((file, String::from_utf8_lossy(&text).replace('\r', "")));
    }
    let counted = modules_of(family, &sources);
    let idle: Vec<String> = sources
        .iter()
        .filter_map(|(file, _)| module_in(file))
        .filter(|module| *module != "lib" && !counted.contains(module))
        .map(String::from)
        .chain(others)
        .collect();
    let mut hash = Sha256::new();
    for flag in recipe::flags(target) {
        hash.update(flag.as_bytes());
        hash.update([0]);
    }
    for (key, value) in recipe::PROFILE {
        hash.update(format!("{key}={value}\0"));
    }
    for (file, text) in &sources {
        if module_in(file).is_some_and(|module| module != "lib" && !counted.contains(module)) {
            continue;
        }
        let name = file.to_string_lossy().replace('\\', "/");
        let text = without_idle(text, &idle, families.iter().filter(|name| **name != family));
        hash.update(format!("{name}\0{}\0", text.len()));
        hash.update(text);
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Without the lines that do no more than declare a module that does not count, or name another
/// family's cargo feature. A new family, or a change to what others share, must not make a family's
/// PTX stale.
fn without_idle<'a>(
    text: &str,
    modules: &[String],
    others: impl Iterator<Item = &'a &'a str>,
) -> String {
    let mut idle: Vec<_> = others.map(|name| format!("{name} = []")).collect();
    for module in modules {
        idle.push(format!("pub mod {module};"));
    }
    text.lines()
        .filter(|line| !idle.iter().any(|name| name == line))
        .fold(String::new(), |mut kept, line| {
            kept.push_str(line);
            kept.push('\n');
            kept
        })
}

fn collect(root: &Path, at: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let directory = root.join(at);
    let wrap = |source| ReadError {
        path: directory.clone(),
        source,
    };
    for item in fs::read_dir(&directory).map_err(wrap)? {
        let item = item.map_err(wrap)?;
        let path = at.join(item.file_name());
        if item.file_type().map_err(wrap)?.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The first lines of a PTX file: what it was made from and with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The family's name.
    pub family: String,
    /// The target's name.
    pub target: String,
    /// [`source_hash`] of what it was made from.
    pub sources: String,
    /// The compiler's version line.
    pub compiler: String,
}

const TITLE: &str = "// Touchstone device code. Made by `cargo xtask ptx`; do not edit.";

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}")?;
        writeln!(f, "// family: {}", self.family)?;
        writeln!(f, "// target: {}", self.target)?;
        writeln!(f, "// sources: sha256 {}", self.sources)?;
        writeln!(f, "// compiler: {}", self.compiler)
    }
}

impl Header {
    /// Reads the header of a PTX file, if it has one.
    pub fn read(ptx: &str) -> Option<Header> {
        let mut lines = ptx.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut field = |name: &str| {
            lines
                .next()?
                .strip_prefix("// ")?
                .strip_prefix(name)?
                .strip_prefix(": ")
        };
        Some(Header {
            family: field("family")?.into(),
            target: field("target")?.into(),
            sources: field("sources")?.strip_prefix("sha256 ")?.into(),
            compiler: field("compiler")?.into(),
        })
    }
}

/// The file name of a family's PTX for a target.
pub fn file_name(family: &str, target: Target) -> String {
    format!("{family}.{}.ptx", target.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn hash(root: &Path, family: &str) -> String {
        source_hash(root, family, &["one", "the-other"], recipe::TARGETS[0]).expect("a hash")
    }

    #[test]
    fn a_familys_hash_covers_its_own_and_the_common_sources_only() {
        let root = std::env::temp_dir().join(format!("touchstone-stamp-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        write(&root, "Cargo.toml", "[package]");
        write(&root, "src/lib.rs", "pub mod one;\n");
        write(&root, "src/one.rs", "1");
        write(&root, "src/the_other/kernel.rs", "2");
        write(&root, "src/device/warp.rs", "3");
        let (one, other) = (hash(&root, "one"), hash(&root, "the-other"));
        assert_ne!(one, other);

        write(&root, "src/the_other/kernel.rs", "22");
        assert_eq!(one, hash(&root, "one"));
        assert_ne!(other, hash(&root, "the-other"));

        let other = hash(&root, "the-other");
        write(&root, "src/device/warp.rs", "33");
        assert_ne!(one, hash(&root, "one"));
        assert_ne!(other, hash(&root, "the-other"));

        let one = hash(&root, "one");
        write(&root, "src/lib.rs", "pub mod one;\npub mod the_other;\n");
        write(&root, "src/families.rs", "a list");
        assert_eq!(
            one,
            hash(&root, "one"),
            "the name of another family does not count"
        );
        write(&root, "src/lib.rs", "pub mod one;\nuse that;\n");
        assert_ne!(one, hash(&root, "one"), "the rest of the root does");

        let one = hash(&root, "one");
        write(&root, "src/one.rs", "1\r");
        assert_eq!(one, hash(&root, "one"), "line ends do not count");
        assert_ne!(
            one,
            source_hash(&root, "one", &["one", "the-other"], recipe::TARGETS[1]).expect("a hash"),
            "flags count"
        );
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn a_shared_module_counts_for_the_families_that_name_it() {
        let name = format!("touchstone-stamp-shared-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&root);
        write(&root, "Cargo.toml", "[package]");
        write(&root, "src/lib.rs", "pub mod one;\npub mod the_other;\n");
        write(&root, "src/one.rs", "use crate::{device, shared::thing};");
        write(
            &root,
            "src/the_other.rs",
            "use crate::device; // not ashared, shared_too",
        );
        write(&root, "src/device.rs", "");
        let (one, other) = (hash(&root, "one"), hash(&root, "the-other"));

        write(&root, "src/shared/mod.rs", "use super::deeper;");
        write(&root, "src/deeper.rs", "");
        let lib = "pub mod deeper;\npub mod one;\npub mod shared;\npub mod the_other;\n";
        write(&root, "src/lib.rs", lib);
        assert_ne!(one, hash(&root, "one"), "the module is named");
        assert_eq!(other, hash(&root, "the-other"), "it is not");

        let one = hash(&root, "one");
        write(&root, "src/deeper.rs", "changed");
        assert_ne!(one, hash(&root, "one"), "by way of the other");
        assert_eq!(other, hash(&root, "the-other"));
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let header = Header {
            family: "softmax-topk".into(),
            target: "sm_80".into(),
            sources: "00ff".into(),
            compiler: "rustc 1.96.0 (ac68faa20 2026-05-25)".into(),
        };
        assert_eq!(
            Header::read(&format!("{header}\n.version 7.4\n")),
            Some(header)
        );
        assert_eq!(Header::read(".version 7.4\n"), None);
        assert_eq!(Header::read(TITLE), None);
    }
}
