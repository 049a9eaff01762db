//! Words of the pages, where there is something to be read.

use crate::device::half::F16;
use core::arch::asm;

/// Loads `W` words in runs of `RUN` (1, 2 or 4), `stride` bytes from run to run; zeros, and no
/// access, where `exists` does not hold.
///
/// # Safety
/// Where it exists each run is readable, aligned to its length, and not written meanwhile.
#[inline(always)]
pub(super) unsafe fn load_runs<const W: usize, const RUN: usize>(
    from: *const u8,
    stride: usize,
    exists: bool,
) -> [u32; W] {
    let mut words = [0; W];
    for run in 0..W / RUN {
        let at = from.wrapping_add(run * stride);
        // SAFETY: the caller's promise.
        unsafe {
            match RUN {
                4 => {
                    let [a, b, c, d] = load_4(at, exists);
                    words[4 * run] = a;
                    words[4 * run + 1] = b;
                    words[4 * run + 2] = c;
                    words[4 * run + 3] = d;
                }
                2 => {
                    let [a, b] = load_2(at, exists);
                    words[2 * run] = a;
                    words[2 * run + 1] = b;
                }
                _ => words[run] = load_1(at, exists),
            }
        }
    }
    words
}

#[inline(always)]
unsafe fn load_4(from: *const u8, exists: bool) -> [u32; 4] {
    let (a, b, c, d): (u32, u32, u32, u32);
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; .reg .pred p; setp.ne.u32 p, {x}, 0; cvta.to.global.u64 g, {f};",
            "mov.b32 {a}, 0; mov.b32 {b}, 0; mov.b32 {c}, 0; mov.b32 {d}, 0;",
            "@p ld.global.nc.L1::no_allocate.v4.b32 {{{a}, {b}, {c}, {d}}}, [g]; }}",
            x = in(reg32) u32::from(exists), f = in(reg64) from, a = out(reg32) a,
            b = out(reg32) b, c = out(reg32) c, d = out(reg32) d,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

#[inline(always)]
unsafe fn load_2(from: *const u8, exists: bool) -> [u32; 2] {
    let (a, b): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; .reg .pred p; setp.ne.u32 p, {x}, 0; cvta.to.global.u64 g, {f};",
            "mov.b32 {a}, 0; mov.b32 {b}, 0;",
            "@p ld.global.nc.v2.b32 {{{a}, {b}}}, [g]; }}",
            x = in(reg32) u32::from(exists), f = in(reg64) from, a = out(reg32) a,
            b = out(reg32) b, options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b]
}

#[inline(always)]
unsafe fn load_1(from: *const u8, exists: bool) -> u32 {
    let a: u32;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; .reg .pred p; setp.ne.u32 p, {x}, 0; cvta.to.global.u64 g, {f};",
            "mov.b32 {a}, 0; @p ld.global.nc.b32 {a}, [g]; }}",
            x = in(reg32) u32::from(exists), f = in(reg64) from, a = out(reg32) a,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    a
}

/// Number `at` of scales or zero points, as f32; 0 where it does not exist.
///
/// # Safety
/// Where it exists it is readable and not written meanwhile.
#[inline(always)]
pub(super) unsafe fn load_f16(from: *const F16, at: usize, exists: bool) -> f32 {
    let value: f32;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; .reg .pred p; .reg .b16 h; setp.ne.u32 p, {x}, 0;",
            "cvta.to.global.u64 g, {f}; mov.b16 h, 0; @p ld.global.nc.b16 h, [g];",
            "cvt.f32.f16 {o}, h; }}",
            x = in(reg32) u32::from(exists), f = in(reg64) from.wrapping_add(at),
            o = out(reg32) value, options(pure, readonly, nostack, preserves_flags)
        );
    }
    value
}
