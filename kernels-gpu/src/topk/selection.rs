//! The k best keys of a stream, by a block of 256 threads.

use super::key::rank_of;
use super::{MAX_K, THREADS};
use crate::device::shared::Shared;
use crate::device::thread::{sync_threads, sync_threads_or, thread_idx_x};
use crate::device::{atomic, warp};
use crate::shared_tile;
use core::arch::asm;

/// Keys the pool holds: twice the greatest k, and the most that one step can bring.
const CAPACITY: u32 = 2 * MAX_K + THREADS * 8;

shared_tile!(fn topk_pool: [u64; CAPACITY as usize]);
shared_tile!(fn topk_count: [u32; 1]);

/// A pool of keys that the best k survive in. All of its methods are collective: the whole block
/// calls them.
#[derive(Clone, Copy)]
pub(crate) struct Selection {
    k: u32,
    /// More keys than this in the pool ask for pruning.
    trigger: u32,
    /// What a newcomer's rank must be above: the rank of the k-th best, 0 while there is none.
    pub(crate) floor: u32,
}

impl Selection {
    /// An empty pool. 1 ≤ k ≤ [`MAX_K`].
    ///
    /// # Safety
    /// The block has one selection.
    #[inline(always)]
    pub(crate) unsafe fn new(k: u32) -> Self {
        if thread_idx_x() == 0 {
            // SAFETY: the only thread to write it; a barrier follows.
            unsafe { topk_count().store(0, 0) }
        }
        sync_threads();
        // Sorting costs n·log²n of what is there: small pools are pruned early, yet no more often
        // than each doubling of a small k.
        let trigger = (2 * power_of_two(k)).max(512);
        Selection {
            k,
            trigger,
            floor: 0,
        }
    }

    /// Appends a key for each lane that has one. Returns how many the pool holds as far as the
    /// warp can see, 0 when no lane had one. All lanes of the warp call it together.
    ///
    /// # Safety
    /// Between two prunings no thread brings more than eight keys.
    #[inline(always)]
    unsafe fn append(self, has: bool, key: u64) -> u32 {
        let lane = warp::lane_id();
        let lanes = warp::ballot(warp::FULL, has);
        if lanes == 0 {
            return 0;
        }
        let mut base = 0;
        if lane == 0 {
            // SAFETY: between two barriers the count is only added to.
            base = unsafe { atomic::add_shared(topk_count(), 0, lanes.count_ones()) };
        }
        let base = warp::shuffle(warp::FULL, base, 0);
        if has {
            let place = base + (lanes & ((1 << lane) - 1)).count_ones();
            // SAFETY: the place is this thread's by the atomic; the pool has room for the trigger
            // and a step.
            unsafe { topk_pool().store(place, key) }
        }
        base + lanes.count_ones()
    }

    /// Appends one key for each thread that has one; true for some thread when the pool should be
    /// pruned.
    ///
    /// # Safety
    /// As for [`append`](Self::append).
    #[inline(always)]
    pub(crate) unsafe fn push_one(self, has: bool, key: u64) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.append(has, key) > self.trigger }
    }

    /// Appends the key of each bit set in `wanted` (at most eight); true for some thread when the
    /// pool should be pruned.
    ///
    /// # Safety
    /// As for [`append`](Self::append).
    #[inline(always)]
    pub(crate) unsafe fn push(self, mut wanted: u32, key: impl Fn(u32) -> u64) -> bool {
        let mut held = 0;
        loop {
            // SAFETY: the caller's promise.
            let count = unsafe { self.append(wanted != 0, key(wanted.trailing_zeros())) };
            if count == 0 {
                return held > self.trigger;
            }
            held = count;
            wanted &= wanted.wrapping_sub(1);
        }
    }

    /// Ends a step: prunes the pool when any thread asks for it.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    #[inline(always)]
    pub(crate) unsafe fn end_step(&mut self, prune: bool) {
        if !sync_threads_or(prune) {
            return;
        }
        // SAFETY: all appended before the barrier, and nobody appends before the one at the end.
        unsafe {
            let count = topk_count().load(0);
            sort(count);
            if count >= self.k {
                self.floor = rank_of(topk_pool().load(self.k - 1));
            }
            if thread_idx_x() == 0 {
                topk_count().store(0, count.min(self.k));
            }
        }
        sync_threads();
    }

    /// The key at `place`, best first, once the last step was pruned; 0 where there is none.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    #[inline(always)]
    pub(crate) unsafe fn best(self, place: u32) -> u64 {
        // SAFETY: behind the barrier at the end of pruning.
        unsafe {
            if place < topk_count().load(0) {
                topk_pool().load(place)
            } else {
                0
            }
        }
    }
}

