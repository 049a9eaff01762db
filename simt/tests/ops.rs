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
    assert!(
        trials.len() > 2600,
        "only {} op tests: the corpus is not whole",
        trials.len()
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
