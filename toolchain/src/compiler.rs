//! Finds a compiler that can build device code: one that takes unstable flags for
//! `nvptx64-nvidia-cuda` and has the source of `core` beside it, since no binary of `core` for that
//! target is shipped with stable Rust.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that names a compiler and overrules the search.
pub const VARIABLE: &str = "TOUCHSTONE_DEVICE_RUSTC";

/// Where Debian's `rustc-web` puts its compiler.
const DEBIAN: &str = "/usr/bin/rustc";

/// A compiler for device code.
#[derive(Clone, Debug)]
pub struct DeviceCompiler {
    /// The compiler itself.
    pub rustc: PathBuf,
    /// Its version line: `rustc 1.96.0 (ac68faa20 2026-05-25)`.
    pub version: String,
    /// Where the standard library's source lies.
    pub library: PathBuf,
}

/// The places that were tried, and why each was not it.
#[derive(Debug)]
pub struct NotFound {
    /// What was looked at, and what is wrong with it.
    pub tried: Vec<(String, String)>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no compiler for device code was found:")?;
        for (what, why) in &self.tried {
            writeln!(f, "  {what}: {why}")?;
        }
        write!(f, "{INSTALL}")
    }
}

impl std::error::Error for NotFound {}

/// How to get one.
pub const INSTALL: &str = "install one of:
  with rustup:          rustup toolchain install nightly --component rust-src
  on Debian or Ubuntu:  apt-get install rustc-web rust-web-src
or name one in TOUCHSTONE_DEVICE_RUSTC (a rustc from 1.96 on, with rust-src)";

impl DeviceCompiler {
    /// The compiler that [`VARIABLE`] names, or else rustup's nightly, or else Debian's.
    ///
    /// # Errors
    /// When none of them will do.
    pub fn find() -> Result<DeviceCompiler, NotFound> {
        if let Some(named) = std::env::var_os(VARIABLE) {
            let rustc = PathBuf::from(named);
            return DeviceCompiler::examine(&rustc).map_err(|why| NotFound {
                tried: vec![(format!("{VARIABLE}={}", rustc.display()), why)],
            });
        }
        let mut tried = Vec::new();
        match rustup_nightly() {
            Ok(rustc) => match DeviceCompiler::examine(&rustc) {
                Ok(found) => return Ok(found),
                Err(why) => tried.push((rustc.display().to_string(), why)),
            },
            Err(why) => tried.push(("rustup's nightly".into(), why)),
        }
        match DeviceCompiler::examine(Path::new(DEBIAN)) {
            Ok(found) => Ok(found),
            Err(why) => {
                tried.push((DEBIAN.into(), why));
                Err(NotFound { tried })
            }
        }
    }

    fn examine(rustc: &Path) -> Result<DeviceCompiler, String> {
        let version = output(Command::new(rustc).arg("--version"))?;
        let minor: u32 = version
            .strip_prefix("rustc 1.")
            .and_then(|rest| rest.split('.').next())
            .and_then(|minor| minor.parse().ok())
            .ok_or_else(|| format!("says `{version}`, not a version of rustc"))?;
        if minor < 96 {
            return Err(format!("is {version}; 1.96 or later is needed"));
        }
        let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
        let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
        if !library.join("core/src/lib.rs").is_file() {
            return Err(format!(
                "{version} has no source of `core` at {}",
                library.display()
            ));
        }
        Ok(DeviceCompiler {
            rustc: rustc.into(),
            version,
            library,
        })
    }
}

fn rustup_nightly() -> Result<PathBuf, String> {
    let rustc = output(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]))?;
    Ok(PathBuf::from(rustc))
}

fn output(command: &mut Command) -> Result<String, String> {
    let result = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not installed".to_owned(),
        _ => format!("could not be run: {error}"),
    })?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        return Err(said
            .lines()
            .next()
            .unwrap_or("failed and said nothing")
            .to_owned());
    }
    Ok(String::from_utf8_lossy(&result.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_compiler_is_said_to_be_none() {
        let why = DeviceCompiler::examine(Path::new("/nowhere/rustc")).expect_err("no such file");
        assert_eq!(why, "is not installed");
        let why = DeviceCompiler::examine(Path::new("/bin/echo")).expect_err("not a compiler");
        assert!(why.contains("not a version of rustc"), "{why}");
    }

    #[test]
    fn the_error_says_what_to_install() {
        let error = NotFound {
            tried: vec![("here".into(), "is not installed".into())],
        };
        let text = error.to_string();
        assert!(text.contains("here: is not installed"), "{text}");
        assert!(
            text.contains("apt-get install rustc-web rust-web-src"),
            "{text}"
        );
        assert!(
            text.contains("rustup toolchain install nightly --component rust-src"),
            "{text}"
        );
    }
}
