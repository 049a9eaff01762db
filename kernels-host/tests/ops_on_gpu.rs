//! The PTX machine's instruction tests, run on a GPU: the same modules, the same inputs, the same
//! expectations. Where the two disagree, one of them is wrong about PTX.
//!
//! `TOUCHSTONE_GOLDENS=1` writes what the GPU answered beside each test, as
//! `VARIANT.DEVICE.golden`: a line for each buffer, its name and its bytes in hexadecimal.

#[path = "../../simt/tests/support/element.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a module that several test programs share"
)]
mod element;
#[path = "../../simt/tests/support/op_test.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a module that several test programs share"
)]
mod op_test;

use kernels_host::{Arg, Buffer, Cuda, Device, LaunchConfig, Module, Recorder, launch};
use libtest_mimic::{Arguments, Failed, Trial};
use op_test::OpTest;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of tests: beside the sources, or, for a program that was built elsewhere, below the
/// working directory.
fn corpus() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simt/tests/ops");
    [built, "simt/tests/ops".into()]
        .into_iter()
        .find(|folder| folder.is_dir())
}

fn modules(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            modules(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "ptx") {
            found.push(path);
        }
    }
    Ok(())
}

/// `.target sm_90a, debug` → `sm_90a`.
fn target(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|l| l.strip_prefix(".target "))?;
    Some(line.split(',').next()?.trim())
}

fn main() {
    let gpu: Option<Arc<dyn Device>> = Cuda::open(0).ok().map(|gpu| gpu as Arc<dyn Device>);
    let mut found = Vec::new();
    let listed = match corpus() {
        Some(folder) => modules(&folder, &mut found).map_err(|e| e.to_string()),
        None => Err("no instruction tests at simt/tests/ops".into()),
    };
    found.sort();
    let mut trials = vec![Trial::test("the_corpus_is_whole", {
        let count = found.len();
        move || match listed {
            Ok(()) if count > 2000 => Ok(()),
            Ok(()) => Err(format!("only {count} instruction tests").into()),
            Err(why) => Err(why.into()),
        }
    })];
    trials.push(Trial::test("each_is_launched_on_a_recorder", {
        let found = found.clone();
        move || each_is_launched_on_a_recorder(&found)
    }));
    match gpu {
        Some(gpu) => trials.extend(found.into_iter().map(|path| {
            let gpu = gpu.clone();
            let made_from_nothing = path.parent().is_some_and(|p| p.ends_with("tensor"));
            let trial = Trial::test(name(&path), move || run(&gpu, &path));
            // A GPU takes no tensor map that was not the driver's once, and what it makes of these
            // ends the context, and with it every test that follows.
            match made_from_nothing {
                true => trial
                    .with_kind("skipped: a map made from zeros")
                    .with_ignored_flag(true),
                false => trial,
            }
        })),
        None => {
            let all = format!("all_{}_instruction_tests", found.len());
            let skipped = Trial::test(all, || Err("no GPU".into()));
            trials.push(skipped.with_kind("skipped: no GPU").with_ignored_flag(true));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// `convert::cvt.rn.f16.f32`.
fn name(path: &Path) -> String {
    let family = path.parent().and_then(Path::file_name).unwrap_or_default();
    let variant = path.file_stem().unwrap_or_default();
    format!("{}::{}", family.display(), variant.display())
}

/// What comes before a GPU's part is the same on any device: the module, its signature, the launch's
/// checks. Tests for a target that the recorder lacks are left to a GPU.
fn each_is_launched_on_a_recorder(found: &[PathBuf]) -> Result<(), Failed> {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let mut launched = 0;
    for path in found {
        let text = std::fs::read_to_string(path)?;
        if device
            .targets()
            .contains(&target(&text).ok_or("no .target")?)
        {
            let answered = answer(&device, &text);
            answered
                .map_err(|why| format!("{}: {}", path.display(), why.message().unwrap_or("")))?;
            launched += 1;
        }
    }
    if recorder.launches().len() != launched || launched < 1000 {
        return Err(format!("{launched} of {} were launched", found.len()).into());
    }
    Ok(())
}

/// Runs a test's kernel; its buffers afterwards.
fn answer(device: &Arc<dyn Device>, text: &str) -> Result<Vec<Vec<u8>>, Failed> {
    let test = OpTest::parse(text)?;
    let kernel = Module::parse(text)?.kernel("test")?;
    let buffers: Vec<Buffer<u8>> = test
        .buffers
        .iter()
        .map(|buffer| Buffer::from_slice(device, &buffer.contents()))
        .collect::<Result<_, _>>()?;
    let args: Vec<Arg> = buffers.iter().map(Arg::from).collect();
    let config = LaunchConfig {
        grid: test.grid,
        block: test.block,
        shared: test.shared,
    };
    launch(&**device, &kernel, config, &args)?;
    device.synchronize()?;
    let read = buffers.iter().map(Buffer::to_vec);
    Ok(read.collect::<Result<_, _>>()?)
}

fn run(gpu: &Arc<dyn Device>, path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let needs = target(&text).ok_or("no .target")?;
    if !gpu.targets().contains(&needs) {
        println!("skipped: {} is for {needs}", path.display());
        return Ok(());
    }
    let test = OpTest::parse(&text)?;
    let answers = answer(gpu, &text)?;
    let mut golden = String::new();
    let mut wrong = Vec::new();
    for (expected, got) in test.buffers.iter().zip(&answers) {
        let hex = got.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(golden, "{}: {hex}", expected.name);
        wrong.extend(expected.compare(got).err());
    }
    if std::env::var_os("TOUCHSTONE_GOLDENS").is_some() {
        let device = gpu.name().to_lowercase().replace(' ', "-");
        std::fs::write(path.with_extension(format!("{device}.golden")), golden)?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}
