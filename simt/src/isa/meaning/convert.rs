//! `cvt` between any two types, every rounding and saturation.

use super::half::{self, Format};
use super::{Flags, Rounding, float, round};
use crate::ptx::types::{ScalarType, TypeKind};

/// Rounds to an integral value.
#[inline(always)]
pub(crate) fn integral(x: f64, mode: Rounding) -> f64 {
    match mode {
        Rounding::Nearest => x.round_ties_even(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
        Rounding::NearestAway => x.round(),
    }
}

/// A float as an integer of `bits` bits; out of range clamps.
pub(crate) fn to_integer(x: f64, mode: Rounding, bits: u32, signed: bool) -> u64 {
    let x = integral(x, mode);
    if signed {
        let limit = (1i128 << (bits - 1)) as f64;
        let value = if x >= limit {
            (limit as i128 - 1) as i64
        } else if x < -limit {
            (-(limit as i128)) as i64
        } else {
            x as i64
        };
        value as u64 & mask(bits)
    } else {
        let limit = (1i128 << bits) as f64;
        if x >= limit { mask(bits) } else { x as u64 }
    }
}

fn mask(bits: u32) -> u64 {
    if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}

/// What a conversion does; everything but the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conversion {
    pub(crate) to: ScalarType,
    pub(crate) from: ScalarType,
    pub(crate) flags: Flags,
    /// Whether a float becomes the same type's integral value.
    pub(crate) integral: bool,
}

enum Value {
    Integer(i128),
    Float(f64),
}

fn read(bits: u64, ty: ScalarType, flags: Flags) -> Value {
    match (ty.kind(), ty) {
        (TypeKind::Signed, _) => {
            let up = 64 - ty.bits();
            Value::Integer(i128::from((bits << up) as i64 >> up))
        }
        (TypeKind::Float, ScalarType::F16) => Value::Float(half::f16_to_f32(bits as u16).into()),
        (TypeKind::Float, ScalarType::BF16) => Value::Float(half::bf16_to_f32(bits as u16).into()),
        (TypeKind::Float, ScalarType::F64) => Value::Float(f64::from_bits(bits)),
        (TypeKind::Float, ScalarType::E4M3 | ScalarType::E5M2) => {
            Value::Float(from_f8(bits as u8, ty))
        }
        (TypeKind::Float, _) => {
            let x = f32::from_bits(bits as u32);
            Value::Float(if flags.ftz() { float::flush(x) } else { x }.into())
        }
        _ => Value::Integer(i128::from(bits & mask(ty.bits()))),
    }
}

