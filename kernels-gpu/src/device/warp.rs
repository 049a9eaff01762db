//! A warp's 32 lanes: their numbers, shuffles, votes and integer reductions.
//!
//! `mask` names the lanes that take part, bit `i` for lane `i`; [`FULL`] is all of them. Each lane
//! named must reach the *same* call with the same mask, and each lane that reaches it must be named.

#[cfg(target_arch = "nvptx64")]
use super::intrinsics;
use core::arch::asm;

/// All 32 lanes.
pub const FULL: u32 = 0xffff_ffff;

/// Lanes in a warp.
pub const SIZE: u32 = 32;

/// The lane's number in its warp, 0–31: `%laneid`.
#[inline(always)]
pub fn lane_id() -> u32 {
    let lane: u32;
    // SAFETY: reads a register that is constant for the thread's whole life.
    unsafe {
        asm!("mov.u32 {o}, %laneid;", o = out(reg32) lane,
            options(pure, nomem, nostack, preserves_flags));
    }
    lane
}

/// The warp's number in a one-dimensional block: `thread_idx_x / 32`.
#[inline(always)]
pub fn warp_id() -> u32 {
    super::thread::thread_idx_x() / SIZE
}

/// The lanes that execute this together, at this moment: `activemask`. A snapshot, not a promise.
#[inline(always)]
pub fn activemask() -> u32 {
    // SAFETY: reads state only.
    unsafe { intrinsics::activemask() }
}

/// Waits for the lanes of `mask` and makes their memory accesses visible to each other:
/// `bar.warp.sync`.
#[inline(always)]
pub fn sync_warp(mask: u32) {
    // SAFETY: a barrier touches no memory of its own; a lane that never comes hangs the warp.
    unsafe { intrinsics::bar_warp_sync(mask) }
}

mod sealed {
    pub trait Sealed {}
}

/// A value a lane can hand to another one: 32 bits in one shuffle, 64 in two.
pub trait Shuffle: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn through(self, exchange: impl Fn(u32) -> u32) -> Self;
}

macro_rules! shuffle_32 {
    ($($t:ty: $to:expr, $from:expr;)*) => {$(
        impl sealed::Sealed for $t {}
        impl Shuffle for $t {
            #[inline(always)]
            fn through(self, exchange: impl Fn(u32) -> u32) -> Self {
                $from(exchange($to(self)))
            }
        }
    )*};
}
shuffle_32! {
    u32: |v: u32| v, |v: u32| v;
    i32: |v: i32| v as u32, |v: u32| v as i32;
    f32: f32::to_bits, f32::from_bits;
}

macro_rules! shuffle_64 {
    ($($t:ty: $to:expr, $from:expr;)*) => {$(
        impl sealed::Sealed for $t {}
        impl Shuffle for $t {
            #[inline(always)]
            fn through(self, exchange: impl Fn(u32) -> u32) -> Self {
                let bits: u64 = $to(self);
                let low = exchange(bits as u32);
                let high = exchange((bits >> 32) as u32);
                $from(u64::from(high) << 32 | u64::from(low))
            }
        }
    )*};
}
shuffle_64! {
    u64: |v: u64| v, |v: u64| v;
    f64: f64::to_bits, f64::from_bits;
}

/// The value of lane `source` (mod 32): `shfl.sync.idx`.
#[inline(always)]
pub fn shuffle<T: Shuffle>(mask: u32, value: T, source: u32) -> T {
    shuffle_in(mask, value, source, SIZE)
}

/// The value of the lane `delta` below; the first `delta` lanes keep theirs: `shfl.sync.up`.
#[inline(always)]
pub fn shuffle_up<T: Shuffle>(mask: u32, value: T, delta: u32) -> T {
    shuffle_up_in(mask, value, delta, SIZE)
}

/// The value of the lane `delta` above; the last `delta` lanes keep theirs: `shfl.sync.down`.
#[inline(always)]
pub fn shuffle_down<T: Shuffle>(mask: u32, value: T, delta: u32) -> T {
    shuffle_down_in(mask, value, delta, SIZE)
}

