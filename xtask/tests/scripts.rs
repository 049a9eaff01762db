//! The GPU scripts, as far as they go without a GPU: what they would do, and what they do with programs
//! that only say how they were called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn both(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn exits(output: &Output, code: i32) -> String {
    let said = both(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("scripts-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// A program of a few lines of shell.
    fn program(&self, name: &str, lines: &str) {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{lines}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made a program");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn gpu_run(path: &Path, words: &[&str]) -> Output {
    let old = std::env::var("PATH").unwrap_or_default();
    Command::new(root().join("scripts/gpu-run.sh"))
        .args(words)
        .env("PATH", format!("{}:{old}", path.display()))
        .output()
        .expect("it starts")
}

#[test]
fn a_dry_run_says_every_step_and_does_none() {
    let folder = Folder::new("dry");
    let out = folder.0.join("results.json");
    let out = out.to_str().expect("a path");
    let said = exits(
        &gpu_run(&folder.0, &["--dry-run", "--out", out, "--peers", "py"]),
        0,
    );
    let steps = [
        "+ cargo test --release -p kernels-host --test gpu\n",
        "+ cargo test --release -p kernels-host --test probes\n",
        "+ cargo test --release -p kernels-host --test ops_on_gpu\n",
        "+ cargo test --release -p grading --test gpu\n",
        "grade builtin --device cuda --full\n",
        &format!("+ export TOUCHSTONE_RESULTS={out} TOUCHSTONE_COMMIT="),
        "+ cargo bench --bench kernels --",
        &format!("+ py scripts/gpu-peers.py --results {out}\n"),
    ];
    let mut from = 0;
    for step in steps {
        let at = said[from..].find(step);
        from += at.unwrap_or_else(|| panic!("no {step:?}, or out of order, in:\n{said}"));
    }
    assert!(!Path::new(out).exists() && !said.contains("written"));
}

/// Every test program that skips without a GPU is run where there is one.
#[test]
fn every_test_that_needs_a_gpu_is_run_by_the_script() {
    let script = fs::read_to_string(root().join("scripts/gpu-run.sh")).expect("read");
    let listed = script
        .lines()
        .find_map(|line| line.strip_prefix("tests='"))
        .expect("its list");
    let listed: Vec<&str> = listed.trim_end_matches('\'').split(' ').collect();
    let mut found = Vec::new();
    for member in [
        "kernels-gpu",
        "kernels-host",
        "simt",
        "reference",
        "grading",
        "toolchain",
    ] {
        let Ok(tests) = fs::read_dir(root().join(member).join("tests")) else {
            continue;
        };
        for test in tests.flatten().map(|test| test.path()) {
            let main = if test.is_dir() {
                test.join("main.rs")
            } else {
                test.clone()
            };
            let text = fs::read_to_string(main).unwrap_or_default();
            if text.contains("Cuda::open(0)") {
                let name = test.file_stem().unwrap_or_default();
                found.push(format!("{member}:{}", name.to_string_lossy()));
            }
        }
    }
    found.sort();
    let mut listed: Vec<String> = listed.into_iter().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(found, listed);
}

#[test]
fn without_a_gpu_it_says_so_and_with_nonsense_how_it_is_used() {
    let folder = Folder::new("none");
    folder.program("nvidia-smi", "exit 9");
    let said = exits(&gpu_run(&folder.0, &[]), 3);
    assert!(said.contains("no GPU"), "{said}");
    for words in [
        &["--nonsense"][..],
        &["--out"],
        &["--pack", "a", "--prebuilt", "b"],
    ] {
        let said = exits(&gpu_run(&folder.0, words), 2);
        assert!(said.contains("scripts/gpu-run.sh --prebuilt DIR"), "{said}");
    }
    exits(&gpu_run(&folder.0, &["--prebuilt", "/nowhere"]), 2);
}

/// What is packed is what is run: programs that say how they were called stand for both sides.
fn prebuilt(folder: &Folder) -> PathBuf {
    folder.program("nvidia-smi", "exit 0");
    let log = folder.0.join("log");
    for name in [
        "kernels-host-gpu",
        "kernels-host-probes",
        "kernels-host-ops_on_gpu",
        "grading-gpu",
        "touchstone",
    ] {
        folder.program(name, &format!("echo {name} \"$@\" >>{}", log.display()));
    }
    let said = "\"$TOUCHSTONE_COMMIT $TOUCHSTONE_TESTS\"";
    folder.program(
        "bench-kernels",
        &format!(
            "echo bench \"$@\" >>{}; echo {said} >\"$TOUCHSTONE_RESULTS\"",
            log.display()
        ),
    );
    fs::write(folder.0.join("commit"), "abcdef\n").expect("written");
    log
}

#[test]
fn programs_that_were_built_elsewhere_are_run_in_order() {
    let folder = Folder::new("prebuilt");
    let log = prebuilt(&folder);
    let (at, out) = (
        folder.0.to_str().expect("a path"),
        folder.0.join("new/results.json"),
    );
    let out_text = out.to_str().expect("a path");
    let words = ["--prebuilt", at, "--out", out_text, "--only", "softmax"];
    let said = exits(&gpu_run(&folder.0, &words), 0);
    assert!(said.contains("written: "), "{said}");
    assert_eq!(
        fs::read_to_string(log).expect("they ran"),
        "kernels-host-gpu\nkernels-host-probes\nkernels-host-ops_on_gpu\ngrading-gpu\n\
         touchstone grade builtin --device cuda --full\nbench --bench softmax\n"
    );
    let results = fs::read_to_string(out).expect("the bench wrote it");
    let tests = "kernels-host-gpu=true kernels-host-probes=true kernels-host-ops_on_gpu=true \
                 grading-gpu=true grade=true";
    assert_eq!(results.trim(), format!("abcdef {tests}"));
}

/// A folder as `--pack` makes it, on a machine without this checkout.
#[test]
fn a_packed_folder_needs_nothing_else() {
    let folder = Folder::new("packed");
    let log = prebuilt(&folder);
    fs::create_dir_all(folder.0.join("scripts")).expect("a folder");
    let script = folder.0.join("scripts/gpu-run.sh");
    fs::copy(root().join("scripts/gpu-run.sh"), &script).expect("copied");
    let old = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(script)
        .args([Path::new("--prebuilt"), &folder.0])
        .env("PATH", format!("{}:{old}", folder.0.display()))
        .output();
    exits(&output.expect("it starts"), 0);
    assert!(
        fs::read_to_string(log)
            .expect("they ran")
            .ends_with("bench --bench\n")
    );
    let written = fs::read_dir(folder.0.join("benches/results")).expect("the results' folder");
    let names: Vec<_> = written.flatten().map(|file| file.file_name()).collect();
    assert_eq!(names.len(), 1);
    assert!(
        names[0].to_string_lossy().ends_with("Z-abcdef.json"),
        "{names:?}"
    );
}

/// With a cargo that names a program it wants to run beside the one that was asked for, as the real one
/// does.
#[test]
fn what_is_packed_are_the_programs_that_were_asked_for() {
    let folder = Folder::new("cargo");
    let at = folder.0.display();
    folder.program(
        "cargo",
        &format!(
            r#"case $1 in
            test | bench)
                made={at}/made-$(echo "$*" | cksum | cut -d ' ' -f 1)
                echo "$*" >"$made"
                echo '{{"target":{{"kind":["'"$1"'"]}},"executable":"'"$made"'"}}'
                echo '{{"target":{{"kind":["bin"]}},"executable":"{at}/touchstone"}}' ;;
            metadata) echo '{{"target_directory":"{at}/target"}}' ;;
            build) mkdir -p {at}/target/release && echo built >{at}/target/release/touchstone ;;
            esac"#
        ),
    );
    let pack = folder.0.join("pack");
    exits(
        &gpu_run(&folder.0, &["--pack", pack.to_str().expect("a path")]),
        0,
    );
    let packed = |name: &str| fs::read_to_string(pack.join(name)).expect("it is packed");
    for (file, words) in [
        (
            "kernels-host-gpu",
            "test --release -p kernels-host --test gpu ",
        ),
        (
            "kernels-host-probes",
            "test --release -p kernels-host --test probes ",
        ),
        (
            "kernels-host-ops_on_gpu",
            "test --release -p kernels-host --test ops_on_gpu ",
        ),
        ("grading-gpu", "test --release -p grading --test gpu "),
        ("bench-kernels", "bench --bench kernels "),
        ("touchstone", "built"),
    ] {
        assert!(packed(file).starts_with(words), "{file}: {}", packed(file));
    }
    for file in [
        "scripts/gpu-run.sh",
        "scripts/gpu-peers.py",
        "benches/shapes.toml",
    ] {
        let here = fs::read_to_string(root().join(file)).expect("it is here");
        assert_eq!(packed(file), here);
    }
    assert!(pack.join("simt/tests/ops").is_dir() && !packed("commit").is_empty());
}

