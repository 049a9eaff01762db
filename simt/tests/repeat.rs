//! One seed, one result, bit for bit, on any number of cores.

use simt::{Arg, Launch, Machine, Options, Order, compile};

/// Every thread adds two numbers of its own to one f32: the sum depends on the order.
const SUM: &str = "
.version 7.0
.target sm_80
.address_size 64
.entry sum(.param .u64 out) {
    .reg .b32 %r<5>; .reg .f32 %f<3>; .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mad.lo.u32 %r3, %r2, 256, %r1;
    add.u32 %r3, %r3, 1;
    cvt.rn.f32.u32 %f1, %r3;
    rcp.rn.f32 %f1, %f1;
    atom.global.add.f32 %f2, [%rd1], %f1;
    mul.rn.f32 %f1, %f1, 0f3EAAAAAB;
    atom.global.add.f32 %f2, [%rd1], %f1;
    ret;
}";

fn sum(cores: usize, options: &Options) -> u32 {
    let work = || {
        let validated = compile(SUM).expect("is valid");
        let mut machine = Machine::new(1 << 20);
        let loaded = machine.load(&validated).expect("fits");
        let out = machine.allocate_zeroed(4, "sum").expect("fits");
        let args = [Arg::Pointer(out)];
        let launch = Launch {
            grid: [12, 1, 1],
            block: [256, 1, 1],
            ..Launch::new("sum", &args)
        };
        machine.launch(&loaded, &launch, options).expect("runs");
        let mut bytes = [0; 4];
        machine.read(out, &mut bytes).expect("is there");
        u32::from_le_bytes(bytes)
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build();
    pool.expect("starts").install(work)
}

#[test]
fn a_seed_repeats_on_any_number_of_cores() {
    let mut sums = Vec::new();
    for seed in 0..4 {
        for explore in [false, true] {
            // By default, as the kernel communicates, and when asked for.
            for order in [Options::default().order, Order::Ordered] {
                let options = Options {
                    seed,
                    explore,
                    order,
                    ..Options::default()
                };
                let first = sum(1, &options);
                for cores in [1, 2, 5] {
                    assert_eq!(sum(cores, &options), first, "{cores} cores, {options:?}");
                }
                sums.push(first);
            }
        }
    }
    sums.sort_unstable();
    sums.dedup();
    assert!(
        sums.len() > 1,
        "no schedule changes the sum: nothing is shown"
    );
}