/// The least power of two that is at least `n`, for 1 ≤ n ≤ 2³¹.
#[inline(always)]
fn power_of_two(n: u32) -> u32 {
    if n <= 1 {
        1
    } else {
        1 << (32 - (n - 1).leading_zeros())
    }
}

/// [`thread_idx_x`], read where it stands. Known to be the same throughout, it would have the
/// network's dozens of conditions computed ahead of the scan and kept in registers all through it.
#[inline(always)]
fn thread_idx_x_again() -> u32 {
    let index: u32;
    // SAFETY: reads a register that is constant for the thread's whole life.
    unsafe { asm!("mov.u32 {o}, %tid.x;", o = out(reg32) index, options(nomem, nostack)) }
    index
}

/// One lane's part in comparing place `at` with the place `distance` (a power of two below 32) away
/// while runs of `size` are made, falling ones first.
#[inline(always)]
fn exchange(key: u64, at: u32, size: u32, distance: u32) -> u64 {
    let other = warp::shuffle_xor(warp::FULL, key, distance);
    let wants_greater = (at & distance == 0) == (at & size == 0);
    if (key > other) == wants_greater {
        key
    } else {
        other
    }
}

/// Sorts the first `count` keys of the pool, greatest first: a bitonic network. Distances below 32
/// stay in registers; the others go from place to place in whole warps, so no bank is asked twice.
/// Places behind `count`, up to the next power of two, become 0. Ends with a barrier.
#[inline(always)]
unsafe fn sort(count: u32) {
    let pool: Shared<u64> = topk_pool();
    let padded = power_of_two(count.max(warp::SIZE));
    let me = thread_idx_x_again();
    let mut at = count + me;
    while at < padded {
        // SAFETY: below the capacity, which is a power of two; between barriers one thread's.
        unsafe { pool.store(at, 0) }
        at += THREADS;
    }
    sync_threads();

    // Runs of 32, in registers. Whole warps are below `padded` or not.
    let mut at = me;
    while at < padded {
        // SAFETY: below the capacity; this thread's until the barrier. As for all that follow.
        let mut key = unsafe { pool.load(at) };
        key = exchange(key, at, 2, 1);
        key = exchange(key, at, 4, 2);
        key = exchange(key, at, 4, 1);
        key = exchange(key, at, 8, 4);
        key = exchange(key, at, 8, 2);
        key = exchange(key, at, 8, 1);
        key = exchange(key, at, 16, 8);
        key = exchange(key, at, 16, 4);
        key = exchange(key, at, 16, 2);
        key = exchange(key, at, 16, 1);
        key = merge_run(key, at, 32);
        // SAFETY: as above.
        unsafe { pool.store(at, key) }
        at += THREADS;
    }
    sync_threads();

    let mut size = 2 * warp::SIZE;
    while size <= padded {
        let mut distance = size / 2;
        while distance >= warp::SIZE {
            let mut pair = me;
            while pair < padded / 2 {
                let low = (pair & !(distance - 1)) << 1 | pair & (distance - 1);
                // SAFETY: low + distance < padded; each pair is one thread's.
                unsafe {
                    let (a, b) = (pool.load(low), pool.load(low + distance));
                    if (a < b) == (low & size == 0) {
                        pool.store(low, b);
                        pool.store(low + distance, a);
                    }
                }
                pair += THREADS;
            }
            sync_threads();
            distance /= 2;
        }
        let mut at = me;
        while at < padded {
            // SAFETY: as above.
            unsafe { pool.store(at, merge_run(pool.load(at), at, size)) }
            at += THREADS;
        }
        sync_threads();
        size *= 2;
    }
}

/// The last five exchanges of a run of `size` ≥ 32.
#[inline(always)]
fn merge_run(key: u64, at: u32, size: u32) -> u64 {
    let key = exchange(key, at, size, 16);
    let key = exchange(key, at, size, 8);
    let key = exchange(key, at, size, 4);
    let key = exchange(key, at, size, 2);
    exchange(key, at, size, 1)
}
