//! `cargo bench --bench speed`: what a check costs. The PTX machine, in instructions of threads a
//! second; the oracles, in operations of the plain formula a second; and the time to a verdict.
//!
//! `cargo bench -p simt` and `cargo bench -p reference` have more of the first two.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grading::grade::{self, BuiltinSource, Journal, Options as Asked};
use grading::profile::ready::{ready, rungs};
use grading::profile::{Scale, call, shape};
use grading::task::{self, Budget};
use kernels_host::{Device, Vm};
use simt::Checks;
use std::sync::Arc;

/// One shape of each kind of work: f32 on the lanes, tensor cores, a row of memory.
const SHAPES: [&str; 3] = [
    "forward-2k-causal-f32",
    "forward-16k-causal",
    "softmax-1024x32000-k32",
];

fn vm(c: &mut Criterion) {
    let mut group = c.benchmark_group("vm");
    group.sample_size(10);
    for shape in shape::all()
        .iter()
        .filter(|s| SHAPES.contains(&s.name.as_str()))
    {
        for (name, checks) in [("all checkers", Checks::ALL), ("no checker", Checks::NONE)] {
            let options = simt::Options {
                checks,
                counters: true,
                ..simt::Options::default()
            };
            let vm = Vm::with_options(4 << 30, options.clone());
            let device: Arc<dyn Device> = vm.clone();
            let call = call::of(shape, Scale::Vm, &device).expect("a shape of ours");
            let rung = rungs(&call).pop().expect("each has a rung");
            let mut ready = ready(&call, rung, &device).expect("it fits");
            vm.take_launches();
            ready.run().expect("it runs");
            let counted = vm.take_launches().into_iter();
            let counted = counted.filter_map(|launch| launch.report.counters);
            let threads: u64 = counted.map(|c| c.total.thread_instructions).sum();
            // The counters have a price of their own.
            vm.set_options(simt::Options {
                counters: false,
                ..options
            });
            group.throughput(Throughput::Elements(threads));
            group.bench_function(format!("{}/{rung}/{name}", shape.name), |bench| {
                bench.iter(|| ready.run().expect("it ran before"));
            });
        }
    }
    group.finish();
}

fn oracle(c: &mut Criterion) {
    let mut group = c.benchmark_group("oracle");
    group.sample_size(10);
    let device: Arc<dyn Device> = Vm::new();
    for shape in shape::all()
        .iter()
        .filter(|s| SHAPES.contains(&s.name.as_str()))
    {
        let call = call::of(shape, Scale::Vm, &device).expect("a shape of ours");
        let task = task::named(call.task).expect("its task");
        group.throughput(Throughput::Elements((task.cost)(&call).flops));
        group.bench_function(&shape.name, |bench| {
            bench.iter(|| (task.oracle)(&call).map(drop).expect("a good call"));
        });
    }
    group.finish();
}

fn verdict(c: &mut Criterion) {
    let mut group = c.benchmark_group("verdict");
    group.sample_size(10);
    for name in ["softmax-topk", "ternary-matmul"] {
        let mut asked = Asked::new("builtin", Budget::Quick);
        asked.seed = 1;
        asked.tasks = task::named(name).cloned().into_iter().collect();
        let source = BuiltinSource(Default::default());
        group.bench_function(format!("grade builtin --quick --task {name}"), |bench| {
            bench.iter(|| {
                let report = grade::grade(&source, &asked, &mut Journal::none(), &|_| ());
                assert_eq!(report.map(|report| report.exit_code()).ok(), Some(0));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, vm, oracle, verdict);
criterion_main!(benches);
