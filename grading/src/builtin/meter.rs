//! A device that counts what goes through it: launches' reports, memory at its peak.

use kernels_host::{CheckedLaunch, Device, DeviceId, Limits, Result, Vm};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Another device, and what was asked of it since [`reset`](Meter::reset).
#[derive(Debug)]
pub(super) struct Meter {
    inner: Arc<dyn Device>,
    vm: Option<Arc<Vm>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    sizes: HashMap<u64, usize>,
    live: usize,
    /// Most bytes that were allocated at once.
    pub(super) peak: usize,
    /// What the machine reported, launch by launch.
    pub(super) reports: Vec<simt::Report>,
}

impl Meter {
    pub(super) fn vm(vm: Arc<Vm>) -> Arc<Meter> {
        Arc::new(Meter {
            inner: vm.clone(),
            vm: Some(vm),
            seen: Mutex::default(),
        })
    }

    pub(super) fn device(inner: Arc<dyn Device>) -> Arc<Meter> {
        Arc::new(Meter {
            inner,
            vm: None,
            seen: Mutex::default(),
        })
    }

    /// Whether launches are counted.
    pub(super) fn counts(&self) -> bool {
        self.vm.is_some()
    }

    /// Forgets reports; from here on the peak counts.
    pub(super) fn reset(&self) {
        let mut seen = self.seen();
        seen.reports.clear();
        seen.peak = seen.live;
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        // Counts are whole after every statement, also when another thread panicked.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Bytes allocated now.
    pub(super) fn live(&self) -> usize {
        self.live
    }
}

impl Device for Meter {
    fn id(&self) -> DeviceId {
        self.inner.id()
    }

    fn name(&self) -> String {
        self.inner.name()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn targets(&self) -> &[&'static str] {
        self.inner.targets()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let address = self.inner.allocate(bytes)?;
        let mut seen = self.seen();
        seen.sizes.insert(address, bytes);
        seen.live += bytes;
        seen.peak = seen.peak.max(seen.live);
        Ok(address)
    }

    fn free(&self, address: u64) {
        let mut seen = self.seen();
        let bytes = seen.sizes.remove(&address).unwrap_or(0);
        seen.live -= bytes;
        drop(seen);
        self.inner.free(address);
    }

    fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        self.inner.write(address, offset, bytes)
    }

    fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.inner.read(address, offset, bytes)
    }

    fn launch(&self, launch: &CheckedLaunch<'_>) -> Result<()> {
        self.inner.launch(launch)?;
        if let Some(vm) = &self.vm {
            let report = vm.last_report();
            self.seen().reports.push(report);
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.inner.time(work)
    }
}
