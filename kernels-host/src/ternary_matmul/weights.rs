//! Ternary weights on a device, and their packed forms.

use super::products::check_rows;
use super::{grid_of, out_of_range};
use crate::{Arg, Buffer, Device, Float, LaunchConfig, Module, Result, launch};
use half::f16;
use kernels_gpu::ternary_matmul::{FAMILY, TENSOR_ROWS, THREADS};
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
/// Codes and scales lie in two buffers, in the order of the kernels; [`from_packed`] and [`to_packed`]
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

const HAS_SCALES: &str = "finite, with a mean that f16 holds";

/// Rows whose scales of a group lie together.
const TILE: usize = TENSOR_ROWS as usize;

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
            scales: if rows.is_multiple_of(TILE) {
                Buffer::uninit(device, groups)?
            } else {
                // Kernels read whole tiles.
                let whole = rows.div_ceil(TILE) * TILE * (columns / GROUP);
                Buffer::from_slice(device, &vec![f16::ZERO; whole])?
            },
            rows,
            columns,
        })
    }

    /// Quantises dense weights `w[rows, columns]`: `d = f16(mean|W|)` over each group,
    /// `t = clamp(round_half_even(W/d), −1, 1)`. A group of zeros gets d = 0, t = 0.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::ternary_matmul::{Packing, TernaryWeights};
    /// use kernels_host::{Buffer, Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let w = Buffer::from_slice(&device, &[-0.5_f32; 128])?;
    /// let packed = TernaryWeights::quantise(&w, [1, 128])?.to_packed(Packing::TwoBit)?;
    /// // ½ in f16, and 128 codes of 0, which mean −1.
    /// let mut expected = [0; 34];
    /// expected[1] = 0x38;
    /// assert_eq!(packed.to_vec()?, expected);
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
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
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::ternary_matmul::TernaryWeights;
    /// use kernels_host::{Buffer, Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let mut w = Buffer::from_slice(&device, &[0.5_f32; 128])?;
    /// let mut weights = TernaryWeights::quantise(&w, [1, 128])?;
    /// w.write(&[-2.0; 128])?;
    /// weights.requantise(&w)?;
    /// let mut row = Buffer::<f32>::uninit(&device, 128)?;
    /// weights.embed(&Buffer::from_slice(&device, &[0])?, &mut row)?;
    /// assert_eq!(row.to_vec()?, [-2.0; 128]);
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there; these weights are then undefined.
    pub fn requantise<T: Float>(&mut self, w: &Buffer<T>) -> Result<()> {
        self.take_dense(w, "quantise", HAS_SCALES)
    }

    /// Takes dense weights that are ternary already: each group holds −d, 0 and +d only, for one
    /// d that f16 holds exactly.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::ternary_matmul::{TernaryWeights, forward};
    /// use kernels_host::{Buffer, Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let mut dense = [0.0_f32; 128];
    /// (dense[0], dense[1]) = (0.75, -0.75);
    /// // Quantising would take the mean, 1.5/128, for the scale.
    /// let weights = TernaryWeights::exact(&Buffer::from_slice(&device, &dense)?, [1, 128])?;
    /// let mut x = [0.0_f32; 128];
    /// x[0] = 4.0;
    /// let mut y = Buffer::<f32>::uninit(&device, 1)?;
    /// forward(&weights, &Buffer::from_slice(&device, &x)?, &mut y, 1)?;
    /// assert_eq!(y.to_vec()?, [3.0]);
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`quantise`](TernaryWeights::quantise), and when a group is not ternary.
    pub fn exact<T: Float>(w: &Buffer<T>, shape: [usize; 2]) -> Result<TernaryWeights> {
        let mut weights = TernaryWeights::uninit(w.device(), shape)?;
        weights.take_dense(w, "exact", "−d, 0 and +d only, d a number of f16")?;
        Ok(weights)
    }

    /// [`requantise`](TernaryWeights::requantise) from f32 weights, and `y[M, N] = x[M, K]·Ŵᵀ` with
    /// the new ones, in one launch: a step of training reads its dense weights once.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::ternary_matmul::TernaryWeights;
    /// use kernels_host::{Buffer, Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let mut w = Buffer::from_slice(&device, &[0.25_f32; 128])?;
    /// let mut weights = TernaryWeights::quantise(&w, [1, 128])?;
    /// w.write(&[-0.5; 128])?;
    /// let x = Buffer::from_slice(&device, &[1.0_f32; 128])?;
    /// let mut y = Buffer::<f32>::uninit(&device, 1)?;
    /// weights.requantise_forward(&w, &x, &mut y, 1)?;
    /// assert_eq!(y.to_vec()?, [-64.0]);
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a shape does not fit, with nothing launched; when a group has no scale, and then weights
    /// and y are undefined.
    pub fn requantise_forward<T: Float>(
        &mut self,
        w: &Buffer<f32>,
        x: &Buffer<T>,
        y: &mut Buffer<T>,
        m: usize,
    ) -> Result<()> {
        check_rows(m)?;
        w.expect_shape("W", &[("N", self.rows), ("K", self.columns)])?;
        x.expect_shape("x", &[("M", m), ("K", self.columns)])?;
        y.expect_shape("y", &[("M", m), ("N", self.rows)])?;
        let of_block = match size_of::<T>() {
            2 => TILE,
            _ => THREADS as usize / 32,
        };
        let kernel = format!("ternary_matmul_fused_{}", T::NAME);
        let blocks = self.rows.div_ceil(of_block);
        let sizes: [Arg; 3] = [
            ((self.columns / GROUP) as u32).into(),
            (m as u32).into(),
            (self.rows as u32).into(),
        ];
        let rest = [sizes[0], x.into(), y.into(), sizes[1], sizes[2]];
        self.fill(w.into(), &kernel, blocks, &rest, "W", HAS_SCALES)
    }

    fn take_dense<T: Float>(&mut self, w: &Buffer<T>, kernel: &str, must_be: &str) -> Result<()> {
        w.expect_shape("W", &[("N", self.rows), ("K", self.columns)])?;
        let kernel = format!("ternary_matmul_{kernel}_{}", T::NAME);
        let of_row = self.columns / GROUP;
        let warps = self.rows.div_ceil(TILE) * of_row;
        let blocks = warps.div_ceil(THREADS as usize / 32);
        let sizes: [Arg; 2] = [(self.rows as u32).into(), (of_row as u32).into()];
        self.fill(w.into(), &kernel, blocks, &sizes, "W", must_be)
    }

    /// Reads packed bytes, groups in row-major order.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::ternary_matmul::{Packing, TernaryWeights};
    /// use kernels_host::{Buffer, Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let mut bytes = [0b10_10_10_10_u8; 34];
    /// bytes[..2].copy_from_slice(&0x3c00_u16.to_le_bytes());
    /// let bytes = Buffer::from_slice(&device, &bytes)?;
    /// let weights = TernaryWeights::from_packed(Packing::TwoBit, &bytes, [1, 128])?;
    /// // All ones: digits of 2, 242 for five of them, 26 for the last three.
    /// let base3 = weights.to_packed(Packing::Base3)?.to_vec()?;
    /// assert_eq!((base3[2], base3[27]), (242, 26));
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
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
        let sizes = weights.sizes();
        weights.fill(packed.into(), &kernel, blocks, &sizes, "packed", must_be)?;
        Ok(weights)
    }

    /// Runs a kernel that writes all codes and scales, and counts what it refuses.
    fn fill(
        &mut self,
        from: Arg,
        kernel: &str,
        blocks: usize,
        rest: &[Arg],
        name: &'static str,
        must_be: &str,
    ) -> Result<()> {
        let device = self.codes.device().clone();
        let mut refused = Buffer::from_slice(&device, &[0_u32])?;
        let own: [Arg; 4] = [
            from,
            (&mut self.codes).into(),
            (&mut self.scales).into(),
            (&mut refused).into(),
        ];
        launch(
            &*device,
            &Module::embedded(FAMILY.name, &*device)?.kernel(kernel)?,
            LaunchConfig::linear(blocks as u32, THREADS),
            &[&own[..], rest].concat(),
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
                ((self.columns / GROUP) as u32).into(),
            ],
        )?;
        Ok(packed)
    }

    /// Rows of the dense weights by token: `out[tokens, columns]`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::ternary_matmul::TernaryWeights;
    /// use kernels_host::{Buffer, Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let table: Vec<f32> = [0.5; 128].into_iter().chain([-2.0; 128]).collect();
    /// let table = TernaryWeights::quantise(&Buffer::from_slice(&device, &table)?, [2, 128])?;
    /// let tokens = Buffer::from_slice(&device, &[1, 0])?;
    /// let mut rows = Buffer::<f32>::uninit(&device, 2 * 128)?;
    /// table.embed(&tokens, &mut rows)?;
    /// assert_eq!(rows.to_vec()?[127..129], [-2.0, 0.5]);
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
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

    /// Bytes on the device: 2.125 bits a weight, and up to 15 scales a group where 16 does not divide
    /// the rows.
    pub fn bytes(&self) -> usize {
        4 * self.codes.len() + 2 * self.scales.len()
    }

    /// Groups, and groups of a row, as kernels take them.
    fn sizes(&self) -> [Arg; 2] {
        [
            (self.groups() as u32).into(),
            ((self.columns / GROUP) as u32).into(),
        ]
    }

    /// Groups of 128.
    fn groups(&self) -> usize {
        self.codes.len() / (GROUP / 16)
    }
}
