//! LayerNorm and RMSNorm, backward: dx, dγ and dβ from x, dy and the statistics that the forward
//! pass saved.

use crate::{Arg, Buffer, Error, Float, LaunchConfig, Limits, Module, Result, launch};
use kernels_gpu::layernorm_backward::{
    BLOCK_THREADS, FAMILY, FINISH_COLUMNS, FINISH_WARPS, LANES_ANY_WIDTH, THREADS, WIDE_COLUMNS,
};

/// The size of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows, each normalised by itself.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T: Float> {
    /// `[rows, width]`: what the forward pass normalised.
    pub x: &'a Buffer<T>,
    /// `[rows, width]`: the gradient of its result.
    pub dy: &'a Buffer<T>,
    /// `[width]`: the scale γ; ones when absent.
    pub gamma: Option<&'a Buffer<T>>,
    /// `[rows]`, as the forward pass saved them; absent for RMSNorm.
    pub mean: Option<&'a Buffer<f32>>,
    /// `[rows]`: 1/σ, or 1/root mean square, as the forward pass saved them.
    pub rstd: &'a Buffer<f32>,
    /// `[rows, width]`: the gradient of a residual connection, added to dx.
    pub residual: Option<&'a Buffer<T>>,
}

/// What is written.
#[derive(Debug)]
pub struct Outputs<'a, T: Float> {
    /// `[rows, width]`.
    pub dx: &'a mut Buffer<T>,
    /// `[width]`.
    pub dgamma: &'a mut Buffer<f32>,
    /// `[width]`; absent for RMSNorm, and only for it.
    pub dbeta: Option<&'a mut Buffer<f32>>,
}

/// Which kernels run. The first ones are the simplest, the last ones read x and dy only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// Two passes, an element an access: any shape.
    TwoPassAny,
    /// Two passes, 16 bytes an access: rows of whole 16 bytes.
    TwoPass,
    /// One pass, some lanes of a warp a row, an element an access: width ≤ 128.
    LanesAny,
    /// One pass, some lanes of a warp a row, 16 bytes an access: rows of whole 16 bytes, ≤ 512.
    Lanes,
    /// One pass, a block a row: rows of whole 16 bytes, ≤ 8 KiB.
    Block,
    /// One pass, a block a row, several accesses a thread: rows of whole 16 bytes, width ≤ 8192.
    BlockWide,
}

impl Rung {
    /// All of them, the simplest first.
    pub const ALL: [Rung; 6] = [
        Rung::TwoPassAny,
        Rung::TwoPass,
        Rung::LanesAny,
        Rung::Lanes,
        Rung::Block,
        Rung::BlockWide,
    ];

    /// Whether it takes rows of `width` elements.
    pub fn takes<T: Float>(self, width: usize) -> bool {
        let whole_quads = width.is_multiple_of(T::PER_QUAD);
        let block = BLOCK_THREADS as usize;
        match self {
            Rung::TwoPassAny => true,
            Rung::TwoPass => whole_quads,
            Rung::LanesAny => width <= LANES_ANY_WIDTH as usize,
            Rung::Lanes => whole_quads && width <= 32 * T::PER_QUAD,
            Rung::Block => whole_quads && width <= block * T::PER_QUAD,
            Rung::BlockWide => whole_quads && width <= block * WIDE_COLUMNS as usize,
        }
    }

    /// The rung for rows of `width` elements.
    pub fn best<T: Float>(width: usize) -> Rung {
        use Rung::{Block, BlockWide, Lanes, LanesAny, TwoPass, TwoPassAny};
        [Lanes, LanesAny, Block, BlockWide, TwoPass]
            .into_iter()
            .find(|rung| rung.takes::<T>(width))
            .unwrap_or(TwoPassAny)
    }

    /// Elements of an access, and of all accesses of a thread, where the row stays in registers.
    fn columns<T: Float>(self) -> (usize, usize) {
        match self {
            Rung::TwoPassAny => (1, 1),
            Rung::LanesAny => (1, LANES_ANY_WIDTH as usize / 32),
            Rung::BlockWide => (T::PER_QUAD, WIDE_COLUMNS as usize),
            Rung::TwoPass | Rung::Lanes | Rung::Block => (T::PER_QUAD, T::PER_QUAD),
        }
    }
}

