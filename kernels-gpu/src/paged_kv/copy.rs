//! Pages copied to other pages.

use super::COPY_THREADS;
use super::input::fresh;
use crate::device::thread;

/// Copies item `from[i]` of `data` over item `to[i]`, items of `units` units of `unit` bytes, 1 or 2. Grid: any number of
/// blocks × the number of pairs. No item is copied to twice, and none that is copied to is read.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn paged_copy(
    data: *mut u8,
    from: *const i32,
    to: *const i32,
    units: u64,
    unit: u32,
) {
    let pair = thread::block_idx_y() as usize;
    let step = u64::from(thread::grid_dim_x() * COPY_THREADS);
    // SAFETY: the launch gives both numbers of each pair, and the items they name.
    unsafe {
        let from = *from.add(pair) as u64 * units;
        let to = *to.add(pair) as u64 * units;
        let mut at = u64::from(thread::index_1d());
        while at < units {
            let (from, to) = ((from + at) as usize, (to + at) as usize);
            if fresh(unit) == 2 {
                let data = data.cast::<u16>();
                *data.add(to) = *data.add(from);
            } else {
                *data.add(to) = *data.add(from);
            }
            at += step;
        }
    }
}
