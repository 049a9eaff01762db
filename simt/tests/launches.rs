//! Launches that must not run to their end, and what is said about each.

use simt::{Arg, FaultKind, Launch, LaunchError, Machine, MemoryError, Options, Rights, compile};
use std::collections::BTreeSet;
use std::fmt::Write;

fn head(target: &str) -> String {
    format!(".version 8.0\n.target {target}\n.address_size 64\n.file 1 \"src/kernel.cu\"\n")
}

fn kernel(target: &str, before: &str, body: &str) -> String {
    let head = head(target);
    format!(
        "{head}{before}.visible .entry k(.param .u64 p) {{
    .reg .pred %p; .reg .b32 %r<9>; .reg .b64 %rd<9>;
    .shared .align 16 .b8 tile[256];
    ld.param.u64 %rd1, [p];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd2, %rd1, %rd2;
    .loc 1 42 7
    {body}
    ret;
}}"
    )
}

struct Case<'a> {
    title: &'a str,
    target: &'a str,
    /// Functions.
    before: &'a str,
    body: &'a str,
    change: fn(&mut Launch<'_>),
}

fn run(case: &Case<'_>) -> Result<(), LaunchError> {
    let text = kernel(case.target, case.before, case.body);
    let validated = compile(&text).unwrap_or_else(|e| panic!("{}: {e}", case.title));
    let mut machine = Machine::new(1 << 20);
    let loaded = machine.load(&validated).expect("fits");
    let data = machine.allocate_from(&[0; 128], "data").expect("fits");
    let freed = machine.allocate_zeroed(64, "scratch").expect("fits");
    machine.free(freed).expect("is live");
    let fixed = machine.allocate_zeroed(64, "weights").expect("fits");
    machine
        .set_rights(fixed, Rights::ReadOnly)
        .expect("is live");
    let pointer = match case.title {
        "use after free" => freed,
        "read-only" => fixed,
        "null" => 0,
        _ => data,
    };
    let args = [Arg::Pointer(pointer)];
    let mut launch = Launch {
        block: [32, 1, 1],
        ..Launch::new("k", &args)
    };
    (case.change)(&mut launch);
    let options = Options {
        max_steps: 100_000,
        ..Options::default()
    };
    machine.launch(&loaded, &launch, &options).map(drop)
}

