//! The approximate functions. The hardware documents an error, not bits; these are the
//! correctly rounded f64 values rounded to f32, which lies within every documented bound.

/// `2^x`.
#[inline(always)]
pub(crate) fn ex2(x: f32) -> f32 {
    // Cody and Waite: 2^x = 2^n · 2^r with r in [-1/2, 1/2]; the polynomial is the Taylor series
    // of e^(r ln 2) to the 9th power, whose truncation error is below 2^-37.
    let x = if x > 130.0 { 130.0 } else { x };
    let x = if x < -155.0 { -155.0 } else { x };
    let n = (x + 12_582_912.0) - 12_582_912.0;
    let t = f64::from(x - n) * std::f64::consts::LN_2;
    let mut p = 1.0f64 / 362_880.0;
    for c in [40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        p = p.mul_add(t, 1.0 / c);
    }
    let exponent = (n as i64).wrapping_add(1023) << 52;
    (p * f64::from_bits(exponent as u64)) as f32
}

/// `2^x` with NaN and infinities.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    // `ex2` clamps: +inf gives 2^130, which rounds to infinity; −inf gives zero.
    let y = ex2(if x.is_nan() { 0.0 } else { x });
    if x.is_nan() { super::float::NAN32 } else { y }
}

/// `a / b` as a product with the reciprocal, which is flushed: beyond 2^126 the quotient is zero.
pub(crate) fn div(a: f32, b: f32) -> f32 {
    let reciprocal = super::float::flush(1.0 / b);
    if b.abs() > f32::from_bits(0x7e80_0000) {
        a * reciprocal
    } else {
        a / b
    }
}

macro_rules! through_f64 {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(x: f32) -> f32 {
            let f: fn(f64) -> f64 = $f;
            super::float::canon(f(f64::from(x)) as f32)
        }
    )*};
}

through_f64! {
    /// Logarithm to base 2.
    log2 = f64::log2;
    /// Sine.
    sin = f64::sin;
    /// Cosine.
    cos = f64::cos;
    /// Hyperbolic tangent.
    tanh = f64::tanh;
    /// Reciprocal square root.
    rsqrt = |x| 1.0 / x.sqrt();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp2_is_within_one_unit_of_the_last_place() {
        for i in -160_000..=140_000 {
            let x = i as f32 * 1.000_3e-3;
            let want = f64::from(x).exp2();
            let got = f64::from(exp2(x));
            let unit =
                f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
            assert!(
                (got - want).abs() <= unit || got == f64::from(want as f32),
                "{x}: {got} {want}"
            );
        }
        assert_eq!(exp2(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp2(f32::NEG_INFINITY), 0.0);
        assert!(exp2(f32::NAN).is_nan());
        assert_eq!(exp2(-149.0), f32::from_bits(1));
    }
}