#[test]
fn packing_takes_what_the_programs_read() {
    let folder = Folder::new("pack");
    let pack = folder.0.join("new");
    let pack = pack.to_str().expect("a path");
    let said = exits(&gpu_run(&folder.0, &["--dry-run", "--pack", pack]), 0);
    for step in [
        format!("+ cp -R simt/tests/ops {pack}/simt/tests\n"),
        format!("+ cp benches/shapes.toml {pack}/benches\n"),
        format!("scripts/gpu_peers_triton.py {pack}/scripts\n"),
        format!("cargo test --release -p grading --test gpu --no-run, into {pack}/grading-gpu\n"),
        format!("cargo bench --bench kernels --no-run, into {pack}/bench-kernels\n"),
    ] {
        assert!(said.contains(&step), "no {step:?} in:\n{said}");
    }
    assert!(!Path::new(pack).exists());
}

#[test]
fn a_test_that_fails_is_written_down_and_fails_the_run() {
    let folder = Folder::new("failing");
    prebuilt(&folder);
    folder.program("grading-gpu", "exit 101");
    let (at, out) = (
        folder.0.to_str().expect("a path"),
        folder.0.join("results.json"),
    );
    let words = ["--prebuilt", at, "--out", out.to_str().expect("a path")];
    let said = exits(&gpu_run(&folder.0, &words), 1);
    assert!(said.contains("failed: grading-gpu"), "{said}");
    let results = fs::read_to_string(out).expect("the bench ran all the same");
    assert!(
        results.contains("grading-gpu=false grade=true"),
        "{results}"
    );
}

