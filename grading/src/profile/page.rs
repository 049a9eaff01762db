//! A profile as one page of HTML that needs nothing else: no script, no font, no other file.

use super::count::{Profile, RungProfile};
use super::plot::{PlotError, Point, Roofline};
use super::table::{LINE_TITLES, TITLES, by_cost, cells, judged, line_cells};
use simt::count::roofline::{Gpu, gpu};
use simt::isa::Unit;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;\
    padding:0 1em;color:#222}table{border-collapse:collapse;font-variant-numeric:tabular-nums;\
    font-size:13px}td,th{padding:.15em .6em;text-align:right;border-bottom:1px solid #ddd}\
    td:first-child,th:first-child{text-align:left;font-family:ui-monospace,monospace}\
    svg{max-width:100%;height:auto}.wrong{color:#a00;font-weight:bold}";

/// Text as HTML and XML take it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn table(out: &mut String, titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    out.push_str("<table>\n<tr>");
    for title in titles {
        let _ = write!(out, "<th>{}</th>", escape(title));
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// Where a rung stands: the operations of each byte it moves, at the rate that its bound allows.
pub fn point(rung: &RungProfile) -> Option<Point> {
    let intensity = rung.counted.moved_intensity()?;
    let moved = rung.bound.moved;
    let rate = rung.counted.operations() as f64 / moved / 1e12;
    (rung.counted.operations() > 0 && moved > 0.0).then(|| Point {
        name: rung.rung.clone(),
        intensity,
        rate,
        measured: false,
    })
}

/// The roofline of a profile.
///
/// # Errors
/// When nothing can be drawn: no rung does an operation.
pub fn roofline(profile: &Profile) -> Result<String, PlotError> {
    let points: Vec<Point> = profile.rungs.iter().filter_map(point).collect();
    let most = profile.rungs.iter().max_by_key(|r| r.counted.operations());
    let unit = most.and_then(|rung| rung.counted.main_unit());
    let title = format!("{}, {}", profile.task, profile.sizes);
    let gpu: &Gpu = gpu(profile.gpu).unwrap_or(&simt::count::roofline::GPUS[0]);
    let floors = profile.rungs.iter().filter_map(|r| r.counted.intensity());
    Roofline {
        title: &title,
        gpu,
        unit: unit.unwrap_or(Unit::Single),
        // The task's own operations: those of the rung that does fewest.
        floor: floors.fold(f64::INFINITY, f64::min),
        points: &points,
    }
    .svg()
}

/// The page.
pub fn html(profile: &Profile) -> String {
    let title = escape(&format!("{} {}", profile.task, profile.op));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p>{} of {}; counted by the PTX machine, bounds for the {}.</p>\n",
        escape(&profile.sizes),
        escape(&profile.by),
        escape(profile.gpu),
    );
    match roofline(profile) {
        Ok(svg) => {
            out.push_str("<h2>Roofline</h2>\n");
            out.push_str(&svg);
            out.push_str(
                "<p>The black line is the roof. The red one is the task: the operations of each \
                 byte of its inputs and outputs, moved once. A rung stands at the operations of \
                 each byte that it moves, without caches, and as high as that and its units \
                 allow.</p>\n",
            );
        }
        Err(why) => {
            let _ = writeln!(out, "<p>No roofline: {}</p>", escape(&why.to_string()));
        }
    }
    out.push_str("<h2>Rungs</h2>\n");
    table(
        &mut out,
        &TITLES,
        profile.rungs.iter().map(|r| cells(r).into()),
    );
    for rung in &profile.rungs {
        let class = if rung.judged.wrong.is_some() {
            " class=\"wrong\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<h2>{}</h2>\n<p{class}>{}</p>",
            escape(&rung.rung),
            escape(&judged(rung))
        );
        for launch in &rung.launches {
            let all = launch.total.warp_instructions;
            let _ = writeln!(
                out,
                "<h3>{}</h3>\n<p>{} blocks of {} threads, {all} warp instructions</p>",
                escape(&launch.kernel),
                launch.blocks,
                launch.threads
            );
            let lines = by_cost(launch);
            table(
                &mut out,
                &LINE_TITLES,
                lines.iter().map(|line| line_cells(line, all).into()),
            );
        }
    }
    out.push_str("</body>\n</html>\n");
    out
}
