//! f16 and bf16: single values as their 16 bits, and packed pairs in one 32-bit register, the lower
//! index in the lower half.

use core::arch::asm;

/// An IEEE binary16 value, by its bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F16(pub u16);

/// A bfloat16 value, by its bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Bf16(pub u16);

/// Two [`F16`]s in a register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F16x2(pub u32);

/// Two [`Bf16`]s in a register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Bf16x2(pub u32);

/// A number a kernel reads or writes; arithmetic is in f32.
pub trait Element: Copy {
    /// The value as f32, exactly.
    fn to_f32(self) -> f32;
    /// The nearest value, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }
}

impl Element for F16 {
    /// `cvt.f32.f16`
    #[inline(always)]
    fn to_f32(self) -> f32 {
        let x: f32;
        // SAFETY: arithmetic.
        unsafe {
            asm!("cvt.f32.f16 {o}, {i};", o = out(reg32) x, i = in(reg16) self.0,
                options(pure, nomem, nostack, preserves_flags));
        }
        x
    }
    /// `cvt.rn.f16.f32`
    #[inline(always)]
    fn from_f32(x: f32) -> F16 {
        let bits: u16;
        // SAFETY: arithmetic.
        unsafe {
            asm!("cvt.rn.f16.f32 {o}, {i};", o = out(reg16) bits, i = in(reg32) x,
                options(pure, nomem, nostack, preserves_flags));
        }
        F16(bits)
    }
}

impl Element for Bf16 {
    /// A shift: bf16 is the upper half of an f32.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    /// `cvt.rn.bf16.f32`
    #[inline(always)]
    fn from_f32(x: f32) -> Bf16 {
        let bits: u16;
        // SAFETY: arithmetic.
        unsafe {
            asm!("cvt.rn.bf16.f32 {o}, {i};", o = out(reg16) bits, i = in(reg32) x,
                options(pure, nomem, nostack, preserves_flags));
        }
        Bf16(bits)
    }
}

macro_rules! pair {
    ($pair:ident, $half:ident, $cvt:literal, $fma:literal) => {
        impl $pair {
            /// Both values rounded to nearest even and packed: one `cvt.rn.…x2.f32`.
            #[inline(always)]
            pub fn from_f32(low: f32, high: f32) -> $pair {
                let bits: u32;
                // SAFETY: arithmetic.
                unsafe {
                    asm!($cvt, o = out(reg32) bits, h = in(reg32) high, l = in(reg32) low,
                        options(pure, nomem, nostack, preserves_flags));
                }
                $pair(bits)
            }

            /// The value in the lower half.
            #[inline(always)]
            pub fn low(self) -> $half {
                $half(self.0 as u16)
            }

            /// The value in the upper half.
            #[inline(always)]
            pub fn high(self) -> $half {
                $half((self.0 >> 16) as u16)
            }

            /// Both values as f32, lower first.
            #[inline(always)]
            pub fn to_f32(self) -> (f32, f32) {
                (self.low().to_f32(), self.high().to_f32())
            }

            /// `self·b + c`, each half rounded once: `fma.rn.…x2`.
            #[inline(always)]
            pub fn fma(self, b: $pair, c: $pair) -> $pair {
                let bits: u32;
                // SAFETY: arithmetic.
                unsafe {
                    asm!($fma, o = out(reg32) bits, a = in(reg32) self.0, b = in(reg32) b.0,
                        c = in(reg32) c.0, options(pure, nomem, nostack, preserves_flags));
                }
                $pair(bits)
            }
        }
    };
}

pair!(
    F16x2,
    F16,
    "cvt.rn.f16x2.f32 {o}, {h}, {l};",
    "fma.rn.f16x2 {o}, {a}, {b}, {c};"
);
pair!(
    Bf16x2,
    Bf16,
    "cvt.rn.bf16x2.f32 {o}, {h}, {l};",
    "fma.rn.bf16x2 {o}, {a}, {b}, {c};"
);