#[test]
fn peers_are_named_for_every_shape() {
    let script = root().join("scripts/gpu-peers.py");
    let dry = |words: &[&str]| {
        let output = Command::new("python3").arg(&script).args(words).output();
        output.expect("python3 is there: the scripts are Python")
    };
    let said = exits(&dry(&["--dry-run"]), 0);
    let shapes = fs::read_to_string(root().join("benches/shapes.toml")).expect("read");
    let names = shapes
        .lines()
        .filter_map(|line| line.strip_prefix("name = "));
    let names: Vec<&str> = names.map(|name| name.trim_matches('"')).collect();
    assert_eq!(said.lines().count(), names.len());
    for name in names {
        assert!(said.contains(&format!("{name}: ")), "no {name} in:\n{said}");
    }
    for peer in [
        "PyTorch eager",
        "torch.compile",
        "SDPA flash",
        "SDPA cuDNN",
        "Triton",
        "cuBLAS",
    ] {
        assert!(said.contains(peer), "no {peer}");
    }
    assert!(exits(&dry(&["--dry-run", "--only", "nothing"]), 2).contains("no shape"));
    // 25 µs against the faster of our rungs, 12.5; what a peer does not do is blank.
    let results = root().join("grading/tests/profile/results-new.json");
    let results = results.to_str().expect("a path");
    let said = exits(&dry(&["--table", "--results", results]), 0);
    let rows = "| synthetic-rows | Made-up library | 25.0 | 12.5 | 2.00 |\n\
                | synthetic-attention | Made-up library |  | 100.0 |  |\n";
    assert!(said.ends_with(rows), "{said}");
    assert!(exits(&dry(&["--table"]), 2).contains("--results"));
}
