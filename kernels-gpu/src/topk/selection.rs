//! The k best keys of a stream, by a block of 512 threads.

use super::THREADS;
use super::key::{index_of, rank, rank_of, value_of};
use crate::device::shared::Shared;
use crate::device::thread::{sync_threads, sync_threads_or, thread_idx_x};
use crate::device::{atomic, warp};
use crate::shared_tile;
use core::arch::asm;

/// Keys in the pool that ask for pruning, at the most. Above what pruning may leave of the greatest
/// k, [`most_left`].
const MOST_TRIGGER: u32 = 1536;
/// Keys the pool holds: as many, and the most that one step can bring.
const CAPACITY: u32 = MOST_TRIGGER + THREADS * 8;

shared_tile!(fn topk_pool: [u64; CAPACITY as usize]);
shared_tile!(fn topk_count: [u32; 1]);
shared_tile!(
    /// What the warps add up, in turns: one place is in use, the next one is zero.
    fn topk_tally: [u32; 3]
);

/// A pool of keys that the best k survive in. All of its methods are collective: the whole block
/// calls them.
#[derive(Clone, Copy)]
pub(crate) struct Selection {
    k: u32,
    /// The place of the tally whose turn it is.
    turn: u32,
    /// What a newcomer must not be below: k of those before it are at least this. 1 while there are
    /// not as many.
    pub(crate) least: u64,
}

/// Rounds in which an interval of values is halved by value.
const QUICK: u32 = 8;

/// Keys that pruning may leave: to find exactly k would take more rounds than a few keys too many
/// are worth.
#[inline(always)]
fn most_left(k: u32) -> u32 {
    k + k / 4
}

impl Selection {
    /// An empty pool. 1 ≤ k ≤ [`MAX_K`](super::MAX_K).
    ///
    /// # Safety
    /// The block has one selection.
    #[inline(always)]
    pub(crate) unsafe fn new(k: u32) -> Self {
        if thread_idx_x() == 0 {
            // SAFETY: the only thread to write them; a barrier follows.
            unsafe {
                topk_count().store(0, 0);
                topk_tally().store(0, 0);
            }
        }
        sync_threads();
        Selection {
            k,
            turn: 0,
            least: 1,
        }
    }

    /// More keys than this in the pool ask for pruning.
    #[inline(always)]
    fn trigger(self) -> u32 {
        (4 * self.k).clamp(512, MOST_TRIGGER)
    }

    /// What a value must be above for one of the columns from `column` on to be not below the least
    /// key, or hardly: NaN, which nothing fails to be above, while there is none.
    #[inline(always)]
    pub(crate) fn floor_from(self, column: u32) -> f32 {
        let rank = rank_of(self.least);
        // Columns behind the least key's lose a tie with it. Two below: one below 0 is −0, which
        // equals it.
        value_of(if column > index_of(self.least) {
            rank
        } else {
            rank.wrapping_sub(2)
        })
    }

    /// Appends one key for each thread that has one; true for some thread when the pool should be
    /// pruned.
    ///
    /// # Safety
    /// As for [`append`].
    #[inline(always)]
    pub(crate) unsafe fn push_one(self, has: bool, key: u64) -> bool {
        // SAFETY: the caller's promise.
        unsafe { append(has, key) > self.trigger() }
    }

    /// Appends the key of each bit set in `wanted` (at most eight); true for some thread when the
    /// pool should be pruned.
    ///
    /// # Safety
    /// As for [`append`].
    #[inline(always)]
    pub(crate) unsafe fn push(self, mut wanted: u32, key: impl Fn(u32) -> u64) -> bool {
        let mut held = 0;
        loop {
            // SAFETY: the caller's promise.
            let count = unsafe { append(wanted != 0, key(wanted.trailing_zeros())) };
            if count == 0 {
                return held > self.trigger();
            }
            held = count;
            wanted &= wanted.wrapping_sub(1);
        }
    }

    /// Ends a step: prunes the pool when any thread asks for it, and sorts what is left in the
    /// last one.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    #[inline(always)]
    pub(crate) unsafe fn end_step(&mut self, full: bool, last: bool) {
        if !sync_threads_or(full || last) {
            return;
        }
        // SAFETY: all appended before the barrier, and nobody appends before the one at the end.
        unsafe {
            let count = topk_count().load(0);
            let (enough, bearable) = if last {
                // The network has a power of two of keys: none less would make it shorter.
                let full = power_of_two(self.k.max(warp::SIZE));
                (full, 2 * full)
            } else {
                let enough = most_left(self.k);
                (enough, enough.max(self.trigger() / 4 * 3))
            };
            let mut left = count;
            if count > enough {
                let (least, several) = self.cut(count, enough, bearable);
                self.least = least;
                keep_from(least, count);
                left = several;
            }
            if last {
                sort(left);
                left = left.min(self.k);
            }
            if thread_idx_x() == 0 {
                topk_count().store(0, left);
            }
        }
        sync_threads();
    }

