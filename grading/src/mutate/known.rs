//! What is known of mutants that nothing finds: `grading/mutants.toml`.
//!
//! An entry speaks of mutants by what stays when kernels are built again: kernel, kind of mistake,
//! the instruction without its registers' numbers, the one after it, and the line of Rust that it
//! comes from.

use super::operators::Kind;
use super::report::{Fate, MutantReport};
use serde::Deserialize;

/// The two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Mutants that compute the same, or whose difference no contract speaks of. One of them that
    /// is killed refutes its entry.
    #[serde(default)]
    pub equivalent: Vec<Entry>,
    /// Mutants that are not the same and that nothing finds all the same. They count as survivors.
    #[serde(default)]
    pub survivor: Vec<Entry>,
}

/// Some mutants, and why nothing finds them. In the patterns `*` is any text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Kernels; all, if left out.
    #[serde(default = "any")]
    pub kernel: String,
    /// The kind of mistake.
    pub kind: Kind,
    /// The instruction as it was, one blank between its parts.
    #[serde(default = "any")]
    pub from: String,
    /// As it became; empty for one that was left out.
    #[serde(default = "any")]
    pub to: String,
    /// `file: line of Rust`.
    #[serde(default = "any")]
    pub source: String,
    /// The instruction that comes next: what tells apart two that read alike.
    #[serde(default = "any")]
    pub next: String,
    /// The pattern fits other mutants as well, which do harm and are killed: what tells them apart
    /// is not in the text. Without it a killed mutant refutes the entry.
    #[serde(default)]
    pub others_do_harm: bool,
    /// Why.
    pub because: String,
}

fn any() -> String {
    "*".to_owned()
}

impl Known {
    /// The lists of a file.
    ///
    /// # Errors
    /// When it has none.
    pub fn parse(text: &str) -> Result<Known, toml::de::Error> {
        toml::from_str(text)
    }

    /// Notes at a mutant what is known of it.
    pub(super) fn note(&self, mutant: &mut MutantReport) {
        let survived = mutant.fate == Fate::Survived;
        let because = |list: &[Entry]| {
            let mut fitting = list.iter().filter(|entry| entry.is(mutant));
            let entry = fitting.find(|entry| survived || !entry.others_do_harm);
            entry.map(|entry| entry.because.clone())
        };
        let (equivalent, explained) = (because(&self.equivalent), because(&self.survivor));
        mutant.equivalent = equivalent;
        mutant.explained = explained.filter(|_| survived);
    }
}

impl Entry {
    /// Whether it speaks of a line of a kernel.
    pub fn is_of(&self, kernel: &str, line: &str) -> bool {
        fits(&self.kernel, kernel) && fits(&self.from, &spaced(line))
    }

    fn is(&self, mutant: &MutantReport) -> bool {
        self.kind == mutant.kind
            && self.is_of(&mutant.kernel, &mutant.from)
            && fits(&self.to, &spaced(&mutant.to))
            && fits(&self.source, &mutant.source)
            && fits(&self.next, &spaced(&mutant.next))
    }
}

/// One blank where there are several, or tabs.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a pattern is a whole text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    let starts = (0..=text.len()).filter(|at| text.is_char_boundary(*at));
    starts.into_iter().any(|at| fits(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_whole_texts() {
        for (pattern, text) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("a*", "a"),
            ("*b*", "abc"),
            ("", ""),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*c", "abcd"), ("a", "ab"), ("", "a"), ("*b", "abc")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert_eq!(spaced("bar.sync \t0;"), "bar.sync 0;");
    }
}
