//! Appending with rotary position embedding (RoPE), and what may then stand in the cache.
//!
//! ```text
//! x'_a = x_a·cos_f − x_b·sin_f         the pair (a, b) of frequency f:
//! x'_b = x_b·cos_f + x_a·sin_f         half: (f, f + D/2)    interleaved: (2f, 2f + 1)
//! ```
//!
//! cos and sin are inputs: f32 tables `[positions, D/2]`. Only k is rotated, not v. A rotated
//! component is a dot product of two terms: `γ(2)·(|x_a·cos| + |x_b·sin|)`.
//!
//! A rotated vector is known only within its bound, so a quantised one may differ by a code where
//! the bound spans a tie, and by an ulp in the scale. The check is a decision: every step of
//! quantising is monotone, so a scale, zero point or code is right when it lies between those of
//! the lower and the upper ends. With exact components (no RoPE) that leaves one answer.

use half::f16;

use super::formats::{int4_code, int4_scale_and_zero, int8_code, nibble};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, Element, Precision};
use crate::tensor::{View, nonzero};

/// Which components form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Component f with f + D/2 (GPT-NeoX, Llama).
    Half,
    /// Component 2f with 2f + 1 (GPT-J).
    Interleaved,
}

impl RopePairs {
    fn pair(self, f: usize, head_size: usize) -> (usize, usize) {
        match self {
            Self::Half => (f, f + head_size / 2),
            Self::Interleaved => (2 * f, 2 * f + 1),
        }
    }
}

/// cos and sin tables `[positions, D/2]` in f32: angle `position·θ^(−2f/D)`, evaluated in float64.
pub fn rope_table(theta: f64, head_size: usize, positions: usize) -> (Vec<f32>, Vec<f32>) {
    let half = head_size / 2;
    let angle = |i: usize| {
        let (position, f) = (i / half, i % half);
        position as f64 * theta.powf(-2.0 * f as f64 / head_size as f64)
    };
    let angles = || (0..positions * half).map(angle);
    (
        angles().map(|a| a.cos() as f32).collect(),
        angles().map(|a| a.sin() as f32).collect(),
    )
}

/// One vector rotated to `position`, with bounds for the f32 result before it is stored.
pub fn rotate<T: Element>(
    x: &[T],
    position: usize,
    cos: View<'_, f32, 2>,
    sin: View<'_, f32, 2>,
    pairs: RopePairs,
    precision: Precision,
) -> Result<Vec<Bounded>> {
    let [positions, half] = cos.shape();
    sin.expect_shape([positions, half], "as `cos`")?;
    nonzero("cos", half)?;
    if x.len() != 2 * half {
        let allowed = format!("{} components, two per column of `cos`", 2 * half);
        return Err(Error::argument(
            "x",
            format!("{} components", x.len()),
            allowed,
        ));
    }
    if position >= positions {
        let allowed = format!("below the {positions} rows of `cos`");
        return Err(Error::argument("position", position, allowed));
    }
    let exact = |x: f64| Bounded::exact(x);
    let mut out = vec![exact(0.0); x.len()];
    for f in 0..half {
        let (a, b) = pairs.pair(f, x.len());
        let (xa, xb) = (exact(x[a].to_f64()), exact(x[b].to_f64()));
        let (c, s) = (
            exact(cos.at([position, f]).into()),
            exact(sin.at([position, f]).into()),
        );
        out[a] = precision.dot([(xa, c), (-xb, s)]);
        out[b] = precision.dot([(xb, c), (xa, s)]);
    }
    Ok(out)
}

/// What is wrong with a vector found in the cache.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendMismatch {
    /// The scale.
    #[error("scale is {got}, expected {low} to {high}")]
    Scale {
        /// What was found.
        got: f16,
        /// The least that is right.
        low: f16,
        /// The largest that is right.
        high: f16,
    },
    /// The zero point.
    #[error("zero point is {got}, expected {low} to {high}")]
    Zero {
        /// What was found.
        got: f16,
        /// The least that is right.
        low: f16,
        /// The largest that is right.
        high: f16,
    },
    /// A code.
    #[error("code of component {component} is {got}, expected {low} to {high}")]
    Code {
        /// Which component.
        component: usize,
        /// What was found.
        got: i32,
        /// The least that is right.
        low: i32,
        /// The largest that is right.
        high: i32,
    },
    /// There are not as many codes as components.
    #[error("{got} codes, expected {expected}")]
    Length {
        /// Bytes of codes found.
        got: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The nibble behind the last component of an odd vector.
    #[error("the unused last nibble is {got}, expected 0")]
    Padding {
        /// What was found.
        got: u8,
    },
}

