//! `touchstone profile`.

use super::{USAGE, task_names, unknown};
use clap::Args;
use grading::lane::ptx::PtxLane;
use grading::profile::assembled::Assembler;
use grading::profile::{self, Profile, ProfileError, Shape, page, shape, table};
use grading::submission::Failure;
use grading::submission::manifest::{Lane, Manifest, Variant};
use grading::task::{self, Dims};
use simt::count::roofline::{GPUS, Gpu, gpu};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct ProfileArguments {
    /// The task
    task: String,
    /// The shape, by its name in benches/shapes.toml (the task's first, unless one is named), or
    /// sizes of it that are to be others: R=8,V=1000. Both: NAME,R=8
    #[arg(long, value_name = "NAME|SIZES")]
    shape: Option<String>,
    /// The type: f32, f16 or bf16; that of the shape, unless one is named
    #[arg(long, value_name = "T")]
    dtype: Option<String>,
    /// Only this rung
    #[arg(long, value_name = "R", conflicts_with = "submission")]
    rung: Option<String>,
    /// The GPU whose roof is meant
    #[arg(long, value_name = "GPU", default_value = "H200")]
    gpu: String,
    /// Somebody's kernels instead of ours: the folder or file of a manifest of PTX
    #[arg(long, value_name = "PATH")]
    submission: Option<PathBuf>,
    /// Write all counters to a file
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
    /// Write a page with the roofline to a file
    #[arg(long, value_name = "F")]
    html: Option<PathBuf>,
}

pub(crate) fn profile(arguments: &ProfileArguments) -> ExitCode {
    let Some(task) = task::named(&arguments.task) else {
        return unknown("task", &arguments.task, &task_names());
    };
    let Some(gpu) = gpu(&arguments.gpu) else {
        let known: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
        return unknown("GPU", &arguments.gpu, &known);
    };
    let shape = match chosen(arguments, task.spec.name) {
        Ok(shape) => shape,
        Err(code) => return code,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.parent().unwrap_or(root).join("target");
    let mut assembler = Assembler::find(&target);
    let profiled = match &arguments.submission {
        None => {
            let rung = arguments.rung.as_deref();
            profile::count::builtin(&shape, rung, gpu, &mut assembler)
        }
        Some(path) => match submitted(path) {
            Ok(found) => of_submission(&shape, found, gpu, &mut assembler),
            Err(code) => return code,
        },
    };
    let profile = match profiled {
        Ok(profile) => profile,
        Err(error) => {
            eprintln!("touchstone: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    print!("{}", table::text(&profile));
    if !assembler.is_there() {
        println!("\nno ptxas: registers and occupancy are blank ({INSTALL})");
    }
    if let Err(code) = write(arguments, &profile) {
        return code;
    }
    let wrong = profile.rungs.iter().any(|rung| rung.judged.wrong.is_some());
    ExitCode::from(u8::from(wrong))
}

const INSTALL: &str = "scripts/install-ptxas.sh";

/// The shape that is asked for.
fn chosen(arguments: &ProfileArguments, task: &str) -> Result<Shape, ExitCode> {
    let known = shape::of_task(task);
    let asked = arguments.shape.as_deref().unwrap_or_default();
    let (sizes, names): (Vec<&str>, Vec<&str>) = asked
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .partition(|part| part.contains('='));
    let found = match names[..] {
        [] => known.first(),
        [name, ..] => known.iter().find(|shape| shape.name == name),
    };
    let Some(found) = found else {
        let all: Vec<&str> = known.iter().map(|shape| shape.name.as_str()).collect();
        return Err(unknown(&format!("shape of {task}"), names[0], &all));
    };
    let refuse = |error: ProfileError| {
        eprintln!("touchstone: {error}");
        ExitCode::from(error.exit_code())
    };
    let sizes: Dims = sizes.join(",").parse().map_err(|error| {
        eprintln!("touchstone: {error}");
        ExitCode::from(USAGE)
    })?;
    let mut shape = found.resized(sizes.iter()).map_err(refuse)?;
    if let Some(dtype) = &arguments.dtype {
        shape.dtype.clone_from(dtype);
    }
    shape.element().map_err(refuse)?;
    Ok(shape)
}

/// The lane of a manifest of PTX, and the text that each entry is in.
fn submitted(path: &Path) -> Result<(PtxLane, BTreeMap<String, String>), ExitCode> {
    let usage = |why: &dyn std::fmt::Display| {
        eprintln!("touchstone: {why}");
        ExitCode::from(USAGE)
    };
    let manifest = Manifest::read(path).map_err(|error| usage(&error))?;
    let Lane::Ptx(variants) = manifest.lane else {
        let why = format!(
            "{} is a submission of programs; only one of PTX has a profile",
            manifest.name
        );
        eprintln!("touchstone: {why}");
        return Err(ExitCode::from(3));
    };
    let kernels = variants
        .iter()
        .flat_map(|variant: &Variant| &variant.kernels);
    let mut texts = BTreeMap::new();
    for kernel in kernels {
        // One that cannot be read is told of when it is launched.
        if let Ok(text) = std::fs::read_to_string(&kernel.file) {
            texts.entry(kernel.entry.clone()).or_insert(text);
        }
    }
    let lane = PtxLane::new(manifest.name, variants, manifest.limits);
    Ok((lane, texts))
}

fn of_submission(
    shape: &Shape,
    (mut lane, texts): (PtxLane, BTreeMap<String, String>),
    gpu: &'static Gpu,
    assembler: &mut Assembler,
) -> Result<Profile, ProfileError> {
    profile::count::submission(shape, &mut lane, &texts, gpu, assembler)
}

fn write(arguments: &ProfileArguments, profile: &Profile) -> Result<(), ExitCode> {
    let mut files: Vec<(&PathBuf, String)> = Vec::new();
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(profile).map_err(|error| {
            let failure = Failure::Grader(format!("the profile is no JSON: {error}"));
            eprintln!("touchstone: {failure}");
            ExitCode::from(crate::EX_SOFTWARE)
        })?;
        files.push((path, json + "\n"));
    }
    if let Some(path) = &arguments.html {
        files.push((path, page::html(profile)));
    }
    for (path, text) in files {
        if let Err(error) = std::fs::write(path, text) {
            eprintln!("touchstone: {}: {error}", path.display());
            return Err(ExitCode::from(USAGE));
        }
    }
    Ok(())
}