/// How a gradient is computed. The same plan gives the same bits on every run and every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The kernels.
    pub rung: Rung,
    /// Among how many blocks (of a column, with two passes) the rows are divided. dγ and dβ are
    /// first summed within each, then over them, through `8·shares·width` bytes of workspace.
    pub shares: u32,
}

/// Threads that a multiprocessor runs at once where each has up to 64 registers.
const RESIDENT: usize = 1024;
/// Shares that a grid can have along y.
const MOST_SHARES: usize = 65_535;
/// Rows that a team has at least, where there are as many: each share of dγ and dβ costs as much
/// traffic as a few rows.
const LEAST_ROWS: usize = 4;

impl Plan {
    /// The plan for a shape, on a device of these limits.
    ///
    /// ```
    /// use kernels_host::Limits;
    /// use kernels_host::layernorm_backward::{Plan, Rung, Shape};
    ///
    /// let shape = Shape { rows: 16_384, width: 4096 };
    /// let plan = Plan::best::<f32>(shape, Limits::SM_90);
    /// // Rows of 16 KiB, in blocks of 256 threads: two on each of 132 multiprocessors.
    /// assert_eq!((plan.rung, plan.shares), (Rung::BlockWide, 264));
    /// ```
    pub fn best<T: Float>(shape: Shape, limits: Limits) -> Plan {
        Plan::with_rung::<T>(shape, Rung::best::<T>(shape.width), limits)
    }

    /// The plan for a shape with given kernels: as many blocks as the device runs at once.
    pub fn with_rung<T: Float>(shape: Shape, rung: Rung, limits: Limits) -> Plan {
        let team = Team::of::<T>(rung, shape.width);
        let resident = RESIDENT * limits.multiprocessors as usize / team.threads;
        let most = match rung {
            // Columns are independent: several blocks of each wait for the others' memory.
            Rung::TwoPassAny | Rung::TwoPass => (2 * resident).div_ceil(team.column_blocks),
            Rung::LanesAny => resident,
            Rung::Lanes | Rung::Block if T::PER_QUAD == 4 => resident,
            // More columns a thread, so more of dγ and dβ in registers.
            Rung::Lanes | Rung::Block | Rung::BlockWide => resident / 2,
        };
        let enough = shape.rows.div_ceil(LEAST_ROWS * team.rows);
        Plan {
            rung,
            shares: enough.clamp(1, most.clamp(1, MOST_SHARES)) as u32,
        }
    }
}

/// How the threads of a block are divided among rows.
struct Team {
    /// Threads of a block.
    threads: usize,
    /// Rows a block has at a time.
    rows: usize,
    /// Lanes a row has, when a warp has several.
    lanes: usize,
    /// Blocks side by side in a row, with two passes.
    column_blocks: usize,
}

impl Team {
    fn of<T: Float>(rung: Rung, width: usize) -> Team {
        let (access, columns) = rung.columns::<T>();
        let (mut threads, mut rows, mut lanes, mut column_blocks) = (THREADS as usize, 1, 32, 1);
        match rung {
            Rung::TwoPassAny | Rung::TwoPass => {
                column_blocks = width.div_ceil(access * threads);
            }
            Rung::LanesAny | Rung::Lanes => {
                lanes = width.div_ceil(columns).next_power_of_two().min(32);
                rows = threads / lanes;
            }
            Rung::Block | Rung::BlockWide => {
                let needed = width.div_ceil(columns).next_multiple_of(32);
                threads = needed.min(BLOCK_THREADS as usize);
            }
        }
        Team {
            threads,
            rows,
            lanes,
            column_blocks,
        }
    }
}

