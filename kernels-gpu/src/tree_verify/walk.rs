//! What both walks share: the tree of an item, and where its path is written.

use super::WALK_THREADS;
use crate::device::reduce::{self, ArgMax, Merge};
use crate::device::shared::Shared;
use crate::device::thread::thread_idx_x;
use crate::shared_tile;

shared_tile!(fn tree_scratch: [u32; 64]);

/// 64 words for reductions over the block.
#[inline(always)]
pub(super) fn scratch() -> Shared<u32> {
    tree_scratch()
}

/// An item's tree and its path so far.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub(super) token: *const i32,
    pub(super) parent: *const i32,
    pub(super) stop: *const i32,
    pub(super) stops: u32,
    /// `[T]`: the slot of each node, or null.
    pub(super) slot: *const i32,
    /// `[T]` each.
    pub(super) node_out: *mut i32,
    pub(super) token_out: *mut i32,
    /// Null where there are no slots.
    pub(super) slot_out: *mut i32,
    /// Its first node among all.
    pub(super) first: usize,
    pub(super) nodes: u32,
    /// Accepted nodes.
    pub(super) accepted: u32,
    /// The last of them; −1 at the root.
    pub(super) at: i32,
}

impl Walk {
    /// The current node's row among the item's.
    #[inline(always)]
    pub(super) fn row(self) -> usize {
        (self.at + 1) as usize
    }

    /// The token of a node.
    ///
    /// # Safety
    /// It is one of the item's.
    #[inline(always)]
    pub(super) unsafe fn token(self, node: u32) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { *self.token.add(self.first + node as usize) }
    }

    /// The first child of the current node from `from` on for which `fits` holds, if any. Collective.
    ///
    /// # Safety
    /// The tree is there.
    #[inline(always)]
    pub(super) unsafe fn child(self, from: u32, fits: impl Fn(i32) -> bool) -> Option<u32> {
        let mut found = ArgMax::IDENTITY;
        let mut node = from + thread_idx_x();
        while node < self.nodes {
            let at = self.first + node as usize;
            // SAFETY: node < N.
            let (parent, token) = unsafe { (*self.parent.add(at), *self.token.add(at)) };
            if parent == self.at && fits(token) {
                found = ArgMax {
                    value: 0.0,
                    index: node,
                };
                break;
            }
            node += WALK_THREADS;
        }
        // SAFETY: all of the block is here.
        let found = unsafe { reduce::block(scratch(), found) };
        (found.index != u32::MAX).then_some(found.index)
    }

    /// Goes on to a child; whether its token ends the text.
    ///
    /// # Safety
    /// The outputs have room for a place a node.
    #[inline(always)]
    pub(super) unsafe fn accept(&mut self, node: u32) -> bool {
        // SAFETY: accepted < N; thread 0 writes, and nobody reads.
        unsafe {
            let token = self.token(node);
            if thread_idx_x() == 0 {
                let out = self.first + self.accepted as usize;
                *self.node_out.add(out) = node as i32;
                *self.token_out.add(out) = token;
                if !self.slot.is_null() {
                    *self.slot_out.add(out) = *self.slot.add(self.first + node as usize);
                }
            }
            self.accepted += 1;
            self.at = node as i32;
            let mut ends = false;
            let mut i = 0;
            while i < self.stops {
                ends |= *self.stop.add(i as usize) == token;
                i += 1;
            }
            ends
        }
    }

    /// Writes the end of the walk: −1 in the places behind the path, the path's length, the bonus.
    ///
    /// # Safety
    /// As for [`accept`](Walk::accept); `count` and `bonus` are the item's.
    #[inline(always)]
    pub(super) unsafe fn end(self, count: *mut i32, bonus: *mut i32, token: i32) {
        let mut place = self.accepted + thread_idx_x();
        // SAFETY: place < N: a place of this thread's own.
        unsafe {
            while place < self.nodes {
                let out = self.first + place as usize;
                *self.node_out.add(out) = -1;
                *self.token_out.add(out) = -1;
                if !self.slot.is_null() {
                    *self.slot_out.add(out) = -1;
                }
                place += WALK_THREADS;
            }
            if thread_idx_x() == 0 {
                *count = self.accepted as i32;
                *bonus = token;
            }
        }
    }
}
