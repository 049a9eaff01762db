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

/// Lines that are named where something unsupported stands again.
const NAMED: usize = 8;

/// Where else the same is unsupported.
fn again(d: &Diagnostic, later: &[Diagnostic]) -> Option<String> {
    let lines: Vec<u32> = (later.iter())
        .filter(|other| same(d, other))
        .map(|other| other.position.line)
        .collect();
    let (named, more) = lines.split_at(lines.len().min(NAMED));
    let list: Vec<String> = named.iter().map(u32::to_string).collect();
    let more = match more.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let plural = if lines.len() > 1 { "s" } else { "" };
    (!named.is_empty()).then(|| format!("also in line{plural} {}{more}", list.join(", ")))
}

/// Whether two are the same gap of this machine, met twice.
fn same(a: &Diagnostic, b: &Diagnostic) -> bool {
    a.blame == Blame::Unsupported && (a.blame, &a.message) == (b.blame, &b.message)
}

/// Renders diagnostics one after the other; what is unsupported in several places, once.
pub fn text(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for (i, d) in diagnostics.iter().enumerate() {
        if diagnostics[..i].iter().any(|earlier| same(earlier, d)) {
            continue;
        }
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
        if let Some(again) = again(d, &diagnostics[i + 1..]) {
            let _ = writeln!(out, "{gutter} = {again}");
        }
    }
    out
}