/// Whether a stored vector is right, and if not, why.
pub type Checked = std::result::Result<(), AppendMismatch>;

/// Ends of the f32 numbers within a bound.
fn ends(x: &Bounded) -> (f32, f32) {
    let down = |x: f64| {
        if f64::from(x as f32) > x {
            (x as f32).next_down()
        } else {
            x as f32
        }
    };
    (down(x.value - x.bound), -down(-(x.value + x.bound)))
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::NEG_INFINITY, f32::max)
}

fn to_f16(x: f32) -> f16 {
    <f16 as Element>::from_f64(f64::from(x))
}

/// Whether `codes` and `scale` are a right int8 form of `x`.
pub fn int8_admits(x: &[Bounded], codes: &[i8], scale: f16) -> Checked {
    if codes.len() != x.len() {
        return Err(AppendMismatch::Length {
            got: codes.len(),
            expected: x.len(),
        });
    }
    // The least |x| within the bound is 0 where the bound spans it.
    let least = |x: &Bounded| ends(&Bounded::new((x.value.abs() - x.bound).max(0.0), 0.0)).0;
    let most = |x: &Bounded| ends(&Bounded::new(x.magnitude(), 0.0)).1;
    let low = to_f16(largest(x.iter().map(least)).max(0.0) / 127.0);
    let high = to_f16(largest(x.iter().map(most)).max(0.0) / 127.0);
    if !(low <= scale && scale <= high) {
        return Err(AppendMismatch::Scale {
            got: scale,
            low,
            high,
        });
    }
    for (component, (x, &got)) in x.iter().zip(codes).enumerate() {
        let (down, up) = ends(x);
        let (low, high) = (int8_code(down, scale), int8_code(up, scale));
        if !(low..=high).contains(&got) {
            return Err(AppendMismatch::Code {
                component,
                got: got.into(),
                low: low.into(),
                high: high.into(),
            });
        }
    }
    Ok(())
}

