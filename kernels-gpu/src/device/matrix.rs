//! Tensor-core tiles: `ldmatrix` from shared memory, `mma.sync` with f32 or s32 accumulators.
//!
//! All of it is collective: every lane of the warp takes part, with the same instruction. Fragments
//! are spread over the lanes. With `g = lane / 4` and `t = lane % 4`, and two 16-bit values to a
//! register (the lower column in the lower half):
//!
//! | fragment | register | rows | columns |
//! |---|---|---|---|
//! | A 16×16 | `a[0]`, `a[1]`, `a[2]`, `a[3]` | g, g+8, g, g+8 | 2t, 2t, 2t+8, 2t+8 (and +1) |
//! | B 16×8 (k×n) | `b[0]`, `b[1]` | 2t, 2t+8 (and +1) | g |
//! | C, D 16×8 | `c[0]`, `c[1]`, `c[2]`, `c[3]` | g, g, g+8, g+8 | 2t, 2t+1, 2t, 2t+1 |
//!
//! With 8-bit values A is 16×32 and B 32×8; a register holds four, columns (rows of B) 4t…4t+3.
//! The accumulator of one product has the layout of A's halves: P stays in registers.

#[cfg(target_arch = "nvptx64")]
use super::intrinsics;
use core::arch::asm;

/// A 16×16 tile of 16-bit values, or 16×32 of 8-bit ones: the left factor.
pub type FragmentA = [u32; 4];

/// A 16×8 (k×n) tile of 16-bit values, or 32×8 of 8-bit ones: the right factor.
pub type FragmentB = [u32; 2];

/// A 16×8 tile of sums.
pub type Accumulator<T> = [T; 4];

/// `a·b + c` in bf16 with f32 sums: `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32`, HMMA.
#[inline(always)]
pub fn mma_bf16(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
    // SAFETY: arithmetic on registers; convergence is the module's documented requirement.
    let (d0, d1, d2, d3) = unsafe {
        intrinsics::mma_m16n8k16_bf16(a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], c[2], c[3])
    };
    [d0, d1, d2, d3]
}

/// `a·b + c` in f16 with f32 sums: `mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32`, HMMA.
///
/// The intrinsic takes vectors of f16, which Rust cannot pass; this is `asm!`, which LLVM does not
/// know to be collective. It stays whole as long as no branch that differs between lanes surrounds
/// it; the entry's instruction counts prove that it did.
#[inline(always)]
pub fn mma_f16(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
    let (d0, d1, d2, d3): (f32, f32, f32, f32);
    // SAFETY: arithmetic on registers.
    unsafe {
        asm!(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
            "{{{d0}, {d1}, {d2}, {d3}}}, {{{a0}, {a1}, {a2}, {a3}}}, {{{b0}, {b1}}},",
            "{{{c0}, {c1}, {c2}, {c3}}};",
            d0 = out(reg32) d0, d1 = out(reg32) d1, d2 = out(reg32) d2, d3 = out(reg32) d3,
            a0 = in(reg32) a[0], a1 = in(reg32) a[1], a2 = in(reg32) a[2], a3 = in(reg32) a[3],
            b0 = in(reg32) b[0], b1 = in(reg32) b[1],
            c0 = in(reg32) c[0], c1 = in(reg32) c[1], c2 = in(reg32) c[2], c3 = in(reg32) c[3],
            options(nomem, nostack, preserves_flags)
        );
    }
    [d0, d1, d2, d3]
}

/// `a·b + c` in signed bytes with s32 sums: `mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32`, IMMA.
#[inline(always)]
pub fn mma_s8(a: FragmentA, b: FragmentB, c: Accumulator<i32>) -> Accumulator<i32> {
    // SAFETY: as for `mma_bf16`.
    let (d0, d1, d2, d3) = unsafe {
        intrinsics::mma_m16n8k32_s8(a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], c[2], c[3])
    };
    [d0, d1, d2, d3]
}

macro_rules! ldmatrix {
    ($($(#[$doc:meta])* $name:ident -> $t:ty { $($r:ident),* } = $instruction:literal, $list:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The 16 bytes at each address that is used lie within the block's shared memory, aligned
        /// to 16, written before the last barrier; all lanes of the warp are here.
        #[inline(always)]
        pub unsafe fn $name(row_address: u32) -> $t {
            $(let $r: u32;)*
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!($instruction, " ", $list, ", [{p}];"), $($r = out(reg32) $r,)*
                    p = in(reg32) row_address, options(readonly, nostack, preserves_flags));
            }
            [$($r),*]
        }
    )*};
}

ldmatrix! {
    /// One 8×8 matrix of 16-bit values; lanes 0–7 give the addresses of its rows. Lane `l` gets
    /// columns 2(l%4), +1 of row l/4: `ldmatrix.sync.aligned.m8n8.x1.shared.b16`, LDSM.
    ldmatrix_x1 -> [u32; 1] { a } = "ldmatrix.sync.aligned.m8n8.x1.shared.b16", "{{{a}}}";
    /// Two matrices; lanes 0–7 and 8–15 give their rows' addresses: `ldmatrix…x2`.
    ldmatrix_x2 -> [u32; 2] { a, b } = "ldmatrix.sync.aligned.m8n8.x2.shared.b16", "{{{a}, {b}}}";
    /// Four matrices; each eight lanes give one's row addresses: `ldmatrix…x4`. With rows of A at
    /// lanes 0–15 in columns 0–7 and at lanes 16–31 in columns 8–15 the result is a [`FragmentA`].
    ldmatrix_x4 -> [u32; 4] { a, b, c, d } =
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16", "{{{a}, {b}, {c}, {d}}}";
    /// [`ldmatrix_x1`] transposed: lane `l` gets rows 2(l%4), +1 of column l/4.
    ldmatrix_x1_transposed -> [u32; 1] { a } =
        "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16", "{{{a}}}";
    /// [`ldmatrix_x2`] transposed. A row-major k×n tile read this way is a [`FragmentB`].
    ldmatrix_x2_transposed -> [u32; 2] { a, b } =
        "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", "{{{a}, {b}}}";
    /// [`ldmatrix_x4`] transposed.
    ldmatrix_x4_transposed -> [u32; 4] { a, b, c, d } =
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "{{{a}, {b}, {c}, {d}}}";
}
