//! `cargo bench --bench kernels`: what each rung of each family costs.
//!
//! First a table, counted by the PTX machine and the same on every run: bytes, operations, sectors,
//! bank conflicts, and the least time they take on a named GPU (`TOUCHSTONE_GPU`, H200 unless it
//! is set). Then criterion's timings on the device that is there: the GPU where there is one, else the
//! machine. `TOUCHSTONE_RESULTS=FILE` writes both as JSON.
//!
//! Sizes are those of `benches/shapes.toml`.

mod attention;
mod row;
mod rows;
mod shapes;
mod table;

use criterion::Criterion;
use grading::profile::Figures;
use kernels_host::{Cuda, Device, Result, Vm};
use row::Row;
use shapes::{Shapes, Size};
use std::sync::Arc;
use std::time::Duration;

/// Device memory of the machine.
const MEMORY: u64 = 4 << 30;

fn rows(device: &Arc<dyn Device>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let mut all = rows::layernorm(device, shapes, size)?;
    all.extend(rows::softmax(device, shapes, size)?);
    all.extend(rows::beam(device, shapes, size)?);
    all.extend(rows::ternary(device, shapes, size)?);
    all.extend(attention::forward(device, shapes, size)?);
    all.extend(attention::backward(device, shapes, size)?);
    Ok(all)
}

/// Each row once on the machine, counted.
fn count(shapes: &Shapes) -> Result<Vec<(Row, Figures)>> {
    let options = simt::Options {
        counters: true,
        ..simt::Options::default()
    };
    let vm = Vm::with_options(MEMORY, options);
    let device: Arc<dyn Device> = vm.clone();
    let mut counted = Vec::new();
    for mut row in rows(&device, shapes, Size::Vm)? {
        vm.take_launches();
        (row.run)()?;
        let launches = vm.take_launches().into_iter();
        let counters = launches.filter_map(|launched| launched.report.counters);
        let figures = Figures::of(row.compulsory, counters.collect());
        counted.push((row, figures));
    }
    Ok(counted)
}

fn main() {
    let shapes = Shapes::read();
    let counted = count(&shapes).unwrap_or_else(|error| panic!("on the machine: {error}"));
    table::print(&counted);
    let gpu = Cuda::open(0).ok();
    if gpu.is_none() {
        println!("no GPU: times below are the PTX machine's, every checker on");
    }
    let (device, size): (Arc<dyn Device>, Size) = match gpu {
        Some(gpu) => (gpu, Size::Gpu),
        None => (Vm::with_options(MEMORY, simt::Options::default()), Size::Vm),
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut timed = rows(&device, &shapes, size).unwrap_or_else(|error| panic!("{error}"));
    for row in &mut timed {
        let name = format!("{}/{}/{}", row.task, row.rung, row.shape);
        criterion.bench_function(&name, |bench| {
            bench.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let run = &mut row.run;
                    total += device
                        .time(&mut || run())
                        .unwrap_or_else(|error| panic!("{name}: {error}"));
                }
                total
            });
        });
    }
    criterion.final_summary();
    if let Some(path) = std::env::var_os("TOUCHSTONE_RESULTS") {
        table::write(std::path::Path::new(&path), &device.name(), &counted);
    }
}
