//! Pictures of results.

use super::{data, exits, out, touchstone};
use roxmltree::Document;

fn words<'a>(files: &[&'a str]) -> Vec<&'a str> {
    [&["plot", "--out", "pictures"][..], files].concat()
}

#[test]
fn rooflines_ratios_and_history_are_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (data("results-old.json"), data("results-new.json"));
    let files = [new.to_str().expect("a path"), old.to_str().expect("a path")];
    let output = touchstone(folder.path(), &words(&files));
    exits(
        &output,
        0,
        "not drawn: tree-verify: no floating-point operations",
    );
    let svg = |name: &str| {
        let path = folder.path().join("pictures").join(name);
        let svg = std::fs::read_to_string(path).expect("written");
        Document::parse(&svg).expect("well-formed");
        svg
    };
    let forward = svg("roofline-flash-attention-forward.svg");
    for text in [
        "TensorCore synthetic-attention: measured",
        "Synthetic H200, 222222222",
    ] {
        assert!(forward.contains(text), "no {text}");
    }
    let rows = svg("roofline-softmax-topk.svg");
    assert!(rows.contains("Block synthetic-rows: measured"));
    // 25 µs against 12.5 µs, and nothing for the shape that the peer does not do.
    let peers = svg("peers.svg");
    assert!(peers.contains("Made-up library") && peers.contains("synthetic-rows"));
    assert!(!peers.contains("synthetic-attention"));
    assert_eq!(peers.matches("<circle").count(), 1);
    // Two shapes at two commits, the older one on the left.
    let history = svg("history.svg");
    assert_eq!(history.matches("<circle").count(), 4);
    let at = |commit: &str| history.find(commit).expect("it names the commit");
    assert!(at("111111111") < at("222222222"));
    assert_eq!(out(&output).lines().count(), 5);
}

#[test]
fn what_is_no_results_file_is_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("later.json"), "{\"schema\": 2}").expect("written");
    std::fs::write(folder.path().join("text.json"), "text").expect("written");
    std::fs::write(folder.path().join("short.json"), "{\"schema\": 1}").expect("written");
    let cases = [
        ("later.json", "schema 2; this program reads 1"),
        ("text.json", "text.json: expected"),
        ("short.json", "missing field `machine`"),
        ("nowhere.json", "nowhere.json: "),
    ];
    for (file, says) in cases {
        exits(&touchstone(folder.path(), &words(&[file])), 2, says);
    }
    exits(&touchstone(folder.path(), &["plot"]), 2, "required");
}