/// The gradients of LayerNorm, or of RMSNorm when `mean` is absent.
///
/// ```text
/// x̂ = (x − mean)·rstd    g = dy·γ
/// dx = rstd·(g − mean(g) − x̂·mean(g·x̂)) + residual      dγ = Σ_rows dy·x̂      dβ = Σ_rows dy
/// ```
/// Sums are f32. NaN in an input makes NaN of what depends on it.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::layernorm_backward::{Inputs, Outputs, Shape, layernorm_backward};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let x = Buffer::from_slice(&device, &[1.0_f32, 3.0])?;
/// let dy = Buffer::from_slice(&device, &[0.5_f32, 0.25])?;
/// let mean = Buffer::from_slice(&device, &[2.0_f32])?;
/// let rstd = Buffer::from_slice(&device, &[1.0_f32])?;
/// let mut dx = Buffer::<f32>::uninit(&device, 2)?;
/// let mut dgamma = Buffer::uninit(&device, 2)?;
/// let mut dbeta = Buffer::uninit(&device, 2)?;
/// layernorm_backward(
///     Shape { rows: 1, width: 2 },
///     Inputs { x: &x, dy: &dy, gamma: None, mean: Some(&mean), rstd: &rstd, residual: None },
///     Outputs { dx: &mut dx, dgamma: &mut dgamma, dbeta: Some(&mut dbeta) },
/// )?;
/// // Two elements: all of the gradient lies along 1 and x̂, and nothing is left.
/// assert_eq!(dx.to_vec()?, [0.0, 0.0]);
/// assert_eq!(dgamma.to_vec()?, [-0.5, 0.25]);
/// assert_eq!(dbeta.to_vec()?, [0.5, 0.25]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// When a shape does not fit, `dbeta` is there without `mean` or the reverse, or buffers live on
/// different devices; nothing is launched then.
pub fn layernorm_backward<T: Float>(
    shape: Shape,
    inputs: Inputs<'_, T>,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    let plan = Plan::best::<T>(shape, inputs.x.device().limits());
    layernorm_backward_by(plan, shape, inputs, outputs)
}

/// [`layernorm_backward`] by given kernels.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::layernorm_backward::{
///     Inputs, Outputs, Plan, Rung, Shape, layernorm_backward_by,
/// };
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let shape = Shape { rows: 2, width: 1 };
/// let x = Buffer::from_slice(&device, &[3.0_f32, -4.0])?;
/// let dy = Buffer::from_slice(&device, &[1.0_f32, 2.0])?;
/// let rstd = Buffer::from_slice(&device, &[0.5_f32, 0.25])?;
/// let mut dx = Buffer::<f32>::uninit(&device, 2)?;
/// let mut dgamma = Buffer::uninit(&device, 1)?;
/// let plan = Plan::with_rung::<f32>(shape, Rung::TwoPassAny, device.limits());
/// // RMSNorm: no mean, no dβ.
/// layernorm_backward_by(
///     plan,
///     shape,
///     Inputs { x: &x, dy: &dy, gamma: None, mean: None, rstd: &rstd, residual: None },
///     Outputs { dx: &mut dx, dgamma: &mut dgamma, dbeta: None },
/// )?;
/// assert_eq!(dgamma.to_vec()?, [1.0 * 3.0 * 0.5 + 2.0 * -4.0 * 0.25]);
/// # Ok::<(), kernels_host::Error>(())
/// ```
///
/// # Errors
/// As there, and when the rung does not take the width or there are no shares, or more than 65535.
pub fn layernorm_backward_by<T: Float>(
    plan: Plan,
    shape: Shape,
    inputs: Inputs<'_, T>,
    outputs: Outputs<'_, T>,
) -> Result<()> {
    check(plan, shape, &inputs, &outputs)?;
    let Shape { rows, width } = shape;
    let device = inputs.x.device();
    let partial = Buffer::<f32>::uninit(device, 2 * plan.shares as usize * width)?;
    let module = Module::embedded(FAMILY.name, &**device)?;
    let kernel = |name: &str| module.kernel(&format!("layernorm_backward_{name}_{}", T::NAME));
    let common = [
        inputs.x.into(),
        inputs.dy.into(),
        Arg::optional(inputs.gamma),
        Arg::optional(inputs.mean),
        inputs.rstd.into(),
        Arg::optional(inputs.residual),
        outputs.dx.into(),
        (&partial).into(),
        (rows as u32).into(),
        (width as u32).into(),
    ];
    let with = |extra: &[Arg]| [&common[..], extra].concat();
    let team = Team::of::<T>(plan.rung, width);
    let blocks = LaunchConfig::linear(plan.shares, team.threads as u32);
    let finish = module.kernel("layernorm_backward_finish")?;
    let is_layer = u32::from(outputs.dbeta.is_some());
    let finish_args = [
        (&partial).into(),
        outputs.dgamma.into(),
        Arg::optional(outputs.dbeta.as_deref()),
        plan.shares.into(),
        (width as u32).into(),
    ];
    match plan.rung {
        Rung::TwoPassAny | Rung::TwoPass => {
            let means = Buffer::<f32>::uninit(device, 2 * rows)?;
            let args = with(&[(&means).into()]);
            let any = match plan.rung {
                Rung::TwoPassAny => "_any",
                _ => "",
            };
            let by_row = kernel(&format!("means{any}"))?;
            let by_column = kernel(&format!("columns{any}"))?;
            launch(
                &**device,
                &by_row,
                LaunchConfig::linear(rows as u32, THREADS),
                &args,
            )?;
            let columns = LaunchConfig {
                grid: [team.column_blocks as u32, plan.shares, 1],
                ..LaunchConfig::linear(1, THREADS)
            };
            launch(&**device, &by_column, columns, &args)?;
        }
        Rung::LanesAny | Rung::Lanes => {
            let any = match plan.rung {
                Rung::LanesAny => "lanes_any",
                _ => "lanes",
            };
            let args = with(&[(team.lanes as u32).into()]);
            launch(&**device, &kernel(any)?, blocks, &args)?;
        }
        Rung::Block => launch(&**device, &kernel("block")?, blocks, &common)?,
        Rung::BlockWide => launch(&**device, &kernel("block_wide")?, blocks, &common)?,
    }
    let second_stage = LaunchConfig {
        grid: [(width as u32).div_ceil(FINISH_COLUMNS), 1 + is_layer, 1],
        ..LaunchConfig::linear(1, FINISH_COLUMNS * FINISH_WARPS)
    };
    launch(&**device, &finish, second_stage, &finish_args)
}

