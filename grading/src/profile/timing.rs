//! The rows of a results file, timed on a device, and as text.

use super::measure::{Plan, measure};
use super::ready::rungs;
use super::results::{Results, Row};
use super::shape::{Scale, Shape};
use super::{ProfileError, call, table};
use crate::task;
use kernels_host::Device;
use std::fmt::Write;
use std::sync::Arc;

/// Times every rung that has a row. What fails is left blank, with the reason.
///
/// # Errors
/// When a shape is none, or its inputs do not fit on the device.
pub fn time(
    device: &Arc<dyn Device>,
    shapes: &[&Shape],
    scale: Scale,
    plan: Plan,
    rows: &mut [Row],
) -> Result<(), ProfileError> {
    for shape in shapes {
        let call = call::of(shape, scale, device)?;
        let cost = task::named(call.task).map(|task| (task.cost)(&call));
        for rung in rungs(&call) {
            let mut of_rung = rows.iter_mut().filter(|row| row.rung == rung);
            let Some(row) = of_rung.find(|row| row.shape == shape.name) else {
                continue;
            };
            row.timed_sizes = Some(shape.text(scale));
            row.compulsory_bytes = cost.map(|cost| cost.bytes);
            row.plain_flops = cost.map(|cost| cost.flops).filter(|flops| *flops > 0);
            (row.timed, row.why_blank) = match measure(device, &call, rung, plan) {
                Ok(timed) => (Some(timed), None),
                Err(why) => (None, Some(why.to_string())),
            };
        }
    }
    Ok(())
}

const TITLES: [&str; 10] = [
    "shape",
    "rung",
    "median µs",
    "p10",
    "p90",
    "GB/s",
    "% copy",
    "TFLOP/s",
    "% matmul",
    "error/bound",
];

/// The times, beside what a copy and a matmul reached in the same run.
pub fn text(results: &Results) -> String {
    let blank =
        |x: Option<f64>, digits: usize| x.map_or(String::new(), |x| format!("{x:.digits$}"));
    let percent =
        |mine: Option<f64>, all: Option<f64>| mine.zip(all).map(|(mine, all)| 100.0 * mine / all);
    let copy = results.ceilings.map(|ceilings| ceilings.copy_gbs);
    let matmul = results.ceilings.and_then(|ceilings| ceilings.matmul_tflops);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "timed on {}; a copy reaches {} GB/s, a bf16 matmul {} TFLOP/s (blank: no cuBLAS)",
        results.machine.gpu.as_deref().unwrap_or("no GPU"),
        blank(copy, 0),
        blank(matmul, 0),
    );
    for clocks in &results.machine.clocks {
        let _ = writeln!(
            out,
            "clocks: multiprocessors {} MHz (of {}), memory {} MHz, {} °C",
            clocks.sm_mhz, clocks.sm_max_mhz, clocks.memory_mhz, clocks.celsius
        );
    }
    out.push('\n');
    let cells = |row: &Row| {
        let timed = row.timed.as_ref();
        vec![
            row.shape.clone(),
            row.rung.clone(),
            blank(timed.map(|timed| timed.median_us), 2),
            blank(timed.map(|timed| timed.p10_us), 2),
            blank(timed.map(|timed| timed.p90_us), 2),
            blank(row.gbs(), 0),
            blank(percent(row.gbs(), copy), 1),
            blank(row.tflops(), 2),
            blank(percent(row.tflops(), matmul), 1),
            blank(timed.map(|timed| timed.judged.worst), 3),
        ]
    };
    let rows: Vec<Vec<String>> = results.rows.iter().map(cells).collect();
    out.push_str(&table::columns(&TITLES, &rows));
    for row in &results.rows {
        if let Some(why) = &row.why_blank {
            let _ = writeln!(out, "{} {} is blank: {why}", row.shape, row.rung);
        }
    }
    out
}
