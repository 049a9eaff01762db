//! How a thread reads and writes a row: one element at a time for any width and alignment, or 16
//! bytes at a time where rows are whole numbers of them.

use crate::device::global::{load4_readonly, load4_streaming, store4_streaming};
use crate::device::half::{Bf16, Bf16x2, Element, F16, F16x2};
use crate::device::shared::Shared;
use core::marker::PhantomData;

/// The most elements that one access moves.
pub(super) const MOST: usize = 8;

/// One access: `PER` consecutive elements, held raw between the load and the arithmetic.
pub(super) trait Access {
    type Element: Element;
    type Raw: Copy;
    /// Elements an access moves, at most [`MOST`].
    const PER: usize;
    /// Zeros: what lies beyond the row.
    fn zeros() -> Self::Raw;
    /// Ones: the gamma of a row without gamma.
    fn ones() -> Self::Raw;
    /// Reads what is read once.
    ///
    /// # Safety
    /// `PER` elements from `from` on are readable and aligned to `PER` elements.
    unsafe fn load(from: *const Self::Element) -> Self::Raw;
    /// Reads what other blocks read too. Requires what `load` does.
    ///
    /// # Safety
    /// As for `load`.
    unsafe fn load_shared(from: *const Self::Element) -> Self::Raw;
    /// The same bits, when `zero` is 0. Whoever does not know that must unpack them anew: so a row
    /// stays in registers packed, not unpacked beside it.
    fn again(raw: Self::Raw, zero: u32) -> Self::Raw;
    /// Leaves the bits in shared memory.
    ///
    /// # Safety
    /// The tile has 16 bytes at `place`, and they are this thread's.
    unsafe fn leave(raw: Self::Raw, tile: Shared<u32>, place: u32);
    /// The bits that this thread has left there.
    ///
    /// # Safety
    /// It has.
    unsafe fn left(tile: Shared<u32>, place: u32) -> Self::Raw;
    /// The values; those from `PER` on are zeros.
    fn unpack(raw: Self::Raw) -> [f32; MOST];
    /// Rounds and writes the first `PER` values.
    ///
    /// # Safety
    /// As for `load`, and the elements are this thread's to write.
    unsafe fn store(to: *mut Self::Element, values: [f32; MOST]);
}

/// One element an access.
pub(super) struct Single<T>(PhantomData<T>);

