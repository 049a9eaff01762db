//! Correctly rounded arithmetic in every rounding mode.
//!
//! An f32 result is found by computing in f64 with *rounding to odd* and rounding that once:
//! 53 bits are at least 2·24 + 2 (Boldo and Melquiond, "Emulation of FMA and correctly rounded
//! sums"), so no double rounding occurs. f64 results use integers wide enough to be exact.

use super::Rounding;

/// An exact value `(-1)^negative · magnitude · 2^exponent`, with `sticky` for bits below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    negative: bool,
    magnitude: u128,
    exponent: i32,
}

fn split(x: f64) -> Exact {
    let bits = x.to_bits();
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let magnitude = if field == 0 {
        fraction
    } else {
        fraction | 1 << 52
    };
    Exact {
        negative: bits >> 63 != 0,
        magnitude: u128::from(magnitude),
        exponent: field.max(1) - 1075,
    }
}

/// Rounds an exact value to a format of `precision` bits with smallest exponent `least`
/// (of the last bit of a subnormal) and largest finite value `limit`.
fn round_to(value: Exact, precision: u32, least: i32, limit: f64, mode: Rounding) -> f64 {
    let Exact {
        negative,
        magnitude,
        exponent,
    } = value;
    let sign = if negative { -1.0 } else { 1.0 };
    if magnitude == 0 {
        return sign * 0.0;
    }
    let width = 128 - magnitude.leading_zeros();
    let unit = (exponent + width as i32 - precision as i32).max(least);
    let shift = unit - exponent;
    let (kept, rest_is) = if shift <= 0 {
        (magnitude << -shift, std::cmp::Ordering::Less)
    } else if shift >= 128 {
        (0, std::cmp::Ordering::Less)
    } else {
        let half = 1u128 << (shift - 1);
        (magnitude >> shift, (magnitude & (half * 2 - 1)).cmp(&half))
    };
    let inexact = if shift <= 0 {
        false
    } else {
        shift >= 128 || magnitude & ((1u128 << shift) - 1) != 0
    };
    let up = inexact
        && match mode {
            Rounding::Nearest => match rest_is {
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Equal => kept & 1 == 1,
                std::cmp::Ordering::Less => false,
            },
            Rounding::NearestAway => rest_is.is_ge(),
            Rounding::Zero => false,
            Rounding::Down => negative,
            Rounding::Up => !negative,
        };
    let kept = kept + u128::from(up);
    // At most 53 significant bits and an exponent in range: both steps are exact.
    let result = scale(kept as f64, unit);
    if result > limit {
        let away = match mode {
            Rounding::Nearest | Rounding::NearestAway => true,
            Rounding::Zero => false,
            Rounding::Down => negative,
            Rounding::Up => !negative,
        };
        return if away {
            sign * f64::INFINITY
        } else {
            sign * limit
        };
    }
    sign * result
}

/// `x · 2^e` where the result is exact or overflows.
fn scale(x: f64, e: i32) -> f64 {
    let mut x = x;
    let mut e = e;
    while e > 1000 {
        x *= 2f64.powi(1000);
        e -= 1000;
    }
    while e < -1000 {
        // Multiplying an integer of up to 53 bits down in steps stays exact: the last bit of
        // the final result is representable, so that of each step is.
        x *= 2f64.powi(-1000);
        e += 1000;
    }
    x * 2f64.powi(e)
}

fn product(a: f64, b: f64) -> Exact {
    let (a, b) = (split(a), split(b));
    Exact {
        negative: a.negative != b.negative,
        magnitude: a.magnitude * b.magnitude,
        exponent: a.exponent + b.exponent,
    }
}

/// `a + b` with the bits that do not fit 128 folded into the last one.
fn sum(a: Exact, b: Exact, mode: Rounding) -> Exact {
    let (big, small) = if a.magnitude == 0 {
        (b, a)
    } else if b.magnitude == 0 || top(a) >= top(b) {
        (a, b)
    } else {
        (b, a)
    };
    // Room for a carry above and, below, for bits under those of any rounding position.
    let room = big.magnitude.leading_zeros().saturating_sub(2) as i32;
    let low = (big.exponent - room).max(small.exponent.min(big.exponent));
    let left = big.magnitude << (big.exponent - low);
    let drop = low - small.exponent;
    let right = if drop <= 0 {
        small.magnitude.checked_shl((-drop) as u32).unwrap_or(0)
    } else if drop >= 128 {
        u128::from(small.magnitude != 0)
    } else {
        small.magnitude >> drop | u128::from(small.magnitude & ((1 << drop) - 1) != 0)
    };
    let (negative, magnitude) = if big.negative == small.negative {
        (big.negative, left + right)
    } else if left >= right {
        (big.negative, left - right)
    } else {
        (small.negative, right - left)
    };
    let zero_sign = if big.negative == small.negative && a.negative == b.negative {
        big.negative
    } else {
        mode == Rounding::Down
    };
    Exact {
        negative: if magnitude == 0 { zero_sign } else { negative },
        magnitude,
        exponent: low,
    }
}

