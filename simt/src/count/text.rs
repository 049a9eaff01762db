//! Counters as text.

use super::roofline::{Bound, GPUS};
use super::{Counters, Flow, Traffic};
use crate::isa::Unit;
use std::fmt::{Display, Formatter, Result, Write};

/// The name of a unit or class, as in the data.
fn name<T: std::fmt::Debug>(value: &T) -> String {
    let mut out = String::new();
    for (i, c) in format!("{value:?}").char_indices() {
        if c.is_uppercase() && i > 0 {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn flow(out: &mut String, what: &str, f: &Flow) {
    if f.requests > 0 {
        let _ = writeln!(
            out,
            "    {what:<8} {:>12} requests {:>14} bytes {:>12} sectors",
            f.requests, f.bytes, f.sectors
        );
    }
}

fn traffic(out: &mut String, what: &str, t: &Traffic) {
    if t.total().requests == 0 {
        return;
    }
    let _ = writeln!(out, "  {what} memory");
    flow(out, "load", &t.load);
    flow(out, "store", &t.store);
    flow(out, "atomic", &t.atomic);
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.1} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s if s < 1.0 => format!("{:.3} ms", s * 1e3),
        s => format!("{s:.3} s"),
    }
}

fn bound(out: &mut String, b: &Bound) {
    let by = match b.limiter {
        None => "memory".to_owned(),
        Some(unit) => name(&unit),
    };
    let _ = writeln!(
        out,
        "    {:<9} at least {:>10}, by {by} (memory without caches {})",
        b.gpu,
        time(b.seconds),
        time(b.memory_uncached)
    );
}

/// The whole kernel, and its lines with the most instructions.
pub fn text(c: &Counters) -> String {
    let mut out = String::new();
    let t = &c.total;
    let _ = writeln!(
        out,
        "kernel `{}`, {} blocks of {} threads",
        c.kernel, c.blocks, c.threads
    );
    let _ = writeln!(
        out,
        "  {} instructions of warps, {} of threads, {:.1} lanes active",
        t.warp_instructions,
        t.thread_instructions,
        c.active_lanes().unwrap_or(0.0)
    );
    for (class, n) in &t.classes {
        let _ = writeln!(out, "    {:<12} {n:>12}", name(class));
    }
    if t.flops.values().any(|n| *n > 0) {
        out.push_str("  floating-point operations\n");
        for (unit, n) in &t.flops {
            let _ = writeln!(out, "    {:<18} {n:>14}", name::<Unit>(unit));
        }
    }
    traffic(&mut out, "global", &t.global);
    if t.global.total().requests > 0 {
        let _ = writeln!(
            out,
            "    distinct {:>12} bytes read {:>12} written",
            c.compulsory.read, c.compulsory.written
        );
        let shown = |r: Option<f64>| r.map_or("none".to_owned(), |r| format!("{r:.3}"));
        let _ = writeln!(
            out,
            "    traffic ratio {}, sector efficiency {}, operations a byte {}",
            shown(c.traffic_ratio()),
            shown(c.sector_efficiency()),
            shown(c.arithmetic_intensity())
        );
    }
    traffic(&mut out, "shared", &t.shared);
    if t.banks.wavefronts > 0 {
        let _ = writeln!(
            out,
            "    {} passes over the banks, {} of them for conflicts",
            t.banks.wavefronts, t.banks.conflicts
        );
    }
    traffic(&mut out, "local", &t.local);
    let _ = writeln!(
        out,
        "  {} conditional branches, {} divergent; {} barriers",
        t.branches, t.divergent_branches, t.barriers
    );
    out.push_str("  time\n");
    GPUS.iter().for_each(|gpu| bound(&mut out, &gpu.bound(c)));
    lines(&mut out, c);
    out
}

/// Lines of the table of lines.
const SHOWN: usize = 12;

fn lines(out: &mut String, c: &Counters) {
    let mut order: Vec<_> = c.lines.iter().collect();
    order.sort_by_key(|l| (std::cmp::Reverse(l.counts.warp_instructions), l.line));
    order.truncate(SHOWN);
    out.push_str("  lines\n");
    for line in order {
        let counts = &line.counts;
        let place = match &line.source {
            Some((file, number, _)) => format!(" {file}:{number}"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "    {:>6} {:>10} | {}{place}",
            line.line, counts.warp_instructions, line.text
        );
    }
}

impl Display for Counters {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&text(self))
    }
}
