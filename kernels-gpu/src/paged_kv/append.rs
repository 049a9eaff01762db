//! Writing vectors into their slots: copied, or quantised on the way; keys rotated first if asked.

use super::APPEND_WARPS;
use super::input::{fresh, load};
use crate::device::half::{Bf16, Element, F16};
use crate::device::reduce::{self, Max};
use crate::device::{thread, warp};
use core::arch::asm;

/// A token's k or v of one head, as it comes.
#[derive(Clone, Copy)]
struct Vector {
    from: *const u8,
    number_type: u32,
    /// Its first number among all.
    start: usize,
    d: u32,
    /// Its row of the tables; null where it is not rotated.
    cos: *const f32,
    sin: *const f32,
    interleaved: bool,
}

impl Vector {
    /// # Safety
    /// `column < d`.
    #[inline(always)]
    unsafe fn given(self, column: u32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { load(self.from, self.number_type, self.start + column as usize) }
    }

    /// A component as it is to be stored: rotated, `x_a·cos − x_b·sin` and `x_b·cos + x_a·sin`.
    ///
    /// # Safety
    /// `column < d`.
    #[inline(always)]
    unsafe fn component(self, column: u32) -> f32 {
        // SAFETY: the caller's promise.
        let x = unsafe { self.given(column) };
        if self.cos.is_null() {
            return x;
        }
        let half = self.d / 2;
        let (frequency, other, first) = if self.interleaved {
            (column / 2, column ^ 1, column % 2 == 0)
        } else if column < half {
            (column, column + half, true)
        } else {
            (column - half, column - half, false)
        };
        // SAFETY: frequency < d/2 and other < d, d being even.
        unsafe {
            let turned = x * *self.cos.add(frequency as usize);
            let other = self.given(other) * *self.sin.add(frequency as usize);
            if first {
                turned - other
            } else {
                turned + other
            }
        }
    }

    /// Calls `each` with every component that is this lane's.
    ///
    /// # Safety
    /// The vector is there.
    #[inline(always)]
    unsafe fn each(self, mut each: impl FnMut(u32, f32)) {
        let mut column = fresh(warp::lane_id());
        while column < self.d {
            // SAFETY: column < d.
            each(column, unsafe { self.component(column) });
            column += warp::SIZE;
        }
    }
}

