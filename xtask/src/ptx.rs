//! `cargo xtask ptx`: device code to PTX, a file for each family and target.

use kernels_gpu::{FAMILIES, Family};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};
use toolchain::compiler::{self, DeviceCompiler};
use toolchain::recipe::{PROFILE, TARGETS, Target, flags};
use toolchain::stamp::{self, Header, file_name};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    NoCompiler(#[from] compiler::NotFound),
    #[error("{0}")]
    Sources(#[from] stamp::ReadError),
    #[error("cannot access {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the device build of `{family}` for {target} failed:\n{said}")]
    Build {
        family: &'static str,
        target: &'static str,
        said: String,
    },
    #[error("the PTX of `{family}` has no entry `{entry}`, which its ENTRIES table names")]
    NoEntry {
        family: &'static str,
        entry: &'static str,
    },
    #[error("the PTX of `{family}` has the entry `{entry}`, which its ENTRIES table lacks")]
    UnknownEntry { family: &'static str, entry: String },
    #[error("there is no family `{name}`; there are: {}", names().join(", "))]
    UnknownFamily { name: String },
    #[error("{}\nrun `cargo xtask ptx` and commit the result", .0.join("\n"))]
    Stale(Vec<String>),
}

fn names() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.name).collect()
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File {
        path: path.into(),
        source,
    })
}

/// Builds, and writes or, with `check`, compares.
pub(crate) fn run(root: &Path, check: bool, only: Option<&str>) -> Result<(), Error> {
    if let Some(name) = only.filter(|name| !names().contains(name)) {
        return Err(Error::UnknownFamily { name: name.into() });
    }
    let families: Vec<&Family> = FAMILIES
        .iter()
        .filter(|family| only.is_none_or(|name| name == family.name))
        .collect();
    let compiler = DeviceCompiler::find()?;
    let crate_dir = root.join("kernels-gpu");
    let ptx_dir = crate_dir.join("ptx");
    fs::create_dir_all(&ptx_dir).map_err(|source| Error::File {
        path: ptx_dir.clone(),
        source,
    })?;

    let mut stale = Vec::new();
    for target in TARGETS {
        for family in &families {
            let header = Header {
                family: family.name.into(),
                target: target.name.into(),
                sources: stamp::source_hash(&crate_dir, family.name, &names(), target)?,
                compiler: compiler.version.clone(),
            };
            let body = build(root, &compiler, family, target)?;
            let made = format!("{header}{}", finish(&body, family)?);
            let path = ptx_dir.join(file_name(family.name, target));
            if !check {
                println!("{} ({} KiB)", path.display(), made.len() / 1024);
                fs::write(&path, made).map_err(|source| Error::File { path, source })?;
                continue;
            }
            match compare(&path, &header, &made)? {
                Some(difference) => stale.push(difference),
                None => println!("{} is as its sources say", path.display()),
            }
        }
    }
    if only.is_none() {
        strays(&ptx_dir, check, &mut stale)?;
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(Error::Stale(stale))
    }
}

/// Byte for byte when the recorded compiler is this one, by the sources' hash otherwise: another
/// compiler writes other PTX from the same sources.
fn compare(path: &Path, header: &Header, made: &str) -> Result<Option<String>, Error> {
    let shown = path.display();
    if !path.exists() {
        return Ok(Some(format!("{shown} is missing")));
    }
    let there = read(path)?;
    let Some(recorded) = Header::read(&there) else {
        return Ok(Some(format!("{shown} has no header")));
    };
    if recorded.sources != header.sources {
        return Ok(Some(format!("{shown} was made from other sources")));
    }
    if recorded.compiler != header.compiler {
        println!(
            "{shown} was made by {}, this is {}: compared by hash only",
            recorded.compiler, header.compiler
        );
        return Ok(None);
    }
    let differs = there.lines().zip(made.lines()).position(|(a, b)| a != b);
    Ok((there != made).then(|| match differs {
        Some(line) => format!("{shown} differs from a fresh build at line {}", line + 1),
        None => format!("{shown} differs from a fresh build in length"),
    }))
}

/// PTX files of families or targets that are no more: removed, or with `check` reported.
fn strays(ptx_dir: &Path, check: bool, stale: &mut Vec<String>) -> Result<(), Error> {
    let wrap = |source| Error::File {
        path: ptx_dir.into(),
        source,
    };
    let known: Vec<String> = TARGETS
        .iter()
        .flat_map(|target| {
            FAMILIES
                .iter()
                .map(|family| file_name(family.name, *target))
        })
        .collect();
    for item in fs::read_dir(ptx_dir).map_err(wrap)? {
        let path = item.map_err(wrap)?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.ends_with(".ptx") && !known.contains(&name)) {
            if check {
                stale.push(format!("{} belongs to no family", path.display()));
            } else {
                fs::remove_file(&path).map_err(|source| Error::File { path, source })?;
            }
        }
    }
    Ok(())
}

