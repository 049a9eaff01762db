//! The manifest as it stands in the file: every value with its place, nothing yet believed.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) schema: Spanned<u64>,
    pub(super) name: Text,
    pub(super) lane: Text,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) task: Vec<Spanned<Task>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) wall_seconds: Option<Spanned<u64>>,
    pub(super) start_seconds: Option<Spanned<u64>>,
    pub(super) cpu_seconds: Option<Spanned<u64>>,
    pub(super) memory_mib: Option<Spanned<u64>>,
    pub(super) processes: Option<Spanned<u64>>,
    pub(super) files: Option<Spanned<u64>>,
    pub(super) disk_mib: Option<Spanned<u64>>,
    pub(super) answer_mib: Option<Spanned<u64>>,
    pub(super) steps: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    pub(super) name: Text,
    #[serde(default)]
    pub(super) ops: Vec<Text>,
    pub(super) command: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) variant: Vec<Spanned<Variant>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub(super) op: Option<Text>,
    pub(super) when: Option<Text>,
    #[serde(default)]
    pub(super) define: Vec<Spanned<Define>>,
    #[serde(default)]
    pub(super) scratch: BTreeMap<String, Spanned<Scalar>>,
    #[serde(default)]
    pub(super) kernel: Vec<Spanned<Kernel>>,
}

/// A name for an expression, for those that come after it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Define {
    pub(super) name: Text,
    pub(super) value: Spanned<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kernel {
    pub(super) file: Text,
    pub(super) entry: Text,
    pub(super) grid: Spanned<Vec<Scalar>>,
    pub(super) block: Spanned<Vec<Scalar>>,
    pub(super) shared: Option<Spanned<Scalar>>,
    #[serde(default)]
    pub(super) args: Vec<Text>,
    pub(super) when: Option<Text>,
}

/// A number, or an expression in a string.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a whole number of zero or more, or an expression in a string"
)]
pub(super) enum Scalar {
    Number(u64),
    Text(String),
}

impl Scalar {
    pub(super) fn text(&self) -> String {
        match self {
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
        }
    }
}
