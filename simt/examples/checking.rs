//! What checking and counting cost: `cargo run --release -p simt --example checking`.
//!
//! Each kernel runs without, with every checker and with counters, on one core; the best of
//! three is shown in 10⁹ lane instructions a second, and the host memory the checkers kept for
//! each byte of device memory.

use simt::{Arg, Checks, Launch, Machine, Options, Order, compile};
use std::time::Instant;

const HEAD: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 data) {
    .reg .pred %p<4>;
    .reg .b32 %r<16>;
    .reg .f32 %f<8>;
    .reg .b64 %rd<8>;
    .shared .align 16 .b8 tile[4096];
    ld.param.u64 %rd1, [data];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mad.lo.u32 %r3, %r2, 256, %r1;
    mul.wide.u32 %rd2, %r3, 4;
    add.u64 %rd3, %rd1, %rd2;
    shl.b32 %r4, %r1, 2;
    mov.u32 %r5, tile;
    add.u32 %r6, %r5, %r4;
    mov.u32 %r7, 0;
    mov.f32 %f1, 0f3F800000;
";

const ARITHMETIC: &str = "
LOOP:
    fma.rn.f32 %f1, %f1, %f1, %f1;
    fma.rn.f32 %f2, %f1, %f1, %f1;
    fma.rn.f32 %f3, %f1, %f2, %f1;
    fma.rn.f32 %f4, %f1, %f1, %f3;
    add.u32 %r7, %r7, 1;
    setp.lt.u32 %p1, %r7, 1000;
    @%p1 bra LOOP;
    ret;
}";

const SHARED: &str = "
LOOP:
    st.shared.f32 [%r6], %f1;
    bar.sync 0;
    ld.shared.v4.f32 {%f2, %f3, %f4, %f5}, [tile];
    fma.rn.f32 %f1, %f2, %f3, %f1;
    fma.rn.f32 %f1, %f4, %f5, %f1;
    fma.rn.f32 %f2, %f4, %f5, %f2;
    fma.rn.f32 %f3, %f4, %f5, %f2;
    bar.sync 0;
    add.u32 %r7, %r7, 1;
    setp.lt.u32 %p1, %r7, 200;
    @%p1 bra LOOP;
    ret;
}";

const GLOBAL: &str = "
LOOP:
    ld.global.f32 %f2, [%rd3];
    fma.rn.f32 %f1, %f2, %f2, %f1;
    fma.rn.f32 %f1, %f2, %f1, %f1;
    st.global.f32 [%rd3], %f1;
    add.u32 %r7, %r7, 1;
    setp.lt.u32 %p1, %r7, 50;
    @%p1 bra LOOP;
    ret;
}";

fn main() {
    let blocks = 64;
    let bytes = u64::from(blocks) * 1024;
    println!("kernel        none       all  counters  none/all  bytes a byte");
    for (name, body) in [
        ("arithmetic", ARITHMETIC),
        ("shared", SHARED),
        ("global", GLOBAL),
    ] {
        let mut machine = Machine::new(1 << 28);
        let validated = compile(&format!("{HEAD}{body}")).unwrap_or_else(|e| panic!("{e}"));
        let loaded = machine.load(&validated).expect("fits");
        let data = machine.allocate_zeroed(bytes, "data").expect("fits");
        let args = [Arg::Pointer(data)];
        let launch = Launch {
            grid: [blocks, 1, 1],
            block: [256, 1, 1],
            ..Launch::new("kernel", &args)
        };
        let mut kept = 0;
        let mut rate = |checks: Checks, counters: bool| {
            let options = Options {
                checks,
                counters,
                order: Order::Ordered,
                ..Options::default()
            };
            let each = (0..3).map(|_| {
                let start = Instant::now();
                let report = machine
                    .launch(&loaded, &launch, &options)
                    .unwrap_or_else(|e| panic!("{e}"));
                assert!(report.findings.is_empty(), "{}", report.findings[0]);
                kept = kept.max(report.record_bytes);
                32.0 * report.steps as f64 / start.elapsed().as_secs_f64() / 1e9
            });
            each.fold(0.0, f64::max)
        };
        let none = rate(Checks::NONE, false);
        let all = rate(Checks::ALL, false);
        let counters = rate(Checks::NONE, true);
        println!(
            "{name:<12}{none:>6.2}{all:>10.2}{counters:>10.2}{:>10.2}{:>14.3}",
            none / all,
            kept as f64 / bytes as f64
        );
    }
}
