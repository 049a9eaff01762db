//! Programs in the process lane: honest ones answer, hostile ones get their kind of failure, and
//! the grader goes on.

use grading::lane::limits::Limits;
use grading::lane::process::launcher::Launcher;
use grading::lane::process::{ProcessLane, SandboxReport};
use grading::submission::manifest::Program;
use grading::submission::{Answer, Call, Failure, Named, OutputSpec, Submission};
use grading::tensor::{DType, Tensor};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TASK: &str = "softmax-topk";

fn launcher() -> Launcher {
    Launcher::at(env!("CARGO_BIN_EXE_touchstone"))
}

fn limits() -> Limits {
    Limits {
        wall_seconds: 1,
        start_seconds: 2,
        cpu_seconds: 60,
        memory_mib: 256,
        processes: 48,
        files: 64,
        disk_mib: 16,
        ..Limits::DEFAULT
    }
}

fn lane(command: &[&str], limits: Limits) -> ProcessLane {
    let program = Program {
        task: TASK.into(),
        ops: Vec::new(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
    };
    ProcessLane::new("sample", vec![program], limits, launcher())
}

/// A call whose right answer is its input.
fn call(numbers: &[f32]) -> Call {
    let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let shape = vec![numbers.len()];
    let tensor = Tensor::new(DType::F32, shape.clone(), bytes).expect("four bytes each");
    Call {
        task: TASK,
        op: TASK,
        sizes: Default::default(),
        parameters: Default::default(),
        inputs: vec![Named {
            name: "x".into(),
            tensor,
        }],
        outputs: vec![OutputSpec {
            name: "y".into(),
            dtype: DType::F32,
            shape,
        }],
    }
}

fn right(call: &Call, answer: &Answer) -> bool {
    let output = |answer: &Answer| {
        let output = answer.outputs.first()?;
        (output.name == "y").then(|| output.tensor.clone())
    };
    output(answer).as_ref() == call.input("x")
}

fn verdict(call: &Call, result: &Result<Answer, Failure>) -> &'static str {
    match result {
        Ok(answer) if right(call, answer) => "ok",
        Ok(_) => "other",
        Err(Failure::Fault(_)) => "fault",
        Err(Failure::Crash(_)) => "crash",
        Err(Failure::Timeout(_)) => "timeout",
        Err(Failure::Limit(_)) => "limit",
        Err(Failure::Malformed(_)) => "malformed",
        Err(Failure::Cheat(_)) => "cheat",
        Err(Failure::Unsupported(_)) => "unsupported",
        Err(Failure::Grader(_)) => "grader",
    }
}

fn python() -> bool {
    let there = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: no python3");
    }
    there
}

fn samples() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/process")
        .join("hostile");
    let mut samples: Vec<(PathBuf, String)> = std::fs::read_dir(&folder)
        .expect("the samples")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let text = std::fs::read_to_string(&path).ok()?;
            let expected = text.lines().next()?.strip_prefix("# expect: ")?.to_owned();
            Some((path, expected))
        })
        .collect();
    samples.sort();
    samples
}

