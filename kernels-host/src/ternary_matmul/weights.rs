//! Ternary weights on a device, and their packed forms.

use super::{grid_of, out_of_range};
use crate::{Arg, Buffer, Device, Float, LaunchConfig, Module, Result, launch};
use half::f16;
use kernels_gpu::ternary_matmul::{FAMILY, THREADS};
use std::sync::Arc;

/// Weights that share a scale, along K.
pub const GROUP: usize = 128;

/// How packed bytes hold the 128 codes of a group, after its f16 scale (little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Four codes a byte, the first in the lowest bits: 34 bytes a group.
    TwoBit,
    /// Five codes a byte, as digits in base 3, the first the least significant: 28 bytes a group.
    Base3,
}

impl Packing {
    /// Bytes of a group, its scale included.
    pub fn block_bytes(self) -> usize {
        match self {
            Packing::TwoBit => 34,
            Packing::Base3 => 28,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Packing::TwoBit => "two_bit",
            Packing::Base3 => "base3",
        }
    }
}

/// Ternary weights `[rows, columns]` in device memory, 2.125 bits each: a code of −1, 0 or +1, and
/// an f16 scale for each 128 in a row.
///
/// Codes and scales lie in two buffers, aligned for the kernels; [`from_packed`] and [`to_packed`]
/// change to and from the formats that are stored.
///
/// [`from_packed`]: TernaryWeights::from_packed
/// [`to_packed`]: TernaryWeights::to_packed
#[derive(Debug)]
pub struct TernaryWeights {
    codes: Buffer<u32>,
    scales: Buffer<f16>,
    rows: usize,
    columns: usize,
}

/// The most groups of a tensor: code words are counted in 32 bits.
const MOST_GROUPS: usize = 1 << 28;

impl TernaryWeights {
    fn uninit(device: &Arc<dyn Device>, [rows, columns]: [usize; 2]) -> Result<TernaryWeights> {
        let most = i32::MAX as usize;
        if !(1..=most).contains(&rows) {
            return out_of_range("N", rows, format!("1 to {most}"));
        }
        if columns == 0 || !columns.is_multiple_of(GROUP) {
            return out_of_range("K", columns, format!("a multiple of {GROUP}, not 0"));
        }
        let groups = rows.saturating_mul(columns / GROUP);
        // The groups of a row are blocks along y.
        if groups > MOST_GROUPS || columns / GROUP > 65_535 {
            let must_be = format!("at most {MOST_GROUPS} groups, 65535 in a row");
            return out_of_range("N × K", groups, must_be);
        }
        Ok(TernaryWeights {
            codes: Buffer::uninit(device, groups * (GROUP / 16))?,
            scales: Buffer::uninit(device, groups)?,
            rows,
            columns,
        })
    }

    /// Quantises dense weights `w[rows, columns]`: `d = f16(mean|W|)` over each group,
    /// `t = clamp(round_half_even(W/d), −1, 1)`. A group of zeros gets d = 0, t = 0.
    ///
    /// # Errors
    /// When the shape is not that of `w` or columns are no multiple of 128; when W is not finite or
    /// a group's mean is beyond f16.
    pub fn quantise<T: Float>(w: &Buffer<T>, shape: [usize; 2]) -> Result<TernaryWeights> {
        let mut weights = TernaryWeights::uninit(w.device(), shape)?;
        weights.requantise(w)?;
        Ok(weights)
    }

    /// [`quantise`](TernaryWeights::quantise) in place, for weights that have changed.
    ///
    /// # Errors
    /// As there; these weights are then undefined.
    pub fn requantise<T: Float>(&mut self, w: &Buffer<T>) -> Result<()> {
        let must_be = "finite, with a mean that f16 holds";
        self.take_dense(w, "quantise", must_be)
    }

    /// Takes dense weights that are ternary already: each group holds −d, 0 and +d only, for one
    /// d that f16 holds exactly.
    ///
    /// # Errors
    /// As for [`quantise`](TernaryWeights::quantise), and when a group is not ternary.
    pub fn exact<T: Float>(w: &Buffer<T>, shape: [usize; 2]) -> Result<TernaryWeights> {
        let mut weights = TernaryWeights::uninit(w.device(), shape)?;
        weights.take_dense(w, "exact", "−d, 0 and +d only, d a number of f16")?;
        Ok(weights)
    }

    fn take_dense<T: Float>(&mut self, w: &Buffer<T>, kernel: &str, must_be: &str) -> Result<()> {
        w.expect_shape("W", &[("N", self.rows), ("K", self.columns)])?;
        let kernel = format!("ternary_matmul_{kernel}_{}", T::NAME);
        let blocks = self.groups().div_ceil(THREADS as usize / 32);
        self.fill(w.into(), &kernel, blocks, "W", must_be)
    }