/// The value of the lane whose number differs in the bits of `lane_mask`: `shfl.sync.bfly`.
#[inline(always)]
pub fn shuffle_xor<T: Shuffle>(mask: u32, value: T, lane_mask: u32) -> T {
    // SAFETY: exchanges registers; participation is the module's documented requirement.
    value.through(|v| unsafe { intrinsics::shfl_bfly(mask, v, lane_mask, 31) })
}

/// [`shuffle`] within segments of `width` lanes (a power of two): `source` counts in the segment.
#[inline(always)]
pub fn shuffle_in<T: Shuffle>(mask: u32, value: T, source: u32, width: u32) -> T {
    let segment = (SIZE - width) << 8 | 31;
    // SAFETY: as for `shuffle_xor`.
    value.through(|v| unsafe { intrinsics::shfl_idx(mask, v, source, segment) })
}

/// [`shuffle_up`] within segments of `width` lanes (a power of two).
#[inline(always)]
pub fn shuffle_up_in<T: Shuffle>(mask: u32, value: T, delta: u32, width: u32) -> T {
    let segment = (SIZE - width) << 8;
    // SAFETY: as for `shuffle_xor`.
    value.through(|v| unsafe { intrinsics::shfl_up(mask, v, delta, segment) })
}

/// [`shuffle_down`] within segments of `width` lanes (a power of two).
#[inline(always)]
pub fn shuffle_down_in<T: Shuffle>(mask: u32, value: T, delta: u32, width: u32) -> T {
    let segment = (SIZE - width) << 8 | 31;
    // SAFETY: as for `shuffle_xor`.
    value.through(|v| unsafe { intrinsics::shfl_down(mask, v, delta, segment) })
}

/// Whether the predicate holds for every lane of `mask`: `vote.sync.all`.
#[inline(always)]
pub fn vote_all(mask: u32, predicate: bool) -> bool {
    // SAFETY: as for `shuffle_xor`.
    unsafe { intrinsics::vote_all(mask, predicate) }
}

/// Whether the predicate holds for any lane of `mask`: `vote.sync.any`.
#[inline(always)]
pub fn vote_any(mask: u32, predicate: bool) -> bool {
    // SAFETY: as for `shuffle_xor`.
    unsafe { intrinsics::vote_any(mask, predicate) }
}

/// The lanes of `mask` for which the predicate holds: `vote.sync.ballot`.
#[inline(always)]
pub fn ballot(mask: u32, predicate: bool) -> u32 {
    // SAFETY: as for `shuffle_xor`.
    unsafe { intrinsics::vote_ballot(mask, predicate) }
}

/// The lanes of `mask` that hold the same value as this one: `match.any.sync`.
#[inline(always)]
pub fn match_any(mask: u32, value: u32) -> u32 {
    // SAFETY: as for `shuffle_xor`.
    unsafe { intrinsics::match_any(mask, value) }
}

macro_rules! redux {
    ($($(#[$doc:meta])* $name:ident($t:ty) = $intrinsic:ident;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(mask: u32, value: $t) -> $t {
            // SAFETY: as for `shuffle_xor`.
            unsafe { intrinsics::$intrinsic(value, mask) }
        }
    )*};
}

redux! {
    /// The sum over the lanes of `mask`, wrapping: `redux.sync.add`.
    redux_add(u32) = redux_add;
    /// The least value over the lanes of `mask`: `redux.sync.min.u32`.
    redux_min_u32(u32) = redux_umin;
    /// The greatest value over the lanes of `mask`: `redux.sync.max.u32`.
    redux_max_u32(u32) = redux_umax;
    /// The least value over the lanes of `mask`: `redux.sync.min.s32`.
    redux_min_i32(i32) = redux_min;
    /// The greatest value over the lanes of `mask`: `redux.sync.max.s32`.
    redux_max_i32(i32) = redux_max;
    /// The bitwise and over the lanes of `mask`: `redux.sync.and.b32`.
    redux_and(u32) = redux_and;
    /// The bitwise or over the lanes of `mask`: `redux.sync.or.b32`.
    redux_or(u32) = redux_or;
    /// The bitwise exclusive or over the lanes of `mask`: `redux.sync.xor.b32`.
    redux_xor(u32) = redux_xor;
}
