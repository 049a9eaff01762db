//! Ternary weights: quantised, packed, and multiplied with straight from two bits a weight.
//!
//! [`TernaryWeights`] holds them, [`forward`], [`input_gradient`] and [`weight_gradient`] multiply,
//! [`TernaryLinear`] is a layer to train: f32 weights and their ternary image.

mod linear;
mod products;
mod weights;

pub use linear::TernaryLinear;
pub use products::{
    Rung, forward, forward_by, input_gradient, input_gradient_by, weight_gradient,
    weight_gradient_by,
};
pub use weights::{GROUP, Packing, TernaryWeights};

use crate::{Error, Result};

fn out_of_range<T>(name: &'static str, got: impl ToString, must_be: String) -> Result<T> {
    let got = got.to_string();
    Err(Error::Parameter { name, got, must_be })
}

/// A grid of `x` blocks by as many of `y` as a grid may have; the kernels go on from there.
fn grid_of(x: usize, y: usize) -> Result<[u32; 2]> {
    match u32::try_from(x) {
        Ok(x) if x <= i32::MAX as u32 => Ok([x, y.min(65_535) as u32]),
        _ => out_of_range("blocks", x, format!("at most {}", i32::MAX)),
    }
}
