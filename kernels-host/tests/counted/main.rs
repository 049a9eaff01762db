//! What the PTX machine counts in the fast rungs at large shapes, and in the simple ones against
//! the closed formulas of their headers.

mod beam_search;
mod layernorm_backward;
mod softmax_topk;
mod ternary_matmul;

use kernels_host::{Device, Launched, Vm};
use simt::Counters;
use simt::check::Checks;
use std::sync::Arc;

/// A machine that counts. The checkers look on in the other tests; here they would only cost time.
fn counting() -> (Arc<Vm>, Arc<dyn Device>) {
    let vm = Vm::with_options(
        1 << 32,
        simt::Options {
            counters: true,
            checks: Checks::NONE,
            max_steps: u64::MAX,
            ..simt::Options::default()
        },
    );
    (vm.clone(), vm)
}

/// What was counted in the launches since the last call.
fn counters(vm: &Vm) -> Vec<Counters> {
    let counted = |launched: Launched| launched.report.counters.expect("asked for");
    vm.take_launches().into_iter().map(counted).collect()
}

/// What every kernel of a fast rung must show: nothing in local memory, no bank asked twice.
fn is_clean(of: &Counters) {
    let local = of.total.local.total();
    assert_eq!((local.requests, local.bytes), (0, 0), "{}", of.kernel);
    assert_eq!(of.total.banks.conflicts, 0, "{}", of.kernel);
}

/// What a kernel that reads and writes everything once must show besides.
fn is_single_pass(of: &Counters) {
    is_clean(of);
    let (traffic, sectors) = (of.traffic_ratio(), of.sector_efficiency());
    let (traffic, sectors) = (traffic.expect("it moved"), sectors.expect("it moved"));
    println!(
        "{}: traffic {traffic:.4}, sectors {sectors:.4}; {}",
        of.kernel,
        predicted(of)
    );
    assert!(traffic <= 1.02, "{}: traffic ratio {traffic}", of.kernel);
    assert!(
        sectors >= 0.95,
        "{}: sector efficiency {sectors}",
        of.kernel
    );
}

/// Bytes of all sectors that launches moved, over the bytes that any implementation must move.
fn moved_over(launches: &[Counters], compulsory: usize) -> f64 {
    let moved: u64 = launches.iter().map(|of| of.total.moved_bytes()).sum();
    moved as f64 / compulsory as f64
}

/// What the counts say of the time on an H200, for people: bytes at 4.3 TB/s, and a warp
/// instruction a clock in each of its 528 schedulers.
fn predicted(of: &Counters) -> String {
    let bytes = of.total.moved_bytes() as f64;
    let lanes = 32.0 * of.total.warp_instructions as f64;
    format!(
        "{bytes:.3e} bytes {:.2} us, {lanes:.3e} lane instructions {:.2} us, {:.2} a byte",
        bytes / 4.3e6,
        lanes / (132.0 * 4.0 * 32.0 * 1.755e3),
        lanes / bytes,
    )
}
