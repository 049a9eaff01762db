//! Criterion's timings: on the PTX machine, or on a GPU by its events.

use crate::label;
use criterion::Criterion;
use grading::profile::ready::{ready, rungs};
use grading::profile::{ProfileError, Scale, Shape, call};
use kernels_host::{Device, Vm};
use std::sync::Arc;
use std::time::Duration;

/// Device memory of the machine.
const MEMORY: u64 = 4 << 30;

/// The PTX machine, with every checker on and without counters.
pub(crate) fn machine() -> Arc<dyn Device> {
    Vm::with_options(MEMORY, simt::Options::default())
}

/// Times every rung on a device. The filter, and baselines, are criterion's own.
pub(crate) fn time(
    device: &Arc<dyn Device>,
    shapes: &[&Shape],
    scale: Scale,
) -> Result<(), ProfileError> {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    for shape in shapes {
        let call = call::of(shape, scale, device)?;
        for rung in rungs(&call) {
            let mut ready = ready(&call, rung, device)?;
            let name = format!("{}/{rung}", label(shape));
            criterion.bench_function(&name, |bench| {
                bench.iter_custom(|times| {
                    let once = |_| {
                        let time = device.time(&mut || ready.run());
                        time.unwrap_or_else(|error| panic!("{name}: {error}"))
                    };
                    (0..times).map(once).sum()
                });
            });
        }
    }
    criterion.final_summary();
    Ok(())
}
