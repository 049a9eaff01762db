//! dq in the pass that makes dk and dv: the blocks that own a row's keys add to its sum in the order
//! in which they come.

use crate::attention::{Half, Lane, Sums, Tile, rolled, without_odd};
use crate::device::half::{Bf16, F16};
use crate::device::{atomic, global, thread};

/// dX of a step in shared memory: the block's keys by the step's rows. A warp makes dX of its own
/// keys, and dX·k of its own columns over all of them: each sum is added once a block.
#[derive(Clone, Copy)]
pub(super) struct Share<
    E: Half,
    const D16: usize,
    const N16: usize,
    const ROWS16: usize,
    const PITCH: u32,
    const WARPS: u32,
> {
    /// Keys by rows of the step: 32 at most.
    tile: Tile<E, N16, ROWS16, 32, WARPS>,
}

impl<
    E: Half,
    const D16: usize,
    const N16: usize,
    const ROWS16: usize,
    const PITCH: u32,
    const WARPS: u32,
> Share<E, D16, N16, ROWS16, PITCH, WARPS>
{
    #[inline(always)]
    pub(super) fn at(offset: u32) -> Self {
        Share {
            tile: Tile::at(offset),
        }
    }

    #[inline(always)]
    pub(super) fn bytes(self) -> u32 {
        Tile::<E, N16, ROWS16, 32, WARPS>::BYTES
    }

    /// Writes dXᵀ of the warp's keys.
    ///
    /// # Safety
    /// Nobody reads the share before the next barrier.
    #[inline(always)]
    pub(super) unsafe fn put(self, lane: Lane, warp: u32, dx: &Sums<N16>) {
        // SAFETY: the warp's own rows.
        unsafe { self.tile.put(lane, warp, 0, dx, [1.0; 2]) }
    }

    /// Adds dX·k to the sums of the step's rows, where `to` says that they are.
    ///
    /// # Safety
    /// Every warp has put its part and k has come; `to` gives D places that are accessed only
    /// atomically.
    #[inline(always)]
    pub(super) unsafe fn add(
        self,
        lane: Lane,
        warp: u32,
        k_tile: Tile<E, D16, ROWS16, PITCH, WARPS>,
        odd_keys: bool,
        to: impl Fn(u32) -> Option<*mut f32>,
    ) {
        let own = D16 as u32 / WARPS;
        for c in rolled(own) {
            let column = own * warp + c;
            let mut sums: Sums<N16> = [[[0.0; 4]; 2]; N16];
            for r16 in rolled(ROWS16 as u32) {
                // SAFETY: k has come.
                let mut right = unsafe { k_tile.right(lane, r16, column) };
                if odd_keys {
                    // 0·NaN is NaN. For who sees such a k, dX is NaN: it need not be added.
                    for pair in right.as_flattened_mut() {
                        *pair = without_odd::<E>(*pair);
                    }
                }
                for n in 0..N16 {
                    // SAFETY: every warp's part has come.
                    let left = unsafe { self.tile.left_transposed(lane, r16, n as u32) };
                    sums[n][0] = E::mma(left, right[0], sums[n][0]);
                    sums[n][1] = E::mma(left, right[1], sums[n][1]);
                }
            }
            for n in 0..N16 {
                for r in 0..2 {
                    let Some(row) = to(16 * n as u32 + 8 * r + lane.g) else {
                        continue;
                    };
                    for half in 0..2 {
                        let at = (16 * column + 8 * half as u32 + 2 * lane.t) as usize;
                        let sums = &sums[n][half];
                        // SAFETY: the caller's promise.
                        unsafe {
                            atomic::add(row.add(at), sums[2 * r as usize]);
                            atomic::add(row.add(at + 1), sums[2 * r as usize + 1]);
                        }
                    }
                }
            }
        }
    }
}

/// Zeros, before the first sum is added. Grid: ⌈quads / 128⌉ blocks of 128.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn flash_backward_clear(sums: *mut f32, first: u64, quads: u64) {
    let at = first + u64::from(thread::index_1d());
    if at < quads {
        // SAFETY: the launch gives 4·quads numbers.
        unsafe { global::store4(sums.add(4 * at as usize), [0.0; 4]) }
    }
}

/// Four sums times `scale`, rounded.
#[inline(always)]
unsafe fn round<E: Half>(sums: *const f32, dq: *mut E, first: u64, quads: u64, scale: f32) {
    let at = first + u64::from(thread::index_1d());
    if at < quads {
        let at = 4 * at as usize;
        // SAFETY: the launch gives 4·quads numbers of both.
        unsafe {
            let [a, b, c, d] = global::load4(sums.add(at));
            let to = dq.add(at).cast::<u32>();
            to.write(E::pack(scale * a, scale * b));
            to.add(1).write(E::pack(scale * c, scale * d));
        }
    }
}

macro_rules! entries {
    ($($name:ident: $t:ty;)*) => {$(
        /// dq from its sums. Grid: ⌈quads / 128⌉ blocks of 128.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            sums: *const f32, dq: *mut $t, first: u64, quads: u64, scale: f32,
        ) {
            // SAFETY: as the launch promises.
            unsafe { round(sums, dq, first, quads, scale) }
        }
    )*};
}

entries! {
    flash_backward_round_f16: F16;
    flash_backward_round_bf16: Bf16;
}
