use super::{Argument, Lane, Manifest, ManifestError, Scalar};
use crate::lane::limits::Limits;
use std::path::Path;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["softmax.py", "softmax.ptx"] {
        std::fs::write(folder.path().join(file), "").expect("a file");
    }
    folder
}

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let folder = folder();
    Manifest::parse(text, Path::new("submission.toml"), folder.path())
}

const PROCESS: &str = r#"
schema = 1
name = "mine"
lane = "process"

[limits]
memory_mib = 512

[[task]]
name = "softmax-topk"
command = ["python3", "softmax.py", "-v"]
"#;

const PTX: &str = r#"
schema = 1
name = "mine"
lane = "ptx"

[[task]]
name = "softmax-topk"

[[task.variant]]
when = "dtype == f32"
define = [{ name = "blocks", value = "ceil_div(V, 1024)" }]
scratch.partial = "8 * R * blocks"

[[task.variant.kernel]]
file = "softmax.ptx"
entry = "chunks"
grid = ["blocks", "R"]
block = [128]
args = ["logits", "mask?", "partial", "i32: V", "f32: temperature"]
"#;

#[test]
fn a_program_is_found_beside_its_manifest() {
    let folder = folder();
    let manifest = Manifest::parse(PROCESS, Path::new("submission.toml"), folder.path());
    let manifest = manifest.expect("a manifest");
    assert_eq!(manifest.limits.memory_mib, 512);
    assert_eq!(manifest.limits.files, Limits::DEFAULT.files);
    let Lane::Process(programs) = manifest.lane else {
        panic!("{:?}", manifest.lane)
    };
    let script = folder.path().join("softmax.py");
    let expected = ["python3", &script.to_string_lossy(), "-v"];
    assert_eq!(programs[0].command, expected);
}

#[test]
fn kernels_are_read_with_their_expressions() {
    let Lane::Ptx(variants) = parse(PTX).expect("a manifest").lane else {
        panic!("not the ptx lane")
    };
    let variant = &variants[0];
    assert_eq!(variant.op, "softmax-topk");
    assert_eq!(variant.scratch[0].bytes.text(), "8 * R * blocks");
    let kernel = &variant.kernels[0];
    let grid: Vec<&str> = kernel.grid.iter().map(|e| e.text()).collect();
    assert_eq!(grid, ["blocks", "R", "1"]);
    let mask = Argument::Buffer {
        name: "mask".into(),
        optional: true,
    };
    assert_eq!(kernel.args[1], mask);
    assert!(matches!(kernel.args[4], Argument::Scalar(Scalar::F32, _)));
}

/// Each is the good manifest with one thing replaced; the error names the line and the key.
#[test]
fn what_is_wrong_is_named_with_its_line() {
    let of_process = [
        ("schema = 1", "schema = 2"),
        ("schema = 1\n", ""),
        ("schema = 1", "schema = \"1\""),
        ("name = \"mine\"", "nom = \"mine\""),
        ("\"process\"", "\"cuda\""),
        ("\"process\"", "\"rust\""),
        ("\"process\"", "\"ptx\""),
        ("memory_mib = 512", "memory_mib = 10000000"),
        ("memory_mib = 512", "memory_mib = 0"),
        ("memory_mib = 512", "memory_mib = -1"),
        ("memory_mib = 512", "memory = 512"),
        ("softmax-topk", "softmax"),
        ("\"python3\"", "\"./python3\""),
        ("[\"python3\", \"softmax.py\", \"-v\"]", "[]"),
        ("[[task]]", "[task"),
    ];
    let of_ptx = [
        ("\"chunks\"", "7"),
        ("softmax.ptx", "other.ptx"),
        ("\"dtype == f32\"", "\"dtype = f32\""),
        ("\"ceil_div(V, 1024)\"", "\"ceil_div(V, 1024\""),
        ("\"8 * R * blocks\"", "\"8 R\""),
        ("[128]", "[1, 2, 3, 4]"),
        ("[128]", "[-1]"),
        ("\"i32: V\"", "\"i16: V\""),
        ("\"mask?\"", "\"mask ?\""),
        ("[[task.variant.kernel]]", "[task.variant.kernel]"),
    ];
    let said = |good: &str, (from, to): (&str, &str)| {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1)).expect_err(to);
        format!("{from:?} -> {to:?}\n{error}\n")
    };
    let of_process = of_process.map(|change| said(PROCESS, change));
    let of_ptx = of_ptx.map(|change| said(PTX, change));
    let all: Vec<String> = of_process.into_iter().chain(of_ptx).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_program_is_submitted_once_for_a_task() {
    let task = "\n[[task]]\nname = \"softmax-topk\"\ncommand = [\"python3\"]\n";
    let error = parse(&format!("{PROCESS}{task}")).expect_err("twice");
    assert_eq!(error.place.line, 14);
    assert_eq!(error.place.key, "task[1].name");
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let error = Manifest::read(Path::new("/nowhere/submission.toml")).expect_err("no file");
    assert!(error.to_string().contains("/nowhere/submission.toml"));
    assert!(error.place.key.is_empty());
}

/// The example of the format's description is one.
#[test]
fn the_description_is_true() {
    let text = include_str!("../../../SUBMISSION.md");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.contains("schema"))
        .collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["softmax_topk.py", "softmax.sm_80.ptx"] {
            std::fs::write(folder.path().join(file), "").expect("a file");
        }
        Manifest::parse(block, Path::new("SUBMISSION.md"), folder.path())
            .unwrap_or_else(|error| panic!("{error}"));
    }
    for (name, default) in Limits::DEFAULT.named() {
        let most = Limits::MOST.named().into_iter().find(|(n, _)| *n == name);
        let most = most.expect("the same limits").1;
        let row = format!("| `{name}` | {default} | {most} |");
        assert!(text.contains(&row), "no row {row}");
    }
}
