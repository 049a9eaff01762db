//! Global memory in 128-bit steps. A warp whose lanes take consecutive quads touches 512 contiguous
//! bytes: sixteen full sectors, no waste. Single values are plain `*pointer` reads and writes.
//!
//! Pointers are kernel parameters or offsets from them; quads are aligned to 16 bytes.

use core::arch::asm;

/// A 32-bit value.
pub trait Word: Copy {
    #[doc(hidden)]
    fn to_bits(self) -> u32;
    #[doc(hidden)]
    fn from_bits(bits: u32) -> Self;
}

impl Word for u32 {
    #[inline(always)]
    fn to_bits(self) -> u32 {
        self
    }
    #[inline(always)]
    fn from_bits(bits: u32) -> u32 {
        bits
    }
}

impl Word for i32 {
    #[inline(always)]
    fn to_bits(self) -> u32 {
        self as u32
    }
    #[inline(always)]
    fn from_bits(bits: u32) -> i32 {
        bits as i32
    }
}

impl Word for f32 {
    #[inline(always)]
    fn to_bits(self) -> u32 {
        self.to_bits()
    }
    #[inline(always)]
    fn from_bits(bits: u32) -> f32 {
        f32::from_bits(bits)
    }
}

/// Four words that move together. Read field by field it is one `v4.b32`; copied whole, two b64.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Quad(u32, u32, u32, u32);

#[inline(always)]
fn words<T: Word>(a: u32, b: u32, c: u32, d: u32) -> [T; 4] {
    [
        T::from_bits(a),
        T::from_bits(b),
        T::from_bits(c),
        T::from_bits(d),
    ]
}

/// Four consecutive words through the caches: `ld.global.v4.b32`.
///
/// # Safety
/// `from` is aligned to 16 bytes and its 16 bytes are readable.
#[inline(always)]
pub unsafe fn load4<T: Word>(from: *const T) -> [T; 4] {
    // SAFETY: the caller's promise.
    let quad = unsafe { &*from.cast::<Quad>() };
    words(quad.0, quad.1, quad.2, quad.3)
}

/// Stores four consecutive words: `st.global.v4.b32`.
///
/// # Safety
/// `to` is aligned to 16 bytes and its 16 bytes are this thread's to write.
#[inline(always)]
pub unsafe fn store4<T: Word>(to: *mut T, value: [T; 4]) {
    let [a, b, c, d] = value;
    // SAFETY: the caller's promise.
    unsafe { *to.cast::<Quad>() = Quad(a.to_bits(), b.to_bits(), c.to_bits(), d.to_bits()) }
}

macro_rules! load4_by {
    ($($(#[$doc:meta])* $name:ident = $instruction:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `from` is aligned to 16 bytes, its 16 bytes are readable, and nothing writes them while
        /// the kernel runs.
        #[inline(always)]
        pub unsafe fn $name<T: Word>(from: *const T) -> [T; 4] {
            let (a, b, c, d): (u32, u32, u32, u32);
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "{{ .reg .b64 g; cvta.to.global.u64 g, {p};",
                    concat!($instruction, " {{{a}, {b}, {c}, {d}}}, [g]; }}"),
                    p = in(reg64) from, a = out(reg32) a, b = out(reg32) b, c = out(reg32) c,
                    d = out(reg32) d, options(pure, readonly, nostack, preserves_flags)
                );
            }
            words(a, b, c, d)
        }
    )*};
}

load4_by! {
    /// Four consecutive words through the read-only path: `ld.global.nc.v4.b32`.
    load4_readonly = "ld.global.nc.v4.b32";
    /// Four consecutive words that are read once, kept out of L1:
    /// `ld.global.nc.L1::no_allocate.v4.b32`.
    load4_streaming = "ld.global.nc.L1::no_allocate.v4.b32";
}

/// [`load4_streaming`] without a branch: where the condition does not hold, `words` stay as they are.
///
/// # Safety
/// As for [`load4_streaming`], where the condition holds.
#[inline(always)]
pub unsafe fn load4_streaming_if(condition: bool, from: *const u32, words: &mut [u32; 4]) {
    let [a, b, c, d] = words;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; .reg .pred p; setp.ne.u32 p, {w}, 0; cvta.to.global.u64 g, {p};",
            "@p ld.global.nc.L1::no_allocate.v4.b32 {{{a}, {b}, {c}, {d}}}, [g]; }}",
            w = in(reg32) u32::from(condition), p = in(reg64) from, a = inout(reg32) *a,
            b = inout(reg32) *b, c = inout(reg32) *c, d = inout(reg32) *d,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
}

/// Stores four consecutive words that nobody reads again soon: `st.global.cs.v4.b32`.
///
/// # Safety
/// `to` is aligned to 16 bytes and its 16 bytes are this thread's to write.
#[inline(always)]
pub unsafe fn store4_streaming<T: Word>(to: *mut T, value: [T; 4]) {
    let [a, b, c, d] = value;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; cvta.to.global.u64 g, {p};",
            "st.global.cs.v4.b32 [g], {{{a}, {b}, {c}, {d}}}; }}",
            p = in(reg64) to, a = in(reg32) a.to_bits(), b = in(reg32) b.to_bits(),
            c = in(reg32) c.to_bits(), d = in(reg32) d.to_bits(),
            options(nostack, preserves_flags)
        );
    }
}

/// One word through the read-only path: `ld.global.nc.b32`.
///
/// # Safety
/// `from` is aligned and readable, and nothing writes it while the kernel runs.
#[inline(always)]
pub unsafe fn load_readonly<T: Word>(from: *const T) -> T {
    let bits: u32;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; cvta.to.global.u64 g, {p}; ld.global.nc.b32 {o}, [g]; }}",
            p = in(reg64) from, o = out(reg32) bits,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    T::from_bits(bits)
}
