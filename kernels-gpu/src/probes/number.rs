//! Probes of [`device::float`](crate::device::float) and [`device::half`](crate::device::half).

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::{
    float,
    half::{Bf16, Bf16x2, Element, F16, F16x2},
};

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn f32_at(a: *const u32, i: usize) -> f32 {
    // SAFETY: the caller's promise.
    f32::from_bits(unsafe { *a.add(i) })
}

probes! {
    /// a[i]·a[i+64] + a[i+128], rounded once.
    probe_fma, [], ["FFMA"], |a, out, i| {
        *out.add(i) = float::fma(f32_at(a, i), f32_at(a, i + 64), f32_at(a, i + 128)).to_bits();
    }

    /// The correctly rounded root.
    probe_sqrt, [], ["MUFU.RSQ"], |a, out, i| {
        *out.add(i) = float::sqrt(f32_at(a, i)).to_bits();
    }

    /// 2ˣ.
    probe_ex2_approx, [], ["MUFU.EX2"], |a, out, i| {
        *out.add(i) = float::ex2_approx(f32_at(a, i)).to_bits();
    }

    /// eˣ.
    probe_exp_approx, [], ["MUFU.EX2"], |a, out, i| {
        *out.add(i) = float::exp_approx(f32_at(a, i)).to_bits();
    }

    /// log₂ x.
    probe_lg2_approx, [], ["MUFU.LG2"], |a, out, i| {
        *out.add(i) = float::lg2_approx(f32_at(a, i)).to_bits();
    }

    /// 1/x.
    probe_rcp_approx, [], ["MUFU.RCP"], |a, out, i| {
        *out.add(i) = float::rcp_approx(f32_at(a, i)).to_bits();
    }

    /// 1/√x.
    probe_rsqrt_approx, [], ["MUFU.RSQ"], |a, out, i| {
        *out.add(i) = float::rsqrt_approx(f32_at(a, i)).to_bits();
    }

    /// The lower half's f16 as f32.
    probe_f16_to_f32, [], ["HADD2.F32"], |a, out, i| {
        *out.add(i) = F16(*a.add(i) as u16).to_f32().to_bits();
    }

    /// The f16 nearest to an f32.
    probe_f16_from_f32, [], ["F2F"], |a, out, i| {
        *out.add(i) = u32::from(F16::from_f32(f32_at(a, i)).0);
    }

    /// The lower half's bf16 as f32.
    probe_bf16_to_f32, [], [], |a, out, i| {
        *out.add(i) = Bf16(*a.add(i) as u16).to_f32().to_bits();
    }

    /// The bf16 nearest to an f32.
    probe_bf16_from_f32, [], ["F2F"], |a, out, i| {
        *out.add(i) = u32::from(Bf16::from_f32(f32_at(a, i)).0);
    }

    /// Two f32 packed to f16.
    probe_f16x2_from_f32, [], ["F2FP"], |a, out, i| {
        *out.add(i) = F16x2::from_f32(f32_at(a, i), f32_at(a, i + 64)).0;
    }

    /// Two f32 packed to bf16.
    probe_bf16x2_from_f32, [], ["F2FP"], |a, out, i| {
        *out.add(i) = Bf16x2::from_f32(f32_at(a, i), f32_at(a, i + 64)).0;
    }

    /// A pair of f16 taken apart.
    probe_f16x2_to_f32, [], [], |a, out, i| {
        let (low, high) = F16x2(*a.add(i)).to_f32();
        *out.add(i) = low.to_bits();
        *out.add(i + 64) = high.to_bits();
    }

    /// A pair of bf16 taken apart.
    probe_bf16x2_to_f32, [], [], |a, out, i| {
        let (low, high) = Bf16x2(*a.add(i)).to_f32();
        *out.add(i) = low.to_bits();
        *out.add(i + 64) = high.to_bits();
    }

    /// Two f16 products and sums at once.
    probe_f16x2_fma, [], ["HFMA2"], |a, out, i| {
        *out.add(i) = F16x2(*a.add(i)).fma(F16x2(*a.add(i + 64)), F16x2(*a.add(i + 128))).0;
    }

    /// Two bf16 products and sums at once.
    probe_bf16x2_fma, [], ["HFMA2"], |a, out, i| {
        *out.add(i) = Bf16x2(*a.add(i)).fma(Bf16x2(*a.add(i + 64)), Bf16x2(*a.add(i + 128))).0;
    }
}