fn check<T: Float>(
    plan: Plan,
    shape: Shape,
    inputs: &Inputs<'_, T>,
    outputs: &Outputs<'_, T>,
) -> Result<()> {
    let refuse = |name, got: String, must_be: &str| {
        let must_be = must_be.into();
        Err(Error::Parameter { name, got, must_be })
    };
    let Shape { rows, width } = shape;
    for (name, size) in [("rows", rows), ("width", width)] {
        // Grids count blocks in 31 bits; columns are counted up to an access past the end in 32.
        if !(1..=i32::MAX as usize).contains(&size) {
            return refuse(name, size.to_string(), "1 to 2147483647");
        }
    }
    if !plan.rung.takes::<T>(width) {
        let rung = format!("{:?} for a width of {width}", plan.rung);
        return refuse("rung", rung, "one that takes the width");
    }
    if !(1..=MOST_SHARES as u32).contains(&plan.shares) {
        return refuse("shares", plan.shares.to_string(), "1 to 65535");
    }
    let (all, of_rows) = ([("rows", rows), ("width", width)], [("rows", rows)]);
    let of_width = [("width", width)];
    inputs.x.expect_shape("x", &all)?;
    inputs.dy.expect_shape("dy", &all)?;
    inputs.rstd.expect_shape("rstd", &of_rows)?;
    if let Some(gamma) = inputs.gamma {
        gamma.expect_shape("gamma", &of_width)?;
    }
    if let Some(mean) = inputs.mean {
        mean.expect_shape("mean", &of_rows)?;
    }
    if let Some(residual) = inputs.residual {
        residual.expect_shape("residual", &all)?;
    }
    outputs.dx.expect_shape("dx", &all)?;
    outputs.dgamma.expect_shape("dgamma", &of_width)?;
    match (&outputs.dbeta, inputs.mean) {
        (Some(dbeta), Some(_)) => dbeta.expect_shape("dbeta", &of_width)?,
        (None, None) => {}
        (Some(_), None) => return refuse("dbeta", "given".into(), "absent without `mean`"),
        (None, Some(_)) => return refuse("dbeta", "absent".into(), "given with `mean`"),
    }
    // A buffer of another device would be found at a later launch, with the first ones under way.
    let device = inputs.x.device().id();
    let foreign = outputs.dgamma.device().id() != device
        || outputs
            .dbeta
            .as_ref()
            .is_some_and(|b| b.device().id() != device);
    if foreign {
        return refuse(
            "dgamma and dbeta",
            "on another device".into(),
            "on that of `x`",
        );
    }
    Ok(())
}
