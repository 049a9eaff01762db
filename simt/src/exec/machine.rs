//! The host's side: memory, modules, launches.

use super::fault::{Fault, FaultKind, Nearest, Place, Thread};
use super::grid::{self, Limits, Setting};
use super::observer::Off;
use super::step::Schedule;
use super::warp::Shape;
use crate::check::cluster::Clusters;
use crate::check::race::Sites;
use crate::check::{Checks, Finding, global, proxy_device};
use crate::count::Counters;
use crate::diagnostics::Diagnostics;
use crate::lower::Validated;
use crate::lower::call::{STACK_NAME, function_address};
use crate::lower::program::Program;
use crate::memory::bytes::Bytes;
use crate::memory::device::{Device, MemoryError, Rights};
use crate::memory::windows;
use crate::ptx::ast::{Function, Initialiser, Module, Number, Variable};
use crate::ptx::types::{ScalarType, Space};
use crate::watch::Watch;
use std::sync::Arc;

/// A device: its memory, and what runs on it.
#[derive(Debug)]
pub struct Machine {
    device: Device,
    memory_limit: u64,
}

/// A module in the memory of a machine.
#[derive(Clone, Debug)]
pub struct Loaded {
    validated: Validated,
    /// Address of each module variable, by index.
    variables: Vec<u64>,
    constants: Arc<Bytes>,
}

impl Loaded {
    /// The module.
    pub fn module(&self) -> &Module {
        self.validated.module()
    }

    /// Address of a `.global` variable.
    pub fn variable(&self, name: &str) -> Option<(u64, u64)> {
        let all = self.module().variables.iter().zip(&self.variables);
        let mut found = all.filter(|(v, _)| v.name.text == name && v.space == Space::Global);
        found.next().map(|(v, at)| (*at, v.size()))
    }
}

/// An argument of a launch: the bytes of one parameter.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the types speak for themselves")]
pub enum Arg {
    /// Address in device memory; 0 is null.
    Pointer(u64),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    /// A structure passed by value, or a value of another type.
    Bytes(Vec<u8>),
}

impl Arg {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Arg::Pointer(v) | Arg::U64(v) => v.to_le_bytes().to_vec(),
            Arg::I64(v) => v.to_le_bytes().to_vec(),
            Arg::U32(v) => v.to_le_bytes().to_vec(),
            Arg::I32(v) => v.to_le_bytes().to_vec(),
            Arg::F32(v) => v.to_le_bytes().to_vec(),
            Arg::F64(v) => v.to_le_bytes().to_vec(),
            Arg::Bytes(v) => v.clone(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Arg::Pointer(_) => "a pointer",
            Arg::U32(_) => "u32",
            Arg::I32(_) => "i32",
            Arg::U64(_) => "u64",
            Arg::I64(_) => "i64",
            Arg::F32(_) => "f32",
            Arg::F64(_) => "f64",
            Arg::Bytes(_) => "bytes",
        }
    }

    /// Whether it may be given for a parameter of a type.
    fn fits(&self, ty: ScalarType, size: u64) -> bool {
        use crate::ptx::types::TypeKind::{Bits, Float};
        let width = self.bytes().len() as u64 == size;
        let float = ty.kind() == Float;
        let bits = ty.kind() == Bits;
        width
            && match self {
                Arg::F32(_) | Arg::F64(_) => float || bits,
                Arg::Bytes(_) => true,
                _ => !float,
            }
    }
}

/// The extent and parameters of a launch.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// Name of the kernel.
    pub entry: &'a str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster; `[1, 1, 1]` for none, or for what the kernel itself demands.
    pub cluster: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// Arguments, in the order of the parameters.
    pub args: &'a [Arg],
}

