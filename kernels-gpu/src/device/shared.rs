//! Shared memory by 32-bit shared addresses.
//!
//! A Rust pointer to shared memory would be generic, and its accesses LD/ST that ask the hardware
//! which memory is meant. Here each access names its space and becomes LDS/STS.
//!
//! ```ignore
//! shared_tile!(fn scores: [f32; 1024]);          // at module level: 4 KiB, fixed
//! let scores = scores();                         // in a kernel
//! // SAFETY: thread_idx_x() < 1024 by the launch bound
//! unsafe { scores.store(thread_idx_x(), 0.0) };
//! sync_threads();
//! ```
//!
//! Sizes known only at launch come from [`dynamic`]. Contents are undefined until written.

use core::arch::asm;
use core::marker::PhantomData;

/// A value that shared memory is read and written in.
pub trait Scalar: Copy {
    #[doc(hidden)]
    /// # Safety
    /// `address` is a shared address of a whole, aligned value.
    unsafe fn load(address: u32) -> Self;
    #[doc(hidden)]
    /// # Safety
    /// As for `load`, and no other thread touches the value before the next barrier.
    unsafe fn store(address: u32, value: Self);
}

macro_rules! scalar {
    ($($t:ty, $class:ident, $bits:ty, $size:literal: $to:expr, $from:expr;)*) => {$(
        impl Scalar for $t {
            #[inline(always)]
            unsafe fn load(address: u32) -> Self {
                let bits: $bits;
                // SAFETY: the caller's promise.
                unsafe {
                    asm!(concat!("ld.shared.", $size, " {o}, [{a}];"), o = out($class) bits,
                        a = in(reg32) address, options(pure, readonly, nostack, preserves_flags));
                }
                $from(bits)
            }
            #[inline(always)]
            unsafe fn store(address: u32, value: Self) {
                let bits: $bits = $to(value);
                // SAFETY: the caller's promise.
                unsafe {
                    asm!(concat!("st.shared.", $size, " [{a}], {v};"), a = in(reg32) address,
                        v = in($class) bits, options(nostack, preserves_flags));
                }
            }
        }
    )*};
}

scalar! {
    u8, reg16, u16, "u8": |v: u8| u16::from(v), |v: u16| v as u8;
    u16, reg16, u16, "b16": |v| v, |v| v;
    u32, reg32, u32, "b32": |v| v, |v| v;
    i32, reg32, u32, "b32": |v: i32| v as u32, |v: u32| v as i32;
    f32, reg32, u32, "b32": f32::to_bits, f32::from_bits;
    u64, reg64, u64, "b64": |v| v, |v| v;
    f64, reg64, u64, "b64": f64::to_bits, f64::from_bits;
    super::half::F16, reg16, u16, "b16": |v: super::half::F16| v.0, super::half::F16;
    super::half::Bf16, reg16, u16, "b16": |v: super::half::Bf16| v.0, super::half::Bf16;
}

/// An array of `T` in shared memory, by the address of its first element. It knows no length: like
/// a pointer, but 32 bits wide and of one memory.
pub struct Shared<T> {
    address: u32,
    element: PhantomData<*mut T>,
}

impl<T> Clone for Shared<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// The array that begins at a shared address.
    #[inline(always)]
    pub fn at_address(address: u32) -> Self {
        Shared {
            address,
            element: PhantomData,
        }
    }

    /// The shared address of element `index`.
    #[inline(always)]
    pub fn address(self, index: u32) -> u32 {
        self.address
            .wrapping_add(index.wrapping_mul(size_of::<T>() as u32))
    }

    /// The array from element `index` on.
    #[inline(always)]
    pub fn from(self, index: u32) -> Self {
        Shared::at_address(self.address(index))
    }

    /// The same bytes as elements of another type.
    #[inline(always)]
    pub fn cast<U>(self) -> Shared<U> {
        Shared::at_address(self.address)
    }
}

impl<T: Scalar> Shared<T> {
    /// Element `index`: `ld.shared`.
    ///
    /// # Safety
    /// The element lies within the block's shared memory and was written before the last barrier,
    /// or by this thread.
    #[inline(always)]
    pub unsafe fn load(self, index: u32) -> T {
        // SAFETY: the caller's promise.
        unsafe { T::load(self.address(index)) }
    }

    /// Writes element `index`: `st.shared`.
    ///
    /// # Safety
    /// The element lies within the block's shared memory, and no other thread touches it before the
    /// next barrier.
    #[inline(always)]
    pub unsafe fn store(self, index: u32, value: T) {
        // SAFETY: the caller's promise.
        unsafe { T::store(self.address(index), value) }
    }
}

impl<T: super::global::Word> Shared<T> {
    /// Elements `index`…`index + 3`: `ld.shared.v4.b32`, LDS.128.
    ///
    /// # Safety
    /// As for [`load`](Shared::load), for all four; the address is a multiple of 16.
    #[inline(always)]
    pub unsafe fn load4(self, index: u32) -> [T; 4] {
        let (a, b, c, d): (u32, u32, u32, u32);
        // SAFETY: the caller's promise.
        unsafe {
            asm!("ld.shared.v4.b32 {{{a}, {b}, {c}, {d}}}, [{p}];", a = out(reg32) a,
                b = out(reg32) b, c = out(reg32) c, d = out(reg32) d,
                p = in(reg32) self.address(index),
                options(pure, readonly, nostack, preserves_flags));
        }
        [
            T::from_bits(a),
            T::from_bits(b),
            T::from_bits(c),
            T::from_bits(d),
        ]
    }

