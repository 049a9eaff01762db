//! Bitmasks of ancestors.

use super::MASK_WARPS;
use crate::device::{thread, warp};

/// Grid: ⌈most nodes / 4⌉ × items blocks of 128, a warp a node. Writes `mask[T, words]`, bit j % 32 of
/// word j / 32 for node j, and `depth[T]`. Parents are −1 or earlier nodes; N ≤ 32·words ≤ 1024.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn tree_mask(
    parent: *const i32,
    starts: *const i32,
    mask: *mut u32,
    depth: *mut i32,
    words: u32,
) {
    let node = thread::block_idx_x() * MASK_WARPS + warp::warp_id();
    let item = thread::block_idx_y() as usize;
    let lane = warp::lane_id();
    // SAFETY: the launch gives the items' bounds, and parent, mask and depth for each node.
    unsafe {
        let first = *starts.add(item) as u32;
        if node >= *starts.add(item + 1) as u32 - first {
            return;
        }
        let (mut at, mut word, mut steps) = (node, 0_u32, 0);
        loop {
            if at / 32 == lane {
                word |= 1 << (at % 32);
            }
            let above = *parent.add((first + at) as usize);
            // Anything but an earlier node ends the walk, so that it ends.
            if above < 0 || above as u32 >= at {
                break;
            }
            at = above as u32;
            steps += 1;
        }
        let row = (first + node) as usize;
        if lane < words {
            *mask.add(row * words as usize + lane as usize) = word;
        }
        if lane == 0 {
            *depth.add(row) = steps;
        }
    }
}