#[test]
fn every_sample_gets_its_verdict_and_the_next_program_answers() {
    if !python() {
        return;
    }
    let samples = samples();
    assert!(samples.len() >= 25, "{} samples", samples.len());
    let honest = samples
        .iter()
        .find(|(path, _)| path.ends_with("honest.py"))
        .expect("an honest sample");
    let mut wrong = Vec::new();
    for pair in samples.chunks(4) {
        // Four at a time: most of them only wait.
        let results: Vec<_> = std::thread::scope(|scope| {
            let run = |(path, expected): &(PathBuf, String)| {
                let path = path.to_string_lossy().into_owned();
                let mut lane = lane(&["python3", &path], limits());
                let call = call(&[1.0, -2.0, 3.5]);
                let result = lane.call(&call);
                let got = verdict(&call, &result);
                (got != expected).then(|| format!("{path}: {got}, not {expected}: {result:?}"))
            };
            let threads: Vec<_> = pair
                .iter()
                .map(|one| scope.spawn(move || run(one)))
                .collect();
            threads
                .into_iter()
                .filter_map(|t| t.join().expect("no panic"))
                .collect()
        });
        wrong.extend(results);
    }
    let honest = honest.0.to_string_lossy().into_owned();
    let (mut lane, call) = (lane(&["python3", &honest], limits()), call(&[7.0]));
    assert!(right(&call, &lane.call(&call).expect("an answer")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_process_answers_many_calls() {
    if !python() {
        return;
    }
    let mut lane = lane(&["python3", &sample("../looks_around.py")], limits());
    for round in 0..50 {
        let numbers: Vec<f32> = (0..1000).map(|i| (i * round) as f32).collect();
        let call = call(&numbers);
        assert!(right(&call, &lane.call(&call).expect("an answer")));
    }
    // It says so once, when it starts.
    assert_eq!(log(&lane).matches("that is all").count(), 1);
}

fn sample(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/process")
        .join("hostile");
    folder.join(name).to_string_lossy().into_owned()
}

/// An input and an answer larger than any pipe holds.
#[test]
fn large_tensors_go_both_ways() {
    if !python() {
        return;
    }
    let mut lane = lane(&["python3", &sample("honest.py")], limits());
    let call = call(&vec![0.5; 1 << 20]);
    assert!(right(&call, &lane.call(&call).expect("an answer")));
}

#[test]
fn after_a_crash_the_program_is_started_anew() {
    if !python() {
        return;
    }
    let mut lane = lane(&["python3", &sample("raises.py")], limits());
    for _ in 0..2 {
        let failure = lane.call(&call(&[1.0])).expect_err("it raises");
        let text = failure.to_string();
        assert!(text.contains("a mistake of the program"), "{text}");
    }
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let mut lane = lane(&["no-such-program-anywhere"], limits());
    let failure = lane.call(&call(&[1.0])).expect_err("no program");
    assert!(matches!(&failure, Failure::Crash(why) if why.contains("no-such-program-anywhere")));
}

/// Nothing that a program starts lives longer than its lane.
#[test]
fn nothing_is_left_behind() {
    if !python() {
        return;
    }
    let marker = sample("leaves_a_process_behind.py");
    let running = || {
        std::fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
            .filter(|line| String::from_utf8_lossy(line).contains(&marker))
            .count()
    };
    let mut lane = lane(&["python3", &marker], limits());
    lane.call(&call(&[1.0])).expect("an answer");
    assert!(running() >= 2, "the program and its child run");
    drop(lane);
    let patience = Instant::now() + Duration::from_secs(2);
    while running() > 0 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(running(), 0);
}

/// The log, once all of it has come through.
fn log(lane: &ProcessLane) -> String {
    let patience = Instant::now() + Duration::from_secs(2);
    while !lane.log().contains("that is all") && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    lane.log()
}

fn sandbox(lane: &ProcessLane) -> SandboxReport {
    lane.sandbox().expect("a program has run").clone()
}

/// What the sandbox says of itself, looked at from inside.
#[test]
fn the_sandbox_holds_what_it_reports() {
    if !python() {
        return;
    }
    let mut lane = lane(&["python3", &sample("../looks_around.py")], limits());
    let call = call(&[1.0]);
    lane.call(&call).expect("an answer");
    let report = sandbox(&lane);
    let log = log(&lane);
    let saw = |line: &str| log.lines().any(|l| l == line);
    println!("{report}{log}");
    let has = |name: &str| {
        report
            .layers
            .iter()
            .any(|l| l.name == name && l.refused.is_none())
    };
    assert!(saw("starts empty: True"));
    if has("Landlock") {
        assert!(saw("writes beside its directory: False"));
    }
    if has("PID namespace") && has("private /proc") {
        assert!(saw("sees other processes: False"));
    }
    if has("network namespace") {
        assert!(saw("network interfaces up: []"));
    }
    assert!(saw("holds descriptors: [0, 1, 2, 3, 4]"));
    assert!(saw("writes its directory: True"));
    if has("system calls") {
        assert!(saw("makes namespaces: False"));
    }
    if has("no capabilities") {
        assert!(saw("capabilities: 0000000000000000"));
    }
}

#[test]
fn hidden_folders_look_empty() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("seed"), "42").expect("a file");
    let path = folder.path().to_string_lossy().into_owned();
    let mut seen = lane(&["python3", &sample("../looks_around.py"), &path], limits());
    seen.call(&call(&[1.0])).expect("an answer");
    assert!(log(&seen).contains("folder: ['seed']"), "{}", seen.log());
    let hidden = lane(&["python3", &sample("../looks_around.py"), &path], limits());
    let mut hidden = hidden.hiding(&[folder.path().to_owned()]);
    hidden.call(&call(&[1.0])).expect("an answer");
    let report = sandbox(&hidden);
    if report.complete() {
        assert!(log(&hidden).contains("folder: []"), "{}", hidden.log());
    } else {
        eprintln!("skipped: the sandbox is not whole:\n{report}");
    }
}

/// A sandbox within the sandbox: there the kernel refuses, which must be said, and must stop a
/// program that is only to run in a whole one.
#[test]
fn a_layer_that_is_refused_is_said() {
    let limits_in = serde_json::to_string(&limits()).expect("JSON");
    let inner = |require: bool| {
        let policy = format!(
            r#"{{"command":["echo","it ran"],"directory":"/tmp","hidden":[],
                "limits":{limits_in},"require":{require},"layers":[]}}"#
        );
        let command = [
            env!("CARGO_BIN_EXE_touchstone"),
            "__sandbox",
            "outer",
            &policy,
        ];
        let mut lane = lane(&command, limits());
        let failure = lane
            .call(&call(&[1.0]))
            .expect_err("it does not speak the protocol");
        let report = sandbox(&lane);
        if !report.complete() {
            eprintln!("skipped: the outer sandbox is not whole:\n{report}");
            return None;
        }
        Some(failure.to_string())
    };
    let (Some(loose), Some(strict)) = (inner(false), inner(true)) else {
        return;
    };
    for said in [&loose, &strict] {
        assert!(
            said.contains(r#""name":"user namespace","refused":"EPERM"#),
            "{said}"
        );
    }
    assert!(loose.contains("it ran"), "{loose}");
    assert!(strict.contains("all are required"), "{strict}");
    assert!(!strict.contains("it ran"), "{strict}");
}

#[test]
fn the_launcher_says_what_it_can_do() {
    let report = launcher().probe().expect("a report");
    assert!(report.layers.len() >= 15, "{report}");
    println!("{report}");
}