    /// Writes elements `index`…`index + 3`: `st.shared.v4.b32`, STS.128.
    ///
    /// # Safety
    /// As for [`store`](Shared::store), for all four; the address is a multiple of 16.
    #[inline(always)]
    pub unsafe fn store4(self, index: u32, value: [T; 4]) {
        let [a, b, c, d] = value;
        // SAFETY: the caller's promise.
        unsafe {
            asm!("st.shared.v4.b32 [{p}], {{{a}, {b}, {c}, {d}}};", p = in(reg32) self.address(index),
                a = in(reg32) a.to_bits(), b = in(reg32) b.to_bits(), c = in(reg32) c.to_bits(),
                d = in(reg32) d.to_bits(), options(nostack, preserves_flags));
        }
    }
}

/// Declares a fixed array in shared memory and the function that names it:
/// `shared_tile!(fn partial: [f32; 32]);`. Aligned to 128 bytes. The name is the symbol's name in
/// the PTX: unique within the crate.
#[macro_export]
macro_rules! shared_tile {
    ($(#[$meta:meta])* fn $name:ident: [$t:ty; $length:expr]) => {
        #[cfg(target_arch = "nvptx64")]
        ::core::arch::global_asm!(
            concat!(".shared .align 128 .b8 ", stringify!($name), "[{bytes}];"),
            bytes = const $length * ::core::mem::size_of::<$t>(),
        );
        $(#[$meta])*
        #[inline(always)]
        fn $name() -> $crate::device::shared::Shared<$t> {
            let address: u32;
            // SAFETY: the address of a symbol.
            unsafe {
                ::core::arch::asm!(
                    concat!("mov.u32 {o}, ", stringify!($name), ";"), o = out(reg32) address,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            $crate::device::shared::Shared::at_address(address)
        }
    };
}

#[cfg(target_arch = "nvptx64")]
core::arch::global_asm!(".extern .shared .align 1024 .b8 dynamic_shared_memory[];");

/// The shared memory whose size the launch gives, from byte `offset` on. Byte 0 is aligned to 1024.
#[inline(always)]
pub fn dynamic<T>(offset: u32) -> Shared<T> {
    let address: u32;
    // SAFETY: the address of a symbol.
    unsafe {
        asm!("mov.u32 {o}, dynamic_shared_memory;", o = out(reg32) address,
            options(pure, nomem, nostack, preserves_flags));
    }
    Shared::at_address(address.wrapping_add(offset))
}

/// A row-major matrix in shared memory with `COLUMNS` elements a row, whose 16-byte chunks are
/// swizzled so that eight rows of one chunk column, as `ldmatrix` reads them, lie in different banks.
///
/// Chunk `c` of row `r` is stored at chunk `c ^ (r / k mod m)`, where a row has `n` chunks,
/// `m = min(n, 8)` and `k = max(8/n, 1)` rows share 128 bytes.
pub struct Swizzled<T, const COLUMNS: u32> {
    base: Shared<T>,
}

impl<T, const COLUMNS: u32> Clone for Swizzled<T, COLUMNS> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const COLUMNS: u32> Copy for Swizzled<T, COLUMNS> {}

impl<T, const COLUMNS: u32> Swizzled<T, COLUMNS> {
    const ROW_BYTES: u32 = {
        let bytes = COLUMNS * size_of::<T>() as u32;
        assert!(bytes % 16 == 0, "a row is a whole number of 16-byte chunks");
        assert!(
            (bytes / 16).is_power_of_two(),
            "a row is a power of two of 16-byte chunks"
        );
        bytes
    };
    const CHUNKS: u32 = Self::ROW_BYTES / 16;
    const MASK: u32 = if Self::CHUNKS < 8 {
        Self::CHUNKS - 1
    } else {
        7
    };
    const ROWS_PER_LINE: u32 = if Self::CHUNKS < 8 {
        8 / Self::CHUNKS
    } else {
        1
    };

    /// The matrix that begins at `base`, an address that is a multiple of 128.
    #[inline(always)]
    pub fn new(base: Shared<T>) -> Self {
        Swizzled { base }
    }

    /// The shared address of chunk `chunk` (16 bytes) of row `row`.
    #[inline(always)]
    pub fn chunk_address(self, row: u32, chunk: u32) -> u32 {
        let place = chunk ^ (row / Self::ROWS_PER_LINE & Self::MASK);
        self.base.address(0) + row * Self::ROW_BYTES + place * 16
    }

    /// The shared address of the element at `row`, `column`.
    #[inline(always)]
    pub fn address(self, row: u32, column: u32) -> u32 {
        let byte = column * size_of::<T>() as u32;
        self.chunk_address(row, byte / 16) + byte % 16
    }
}

impl<T: Scalar, const COLUMNS: u32> Swizzled<T, COLUMNS> {
    /// The element at `row`, `column`: `ld.shared`.
    ///
    /// # Safety
    /// As for [`Shared::load`].
    #[inline(always)]
    pub unsafe fn load(self, row: u32, column: u32) -> T {
        // SAFETY: the caller's promise.
        unsafe { T::load(self.address(row, column)) }
    }

    /// Writes the element at `row`, `column`: `st.shared`.
    ///
    /// # Safety
    /// As for [`Shared::store`].
    #[inline(always)]
    pub unsafe fn store(self, row: u32, column: u32, value: T) {
        // SAFETY: the caller's promise.
        unsafe { T::store(self.address(row, column), value) }
    }
}
