//! Launches that must not run to their end, and what is said about each.

use simt::{Arg, Launch, LaunchError, Machine, Options, Rights, compile};
use std::fmt::Write;

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.file 1 \"src/kernel.cu\"\n";

fn kernel(body: &str) -> String {
    format!(
        "{HEAD}.visible .entry k(.param .u64 p) {{
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
    body: &'a str,
    change: fn(&mut Launch<'_>),
}

fn run(case: &Case<'_>) -> Result<(), LaunchError> {
    let validated = compile(&kernel(case.body)).unwrap_or_else(|e| panic!("{}: {e}", case.title));
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

#[test]
fn every_failure_is_explained() {
    let case = |title, body, change| Case {
        title,
        body,
        change,
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
    ];
    let mut shown = String::new();
    for case in cases {
        let error = run(&case).expect_err(case.title);
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
}

#[test]
fn near_misses_run() {
    let aligned = "and.b32 %r4, %r1, 15; mul.wide.u32 %rd3, %r4, 8; add.s64 %rd3, %rd1, %rd3;";
    let vector = format!("{aligned} ld.global.v2.u32 {{%r2, %r3}}, [%rd3];");
    for body in [
        "st.global.u32 [%rd2], %r1;",
        vector.as_str(),
        "mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 8, %r2; st.shared.u64 [%r2], %rd1;",
        "bar.sync 15, 32;",
        "setp.lt.u32 %p, %r1, 16; @%p bra A; bar.warp.sync -1; bra B; A: bar.warp.sync -1; B:",
        "setp.lt.u32 %p, %r1, 16; @%p exit; bar.warp.sync -1; bar.sync 0;",
    ] {
        run(&Case {
            title: body,
            body,
            change: SAME,
        })
        .unwrap_or_else(|e| panic!("{body}: {e}"));
    }
}

#[test]
fn an_unsupported_kernel_does_not_stop_its_neighbour() {
    let text = format!("{HEAD}.entry bad() {{ tex.odd; ret; }} .entry good() {{ ret; }}");
    let mut machine = Machine::new(1 << 20);
    let loaded = machine
        .load(&compile(&text).expect("one kernel is fine"))
        .expect("fits");
    let mut launch = |entry| machine.launch(&loaded, &Launch::new(entry, &[]), &Options::default());
    assert!(launch("good").is_ok());
    assert!(matches!(launch("bad"), Err(LaunchError::Unsupported(_))));
    assert!(compile(&format!("{HEAD}.entry bad() {{ tex.odd; ret; }}")).is_err());
}