fn top(x: Exact) -> i32 {
    x.exponent + 128 - x.magnitude.leading_zeros() as i32
}

const ONE: f64 = 1.0;

/// Rounds an exact value to f64.
fn to_f64(value: Exact, mode: Rounding) -> f64 {
    round_to(value, 53, -1074, f64::MAX, mode)
}

/// Rounds an exact value to f32.
fn to_f32(value: Exact, mode: Rounding) -> f32 {
    round_to(value, 24, -149, f64::from(f32::MAX), mode) as f32
}

/// An f64 in f32, rounded once.
pub(crate) fn narrow(x: f64, mode: Rounding) -> f32 {
    if x.is_finite() {
        to_f32(split(x), mode)
    } else {
        x as f32
    }
}

/// An f64 in a format of `precision` bits, `least` exponent and `limit`, still held in f64.
pub(crate) fn narrow_to(x: f64, precision: u32, least: i32, limit: f64, mode: Rounding) -> f64 {
    if x.is_finite() {
        round_to(split(x), precision, least, limit, mode)
    } else {
        x
    }
}

/// `(-1)^negative · magnitude · 2^exponent` in a format, still held in f64.
pub(crate) fn from_parts(
    negative: bool,
    magnitude: u128,
    exponent: i32,
    precision: u32,
    least: i32,
    limit: f64,
    mode: Rounding,
) -> f64 {
    round_to(
        Exact {
            negative,
            magnitude,
            exponent,
        },
        precision,
        least,
        limit,
        mode,
    )
}

/// `a·b + c` in f32.
pub(crate) fn fma32(a: f32, b: f32, c: f32, mode: Rounding) -> f32 {
    let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
    let plain = a.mul_add(b, c);
    if !plain.is_finite() {
        return plain as f32;
    }
    to_f32(sum(product(a, b), split(c), mode), mode)
}

/// `a + b` in f32.
pub(crate) fn add32(a: f32, b: f32, mode: Rounding) -> f32 {
    let plain = f64::from(a) + f64::from(b);
    if !plain.is_finite() {
        return plain as f32;
    }
    to_f32(sum(split(a.into()), split(b.into()), mode), mode)
}

/// `a · b` in f32.
pub(crate) fn mul32(a: f32, b: f32, mode: Rounding) -> f32 {
    // The product of two singles is exact in double precision.
    narrow(f64::from(a) * f64::from(b), mode)
}

/// `a·b + c` in f64.
pub(crate) fn fma64(a: f64, b: f64, c: f64, mode: Rounding) -> f64 {
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return a.mul_add(b, c);
    }
    to_f64(sum(product(a, b), split(c), mode), mode)
}

/// `a + b` in f64.
pub(crate) fn add64(a: f64, b: f64, mode: Rounding) -> f64 {
    if !(a.is_finite() && b.is_finite()) {
        return a + b;
    }
    to_f64(sum(split(a), split(b), mode), mode)
}

/// `a · b` in f64.
pub(crate) fn mul64(a: f64, b: f64, mode: Rounding) -> f64 {
    if !(a.is_finite() && b.is_finite()) {
        return a * b;
    }
    to_f64(product(a, b), mode)
}

/// A quotient or root in f64 from its rounded-to-nearest value and the sign of what is left.
fn corrected(nearest: f64, remainder: f64, mode: Rounding) -> f64 {
    if remainder == 0.0 || !nearest.is_finite() {
        return nearest;
    }
    // `remainder` says on which side of `nearest` the exact value lies.
    let above = remainder > 0.0;
    let wants_up = match mode {
        Rounding::Nearest | Rounding::NearestAway => return nearest,
        Rounding::Zero => nearest < 0.0,
        Rounding::Down => false,
        Rounding::Up => true,
    };
    match (wants_up, above) {
        (true, true) => nearest.next_up(),
        (false, false) => nearest.next_down(),
        _ => nearest,
    }
}

/// `a / b` in f64.
pub(crate) fn div64(a: f64, b: f64, mode: Rounding) -> f64 {
    let nearest = a / b;
    if !nearest.is_finite() || !b.is_finite() || b == 0.0 {
        let overflow = nearest.is_infinite() && a.is_finite() && b.is_finite() && b != 0.0;
        return if overflow {
            overflowed(nearest, mode)
        } else {
            nearest
        };
    }
    // Scaled so that neither the product nor the remainder leaves the range of f64.
    let remainder = sum(split(a), product(-nearest, b), mode);
    let sign = if remainder.magnitude == 0 {
        0.0
    } else if remainder.negative != (b < 0.0) {
        -ONE
    } else {
        ONE
    };
    corrected(nearest, sign, mode)
}

