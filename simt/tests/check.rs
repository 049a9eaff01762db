//! Programs that checkers must catch, and near misses that they must not.
//!
//! `check/CHECKER/caught/*.ptx` must be reported by CHECKER, perhaps by others too, or stop;
//! `check/CHECKER/benign/*.ptx` must be reported, but only as what changes no result;
//! `check/CHECKER/clean/*.ptx` must run to its end without a word from any. Comments at the top say how a
//! program is launched: `// grid: 2`, `// block: 64`, `// args: zeros:256 poison:64 u32:5`. What is
//! said of a program that is not clean is a snapshot beside it. Every checker has programs of both
//! kinds, and every kind of mistake is seen.

use libtest_mimic::{Arguments, Failed, Trial};
use simt::check::{Checker, Checks, Mistake};
use simt::{Arg, Finding, Launch, LaunchError, Machine, Options, Order, compile};
use std::collections::BTreeSet;
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
    trials.push(Trial::test("nothing is forgotten", move || complete(&root)));
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

/// What checkers say of a program, and the fault if it stopped.
fn launch(path: &Path, checks: Checks) -> Result<(Vec<Finding>, Option<String>), Failed> {
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
        checks,
        ..Options::default()
    };
    match machine.launch(&loaded, &launch, &options) {
        Ok(report) => Ok((report.findings, None)),
        Err(LaunchError::Fault(fault)) => Ok((fault.findings.clone(), Some(fault.to_string()))),
        Err(other) => Err(other.into()),
    }
}

fn run(path: &Path) -> Result<(), Failed> {
    let (checker, verdict) = (part(path, 2), part(path, 1));
    let (findings, fault) = launch(path, Checks::ALL)?;
    let by = fault.is_some() || findings.iter().any(|f| f.checker.name() == checker);
    let benign = fault.is_none() && findings.iter().all(|f| f.benign);
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let said = fault.unwrap_or_else(|| told.join("\n"));
    match verdict.as_str() {
        "clean" if said.is_empty() => return Ok(()),
        "clean" => return Err(format!("must be clean, but:\n{said}").into()),
        _ if said.is_empty() => return Err("must be caught".into()),
        _ if !by => return Err(format!("caught, but not by {checker}:\n{said}").into()),
        "caught" if benign => return Err(format!("called benign:\n{said}").into()),
        "benign" if !benign => return Err(format!("not called benign:\n{said}").into()),
        "caught" | "benign" => {}
        other => return Err(format!("no verdict `{other}`").into()),
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

/// The kinds of mistakes, of which the compiler says when one is missing here.
macro_rules! mistakes {
    ($($name:ident),* $(,)?) => {
        const MISTAKES: &[&str] = &[$(stringify!($name)),*];
        fn name(mistake: Mistake) -> &'static str {
            match mistake {
                $(Mistake::$name => stringify!($name),)*
            }
        }
    };
}

mistakes!(
    Unwritten,
    Shuffled,
    SameValue,
    TwoWrites,
    ReadAfterWrite,
    WriteAfterRead,
    BlockEnds,
    BarrierApart,
    BarrierCounts,
    Unnamed,
    ReadInFlight,
    WrittenInFlight,
    Unfenced,
    StaleMap,
    NoInit,
    InitUnordered,
    InitTwice,
);

/// Every checker has programs that it must catch, each of which it leaves alone when it is off,
/// and programs that it must not; and together they show every kind of mistake.
fn complete(root: &Path) -> Result<(), Failed> {
    let mut seen = BTreeSet::new();
    for checker in Checker::ALL {
        let programs = |verdict: &str| -> Vec<PathBuf> {
            let mut all = folders(&root.join(checker.name()).join(verdict));
            all.retain(|path| path.extension().is_some_and(|e| e == "ptx"));
            all
        };
        if programs("caught").is_empty() || programs("clean").is_empty() {
            return Err(format!("{checker} needs programs caught and clean").into());
        }
        let mut others = programs("caught");
        if root.join(checker.name()).join("benign").is_dir() {
            others.extend(programs("benign"));
        }
        for path in others {
            let (findings, _) = launch(&path, Checks::ALL)?;
            seen.extend(findings.iter().map(|f| name(f.mistake)));
            let (without, _) = launch(&path, Checks::ALL.without(checker))?;
            if without.iter().any(|f| f.checker == checker) {
                return Err(format!("{}: {checker} is off and speaks", path.display()).into());
            }
        }
    }
    let forgotten: Vec<&str> = (MISTAKES.iter().copied())
        .filter(|name| !seen.contains(name))
        .collect();
    if forgotten.is_empty() {
        Ok(())
    } else {
        Err(format!("no program shows {}", forgotten.join(", ")).into())
    }
}
