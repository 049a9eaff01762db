//! Pages copied to other pages.

use super::COPY_THREADS;
use super::input::fresh;
use crate::device::thread;

/// Copies the first `used[i]` tokens of page `from[i]` of `data` over those of page `to[i]`; a token has
/// `units` units of `unit` bytes, 1 or 2. Grid: any number of blocks × the number of pairs. No page is
/// copied to twice, and none that is copied to is read.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn paged_copy(
    data: *mut u8,
    from: *const i32,
    to: *const i32,
    used: *const i32,
    page: u32,
    units: u32,
    unit: u32,
) {
    let pair = thread::block_idx_y() as usize;
    let step = thread::grid_dim_x() * COPY_THREADS;
    // SAFETY: the launch gives the numbers of each pair, and the pages they name.
    unsafe {
        let whole = page as usize * units as usize;
        let from = *from.add(pair) as usize * whole;
        let to = *to.add(pair) as usize * whole;
        let end = *used.add(pair) as u32 * units;
        let mut at = thread::index_1d();
        while at < end {
            let (from, to) = (from + at as usize, to + at as usize);
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