impl<T: Element> Access for Single<T> {
    type Element = T;
    type Raw = T;
    const PER: usize = 1;
    #[inline(always)]
    fn zeros() -> T {
        T::from_f32(0.0)
    }
    #[inline(always)]
    fn ones() -> T {
        T::from_f32(1.0)
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> T {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn load_shared(from: *const T) -> T {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    fn again(raw: T, _: u32) -> T {
        raw
    }
    #[inline(always)]
    unsafe fn leave(raw: T, tile: Shared<u32>, place: u32) {
        // SAFETY: the caller's promise.
        unsafe { tile.store(4 * place, raw.to_f32().to_bits()) }
    }
    #[inline(always)]
    unsafe fn left(tile: Shared<u32>, place: u32) -> T {
        // SAFETY: the caller's promise.
        T::from_f32(f32::from_bits(unsafe { tile.load(4 * place) }))
    }
    #[inline(always)]
    fn unpack(raw: T) -> [f32; MOST] {
        let mut values = [0.0; MOST];
        values[0] = raw.to_f32();
        values
    }
    #[inline(always)]
    unsafe fn store(to: *mut T, values: [f32; MOST]) {
        // SAFETY: the caller's promise.
        unsafe { *to = T::from_f32(values[0]) }
    }
}

/// An element type of which 16 bytes can be taken apart and put together.
pub(super) trait Packed: Element {
    const PER_QUAD: usize;
    fn unpack(words: [u32; 4]) -> [f32; MOST];
    fn pack(values: [f32; MOST]) -> [u32; 4];
}

impl Packed for f32 {
    const PER_QUAD: usize = 4;
    #[inline(always)]
    fn unpack([a, b, c, d]: [u32; 4]) -> [f32; MOST] {
        let [a, b, c, d] = [a, b, c, d].map(f32::from_bits);
        [a, b, c, d, 0.0, 0.0, 0.0, 0.0]
    }
    #[inline(always)]
    fn pack(v: [f32; MOST]) -> [u32; 4] {
        [v[0], v[1], v[2], v[3]].map(f32::to_bits)
    }
}

macro_rules! packed_pairs {
    ($($half:ident in $pair:ident),*) => {$(
        impl Packed for $half {
            const PER_QUAD: usize = 8;
            #[inline(always)]
            fn unpack([a, b, c, d]: [u32; 4]) -> [f32; MOST] {
                let [a, b, c, d] = [a, b, c, d].map(|word| $pair(word).to_f32());
                [a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1]
            }
            #[inline(always)]
            fn pack(v: [f32; MOST]) -> [u32; 4] {
                [
                    $pair::from_f32(v[0], v[1]).0,
                    $pair::from_f32(v[2], v[3]).0,
                    $pair::from_f32(v[4], v[5]).0,
                    $pair::from_f32(v[6], v[7]).0,
                ]
            }
        }
    )*};
}
packed_pairs!(F16 in F16x2, Bf16 in Bf16x2);

/// 16 bytes an access.
pub(super) struct Quad<T>(PhantomData<T>);

impl<T: Packed> Access for Quad<T> {
    type Element = T;
    type Raw = [u32; 4];
    const PER: usize = T::PER_QUAD;
    #[inline(always)]
    fn zeros() -> [u32; 4] {
        [0; 4]
    }
    #[inline(always)]
    fn ones() -> [u32; 4] {
        T::pack([1.0; MOST])
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> [u32; 4] {
        // SAFETY: the caller's promise; inputs are not written while the kernel runs.
        unsafe { load4_streaming(from.cast::<u32>()) }
    }
    #[inline(always)]
    unsafe fn load_shared(from: *const T) -> [u32; 4] {
        // SAFETY: as for `load`.
        unsafe { load4_readonly(from.cast::<u32>()) }
    }
    #[inline(always)]
    fn again(raw: [u32; 4], zero: u32) -> [u32; 4] {
        raw.map(|word| word ^ zero)
    }
    #[inline(always)]
    unsafe fn leave(raw: [u32; 4], tile: Shared<u32>, place: u32) {
        // SAFETY: the caller's promise.
        unsafe { tile.store4(4 * place, raw) }
    }
    #[inline(always)]
    unsafe fn left(tile: Shared<u32>, place: u32) -> [u32; 4] {
        // SAFETY: the caller's promise.
        unsafe { tile.load4(4 * place) }
    }
    #[inline(always)]
    fn unpack(raw: [u32; 4]) -> [f32; MOST] {
        T::unpack(raw)
    }
    #[inline(always)]
    unsafe fn store(to: *mut T, values: [f32; MOST]) {
        // SAFETY: the caller's promise.
        unsafe { store4_streaming(to.cast::<u32>(), T::pack(values)) }
    }
}

/// Writes the first `A::PER` values as f32.
///
/// # Safety
/// `to` has room for them, is aligned to 16 bytes where `PER` is more than one, and is this
/// thread's to write.
#[inline(always)]
pub(super) unsafe fn store_f32<A: Access>(to: *mut f32, v: [f32; MOST]) {
    // SAFETY: the caller's promise.
    unsafe {
        match A::PER {
            1 => *to = v[0],
            4 => crate::device::global::store4(to, [v[0], v[1], v[2], v[3]]),
            _ => {
                crate::device::global::store4(to, [v[0], v[1], v[2], v[3]]);
                crate::device::global::store4(to.add(4), [v[4], v[5], v[6], v[7]]);
            }
        }
    }
}