fn range(ty: ScalarType) -> (i128, i128) {
    let bits = ty.bits();
    if ty.kind() == TypeKind::Signed {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

/// Converts one value.
pub(crate) fn convert(bits: u64, c: Conversion) -> u64 {
    let value = read(bits, c.from, c.flags);
    let to_float = c.to.kind() == TypeKind::Float;
    match value {
        Value::Integer(v) if !to_float => {
            let (low, high) = range(c.to);
            let v = if c.flags.sat() { v.clamp(low, high) } else { v };
            v as u64 & mask(c.to.bits())
        }
        Value::Integer(v) => from_integer(v, c),
        Value::Float(x) if !to_float && x.is_nan() => {
            // PTX manual, `cvt`: zero, unless either side has 64 bits.
            let wide = c.from.bits() == 64 || c.to.bits() == 64;
            if wide { 1 << (c.to.bits() - 1) } else { 0 }
        }
        Value::Float(x) if !to_float => to_integer(
            x,
            c.flags.rounding(),
            c.to.bits(),
            c.to.kind() == TypeKind::Signed,
        ),
        Value::Float(x) => {
            let x = if c.integral && c.to == c.from {
                integral(x, c.flags.rounding())
            } else {
                x
            };
            write(x, c)
        }
    }
}

fn from_integer(v: i128, c: Conversion) -> u64 {
    let mode = c.flags.rounding();
    let (precision, least, limit) = shape(c.to);
    write(
        round::from_parts(v < 0, v.unsigned_abs(), 0, precision, least, limit, mode),
        c,
    )
}

/// Precision, exponent of the smallest subnormal, largest finite value.
fn shape(ty: ScalarType) -> (u32, i32, f64) {
    match ty {
        ScalarType::F16 => (11, -24, 65504.0),
        ScalarType::BF16 => (8, -133, 3.389_531_389_251_535_5e38),
        ScalarType::E4M3 => (4, -9, 448.0),
        ScalarType::E5M2 => (3, -16, 57344.0),
        ScalarType::TF32 => (11, -136, 3.401_162_134_214_653e38),
        ScalarType::F64 => (53, -1074, f64::MAX),
        _ => (24, -149, f32::MAX.into()),
    }
}

fn write(x: f64, c: Conversion) -> u64 {
    let mode = c.flags.rounding();
    let (precision, least, limit) = shape(c.to);
    let x = if c.flags.relu() && (x <= 0.0) { 0.0 } else { x };
    let rounded = if c.to == ScalarType::F64 {
        x
    } else {
        round::narrow_to(x, precision, least, limit, mode)
    };
    // `.satfinite` clamps to the largest finite value.
    let narrow8 = c.flags.finite();
    let rounded = if narrow8 && rounded.is_infinite() && c.flags.sat() {
        limit.copysign(rounded)
    } else {
        rounded
    };
    let clamps = c.flags.sat() && !narrow8;
    match c.to {
        ScalarType::F64 => {
            let x = if clamps {
                float::saturate64(rounded)
            } else {
                rounded
            };
            float::canon64(x).to_bits()
        }
        ScalarType::F16 | ScalarType::BF16 => {
            let format = if c.to == ScalarType::F16 {
                Format::F16
            } else {
                Format::BF16
            };
            let x = if clamps {
                float::saturate64(rounded)
            } else {
                rounded
            };
            if x.is_nan() {
                u64::from(half::NAN)
            } else {
                u64::from(format.narrow(x as f32))
            }
        }
        ScalarType::E4M3 | ScalarType::E5M2 => u64::from(to_f8(rounded, c.to)),
        _ => {
            let x = float::output(
                rounded as f32,
                Flags(c.flags.0 & if clamps { 3 } else { 1 }),
            );
            u64::from(x.to_bits())
        }
    }
}

fn from_f8(bits: u8, ty: ScalarType) -> f64 {
    if ty == ScalarType::E5M2 {
        return half::f16_to_f32(u16::from(bits) << 8).into();
    }
    let sign = if bits & 0x80 != 0 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
    if bits & 0x7f == 0x7f {
        f64::NAN
    } else if exponent == 0 {
        sign * fraction * 2f64.powi(-9)
    } else {
        sign * (8.0 + fraction) * 2f64.powi(exponent - 10)
    }
}

/// The bits of a value already rounded to the format.
fn to_f8(x: f64, ty: ScalarType) -> u8 {
    if x.is_nan() {
        return 0x7f;
    }
    if ty == ScalarType::E5M2 {
        return (half::f32_to_f16(x as f32) >> 8) as u8;
    }
    let sign = u8::from(x.is_sign_negative()) << 7;
    let x = x.abs();
    if x.is_infinite() {
        return sign | 0x7f;
    }
    if x < 2f64.powi(-6) {
        return sign | (x * 512.0) as u8;
    }
    let exponent = (x.to_bits() >> 52) as i32 - 1023;
    let fraction = (x * 2f64.powi(3 - exponent)) as u8 - 8;
    sign | ((exponent + 7) as u8) << 3 | fraction
}

/// Two singles as a packed pair, the first in the upper half.
pub(crate) fn packed(high: f32, low: f32, format: Format, flags: Flags) -> u32 {
    let to = if format == Format::F16 {
        ScalarType::F16
    } else {
        ScalarType::BF16
    };
    let c = Conversion {
        to,
        from: ScalarType::F32,
        flags,
        integral: false,
    };
    let one = |x: f32| convert(u64::from(x.to_bits()), c) as u32;
    one(high) << 16 | one(low)
}

/// A single with its last 13 bits rounded away; `.satfinite` keeps it below infinity.
#[inline(always)]
pub(crate) fn to_tf32(x: f32, flags: Flags) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fff_ffff;
    }
    if flags.relu() && x <= 0.0 {
        return 0;
    }
    let rounded = match flags.rounding() {
        _ if x.is_infinite() => bits,
        Rounding::Nearest => bits.wrapping_add(0xfff + (bits >> 13 & 1)),
        Rounding::NearestAway => bits.wrapping_add(0x1000),
        _ => bits,
    };
    let rounded = rounded & !0x1fff;
    if flags.finite() && f32::from_bits(rounded).is_infinite() {
        rounded - 0x2000
    } else {
        rounded
    }
}
