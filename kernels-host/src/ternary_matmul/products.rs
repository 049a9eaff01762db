//! Products with ternary weights, and their gradients.

use super::{GROUP, TernaryWeights, grid_of, out_of_range};
use crate::{Arg, Buffer, Float, LaunchConfig, Module, Result, launch};
use kernels_gpu::ternary_matmul::{DW_ROWS, DW_TILE_ROWS, DX_TILE, FAMILY, TENSOR_ROWS, THREADS};

/// Which kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// A row of x (of dy) at a time.
    OneRow,
    /// Eight rows at a time: a weight is unpacked once for all of them.
    EightRows,
    /// Eight rows of x at a time on tensor cores: f16 and bf16, forward.
    Tensor8,
    /// 32 rows of x at a time on tensor cores: f16 and bf16, forward.
    Tensor32,
    /// On tensor cores: f16 and bf16, the gradients, where 8 divides N.
    Tensor,
}

impl Rung {
    /// Those of the forward product, the simplest first.
    pub const FORWARD: [Rung; 4] = [Rung::OneRow, Rung::EightRows, Rung::Tensor8, Rung::Tensor32];

    /// Those of the input's gradient, the simplest first.
    pub const INPUT_GRADIENT: [Rung; 3] = [Rung::OneRow, Rung::EightRows, Rung::Tensor];

    /// Those of the weights' gradient, the simplest first. Its rows are those of dW.
    pub const WEIGHT_GRADIENT: [Rung; 2] = [Rung::EightRows, Rung::Tensor];

    /// Whether the forward product of the type has it: tensor cores would round f32.
    pub fn takes_forward<T: Float>(self) -> bool {
        match self {
            Rung::OneRow | Rung::EightRows => true,
            Rung::Tensor8 | Rung::Tensor32 => size_of::<T>() == 2,
            Rung::Tensor => false,
        }
    }

    /// Whether the input's gradient of the type has it, with N rows of weights.
    pub fn takes_input_gradient<T: Float>(self, n: usize) -> bool {
        let tensor = self == Rung::Tensor && size_of::<T>() == 2 && n.is_multiple_of(8);
        tensor || matches!(self, Rung::OneRow | Rung::EightRows)
    }

    /// Whether the weights' gradient of the type has it, with N rows of weights.
    pub fn takes_weight_gradient<T: Float>(self, n: usize) -> bool {
        self != Rung::OneRow && self.takes_input_gradient::<T>(n)
    }

    /// The forward rung for M rows.
    pub fn best_forward<T: Float>(m: usize) -> Rung {
        match (size_of::<T>(), m) {
            (2, ..=8) => Rung::Tensor8,
            (2, _) => Rung::Tensor32,
            (_, 1) => Rung::OneRow,
            _ => Rung::EightRows,
        }
    }

    /// The rung of the input's gradient for M rows and N rows of weights.
    pub fn best_input_gradient<T: Float>(m: usize, n: usize) -> Rung {
        match m {
            _ if Rung::Tensor.takes_input_gradient::<T>(n) => Rung::Tensor,
            1 => Rung::OneRow,
            _ => Rung::EightRows,
        }
    }

    /// The rung of the weights' gradient for N rows of weights.
    pub fn best_weight_gradient<T: Float>(n: usize) -> Rung {
        if Rung::Tensor.takes_weight_gradient::<T>(n) {
            Rung::Tensor
        } else {
            Rung::EightRows
        }
    }

    /// Rows of x at a time.
    fn rows(self) -> usize {
        match self {
            Rung::OneRow => 1,
            Rung::EightRows | Rung::Tensor8 => 8,
            Rung::Tensor => DX_TILE as usize,
            Rung::Tensor32 => 32,
        }
    }

    fn refuse(self, takes: bool, of: &str) -> Result<()> {
        if takes {
            return Ok(());
        }
        out_of_range(
            "rung",
            format!("{self:?}"),
            format!("one of {of}, its type and N"),
        )
    }
}