    /// Reads packed bytes, groups in row-major order.
    ///
    /// # Errors
    /// When there are not as many as the shape asks for, or codes or scales are not allowed.
    pub fn from_packed(
        packing: Packing,
        packed: &Buffer<u8>,
        shape: [usize; 2],
    ) -> Result<TernaryWeights> {
        let mut weights = TernaryWeights::uninit(packed.device(), shape)?;
        let bytes = ("bytes of a group", packing.block_bytes());
        packed.expect_shape("packed", &[("groups", weights.groups()), bytes])?;
        let kernel = format!("ternary_matmul_from_{}", packing.name());
        let blocks = (weights.groups() * (GROUP / 16)).div_ceil(THREADS as usize);
        let must_be = "codes 0, 1 and 2, and scales that are finite and not negative";
        weights.fill(packed.into(), &kernel, blocks, "packed", must_be)?;
        Ok(weights)
    }

    /// Runs a kernel that writes all codes and scales, and counts what it refuses.
    fn fill(
        &mut self,
        from: Arg,
        kernel: &str,
        blocks: usize,
        name: &'static str,
        must_be: &str,
    ) -> Result<()> {
        let device = self.codes.device().clone();
        let mut refused = Buffer::from_slice(&device, &[0_u32])?;
        launch(
            &*device,
            &Module::embedded(FAMILY.name, &*device)?.kernel(kernel)?,
            LaunchConfig::linear(blocks as u32, THREADS),
            &[
                from,
                (&mut self.codes).into(),
                (&mut self.scales).into(),
                (&mut refused).into(),
                (self.groups() as u32).into(),
            ],
        )?;
        match refused.to_vec()?[0] {
            0 => Ok(()),
            count => out_of_range(name, format!("not, {count} times"), must_be.into()),
        }
    }

    /// The packed bytes, groups in row-major order.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub fn to_packed(&self, packing: Packing) -> Result<Buffer<u8>> {
        let device = self.codes.device();
        let mut packed = Buffer::uninit(device, self.groups() * packing.block_bytes())?;
        let kernel = format!("ternary_matmul_to_{}", packing.name());
        launch(
            &**device,
            &Module::embedded(FAMILY.name, &**device)?.kernel(&kernel)?,
            LaunchConfig::linear(
                self.groups().div_ceil(THREADS as usize / 32) as u32,
                THREADS,
            ),
            &[
                (&self.codes).into(),
                (&self.scales).into(),
                (&mut packed).into(),
                (self.groups() as u32).into(),
            ],
        )?;
        Ok(packed)
    }

    /// Rows of the dense weights by token: `out[tokens, columns]`.
    ///
    /// # Errors
    /// When a shape does not fit or a token is no row. Rows of such tokens are then undefined.
    pub fn embed<T: Float>(&self, tokens: &Buffer<i32>, out: &mut Buffer<T>) -> Result<()> {
        out.expect_shape("out", &[("tokens", tokens.len()), ("K", self.columns)])?;
        if tokens.is_empty() {
            return Ok(());
        }
        let device = self.codes.device();
        let mut refused = Buffer::from_slice(device, &[0_u32])?;
        self.launch(
            &format!("ternary_matmul_embed_{}", T::NAME),
            grid_of(tokens.len(), 1)?,
            &[
                tokens.into(),
                out.into(),
                (&mut refused).into(),
                (self.rows as u32).into(),
            ],
        )?;
        match refused.to_vec()?[0] {
            0 => Ok(()),
            count => {
                let must_be = format!("0 to {}", self.rows - 1);
                out_of_range("tokens", format!("beyond the rows, {count} times"), must_be)
            }
        }
    }

    /// Launches a kernel that reads these weights first.
    pub(super) fn launch(&self, kernel: &str, grid: [u32; 2], rest: &[Arg]) -> Result<()> {
        let device = self.codes.device();
        let config = LaunchConfig {
            grid: [grid[0], grid[1], 1],
            ..LaunchConfig::linear(1, THREADS)
        };
        let groups = (self.columns / GROUP) as u32;
        let own: [Arg; 3] = [(&self.codes).into(), (&self.scales).into(), groups.into()];
        launch(
            &**device,
            &Module::embedded(FAMILY.name, &**device)?.kernel(kernel)?,
            config,
            &[&own[..], rest].concat(),
        )
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        4 * self.codes.len() + 2 * self.scales.len()
    }

    /// Groups of 128.
    fn groups(&self) -> usize {
        self.scales.len()
    }
}
