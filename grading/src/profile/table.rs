//! A profile as text: a line for each rung, and the lines of the source that cost most.

use super::count::{Profile, RungProfile};
use simt::count::{Counters, Counts};
use std::fmt::Write;

/// Lines of source that are shown of a rung.
const SHOWN: usize = 16;

fn three(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"))
}

/// Titles of [`cells`].
pub const TITLES: [&str; 14] = [
    "rung",
    "bytes",
    "compulsory",
    "traffic",
    "sector",
    "conflicts",
    "operations",
    "op/byte",
    "bound µs",
    "floor µs",
    "regs",
    "shared",
    "blocks/SM",
    "limit",
];

/// A rung as a row of a table. What is not known is blank.
pub fn cells(rung: &RungProfile) -> [String; 14] {
    let figures = &rung.counted;
    let assembled = rung.main_kernel();
    let of =
        |text: fn(&super::assembled::Assembled) -> String| assembled.map_or_else(String::new, text);
    [
        rung.rung.clone(),
        figures.moved_bytes.to_string(),
        figures.compulsory_bytes.to_string(),
        three(figures.traffic_ratio()),
        three(figures.sector_efficiency()),
        figures.conflicts.to_string(),
        figures.operations().to_string(),
        figures
            .intensity()
            .map_or(String::new(), |x| format!("{x:.2}")),
        format!("{:.3}", rung.bound.seconds * 1e6),
        format!("{:.3}", rung.bound.floor * 1e6),
        of(|a| a.registers.to_string()),
        of(|a| a.shared.to_string()),
        of(|a| a.occupancy.blocks.to_string()),
        of(|a| a.occupancy.limiter.name().to_owned()),
    ]
}

/// Rows under their titles; the first column is aligned left, the others right.
pub fn columns(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([titles[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match at {
                0 => line.push_str(&format!("{cell:<width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What is counted of a line, or of a whole kernel.
pub struct LineFigures {
    /// File and line, or a line of the PTX text.
    pub place: String,
    /// What was counted there.
    pub counts: Counts,
}

/// A launch by lines of its source; by lines of the PTX where there is no `.loc`.
pub fn source_lines(counters: &Counters) -> Vec<LineFigures> {
    let sources = counters.source_lines();
    if !sources.is_empty() {
        let of = |line: simt::count::SourceLine| LineFigures {
            place: format!("{}:{}", short(&line.file), line.line),
            counts: line.counts,
        };
        return sources.into_iter().map(of).collect();
    }
    let of = |line: &simt::count::Line| LineFigures {
        place: ptx_place(line.line, &line.text),
        counts: line.counts.clone(),
    };
    counters.lines.iter().map(of).collect()
}

/// A line of PTX text, its blanks single, and cut where a table would be too wide.
fn ptx_place(number: u32, text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(56) {
        Some((at, _)) => format!("PTX {number}: {}…", &text[..at]),
        None => format!("PTX {number}: {text}"),
    }
}

/// The last three parts of a path: where a source lay when it was compiled is nobody's business.
fn short(path: &str) -> String {
    let parts: Vec<&str> = path.rsplit('/').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Titles of [`line_cells`].
pub const LINE_TITLES: [&str; 8] = [
    "line",
    "instructions",
    "%",
    "operations",
    "bytes",
    "sectors",
    "conflicts",
    "divergent",
];

/// A line as a row of a table.
pub fn line_cells(line: &LineFigures, all: u64) -> [String; 8] {
    let counts = &line.counts;
    let flow = counts.global.total();
    let share = 100.0 * counts.warp_instructions as f64 / all.max(1) as f64;
    let shown = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    [
        line.place.clone(),
        counts.warp_instructions.to_string(),
        format!("{share:.1}"),
        shown(counts.flops.values().sum()),
        shown(flow.bytes),
        shown(flow.sectors),
        shown(counts.banks.conflicts),
        shown(counts.divergent_branches),
    ]
}

/// The lines of a launch, the most instructions first.
pub fn by_cost(counters: &Counters) -> Vec<LineFigures> {
    let mut lines = source_lines(counters);
    lines.sort_by(|a, b| {
        let key = |line: &LineFigures| std::cmp::Reverse(line.counts.warp_instructions);
        key(a).cmp(&key(b)).then_with(|| a.place.cmp(&b.place))
    });
    lines
}

/// What the oracle says of a rung, in a sentence.
pub fn judged(rung: &RungProfile) -> String {
    let judged = &rung.judged;
    match &judged.wrong {
        None => format!(
            "right: {} elements, the greatest error {:.3} of its bound",
            judged.elements, judged.worst
        ),
        Some(why) => format!("WRONG: {why}"),
    }
}

/// The whole of it.
pub fn text(profile: &Profile) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} {} of {}: {}\ncounted by the PTX machine; bounds for the {}\n",
        profile.task, profile.op, profile.by, profile.sizes, profile.gpu
    );
    let rows: Vec<Vec<String>> = profile.rungs.iter().map(|r| cells(r).into()).collect();
    out.push_str(&columns(&TITLES, &rows));
    for rung in &profile.rungs {
        let _ = writeln!(out, "\n{}: {}", rung.rung, judged(rung));
        for launch in &rung.launches {
            let all = launch.total.warp_instructions;
            let _ = writeln!(
                out,
                "  `{}`, {} blocks of {} threads, {all} warp instructions",
                launch.kernel, launch.blocks, launch.threads
            );
            let lines = by_cost(launch);
            let more = lines.len().saturating_sub(SHOWN);
            let shown = lines.iter().take(SHOWN);
            let rows: Vec<Vec<String>> = shown.map(|line| line_cells(line, all).into()).collect();
            for line in columns(&LINE_TITLES, &rows).lines() {
                let _ = writeln!(out, "    {line}");
            }
            if more > 0 {
                let _ = writeln!(
                    out,
                    "    and {more} lines more: --html or --json has them all"
                );
            }
        }
    }
    out
}