impl<'a> Launch<'a> {
    /// One block of one thread.
    pub fn new(entry: &'a str, args: &'a [Arg]) -> Self {
        let one = [1; 3];
        Self {
            entry,
            grid: one,
            block: one,
            cluster: one,
            dynamic_shared: 0,
            args,
        }
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of the schedule.
    pub seed: u64,
    /// Choose at random wherever the schedule is free, instead of the fast order.
    pub explore: bool,
    /// Whether blocks run one after the other, so that every result repeats bit for bit.
    pub order: Order,
    /// Instructions of all warps together before the launch is stopped.
    pub max_steps: u64,
    /// Whether to count what the launch does.
    pub counters: bool,
    /// Which checkers look on.
    pub checks: Checks,
}

/// In which order blocks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In parallel, unless the kernel communicates between blocks by atomics.
    Auto,
    /// One after the other.
    Ordered,
    /// In parallel.
    Parallel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            explore: false,
            order: Order::Auto,
            max_steps: 1_000_000_000,
            counters: false,
            checks: Checks::ALL,
        }
    }
}

/// What a launch that ran to its end reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Instructions that warps ran.
    pub steps: u64,
    /// What it did, if [`Options::counters`] asked for it.
    pub counters: Option<Counters>,
    /// What the checkers of [`Options::checks`] found; empty for a clean run.
    pub findings: Vec<Finding>,
    /// Bytes of the host that checkers kept about device memory.
    pub record_bytes: u64,
}

/// Why a launch did not run to its end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LaunchError {
    /// The launch does not fit the kernel.
    #[error("{0}")]
    Invalid(String),
    /// The module has no such kernel.
    #[error("no kernel `{name}`; the module has {known}")]
    NoEntry {
        /// Asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The kernel uses something this machine does not do.
    #[error("{0}")]
    Unsupported(Diagnostics),
    /// The kernel needs more than the limit of the machine.
    #[error("{0}")]
    Limit(String),
    /// The program stopped.
    #[error("{0}")]
    Fault(Box<Fault>),
}

impl Machine {
    /// A machine whose device memory holds at most `memory_limit` bytes.
    pub fn new(memory_limit: u64) -> Self {
        Self {
            device: Device::new(memory_limit),
            memory_limit,
        }
    }

    /// Allocates bytes that hold nothing until they are written.
    ///
    /// # Errors
    /// When the memory limit is reached.
    pub fn allocate(&mut self, bytes: u64, label: &str) -> Result<u64, MemoryError> {
        self.device.allocate(bytes, label, true)
    }

    /// Allocates zeros.
    ///
    /// # Errors
    /// When the memory limit is reached.
    pub fn allocate_zeroed(&mut self, bytes: u64, label: &str) -> Result<u64, MemoryError> {
        self.device.allocate(bytes, label, false)
    }

    /// Allocates bytes with values.
    ///
    /// # Errors
    /// When the memory limit is reached.
    pub fn allocate_from(&mut self, data: &[u8], label: &str) -> Result<u64, MemoryError> {
        let at = self.device.allocate(data.len() as u64, label, false)?;
        self.device.write(at, data)?;
        Ok(at)
    }