    /// A key that at least k and at most `enough` of the pool's first `count` keys are not below, and
    /// how many those are. The interval that holds it is halved: by value as long as that is quick,
    /// then, unless what is left is `bearable`, as integers, which ends whatever the values are.
    /// 16-bit logits have so many equals that it often is.
    ///
    /// # Safety
    /// Nobody writes to the pool, and there are more than `enough` keys.
    #[inline(always)]
    unsafe fn cut(&mut self, count: u32, enough: u32, bearable: u32) -> (u64, u32) {
        // SAFETY: the caller's promise.
        let top = unsafe { self.tally(count, |key, sum: u32| sum.max(rank_of(key)), true) };
        // All keys are at least `low`, fewer than k at least `high`.
        let (mut low, mut high) = (1_u64, u64::from(top) + 1 << 32);
        let (mut several, mut round) = (count, 0);
        while several > enough && (round < QUICK || several > bearable) {
            let middle = 0.5 * value_of(rank_of(low)) + 0.5 * value_of(rank_of(high));
            let mut at = u64::from(rank(middle)) << 32;
            if round >= QUICK || middle.is_nan() || at <= low || at >= high {
                at = low + (high - low) / 2;
            }
            // SAFETY: as above.
            let found = unsafe { self.tally(count, |key, sum| sum + u32::from(key >= at), false) };
            if found < self.k {
                high = at;
            } else {
                (low, several) = (at, found);
            }
            round += 1;
        }
        (low, several)
    }

    /// The sum, or the greatest, of what `add` makes of each of the first `count` keys.
    ///
    /// # Safety
    /// Nobody writes to the pool.
    #[inline(always)]
    unsafe fn tally(&mut self, count: u32, add: impl Fn(u64, u32) -> u32, greatest: bool) -> u32 {
        let mut mine = 0;
        let mut at = thread_idx_x_again();
        while at < count {
            // SAFETY: below the count; nobody writes.
            mine = add(unsafe { topk_pool().load(at) }, mine);
            at += THREADS;
        }
        warp::sync_warp(warp::FULL);
        let of_warp = match greatest {
            true => warp::redux_max_u32(warp::FULL, mine),
            false => warp::redux_add(warp::FULL, mine),
        };
        let tally = topk_tally();
        let next = if self.turn == 2 { 0 } else { self.turn + 1 };
        // SAFETY: all have read the next place before the barrier of the last turn; this one is
        // zero, and is only added to before the barrier.
        let total = unsafe {
            if warp::lane_id() == 0 {
                match greatest {
                    true => atomic::max_shared(tally, self.turn, of_warp),
                    false => atomic::add_shared(tally, self.turn, of_warp),
                };
            }
            if thread_idx_x() == 0 {
                tally.store(next, 0);
            }
            sync_threads();
            tally.load(self.turn)
        };
        self.turn = next;
        total
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

/// Appends a key for each lane that has one. Returns how many the pool holds as far as the
/// warp can see, 0 when no lane had one. All lanes of the warp call it together.
///
/// # Safety
/// Between two prunings no thread brings more than eight keys.
#[inline(always)]
unsafe fn append(has: bool, key: u64) -> u32 {
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

/// Moves the keys that are not below `least` to the front of the pool, in any order. The count says
/// how many; a barrier must follow.
///
/// # Safety
/// Nobody else writes to the pool.
#[inline(always)]
unsafe fn keep_from(least: u64, count: u32) {
    if thread_idx_x() == 0 {
        // SAFETY: all have read it; the first barrier below comes before it is added to.
        unsafe { topk_count().store(0, 0) }
    }
    let mut first = 0;
    while first < count {
        let at = first + thread_idx_x();
        // SAFETY: below the count. What is kept of the keys up to here has at most their places, and
        // those were all read before the barrier.
        unsafe {
            let key = if at < count { topk_pool().load(at) } else { 0 };
            sync_threads();
            append(key >= least, key);
        }
        first += THREADS;
    }
    sync_threads();
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
