//! How pages hold vectors, and how they are read: component by component, or as the factors of the
//! tensor cores.
//!
//! | format | bytes of a vector | value |
//! |---|---|---|
//! | f16, bf16 | 2·D | the number |
//! | int8 | D, and an f16 scale | code·scale |
//! | int4 | ⌈D/2⌉, and f16 scale and zero point | (code − zero)·scale |

use crate::attention::Half;
use crate::device::half::{Bf16, Bf16x2, Element, F16};
use crate::device::matrix::FragmentB;
use core::arch::asm;

/// The pages of k or of v.
#[derive(Clone, Copy)]
pub(super) struct Pages {
    pub(super) codes: *const u8,
    /// One a vector, where the format has it.
    pub(super) scale: *const F16,
    /// One a vector, where the format has it.
    pub(super) zero: *const F16,
}

/// Codes of a byte, to be multiplied by a scale.
pub(super) struct Int8;
/// Codes of half a byte, with a zero point and a scale.
pub(super) struct Int4;

/// A format of pages, to be read.
pub(super) trait Format {
    /// Component `column` of vector `vector`.
    ///
    /// # Safety
    /// The pages hold it.
    unsafe fn value(pages: Pages, vector: usize, column: u32, d: u32) -> f32;
}

macro_rules! halves {
    ($($half:ty),*) => {$(
        impl Format for $half {
            #[inline(always)]
            unsafe fn value(pages: Pages, vector: usize, column: u32, d: u32) -> f32 {
                let at = vector * d as usize + column as usize;
                // SAFETY: the caller's promise.
                unsafe { (*pages.codes.cast::<$half>().add(at)).to_f32() }
            }
        }
    )*};
}

halves!(F16, Bf16);

impl Format for Int8 {
    #[inline(always)]
    unsafe fn value(pages: Pages, vector: usize, column: u32, d: u32) -> f32 {
        let at = vector * d as usize + column as usize;
        // SAFETY: the caller's promise.
        unsafe {
            let code = *pages.codes.cast::<i8>().add(at);
            f32::from(code) * (*pages.scale.add(vector)).to_f32()
        }
    }
}

impl Format for Int4 {
    #[inline(always)]
    unsafe fn value(pages: Pages, vector: usize, column: u32, d: u32) -> f32 {
        let at = vector * d.div_ceil(2) as usize + column as usize / 2;
        // SAFETY: the caller's promise.
        unsafe {
            let code = *pages.codes.add(at) >> (4 * (column % 2)) & 15;
            let zero = (*pages.zero.add(vector)).to_f32();
            (f32::from(code) - zero) * (*pages.scale.add(vector)).to_f32()
        }
    }
}

/// A format as factors of `mma.m16n8k16`, from words as they are loaded.
///
/// A product of q and k may take its components in any order, as long as both factors do: a lane
/// loads whole runs of words of its key, and component e (0–3) of the lane's fragment of step s is
/// number [`order`](Factor::order)`(4·s + e)` of what it loaded. A fragment of v needs two keys in
/// a register: the words of two keys are woven, and column n of the lane's is number n of what it
/// loaded.
pub(super) trait Factor: Format {
    /// What is multiplied.
    type Half: Half;
    /// Components of a word.
    const PER_WORD: u32;
    /// Whether codes come with a scale.
    const SCALED: bool;
    /// Whether codes come with a zero point.
    const ZERO: bool;
    /// Where component `4·step + e` of a lane's fragments lies among what the lane loaded.
    fn order(index: u32) -> u32;
    /// The right factor of q·kᵀ of step `step`, from the lane's words of its key.
    fn key<const W: usize>(words: &[u32; W], step: usize) -> FragmentB;
    /// Column `column` of two keys as a register, from the lane's words of both.
    fn pair<const W: usize>(first: &[u32; W], second: &[u32; W], column: usize) -> u32;
}

/// The lower halves of two words, or the upper ones: `prmt`.
#[inline(always)]
fn weave(first: u32, second: u32, upper: bool) -> u32 {
    let selector = if upper { 0x7632 } else { 0x5410 };
    let woven: u32;
    // SAFETY: arithmetic.
    unsafe {
        asm!("prmt.b32 {o}, {a}, {b}, {s};", o = out(reg32) woven, a = in(reg32) first,
            b = in(reg32) second, s = in(reg32) selector,
            options(pure, nomem, nostack, preserves_flags));
    }
    woven
}