    /// Frees what `allocate` returned.
    ///
    /// # Errors
    /// When nothing live begins there.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        self.device.free(address)
    }

    /// Copies bytes to the device.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        self.device.write(address, data)
    }

    /// Copies bytes from the device.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), MemoryError> {
        self.device.read(address, data)
    }

    /// Makes bytes hold nothing again, filled with a signalling NaN pattern.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn poison(&mut self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        self.device.poison(address, bytes)
    }

    /// Makes an allocation read-only to programs, or writable again.
    ///
    /// # Errors
    /// When nothing live is there.
    pub fn set_rights(&mut self, address: u64, rights: Rights) -> Result<(), MemoryError> {
        self.device.set_rights(address, rights)
    }

    /// How many of these bytes no program and no host ever wrote.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn unwritten(&self, address: u64, bytes: u64) -> Result<u64, MemoryError> {
        self.device.unwritten(address, bytes)
    }

    /// Puts a module's variables into memory.
    ///
    /// # Errors
    /// When the memory limit is reached.
    pub fn load(&mut self, validated: &Validated) -> Result<Loaded, MemoryError> {
        let module = validated.shared_module();
        let mut constants_size = 0u64;
        let mut variables = Vec::new();
        for v in &module.variables {
            variables.push(match v.space {
                Space::Global => self.device.allocate(v.size(), &v.name.text, false)?,
                Space::Const => {
                    let at = constants_size.next_multiple_of(u64::from(v.align.max(1)));
                    constants_size = at.saturating_add(v.size());
                    at
                }
                _ => 0,
            });
        }
        if constants_size > 1 << 26 {
            return Err(MemoryError::OutOfMemory {
                asked: constants_size,
                left: 1 << 26,
            });
        }
        let mut constants = vec![0; constants_size as usize];
        for (v, at) in module.variables.iter().zip(&variables) {
            let image = image(v, module, &variables);
            match v.space {
                Space::Global => self.device.write(*at, &image)?,
                Space::Const => {
                    let at = *at as usize;
                    constants[at..at + image.len()].copy_from_slice(&image);
                }
                _ => {}
            }
        }
        let constants = Arc::new(Bytes::filled(&constants));
        Ok(Loaded {
            validated: validated.clone(),
            variables,
            constants,
        })
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// When the launch does not fit the kernel, or the program stops before its end.
    pub fn launch(
        &mut self,
        loaded: &Loaded,
        launch: &Launch<'_>,
        options: &Options,
    ) -> Result<Report, LaunchError> {
        let Some(program) = loaded.validated.program(launch.entry) else {
            if let Some(why) = loaded.validated.unsupported(launch.entry) {
                return Err(LaunchError::Unsupported(why.clone()));
            }
            let names: Vec<&str> = loaded.validated.programs().map(|p| p.name()).collect();
            let known = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            return Err(LaunchError::NoEntry {
                name: launch.entry.to_owned(),
                known,
            });
        };
        let params = parameters(program, launch.args)?;
        let cluster = fits(program, launch)?;
        let alone = match options.order {
            Order::Auto => program.communicates,
            Order::Ordered => true,
            Order::Parallel => false,
        };
        let shape = Shape {
            block: launch.block,
            grid: launch.grid,
            cluster,
            dynamic_shared: launch.dynamic_shared,
            variables: loaded.variables.clone(),
        };
        let one = super::cluster::Gang::bytes(program, &shape);
        let resident_bytes = self.memory_limit.max(1 << 28);
        if one > resident_bytes {
            return Err(LaunchError::Limit(format!(
                "the registers, shared and local memory of the blocks that run together take {one} \
                 bytes; this machine allows {resident_bytes}"
            )));
        }
        let setting = Setting {
            program,
            params: &params,
            constants: &loaded.constants,
            schedule: Schedule {
                seed: options.seed,
                explore: options.explore,
            },
            shape,
            alone: alone || options.explore,
            limits: Limits {
                steps: options.max_steps,
                resident_bytes,
            },
        };
        let shape = &setting.shape;
        let mut report = Report::default();
        let fault;
        if options.counters || options.checks != Checks::NONE {
            let observers;
            let proxies = proxy_device::records(program, options.checks);
            let shadow = Arc::new(global::Shadow::new(proxies));
            let device = Arc::new(proxy_device::Shadow::default());
            let sites = Arc::new(Sites::new(program, Clusters::new(shape)));
            let make = || {
                let (sites, shadow) = (Arc::clone(&sites), Arc::clone(&shadow));
                let device = Arc::clone(&device);
                Watch::new(
                    sites,
                    options.counters,
                    options.checks,
                    shape.threads(),
                    shadow,
                    proxies.then_some(device),
                )
            };
            (report.steps, observers, fault) = grid::run(&setting, &mut self.device, make);
            let together = observers.into_iter().reduce(|mut all, one| {
                all.merge(one);
                all
            });
            report.record_bytes = shadow.bytes() + device.bytes();
            if let Some(watch) = together {
                (report.counters, report.findings) = watch.finish(loaded.module(), shape);
            }
        } else {
            (report.steps, _, fault) = grid::run(&setting, &mut self.device, || Off);
        }
        match fault {
            None => Ok(report),
            Some((block, mut fault)) => {
                name_stack(program, &mut fault.raised.kind);
                let place = fault.pc.map(|pc| place(loaded.module(), program, pc));
                let lane = u64::from(fault.warp * 32 + fault.raised.lane);
                let thread = Thread {
                    block: Shape::coordinates(block, launch.grid),
                    thread: Shape::coordinates(lane, launch.block),
                };
                let whole = matches!(*fault.raised.kind, FaultKind::Steps { .. });
                Err(LaunchError::Fault(Box::new(Fault {
                    kind: *fault.raised.kind,
                    kernel: program.name().to_owned(),
                    place,
                    thread: (!whole).then_some(thread),
                    findings: report.findings,
                })))
            }
        }
    }
}

