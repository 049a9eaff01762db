//! Reductions over a warp and over a block, in an order that depends on nothing but the shape of
//! the block: the same bits on every run.

use super::float::exp_approx;
use super::shared::Shared;
use super::thread::{block_dim_x, sync_threads};
use super::warp::{FULL, SIZE, lane_id, shuffle_xor, warp_id};

/// Values that merge: `merge` is associative up to rounding, commutative to the bit (so that all
/// lanes of a butterfly end with the same one), and `IDENTITY` changes nothing.
pub trait Merge: Copy {
    /// The value of nothing.
    const IDENTITY: Self;
    /// 32-bit words a block-wide reduction needs for each warp.
    const WORDS: u32;
    /// Both in one.
    fn merge(self, other: Self) -> Self;
    /// The value of the lane whose number differs in `lane_mask`. All 32 lanes take part.
    fn from_lane_xor(self, lane_mask: u32) -> Self;
    /// Writes the value to the words from `index · WORDS` on.
    ///
    /// # Safety
    /// As for [`Shared::store`].
    unsafe fn store(self, to: Shared<u32>, index: u32);
    /// Reads the value from the words from `index · WORDS` on.
    ///
    /// # Safety
    /// As for [`Shared::load`].
    unsafe fn load(from: Shared<u32>, index: u32) -> Self;
}

macro_rules! one_word {
    ($name:ident($t:ty), $identity:expr, $merge:expr) => {
        impl Merge for $name {
            const IDENTITY: Self = $name($identity);
            const WORDS: u32 = 1;
            #[inline(always)]
            fn merge(self, other: Self) -> Self {
                $name($merge(self.0, other.0))
            }
            #[inline(always)]
            fn from_lane_xor(self, lane_mask: u32) -> Self {
                $name(shuffle_xor(FULL, self.0, lane_mask))
            }
            #[inline(always)]
            unsafe fn store(self, to: Shared<u32>, index: u32) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<$t>().store(index, self.0) }
            }
            #[inline(always)]
            unsafe fn load(from: Shared<u32>, index: u32) -> Self {
                // SAFETY: the caller's promise.
                $name(unsafe { from.cast::<$t>().load(index) })
            }
        }
    };
}

/// A sum of f32.
#[derive(Clone, Copy)]
pub struct Sum(pub f32);
one_word!(Sum(f32), 0.0, |a: f32, b: f32| a + b);

/// The greatest f32 that is not NaN.
#[derive(Clone, Copy)]
pub struct Max(pub f32);
one_word!(Max(f32), f32::NEG_INFINITY, |a: f32, b: f32| a.max(b));

/// The greatest value and the lowest index that holds it. NaN never wins against a number.
#[derive(Clone, Copy)]
pub struct ArgMax {
    /// The value.
    pub value: f32,
    /// Its index; `u32::MAX` for nothing.
    pub index: u32,
}

impl Merge for ArgMax {
    const IDENTITY: Self = ArgMax {
        value: f32::NEG_INFINITY,
        index: u32::MAX,
    };
    const WORDS: u32 = 2;
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        let other_wins = other.value > self.value
            || (other.value == self.value && other.index < self.index)
            || (self.value.is_nan() && (!other.value.is_nan() || other.index < self.index));
        if other_wins { other } else { self }
    }
    #[inline(always)]
    fn from_lane_xor(self, lane_mask: u32) -> Self {
        ArgMax {
            value: shuffle_xor(FULL, self.value, lane_mask),
            index: shuffle_xor(FULL, self.index, lane_mask),
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: Shared<u32>, index: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            to.store(2 * index, self.value.to_bits());
            to.store(2 * index + 1, self.index);
        }
    }
    #[inline(always)]
    unsafe fn load(from: Shared<u32>, index: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            ArgMax {
                value: f32::from_bits(from.load(2 * index)),
                index: from.load(2 * index + 1),
            }
        }
    }
}

/// The running state of a softmax: the greatest score `max` and `sum = Σ exp(sᵢ − max)`.
///
/// When the maximum grows from m to m′ the sum shrinks by exp(m − m′): the *old* maximum minus the
/// *new* one, never positive. Both −inf (nothing seen, or nothing allowed) would make NaN of it and
/// is asked for first.
#[derive(Clone, Copy)]
pub struct OnlineSoftmax {
    /// The greatest score, −inf for none.
    pub max: f32,
    /// The sum of exponentials relative to it.
    pub sum: f32,
}

impl OnlineSoftmax {
    /// The state with one more score.
    #[inline(always)]
    pub fn add(self, score: f32) -> Self {
        self.merge(OnlineSoftmax {
            max: score,
            sum: 1.0,
        })
    }
}

impl Merge for OnlineSoftmax {
    const IDENTITY: Self = OnlineSoftmax {
        max: f32::NEG_INFINITY,
        sum: 0.0,
    };
    const WORDS: u32 = 2;
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        let max = self.max.max(other.max);
        if max == f32::NEG_INFINITY {
            return Self::IDENTITY;
        }
        OnlineSoftmax {
            max,
            sum: self.sum * exp_approx(self.max - max) + other.sum * exp_approx(other.max - max),
        }
    }
    #[inline(always)]
    fn from_lane_xor(self, lane_mask: u32) -> Self {
        OnlineSoftmax {
            max: shuffle_xor(FULL, self.max, lane_mask),
            sum: shuffle_xor(FULL, self.sum, lane_mask),
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: Shared<u32>, index: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            to.store(2 * index, self.max.to_bits());
            to.store(2 * index + 1, self.sum.to_bits());
        }
    }
    #[inline(always)]
    unsafe fn load(from: Shared<u32>, index: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            OnlineSoftmax {
                max: f32::from_bits(from.load(2 * index)),
                sum: f32::from_bits(from.load(2 * index + 1)),
            }
        }
    }
}

/// Every lane gets the warp's total: a butterfly of five `shfl.sync.bfly` a word. All 32 lanes take
/// part.
#[inline(always)]
pub fn warp<T: Merge>(value: T) -> T {
    let value = value.merge(value.from_lane_xor(16));
    let value = value.merge(value.from_lane_xor(8));
    let value = value.merge(value.from_lane_xor(4));
    let value = value.merge(value.from_lane_xor(2));
    value.merge(value.from_lane_xor(1))
}

/// Every thread gets the block's total: a warp reduction, a word or two a warp through `scratch`,
/// two barriers, and a warp reduction again. The block is one-dimensional, of whole warps; all of it
/// takes part.
///
/// # Safety
/// `scratch` holds 32 × [`Merge::WORDS`] words that nobody else uses; they are free again when it
/// returns.
#[inline(always)]
pub unsafe fn block<T: Merge>(scratch: Shared<u32>, value: T) -> T {
    let value = warp(value);
    if lane_id() == 0 {
        // SAFETY: warp_id < 32, a place of its own; read after the barrier.
        unsafe { value.store(scratch, warp_id()) }
    }
    sync_threads();
    let mut total = T::IDENTITY;
    if lane_id() < block_dim_x() / SIZE {
        // SAFETY: written by that warp before the barrier.
        total = unsafe { T::load(scratch, lane_id()) };
    }
    sync_threads();
    warp(total)
}