const SAME: fn(&mut Launch<'_>) = |_| {};

const PAIR: fn(&mut Launch<'_>) = |l| {
    l.grid = [2, 1, 1];
    l.cluster = [2, 1, 1];
};

/// What says which variants there are, and what a value is called: the compiler says when one is
/// missing here.
macro_rules! variants {
    ($all:ident, $name:ident, $type:ident: $($variant:ident),* $(,)?) => {
        const $all: &[&str] = &[$(stringify!($variant)),*];
        fn $name(value: &$type) -> &'static str {
            match value {
                $($type::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

variants!(
    FAULTS, fault, FaultKind:
    OutOfBounds, UseAfterFree, ReadOnly, Misaligned, WrongSpace, Trap, Deadlock, BlockEnded,
    ClusterBarrier, TensorMap, NoFunction, CopySource, BulkSize, MbarrierCount, MbarrierCompletes, BranchIndex, BarrierNumber, BarrierCount,
    Steps, Operand,
);
variants!(ERRORS, refusal, LaunchError: Invalid, NoEntry, Unsupported, Limit, Fault);
variants!(MEMORY, memory, MemoryError: OutOfMemory, NotAllocated);

#[test]
fn every_failure_is_explained() {
    let case = |title, body, change| Case {
        title,
        target: "sm_80",
        before: "",
        body,
        change,
    };
    let with = |title, before, body| Case {
        before,
        ..case(title, body, SAME)
    };
    let hopper = |title, body, change| Case {
        target: "sm_90",
        ..case(title, body, change)
    };
    let store = "st.global.u32 [%rd2], %r1;";
    let cases = [
        case("past the end", "st.global.u32 [%rd2+64], %r1;", SAME),
        case(
            "before the beginning",
            "ld.global.u32 %r2, [%rd2+-4];",
            SAME,
        ),
        case("null", store, SAME),
        case("use after free", store, SAME),
        case("read-only", store, SAME),
        case("misaligned", "ld.global.v2.u32 {%r2, %r3}, [%rd2];", SAME),
        hopper(
            "misaligned vector of an atomic",
            "mov.b32 %r2, 0; red.global.add.v2.f32 [%rd2], {%r2, %r2};",
            SAME,
        ),
        case(
            "shared",
            "mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 16, %r2; st.shared.u32 [%r2], %r1;",
            SAME,
        ),
        case("trap", "setp.eq.u32 %p, %r1, 5; @%p trap;", SAME),
        case("breakpoint", "setp.eq.u32 %p, %r1, 6; @%p brkpt;", SAME),
        case("endless loop", "L: bra L;", SAME),
        case(
            "barrier nobody shares",
            "setp.lt.u32 %p, %r1, 32; @%p bar.sync 1, 64;",
            SAME,
        ),
        case(
            "lanes that never come",
            "setp.eq.u32 %p, %r1, 0; @%p bra A; bar.warp.sync -1; bra B; A: bar.warp.sync 1; bar.sync 0, 64; B:",
            SAME,
        ),
        case("barrier number", "mov.u32 %r2, 16; bar.sync %r2;", SAME),
        case("no such kernel", store, |l| l.entry = "other"),
        case("too few arguments", store, |l| l.args = &[]),
        case("wrong type", store, |l| l.args = &[Arg::F32(1.0)]),
        case("wrong width", store, |l| l.args = &[Arg::U32(1)]),
        case("grid of zero", store, |l| l.grid = [0, 1, 1]),
        case("2^31 blocks", store, |l| l.grid = [1 << 31, 1, 1]),
        case("large block", store, |l| l.block = [1025, 1, 1]),
        case("shared memory", store, |l| l.dynamic_shared = 200 << 10),
        case("local memory", ".local .b8 much[500000]; mov.u64 %rd3, much;", |l| {
            l.grid = [4000, 1, 1];
            l.block = [1024, 1, 1];
        }),
        with("unsupported", ".entry other() { ret; }\n", "tex.odd;"),
        with(
            "output from the device",
            ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n.entry other() { ret; }\n",
            "{ .param .b64 f; .param .b64 a; .param .b32 r; call.uni (r), vprintf, (f, a); }",
        ),
        with(
            "a function of another file",
            ".extern .func helper();\n.entry other() { ret; }\n",
            "call helper;",
        ),
        case(
            "wrong space",
            "ldmatrix.sync.aligned.m8n8.x1.b16 {%r2}, [%rd1];",
            SAME,
        ),
        case("barrier count", "mov.u32 %r2, 33; bar.sync 0, %r2;", SAME),
        case(
            "branch index",
            "add.u32 %r2, %r1, 1; T: .branchtargets A, B; brx.idx %r2, T; A: B:",
            SAME,
        ),
        with(
            "function value",
            ".func f() { ret; }\n",
            "mov.u64 %rd3, f; add.u64 %rd3, %rd3, 64; P: .callprototype _ (); call %rd3, P;",
        ),
        with("recursion without end", ".func f() { call f; ret; }\n", "call f;"),
        hopper(
            "no tensor map",
            "setp.eq.u32 %p, %r1, 3;
    @%p cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [%rd1, {%r1}], [tile+128];",
            SAME,
        ),
        hopper(
            "other bytes than a tensor map",
            "st.global.u32 [%rd2], %r1; bar.sync 0; setp.eq.u32 %p, %r1, 0;
    @%p cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [%rd1, {%r1}], [tile+128];",
            SAME,
        ),
        case(
            "copy of more than its size",
            "mov.u32 %r3, tile; add.u32 %r2, %r1, 10; cp.async.cg.shared.global [%r3], [%rd1], 16, %r2;",
            SAME,
        ),
        hopper(
            "bulk copy of 20 bytes",
            "setp.eq.u32 %p, %r1, 0;
    @%p cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd1], 20, [tile+128];",
            SAME,
        ),
        hopper(
            "more arrivals than are waited for",
            "setp.eq.u32 %p, %r1, 0; @%p mbarrier.init.shared.b64 [tile], 2;
    @%p mbarrier.arrive.shared.b64 _, [tile], 3;",
            SAME,
        ),
        hopper(
            "an arrival between the last and the bytes",
            "setp.eq.u32 %p, %r1, 0; @%p mbarrier.init.shared.b64 [tile], 1;
    @%p mbarrier.arrive.expect_tx.shared.b64 _, [tile], 16; @%p mbarrier.arrive.shared.b64 _, [tile];",
            SAME,
        ),
        case(
            "last arrivals that claim not to be",
            "setp.eq.u32 %p, %r1, 0; @%p mbarrier.init.shared.b64 [tile], 2;
    @%p mbarrier.arrive.noComplete.shared.b64 _, [tile], 2;",
            SAME,
        ),
        hopper(
            "tensor map out of line",
            "add.u64 %rd3, %rd1, 16; setp.eq.u32 %p, %r1, 3;
    @%p cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [%rd3, {%r1}], [tile+128];",
            SAME,
        ),
        hopper(
            "block that has ended",
            "mov.u32 %r2, %cluster_ctarank; setp.eq.u32 %p, %r2, 1; @%p exit;
    mov.u32 %r3, 0;
L:  add.u32 %r3, %r3, 1; setp.lt.u32 %p, %r3, 10000; @%p bra L;
    mov.u32 %r4, tile; mapa.shared::cluster.u32 %r4, %r4, 1; ld.shared::cluster.u32 %r5, [%r4];",
            PAIR,
        ),
        hopper(
            "cluster barrier, twice",
            "barrier.cluster.arrive; barrier.cluster.arrive;",
            PAIR,
        ),
        hopper("cluster barrier, alone", "barrier.cluster.wait;", PAIR),
        hopper(
            "data and mbarrier apart",
            "mov.u32 %r4, tile; mapa.shared::cluster.u32 %r5, %r4, 1; mapa.shared::cluster.u32 %r6, %r4, 0;
    setp.eq.u32 %p, %r1, 0;
    @%p st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r5], %r1, [%r6+8];
    barrier.cluster.arrive; barrier.cluster.wait;",
            PAIR,
        ),
    ];
    let mut shown = String::new();
    let mut seen = BTreeSet::new();
    for case in cases {
        let error = run(&case).expect_err(case.title);
        seen.insert(refusal(&error));
        if let LaunchError::Fault(stopped) = &error {
            seen.insert(fault(&stopped.kind));
        }
        let _ = writeln!(
            shown,
            "## {}\n{}\n",
            case.title,
            error.to_string().trim_end()
        );
    }
    insta::with_settings!({snapshot_path => "launches", omit_expression => true}, {
        insta::assert_snapshot!("failures", shown);
    });
    for variant in FAULTS.iter().chain(ERRORS) {
        assert!(seen.contains(variant), "no case for {variant}");
    }
}

/// Instructions of all warps count, of short blocks as of long ones.
#[test]
fn the_limit_of_instructions_is_exact() {
    let long = "mov.u32 %r2, 0; L: add.u32 %r2, %r2, 1; setp.lt.u32 %p, %r2, 20000; @%p bra L;";
    for (body, blocks) in [(long, 1), (long, 3), ("mov.u32 %r2, 0;", 5000)] {
        let validated = compile(&kernel("sm_80", "", body)).expect("is valid");
        let mut machine = Machine::new(1 << 20);
        let loaded = machine.load(&validated).expect("fits");
        let args = [Arg::Pointer(0)];
        let launch = Launch {
            grid: [blocks, 1, 1],
            ..Launch::new("k", &args)
        };
        let mut run = |max_steps| {
            let options = Options {
                max_steps,
                ..Options::default()
            };
            machine.launch(&loaded, &launch, &options)
        };
        let steps = run(u64::MAX).expect("runs").steps;
        assert!(steps > 20_000, "{steps}");
        assert_eq!(run(steps).expect("as many as it needs").steps, steps);
        for limit in [0, steps / 2, steps - 1] {
            let Err(LaunchError::Fault(fault)) = run(limit) else {
                panic!("{limit} of {steps} instructions, {blocks} blocks: not stopped");
            };
            assert_eq!(fault.kind, FaultKind::Steps { limit });
        }
    }
}

#[test]
fn what_memory_refuses_is_explained() {
    let mut machine = Machine::new(256);
    let at = machine.allocate_zeroed(128, "data").expect("fits");
    let mut two = [0; 2];
    let refused = [
        machine.allocate(129, "more").map(drop),
        machine.allocate_from(&[0; 1000], "more").map(drop),
        machine.read(at + 127, &mut two),
        machine.write(7, &two),
        machine.free(at + 4),
    ];
    let mut shown = String::new();
    let mut seen = BTreeSet::new();
    for result in refused {
        let error = result.expect_err("must be refused");
        seen.insert(memory(&error));
        let _ = writeln!(shown, "{error}");
    }
    insta::with_settings!({snapshot_path => "launches", omit_expression => true}, {
        insta::assert_snapshot!("memory", shown);
    });
    for variant in MEMORY {
        assert!(seen.contains(variant), "no case for {variant}");
    }
    assert!(machine.allocate(128, "as much as is left").is_ok());
}

#[test]
fn near_misses_run() {
    let aligned = "and.b32 %r4, %r1, 15; mul.wide.u32 %rd3, %r4, 8; add.s64 %rd3, %rd1, %rd3;";
    let vector = format!("{aligned} ld.global.v2.u32 {{%r2, %r3}}, [%rd3];");
    let call = "mov.u64 %rd3, f; P: .callprototype _ (); call %rd3, P; call f;";
    let function = ".func f() { .reg .b32 %r; mov.u32 %r, %tid.x; ret; }\n";
    // Down from the lane's number, one call a step.
    let down = ".func f(.reg .b32 %n) { .reg .pred %p; setp.eq.u32 %p, %n, 0; @%p ret;
        sub.u32 %n, %n, 1; call f, (%n); ret; }\n";
    // A function that no register can mean is none of what a call through one may reach.
    let beside = format!("{function}.func g() {{ tex.odd; ret; }}\n");
    // Memory that the system keeps for itself lies apart from the kernel's own.
    let reserved = "mov.u32 %r2, %reserved_smem_offset_1; st.shared.u32 [%r2], %r1;
        mov.u32 %r3, %reserved_smem_offset_end; sub.u32 %r3, %r3, 4; ld.shared.u32 %r4, [%r2];
        mov.u32 %r5, tile; st.shared.u32 [%r5+252], %r1;";
    for (before, body) in [
        (function, call),
        (beside.as_str(), call),
        ("", reserved),
        (down, "call f, (%r1);"),
    ] {
        run(&Case {
            title: body,
            target: "sm_80",
            before,
            body,
            change: SAME,
        })
        .unwrap_or_else(|e| panic!("{body}: {e}"));
    }
    run(&Case {
        title: "read-only",
        target: "sm_80",
        before: "",
        body: "ld.global.u32 %r2, [%rd2];",
        change: |l| l.block = [16, 1, 1],
    })
    .expect("what is read-only may be read");
    for body in [
        "st.global.u32 [%rd2], %r1;",
        "mov.u64 %rd3, tile; cvta.shared.u64 %rd3, %rd3;
         ldmatrix.sync.aligned.m8n8.x1.b16 {%r2}, [%rd3];",
        "mov.u32 %r2, 32; mov.u32 %r3, 15; bar.sync %r3, %r2;",
        "and.b32 %r2, %r1, 1; T: .branchtargets A, B; brx.idx %r2, T; A: B:",
        "setp.gt.u32 %p, %r1, 31; @%p trap;",
        vector.as_str(),
        "mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 8, %r2; st.shared.u64 [%r2], %rd1;",
        "bar.sync 15, 32;",
        "mov.u32 %r3, tile; min.u32 %r2, %r1, 16; cp.async.cg.shared.global [%r3], [%rd1], 16, %r2;",
        "setp.lt.u32 %p, %r1, 16; @%p bra A; bar.warp.sync -1; bra B; A: bar.warp.sync -1; B:",
        "setp.lt.u32 %p, %r1, 16; @%p exit; bar.warp.sync -1; bar.sync 0;",
    ] {
        run(&Case {
            title: body,
            target: "sm_80",
            before: "",
            body,
            change: SAME,
        })
        .unwrap_or_else(|e| panic!("{body}: {e}"));
    }
}

#[test]
fn a_copy_that_reads_more_than_it_writes_is_refused_where_that_is_plain() {
    let of = |size: u32| {
        let body = format!("cp.async.ca.shared.global [tile], [%rd1], 8, {size};");
        compile(&kernel("sm_80", "", &body)).map(drop)
    };
    let error = of(9).expect_err("9 of 8 bytes").to_string();
    assert!(error.contains("cannot read more than that"), "{error}");
    assert!(error.contains("^"), "{error}");
    of(8).expect("all of it");
}

#[test]
fn an_unsupported_kernel_does_not_stop_its_neighbour() {
    let head = head("sm_80");
    let text = format!("{head}.entry bad() {{ tex.odd; ret; }} .entry good() {{ ret; }}");
    let mut machine = Machine::new(1 << 20);
    let loaded = machine
        .load(&compile(&text).expect("one kernel is fine"))
        .expect("fits");
    let mut launch = |entry| machine.launch(&loaded, &Launch::new(entry, &[]), &Options::default());
    assert!(launch("good").is_ok());
    assert!(matches!(launch("bad"), Err(LaunchError::Unsupported(_))));
    assert!(compile(&format!("{head}.entry bad() {{ tex.odd; ret; }}")).is_err());
}