/// A fault beyond the stack of functions that call themselves says so.
fn name_stack(program: &Program, kind: &mut FaultKind) {
    let FaultKind::OutOfBounds {
        space: Space::Local,
        address,
        nearest: nearest @ None,
        ..
    } = kind
    else {
        return;
    };
    let stack = program.local.iter().find(|p| p.name == STACK_NAME);
    if let Some(stack) = stack.filter(|p| *address >= p.offset) {
        *nearest = Some(Nearest {
            name: stack.name.to_string(),
            bytes: stack.size,
            offset: *address as i64 - stack.offset as i64,
            freed: false,
        });
    }
}

/// Where an instruction stands in the text and, if known, in its source.
pub(crate) fn place(module: &Module, program: &Program, pc: u32) -> Place {
    let site = program.sites[pc as usize];
    let function = module.functions[usize::from(site.function)]
        .name
        .text
        .to_string();
    let (file, line, column) = site.location;
    let name = module
        .files
        .iter()
        .find(|(index, _)| *index == file && line != 0);
    Place {
        function,
        line: site.line,
        text: module.source.line(site.line).trim().to_owned(),
        source: name.map(|(_, name)| (name.clone(), line, column)),
    }
}

fn parameters(program: &Program, args: &[Arg]) -> Result<Bytes, LaunchError> {
    if args.len() != program.params.len() {
        return Err(LaunchError::Invalid(format!(
            "`{}` takes {} arguments, {} were given",
            program.name(),
            program.params.len(),
            args.len()
        )));
    }
    let mut bytes = vec![0; program.param_bytes as usize];
    for (i, ((arg, param), at)) in args
        .iter()
        .zip(&program.params)
        .zip(&program.param_offsets)
        .enumerate()
    {
        if !arg.fits(param.ty, param.size()) {
            let array = param.array.map(|n| format!("[{n}]")).unwrap_or_default();
            return Err(LaunchError::Invalid(format!(
                "argument {i} of `{}` (`{}`) is {}{array}, not {}",
                program.name(),
                param.name.text,
                param.ty,
                arg.name()
            )));
        }
        let data = arg.bytes();
        let at = *at as usize;
        bytes[at..at + data.len()].copy_from_slice(&data);
    }
    Ok(Bytes::filled(&bytes))
}

/// Shared memory a block may have, by target (CUDA programming guide, compute capabilities).
fn shared_limit(target: u32) -> u64 {
    match target {
        ..=69 => 48 << 10,
        70..=74 => 96 << 10,
        75..=79 => 64 << 10,
        80 | 87 => 163 << 10,
        86 | 88 | 89 | 120.. => 99 << 10,
        _ => 227 << 10,
    }
}

/// Checks the extents of a launch; returns the blocks of a cluster.
fn fits(program: &Program, launch: &Launch<'_>) -> Result<[u32; 3], LaunchError> {
    let invalid = |message: String| Err(LaunchError::Invalid(message));
    let zero = |e: &[u32; 3]| e.contains(&0);
    if zero(&launch.grid) || zero(&launch.block) || zero(&launch.cluster) {
        return invalid("no extent of grid, block or cluster may be zero".to_owned());
    }
    let [gx, gy, gz] = launch.grid;
    if gx > i32::MAX as u32 || gy > 65535 || gz > 65535 {
        return invalid(format!(
            "a grid of {gx}×{gy}×{gz} is beyond 2147483647×65535×65535"
        ));
    }
    let [bx, by, bz] = launch.block;
    let threads = u64::from(bx) * u64::from(by) * u64::from(bz);
    if threads > 1024 || bz > 64 {
        return invalid(format!(
            "a block of {bx}×{by}×{bz} is beyond 1024 threads (z: 64)"
        ));
    }
    if let Some(max) = program.bounds.max_threads {
        let most: u64 = max.iter().map(|n| u64::from(*n)).product();
        if threads > most {
            return invalid(format!("{threads} threads, but `.maxntid` allows {most}"));
        }
    }
    if let Some(required) = program
        .bounds
        .required_threads
        .filter(|r| *r != launch.block)
    {
        let message = format!(
            "`.reqntid` demands a block of {required:?}, not {:?}",
            launch.block
        );
        return invalid(message);
    }
    let cluster = cluster(program, launch)?;
    let used = program.shared_bytes - crate::lower::SHARED_START;
    let shared = used + u64::from(launch.dynamic_shared);
    let limit = shared_limit(program.target);
    if shared > limit {
        return invalid(format!(
            "{shared} bytes of shared memory, sm_{} allows {limit}",
            program.target
        ));
    }
    Ok(cluster)
}

