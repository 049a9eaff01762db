//! Diagnostics as text, with the source under a caret.

use super::{Blame, Diagnostic};
use std::fmt::Write;

fn heading(blame: Blame) -> &'static str {
    match blame {
        Blame::Program => "error",
        Blame::Unsupported => "unsupported",
        Blame::Limit => "limit",
        Blame::Bug => "internal error",
    }
}

/// Renders diagnostics one after the other.
pub fn text(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for (i, d) in diagnostics.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let number = d.position.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs keep their width under the caret by being repeated there.
        let pad: String = (d.line_text.chars())
            .take(d.position.column as usize - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let caret = "^".repeat(d.length as usize);
        let _ = writeln!(out, "{}: {}", heading(d.blame), d.message);
        let _ = writeln!(out, "{gutter}--> {}:{}", d.position.line, d.position.column);
        let _ = writeln!(out, "{number} | {}", d.line_text);
        let _ = writeln!(out, "{gutter} | {pad}{caret}");
        if let Some(help) = &d.help {
            let _ = writeln!(out, "{gutter} = {help}");
        }
    }
    out
}
