//! What is wrong in a manifest, where, and what to do.

use crate::lane::ptx::expression::ExpressionError;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a manifest is not one. The command's exit code for it is
/// [`EXIT_CODE`](ManifestError::EXIT_CODE).
#[derive(Debug, thiserror::Error)]
#[error("{}{place}: {kind}", path.display())]
pub struct ManifestError {
    /// The manifest.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub kind: Box<ManifestErrorKind>,
}

/// A place in a manifest. A file that cannot be read has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its line, counted from one; zero when the whole file is meant.
    pub line: usize,
    /// The key: `task[0].kernel[1].grid`.
    pub key: String,
}

/// What is wrong in a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestErrorKind {
    /// There is no file, or it cannot be read.
    #[error("cannot be read: {0}; give the path of a submission.toml or of its folder")]
    Read(#[source] std::io::Error),
    /// It is not TOML, or a key is missing, unknown or of another type.
    #[error("{0}; grading/SUBMISSION.md has the format")]
    Toml(String),
    /// A later version of the format.
    #[error(
        "version {found} of the format; this touchstone reads version {known}, update it or write `schema = {known}`"
    )]
    Schema {
        /// The manifest's.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// There is no such thing.
    #[error("there is no {what} `{name}`; there are {known}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A limit that is not given.
    #[error("{asked} asked for, at most {most} are given; lower it")]
    Limit {
        /// Asked for.
        asked: u64,
        /// Given.
        most: u64,
    },
    /// A key that the lane needs, or does not have.
    #[error("{0}")]
    Lane(String),
    /// A file that the manifest names.
    #[error("`{}` cannot be read: {why}; paths are relative to the manifest", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// An expression that cannot be read.
    #[error("{0}")]
    Expression(#[from] ExpressionError),
    /// A value that cannot be what it is for.
    #[error("{0}")]
    Value(String),
}

impl ManifestError {
    /// The exit code of a manifest that is not one.
    pub const EXIT_CODE: u8 = 2;

    pub(super) fn whole(path: &Path, kind: ManifestErrorKind) -> ManifestError {
        ManifestError {
            path: path.to_owned(),
            place: Place::default(),
            kind: Box::new(kind),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": `{}`", self.key)?;
        }
        Ok(())
    }
}

/// Makes errors at places in one text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blame<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Blame<'_> {
    pub(super) fn at(
        &self,
        span: Range<usize>,
        key: impl Into<String>,
        kind: impl Into<ManifestErrorKind>,
    ) -> ManifestError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        ManifestError {
            path: self.path.to_owned(),
            place: Place {
                line: 1 + before.matches('\n').count(),
                key: key.into(),
            },
            kind: Box::new(kind.into()),
        }
    }
}
