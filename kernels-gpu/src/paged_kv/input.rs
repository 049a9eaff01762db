//! Numbers in a type that is named at run time: a branch that all threads take together.

pub(super) use crate::attention::fresh;

use super::{TYPE_F16, TYPE_F32};
use crate::device::half::{Bf16, Element, F16};

/// Calls `each` with 0, 1, …, `n` − 1 in a loop that is not unrolled.
#[inline(always)]
pub(super) fn times(n: u32, mut each: impl FnMut(u32)) {
    let mut i = 0;
    while i < fresh(n) {
        each(i);
        i += 1;
    }
}

/// Number `at` of `from`, as f32.
///
/// # Safety
/// It is there, and has the type that `code` names.
#[inline(always)]
pub(super) unsafe fn load(from: *const u8, code: u32, at: usize) -> f32 {
    let code = fresh(code);
    // SAFETY: the caller's promise.
    unsafe {
        if code == TYPE_F32 {
            return *from.cast::<f32>().add(at);
        }
        let bits = *from.cast::<u16>().add(at);
        if code == TYPE_F16 {
            F16(bits).to_f32()
        } else {
            Bf16(bits).to_f32()
        }
    }
}

/// Writes number `at` of `to`, rounded to the type.
///
/// # Safety
/// As for [`load`], and the place is this thread's.
#[inline(always)]
pub(super) unsafe fn store(to: *mut u8, code: u32, at: usize, x: f32) {
    let code = fresh(code);
    // SAFETY: the caller's promise.
    unsafe {
        if code == TYPE_F32 {
            *to.cast::<f32>().add(at) = x;
            return;
        }
        let bits = if code == TYPE_F16 {
            F16::from_f32(x).0
        } else {
            Bf16::from_f32(x).0
        };
        *to.cast::<u16>().add(at) = bits;
    }
}
