//! Lane-instructions a second of the machine, and the ratio to plain single-threaded Rust of the
//! same arithmetic in the same run.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use simt::{Arg, Launch, Loaded, Machine, Options, Order, compile};
use std::hint::black_box;

const HEAD: &str = ".version 8.0\n.target sm_90a\n.address_size 64\n";
const ROUNDS: u32 = 256;
const THREADS: u32 = 128;

struct Kernel {
    machine: Machine,
    loaded: Loaded,
    args: Vec<Arg>,
    /// Instructions of one thread.
    instructions: u64,
}

/// A kernel whose loop body is `body`, repeated `ROUNDS` times.
fn kernel(body: &str) -> Kernel {
    let text = format!(
        "{HEAD}.shared .align 16 .b8 tile[16384];
        .visible .entry k(.param .u64 out, .param .u32 n) {{
            .reg .pred %p; .reg .b32 %r<64>; .reg .f32 %f<64>; .reg .b64 %rd<8>;
            ld.param.u64 %rd1, [out];
            ld.param.u32 %r1, [n];
            mov.u32 %r2, %tid.x;
            mul.wide.u32 %rd2, %r2, 4;
            add.s64 %rd1, %rd1, %rd2;
            mov.u32 %r3, tile;
            mad.lo.u32 %r3, %r2, 4, %r3;
            cvt.rn.f32.u32 %f1, %r2;
            mov.f32 %f2, 0f3F000000; mov.f32 %f3, 0f00000000; mov.f32 %f4, 0f00000000;
            mov.f32 %f5, 0f00000000; mov.f32 %f6, 0f00000000;
            mov.u32 %r20, %r2; mov.u32 %r21, %r2; mov.u32 %r22, %r2; mov.u32 %r23, %r2;
            st.shared.f32 [%r3], %f1;
            bar.sync 0;
        LOOP:
            {body}
            sub.u32 %r1, %r1, 1;
            setp.ne.u32 %p, %r1, 0;
            @%p bra LOOP;
            add.f32 %f3, %f3, %f4; add.f32 %f5, %f5, %f6; add.f32 %f3, %f3, %f5;
            st.global.f32 [%rd1], %f3;
            ret;
        }}"
    );
    let mut machine = Machine::new(1 << 24);
    let validated = compile(&text).unwrap_or_else(|e| panic!("{e}"));
    let loaded = machine.load(&validated).expect("fits");
    let out = machine
        .allocate_zeroed(u64::from(THREADS) * 4, "out")
        .expect("fits");
    let args = vec![Arg::Pointer(out), Arg::U32(ROUNDS)];
    let instructions = (body.matches(';').count() as u64 + 3) * u64::from(ROUNDS);
    Kernel {
        machine,
        loaded,
        args,
        instructions,
    }
}

impl Kernel {
    fn run(&mut self) {
        let launch = Launch {
            block: [THREADS, 1, 1],
            ..Launch::new("k", &self.args)
        };
        let options = Options {
            order: Order::Ordered,
            ..Options::default()
        };
        self.machine
            .launch(&self.loaded, &launch, &options)
            .unwrap_or_else(|e| panic!("{e}"));
    }
}

fn machine(c: &mut Criterion) {
    let fma = "fma.rn.f32 %f3, %f1, %f2, %f3; fma.rn.f32 %f4, %f1, %f2, %f4;
               fma.rn.f32 %f5, %f1, %f2, %f5; fma.rn.f32 %f6, %f1, %f2, %f6;";
    let integer = "add.s32 %r5, %r2, %r1; shl.b32 %r6, %r5, 3; xor.b32 %r7, %r6, %r5;
                   and.b32 %r8, %r7, 255; setp.lt.s32 %p, %r8, 17; selp.b32 %r9, %r5, %r6, %p;
                   mad.lo.s32 %r10, %r9, %r8, %r7; min.s32 %r11, %r10, %r5;";
    let tile = "ld.shared.f32 %f10, [%r3]; ld.shared.f32 %f11, [tile+64];
                fma.rn.f32 %f3, %f10, %f11, %f3; fma.rn.f32 %f4, %f10, %f2, %f4;
                fma.rn.f32 %f5, %f11, %f2, %f5; fma.rn.f32 %f6, %f10, %f11, %f6;
                ex2.approx.ftz.f32 %f12, %f11; max.f32 %f13, %f12, %f10;";
    let global = "ld.global.f32 %f10, [%rd1]; fma.rn.f32 %f3, %f10, %f2, %f3;
                  st.global.f32 [%rd1], %f10;";
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f3, %f4, %f5, %f6},
               {%r20, %r21, %r22, %r23}, {%r20, %r21}, {%f3, %f4, %f5, %f6};";
    let mut group = c.benchmark_group("machine");
    for (name, body) in [
        ("fma", fma),
        ("integer", integer),
        ("tile", tile),
        ("global", global),
        ("mma", mma),
    ] {
        let mut kernel = kernel(body);
        group.throughput(Throughput::Elements(
            kernel.instructions * u64::from(THREADS),
        ));
        group.bench_function(BenchmarkId::new("unchecked", name), |b| {
            b.iter(|| kernel.run())
        });
    }
    group.finish();
}

/// The multiplications of the `mma` kernel in plain Rust.
fn plain(c: &mut Criterion) {
    let mut group = c.benchmark_group("plain");
    let a: Vec<f32> = (0..256).map(|i| i as f32 * 1e-3).collect();
    let b: Vec<f32> = (0..128).map(|i| i as f32 * 1e-3).collect();
    let warps = THREADS / 32;
    group.throughput(Throughput::Elements(u64::from(ROUNDS * warps * 32)));
    group.bench_function("mma", |bench| {
        bench.iter(|| {
            let mut acc = [0f32; 128];
            for _ in 0..ROUNDS * warps {
                let (a, b) = (black_box(&a), black_box(&b));
                for i in 0..16 {
                    for j in 0..8 {
                        for k in 0..16 {
                            acc[i * 8 + j] += a[i * 16 + k] * b[k * 8 + j];
                        }
                    }
                }
            }
            acc
        });
    });
    group.throughput(Throughput::Elements(u64::from(4 * ROUNDS * THREADS)));
    group.bench_function("fma", |bench| {
        bench.iter(|| {
            let mut acc = [[0f32; 4]; THREADS as usize];
            for (lane, sums) in acc.iter_mut().enumerate() {
                let x = black_box(lane as f32);
                for _ in 0..ROUNDS {
                    for s in sums.iter_mut() {
                        *s += x * 0.5;
                    }
                }
            }
            acc
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = machine, plain
}
criterion_main!(benches);
