//! Probes of [`device::reduce`](crate::device::reduce).

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::reduce::{self, ArgMax, Max, Merge, OnlineSoftmax, Sum};

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
crate::shared_tile!(
    /// Two words a warp.
    fn probe_reduce_scratch: [u32; 64]
);

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn f32_at(a: *const u32, i: usize) -> f32 {
    // SAFETY: the caller's promise.
    f32::from_bits(unsafe { *a.add(i) })
}

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn block<T: Merge>(value: T) -> T {
    // SAFETY: the scratch is this reduction's own.
    unsafe { reduce::block(probe_reduce_scratch(), value) }
}

probes! {
    /// The warp's sum.
    probe_reduce_warp_sum, [("shfl.sync.bfly", 5)], ["SHFL.BFLY"], |a, out, i| {
        *out.add(i) = reduce::warp(Sum(f32_at(a, i))).0.to_bits();
    }

    /// The warp's maximum.
    probe_reduce_warp_max, [("shfl.sync.bfly", 5)], ["SHFL.BFLY"], |a, out, i| {
        *out.add(i) = reduce::warp(Max(f32_at(a, i))).0.to_bits();
    }

    /// The warp's arg-max.
    probe_reduce_warp_arg_max, [("shfl.sync.bfly", 10)], ["SHFL.BFLY"], |a, out, i| {
        let best = reduce::warp(ArgMax { value: f32_at(a, i), index: i as u32 });
        *out.add(i) = best.value.to_bits();
        *out.add(i + 64) = best.index;
    }

    /// The warp's softmax pair, two scores a lane.
    probe_reduce_warp_softmax, [("shfl.sync.bfly", 10)], ["SHFL.BFLY", "MUFU.EX2"], |a, out, i| {
        let state = OnlineSoftmax::IDENTITY.add(f32_at(a, i)).add(f32_at(a, i + 64));
        let state = reduce::warp(state);
        *out.add(i) = state.max.to_bits();
        *out.add(i + 64) = state.sum.to_bits();
    }

    /// The block's sum.
    probe_reduce_block_sum, [("shfl.sync.bfly", 10), ("bar.sync", 2)], ["BAR.SYNC"], |a, out, i| {
        *out.add(i) = block(Sum(f32_at(a, i))).0.to_bits();
    }

    /// The block's maximum.
    probe_reduce_block_max, [("shfl.sync.bfly", 10), ("bar.sync", 2)], ["BAR.SYNC"], |a, out, i| {
        *out.add(i) = block(Max(f32_at(a, i))).0.to_bits();
    }

    /// The block's arg-max.
    probe_reduce_block_arg_max, [("shfl.sync.bfly", 20), ("bar.sync", 2)], ["BAR.SYNC"], |a, out, i| {
        let best = block(ArgMax { value: f32_at(a, i), index: i as u32 });
        *out.add(i) = best.value.to_bits();
        *out.add(i + 64) = best.index;
    }

    /// The block's softmax pair.
    probe_reduce_block_softmax, [("shfl.sync.bfly", 20), ("bar.sync", 2)], ["BAR.SYNC"], |a, out, i| {
        let state = block(OnlineSoftmax { max: f32_at(a, i), sum: 1.0 });
        *out.add(i) = state.max.to_bits();
        *out.add(i + 64) = state.sum.to_bits();
    }
}
