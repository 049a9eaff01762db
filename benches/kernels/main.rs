//! `cargo bench --bench kernels`: what each rung of each family costs.
//!
//! First a table, counted by the PTX machine and the same on every run: bytes, operations, sectors,
//! bank conflicts, registers, and the least time they take on a named GPU (`TOUCHSTONE_GPU`, H200
//! unless it is set). Then criterion's timings on the PTX machine; or, where there is a GPU, times on
//! it, each output held against its oracle, beside what a copy and a matmul reach in the same run.
//! `TOUCHSTONE_RESULTS=FILE` writes all of it as JSON (`grading/schema/results.json`).
//!
//! Shapes are those of `benches/shapes.toml`. A filter names shapes: `-- softmax`.

mod gpu;
mod machine;
mod timed;

use grading::profile::assembled::Assembler;
use grading::profile::results::{Counted, Results, Row, SCHEMA};
use grading::profile::{Profile, ProfileError, Scale, Shape, count, shape, table};
use kernels_host::Device;
use simt::count::roofline::{GPUS, Gpu, gpu as named};
use std::path::Path;
use std::sync::Arc;

/// The GPU whose bounds are shown.
fn shown() -> &'static Gpu {
    let Ok(name) = std::env::var("TOUCHSTONE_GPU") else {
        return &GPUS[0];
    };
    named(&name).unwrap_or_else(|| {
        let known: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
        panic!("TOUCHSTONE_GPU={name}: the GPUs whose rates are known are {known:?}")
    })
}

/// The name that filters and criterion know a shape by.
fn label(shape: &Shape) -> String {
    format!("{}/{}", shape.task, shape.name)
}

/// The word on the command line that is no option: criterion's filter, which holds for the table too.
fn filter() -> Option<String> {
    let mut words = std::env::args().skip(1);
    let valued = [
        "--baseline",
        "--baseline-lenient",
        "--color",
        "--confidence-level",
        "--format",
        "--load-baseline",
        "--measurement-time",
        "--noise-threshold",
        "--nresamples",
        "--output-format",
        "--plotting-backend",
        "--profile-time",
        "--sample-size",
        "--save-baseline",
        "--significance-level",
        "--warm-up-time",
    ];
    while let Some(word) = words.next() {
        if valued.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            return Some(word);
        }
    }
    None
}

/// The shapes that a filter names; all of them where it names something else: a rung.
fn wanted(filter: Option<&str>) -> Vec<&'static Shape> {
    let named = |shape: &&Shape| filter.is_none_or(|filter| label(shape).contains(filter));
    let some: Vec<&Shape> = shape::all().iter().filter(named).collect();
    match some.is_empty() {
        true => shape::all().iter().collect(),
        false => some,
    }
}

/// Every rung at every shape that the filter leaves, once on the machine.
fn counted(shapes: &[&Shape], gpu: &'static Gpu) -> Vec<Profile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut assembler = Assembler::find(&root.join("target"));
    if !assembler.is_there() {
        println!("no ptxas (scripts/install-ptxas.sh): registers and occupancy are blank");
    }
    let profiles = shapes.iter().map(|shape| {
        let profile = count::builtin(shape, None, gpu, &mut assembler);
        profile.unwrap_or_else(|error| panic!("{} on the machine: {error}", shape.name))
    });
    profiles.collect()
}

fn print(profiles: &[Profile], gpu: &Gpu) {
    println!("counted by the PTX machine; bounds for the {}\n", gpu.name);
    let titles = [&["shape"][..], &table::TITLES].concat();
    let mut rows = Vec::new();
    for profile in profiles {
        for rung in &profile.rungs {
            let shape = vec![format!("{} {}", profile.task, profile.sizes)];
            rows.push([shape, table::cells(rung).into()].concat());
            if let Some(why) = &rung.judged.wrong {
                panic!("{} {} is wrong: {why}", profile.shape, rung.rung);
            }
        }
    }
    print!("{}", table::columns(&titles, &rows));
    println!(
        "\nbytes: device memory in whole sectors, without caches; traffic: bytes ÷ compulsory; \
         bound: the launches one after the other,\neach by memory or by a unit; floor: every input \
         and output once; regs … limit: the main kernel, by ptxas.\nEvery output was held against \
         its oracle.\n"
    );
}

fn main() -> Result<(), ProfileError> {
    let shapes = wanted(filter().as_deref());
    let gpu = shown();
    let profiles = counted(&shapes, gpu);
    print(&profiles, gpu);
    let mut rows = Vec::new();
    for profile in &profiles {
        for rung in &profile.rungs {
            rows.push(Row {
                task: profile.task.clone(),
                op: profile.op.clone(),
                shape: profile.shape.clone(),
                rung: rung.rung.clone(),
                counted: Counted::of(&profile.sizes, rung),
                timed_sizes: None,
                compulsory_bytes: None,
                plain_flops: None,
                timed: None,
                why_blank: Some("no GPU".into()),
            });
        }
    }
    let mut results = Results {
        schema: SCHEMA,
        machine: machine::describe(),
        ceilings: None,
        bounds_for: gpu.name.to_owned(),
        rows,
        peers: None,
        tests: machine::tests(),
    };
    match gpu::open() {
        Some(cuda) => {
            gpu::time(&cuda, &shapes, &mut results)?;
            let device: Arc<dyn Device> = cuda;
            timed::time(&device, &shapes, Scale::Gpu)?;
        }
        None => {
            println!("no GPU: times below are the PTX machine's, every checker on");
            timed::time(&timed::machine(), &shapes, Scale::Vm)?;
        }
    }
    if let Some(path) = std::env::var_os("TOUCHSTONE_RESULTS") {
        let path = Path::new(&path);
        match results.write(path) {
            Ok(()) => println!("written: {}", path.display()),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
    }
    Ok(())
}
