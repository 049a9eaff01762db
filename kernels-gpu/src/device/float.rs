//! Single-precision arithmetic. The compiler never contracts `x * y + z`: write [`fma`] where one
//! rounding is meant. Functions named `approx` are the hardware's, with its error.

#[cfg(target_arch = "nvptx64")]
use super::intrinsics;

/// log₂ e, to fold a natural exponential into [`ex2_approx`].
pub const LOG2_E: f32 = core::f32::consts::LOG2_E;

/// ln 2, to turn [`lg2_approx`] into a natural logarithm.
pub const LN_2: f32 = core::f32::consts::LN_2;

/// `a·b + c` rounded once: `fma.rn.f32`.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { intrinsics::fma_f32(a, b, c) }
}

/// The correctly rounded square root: `sqrt.rn.f32`.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { intrinsics::sqrt_f32(x) }
}

/// 2ˣ within 2 ulp, subnormal results flushed to zero: `ex2.approx.ftz.f32`.
#[inline(always)]
pub fn ex2_approx(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { intrinsics::ex2_approx_ftz(x) }
}

/// eˣ as `ex2_approx(x · log₂e)`: the product's rounding adds a relative error of |x|·2⁻²⁴.
#[inline(always)]
pub fn exp_approx(x: f32) -> f32 {
    ex2_approx(x * LOG2_E)
}

/// log₂ x with a relative error of 2⁻²² outside (0.5, 2), absolute within: `lg2.approx.ftz.f32`.
#[inline(always)]
pub fn lg2_approx(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { intrinsics::lg2_approx_ftz(x) }
}

/// 1/x within 1 ulp: `rcp.approx.ftz.f32`.
#[inline(always)]
pub fn rcp_approx(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { intrinsics::rcp_approx_ftz(x) }
}

/// 1/√x with a relative error of 2⁻²²·⁹: `rsqrt.approx.ftz.f32`.
#[inline(always)]
pub fn rsqrt_approx(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { intrinsics::rsqrt_approx_ftz(x) }
}