/// Whether `packed`, `scale` and `zero` are a right int4 form of `x`.
pub fn int4_admits(x: &[Bounded], packed: &[u8], scale: f16, zero: f16) -> Checked {
    let bytes = x.len().div_ceil(2);
    if packed.len() != bytes {
        return Err(AppendMismatch::Length {
            got: packed.len(),
            expected: bytes,
        });
    }
    let minimum = |end: fn(&Bounded) -> f32| -largest(x.iter().map(|x| -end(x)));
    let maximum = |end: fn(&Bounded) -> f32| largest(x.iter().map(end));
    let (min_low, min_high) = (minimum(|x| ends(x).0), minimum(|x| ends(x).1));
    let (max_low, max_high) = (maximum(|x| ends(x).0), maximum(|x| ends(x).1));
    let low = to_f16((max_low - min_high).max(0.0) / 15.0);
    let high = to_f16((max_high - min_low) / 15.0);
    // The corners say whether the constant form (scale 1) may, or must, have been taken.
    let corners = [(min_high, max_low.max(min_high)), (min_low, max_high)]
        .map(|(min, max)| int4_scale_and_zero(min, max));
    let degenerate = scale == f16::ONE && corners.iter().any(|(scale, _)| *scale == f16::ONE);
    if !(low <= scale && scale <= high || degenerate) {
        return Err(AppendMismatch::Scale {
            got: scale,
            low,
            high,
        });
    }
    let zero_of = |min: f32| to_f16(-min / f32::from(scale));
    let (low, high) = (zero_of(min_high), zero_of(min_low));
    if !(low <= zero && zero <= high) {
        return Err(AppendMismatch::Zero {
            got: zero,
            low,
            high,
        });
    }
    for (component, x) in x.iter().enumerate() {
        let (down, up) = ends(x);
        let got = nibble(packed, component);
        let (low, high) = (int4_code(down, scale, zero), int4_code(up, scale, zero));
        if !(low..=high).contains(&got) {
            return Err(AppendMismatch::Code {
                component,
                got: got.into(),
                low: low.into(),
                high: high.into(),
            });
        }
    }
    match packed.last() {
        Some(last) if x.len() % 2 == 1 && last >> 4 != 0 => {
            Err(AppendMismatch::Padding { got: last >> 4 })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::DType;
    use crate::paged_kv::formats::{Int4Vector, Int8Vector};
    use proptest::prelude::*;

    fn precision() -> Precision {
        Precision::of(DType::F32)
    }

    #[test]
    fn rotation_keeps_lengths_and_composes() {
        let (cos, sin) = rope_table(10_000.0, 6, 20);
        let cos = View::new("cos", &cos, [20, 3]).unwrap();
        let sin = View::new("sin", &sin, [20, 3]).unwrap();
        let x = [0.3f32, -1.2, 2.0, 0.7, 0.1, -0.4];
        for pairs in [RopePairs::Half, RopePairs::Interleaved] {
            let rotate = |position| rotate(&x, position, cos, sin, pairs, precision()).unwrap();
            assert_eq!(
                rotate(0).iter().map(|x| x.value as f32).collect::<Vec<_>>(),
                x
            );
            let dot = |a: &[Bounded], b: &[Bounded]| -> f64 {
                a.iter().zip(b).map(|(a, b)| a.value * b.value).sum()
            };
            // q·k depends on the distance of the positions only, in exact tables. These hold f32: each
            // entry is off by u at most, so each component of a rotated vector by 2u·|pair|, and a dot
            // product by 4u·|x|² to first order; twice, since two are compared.
            let near = dot(&rotate(3), &rotate(5));
            let far = dot(&rotate(14), &rotate(16));
            let size: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let apart = 8.0 * DType::F32.unit_roundoff() * size;
            assert!((near - far).abs() < apart, "{near} {far}");
            // f32 arithmetic stays inside.
            let (a, b) = pairs.pair(1, 6);
            let (c, s) = (cos.at([7, 1]), sin.at([7, 1]));
            assert!(rotate(7)[a].admits(f64::from(x[a] * c - x[b] * s)));
            assert!(rotate(7)[b].admits(f64::from(x[b].mul_add(c, x[a] * s))));
            // The other sign is another rotation.
            assert!(!rotate(7)[a].admits(f64::from(x[a] * c + x[b] * s)));
        }
    }

    #[test]
    fn positions_and_sizes_outside_the_table_are_errors() {
        let table = [1.0f32; 4];
        let view = View::new("cos", &table, [2, 2]).unwrap();
        let at = |x: &[f32], p| rotate(x, p, view, view, RopePairs::Half, precision());
        assert_eq!(at(&[0.0; 4], 2).unwrap_err().about(), "position");
        assert_eq!(at(&[0.0; 3], 0).unwrap_err().about(), "x");
    }

    fn exact(x: &[f32]) -> Vec<Bounded> {
        x.iter().map(|&x| Bounded::exact(f64::from(x))).collect()
    }

    proptest! {
        /// Exact components: the quantiser's own answer is right, its neighbours are not.
        #[test]
        fn exact_vectors_have_one_form(x in prop::collection::vec(-9f32..9.0, 1..20), at in 0usize..20) {
            let at = at % x.len();
            let q = Int8Vector::quantise("k", &x).unwrap();
            prop_assert_eq!(int8_admits(&exact(&x), &q.codes, q.scale), Ok(()));
            let mut codes = q.codes.clone();
            codes[at] = if codes[at] == 127 { 126 } else { codes[at] + 1 };
            prop_assert!(int8_admits(&exact(&x), &codes, q.scale).is_err());
            let next = f16::from_bits(q.scale.to_bits() + 1);
            prop_assert!(int8_admits(&exact(&x), &q.codes, next).is_err());

            let q = Int4Vector::quantise("v", &x).unwrap();
            prop_assert_eq!(int4_admits(&exact(&x), &q.packed, q.scale, q.zero), Ok(()));
            let mut packed = q.packed.clone();
            packed[at / 2] ^= if at % 2 == 0 { 1 } else { 16 };
            prop_assert!(int4_admits(&exact(&x), &packed, q.scale, q.zero).is_err());
        }

        /// Components known within a bound: whatever the true ones are, their form is right.
        #[test]
        fn every_form_within_the_bound_is_right(
            x in prop::collection::vec((-9f32..9.0, -1.0f64..1.0), 1..20),
            bound in 1e-7f64..1e-2,
        ) {
            let known: Vec<Bounded> =
                x.iter().map(|(x, _)| Bounded::new(f64::from(*x), bound)).collect();
            let truth: Vec<f32> = x.iter().map(|(x, t)| (f64::from(*x) + 0.99 * t * bound) as f32)
                .zip(&known)
                .map(|(t, k)| if k.admits(f64::from(t)) { t } else { k.value as f32 })
                .collect();
            let q = Int8Vector::quantise("k", &truth).unwrap();
            prop_assert_eq!(int8_admits(&known, &q.codes, q.scale), Ok(()));
            let q = Int4Vector::quantise("v", &truth).unwrap();
            prop_assert_eq!(int4_admits(&known, &q.packed, q.scale, q.zero), Ok(()));
        }
    }
}
