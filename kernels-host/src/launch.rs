//! A launch, checked against the kernel's own signature and the device's limits before the device
//! hears of it.

use crate::footprint::fixed_shared;
use crate::{Buffer, Device, DeviceId, Element, Error, Kernel, Limits, Result};
use simt::ptx::types::{ScalarType, TypeKind};

/// How many blocks, of how many threads, with how much dynamic shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory a block.
    pub shared: u32,
}

impl LaunchConfig {
    /// `blocks` blocks of `threads` threads in a row.
    pub fn linear(blocks: u32, threads: u32) -> LaunchConfig {
        LaunchConfig {
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared: 0,
        }
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// The address of a buffer, and the device it lives on.
    Buffer(u64, DeviceId),
    /// A null pointer.
    Null,
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 32-bit signed integer.
    I32(i32),
    /// A 64-bit unsigned integer.
    U64(u64),
    /// A 64-bit signed integer.
    I64(i64),
    /// A single-precision float.
    F32(f32),
    /// A double-precision float.
    F64(f64),
}

impl Arg {
    /// A buffer, or a null pointer where there is none.
    pub fn optional<T: Element>(buffer: Option<&Buffer<T>>) -> Arg {
        buffer.map_or(Arg::Null, Arg::from)
    }

    /// The bytes that the kernel's parameter gets.
    pub fn bytes(&self) -> Vec<u8> {
        match *self {
            Arg::Buffer(address, _) => address.to_le_bytes().into(),
            Arg::Null => 0_u64.to_le_bytes().into(),
            Arg::U32(value) => value.to_le_bytes().into(),
            Arg::I32(value) => value.to_le_bytes().into(),
            Arg::U64(value) => value.to_le_bytes().into(),
            Arg::I64(value) => value.to_le_bytes().into(),
            Arg::F32(value) => value.to_le_bytes().into(),
            Arg::F64(value) => value.to_le_bytes().into(),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Arg::Buffer(..) => "a buffer",
            Arg::Null => "a null pointer",
            Arg::U32(_) => "a u32",
            Arg::I32(_) => "an i32",
            Arg::U64(_) => "a u64",
            Arg::I64(_) => "an i64",
            Arg::F32(_) => "an f32",
            Arg::F64(_) => "an f64",
        }
    }

    /// Whether a parameter of that type takes it. PTX does not tell signed from unsigned in
    /// parameters reliably, and pointers are integers of 64 bits.
    fn fits(&self, ty: ScalarType) -> bool {
        let (bits, float) = match self {
            Arg::Buffer(..) | Arg::Null | Arg::U64(_) | Arg::I64(_) => (64, false),
            Arg::U32(_) | Arg::I32(_) => (32, false),
            Arg::F32(_) => (32, true),
            Arg::F64(_) => (64, true),
        };
        let kind_fits = match ty.kind() {
            TypeKind::Float => float,
            TypeKind::Unsigned | TypeKind::Signed => !float,
            TypeKind::Bits => true,
            _ => false,
        };
        ty.bits() == bits && kind_fits
    }
}

impl<T: Element> From<&Buffer<T>> for Arg {
    fn from(buffer: &Buffer<T>) -> Arg {
        Arg::Buffer(buffer.address(), buffer.device().id())
    }
}

impl<T: Element> From<&mut Buffer<T>> for Arg {
    fn from(buffer: &mut Buffer<T>) -> Arg {
        Arg::from(&*buffer)
    }
}

macro_rules! scalar_args {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<$t> for Arg {
            fn from(value: $t) -> Arg {
                Arg::$variant(value)
            }
        }
    )*};
}
scalar_args!(u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64);

/// A launch that fits the kernel and the device. Only [`launch`] and [`CheckedLaunch::new`] make
/// one, so a [`Device`] need not check again.
#[derive(Debug)]
pub struct CheckedLaunch<'a> {
    kernel: &'a Kernel,
    config: LaunchConfig,
    args: &'a [Arg],
}

