//! Where a thread stands in its block and grid, and the barriers and fences of a block.

#[cfg(target_arch = "nvptx64")]
use super::intrinsics;
use core::arch::asm;

macro_rules! special_register {
    ($($(#[$doc:meta])* $name:ident = $register:literal;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> u32 {
            let value: u32;
            // SAFETY: reads a register that is constant for the thread's whole life.
            unsafe {
                asm!(concat!("mov.u32 {o}, ", $register, ";"), o = out(reg32) value,
                    options(pure, nomem, nostack, preserves_flags));
            }
            value
        }
    )*};
}

special_register! {
    /// The thread's x index in its block: `%tid.x`.
    thread_idx_x = "%tid.x";
    /// The thread's y index in its block: `%tid.y`.
    thread_idx_y = "%tid.y";
    /// The thread's z index in its block: `%tid.z`.
    thread_idx_z = "%tid.z";
    /// Threads per block along x: `%ntid.x`.
    block_dim_x = "%ntid.x";
    /// Threads per block along y: `%ntid.y`.
    block_dim_y = "%ntid.y";
    /// Threads per block along z: `%ntid.z`.
    block_dim_z = "%ntid.z";
    /// The block's x index in the grid: `%ctaid.x`.
    block_idx_x = "%ctaid.x";
    /// The block's y index in the grid: `%ctaid.y`.
    block_idx_y = "%ctaid.y";
    /// The block's z index in the grid: `%ctaid.z`.
    block_idx_z = "%ctaid.z";
    /// Blocks in the grid along x: `%nctaid.x`.
    grid_dim_x = "%nctaid.x";
    /// Blocks in the grid along y: `%nctaid.y`.
    grid_dim_y = "%nctaid.y";
    /// Blocks in the grid along z: `%nctaid.z`.
    grid_dim_z = "%nctaid.z";
}

/// The thread's index in a one-dimensional grid: `block_idx_x · block_dim_x + thread_idx_x`, wrapping
/// at 2³².
#[inline(always)]
pub fn index_1d() -> u32 {
    block_idx_x()
        .wrapping_mul(block_dim_x())
        .wrapping_add(thread_idx_x())
}

/// Waits until every thread of the block is here, and makes their memory accesses visible to each
/// other: `bar.sync 0`. Requires that all threads of the block reach it.
#[inline(always)]
pub fn sync_threads() {
    // SAFETY: a barrier touches no memory of its own; that all threads arrive is the documented
    // requirement, and one that does not hangs the block rather than corrupting memory.
    unsafe { intrinsics::barrier_sync_all(0) }
}

/// [`sync_threads`], and whether the predicate holds for every thread: `bar.red.and.pred`.
#[inline(always)]
pub fn sync_threads_and(predicate: bool) -> bool {
    // SAFETY: as for `sync_threads`.
    unsafe { intrinsics::barrier_red_and(0, predicate) }
}

/// [`sync_threads`], and whether the predicate holds for any thread: `bar.red.or.pred`.
#[inline(always)]
pub fn sync_threads_or(predicate: bool) -> bool {
    // SAFETY: as for `sync_threads`.
    unsafe { intrinsics::barrier_red_or(0, predicate) }
}

/// [`sync_threads`], and the number of threads for which the predicate holds: `bar.red.popc.u32`.
#[inline(always)]
pub fn sync_threads_count(predicate: bool) -> u32 {
    // SAFETY: as for `sync_threads`.
    unsafe { intrinsics::barrier_red_popc(0, predicate) }
}

/// Waits at barrier `id` (1–15; 0 is [`sync_threads`]) until `threads` threads, a multiple of 32,
/// have arrived: `bar.sync id, threads`. Requires that each warp that comes, comes whole.
#[inline(always)]
pub fn sync_named(id: u32, threads: u32) {
    // SAFETY: as for `sync_threads`.
    unsafe { intrinsics::barrier_sync_count(id, threads) }
}

/// Counts the warp as arrived at barrier `id` and goes on: `bar.arrive id, threads`. Requires that
/// others wait there with [`sync_named`] and the same count.
#[inline(always)]
pub fn arrive_named(id: u32, threads: u32) {
    // SAFETY: as for `sync_threads`.
    unsafe { intrinsics::barrier_arrive_count(id, threads) }
}

/// Orders this thread's memory accesses before and after it for the threads of its block:
/// `membar.cta`. It waits for nobody.
#[inline(always)]
pub fn block_fence() {
    // SAFETY: a fence only restricts order.
    unsafe { intrinsics::membar_cta() }
}

/// Orders this thread's memory accesses before and after it for all threads on the device:
/// `membar.gl`. It waits for nobody.
#[inline(always)]
pub fn device_fence() {
    // SAFETY: a fence only restricts order.
    unsafe { intrinsics::membar_gl() }
}

/// Orders this thread's memory accesses before and after it for the device and the host:
/// `membar.sys`. It waits for nobody.
#[inline(always)]
pub fn system_fence() {
    // SAFETY: a fence only restricts order.
    unsafe { intrinsics::membar_sys() }
}
