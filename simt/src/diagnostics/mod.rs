//! Diagnostics are data; [`render`] is one way to show them.

pub mod render;
pub mod run;

use crate::ptx::source::{LineColumn, Source, Span};
use serde::Serialize;

/// Whose fault it is. The classes never mix: "unsupported" does not read as "wrong".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The text is not PTX, or breaks a rule of it.
    Program,
    /// The text is right but uses something this machine does not implement.
    Unsupported,
    /// A resource limit was hit.
    Limit,
    /// The machine itself is at fault.
    Bug,
}

/// One problem in the text of a module, found before anything runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whose fault it is.
    pub blame: Blame,
    /// One sentence, without position.
    pub message: String,
    /// Where the text under the caret begins.
    pub position: LineColumn,
    /// The line it stands in.
    pub line_text: String,
    /// Length of the text under the caret, in characters.
    pub length: u32,
    /// What was expected, or what to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic about the text under `span`.
    pub fn new(source: &Source, blame: Blame, span: Span, message: impl Into<String>) -> Self {
        let position = source.position(span);
        let line_text = source.line(position.line).to_owned();
        let rest = line_text
            .chars()
            .count()
            .saturating_sub(position.column as usize - 1)
            .max(1);
        let length = source
            .slice(span)
            .chars()
            .take_while(|c| *c != '\n')
            .count()
            .clamp(1, rest);
        let (message, help) = (message.into(), None);
        Self {
            blame,
            message,
            position,
            line_text,
            length: length as u32,
            help,
        }
    }

    /// Adds what was expected, or what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything found wrong with a module; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", render::text(&self.0))]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// [`Blame::Program`] if any part of the text is wrong, else that of the first entry.
    pub fn blame(&self) -> Blame {
        let wrong = self.0.iter().any(|d| d.blame == Blame::Program);
        if wrong {
            Blame::Program
        } else {
            self.0.first().map_or(Blame::Bug, |d| d.blame)
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}
