//! What the machine counts of the simplest rungs is what their loops say.

use grading::profile::assembled::Assembler;
use grading::profile::formula::simplest;
use grading::profile::{Scale, Shape, call, count, shape};
use kernels_host::{Device, Recorder};
use simt::count::roofline::gpu;
use simt::count::{Counters, Line};
use std::sync::Arc;

/// Two shapes, types and remainders for each family.
fn shapes() -> Vec<Shape> {
    let of = |name: &str, dtype: &str, sizes: &[(&str, u64)]| {
        let known = shape::all().iter().find(|shape| shape.name == name);
        let mut shape = known
            .expect("its name")
            .resized(sizes.iter().copied())
            .expect("its sizes");
        shape.dtype = dtype.into();
        shape.causal = false;
        shape
    };
    let (norm, topk) = ("layernorm-16384x4096", "softmax-1024x32000-k32");
    let (decode, gemv) = ("decode-b64-s4096", "gemv-n24576-k4096");
    let (forward, backward) = ("forward-2k-causal-f32", "backward-2k-causal-f32");
    let heads = |hq, hkv, n, d| [("Hq", hq), ("Hkv", hkv), ("N", n), ("D", d)];
    vec![
        of(norm, "bf16", &[("R", 5), ("D", 96)]),
        of(norm, "f32", &[("R", 70), ("D", 700)]),
        of(topk, "bf16", &[("R", 3), ("V", 501), ("K", 9)]),
        of(topk, "f32", &[("R", 6), ("V", 64), ("K", 32)]),
        of(
            decode,
            "bf16",
            &[("B", 2), ("S", 21), ("Hq", 4), ("Hkv", 2), ("D", 64)],
        ),
        of(
            decode,
            "f32",
            &[("B", 1), ("S", 40), ("Hq", 2), ("Hkv", 2), ("D", 96)],
        ),
        of(gemv, "bf16", &[("M", 3), ("N", 5), ("K", 256)]),
        of(gemv, "f32", &[("M", 1), ("N", 9), ("K", 128)]),
        of(forward, "f32", &heads(2, 2, 64, 64)),
        of(forward, "f32", &heads(4, 2, 32, 96)),
        of(backward, "f32", &heads(2, 2, 64, 64)),
        of(backward, "f32", &heads(4, 2, 32, 96)),
    ]
}

#[test]
fn counts_of_the_simplest_rungs_are_those_of_their_loops() {
    let h200 = gpu("H200").expect("known");
    let mut wrong = Vec::new();
    for shape in shapes() {
        let device: Arc<dyn Device> = Recorder::new();
        let call = call::of(&shape, Scale::Vm, &device).expect("it fits");
        let formula = simplest(&call).expect("its sizes").expect("a whole shape");
        let profile = count::builtin(&shape, Some(formula.rung), h200, &mut Assembler::none());
        let profile = profile.expect("it runs");
        let counted = &profile.rungs[0].counted;
        let (got, want) = (
            (counted.operations(), counted.needed_bytes),
            (formula.operations, formula.bytes),
        );
        if got != want {
            wrong.push(format!(
                "{} {}: counted {got:?}, by the loops {want:?}",
                shape.task,
                shape.text(Scale::Vm)
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_depends_on_numbers_or_is_not_whole_has_no_formula() {
    for name in [
        "beam-b32-k8-v152k",
        "accept-b16-n16-v152k",
        "forward-2k-causal-f32",
    ] {
        let known = shape::all().iter().find(|shape| shape.name == name);
        let sizes: &[(&str, u64)] = match name {
            "forward-2k-causal-f32" => &[("N", 32)],
            _ => &[("V", 100)],
        };
        let shape = known
            .expect("its name")
            .resized(sizes.iter().copied())
            .expect("its sizes");
        let device: Arc<dyn Device> = Recorder::new();
        let call = call::of(&shape, Scale::Vm, &device).expect("it fits");
        assert_eq!(simplest(&call).expect("its sizes"), None, "{name}");
    }
}

fn profiled(name: &str, sizes: &[(&str, u64)]) -> Vec<Counters> {
    let known = shape::all().iter().find(|shape| shape.name == name);
    let shape = known.expect("its name").resized(sizes.iter().copied());
    let h200 = gpu("H200").expect("known");
    let shape = shape.expect("its sizes");
    let profile = count::builtin(&shape, None, h200, &mut Assembler::none()).expect("it runs");
    profile.rungs[0].launches.clone()
}

/// Bytes of logits of 16 bits that a launch asks for: past the first-level cache, 16 bytes a lane, and
/// one by one where a row begins and ends.
fn logits_read(launch: &Counters) -> u64 {
    let of_logits = |line: &&Line| {
        let wide = line.text.contains("ld.global.nc.L1::no_allocate.v4");
        wide || (line.text.contains("ld.global") && line.text.contains("16 "))
    };
    let lines = launch.lines.iter().filter(of_logits);
    lines
        .map(|line| line.counts.global.load.distinct_bytes)
        .sum()
}

/// What the page of beam search says: one read of the logits of unfinished beams; 16·K + 8 bytes left
/// for each beam and part; 21·K bytes written for each item.
#[test]
fn a_beam_step_moves_what_its_page_says() {
    let (items, beams, vocabulary) = (2, 3, 4096);
    let launches = profiled(
        "beam-b32-k8-v152k",
        &[("B", items), ("K", beams), ("V", vocabulary)],
    );
    let (expand, keep) = (&launches[0], &launches[launches.len() - 1]);
    assert!(expand.kernel.starts_with("beam_expand") && keep.kernel == "beam_keep");
    let parts = expand.blocks / (items * beams);
    // Rows in several parts have these merged in between.
    assert_eq!(launches.len(), if parts == 1 { 2 } else { 3 });
    assert_eq!(logits_read(expand), items * beams * vocabulary * 2);
    let written = |launch: &Counters| launch.total.global.store.distinct_bytes;
    assert_eq!(written(expand), items * beams * parts * (16 * beams + 8));
    assert_eq!(written(keep), items * 21 * beams);
}

/// What the page of tree verification says: only rows on the path are read, (accepted + 1)·V logits, in
/// one launch. Each node of the bench's trees is its parent's argmax, so the walk takes the first child
/// down to a leaf: nodes 0, 1, 3 of 7.
#[test]
fn a_greedy_walk_reads_the_rows_of_its_path() {
    let (items, vocabulary) = (2, 4096);
    let launches = profiled(
        "accept-b16-n16-v152k",
        &[("B", items), ("N", 7), ("V", vocabulary)],
    );
    let [walk] = &launches[..] else {
        panic!("{} launches", launches.len());
    };
    assert_eq!(logits_read(walk), items * (3 + 1) * vocabulary * 2);
}
