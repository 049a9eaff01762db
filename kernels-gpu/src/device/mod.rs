//! The device layer: what a kernel is written with. Names follow rust-cuda's `cuda_std`.
//!
//! | module | holds |
//! |---|---|
//! | [`thread`] | indices of thread, block and grid; block barriers and fences |
//! | [`warp`] | lanes, shuffles, votes, integer reductions |
//! | [`reduce`] | sums, maxima, arg-max and softmax pairs over a warp or block |
//! | [`global`] | 128-bit loads and stores, cached, streaming, read-only |
//! | [`shared`] | arrays in shared memory by 32-bit addresses, fixed, dynamic, swizzled |
//! | [`copy`] | `cp.async` from global to shared memory |
//! | [`atomic`] | read-modify-write on global and shared memory |
//! | [`half`] | f16 and bf16, single and packed |
//! | [`float`] | fma, and the hardware's approximate functions |
//! | [`matrix`] | `ldmatrix` and `mma.sync` |
//!
//! # Writing a kernel
//!
//! A kernel is an `extern "ptx-kernel"` function in a family's module, and a row in that family's
//! `ENTRIES` table (see [`Entry`](crate::Entry)):
//!
//! ```ignore
//! /// y[i] += a·x[i] for i < n, a thread an element.
//! #[unsafe(no_mangle)]
//! pub unsafe extern "ptx-kernel" fn axpy_f32(x: *const f32, y: *mut f32, a: f32, n: u32) {
//!     let i = thread::index_1d();
//!     if i < n {
//!         // SAFETY: i < n, and the launch gives n elements of x and y; y[i] is this thread's.
//!         unsafe { *y.add(i as usize) = float::fma(a, *x.add(i as usize), *y.add(i as usize)) }
//!     }
//! }
//! ```
//!
//! * Parameters are raw pointers and scalars, each one of its own: pointers inside a struct or
//!   slice are taken for generic ones and cost a check at every access.
//! * Arrays live in registers only while every index is known at compile time: `for` loops over
//!   constant bounds are unrolled; an index that depends on data moves the whole array to local
//!   memory. The static tests refuse any entry with a byte of it.
//! * `x * y + z` rounds twice. Write [`float::fma`] where one rounding is meant.
//! * `x as i32` saturates and costs seven instructions; where the range is known,
//!   `x.to_int_unchecked()` costs one.
//! * Collective functions (barriers, shuffles, votes, `ldmatrix`, `mma`) must be reached by all the
//!   threads they name. Keep them out of branches that differ between lanes.
//! * A panic becomes a `trap`: the launch fails, the host gets an error.

pub mod atomic;
pub mod copy;
pub mod float;
pub mod global;
pub mod half;
#[cfg(target_arch = "nvptx64")]
mod intrinsics;
pub mod matrix;
pub mod reduce;
pub mod shared;
pub mod thread;
pub mod warp;
