//! Kernels in the ptx lane: launched as the manifest says, watched by every checker.

use grading::lane::ptx::PtxLane;
use grading::submission::manifest::{Lane, Manifest};
use grading::submission::{Answer, Call, Failure, Named, OutputSpec, Submission, Value};
use grading::tensor::{DType, Tensor};
use std::path::Path;

const MANIFEST: &str = r#"
schema = 1
name = "scale"
lane = "ptx"

[limits]
steps = 100000
memory_mib = 1

[[task]]
name = "softmax-topk"

[[task.variant]]
when = "dtype == f32"
define = [{ name = "blocks", value = "ceil_div(N, 32)" }]

[[task.variant.kernel]]
file = "scale.ptx"
entry = "scale"
grid = ["blocks"]
block = [32]
args = ["x", "bias?", "y", "f32: factor", "u32: N"]
"#;

fn floats(numbers: &[f32]) -> Tensor {
    let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    Tensor::new(DType::F32, vec![numbers.len()], bytes).expect("four bytes each")
}

fn call(bias: bool) -> Call {
    let n = 45;
    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let named = |name: &str, tensor| Named {
        name: name.into(),
        tensor,
    };
    let mut inputs = vec![named("x", floats(&x))];
    if bias {
        inputs.push(named("bias", floats(&vec![0.5; n])));
    }
    Call {
        task: "softmax-topk",
        op: "softmax-topk",
        sizes: [("N".to_owned(), n as u64)].into(),
        parameters: [("factor".to_owned(), Value::Float(2.0))].into(),
        inputs,
        outputs: vec![OutputSpec {
            name: "y".into(),
            dtype: DType::F32,
            shape: vec![n],
        }],
    }
}

fn lane(manifest: &str) -> PtxLane {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ptx");
    let manifest = Manifest::parse(manifest, Path::new("submission.toml"), &folder);
    let manifest = manifest.unwrap_or_else(|error| panic!("{error}"));
    let Lane::Ptx(variants) = manifest.lane else {
        panic!("not the ptx lane")
    };
    PtxLane::new(manifest.name, variants, manifest.limits)
}

/// The call on the manifest with one thing replaced.
fn changed(changes: &[(&str, &str)], call: &Call) -> Result<Answer, Failure> {
    let mut text = MANIFEST.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    lane(&text).call(call)
}

#[test]
fn outputs_are_computed_from_inputs_by_name() {
    let call = call(true);
    let answer = changed(&[], &call).expect("an answer");
    let expected: Vec<f32> = (0..45).map(|i| 2.0 * i as f32 + 0.5).collect();
    assert_eq!(answer.outputs.len(), 1);
    assert_eq!(answer.outputs[0].name, "y");
    assert_eq!(answer.outputs[0].tensor, floats(&expected));
    assert_eq!((answer.findings.len(), answer.unwritten.len()), (0, 0));
}

/// An absent input is null where the manifest says that it may be.
#[test]
fn optional_inputs_may_be_absent() {
    let answer = changed(&[], &call(false)).expect("an answer");
    let expected: Vec<f32> = (0..45).map(|i| 2.0 * i as f32).collect();
    assert_eq!(answer.outputs[0].tensor, floats(&expected));
    let failure = changed(&[("bias?", "bias")], &call(false)).expect_err("no bias");
    assert!(
        matches!(&failure, Failure::Malformed(why) if why.contains("bias?")),
        "{failure}"
    );
}

/// 45 reads of x and bias and 45 writes, in whole sectors: 6 sectors of 32 bytes each.
#[test]
fn what_kernels_do_is_counted() {
    let change = (
        "\n[[task.variant.kernel]]",
        "\nscratch.s = \"4 * N\"\n[[task.variant.kernel]]",
    );
    let counted = changed(&[change], &call(true)).expect("an answer").counted;
    let counted = counted.expect("counters");
    assert_eq!(counted.bytes_requested, 3 * 45 * 4);
    assert_eq!(counted.bytes_distinct, 3 * 45 * 4);
    assert_eq!(counted.bytes_moved, 3 * 6 * 32);
    assert_eq!(counted.flops, 2 * 45);
    assert_eq!(counted.workspace, 4 * 45);
}

/// Two kernels: the second reads what the first wrote to scratch memory.
#[test]
fn kernels_pass_values_on_in_scratch_memory() {
    let second = r#"
scratch.half = "4 * N"
[[task.variant.kernel]]
file = "scale.ptx"
entry = "scale"
grid = ["blocks"]
block = [32]
args = ["x", "null", "half", "f32: factor", "u32: N"]

[[task.variant.kernel]]"#;
    let both = [
        ("\n[[task.variant.kernel]]", second),
        ("[\"x\", \"bias?\",", "[\"half\", \"bias?\","),
    ];
    let answer = changed(&both, &call(false)).expect("an answer");
    let expected: Vec<f32> = (0..45).map(|i| 4.0 * i as f32).collect();
    assert_eq!(answer.outputs[0].tensor, floats(&expected));
    assert!(answer.findings.is_empty(), "{:?}", answer.findings);
}

