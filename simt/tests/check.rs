//! Programs that checkers must catch, and near misses that they must not.
//!
//! `check/CHECKER/caught/*.ptx` must be reported by CHECKER, perhaps by others too, or stop;
//! `check/CHECKER/clean/*.ptx` must run to its end without a word from any. Comments at the top say how a
//! program is launched: `// grid: 2`, `// block: 64`, `// args: zeros:256 poison:64 u32:5`. What is
//! said of a caught program is a snapshot beside it.

use libtest_mimic::{Arguments, Failed, Trial};
use simt::{Arg, Launch, LaunchError, Machine, Options, Order, compile};
use std::path::{Path, PathBuf};

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let mut trials = Vec::new();
    for checker in folders(&root) {
        for verdict in folders(&checker) {
            for path in folders(&verdict) {
                if path.extension().is_some_and(|e| e == "ptx") {
                    let name = path.strip_prefix(&root).expect("below it").display();
                    trials.push(Trial::test(name.to_string(), move || run(&path)));
                }
            }
        }
    }
    assert!(!trials.is_empty(), "no program below {}", root.display());
    libtest_mimic::run(&arguments, trials).exit();
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).expect("readable");
    let mut found: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    found.sort();
    found
}

/// The value of a line `// KEY: VALUE`.
fn directive<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("// "));
    lines.find_map(|l| l.strip_prefix(key)?.strip_prefix(": "))
}

fn part(path: &Path, above: usize) -> String {
    let found = path.ancestors().nth(above).and_then(Path::file_stem);
    found.expect("a name").to_string_lossy().into_owned()
}

fn run(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let number = |key, or: u32| directive(&text, key).map_or(Ok(or), str::parse);
    let mut machine = Machine::new(1 << 24);
    let loaded = machine.load(&compile(&text)?)?;
    let mut args = Vec::new();
    for word in directive(&text, "args").unwrap_or("").split_whitespace() {
        let (kind, value) = word.split_once(':').ok_or("KIND:VALUE")?;
        args.push(match kind {
            "zeros" => Arg::Pointer(machine.allocate_zeroed(value.parse()?, "zeros")?),
            "poison" => Arg::Pointer(machine.allocate(value.parse()?, "poison")?),
            "u32" => Arg::U32(value.parse()?),
            _ => return Err(format!("unknown argument `{word}`").into()),
        });
    }
    let launch = Launch {
        grid: [number("grid", 1)?, 1, 1],
        block: [number("block", 32)?, 1, 1],
        ..Launch::new("kernel", &args)
    };
    let options = Options {
        max_steps: 1 << 22,
        // Which side of a race is told first depends on which block runs first.
        order: Order::Ordered,
        ..Options::default()
    };
    let (checker, verdict) = (part(path, 2), part(path, 1));
    let (said, by) = match machine.launch(&loaded, &launch, &options) {
        Ok(report) => {
            let said: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            let by = report.findings.iter().any(|f| f.checker.name() == checker);
            (said.join("\n"), by)
        }
        Err(LaunchError::Fault(fault)) => (fault.to_string(), true),
        Err(other) => return Err(other.into()),
    };
    match verdict.as_str() {
        "clean" if said.is_empty() => Ok(()),
        "clean" => Err(format!("must be clean, but:\n{said}").into()),
        _ if said.is_empty() => Err("must be caught".into()),
        _ => {
            if !by {
                return Err(format!("caught, but not by {checker}:\n{said}").into());
            }
            insta::with_settings!({
                snapshot_path => path.parent().expect("a folder"),
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                insta::assert_snapshot!(part(path, 0), said);
            });
            Ok(())
        }
    }
}
