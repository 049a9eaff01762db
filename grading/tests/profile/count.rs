//! The command: its table, its codes, a submission's PTX.

use super::{data, exits, out, profile_of, small, touchstone};
use grading::profile::assembled::Assembler;
use grading::profile::count;
use grading::submission::CountedLaunch;
use simt::Counters;
use simt::count::roofline::gpu;
use std::path::Path;

const SMALL: &str = "softmax-1024x32000-k32,R=2,V=600,K=8";

#[test]
fn the_table_has_a_row_for_each_rung_and_the_lines_that_cost() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = touchstone(
        folder.path(),
        &["profile", "softmax-topk", "--shape", SMALL],
    );
    exits(&output, 0, "regs");
    let text = out(&output);
    for rung in ["Warp", "Block", "Split(4)"] {
        let is_row = |line: &&str| line.split_whitespace().next() == Some(rung);
        // 2·600 logits of two bytes, and what is written of 8 ranks.
        let row = text
            .lines()
            .find(is_row)
            .unwrap_or_else(|| panic!("no {rung} in {text}"));
        assert_eq!(row.split_whitespace().nth(2), Some("2536"), "{row}");
        assert!(
            text.contains(&format!("\n{rung}: right: 34 elements")),
            "{text}"
        );
    }
    assert!(text.contains("src/softmax_topk/warp.rs:"), "{text}");
}

/// A kernel of nvcc's, checked in: nobody's change to our kernels moves it.
#[test]
fn the_table_of_a_submission_from_nvcc() {
    let folder = tempfile::tempdir().expect("a folder");
    let nvcc = data("../../examples/cuda");
    let output = profile_of(folder.path(), "softmax-topk", "R=2,V=300,K=4", &nvcc, &[]);
    exits(&output, 0, "right: ");
    insta::assert_snapshot!("nvcc", out(&output));
}

#[test]
fn two_runs_count_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |file: &str| {
        let words = [
            "profile",
            "ternary-matmul",
            "--shape",
            "N=32,K=256",
            "--json",
            file,
        ];
        exits(&touchstone(folder.path(), &words), 0, "OneRow");
        std::fs::read(folder.path().join(file)).expect("written")
    };
    assert_eq!(run("a.json"), run("b.json"));
}

/// The bench's table, twice: every counted column of every rung.
#[test]
fn every_counted_column_is_the_same_on_every_run() {
    let h200 = gpu("H200").expect("known");
    let table = || -> Vec<String> {
        let profiles = small::shapes().into_iter().map(|shape| {
            let profile = count::builtin(&shape, None, h200, &mut Assembler::none());
            let profile = profile.unwrap_or_else(|error| panic!("{}: {error}", shape.name));
            serde_json::to_string(&profile).expect("JSON")
        });
        profiles.collect()
    };
    for (first, second) in table().iter().zip(table()) {
        // The whole profile: also each line's counts.
        assert!(*first == second, "{}", &first[..100]);
    }
}

/// Registers and blocks that are known by hand, where there is an assembler.
#[test]
fn what_ptxas_says_becomes_blocks_on_a_multiprocessor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut assembler = Assembler::find(&root.join("target"));
    if !assembler.is_there() {
        println!("skipped: no ptxas");
        return;
    }
    let text = std::fs::read_to_string(data("submission/shared.ptx")).expect("it is there");
    let launch = CountedLaunch {
        counters: Counters {
            kernel: "shared".into(),
            threads: 32,
            ..Counters::default()
        },
        shared: 1024,
    };
    let a100 = gpu("A100").expect("known");
    let fits = assembler.kernel(&text, &launch, a100).expect("assembled");
    // 4096 bytes of its own and 1024 of the launch; the driver keeps 1024 a block: 27 of 164 KiB.
    assert_eq!((fits.shared, fits.occupancy.blocks), (5120, 27));
    assert_eq!(fits.occupancy.limiter.name(), "shared-memory");
    assert!(fits.registers > 0 && fits.spilled == 0);
    // Text that it refuses is blank, and not nothing.
    assert_eq!(assembler.kernel("nonsense", &launch, a100), None);
}

#[test]
fn one_rung_on_another_gpu_in_another_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = [
        "profile",
        "softmax-topk",
        "--shape",
        "R=1,V=300,K=40",
        "--dtype",
        "f32",
        "--rung",
        "block",
        "--gpu",
        "a100",
    ];
    let output = touchstone(folder.path(), &words);
    exits(&output, 0, "bounds for the A100");
    let text = out(&output);
    assert!(text.contains("softmax_topk_block_f32"), "{text}");
    assert!(!text.contains("Split"), "{text}");
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&[&str], &str); 8] = [
        (
            &["no-task"],
            "there is no task `no-task`; there are layernorm-backward",
        ),
        (
            &["softmax-topk", "--gpu", "Abacus"],
            "there is no GPU `Abacus`; there are H200",
        ),
        (
            &["softmax-topk", "--shape", "none"],
            "there are softmax-256x151936-k256",
        ),
        (
            &["softmax-topk", "--shape", "Q=3"],
            "has no size Q; it has K, R, V",
        ),
        (&["softmax-topk", "--shape", "R=0"], "R must not be 0"),
        (&["softmax-topk", "--shape", "V=3,K=4"], "K=4 of V=3"),
        (
            &["softmax-topk", "--dtype", "i8"],
            "there are for f32, f16 and bf16",
        ),
        (
            &["softmax-topk", "--shape", "R=1,V=40,K=2", "--rung", "Lanes"],
            "there is no rung `Lanes` for this call; there are Warp, Block, Split(4)",
        ),
    ];
    for (words, says) in cases {
        let words = [&["profile"][..], words].concat();
        exits(&touchstone(folder.path(), &words), 2, says);
    }
}

#[test]
fn a_submissions_ptx_is_counted_by_its_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let (zeros, f32) = (data("submission"), ["--dtype", "f32"]);
    let output = profile_of(
        folder.path(),
        "ternary-matmul",
        "M=2,N=4,K=128",
        &zeros,
        &f32,
    );
    // It writes zeros: its counts are shown all the same, and that it is wrong.
    exits(&output, 1, "WRONG: ");
    insta::assert_snapshot!("submission", out(&output));
}

#[test]
fn what_a_submission_lacks_is_unsupported_and_not_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let submission = data("submission");
    let path = submission.to_str().expect("a path");
    let words = [
        "profile",
        "softmax-topk",
        "--shape",
        "R=1,V=40,K=2",
        "--submission",
        path,
    ];
    exits(
        &touchstone(folder.path(), &words),
        3,
        "no variant for `softmax-topk`",
    );
    let words = [
        "profile",
        "softmax-topk",
        "--shape",
        "R=1,V=40,K=2",
        "--submission",
    ];
    let programs = data("../../examples/python");
    let words = [&words[..], &[programs.to_str().expect("a path")]].concat();
    let says = "only one of PTX has a profile";
    exits(&touchstone(folder.path(), &words), 3, says);
    let words = ["profile", "softmax-topk", "--submission", "nowhere"];
    exits(&touchstone(folder.path(), &words), 2, "nowhere");
}
