//! The grader graded by mutants of our own kernels: a fixed sample, and the list of those that are
//! known to be equivalent.

use grading::mutate::{self, Options};
use grading::task::Budget;
use std::path::Path;

fn options(count: usize, seed: u64) -> Options {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Options::of_checkout(&root, count, seed).unwrap_or_else(|error| panic!("{error}"))
}

/// Of forty mutants most are found: a floor, so that a check that is lost is seen. `cargo xtask
/// mutate` tries five hundred and holds them against the goal.
#[test]
fn a_sample_of_forty() {
    let mut options = options(40, 20_261_126);
    // What is left over is asked for once more, not twice.
    options.rounds.truncate(2);
    assert_eq!(options.rounds[1].0, Budget::Full);
    let report = mutate::run(&options, &|_, _, _| ()).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.judged() >= 30, "{report}");
    assert!(report.kill_rate() >= 0.75, "{report}");
    assert_eq!(report.refuted().count(), 0, "{report}");
}

/// An entry that names no line of a kernel that we have explains nothing.
#[test]
fn the_list_of_known_mutants_speaks_of_our_kernels() {
    let options = options(1, 0);
    let folder = options.root.join("kernels-gpu/ptx");
    let texts: Vec<String> = std::fs::read_dir(folder)
        .expect("the PTX files")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect();
    let files: Vec<_> = texts
        .iter()
        .map(|text| mutate::module::split(text))
        .collect();
    for known in options
        .known
        .equivalent
        .iter()
        .chain(&options.known.survivor)
    {
        let kernels = files.iter().flat_map(|file| &file.kernels);
        let mut lines = kernels.flat_map(|kernel| {
            let of_kernel = kernel.lines();
            of_kernel.map(|(_, line, _)| known.is_of(kernel.name, line.trim()))
        });
        assert!(lines.any(|is| is), "{known:?} names no line");
        assert!(known.because.len() > 20, "{known:?}");
    }
}
