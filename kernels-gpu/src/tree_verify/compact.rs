//! Accepted slots moved up behind the prefix.

use super::COMPACT_THREADS;
use crate::device::thread;

/// Moves the vectors of the accepted nodes of each item. Grid: any number of blocks × items. `data` has
/// `units` units of `unit` bytes (1 or 2) a slot; the item's sequence ends with its nodes.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn tree_compact(
    data: *mut u8,
    table: *const i32,
    lengths: *const i32,
    starts: *const i32,
    node: *const i32,
    count: *const i32,
    width: u32,
    page: u32,
    units: u32,
    unit: u32,
) {
    let item = thread::block_idx_y() as usize;
    let step = thread::grid_dim_x() * COMPACT_THREADS;
    // SAFETY: the launch gives the item's row of the table, and its nodes at the end of its sequence;
    // a thread reads and writes its own units of each slot, and no other item has the slot.
    unsafe {
        let first = *starts.add(item) as u32;
        let nodes = *starts.add(item + 1) as u32 - first;
        let prefix = *lengths.add(item) as u32 - nodes;
        let accepted = *count.add(item) as u32;
        let slot = |token: u32| {
            let at = item * width as usize + (token / page) as usize;
            *table.add(at) as usize * page as usize + (token % page) as usize
        };
        let mut i = 0;
        while i < accepted {
            let from = slot(prefix + *node.add((first + i) as usize) as u32) * units as usize;
            let to = slot(prefix + i) * units as usize;
            let mut at = thread::index_1d();
            while from != to && at < units {
                let (from, to) = (from + at as usize, to + at as usize);
                if unit == 2 {
                    let data = data.cast::<u16>();
                    *data.add(to) = *data.add(from);
                } else {
                    *data.add(to) = *data.add(from);
                }
                at += step;
            }
            i += 1;
        }
    }
}
