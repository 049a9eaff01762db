//! What the machine's speed is measured on: loops of one kind of instruction, and the attention
//! kernels that this workspace ships, with the same arithmetic in plain Rust beside them.

pub mod attention;

use simt::{Arg, Checks, Launch, Loaded, Machine, Options, Order, Report, compile};
use std::time::Instant;

/// A kernel with its memory, ready to be launched again and again.
pub struct Workload {
    pub name: &'static str,
    machine: Machine,
    loaded: Loaded,
    entry: String,
    grid: [u32; 3],
    block: u32,
    shared: u32,
    args: Vec<Arg>,
    /// Bytes of device memory that the kernel touches.
    pub touched: u64,
}

/// How a workload is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No checker, no counter.
    None,
    /// Every checker.
    All,
    /// Counters alone.
    Counters,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::None => "none",
            Mode::All => "all",
            Mode::Counters => "counters",
        }
    }
}

impl Workload {
    /// Runs it once, on one core.
    pub fn run(&mut self, mode: Mode) -> Report {
        self.run_in(mode, Order::Ordered)
    }

    /// Runs it once, on all cores.
    pub fn run_on_all(&mut self, mode: Mode) -> Report {
        self.run_in(mode, Order::Parallel)
    }

    fn run_in(&mut self, mode: Mode, order: Order) -> Report {
        let launch = Launch {
            grid: self.grid,
            block: [self.block, 1, 1],
            dynamic_shared: self.shared,
            ..Launch::new(&self.entry, &self.args)
        };
        let options = Options {
            checks: if mode == Mode::All {
                Checks::ALL
            } else {
                Checks::NONE
            },
            counters: mode == Mode::Counters,
            order,
            ..Options::default()
        };
        let report = self
            .machine
            .launch(&self.loaded, &launch, &options)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let first = report.findings.first();
        assert!(first.is_none(), "{}: {}", self.name, report.findings[0]);
        report
    }

    /// Lane instructions of a run: what a warp runs counts 32.
    pub fn lane_instructions(&mut self) -> u64 {
        32 * self.run(Mode::None).steps
    }
}

/// The best time of a run among those that half a second allows, in seconds: on a machine that does
/// other things too, one of many short runs is left alone.
pub fn best(mut f: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < 0.5 {
        let run = Instant::now();
        f();
        best = run.elapsed().as_secs_f64().min(best);
    }
    best
}

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

const INTEGER: &str = "
LOOP:
    add.s32 %r8, %r1, %r7;
    shl.b32 %r9, %r8, 3;
    xor.b32 %r10, %r9, %r8;
    and.b32 %r11, %r10, 255;
    setp.lt.s32 %p2, %r11, 17;
    selp.b32 %r12, %r8, %r9, %p2;
    mad.lo.s32 %r13, %r12, %r11, %r10;
    min.s32 %r14, %r13, %r8;
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

/// A loop of `body` in 8 blocks of 256 threads.
fn looped(name: &'static str, body: &str) -> Workload {
    let blocks = 8;
    let mut machine = Machine::new(1 << 28);
    let validated = compile(&format!("{HEAD}{body}")).unwrap_or_else(|e| panic!("{e}"));
    let loaded = machine.load(&validated).expect("fits");
    let touched = u64::from(blocks) * 1024;
    let data = machine.allocate_zeroed(touched, "data").expect("fits");
    Workload {
        name,
        machine,
        loaded,
        entry: "kernel".to_owned(),
        grid: [blocks, 1, 1],
        block: 256,
        shared: 0,
        args: vec![Arg::Pointer(data)],
        touched,
    }
}

/// Loops of one kind of instruction.
pub fn loops() -> Vec<Workload> {
    vec![
        looped("arithmetic", ARITHMETIC),
        looped("integer", INTEGER),
        looped("shared", SHARED),
        looped("global", GLOBAL),
    ]
}
