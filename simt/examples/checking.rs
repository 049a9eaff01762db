//! What running, checking and counting cost: `cargo run --release -p simt --example checking`,
//! with a part of a kernel's name after `--` for that one only.
//!
//! Each kernel runs without, with every checker and with counters, on one core. The best of many
//! runs is shown in 10⁹ lane instructions a second, how many times as fast all cores are, without and
//! with every checker, and the host memory the checkers kept for each byte of device memory. Of the
//! attention kernels also how many times as long they take as the
//! same arithmetic in plain Rust on one thread.

#[allow(unreachable_pub, dead_code, reason = "shared with the benchmark")]
#[path = "../benches/workloads/mod.rs"]
mod workloads;

use std::hint::black_box;
use workloads::attention::Attention;
use workloads::{Mode, Workload, best, loops};

/// Shows a line; returns the seconds of a run without and with every checker.
fn line(workload: &mut Workload) -> [f64; 2] {
    let work = workload.lane_instructions() as f64 / 1e9;
    let kept = workload.run(Mode::All).record_bytes;
    let seconds =
        [Mode::None, Mode::All, Mode::Counters].map(|mode| best(|| drop(workload.run(mode))));
    let cores = [Mode::None, Mode::All].map(|mode| best(|| drop(workload.run_on_all(mode))));
    let [none, all, counters] = seconds.map(|s| work / s);
    println!(
        "{:<12}{none:>8.2}{all:>8.2}{counters:>10.2}{:>10.2}{:>8.2}{:>6.2}{:>14.3}",
        workload.name,
        none / all,
        seconds[0] / cores[0],
        seconds[1] / cores[1],
        kept as f64 / workload.touched as f64
    );
    [seconds[0], seconds[1]]
}

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("kernel          none     all  counters  none/all   on {cores} cores  bytes a byte");
    for mut workload in loops() {
        if workload.name.contains(&only) {
            line(&mut workload);
        }
    }
    let mut ratios = Vec::new();
    for mut attention in [Attention::single(), Attention::matrix()] {
        if !attention.workload.name.contains(&only) {
            continue;
        }
        let seconds = line(&mut attention.workload);
        assert!(attention.agree(), "not the same attention");
        let plain = best(|| drop(black_box(attention.plain())));
        let name = attention.workload.name;
        ratios.push((name, plain, attention.pairs(), seconds));
    }
    println!("\ntimes the plain Rust loop   none     all   plain ns a pair");
    for (name, plain, pairs, seconds) in ratios {
        let [none, all] = seconds.map(|s| s / plain);
        let pair = plain * 1e9 / pairs as f64;
        println!("{name:<24}{none:>8.2}{all:>8.2}{pair:>10.1}");
    }
}
