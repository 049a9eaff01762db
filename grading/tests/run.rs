//! `touchstone run` as people outside use it: the program itself, its files and exit codes. The PTX
//! lies in `run/`.

use grading::npy;
use grading::tensor::{DType, Tensor};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn ptx(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/run")
        .join(name)
}

/// `touchstone run` and the words of a line in a folder; a program of `run/` goes by its name.
fn touchstone(folder: &Path, line: &str) -> Output {
    let word = |word: &str| match ptx(word) {
        program if word.ends_with(".ptx") && program.exists() => program.into(),
        _ => OsString::from(word),
    };
    Command::new(env!("CARGO_BIN_EXE_touchstone"))
        .arg("run")
        .args(line.split_whitespace().map(word))
        .current_dir(folder)
        .output()
        .expect("it starts")
}

#[track_caller]
fn exits(output: &Output, code: i32, says: &str) {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(
        format!("{out}{err}").contains(says),
        "no {says:?} in:\n{out}{err}"
    );
}

fn f32s(values: &[f32]) -> Tensor {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Tensor::new(DType::F32, vec![values.len()], bytes).expect("as many bytes as it says")
}

/// A folder with x.npy and y.npy of 100 values.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let x: Vec<f32> = (0..100).map(|i| i as f32).collect();
    npy::write(&folder.path().join("x.npy"), &f32s(&x)).expect("written");
    npy::write(&folder.path().join("y.npy"), &f32s(&[1.0; 100])).expect("written");
    folder
}

