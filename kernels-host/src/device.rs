//! What a device can do. Everything above this trait is the same for a GPU and for the simulator.

use crate::{CheckedLaunch, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Tells devices apart: a buffer knows the one it lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(u64);

impl DeviceId {
    /// An id no other device of this process has.
    pub fn fresh() -> DeviceId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        DeviceId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a launch may ask of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads in a block.
    pub threads_per_block: u32,
    /// Threads in a block along x, y and z.
    pub block: [u32; 3],
    /// Blocks in a grid along x, y and z.
    pub grid: [u32; 3],
    /// Bytes of shared memory a block can have, fixed and dynamic together.
    pub shared_per_block: u32,
    /// Multiprocessors: what says how many blocks run at once. No launch is refused by it.
    pub multiprocessors: u32,
}

impl Limits {
    /// What every GPU from sm_80 on allows, with the shared memory and the multiprocessors of an
    /// A100.
    pub const SM_80: Limits = Limits {
        threads_per_block: 1024,
        block: [1024, 1024, 64],
        grid: [i32::MAX as u32, 65_535, 65_535],
        shared_per_block: 163 * 1024,
        multiprocessors: 108,
    };

    /// [`SM_80`](Limits::SM_80) with the shared memory and the multiprocessors of an H100 or H200.
    pub const SM_90: Limits = Limits {
        shared_per_block: 227 * 1024,
        multiprocessors: 132,
        ..Limits::SM_80
    };
}

/// A machine that runs PTX. Work is in order: a copy sees what the launches before it wrote.
///
/// Memory is named by its first address, as [`allocate`](Device::allocate) gave it. [`Buffer`]
/// and [`launch`](crate::launch) are the safe way to all of this.
///
/// [`Buffer`]: crate::Buffer
pub trait Device: Send + Sync + std::fmt::Debug {
    /// Tells this device from others.
    fn id(&self) -> DeviceId;

    /// What it is, for people: "NVIDIA H200".
    fn name(&self) -> String;

    /// What a launch may ask for.
    fn limits(&self) -> Limits;

    /// The targets whose PTX it runs, best first: `["sm_90a", "sm_80"]`.
    fn targets(&self) -> &[&'static str];

    /// Memory of `bytes` bytes, more than 0, aligned to 256, its contents undefined.
    ///
    /// # Errors
    /// When there is not as much.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Gives memory back after the work that was asked for before. What is not an allocation is
    /// left alone.
    fn free(&self, address: u64);

    /// Copies to the memory at `address`, from byte `offset` on.
    ///
    /// # Errors
    /// When it does not fit, or work before it failed.
    fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Copies from the memory at `address`, from byte `offset` on; waits for it.
    ///
    /// # Errors
    /// When it does not fit, or work before it failed.
    fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> Result<()>;

    /// Runs a kernel, or lets it begin.
    ///
    /// # Errors
    /// When it could not begin; a fault in the kernel may be told later, by whatever waits.
    fn launch(&self, launch: &CheckedLaunch<'_>) -> Result<()>;

    /// Waits until everything asked for is done.
    ///
    /// # Errors
    /// When any of it failed.
    fn synchronize(&self) -> Result<()>;

    /// How long the device takes for the work that `work` asks for.
    ///
    /// # Errors
    /// Those of the work.
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration>;
}