/// The bits of a mask, put into 128 in both halves as bf16, whose seven low bits are whole numbers.
#[inline(always)]
fn onto_base(x: u32, mask: u32) -> Bf16x2 {
    const BASE: u32 = 0x4300_4300;
    let put: u32;
    // SAFETY: arithmetic; 0xea is (a & b) | c.
    unsafe {
        asm!("lop3.b32 {o}, {a}, {b}, {c}, 0xea;", o = out(reg32) put, a = in(reg32) x,
            b = in(reg32) mask, c = in(reg32) BASE,
            options(pure, nomem, nostack, preserves_flags));
    }
    Bf16x2(put)
}

macro_rules! factor_of_halves {
    ($($half:ty),*) => {$(
        impl Factor for $half {
            type Half = $half;
            const PER_WORD: u32 = 2;
            const SCALED: bool = false;
            const ZERO: bool = false;
            #[inline(always)]
            fn order(index: u32) -> u32 {
                index
            }
            #[inline(always)]
            fn key<const W: usize>(words: &[u32; W], step: usize) -> FragmentB {
                [words[2 * step], words[2 * step + 1]]
            }
            #[inline(always)]
            fn pair<const W: usize>(a: &[u32; W], b: &[u32; W], column: usize) -> u32 {
                weave(a[column / 2], b[column / 2], column % 2 == 1)
            }
        }
    )*};
}

factor_of_halves!(F16, Bf16);

/// Two signed bytes, in the lower bytes of both halves, as bf16: the seven low bits, less 128 where
/// the sign is set. Both terms and the difference are exact.
#[inline(always)]
fn signed_bytes(x: u32) -> u32 {
    let low = onto_base(x, 0x007f_007f);
    // 128, or 256 with the sign's bit.
    let sign = onto_base(x, 0x0080_0080);
    sign.fma(Bf16x2(0xbf80_bf80), low).0
}

impl Factor for Int8 {
    type Half = Bf16;
    const PER_WORD: u32 = 4;
    const SCALED: bool = true;
    const ZERO: bool = false;
    #[inline(always)]
    fn order(index: u32) -> u32 {
        // Bytes 0 and 2, then 1 and 3.
        let e = index % 4;
        index - e + 2 * (e % 2) + e / 2
    }
    #[inline(always)]
    fn key<const W: usize>(words: &[u32; W], step: usize) -> FragmentB {
        [signed_bytes(words[step]), signed_bytes(words[step] >> 8)]
    }
    #[inline(always)]
    fn pair<const W: usize>(a: &[u32; W], b: &[u32; W], column: usize) -> u32 {
        let woven = weave(a[column / 4], b[column / 4], column % 4 >= 2);
        signed_bytes(woven >> (8 * (column % 2)))
    }
}

/// Two codes, in the lowest four bits of both halves, as bf16.
#[inline(always)]
fn nibbles(x: u32) -> u32 {
    // 1·(128 + code) − 128
    onto_base(x, 0x000f_000f)
        .fma(Bf16x2(0x3f80_3f80), Bf16x2(0xc300_c300))
        .0
}

impl Factor for Int4 {
    type Half = Bf16;
    const PER_WORD: u32 = 8;
    const SCALED: bool = true;
    const ZERO: bool = true;
    #[inline(always)]
    fn order(index: u32) -> u32 {
        // Codes n and n + 4 for n = 0, 1, 2, 3.
        let e = index % 8;
        index - e + 4 * (e % 2) + e / 2
    }
    #[inline(always)]
    fn key<const W: usize>(words: &[u32; W], step: usize) -> FragmentB {
        let x = words[step / 2] >> (8 * (step % 2));
        [nibbles(x), nibbles(x >> 4)]
    }
    #[inline(always)]
    fn pair<const W: usize>(a: &[u32; W], b: &[u32; W], column: usize) -> u32 {
        let woven = weave(a[column / 8], b[column / 8], column % 8 >= 4);
        nibbles(woven >> (4 * (column % 4)))
    }
}