#[test]
fn a_clean_run_writes_its_outputs_and_a_report() {
    let folder = folder();
    let line = "axpy.ptx --grid 4 --block 32,1 --arg in:x.npy --arg inout:y.npy:z.npy \
                --arg f32:-2 --arg u32:100 --json r.json";
    let output = touchstone(folder.path(), line);
    exits(&output, 0, "axpy: ran clean");
    let expected: Vec<f32> = (0..100).map(|i| 1.0 - 2.0 * i as f32).collect();
    assert_eq!(
        npy::read(&folder.path().join("z.npy")).expect("read"),
        f32s(&expected)
    );
    assert_eq!(
        npy::read(&folder.path().join("y.npy")).expect("read"),
        f32s(&[1.0; 100])
    );
    let json = std::fs::read_to_string(folder.path().join("r.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["schema"], 1);
    assert_eq!(report["entry"], "axpy");
    assert!(report["outcome"]["ended"]["steps"].as_u64() > Some(0));
}

#[test]
fn a_read_past_the_end_is_the_programs_fault_and_names_the_buffer() {
    let folder = folder();
    let line = "axpy.ptx --grid 4 --block 32 --arg in:x.npy --arg inout:y.npy:z.npy --arg \
                f32:2 --arg u32:101 --json r.json";
    let output = touchstone(folder.path(), line);
    exits(&output, 1, "x.npy");
    assert!(
        !folder.path().join("z.npy").exists(),
        "nothing is written by a run that failed"
    );
    let json = std::fs::read_to_string(folder.path().join("r.json")).expect("a report");
    assert!(json.contains("out-of-bounds"), "{json}");
}

#[test]
fn a_write_to_an_input_is_the_programs_fault() {
    let folder = folder();
    let line = "axpy.ptx --block 32 --arg in:x.npy --arg in:y.npy --arg f32:2 --arg u32:10";
    let output = touchstone(folder.path(), line);
    exits(&output, 1, "y.npy");
}

#[test]
fn bytes_that_were_never_written_are_counted() {
    let folder = folder();
    let output = touchstone(
        folder.path(),
        "two.ptx --entry fill --block 8 --arg out:u32:8x2:o.npy",
    );
    exits(&output, 0, "u32 8x2, 32 bytes of it never written");
}

#[test]
fn counters_are_those_of_the_formula() {
    let folder = folder();
    let line = "axpy.ptx --block 64 --arg in:x.npy --arg inout:y.npy:z.npy --arg f32:2 \
                --arg u32:64 --counters --json r.json";
    let output = touchstone(folder.path(), line);
    exits(&output, 0, "axpy: ran clean");
    let json = std::fs::read_to_string(folder.path().join("r.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let clean = &report["outcome"]["ended"];
    let total = &clean["counters"]["total"];
    // 64 threads: a fused multiply-add each; x and y read once, y written once.
    assert_eq!(
        total["flops"]
            .as_object()
            .map(|units| units.values().filter_map(|v| v.as_u64()).sum()),
        Some(128_u64),
        "{total}"
    );
}

#[test]
fn a_race_is_the_programs_fault_unless_nobody_watches() {
    let folder = folder();
    let line = "race.ptx --block 64 --arg out:u32:1:o.npy --json r.json";
    let checked = |by: &str| touchstone(folder.path(), &format!("{line} {by}"));
    exits(&checked(""), 1, "race");
    let json = std::fs::read_to_string(folder.path().join("r.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        report["outcome"]["ended"]["findings"]
            .as_array()
            .map(Vec::len),
        Some(1),
        "{json}"
    );
    exits(&checked("--check none"), 0, "ran clean");
    exits(&checked("--check uninitialised,barrier"), 0, "ran clean");
    exits(&checked("--check everything"), 2, "everything");
}

/// A matrix of 20 by 40, whose last tiles of 8 by 32 hang over its edges.
fn matrix() -> Vec<f32> {
    (0..800).map(|i| i as f32).collect()
}

fn add_one(folder: &Path, source: &str, target: &str) -> Output {
    let line = format!("tiles.ptx --grid 2,3 --block 256 --arg {source} --arg {target}");
    touchstone(folder, &line)
}

#[test]
fn tensor_maps_are_made_of_arguments() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = matrix();
    let tensor = Tensor::of(&[20, 40], &values).expect("as many as it says");
    npy::write(&folder.path().join("m.npy"), &tensor).expect("written");
    let made = |source: &str, target: &str| {
        let output = add_one(folder.path(), source, target);
        exits(&output, 0, "add_one: ran clean");
        let tensor = npy::read(&folder.path().join("o.npy")).expect("written");
        assert_eq!(tensor.shape(), [20, 40]);
        tensor.to_vec::<f32>().expect("f32")
    };
    let plain: Vec<f32> = values.iter().map(|v| v + 1.0).collect();
    assert_eq!(
        made("tmap:m.npy:8x32", "tmapout:f32:20x40:o.npy:8x32"),
        plain
    );
    let both = made("tmap:m.npy:8x32:128b", "tmapout:f32:20x40:o.npy:8x32:128b");
    assert_eq!(both, plain);
    // Swizzled on the way in only: of a row of the tile, the piece of 16 bytes at j holds the one
    // at j xor the row. What lies outside is zero.
    let once = made("tmap:m.npy:8x32:128b", "tmapout:f32:20x40:o.npy:8x32:none");
    for (at, value) in once.iter().enumerate() {
        let (row, column) = (at / 40, at % 40);
        let from = column / 32 * 32 + ((column % 32 / 4) ^ (row % 8)) * 4 + column % 4;
        let expected = values
            .get(row * 40 + from)
            .filter(|_| from < 40)
            .unwrap_or(&0.0)
            + 1.0;
        assert_eq!(*value, expected, "row {row}, column {column}");
    }
}

#[test]
fn a_tensor_map_that_cannot_be_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let tensor = Tensor::of(&[20, 40], &matrix()).expect("as many as it says");
    npy::write(&folder.path().join("m.npy"), &tensor).expect("written");
    let tensor = Tensor::of(&[20, 3], &[0.0_f32; 60]).expect("as many as it says");
    npy::write(&folder.path().join("narrow.npy"), &tensor).expect("written");
    for (source, says) in [
        (
            "tmap:m.npy:8",
            "tile sizes are given for 1 dimensions, 2 are needed",
        ),
        (
            "tmap:m.npy:8x64:128b",
            "a row of a tile has 256 bytes, the swizzle allows 128",
        ),
        ("tmap:m.npy:257x32", "a tile has 257 elements"),
        (
            "tmap:narrow.npy:8x32",
            "(narrow.npy): the stride of dimension 1 is 12 bytes",
        ),
        (
            "tmap:m.npy:8x32:256b",
            "a tensor map ends in the shape of its tile",
        ),
        ("tmap:none.npy:8x32", "none.npy"),
    ] {
        let output = add_one(folder.path(), source, "tmapout:f32:20x40:o.npy:8x32");
        exits(&output, 2, says);
    }
    // A map of two dimensions where the program wants bytes of another kind.
    let output = add_one(folder.path(), "tmap:m.npy:8x32", "out:f32:20x40:o.npy");
    exits(&output, 1, "tensor map at ");
}

#[test]
fn a_reader_may_stop_reading() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_touchstone"))
        .args(["run", "--isa"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    exits(&child.wait_with_output().expect("it ends"), 0, "");
}

#[test]
fn blocks_form_clusters() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |grid: &str, blocks: &str| {
        let line = "cluster.ptx --block 32 --arg out:u32:4x32:o.npy";
        let line = format!("{line} --grid {grid} --cluster {blocks}");
        touchstone(folder.path(), &line)
    };
    exits(&run("4", "2"), 0, "exchange: ran clean");
    let tensor = npy::read(&folder.path().join("o.npy")).expect("written");
    let expected: Vec<u32> = (0..128).map(|i| 100 * ((i / 32) ^ 1) + i % 32).collect();
    assert_eq!(tensor.to_vec::<u32>(), Some(expected));
    // Alone, there is no other block.
    exits(&run("4", "1"), 1, "cluster");
    exits(&run("3", "2"), 2, "cluster");
    exits(&run("4", "0"), 2, "cluster");
}

#[test]
fn an_endless_loop_ends_within_half_a_minute() {
    let folder = folder();
    let start = Instant::now();
    let output = touchstone(folder.path(), "loop.ptx");
    exits(&output, 4, "");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_trap_is_the_programs_fault_under_every_schedule() {
    let folder = folder();
    for schedule in ["--seed 7", "--explore 3"] {
        let line = format!("two.ptx --entry stop {schedule}");
        exits(&touchstone(folder.path(), &line), 1, "trap");
    }
}

#[test]
fn what_cannot_be_is_a_usage_error() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.npy"), "no array").expect("written");
    for (line, says) in [
        ("", "required"),
        ("none.ptx", "none.ptx"),
        ("two.ptx", "which entry? --entry one of fill, stop"),
        (
            "two.ptx --entry no",
            "there is no entry `no`; the module has fill, stop",
        ),
        ("axpy.ptx", "argument"),
        (
            "axpy.ptx --arg null --arg null --arg u32:1 --arg u32:1",
            "f32",
        ),
        ("axpy.ptx --arg in:no.npy", "no.npy"),
        ("axpy.ptx --arg in:bad.npy", "bad.npy"),
        ("axpy.ptx --arg u128:1", "u128:1"),
        ("two.ptx --entry stop --grid 0", "grid"),
        ("two.ptx --entry stop --grid 2147483648", "grid"),
        ("two.ptx --entry stop --block 1025", "block"),
        ("two.ptx --entry stop --shared 300000", "shared"),
        ("two.ptx --entry stop --grid 1,65536", "grid"),
        ("two.ptx --entry stop --grid 1,x", "grid"),
    ] {
        exits(&touchstone(folder.path(), line), 2, says);
    }
}

#[test]
fn text_that_is_no_ptx_and_instructions_nobody_knows_are_told_apart() {
    let folder = folder();
    let write = |name: &str, body: &str| {
        let text = format!(
            ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n{body}\n}}\n"
        );
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("wrong.ptx", "    add.s32 %r1, %r2;\n    ret;");
    exits(
        &touchstone(folder.path(), "wrong.ptx"),
        1,
        "wrong.ptx: error: `add.s32` takes 3",
    );
    write("unknown.ptx", "    frobnicate.s32;\n    ret;");
    exits(&touchstone(folder.path(), "unknown.ptx"), 3, "frobnicate");
    // In the table, but not with these types: refused at the launch.
    write(
        "narrow.ptx",
        "    .reg .b32 %r<3>;\n    cvta.global.u32 %r1, %r2;\n    ret;",
    );
    exits(
        &touchstone(folder.path(), "narrow.ptx"),
        3,
        "known forms: cvta",
    );
    // Calls without an end run out of stack.
    let recursive = ".version 7.0\n.target sm_80\n.address_size 64\n.func f()\n{\n    call f;\n    ret;\n}\n\
        .visible .entry k()\n{\n    call f;\n    ret;\n}\n";
    std::fs::write(folder.path().join("recursive.ptx"), recursive).expect("written");
    exits(
        &touchstone(folder.path(), "recursive.ptx"),
        1,
        "stack of functions that call themselves",
    );
    exits(&touchstone(folder.path(), "--isa"), 0, "add<.u32|.s32>");
    exits(&touchstone(folder.path(), "--isa"), 0, " instructions in ");
}