/// Rounded to a whole number, ties to even: `cvt.rni.f32.f32`.
#[inline(always)]
fn round_half_even(x: f32) -> f32 {
    let rounded: f32;
    // SAFETY: arithmetic.
    unsafe {
        asm!("cvt.rni.f32.f32 {o}, {i};", o = out(reg32) rounded, i = in(reg32) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    rounded
}

/// The whole number nearest to `x` between `low` and `high`.
#[inline(always)]
fn code(x: f32, low: f32, high: f32) -> i32 {
    let code = round_half_even(x).max(low).min(high);
    // SAFETY: between low and high, which are small.
    unsafe { code.to_int_unchecked() }
}

const NAN: F16 = F16(0x7e00);
const ONE: F16 = F16(0x3c00);

/// Whether an f16 is infinite.
#[inline(always)]
fn infinite(x: F16) -> bool {
    x.0 & 0x7fff == 0x7c00
}

/// The greatest and the least component, and whether any is NaN or infinite; all lanes together.
///
/// # Safety
/// The vector is there.
#[inline(always)]
unsafe fn range(vector: Vector) -> (f32, f32, bool) {
    let (mut max, mut negated, mut odd) = (f32::NEG_INFINITY, f32::NEG_INFINITY, false);
    // SAFETY: the caller's promise.
    unsafe {
        vector.each(|_, x| {
            max = max.max(x);
            negated = negated.max(-x);
            odd |= !x.is_finite();
        });
    }
    let odd = warp::vote_any(warp::FULL, odd);
    (reduce::warp(Max(max)).0, -reduce::warp(Max(negated)).0, odd)
}

/// A format of pages, to be written.
trait Store {
    /// Writes vector number `at`, all lanes together.
    ///
    /// # Safety
    /// The vector is there; the pages, and where the format has them scales and zero points, have
    /// room for it, and it is this warp's.
    unsafe fn write(vector: Vector, pages: *mut u8, scale: *mut F16, zero: *mut F16, at: usize);
}

macro_rules! store_halves {
    ($($half:ident),*) => {$(
        impl Store for $half {
            #[inline(always)]
            unsafe fn write(x: Vector, pages: *mut u8, _: *mut F16, _: *mut F16, at: usize) {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = pages.cast::<$half>().add(at * x.d as usize);
                    x.each(|column, x| *to.add(column as usize) = $half::from_f32(x));
                }
            }
        }
    )*};
}

store_halves!(F16, Bf16);

/// `scale = f16(amax/127)`, `code = clamp(round(x/scale), −127, 127)`.
struct Int8;

impl Store for Int8 {
    #[inline(always)]
    unsafe fn write(x: Vector, pages: *mut u8, scale: *mut F16, _: *mut F16, at: usize) {
        // SAFETY: the caller's promise.
        let (max, min, odd) = unsafe { range(x) };
        // The scale is rounded to f16 before it is used.
        let mut step = F16::from_f32(max.max(-min) / 127.0);
        if odd || infinite(step) {
            step = NAN;
        }
        let divisor = step.to_f32();
        // SAFETY: the caller's promise.
        unsafe {
            let to = pages.add(at * x.d as usize);
            x.each(|column, x| {
                let code = if divisor > 0.0 {
                    code(x / divisor, -127.0, 127.0)
                } else {
                    0
                };
                *to.add(column as usize) = code as u8;
            });
            if warp::lane_id() == 0 {
                *scale.add(at) = step;
            }
        }
    }
}

/// `scale = f16((max − min)/15)`, `zero = f16(−min/scale)`,
/// `code = clamp(round(x/scale + zero), 0, 15)`, two a byte, the first in the low half.
struct Int4;

impl Store for Int4 {
    #[inline(always)]
    unsafe fn write(x: Vector, pages: *mut u8, scale: *mut F16, zero: *mut F16, at: usize) {
        // SAFETY: the caller's promise.
        let (max, min, odd) = unsafe { range(x) };
        let mut step = F16::from_f32((max - min) / 15.0);
        let mut origin = F16::from_f32(-min / step.to_f32());
        // A constant vector, a range below f16, or one so far from 0 that its zero point is beyond
        // f16: the constant.
        if step.0 == 0 || (infinite(origin) && !infinite(step)) {
            (step, origin) = (ONE, F16::from_f32(-min));
        }
        if odd || infinite(step) || infinite(origin) {
            (step, origin) = (NAN, F16(0));
        }
        let (divisor, shift) = (step.to_f32(), origin.to_f32());
        // SAFETY: the caller's promise; a lane's byte holds two components.
        unsafe {
            let to = pages.add(at * x.d.div_ceil(2) as usize);
            let mut byte = fresh(warp::lane_id());
            while 2 * byte < x.d {
                let mut codes = 0;
                let mut half = 0;
                while half < fresh(2) && 2 * byte + half < x.d {
                    if divisor > 0.0 {
                        let x = x.component(2 * byte + half) / divisor + shift;
                        codes |= code(x, 0.0, 15.0) << (4 * half);
                    }
                    half += 1;
                }
                *to.add(byte as usize) = codes as u8;
                byte += warp::SIZE;
            }
            if warp::lane_id() == 0 {
                *scale.add(at) = step;
                *zero.add(at) = origin;
            }
        }
    }
}

/// Grid: ⌈tokens·heads / 4⌉ × 2 blocks of 128: a warp a vector, of k where y is 0, of v where it is 1.
///
/// # Safety
/// k and v have `tokens·heads·d` numbers of the type that is named, each slot is in the pages and
/// named once; positions are null or rows of cos and sin, `d/2` numbers each.
#[inline(always)]
unsafe fn append<F: Store>(
    given: [*const u8; 2],
    pages: [*mut u8; 2],
    scales: [*mut F16; 2],
    zeros: [*mut F16; 2],
    slots: *const i32,
    positions: *const i32,
    tables: [*const f32; 2],
    tokens: u32,
    heads: u32,
    d: u32,
    number_type: u32,
    interleaved: u32,
) {
    let number = thread::block_idx_x() * APPEND_WARPS + warp::warp_id();
    if number >= tokens * heads {
        return;
    }
    let (token, head) = (number / heads, number % heads);
    let values = thread::block_idx_y() == 1;
    let mut vector = Vector {
        from: if values { given[1] } else { given[0] },
        number_type,
        start: number as usize * d as usize,
        d,
        cos: core::ptr::null(),
        sin: core::ptr::null(),
        interleaved: interleaved != 0,
    };
    if !values && !positions.is_null() {
        // SAFETY: token < tokens, and its position is a row of the tables.
        unsafe {
            let row = *positions.add(token as usize) as usize * (d / 2) as usize;
            (vector.cos, vector.sin) = (tables[0].add(row), tables[1].add(row));
        }
    }
    // SAFETY: token < tokens; the slot is in the pages, and nobody else's.
    unsafe {
        let at = *slots.add(token as usize) as usize * heads as usize + head as usize;
        let of = |pair: [*mut F16; 2]| if values { pair[1] } else { pair[0] };
        let pages = if values { pages[1] } else { pages[0] };
        F::write(vector, pages, of(scales), of(zeros), at);
    }
}

macro_rules! entries {
    ($($name:ident: $format:ty;)*) => {$(
        /// Appends.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            k: *const u8, v: *const u8, k_pages: *mut u8, v_pages: *mut u8, k_scale: *mut F16,
            v_scale: *mut F16, k_zero: *mut F16, v_zero: *mut F16, slots: *const i32,
            positions: *const i32, cos: *const f32, sin: *const f32, tokens: u32, heads: u32,
            d: u32, number_type: u32, interleaved: u32,
        ) {
            // SAFETY: the launch gives what `append` asks for.
            unsafe {
                append::<$format>([k, v], [k_pages, v_pages], [k_scale, v_scale],
                    [k_zero, v_zero], slots, positions, [cos, sin], tokens, heads, d,
                    number_type, interleaved);
            }
        }
    )*};
}

entries! {
    paged_append_f16: F16;
    paged_append_bf16: Bf16;
    paged_append_int8: Int8;
    paged_append_int4: Int4;
}
