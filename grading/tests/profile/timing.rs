//! What the bench does where there is a GPU, with the PTX machine in its place: every row is timed and
//! judged, or blank with the reason.

use super::data;
use grading::profile::assembled::Assembler;
use grading::profile::judge::judge_parts;
use grading::profile::measure::Plan;
use grading::profile::ready::ready;
use grading::profile::results::{Counted, Row, read};
use grading::profile::{Scale, Shape, call, count, shape, timing};
use grading::tensor::Tensor;
use kernels_host::{Device, Recorder, Vm};
use simt::count::roofline::gpu;
use std::sync::Arc;

const PLAN: Plan = Plan {
    warm_up: 1,
    runs: 3,
    rotate: 10_000,
};

fn rows(shape: &Shape) -> Vec<Row> {
    let h200 = gpu("H200").expect("known");
    let profile = count::builtin(shape, None, h200, &mut Assembler::none()).expect("it runs");
    let row = |rung: &grading::profile::RungProfile| Row {
        task: profile.task.clone(),
        op: profile.op.clone(),
        shape: profile.shape.clone(),
        rung: rung.rung.clone(),
        counted: Counted::of(&profile.sizes, rung),
        timed_sizes: None,
        compulsory_bytes: None,
        plain_flops: None,
        timed: None,
        why_blank: None,
    };
    profile.rungs.iter().map(row).collect()
}

fn a_shape() -> Shape {
    let shapes = shape::of_task("flash-attention-backward");
    let shape = shapes[1].resized([("N", 33), ("D", 32)]);
    shape.expect("its sizes")
}

#[test]
fn every_row_is_timed_and_judged() {
    let shape = a_shape();
    let mut rows = rows(&shape);
    let device: Arc<dyn Device> = Vm::new();
    timing::time(&device, &[&shape], Scale::Vm, PLAN, &mut rows).expect("it runs");
    for row in &rows {
        let timed = row.timed.as_ref().expect("timed");
        // Four tensors of q's shape, four of k's, lse: 2 heads, 33 rows, 32 columns of f32.
        let bytes = 4 * (8 * 2 * 33 * 32 + 2 * 33);
        assert_eq!(row.compulsory_bytes, Some(bytes));
        assert_eq!((timed.runs, timed.input_copies), (3, 1));
        assert_eq!(timed.judged.elements, 3 * 2 * 33 * 32);
        assert!(timed.judged.worst <= 1.0 && timed.judged.wrong.is_none());
        assert!(timed.p10_us <= timed.median_us && timed.median_us <= timed.p90_us);
        assert_eq!(row.why_blank, None);
        assert!(row.gbs().is_some_and(|gbs| gbs > 0.0));
    }
}

#[test]
fn a_device_that_computes_nothing_leaves_blanks() {
    let shape = a_shape();
    let mut rows = rows(&shape);
    let device: Arc<dyn Device> = Recorder::new();
    timing::time(&device, &[&shape], Scale::Vm, PLAN, &mut rows).expect("it is launched");
    for row in &rows {
        assert_eq!((&row.timed, row.gbs()), (&None, None));
        let why = row.why_blank.as_deref().expect("a reason");
        assert!(why.contains("is wrong, so its time says nothing"), "{why}");
    }
}

#[test]
fn the_table_of_times() {
    let results = read(&data("results-new.json")).expect("it is read");
    insta::assert_snapshot!("times", timing::text(&results));
}

/// What is judged in parts: right where the whole is, and wrong where a part that is looked at is.
#[test]
fn parts_of_a_self_attention_are_judged_as_the_whole_is() {
    for (task, outputs) in [
        ("flash-attention-forward", &["o", "lse"][..]),
        ("flash-attention-backward", &["dq", "dk", "dv"]),
    ] {
        for causal in [true, false] {
            let shapes = shape::of_task(task);
            let shape = shapes[1].resized([("Hq", 4), ("Hkv", 2), ("N", 150), ("D", 32)]);
            let mut shape = shape.expect("its sizes");
            shape.causal = causal;
            let device: Arc<dyn Device> = Vm::new();
            let call = call::of(&shape, Scale::Vm, &device).expect("it fits");
            let mut ready = ready(&call, "Plain", &device).expect("its rung");
            ready.run().expect("it runs");
            let answer = ready.outputs().expect("read");
            let parts = judge_parts(&call, &answer)
                .expect("judged")
                .expect("self-attention");
            assert!(
                parts.sampled && parts.wrong.is_none(),
                "{task}: {:?}",
                parts.wrong
            );
            assert!(parts.elements > 0 && parts.worst > 0.0);
            for (at, name) in outputs.iter().enumerate() {
                // The last row of the last head is always looked at.
                let mut wrong = answer.clone();
                let tensor = &wrong[at].tensor;
                let mut numbers = tensor.to_f64();
                *numbers.last_mut().expect("some") += 1.0;
                let changed = Tensor::from_f64(tensor.dtype(), tensor.shape(), &numbers);
                wrong[at].tensor = changed.expect("as many as before");
                let judged = judge_parts(&call, &wrong)
                    .expect("judged")
                    .expect("self-attention");
                let why = judged.wrong.expect("it is seen");
                assert!(why.starts_with(name), "{why}");
            }
        }
    }
}
