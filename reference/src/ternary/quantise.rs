//! From weights to scales and signs.

use half::f16;

use super::format::{GROUP, Packed, Packing, check_shape};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, DType, Element, Precision};
use crate::tensor::View;

/// `d = f16(mean|W|)` per group of 128, `t = clamp(round_half_even(W/d), −1, 1)`.
pub fn quantise_absmean<T: Element>(w: View<'_, T, 2>, packing: Packing) -> Result<Packed> {
    check_weights(&w)?;
    let (mut scales, mut signs) = (Vec::new(), Vec::new());
    for (index, group) in w.data().chunks(GROUP).enumerate() {
        let mean = absmean(group);
        let scale = <f16 as Element>::from_f64(mean);
        if scale.is_infinite() {
            return Err(Error::entry(
                "W",
                index * GROUP,
                mean,
                "a group whose mean fits f16",
            ));
        }
        scales.push(scale);
        signs.extend(group.iter().map(|w| sign(w.to_f64(), scale.to_f64())));
    }
    pack(packing, w.shape(), &scales, &signs)
}

/// Packs weights each group of which holds only −d, 0 and +d for one f16 number d.
pub fn pack_exact<T: Element>(w: View<'_, T, 2>, packing: Packing) -> Result<Packed> {
    check_weights(&w)?;
    let (mut scales, mut signs) = (Vec::new(), Vec::new());
    for (index, group) in w.data().chunks(GROUP).enumerate() {
        let magnitude = group.iter().map(|w| w.to_f64().abs()).fold(0.0, f64::max);
        let scale = <f16 as Element>::from_f64(magnitude);
        if scale.to_f64() != magnitude {
            let allowed = "a number that f16 holds exactly";
            return Err(Error::entry("W", index * GROUP, magnitude, allowed));
        }
        scales.push(scale);
        for (offset, w) in group.iter().enumerate() {
            let w = w.to_f64();
            if w != 0.0 && w.abs() != magnitude {
                let allowed = format!("0 or ±{magnitude}, as the rest of its group");
                return Err(Error::entry("W", index * GROUP + offset, w, allowed));
            }
            signs.push(if w == 0.0 { 0 } else { w.signum() as i8 });
        }
    }
    pack(packing, w.shape(), &scales, &signs)
}

fn pack(packing: Packing, shape: [usize; 2], scales: &[f16], signs: &[i8]) -> Result<Packed> {
    let [n, k] = shape;
    Packed::new(
        packing,
        View::new("scales", scales, [n, k / GROUP])?,
        View::new("signs", signs, shape)?,
    )
}

fn check_weights<T: Element>(w: &View<'_, T, 2>) -> Result<()> {
    check_shape("W", w.shape())?;
    match w.data().iter().position(|w| !w.to_f64().is_finite()) {
        Some(index) => Err(Error::entry("W", index, w.data()[index].to_f64(), "finite")),
        None => Ok(()),
    }
}

/// Mean of `|W|` over a group. The sum of 128 numbers of 24 bits is exact in float64 unless they
/// span more than 2²², and then right to 2⁻⁴⁶.
fn absmean<T: Element>(group: &[T]) -> f64 {
    group.iter().map(|w| w.to_f64().abs()).sum::<f64>() / group.len() as f64
}

/// t of one weight.
fn sign(w: f64, scale: f64) -> i8 {
    if scale == 0.0 {
        0
    } else {
        (w / scale).round_ties_even().clamp(-1.0, 1.0) as i8
    }
}

/// Why packed weights are not the quantisation of these weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Misquantised {
    /// The scale is not the group's mean, rounded to f16.
    #[error(
        "row {row}, group {group}: scale must be mean|W| = {mean} in f16, {expected}; yours is {got}"
    )]
    Scale {
        /// n.
        row: usize,
        /// g.
        group: usize,
        /// The exact mean.
        mean: f64,
        /// That in f16.
        expected: f16,
        /// What was packed.
        got: f16,
    },
    /// A sign is not that of W/d.
    #[error(
        "row {row}, column {column}: W = {weight} over scale {scale} rounds to {expected}, yours is {got}"
    )]
    Sign {
        /// n.
        row: usize,
        /// k.
        column: usize,
        /// W there.
        weight: f64,
        /// The scale that was packed, by which W is divided.
        scale: f16,
        /// The right sign.
        expected: i8,
        /// What was packed.
        got: i8,
    },
}

/// Judges a quantisation made in f32. Right are
///
/// * every scale that a mean within its bound `(γ(127) + 2u)·mean` rounds to;
/// * given that scale, the sign of W/d; either neighbour where W/d lies within 2u·½ of ½ (an f32
///   division or reciprocal may land on the other side) but is not ½: a quotient of exactly ½
///   is exact in f32 and rounds to even.
pub fn check_quantised<T: Element>(
    w: View<'_, T, 2>,
    packed: &Packed,
    precision: Precision,
) -> Result<std::result::Result<(), Misquantised>> {
    check_weights(&w)?;
    w.expect_shape(packed.shape(), "as the packed weights")?;
    let groups = w.shape()[1] / GROUP;
    for (index, (group, &scale)) in w.data().chunks(GROUP).zip(packed.scales()).enumerate() {
        let (row, column) = (index / groups, index % groups * GROUP);
        let mean = absmean(group);
        let terms = group.iter().map(|w| Bounded::exact(w.to_f64().abs()));
        let bounded = precision.round_special(precision.sum(terms).scale(1.0 / GROUP as f64));
        // Rounding is monotone: the right scales are all between those of the two ends.
        let [low, high] = [-1.0, 1.0].map(|s| DType::F16.round(mean + s * bounded.bound));
        if !(low.max(0.0)..=high).contains(&scale.to_f64()) {
            let (group, expected) = (index % groups, <f16 as Element>::from_f64(mean));
            return Ok(Err(Misquantised::Scale {
                row,
                group,
                mean,
                expected,
                got: scale,
            }));
        }
        let signs = &packed.signs()[index * GROUP..][..GROUP];
        for (offset, (w, &got)) in group.iter().zip(signs).enumerate() {
            let weight = w.to_f64();
            let expected = sign(weight, scale.to_f64());
            let distance = ((weight / scale.to_f64()).abs() - 0.5).abs();
            let near_half = distance > 0.0 && distance <= precision.unit();
            let either = near_half && (got == 0 || f64::from(got) == weight.signum());
            if got != expected && !either {
                let column = column + offset;
                let wrong = Misquantised::Sign {
                    row,
                    column,
                    weight,
                    scale,
                    expected,
                    got,
                };
                return Ok(Err(wrong));
            }
        }
    }
    Ok(Ok(()))
}
