//! f32 and f64 arithmetic with flushing, saturation and canonical NaN.

use super::{Flags, Rounding, round};

/// The NaN every f32 instruction produces.
pub(crate) const NAN32: f32 = f32::from_bits(0x7fff_ffff);

/// A NaN made canonical.
#[inline(always)]
pub(crate) fn canon(x: f32) -> f32 {
    if x.is_nan() { NAN32 } else { x }
}

/// A NaN made canonical.
#[inline(always)]
pub(crate) fn canon64(x: f64) -> f64 {
    if x.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else {
        x
    }
}

/// The square root. Its NaN is recognised by its bits: a comparison of floats LLVM takes for a
/// comparison of `a` with zero, and then for needless, as it does not keep one NaN from another.
#[inline(always)]
pub(crate) fn root(a: f32) -> f32 {
    let bits = a.sqrt().to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        NAN32
    } else {
        f32::from_bits(bits)
    }
}

/// The same of a rounded square root of an f64.
#[inline(always)]
pub(crate) fn root64(root: f64) -> f64 {
    let bits = root.to_bits();
    if bits << 1 > 0x7ff0_0000_0000_0000 << 1 {
        canon64(f64::NAN)
    } else {
        f64::from_bits(bits)
    }
}

/// A subnormal made zero of its sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    if bits & 0x7f80_0000 == 0 {
        f32::from_bits(bits & 0x8000_0000)
    } else {
        x
    }
}

/// `.sat`: clamped to [0, 1], NaN to +0.
#[inline(always)]
pub(crate) fn saturate(x: f32) -> f32 {
    // Written so that NaN fails both comparisons and −0 becomes +0.
    if x >= 1.0 {
        1.0
    } else if x > 0.0 {
        x
    } else {
        0.0
    }
}

/// As [`saturate`], for f64.
pub(crate) fn saturate64(x: f64) -> f64 {
    if x >= 1.0 {
        1.0
    } else if x > 0.0 {
        x
    } else {
        0.0
    }
}

#[inline(always)]
fn input(x: f32, flags: Flags) -> f32 {
    if flags.ftz() { flush(x) } else { x }
}

/// What `.ftz` and `.sat` do to a result.
#[inline(always)]
pub(crate) fn output(x: f32, flags: Flags) -> f32 {
    let x = if flags.ftz() { flush(x) } else { x };
    if flags.sat() { saturate(x) } else { canon(x) }
}

/// A unary operation under its flags.
#[inline(always)]
pub(crate) fn unary(a: f32, flags: Flags, f: impl Fn(f32) -> f32) -> f32 {
    output(f(input(a, flags)), flags)
}

/// A binary operation under its flags.
#[inline(always)]
pub(crate) fn binary(a: f32, b: f32, flags: Flags, f: impl Fn(f32, f32) -> f32) -> f32 {
    output(f(input(a, flags), input(b, flags)), flags)
}

/// `a + b` with any rounding.
pub(crate) fn add(a: f32, b: f32, flags: Flags) -> f32 {
    binary(a, b, flags, |a, b| match flags.rounding() {
        Rounding::Nearest => a + b,
        mode => round::add32(a, b, mode),
    })
}

/// `a · b` with any rounding.
pub(crate) fn mul(a: f32, b: f32, flags: Flags) -> f32 {
    binary(a, b, flags, |a, b| match flags.rounding() {
        Rounding::Nearest => a * b,
        mode => round::mul32(a, b, mode),
    })
}

/// `a·b + c` with any rounding.
pub(crate) fn fma(a: f32, b: f32, c: f32, flags: Flags) -> f32 {
    let (a, b, c) = (input(a, flags), input(b, flags), input(c, flags));
    let exact = match flags.rounding() {
        Rounding::Nearest => a.mul_add(b, c),
        mode => round::fma32(a, b, c, mode),
    };
    output(exact, flags)
}

/// `a / b` with any rounding.
pub(crate) fn div(a: f32, b: f32, flags: Flags) -> f32 {
    binary(a, b, flags, |a, b| round::div32(a, b, flags.rounding()))
}

/// `√a` with any rounding.
pub(crate) fn sqrt(a: f32, flags: Flags) -> f32 {
    unary(a, flags, |a| round::sqrt32(a, flags.rounding()))
}

/// `min` and `max`: −0 below +0; a NaN operand loses unless `.NaN`.
#[inline(always)]
pub(crate) fn extremum(a: f32, b: f32, flags: Flags, max: bool) -> f32 {
    let (a, b) = (input(a, flags), input(b, flags));
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    let (x, y) = if flags.xorsign() {
        (a.abs(), b.abs())
    } else {
        (a, b)
    };
    let first = if x == y {
        x.is_sign_negative() != max
    } else {
        (x < y) != max
    };
    let picked = if x.is_nan() {
        if y.is_nan() || flags.nan() { NAN32 } else { y }
    } else if y.is_nan() {
        if flags.nan() { NAN32 } else { x }
    } else if first {
        x
    } else {
        y
    };
    if flags.xorsign() && !picked.is_nan() {
        f32::from_bits(picked.to_bits() | sign)
    } else {
        picked
    }
}

/// `min` and `max` of f64.
pub(crate) fn extremum64(a: f64, b: f64, max: bool) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => canon64(a),
        (true, false) => b,
        (false, true) => a,
        _ => {
            let first = if a == b {
                a.is_sign_negative() != max
            } else {
                (a < b) != max
            };
            if first { a } else { b }
        }
    }
}

/// `testp`.
pub(crate) fn testp(a: f64, subnormal: bool, property: u16) -> bool {
    match property {
        0 => a.is_finite(),
        1 => a.is_infinite(),
        2 => !a.is_nan(),
        3 => a.is_nan(),
        // "Positive and negative zero are considered normal numbers" (PTX manual, `testp`).
        4 => a.is_finite() && !subnormal,
        _ => subnormal,
    }
}

/// A comparison of floats: bits 0..3 of `relation` say whether less, equal, greater and
/// unordered make it true.
#[inline(always)]
pub(crate) fn compare(a: f64, b: f64, relation: u16) -> bool {
    let case = if a < b {
        1
    } else if a == b {
        2
    } else if a > b {
        4
    } else {
        8
    };
    relation & case != 0
}