/// `y[M, N] = x[M, K]·Ŵᵀ`.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::{TernaryWeights, forward};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// // One row: +2, −2, and zeros: mean|W| = 4/128, and both are beyond half of it.
/// let mut dense = [0.0_f32; 128];
/// (dense[3], dense[7]) = (2.0, -2.0);
/// let weights = TernaryWeights::quantise(&Buffer::from_slice(&device, &dense)?, [1, 128])?;
/// let mut ramp = [0.0_f32; 128];
/// (ramp[3], ramp[7]) = (1.0, 9.0);
/// let mut y = Buffer::<f32>::uninit(&device, 1)?;
/// forward(&weights, &Buffer::from_slice(&device, &ramp)?, &mut y, 1)?;
/// assert_eq!(y.to_vec()?, [(1.0 - 9.0) * 4.0 / 128.0]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When a shape does not fit; nothing is launched then.
pub fn forward<T: Float>(
    weights: &TernaryWeights,
    x: &Buffer<T>,
    y: &mut Buffer<T>,
    m: usize,
) -> Result<()> {
    forward_by(Rung::best_forward::<T>(m), weights, x, y, m)
}

/// [`forward`] by given kernels.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::{Rung, TernaryWeights, forward_by};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let dense = Buffer::from_slice(&device, &[0.25_f32; 128])?;
/// let weights = TernaryWeights::quantise(&dense, [1, 128])?;
/// let x = Buffer::from_slice(&device, &[2.0_f32; 128])?;
/// let mut y = Buffer::<f32>::uninit(&device, 1)?;
/// forward_by(Rung::OneRow, &weights, &x, &mut y, 1)?;
/// assert_eq!(y.to_vec()?, [64.0]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// As there, and when the type does not have the rung.
pub fn forward_by<T: Float>(
    rung: Rung,
    weights: &TernaryWeights,
    x: &Buffer<T>,
    y: &mut Buffer<T>,
    m: usize,
) -> Result<()> {
    let (n, k) = (weights.rows(), weights.columns());
    check_rows(m)?;
    x.expect_shape("x", &[("M", m), ("K", k)])?;
    y.expect_shape("y", &[("M", m), ("N", n)])?;
    rung.refuse(rung.takes_forward::<T>(), "the forward product")?;
    let (kind, of_weights) = match rung {
        Rung::OneRow | Rung::EightRows => ("forward", THREADS / 32),
        Rung::Tensor | Rung::Tensor8 | Rung::Tensor32 => ("tensor", TENSOR_ROWS),
    };
    let grid = grid_of(n.div_ceil(of_weights as usize), m.div_ceil(rung.rows()))?;
    let name = format!("ternary_matmul_{kind}{}_{}", rung.rows(), T::NAME);
    let sizes: [Arg; 2] = [(m as u32).into(), (n as u32).into()];
    weights.launch(&name, grid, &[x.into(), y.into(), sizes[0], sizes[1]])
}

/// `dx[M, K] = dy[M, N]·Ŵ`.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::{TernaryWeights, input_gradient};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let dense: Vec<f32> = [0.5_f32; 128].into_iter().chain([-0.5; 128]).collect();
/// let weights = TernaryWeights::exact(&Buffer::from_slice(&device, &dense)?, [2, 128])?;
/// let dy = Buffer::from_slice(&device, &[3.0_f32, 1.0])?;
/// let mut dx = Buffer::<f32>::uninit(&device, 128)?;
/// input_gradient(&weights, &dy, &mut dx, 1)?;
/// assert_eq!(dx.to_vec()?, [1.0; 128]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When a shape does not fit; nothing is launched then.
pub fn input_gradient<T: Float>(
    weights: &TernaryWeights,
    dy: &Buffer<T>,
    dx: &mut Buffer<T>,
    m: usize,
) -> Result<()> {
    input_gradient_by(
        Rung::best_input_gradient::<T>(m, weights.rows()),
        weights,
        dy,
        dx,
        m,
    )
}

/// [`input_gradient`] by given kernels.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::{Rung, TernaryWeights, input_gradient_by};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let dense = Buffer::from_slice(&device, &[-0.25_f32; 128])?;
/// let weights = TernaryWeights::quantise(&dense, [1, 128])?;
/// let dy = Buffer::from_slice(&device, &[8.0_f32])?;
/// let mut dx = Buffer::<f32>::uninit(&device, 128)?;
/// input_gradient_by(Rung::EightRows, &weights, &dy, &mut dx, 1)?;
/// assert_eq!(dx.to_vec()?, [-2.0; 128]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// As there, and when the type or N does not have the rung.
pub fn input_gradient_by<T: Float>(
    rung: Rung,
    weights: &TernaryWeights,
    dy: &Buffer<T>,
    dx: &mut Buffer<T>,
    m: usize,
) -> Result<()> {
    let (n, k) = (weights.rows(), weights.columns());
    check_rows(m)?;
    dy.expect_shape("dy", &[("M", m), ("N", n)])?;
    dx.expect_shape("dx", &[("M", m), ("K", k)])?;
    rung.refuse(rung.takes_input_gradient::<T>(n), "the input's gradient")?;
    let grid = grid_of(k / GROUP, m.div_ceil(rung.rows()))?;
    let name = match rung {
        Rung::Tensor => format!("ternary_matmul_dx_tensor_{}", T::NAME),
        _ => format!("ternary_matmul_dx{}_{}", rung.rows(), T::NAME),
    };
    let sizes: [Arg; 2] = [(m as u32).into(), (n as u32).into()];
    weights.launch(&name, grid, &[dy.into(), dx.into(), sizes[0], sizes[1]])
}

