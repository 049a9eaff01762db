//! Tests known to fail, each with a reason. A waived test that passes fails, and so does a
//! waiver that names no test, so the list cannot grow stale.

use super::folder;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    waiver: Vec<Waiver>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiver {
    /// A test's full name, or its beginning followed by `*`.
    test: String,
    reason: String,
}

impl Waiver {
    fn covers(&self, test: &str) -> bool {
        match self.test.strip_suffix('*') {
            Some(start) => test.starts_with(start),
            None => self.test == test,
        }
    }
}

/// The waivers of one test binary.
pub struct Waivers(Vec<Waiver>);

impl Waivers {
    /// Reads `tests/waivers.toml`; those of other binaries, told by their prefix, are left out.
    pub fn of(prefix: &str) -> Self {
        let path = folder("waivers.toml");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file: File =
            toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(
            file.waiver
                .into_iter()
                .filter(|w| w.test.starts_with(prefix))
                .collect(),
        )
    }

    /// Turns a waived test's result round.
    pub fn judge(&self, test: &str, result: Result<(), String>) -> Result<(), String> {
        match (self.0.iter().find(|w| w.covers(test)), result) {
            (None, result) => result,
            (Some(waiver), Err(_)) => {
                eprintln!("waived: {test}: {}", waiver.reason);
                Ok(())
            }
            (Some(waiver), Ok(())) => Err(format!(
                "passes, though waived (\"{}\"): remove the waiver",
                waiver.reason
            )),
        }
    }

    /// Waivers that cover none of `tests`.
    pub fn stale<'a>(&'a self, tests: &[String]) -> Vec<&'a str> {
        let unused = |w: &&Waiver| !tests.iter().any(|t| w.covers(t));
        self.0
            .iter()
            .filter(unused)
            .map(|w| w.test.as_str())
            .collect()
    }
}
