//! Times on a GPU.

use crate::machine;
use grading::profile::measure::Plan;
use grading::profile::results::{Ceilings, Results};
use grading::profile::{ProfileError, Scale, Shape, timing};
use kernels_host::{Cuda, Device};
use std::sync::Arc;

/// The first GPU, where there is one.
pub(crate) fn open() -> Option<Arc<Cuda>> {
    Cuda::open(0).ok()
}

/// Fills the rows' times in, between two looks at the clocks, and prints them.
pub(crate) fn time(
    cuda: &Arc<Cuda>,
    shapes: &[&Shape],
    results: &mut Results,
) -> Result<(), ProfileError> {
    results.machine.gpu = Some(cuda.name());
    results.machine.driver = machine::property("driver_version");
    let ceilings = cuda.ceilings()?;
    results.ceilings = Some(Ceilings {
        copy_gbs: ceilings.copy / 1e9,
        matmul_tflops: ceilings.matmul.map(|rate| rate / 1e12),
    });
    results.machine.clocks.extend(machine::clocks());
    let device: Arc<dyn Device> = cuda.clone();
    timing::time(&device, shapes, Scale::Gpu, Plan::GPU, &mut results.rows)?;
    results.machine.clocks.extend(machine::clocks());
    print!("{}", timing::text(results));
    Ok(())
}