#[test]
fn scratch_memory_that_nobody_wrote_is_a_finding() {
    let changes = [
        (
            "\n[[task.variant.kernel]]",
            "\nscratch.s = \"4 * N\"\n[[task.variant.kernel]]",
        ),
        ("[\"x\", \"bias?\",", "[\"s\", \"bias?\","),
    ];
    let answer = changed(&changes, &call(false)).expect("an answer");
    let kinds: Vec<&str> = answer.findings.iter().map(|f| f.kind.as_str()).collect();
    assert!(kinds.contains(&"uninitialised"), "{kinds:?}");
}

#[test]
fn elements_that_were_not_written_are_noticed() {
    let answer = changed(&[("u32: N\"", "u32: N - 1\"")], &call(false)).expect("an answer");
    assert_eq!(answer.unwritten, ["y"]);
    let answer = changed(&[("[\"blocks\"]", "[1]")], &call(false)).expect("an answer");
    assert_eq!(answer.unwritten, ["y"]);
}

#[test]
fn a_race_is_a_finding() {
    let changes = [
        ("entry = \"scale\"", "entry = \"race\""),
        (
            "[\"x\", \"bias?\", \"y\", \"f32: factor\", \"u32: N\"]",
            "[\"x\", \"y\"]",
        ),
    ];
    let answer = changed(&changes, &call(false)).expect("an answer");
    let kinds: Vec<&str> = answer.findings.iter().map(|f| f.kind.as_str()).collect();
    assert!(kinds.contains(&"global-race"), "{kinds:?}");
}

/// Each is the good manifest with something replaced, and the kind of its failure.
#[test]
fn each_mistake_has_its_kind_of_failure() {
    let two = "[\"x\", \"y\"]";
    let all = "[\"x\", \"bias?\", \"y\", \"f32: factor\", \"u32: N\"]";
    type Is = fn(&Failure) -> bool;
    let cases: [(&[(&str, &str)], Is); 12] = [
        // Out of bounds.
        (&[("u32: N\"", "u32: N + 1\"")], |f| {
            matches!(f, Failure::Fault(_))
        }),
        // The input is where the output belongs.
        (
            &[(all, "[\"y\", \"null\", \"x\", \"f32: factor\", \"u32: N\"]")],
            |f| matches!(f, Failure::Cheat(_)),
        ),
        (
            &[("\"scale\"\ngrid", "\"forever\"\ngrid"), (all, two)],
            |f| matches!(f, Failure::Timeout(_)),
        ),
        (
            &[("\"scale\"\ngrid", "\"mystery\"\ngrid"), (all, two)],
            |f| matches!(f, Failure::Unsupported(_)),
        ),
        (&[("\"scale\"\ngrid", "\"nothing\"\ngrid")], |f| {
            matches!(f, Failure::Malformed(_))
        }),
        (&[("[32]", "[2048]")], |f| matches!(f, Failure::Crash(_))),
        (&[("[\"blocks\"]", "[\"blocks - 2\"]")], |f| {
            matches!(f, Failure::Crash(_))
        }),
        (&[("[\"blocks\"]", "[\"blocks - 3\"]")], |f| {
            matches!(f, Failure::Malformed(_))
        }),
        (
            &[("[\"blocks\"]", "[\"bloks\"]")],
            |f| matches!(f, Failure::Malformed(why) if why.contains("bloks") && why.contains('^')),
        ),
        (&[("dtype == f32", "dtype == f16")], |f| {
            matches!(f, Failure::Unsupported(_))
        }),
        (&[("f32: factor", "i32: factor")], |f| {
            matches!(f, Failure::Malformed(_))
        }),
        (&[("\"bias?\", ", "")], |f| matches!(f, Failure::Crash(_))),
    ];
    for (changes, is) in &cases {
        let failure = changed(changes, &call(false)).expect_err(&format!("{changes:?}"));
        assert!(is(&failure), "{changes:?}: {failure}");
    }
}

#[test]
fn memory_beyond_the_limit_is_a_limit() {
    let scratch = "\nscratch.s = \"2 * 1024 * 1024\"\n[[task.variant.kernel]]";
    let failure = changed(&[("\n[[task.variant.kernel]]", scratch)], &call(false));
    let failure = failure.expect_err("two MiB of one");
    assert!(matches!(failure, Failure::Limit(_)), "{failure}");
}

#[test]
fn what_is_not_submitted_is_unsupported() {
    let mut lane = lane(MANIFEST);
    assert!(lane.supports("softmax-topk", "softmax-topk"));
    assert!(!lane.supports("softmax-topk", "other"));
    let other = Call {
        task: "beam-search",
        op: "step",
        ..call(false)
    };
    assert!(matches!(lane.call(&other), Err(Failure::Unsupported(_))));
}