/// The blocks of a cluster: as the launch says, or as the kernel demands.
fn cluster(program: &Program, launch: &Launch<'_>) -> Result<[u32; 3], LaunchError> {
    let invalid = |message: String| Err(LaunchError::Invalid(message));
    let asked = launch.cluster;
    let cluster = match program.bounds.required_cluster {
        // A dimension that is not written is 1.
        Some(required) => required.map(|n| n.max(1)),
        None => asked,
    };
    if asked != [1; 3] && asked != cluster {
        return invalid(format!(
            "`.reqnctapercluster` demands clusters of {cluster:?}, not {asked:?}"
        ));
    }
    let size: u64 = cluster.iter().map(|n| u64::from(*n)).product();
    if size > 1 && program.target < 90 {
        let target = program.target;
        return invalid(format!("sm_{target} has no clusters of blocks; sm_90 has"));
    }
    if size > MOST_OF_CLUSTER {
        return invalid(format!(
            "a cluster of {size} blocks; there may be {MOST_OF_CLUSTER}"
        ));
    }
    if (0..3).any(|i| !launch.grid[i].is_multiple_of(cluster[i])) {
        let grid = launch.grid;
        return invalid(format!(
            "clusters of {cluster:?} do not divide a grid of {grid:?}"
        ));
    }
    Ok(cluster)
}

/// Blocks of a cluster on an H100, with the non-portable sizes allowed.
const MOST_OF_CLUSTER: u64 = 16;

/// The bytes of a variable's initial value.
fn image(v: &Variable, module: &Module, addresses: &[u64]) -> Vec<u8> {
    let width = v.ty.bytes() as usize;
    let mut out = vec![0; v.size() as usize];
    for (value, slot) in v.init.iter().zip(out.chunks_mut(width)) {
        let bits = match value {
            Initialiser::Number(Number::Integer(n)) => match v.ty {
                ScalarType::F32 => u64::from((*n as f32).to_bits()),
                ScalarType::F64 => (*n as f64).to_bits(),
                _ => *n as u64,
            },
            Initialiser::Number(Number::Single(bits)) => match v.ty {
                ScalarType::F64 => f64::from(f32::from_bits(*bits)).to_bits(),
                _ => u64::from(*bits),
            },
            Initialiser::Number(Number::Double(x)) => match v.ty {
                ScalarType::F32 => u64::from((*x as f32).to_bits()),
                _ => x.to_bits(),
            },
            Initialiser::Address {
                symbol,
                offset,
                generic,
                mask,
            } => {
                let found = module
                    .variables
                    .iter()
                    .position(|o| o.name.text == symbol.text);
                let home = found.map(|i| module.variables[i].space);
                let function = || {
                    let named = |f: &&Function| f.name.text == symbol.text;
                    let functions = module.functions.iter().enumerate();
                    let known = functions.filter(|(_, f)| named(f));
                    // A definition replaces its declaration.
                    known.max_by_key(|(i, f)| (f.body.is_some(), usize::MAX - i))
                };
                let base = match found {
                    Some(i) => addresses[i],
                    None => function().map_or(0, |(i, _)| function_address(i)),
                };
                let window = match home {
                    Some(Space::Const) if *generic => windows::CONST,
                    _ => 0,
                };
                let address = base.wrapping_add(window).wrapping_add_signed(*offset);
                match mask {
                    Some(mask) => (address & mask) >> mask.trailing_zeros().min(63),
                    None => address,
                }
            }
        };
        let bytes = bits.to_le_bytes();
        let n = slot.len().min(8);
        slot[..n].copy_from_slice(&bytes[..n]);
    }
    out
}
