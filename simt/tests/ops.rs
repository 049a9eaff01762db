//! Every op test below `ops/`, run with every checker on: expected bits, and no complaint.

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use support::machine::{self, Argument, Launch};
use support::op_test::OpTest;
use support::waivers::Waivers;

fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let test = OpTest::parse(&text)?;
    let launch = Launch {
        entry: "test",
        finds: test.finds.clone(),
        grid: test.grid,
        block: test.block,
        cluster: test.cluster,
        shared: test.shared,
        arguments: test
            .buffers
            .iter()
            .map(|b| Argument::Buffer(b.contents(), b.initial.is_some()))
            .collect(),
    };
    let after = machine::run(&text, &launch)?;
    let mut wrong = Vec::new();
    for (buffer, got) in test.buffers.iter().zip(&after) {
        wrong.extend(buffer.compare(got).err());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// What a GPU answered, recorded by `kernels-host/tests/ops_on_gpu.rs`, is what its test expects: so
/// an expectation that is changed is held against hardware wherever the tests run.
fn golden(path: &Path) -> Result<(), String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
    // `VARIANT.DEVICE.golden` lies beside `VARIANT.ptx`.
    let test = OpTest::parse(&read(&path.with_extension("").with_extension("ptx"))?)?;
    let answers = read(path)?;
    let mut lines = answers.lines();
    let mut wrong = Vec::new();
    for buffer in &test.buffers {
        let line = lines.next().ok_or("a buffer is missing")?;
        let hex = (line.strip_prefix(&buffer.name))
            .and_then(|rest| rest.strip_prefix(": "))
            .ok_or_else(|| format!("`{line}` is not of {}", buffer.name))?;
        let byte = |at: usize| {
            hex.get(at..at + 2)
                .and_then(|h| u8::from_str_radix(h, 16).ok())
        };
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        wrong.extend(buffer.compare(&bytes.ok_or("not hexadecimal")?).err());
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

fn main() -> ExitCode {
    let root = support::folder("ops");
    let waivers = Arc::new(Waivers::of("ops/"));
    let mut names = Vec::new();
    let mut trials = Vec::new();
    for path in support::files(&root, "ptx") {
        let inside = path
            .strip_prefix(&root)
            .expect("below the root")
            .with_extension("");
        let name = format!("ops/{}", inside.display());
        names.push(name.clone());
        let waivers = Arc::clone(&waivers);
        trials.push(Trial::test(name.clone(), move || {
            waivers.judge(&name, run(&path)).map_err(Failed::from)
        }));
    }
    let tests = trials.len();
    for path in support::files(&root, "golden") {
        let inside = path.strip_prefix(&root).expect("below the root");
        let name = format!("ops/{}", inside.display());
        trials.push(Trial::test(name, move || {
            golden(&path).map_err(Failed::from)
        }));
    }
    assert!(
        tests > 3500 && trials.len() > tests + 2600,
        "only {tests} op tests and {} of a GPU's answers: the corpus is not whole",
        trials.len() - tests
    );
    let stale = waivers.stale(&names).join(", ");
    trials.push(Trial::test("ops/waivers", move || {
        if stale.is_empty() {
            Ok(())
        } else {
            Err(format!("waivers for no test: {stale}").into())
        }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
