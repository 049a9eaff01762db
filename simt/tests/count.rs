//! Counters against closed forms: what each kernel moves is known on paper.

use simt::count::{Counters, SECTOR, roofline};
use simt::isa::{Class, Unit};
use simt::{Arg, Launch, Machine, Options, compile};
use std::path::Path;

/// Runs `tests/count/NAME.ptx` on zeroed buffers, which come before the numbers.
fn count(name: &str, grid: u32, block: [u32; 3], buffers: &[u64], numbers: &[u32]) -> Counters {
    counted(name, grid, block, buffers, numbers, Options::default())
}

fn counted(
    name: &str,
    grid: u32,
    block: [u32; 3],
    buffers: &[u64],
    numbers: &[u32],
    options: Options,
) -> Counters {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/count/{name}.ptx"));
    let text = std::fs::read_to_string(path).expect("readable");
    let mut machine = Machine::new(1 << 28);
    let validated = compile(&text).unwrap_or_else(|e| panic!("{e}"));
    let loaded = machine.load(&validated).expect("fits");
    let mut allocate = |bytes: &u64| machine.allocate_zeroed(*bytes, "buffer").expect("fits");
    let mut args: Vec<Arg> = buffers.iter().map(|b| Arg::Pointer(allocate(b))).collect();
    args.extend(numbers.iter().map(|n| Arg::U32(*n)));
    let launch = Launch {
        grid: [grid, 1, 1],
        block,
        dynamic_shared: 32 * 33 * 4,
        ..Launch::new("kernel", &args)
    };
    let options = Options {
        counters: true,
        ..options
    };
    let report = machine.launch(&loaded, &launch, &options);
    let report = report.unwrap_or_else(|e| panic!("{e}"));
    report.counters.expect("asked for")
}

#[test]
fn a_vector_addition_moves_three_vectors_once() {
    let n = 1000u64;
    let c = count("vector_add", 8, [128, 1, 1], &[4 * n; 3], &[n as u32]);
    assert_eq!(c.total.global.load.bytes, 8 * n);
    assert_eq!(c.total.global.store.bytes, 4 * n);
    assert_eq!((c.compulsory.read, c.compulsory.written), (8 * n, 4 * n));
    assert_eq!(c.traffic_ratio(), Some(1.0));
    assert_eq!(c.sector_efficiency(), Some(1.0));
    assert_eq!(c.total.flops[&Unit::Single], n);
    assert_eq!(c.arithmetic_intensity(), Some(n as f64 / (12 * n) as f64));
    // 31 whole warps and one of 8 lanes come past the branch; 32 warps reach it.
    assert_eq!(c.total.warp_instructions, 32 * (10 + 1) + 32 * 8);
    // A branch counts for the lanes that take it, as any guarded instruction does.
    assert_eq!(
        c.total.thread_instructions,
        1024 * (9 + 1) + (1024 - n) + n * 8
    );
    assert_eq!((c.total.branches, c.total.divergent_branches), (32, 1));
    assert_eq!(c.total.constant_loads, 32 * 4);
    let bound = roofline::gpu("h200").expect("is known").bound(&c);
    assert_eq!(bound.seconds, (12 * n) as f64 / 4.8e12);
    assert_eq!(bound.limiter, None);
}

#[test]
fn a_stride_touches_a_sector_a_lane() {
    for stride in [1u64, 2, 4, 8, 16] {
        let c = count(
            "strided",
            1,
            [64, 1, 1],
            &[64 * stride * 4, 256],
            &[stride as u32],
        );
        let sectors = 64 * stride.min(8) / 8;
        assert_eq!(c.total.global.load.sectors, sectors, "stride {stride}");
        assert_eq!(c.total.global.store.sectors, 8);
        assert_eq!(c.total.moved_bytes(), SECTOR * (sectors + 8));
        assert_eq!(c.compulsory.read, 256);
    }
    let broadcast = count("strided", 1, [64, 1, 1], &[4, 256], &[0]);
    let load = broadcast.total.global.load;
    assert_eq!((load.sectors, load.bytes, load.distinct_bytes), (2, 256, 8));
    assert_eq!(broadcast.compulsory.read, 4);
}

#[test]
fn padding_removes_the_conflicts_of_a_transpose() {
    let block = [32, 32, 1];
    let plain = count("transpose", 1, block, &[4096, 4096], &[32]);
    let padded = count("transpose", 1, block, &[4096, 4096], &[33]);
    // 32 warps store a row, without conflict, and load a column: 32 words of one bank.
    assert_eq!(plain.total.banks.wavefronts, 32 + 32 * 32);
    assert_eq!(plain.total.banks.conflicts, 32 * 31);
    assert_eq!(padded.total.banks.wavefronts, 64);
    assert_eq!(padded.total.banks.conflicts, 0);
    assert_eq!(padded.total.shared.load.bytes, 4096);
    assert_eq!(
        (padded.total.barriers, padded.traffic_ratio()),
        (1, Some(1.0))
    );
    let line = |c: &Counters, what: &str| {
        let found = c.lines.iter().find(|l| l.text.starts_with(what));
        found.expect("the line").counts.banks.conflicts
    };
    assert_eq!(line(&plain, "ld.shared"), 32 * 31);
    assert_eq!(line(&plain, "st.shared"), 0);
}

#[test]
fn classes_and_flops_follow_the_lanes() {
    let c = count("classes", 1, [32, 1, 1], &[4], &[]);
    assert_eq!(
        c.total.flops[&Unit::Single],
        2 * 32 + 2 * 16 + 32,
        "fma, fma of half, ex2"
    );
    assert_eq!(c.total.flops[&Unit::Half], 16 * 4, "one fma on pairs");
    assert_eq!(
        c.total.flops[&Unit::Double],
        16 * 3,
        "three rounds of a product"
    );
    assert_eq!(c.total.classes[&Class::Special], 1);
    assert_eq!(c.total.classes[&Class::Atomic], 1);
    assert_eq!(c.total.classes[&Class::Single], 2);
    assert_eq!(c.total.branches, 1 + 3);
    assert_eq!(c.total.divergent_branches, 1);
    assert_eq!(c.total.local.store.bytes, 16 * 16);
    assert_eq!(c.total.local.load.bytes, 16 * 4);
    let atomic = c.total.global.atomic;
    assert_eq!((atomic.requests, atomic.bytes, atomic.sectors), (1, 128, 1));
    assert_eq!((c.compulsory.read, c.compulsory.written), (4, 4));
}

#[test]
fn the_number_of_workers_does_not_show() {
    let run = |order| {
        let options = Options {
            order,
            ..Options::default()
        };
        counted(
            "vector_add",
            64,
            [128, 1, 1],
            &[4 * 8000; 3],
            &[8000],
            options,
        )
    };
    assert_eq!(run(simt::Order::Ordered), run(simt::Order::Parallel));
}

#[test]
fn text() {
    let c = count("transpose", 1, [32, 32, 1], &[4096, 4096], &[32]);
    insta::with_settings!({snapshot_path => "count", omit_expression => true}, {
        insta::assert_snapshot!("transpose", c.to_string());
    });
}
