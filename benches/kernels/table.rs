//! The counted figures, as a table and as JSON.

use crate::row::Row;
use grading::profile::Figures;
use serde_json::json;
use simt::count::roofline::{GPUS, Gpu, gpu};
use std::path::Path;

/// The GPU whose bounds are shown.
fn shown() -> &'static Gpu {
    let Ok(name) = std::env::var("TOUCHSTONE_GPU") else {
        return &GPUS[0];
    };
    gpu(&name).unwrap_or_else(|| {
        let known: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
        panic!("TOUCHSTONE_GPU={name}: the GPUs whose rates are known are {known:?}")
    })
}

fn three(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{ratio:.3}"))
}

/// Prints a line for each row.
pub(crate) fn print(rows: &[(Row, Figures)]) {
    let gpu = shown();
    println!("counted by the PTX machine; bounds for the {}\n", gpu.name);
    println!(
        "{:<25} {:<11} {:<31} {:>11} {:>11} {:>7} {:>7} {:>9} {:>12} {:>8} {:>10} {:>9}",
        "task",
        "rung",
        "shape",
        "bytes",
        "compulsory",
        "traffic",
        "sector",
        "conflicts",
        "operations",
        "op/byte",
        "bound µs",
        "floor µs",
    );
    for (row, figures) in rows {
        let bound = figures.bound(gpu);
        println!(
            "{:<25} {:<11} {:<31} {:>11} {:>11} {:>7} {:>7} {:>9} {:>12} {:>8} {:>10.3} {:>9.3}",
            row.task,
            row.rung,
            row.shape,
            figures.moved_bytes,
            figures.compulsory_bytes,
            three(figures.traffic_ratio()),
            three(figures.sector_efficiency()),
            figures.conflicts,
            figures.operations(),
            figures
                .intensity()
                .map_or("-".into(), |x| format!("{x:.2}")),
            bound.seconds * 1e6,
            bound.floor * 1e6,
        );
    }
    println!(
        "\nbytes: device memory in whole sectors, without caches; traffic: bytes ÷ compulsory; \
         bound: the launches one after the other,\neach by memory or by a unit; floor: every input \
         and output once.\n"
    );
}

/// Writes the same as JSON, whole or not at all.
pub(crate) fn write(path: &Path, device: &str, rows: &[(Row, Figures)]) {
    let gpu = shown();
    let row = |(row, figures): &(Row, Figures)| {
        json!({
            "task": row.task,
            "rung": row.rung,
            "shape": row.shape,
            "counted": figures,
            "bound_us": figures.bound(gpu).seconds * 1e6,
            "floor_us": figures.bound(gpu).floor * 1e6,
        })
    };
    let results = json!({
        "schema": 1,
        "timed_on": device,
        "bounds_for": gpu.name,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    let temporary = path.with_extension("tmp");
    let text = format!("{results:#}\n");
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
}
