//! Tiles of f32 in shared memory.

use super::rolled;
use crate::device::global::load4;
use crate::device::shared::Shared;
use crate::device::thread;

/// Copies `rows` rows of `d` values to shared memory, `pitch` words apart, all threads of the block
/// together; zeros for rows that do not exist.
///
/// # Safety
/// The rows that exist are readable and aligned to 16 bytes; the destination is nobody else's.
#[inline(always)]
pub unsafe fn fill_f32(
    to: Shared<f32>,
    rows: u32,
    d: u32,
    pitch: u32,
    source: impl Fn(u32) -> Option<*const f32>,
) {
    let quads = d / 4;
    let threads = thread::block_dim_x();
    for n in rolled((rows * quads).div_ceil(threads)) {
        let index = thread::thread_idx_x() + n * threads;
        let (row, quad) = (index / quads, index % quads);
        if row >= rows {
            return;
        }
        let value = match source(row) {
            // SAFETY: the caller's promise; 4·quad < d.
            Some(from) => unsafe { load4(from.add(4 * quad as usize)) },
            None => [0.0; 4],
        };
        // SAFETY: the caller's promise.
        unsafe { to.store4(row * pitch + 4 * quad, value) }
    }
}