impl<'a> CheckedLaunch<'a> {
    /// Checks a launch.
    ///
    /// # Errors
    /// When the grid, block or shared memory is impossible on the device or against the kernel's
    /// launch bounds, or the arguments are not those of its signature.
    pub fn new(
        device: &dyn Device,
        kernel: &'a Kernel,
        config: LaunchConfig,
        args: &'a [Arg],
    ) -> Result<CheckedLaunch<'a>> {
        check_config(kernel, config, device.limits())?;
        check_args(kernel, args, device.id())?;
        Ok(CheckedLaunch {
            kernel,
            config,
            args,
        })
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        self.kernel
    }

    /// Grid, block and shared memory.
    pub fn config(&self) -> LaunchConfig {
        self.config
    }

    /// The arguments, in the order of the parameters.
    pub fn args(&self) -> &[Arg] {
        self.args
    }
}

/// Launches a kernel after checking everything that can be checked.
///
/// # Errors
/// Those of [`CheckedLaunch::new`], with nothing launched, and those of the device.
pub fn launch(
    device: &dyn Device,
    kernel: &Kernel,
    config: LaunchConfig,
    args: &[Arg],
) -> Result<()> {
    device.launch(&CheckedLaunch::new(device, kernel, config, args)?)
}

fn check_config(kernel: &Kernel, config: LaunchConfig, limits: Limits) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::Config {
            entry: kernel.name().into(),
            why,
        })
    };
    for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
        let (blocks, threads) = (config.grid[axis], config.block[axis]);
        if blocks == 0 || blocks > limits.grid[axis] {
            return refuse(format!(
                "the grid is {blocks} along {name}; it must be 1 to {}",
                limits.grid[axis]
            ));
        }
        if threads == 0 || threads > limits.block[axis] {
            return refuse(format!(
                "the block is {threads} along {name}; it must be 1 to {}",
                limits.block[axis]
            ));
        }
    }
    let threads = config.block.iter().map(|n| u64::from(*n)).product::<u64>();
    let bounds = kernel.signature()?.bounds();
    if threads > u64::from(limits.threads_per_block) {
        return refuse(format!(
            "the block has {threads} threads; the device takes {}",
            limits.threads_per_block
        ));
    }
    if let Some(required) = bounds
        .required_threads
        .filter(|required| *required != config.block)
    {
        return refuse(format!(
            "the block is {:?}; the kernel wants {required:?}",
            config.block
        ));
    }
    if let Some(max) = bounds.max_threads {
        let max = max.iter().map(|n| u64::from((*n).max(1))).product::<u64>();
        if threads > max {
            return refuse(format!(
                "the block has {threads} threads; the kernel takes {max}"
            ));
        }
    }
    let fixed = fixed_shared(kernel.module().parsed(), kernel.name());
    let shared = fixed.saturating_add(u64::from(config.shared));
    if shared > u64::from(limits.shared_per_block) {
        return refuse(format!(
            "a block needs {shared} bytes of shared memory ({fixed} fixed, {} dynamic); the device \
             has {}",
            config.shared, limits.shared_per_block
        ));
    }
    Ok(())
}

fn check_args(kernel: &Kernel, args: &[Arg], device: DeviceId) -> Result<()> {
    let params = kernel.signature()?.params();
    if params.len() != args.len() {
        return Err(Error::ArgumentCount {
            entry: kernel.name().into(),
            expected: params.len(),
            got: args.len(),
        });
    }
    for (index, (param, arg)) in params.iter().zip(args).enumerate() {
        if param.array.is_some() || !arg.fits(param.ty) {
            let array = param
                .array
                .map_or(String::new(), |length| format!("[{length}]"));
            return Err(Error::ArgumentType {
                entry: kernel.name().into(),
                index,
                parameter: param.name.text.to_string(),
                expected: format!("{}{array}", param.ty.name()),
                got: arg.describe(),
            });
        }
        if matches!(arg, Arg::Buffer(_, owner) if *owner != device) {
            return Err(Error::ForeignBuffer {
                entry: kernel.name().into(),
                index,
            });
        }
    }
    Ok(())
}