/// `dW[N, K] = dyᵀ·x`, f32: the gradient of the dense weights straight through the quantiser, with
/// no clipping and the scales as constants. K is a multiple of 128.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::weight_gradient;
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let dy = Buffer::from_slice(&device, &[2.0_f32, -1.0])?;
/// let x = Buffer::from_slice(&device, &[3.0_f32; 128])?;
/// let mut dw = Buffer::uninit(&device, 2 * 128)?;
/// weight_gradient(&dy, &x, &mut dw, [1, 2, 128])?;
/// assert_eq!(dw.to_vec()?[126..130], [6.0, 6.0, -3.0, -3.0]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When a shape does not fit; nothing is launched then.
pub fn weight_gradient<T: Float>(
    dy: &Buffer<T>,
    x: &Buffer<T>,
    dw: &mut Buffer<f32>,
    [m, n, k]: [usize; 3],
) -> Result<()> {
    let rung = Rung::best_weight_gradient::<T>(n);
    weight_gradient_by(rung, dy, x, dw, [m, n, k])
}

/// [`weight_gradient`] by given kernels.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::ternary_matmul::{Rung, weight_gradient_by};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let dy = Buffer::from_slice(&device, &[2.0_f32])?;
/// let x = Buffer::from_slice(&device, &[0.5_f32; 128])?;
/// let mut dw = Buffer::uninit(&device, 128)?;
/// weight_gradient_by(Rung::EightRows, &dy, &x, &mut dw, [1, 1, 128])?;
/// assert_eq!(dw.to_vec()?, [1.0; 128]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// As there, and when the type or N does not have the rung.
pub fn weight_gradient_by<T: Float>(
    rung: Rung,
    dy: &Buffer<T>,
    x: &Buffer<T>,
    dw: &mut Buffer<f32>,
    [m, n, k]: [usize; 3],
) -> Result<()> {
    check_rows(m)?;
    let most = i32::MAX as usize;
    if !(1..=most).contains(&n) {
        return out_of_range("N", n, format!("1 to {most}"));
    }
    if k == 0 || !k.is_multiple_of(GROUP) || k / GROUP > 65_535 {
        return out_of_range("K", k, format!("{GROUP} to 65535 times that, a multiple"));
    }
    dy.expect_shape("dy", &[("M", m), ("N", n)])?;
    x.expect_shape("x", &[("M", m), ("K", k)])?;
    dw.expect_shape("dW", &[("N", n), ("K", k)])?;
    let device = dy.device();
    rung.refuse(rung.takes_weight_gradient::<T>(n), "the weights' gradient")?;
    let (kind, rows) = match rung {
        Rung::Tensor => ("_tensor", DW_TILE_ROWS),
        _ => ("", DW_ROWS * (THREADS / 32)),
    };
    let groups = (k / GROUP) as u32;
    launch(
        &**device,
        &Module::embedded(FAMILY.name, &**device)?
            .kernel(&format!("ternary_matmul_dw{kind}_{}", T::NAME))?,
        LaunchConfig {
            grid: [(n as u32).div_ceil(rows), groups, 1],
            ..LaunchConfig::linear(1, THREADS)
        },
        &[
            dy.into(),
            x.into(),
            dw.into(),
            (m as u32).into(),
            (n as u32).into(),
            groups.into(),
        ],
    )
}

pub(super) fn check_rows(m: usize) -> Result<()> {
    let most = i32::MAX as usize;
    if (1..=most).contains(&m) {
        Ok(())
    } else {
        out_of_range("M", m, format!("1 to {most}"))
    }
}
