//! Time of the machine's workloads without checkers, with all of them, and with counters, and of
//! the same attention in plain Rust on one thread. What these times come to as rates and ratios,
//! in one run and without waiting: `cargo run --release -p simt --example checking`.

#[allow(
    unreachable_pub,
    dead_code,
    reason = "shared with the example, which shows more of it"
)]
mod workloads;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use workloads::attention::Attention;
use workloads::{Mode, Workload, loops};

/// Lane instructions a second in each mode.
fn measure(c: &mut Criterion, workload: &mut Workload) {
    let mut group = c.benchmark_group(workload.name);
    group.throughput(Throughput::Elements(workload.lane_instructions()));
    for mode in [Mode::None, Mode::All, Mode::Counters] {
        group.bench_function(BenchmarkId::new("checks", mode.name()), |b| {
            b.iter(|| workload.run(mode));
        });
    }
    group.finish();
}

fn machine(c: &mut Criterion) {
    for mut workload in loops() {
        measure(c, &mut workload);
    }
}

fn attention(c: &mut Criterion) {
    for mut attention in [Attention::single(), Attention::matrix()] {
        measure(c, &mut attention.workload);
        assert!(attention.agree(), "not the same attention");
        let mut group = c.benchmark_group(attention.workload.name);
        group.throughput(Throughput::Elements(attention.pairs()));
        group.bench_function("plain Rust", |b| b.iter(|| black_box(attention.plain())));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    targets = machine, attention
}
criterion_main!(benches);
