//! The PTX machine as a device: what its checkers find fails the launch, and its log has what ran.

use kernels_host::{Buffer, Device, Error, LaunchConfig, Module, OnFindings, Vm, launch};
use simt::check::Checker;
use std::sync::Arc;

/// `one` stores every thread's number to the first word; `own` each to its own.
const PTX: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry one(.param .u64 p) {
    .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x;
    st.global.u32 [%rd1], %r1; ret; }
.visible .entry own(.param .u64 p) {
    .reg .b32 %r<2>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r1; ret; }
";

fn run(device: &Arc<dyn Device>, entry: &str) -> Result<Buffer<u32>, Error> {
    let mut words = Buffer::uninit(device, 64)?;
    let kernel = Module::parse(PTX)?.kernel(entry)?;
    let config = LaunchConfig::linear(1, 64);
    launch(&**device, &kernel, config, &[(&mut words).into()])?;
    Ok(words)
}

#[test]
fn a_race_fails_the_launch_and_a_clean_twin_does_not() {
    let device: Arc<dyn Device> = Vm::new();
    match run(&device, "one") {
        Err(error @ Error::Findings { .. }) => {
            let shown = error.to_string();
            assert!(
                shown.contains("`one` ran, but the checkers found"),
                "{shown}"
            );
            assert!(shown.contains("thread ("), "{shown}");
        }
        other => panic!("{other:?}"),
    }
    let words = run(&device, "own").expect("clean").to_vec().expect("read");
    assert_eq!(words, (0..64).collect::<Vec<u32>>());
}

#[test]
fn whoever_judges_kernels_gets_the_findings_as_data() {
    let vm = Vm::new();
    vm.set_on_findings(OnFindings::Report);
    let device: Arc<dyn Device> = vm.clone();
    run(&device, "one").expect("findings are in the report");
    run(&device, "own").expect("clean");
    let last = vm.last_report();
    let log = vm.take_launches();
    let entries: Vec<&str> = log.iter().map(|launch| &*launch.entry).collect();
    assert_eq!(entries, ["one", "own"]);
    assert_eq!(log[0].config, LaunchConfig::linear(1, 64));
    assert_eq!(log[0].report.findings[0].checker, Checker::GlobalRace);
    assert!(log[1].report.findings.is_empty());
    assert_eq!(log[1].report, last);
    assert!(vm.take_launches().is_empty(), "it was taken");
}

#[test]
fn a_launch_that_fails_by_its_findings_is_in_the_log_too() {
    let vm = Vm::new();
    vm.set_options(simt::Options {
        counters: true,
        ..simt::Options::default()
    });
    let device: Arc<dyn Device> = vm.clone();
    run(&device, "one").expect_err("a race");
    let [launched] = &vm.take_launches()[..] else {
        panic!("one launch");
    };
    assert!(!launched.report.findings.is_empty());
    let counters = launched.report.counters.as_ref().expect("asked for");
    assert_eq!(counters.total.global.store.bytes, 64 * 4);
}
