//! `cp.async`: copies from global to shared memory that run while the thread goes on.
//!
//! A thread issues copies, closes them into a group with [`commit`], and before anybody reads the
//! bytes waits with [`wait`] for its own groups and at a barrier for everybody else's.

#[cfg(target_arch = "nvptx64")]
use super::intrinsics;
use core::arch::asm;

macro_rules! copy {
    ($($(#[$doc:meta])* $name:ident = $instruction:literal, $bytes:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// Both addresses are aligned to the size of the copy; the source is readable; nobody
        /// touches the destination until the copy has been waited for.
        #[inline(always)]
        pub unsafe fn $name<T>(to: u32, from: *const T) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "{{ .reg .b64 g; cvta.to.global.u64 g, {p};",
                    concat!($instruction, " [{d}], [g], ", $bytes, "; }}"),
                    p = in(reg64) from, d = in(reg32) to, options(nostack, preserves_flags)
                );
            }
        }
    )*};
}

copy! {
    /// Copies 4 bytes to the shared address `to`: `cp.async.ca.shared.global …, 4`.
    copy_4 = "cp.async.ca.shared.global", "4";
    /// Copies 8 bytes to the shared address `to`: `cp.async.ca.shared.global …, 8`.
    copy_8 = "cp.async.ca.shared.global", "8";
    /// Copies 16 bytes to the shared address `to`, past L1: `cp.async.cg.shared.global …, 16`.
    copy_16 = "cp.async.cg.shared.global", "16";
}

/// Copies the first `valid` of 16 bytes (0–16) to the shared address `to` and writes zeros for the
/// rest: `cp.async.cg.shared.global …, 16, valid`. With `valid` 0 the source is not read.
///
/// # Safety
/// As for [`copy_16`], for the valid bytes.
#[inline(always)]
pub unsafe fn copy_16_or_zero<T>(to: u32, from: *const T, valid: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; cvta.to.global.u64 g, {p};",
            "cp.async.cg.shared.global [{d}], [g], 16, {n}; }}",
            p = in(reg64) from, d = in(reg32) to, n = in(reg32) valid,
            options(nostack, preserves_flags)
        );
    }
}

/// Closes this thread's copies since the last commit into a group: `cp.async.commit_group`.
#[inline(always)]
pub fn commit() {
    // SAFETY: touches no memory.
    unsafe { intrinsics::cp_async_commit_group() }
}

/// Waits until at most `PENDING` of this thread's latest groups are still under way:
/// `cp.async.wait_group`.
#[inline(always)]
pub fn wait<const PENDING: u32>() {
    // SAFETY: touches no memory.
    unsafe { intrinsics::cp_async_wait_group(PENDING) }
}

/// Waits for all of this thread's copies: `cp.async.wait_all`.
#[inline(always)]
pub fn wait_all() {
    // SAFETY: touches no memory.
    unsafe { intrinsics::cp_async_wait_all() }
}
