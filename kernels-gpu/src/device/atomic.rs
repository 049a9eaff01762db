//! Atomic read-modify-write on global and shared memory, relaxed, visible to the whole device.
//! Each function returns the value that was there before; when it is not used the compiler of PTX
//! makes a reduction (RED) of it.
//!
//! Float addition depends on the order of arrival: kernels that promise the same bits on each run
//! do not use it.

use super::shared::Shared;
use core::arch::asm;

/// A type with atomic operations.
pub trait Atomic: Copy {
    #[doc(hidden)]
    unsafe fn global_add(to: *mut Self, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn global_max(to: *mut Self, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn global_min(to: *mut Self, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn global_exchange(to: *mut Self, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn global_cas(to: *mut Self, expected: Self, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn shared_add(to: u32, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn shared_max(to: u32, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn shared_min(to: u32, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn shared_exchange(to: u32, value: Self) -> Self;
    #[doc(hidden)]
    unsafe fn shared_cas(to: u32, expected: Self, value: Self) -> Self;
}

macro_rules! global {
    ($class:ident, $op:literal, $to:ident, $value:expr) => {{
        let old;
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "{{ .reg .b64 g; cvta.to.global.u64 g, {p};",
                concat!("atom.global.", $op, " {o}, [g], {v}; }}"),
                p = in(reg64) $to, o = out($class) old, v = in($class) $value,
                options(nostack, preserves_flags)
            );
        }
        old
    }};
}

macro_rules! global_cas {
    ($class:ident, $op:literal, $to:ident, $expected:expr, $value:expr) => {{
        let old;
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "{{ .reg .b64 g; cvta.to.global.u64 g, {p};",
                concat!("atom.global.", $op, " {o}, [g], {e}, {v}; }}"),
                p = in(reg64) $to, o = out($class) old, e = in($class) $expected,
                v = in($class) $value, options(nostack, preserves_flags)
            );
        }
        old
    }};
}

macro_rules! shared {
    ($class:ident, $op:literal, $to:ident, $value:expr) => {{
        let old;
        // SAFETY: the caller's promise.
        unsafe {
            asm!(concat!("atom.shared.", $op, " {o}, [{p}], {v};"), p = in(reg32) $to,
                o = out($class) old, v = in($class) $value, options(nostack, preserves_flags));
        }
        old
    }};
}

macro_rules! shared_cas {
    ($class:ident, $op:literal, $to:ident, $expected:expr, $value:expr) => {{
        let old;
        // SAFETY: the caller's promise.
        unsafe {
            asm!(concat!("atom.shared.", $op, " {o}, [{p}], {e}, {v};"), p = in(reg32) $to,
                o = out($class) old, e = in($class) $expected, v = in($class) $value,
                options(nostack, preserves_flags));
        }
        old
    }};
}

macro_rules! integer {
    ($t:ty, $class:ident, $add:literal, $max:literal, $min:literal, $exch:literal, $cas:literal) => {
        impl Atomic for $t {
            #[inline(always)]
            unsafe fn global_add(to: *mut Self, value: Self) -> Self {
                global!($class, $add, to, value)
            }
            #[inline(always)]
            unsafe fn global_max(to: *mut Self, value: Self) -> Self {
                global!($class, $max, to, value)
            }
            #[inline(always)]
            unsafe fn global_min(to: *mut Self, value: Self) -> Self {
                global!($class, $min, to, value)
            }
            #[inline(always)]
            unsafe fn global_exchange(to: *mut Self, value: Self) -> Self {
                global!($class, $exch, to, value)
            }
            #[inline(always)]
            unsafe fn global_cas(to: *mut Self, expected: Self, value: Self) -> Self {
                global_cas!($class, $cas, to, expected, value)
            }
            #[inline(always)]
            unsafe fn shared_add(to: u32, value: Self) -> Self {
                shared!($class, $add, to, value)
            }
            #[inline(always)]
            unsafe fn shared_max(to: u32, value: Self) -> Self {
                shared!($class, $max, to, value)
            }
            #[inline(always)]
            unsafe fn shared_min(to: u32, value: Self) -> Self {
                shared!($class, $min, to, value)
            }
            #[inline(always)]
            unsafe fn shared_exchange(to: u32, value: Self) -> Self {
                shared!($class, $exch, to, value)
            }
            #[inline(always)]
            unsafe fn shared_cas(to: u32, expected: Self, value: Self) -> Self {
                shared_cas!($class, $cas, to, expected, value)
            }
        }
    };
}

integer!(
    u32, reg32, "add.u32", "max.u32", "min.u32", "exch.b32", "cas.b32"
);
integer!(
    i32, reg32, "add.u32", "max.s32", "min.s32", "exch.b32", "cas.b32"
);
integer!(
    u64, reg64, "add.u64", "max.u64", "min.u64", "exch.b64", "cas.b64"
);

/// The hardware has no float maximum: floats of one sign order as integers do, and negative ones in
/// reverse, so a value with its sign clear competes by signed maximum, one with its sign set by
/// unsigned minimum. −0 counts as less than +0.
impl Atomic for f32 {
    #[inline(always)]
    unsafe fn global_add(to: *mut f32, value: f32) -> f32 {
        global!(reg32, "add.f32", to, value)
    }
    #[inline(always)]
    unsafe fn global_max(to: *mut f32, value: f32) -> f32 {
        if value.is_sign_positive() {
            global!(reg32, "max.s32", to, value)
        } else {
            global!(reg32, "min.u32", to, value)
        }
    }
    #[inline(always)]
    unsafe fn global_min(to: *mut f32, value: f32) -> f32 {
        if value.is_sign_positive() {
            global!(reg32, "min.s32", to, value)
        } else {
            global!(reg32, "max.u32", to, value)
        }
    }
    #[inline(always)]
    unsafe fn global_exchange(to: *mut f32, value: f32) -> f32 {
        global!(reg32, "exch.b32", to, value)
    }
    #[inline(always)]
    unsafe fn global_cas(to: *mut f32, expected: f32, value: f32) -> f32 {
        global_cas!(reg32, "cas.b32", to, expected, value)
    }
    #[inline(always)]
    unsafe fn shared_add(to: u32, value: f32) -> f32 {
        shared!(reg32, "add.f32", to, value)
    }
    #[inline(always)]
    unsafe fn shared_max(to: u32, value: f32) -> f32 {
        if value.is_sign_positive() {
            shared!(reg32, "max.s32", to, value)
        } else {
            shared!(reg32, "min.u32", to, value)
        }
    }
    #[inline(always)]
    unsafe fn shared_min(to: u32, value: f32) -> f32 {
        if value.is_sign_positive() {
            shared!(reg32, "min.s32", to, value)
        } else {
            shared!(reg32, "max.u32", to, value)
        }
    }
    #[inline(always)]
    unsafe fn shared_exchange(to: u32, value: f32) -> f32 {
        shared!(reg32, "exch.b32", to, value)
    }
    #[inline(always)]
    unsafe fn shared_cas(to: u32, expected: f32, value: f32) -> f32 {
        shared_cas!(reg32, "cas.b32", to, expected, value)
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident, $on_shared:ident = $global:ident, $shared:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `to` is an aligned, valid global address that is accessed only atomically meanwhile.
        #[inline(always)]
        pub unsafe fn $name<T: Atomic>(to: *mut T, value: T) -> T {
            // SAFETY: the caller's promise.
            unsafe { T::$global(to, value) }
        }

        $(#[$doc])*
        /// In shared memory, on element `index` of `to`.
        ///
        /// # Safety
        /// The element lies within the block's shared memory and is accessed only atomically
        /// between two barriers.
        #[inline(always)]
        pub unsafe fn $on_shared<T: Atomic>(to: Shared<T>, index: u32, value: T) -> T {
            // SAFETY: the caller's promise.
            unsafe { T::$shared(to.address(index), value) }
        }
    )*};
}

operations! {
    /// Adds `value`: `atom.add`; integers wrap.
    add, add_shared = global_add, shared_add;
    /// Keeps the greater value: `atom.max`. Floats must not be NaN.
    max, max_shared = global_max, shared_max;
    /// Keeps the lesser value: `atom.min`. Floats must not be NaN.
    min, min_shared = global_min, shared_min;
    /// Puts `value` there: `atom.exch`.
    exchange, exchange_shared = global_exchange, shared_exchange;
}

/// Puts `value` there if `expected`, compared by its bits, is there: `atom.cas`.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn cas<T: Atomic>(to: *mut T, expected: T, value: T) -> T {
    // SAFETY: the caller's promise.
    unsafe { T::global_cas(to, expected, value) }
}

/// [`cas`] in shared memory, on element `index` of `to`.
///
/// # Safety
/// As for [`add_shared`].
#[inline(always)]
pub unsafe fn cas_shared<T: Atomic>(to: Shared<T>, index: u32, expected: T, value: T) -> T {
    // SAFETY: the caller's promise.
    unsafe { T::shared_cas(to.address(index), expected, value) }
}
