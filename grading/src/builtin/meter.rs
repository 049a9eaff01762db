//! A device that counts the memory that is asked of it.

use kernels_host::{CheckedLaunch, Device, DeviceId, Limits, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Another device, and the memory that was asked of it.
#[derive(Debug)]
pub(super) struct Meter {
    inner: Arc<dyn Device>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    sizes: HashMap<u64, usize>,
    live: usize,
    peak: usize,
}

impl Meter {
    pub(super) fn new(inner: Arc<dyn Device>) -> Arc<Meter> {
        Arc::new(Meter {
            inner,
            seen: Mutex::default(),
        })
    }

    /// From here on the peak counts; says what is allocated now.
    pub(super) fn begin(&self) -> usize {
        let mut seen = self.seen();
        seen.peak = seen.live;
        seen.live
    }

    /// Most bytes that were allocated at once since [`begin`](Meter::begin).
    pub(super) fn peak(&self) -> usize {
        self.seen().peak
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Counts are whole after every statement, also when another thread panicked.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.inner.launch(launch)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.inner.time(work)
    }
}