fn overflowed(infinite: f64, mode: Rounding) -> f64 {
    match mode {
        Rounding::Nearest | Rounding::NearestAway => infinite,
        Rounding::Zero => f64::MAX.copysign(infinite),
        Rounding::Down => infinite.min(f64::MAX),
        Rounding::Up => infinite.max(f64::MIN),
    }
}

/// `√a` in f64.
pub(crate) fn sqrt64(a: f64, mode: Rounding) -> f64 {
    let nearest = a.sqrt();
    if !nearest.is_finite() || nearest == 0.0 {
        return nearest;
    }
    let remainder = sum(split(a), product(-nearest, nearest), mode);
    let sign = if remainder.magnitude == 0 {
        0.0
    } else if remainder.negative {
        -ONE
    } else {
        ONE
    };
    corrected(nearest, sign, mode)
}

/// A quotient or root of singles: found in f64, made odd where inexact, rounded once.
fn through_odd(nearest: f64, remainder: f64, mode: Rounding) -> f32 {
    if remainder == 0.0 || !nearest.is_finite() {
        return narrow(nearest, mode);
    }
    let bits = nearest.to_bits();
    let odd = if bits & 1 == 1 {
        nearest
    } else if remainder > 0.0 {
        nearest.next_up()
    } else {
        nearest.next_down()
    };
    narrow(odd, mode)
}

/// `a / b` in f32.
pub(crate) fn div32(a: f32, b: f32, mode: Rounding) -> f32 {
    let (a, b) = (f64::from(a), f64::from(b));
    let nearest = a / b;
    if !nearest.is_finite() || !b.is_finite() || nearest == 0.0 {
        return nearest as f32;
    }
    let left = (-nearest).mul_add(b, a);
    through_odd(nearest, if b < 0.0 { -left } else { left }, mode)
}

/// `√a` in f32.
pub(crate) fn sqrt32(a: f32, mode: Rounding) -> f32 {
    let a = f64::from(a);
    let nearest = a.sqrt();
    if !nearest.is_finite() || nearest == 0.0 {
        return nearest as f32;
    }
    through_odd(nearest, (-nearest).mul_add(nearest, a), mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODES: [Rounding; 4] = [
        Rounding::Nearest,
        Rounding::Zero,
        Rounding::Down,
        Rounding::Up,
    ];

    proptest! {
        #[test]
        fn nearest_is_what_the_host_computes(a: u64, b: u64, c: u64) {
            let (a, b, c) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
            let same = |x: f64, y: f64| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            let n = Rounding::Nearest;
            prop_assert!(same(fma64(a, b, c, n), a.mul_add(b, c)));
            prop_assert!(same(add64(a, b, n), a + b));
            prop_assert!(same(mul64(a, b, n), a * b));
            let (a, b, c) = (a as f32, b as f32, c as f32);
            let same = |x: f32, y: f32| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            prop_assert!(same(fma32(a, b, c, n), a.mul_add(b, c)));
            prop_assert!(same(add32(a, b, n), a + b));
            prop_assert!(same(mul32(a, b, n), a * b));
            prop_assert!(same(div32(a, b, n), a / b));
            prop_assert!(same(sqrt32(a, n), a.sqrt()));
        }

        #[test]
        fn close_operands_cancel_exactly(a: f32, steps in -4i32..4, c: f32) {
            let b = f32::from_bits(a.to_bits().wrapping_add_signed(steps));
            let same = |x: f32, y: f32| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            prop_assert!(same(add32(a, -b, Rounding::Nearest), a - b));
            prop_assert!(same(fma32(a, c, -(a * c), Rounding::Nearest), a.mul_add(c, -(a * c))));
        }

        #[test]
        fn directed_results_enclose_the_exact_one(a in -1e30f32..1e30, b in -1e30f32..1e30) {
            for op in [add32, mul32, div32] {
                let [near, zero, down, up] = MODES.map(|m| op(a, b, m));
                prop_assert!(down <= near && near <= up);
                prop_assert!(up == down || up == down.next_up());
                let inner = if near > 0.0 || (near == 0.0 && up > 0.0) { down } else { up };
                prop_assert_eq!(zero, inner);
            }
            for op in [add64, mul64, div64] {
                let [near, zero, down, up] = MODES.map(|m| op(a.into(), b.into(), m));
                prop_assert!(down <= near && near <= up);
                prop_assert!(up == down || up == down.next_up());
                let inner = if near > 0.0 { down } else { up };
                prop_assert_eq!(zero, inner);
            }
        }
    }
}
