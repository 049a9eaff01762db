//! The pass before both: D = rowsum(do∘o).

use crate::attention::rolled;
use crate::device::float::fma;
use crate::device::half::{Bf16, Element, F16};
use crate::device::reduce::{self, Sum};
use crate::device::{thread, warp};

/// Grid: ⌈rows / 4⌉ blocks of 128, a warp a row. D is a multiple of 32.
#[inline(always)]
unsafe fn row_sums<E: Element>(
    o: *const E,
    d_o: *const E,
    delta: *mut f32,
    first: usize,
    rows: usize,
    d: u32,
) {
    let row = first + (thread::index_1d() / warp::SIZE) as usize;
    if row >= rows {
        return;
    }
    let at = row * d as usize + warp::lane_id() as usize;
    let mut sum = 0.0;
    for step in rolled(d / warp::SIZE) {
        let at = at + 32 * step as usize;
        // SAFETY: row < rows and the column < D.
        sum = unsafe { fma((*o.add(at)).to_f32(), (*d_o.add(at)).to_f32(), sum) };
    }
    let total = reduce::warp(Sum(sum)).0;
    if warp::lane_id() == 0 {
        // SAFETY: row < rows.
        unsafe { *delta.add(row) = total }
    }
}

macro_rules! entries {
    ($($name:ident: $t:ty;)*) => {$(
        /// D = rowsum(do∘o) of the rows `first`…`rows − 1`, at most 2²⁶ a launch.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            o: *const $t, d_o: *const $t, delta: *mut f32, first: u64, rows: u64, d: u32,
        ) {
            // SAFETY: the launch gives rows × D elements of o and do, and rows of D.
            unsafe { row_sums(o, d_o, delta, first as usize, rows as usize, d) }
        }
    )*};
}

entries! {
    flash_backward_delta_f32: f32;
    flash_backward_delta_f16: F16;
    flash_backward_delta_bf16: Bf16;
}
