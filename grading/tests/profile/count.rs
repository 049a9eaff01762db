//! The command: its table, its codes, a submission's PTX.

use super::{data, exits, out, touchstone};

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
    let example = data("../../examples/cuda");
    let path = example.to_str().expect("a path");
    let words = [
        "profile",
        "softmax-topk",
        "--shape",
        "R=2,V=300,K=4",
        "--submission",
        path,
    ];
    let output = touchstone(folder.path(), &words);
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
    let submission = data("submission");
    let path = submission.to_str().expect("a path");
    let words = [
        "profile",
        "ternary-matmul",
        "--shape",
        "M=2,N=4,K=128",
        "--dtype",
        "f32",
        "--submission",
        path,
    ];
    let output = touchstone(folder.path(), &words);
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
