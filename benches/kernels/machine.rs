//! Where a bench is run.

use grading::profile::results::{Clocks, Machine};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn said(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !said.trim().is_empty()).then(|| said.trim().to_owned())
}

/// The commit, `-dirty` where files have changed. `TOUCHSTONE_COMMIT` says it of a program that was
/// built elsewhere.
fn commit() -> Option<String> {
    let named = std::env::var("TOUCHSTONE_COMMIT").ok();
    let named = named.filter(|commit| !commit.is_empty());
    let words = ["describe", "--always", "--abbrev=40", "--match=", "--dirty"];
    named.or_else(|| said("git", &words))
}

fn processor() -> Option<String> {
    let all = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = all.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The machine, without a GPU.
pub(crate) fn describe() -> Machine {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Machine {
        unix_time: now.map_or(0, |now| now.as_secs()),
        commit: commit(),
        cpu: processor(),
        ..Machine::default()
    }
}

/// What became of the GPU tests before this bench, as `scripts/gpu-run.sh` says: `NAME=true …`.
pub(crate) fn tests() -> BTreeMap<String, bool> {
    let said = std::env::var("TOUCHSTONE_TESTS").unwrap_or_default();
    let one = |word: &str| {
        let (name, passed) = word.split_once('=')?;
        Some((name.to_owned(), passed == "true"))
    };
    said.split_whitespace().filter_map(one).collect()
}

/// A property of the first GPU, by `nvidia-smi`.
pub(crate) fn property(names: &str) -> Option<String> {
    let query = format!("--query-gpu={names}");
    said(
        "nvidia-smi",
        &["--id=0", &query, "--format=csv,noheader,nounits"],
    )
}

/// The first GPU's clocks now; `None` where `nvidia-smi` does not say.
pub(crate) fn clocks() -> Option<Clocks> {
    let names = "clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu";
    let line = property(names)?;
    let numbers: Option<Vec<u32>> = line.split(',').map(|n| n.trim().parse().ok()).collect();
    match numbers?[..] {
        [sm_mhz, memory_mhz, sm_max_mhz, celsius] => Some(Clocks {
            sm_mhz,
            memory_mhz,
            sm_max_mhz,
            celsius,
        }),
        _ => None,
    }
}