/// Compiles one family for one target; the PTX as the compiler writes it.
fn build(
    root: &Path,
    compiler: &DeviceCompiler,
    family: &Family,
    target: Target,
) -> Result<String, Error> {
    let target_dir = root.join("target/device").join(target.name);
    let mut rustflags = flags(target);
    // The PTX must not depend on where it was built.
    rustflags.push(format!(
        "--remap-path-prefix={}=library",
        compiler.library.display()
    ));
    rustflags.push(format!("--remap-path-prefix={}/=", root.display()));
    let result = Command::new(env!("CARGO"))
        .current_dir(root.join("kernels-gpu"))
        .args([
            "rustc",
            "--release",
            "--target",
            "nvptx64-nvidia-cuda",
            "-Zbuild-std=core",
        ])
        .args([
            "--crate-type",
            "cdylib",
            "--features",
            family.name,
            "--",
            "-Dwarnings",
        ])
        .env("RUSTC", &compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"))
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .envs(PROFILE)
        .output()
        .map_err(|source| Error::File {
            path: env!("CARGO").into(),
            source,
        })?;
    if !result.status.success() {
        return Err(Error::Build {
            family: family.name,
            target: target.name,
            said: String::from_utf8_lossy(&result.stderr).into_owned(),
        });
    }
    read(&target_dir.join("nvptx64-nvidia-cuda/release/deps/kernels_gpu.s"))
}

/// Lines that say nothing to an assembler or to the PTX machine: labels for debuggers, and comments
/// around inline assembly. They are a quarter of the text.
fn is_noise(line: &str) -> bool {
    let line = line.trim();
    let label = line.starts_with("$L__tmp") || line.starts_with("$L__func_");
    (label && line.ends_with(':')) || line == "// begin inline asm" || line == "// end inline asm"
}

/// The compiler writes the shared variables of a module in an order that differs from build to
/// build: here they are sorted.
fn in_order(ptx: &str) -> String {
    let is_shared =
        |line: &&str| line.starts_with(".shared ") || line.starts_with(".extern .shared ");
    let mut shared: Vec<&str> = ptx.lines().filter(is_shared).collect();
    shared.sort_unstable();
    let mut shared = shared.into_iter();
    let lines = ptx.lines().map(|line| {
        if is_shared(&line) {
            shared.next().unwrap_or(line)
        } else {
            line
        }
    });
    lines.fold(String::with_capacity(ptx.len()), |mut text, line| {
        text.push_str(line);
        text.push('\n');
        text
    })
}

/// Adds each entry's `.maxntid`, which the compiler has no attribute for, and checks that the
/// entries are those of the table.
fn finish(ptx: &str, family: &Family) -> Result<String, Error> {
    let ptx = &in_order(ptx);
    let mut finished = String::with_capacity(ptx.len() + 64 * family.entries.len());
    let mut bound = None;
    let mut seen = Vec::new();
    for line in ptx.lines().filter(|line| !is_noise(line)) {
        if let Some(rest) = line.strip_prefix(".visible .entry ") {
            let name = rest.split('(').next().unwrap_or_default();
            let entry = family
                .entries
                .iter()
                .find(|entry| entry.name == name)
                .ok_or_else(|| Error::UnknownEntry {
                    family: family.name,
                    entry: name.into(),
                })?;
            seen.push(entry.name);
            bound = Some(entry.max_threads);
        }
        finished.push_str(line.trim_end());
        finished.push('\n');
        // The parameter list ends with a line of its own, or on the entry's line when it is empty.
        if (line == ")" || (line.starts_with(".visible .entry ") && line.ends_with("()")))
            && let Some(threads) = bound.take()
        {
            finished.push_str(&format!(".maxntid {threads}\n"));
        }
    }
    match family
        .entries
        .iter()
        .find(|entry| !seen.contains(&entry.name))
    {
        Some(missing) => Err(Error::NoEntry {
            family: family.name,
            entry: missing.name,
        }),
        None => Ok(finished),
    }
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn shared_variables_are_sorted_and_nothing_else_is() {
        let a = "x\n.shared .b8 b[1];\n.extern .shared .b8 d[];\n.shared .b8 a[1];\n\tret;\n";
        let b = "x\n.extern .shared .b8 d[];\n.shared .b8 a[1];\n.shared .b8 b[1];\n\tret;\n";
        assert_eq!(in_order(a), b);
        assert_eq!(in_order(b), b);
    }
}
