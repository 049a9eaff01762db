//! `touchstone run`: anyone's PTX on this machine's CPU.
//!
//! Arguments come in the order of the kernel's parameters. What the program does wrong, what the
//! machine does not support, a limit that was hit and a fault of the machine itself have each their
//! own exit code.

pub mod argument;
mod report;

use crate::npy;
use crate::tensor::{DType, Tensor, byte_count};
use argument::{Argument, parse_dimensions};
use clap::Args;
use report::{Outcome, Output, RunReport};
use simt::check::{Checks, Finding};
use simt::diagnostics::{Blame, Diagnostics};
use simt::tensor_map::{DataType, Fill, Swizzle, TensorMap, Tiled};
use simt::{Fault, Launch, LaunchError, Machine, MemoryError, Options, Rights};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes of device memory a run may use.
const MEMORY: u64 = 8 << 30;

/// The command line.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// The PTX file
    #[arg(required_unless_present = "isa")]
    file: Option<PathBuf>,
    /// The kernel; may be left out when there is one
    #[arg(long)]
    entry: Option<String>,
    /// Blocks: X[,Y[,Z]]
    #[arg(long, value_parser = parse_dimensions, default_value = "1")]
    grid: [u32; 3],
    /// Threads of a block: X[,Y[,Z]]
    #[arg(long, value_parser = parse_dimensions, default_value = "1")]
    block: [u32; 3],
    /// Blocks of a cluster: X[,Y[,Z]]; without it as the kernel demands
    #[arg(long, value_parser = parse_dimensions, default_value = "1")]
    cluster: [u32; 3],
    /// Bytes of dynamic shared memory
    #[arg(long, default_value_t = 0)]
    shared: u32,
    /// An argument, in the order of the parameters: in:FILE.npy, inout:FILE.npy:OUT.npy,
    /// out:DTYPE:AxBxC:OUT.npy, i32:V, u32:V, i64:V, u64:V, f32:V, f64:V, null; or a tensor map
    /// for bulk copies: tmap:IN.npy:BOXxBOX[:SWIZZLE],
    /// tmapout:DTYPE:AxBxC:OUT.npy:BOXxBOX[:SWIZZLE], with the tile in the order of the shape and a
    /// SWIZZLE of none, 32b, 64b or 128b; a parameter of 128 bytes gets the map, a pointer its address
    #[arg(long = "arg", value_name = "A", allow_hyphen_values = true)]
    arguments: Vec<Argument>,
    /// The seed of the schedule
    #[arg(long, default_value_t = 0, conflicts_with = "explore")]
    seed: u64,
    /// Run under N random schedules and stop at the first that goes wrong
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    explore: Option<u64>,
    /// Instructions of all warps together before the run is stopped
    #[arg(long, default_value_t = 1_000_000_000)]
    max_steps: u64,
    /// The checkers that watch: all, none, or a list with commas
    #[arg(long, value_name = "all|none|LIST", default_value = "all")]
    check: Checks,
    /// Count what the kernel does: instructions, flops, bytes, sectors, bank conflicts
    #[arg(long)]
    counters: bool,
    /// Write the report to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// List the instructions the machine knows, and run nothing
    #[arg(long)]
    isa: bool,
}

/// Why a run did not end well. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{0}")]
    File(#[from] npy::Error),
    /// The PTX is wrong, or uses what the machine does not support.
    #[error("{}: {diagnostics}", file.display())]
    Ptx {
        /// The file.
        file: PathBuf,
        /// What is wrong in it, and where.
        diagnostics: Diagnostics,
    },
    /// The machine's memory is not enough.
    #[error("{0}")]
    Memory(#[from] MemoryError),
    /// The program stopped.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// The program ran to its end, and a checker found it at fault.
    #[error("{}", findings_text(.0))]
    Findings(Vec<Finding>),
    /// A limit was hit before anything ran.
    #[error("{0}")]
    Limit(String),
}

impl RunError {
    /// 1 the program is at fault, 2 usage, 3 unsupported, 4 a limit, 70 our own bug.
    pub fn exit_code(&self) -> u8 {
        let by_blame = |blame| match blame {
            Blame::Program => 1,
            Blame::Unsupported => 3,
            Blame::Limit => 4,
            Blame::Bug => 70,
        };
        match self {
            RunError::Usage(_) | RunError::File(_) => 2,
            RunError::Ptx { diagnostics, .. } => by_blame(diagnostics.blame()),
            RunError::Fault(fault) => by_blame(fault.kind.blame()),
            RunError::Findings(_) => 1,
            RunError::Memory(MemoryError::OutOfMemory { .. }) | RunError::Limit(_) => 4,
            RunError::Memory(_) => 70,
        }
    }
}

/// Runs the command; what it has to say goes to standard output, or to the error.
///
/// # Errors
/// Each kind has its exit code.
pub fn run(arguments: &RunArguments) -> Result<(), RunError> {
    if arguments.isa {
        let listing = simt::isa::listing();
        let mut text = String::new();
        for (opcode, forms) in &listing {
            text += &format!("{opcode}\n");
            for form in forms {
                text += &format!("    {form}\n");
            }
        }
        let forms: usize = listing.iter().map(|(_, forms)| forms.len()).sum();
        return say(&format!(
            "{text}{} instructions in {forms} forms\n",
            listing.len()
        ));
    }
    let Some(file) = &arguments.file else {
        return Err(RunError::Usage("a PTX file is needed".into()));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| RunError::Usage(format!("{}: {error}", file.display())))?;
    let validated = simt::compile(&text).map_err(|diagnostics| RunError::Ptx {
        file: file.clone(),
        diagnostics,
    })?;
    let entry = entry(validated.module(), arguments.entry.as_deref())?;

    let seeds = match arguments.explore {
        Some(count) => 0..count,
        None => arguments.seed..arguments.seed.saturating_add(1),
    };
    let mut last = None;
    for seed in seeds {
        let options = Options {
            seed,
            explore: arguments.explore.is_some(),
            max_steps: arguments.max_steps,
            counters: arguments.counters,
            checks: arguments.check,
            ..Options::default()
        };
        let run = once(arguments, &validated, &entry, &options);
        if let (Err(RunError::Fault(fault)), Some(path)) = (&run, &arguments.json) {
            report(
                arguments,
                &entry,
                seed,
                Outcome::Fault((**fault).clone()),
                &[],
            )
            .write(path)?;
        }
        let (ran, outputs) = run?;
        let at_fault = ran.findings.iter().any(|finding| !finding.benign);
        last = Some((seed, (ran, outputs)));
        if at_fault {
            break;
        }
    }
    let Some((seed, (ran, outputs))) = last else {
        return Ok(());
    };
    let findings = ran.findings.clone();
    let mut said = Vec::new();
    for (path, tensor, unwritten) in &outputs {
        npy::write(path, tensor)?;
        said.push(Output::of(path, tensor, *unwritten));
    }
    let report = report(arguments, &entry, seed, Outcome::of(ran), &said);
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    say(&report.to_string())?;
    if findings.iter().any(|finding| !finding.benign) {
        return Err(RunError::Findings(findings));
    }
    Ok(())
}

/// Writes to standard output. A reader who has seen enough, as `head` has, is no mistake.
fn say(text: &str) -> Result<(), RunError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(RunError::Usage(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn findings_text(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(Finding::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn report(
    arguments: &RunArguments,
    entry: &str,
    seed: u64,
    outcome: Outcome,
    outputs: &[Output],
) -> RunReport {
    RunReport {
        schema: 1,
        entry: entry.into(),
        grid: arguments.grid,
        block: arguments.block,
        shared: arguments.shared,
        seed,
        schedules: arguments.explore.unwrap_or(1),
        outcome,
        outputs: outputs.to_vec(),
    }
}

/// The entry asked for, or the only one there is.
fn entry(module: &simt::ptx::Module, asked: Option<&str>) -> Result<String, RunError> {
    let names: Vec<&str> = module.entries().map(|entry| entry.name()).collect();
    match (asked, &names[..]) {
        (Some(name), _) if names.contains(&name) => Ok(name.into()),
        (Some(name), _) => Err(RunError::Usage(format!(
            "there is no entry `{name}`; the module has {}",
            if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            }
        ))),
        (None, [only]) => Ok((*only).into()),
        (None, []) => Err(RunError::Usage("the module has no entry".into())),
        (None, many) => Err(RunError::Usage(format!(
            "which entry? --entry one of {}",
            many.join(", ")
        ))),
    }
}

/// A tensor to be written at the end, and how many of its bytes the kernel never wrote.
type Made = (PathBuf, Tensor, u64);

/// One launch on a fresh machine: what the machine reports, and what it made.
fn once(
    arguments: &RunArguments,
    validated: &simt::Validated,
    entry: &str,
    options: &Options,
) -> Result<(simt::Report, Vec<Made>), RunError> {
    let mut machine = Machine::new(MEMORY);
    let loaded = machine.load(validated)?;
    let params = validated
        .module()
        .entry(entry)
        .map_or(&[][..], |entry| entry.params());
    let mut args = Vec::new();
    let mut results: Vec<(u64, PathBuf, Tensor)> = Vec::new();
    for (index, argument) in arguments.arguments.iter().enumerate() {
        let label = label(index, argument);
        args.push(match argument {
            Argument::In(_) | Argument::InOut(..) | Argument::Out { .. } => {
                let (at, ..) = buffer(&mut machine, argument, &label, &mut results)?;
                simt::Arg::Pointer(at)
            }
            Argument::Map { of, tile, swizzle } => {
                let (at, dtype, shape) = buffer(&mut machine, of, &label, &mut results)?;
                let map = tensor_map(at, dtype, &shape, tile, *swizzle)
                    .map_err(|error| RunError::Usage(format!("{label}: {error}")))?;
                if params.get(index).is_some_and(|p| p.size() == 128) {
                    simt::Arg::Bytes(map.bytes().to_vec())
                } else {
                    let map = machine.allocate_from(&map.bytes(), &format!("map of {label}"))?;
                    machine.set_rights(map, Rights::ReadOnly)?;
                    simt::Arg::Pointer(map)
                }
            }
            Argument::Bits32(value) => simt::Arg::U32(*value),
            Argument::Bits64(value) => simt::Arg::U64(*value),
            Argument::F32(value) => simt::Arg::F32(*value),
            Argument::F64(value) => simt::Arg::F64(*value),
            Argument::Null => simt::Arg::Pointer(0),
        });
    }
    let launch = Launch {
        grid: arguments.grid,
        block: arguments.block,
        cluster: arguments.cluster,
        dynamic_shared: arguments.shared,
        ..Launch::new(entry, &args)
    };
    let report = machine
        .launch(&loaded, &launch, options)
        .map_err(|error| match error {
            LaunchError::Fault(fault) => RunError::Fault(fault),
            LaunchError::Limit(message) => RunError::Limit(message),
            LaunchError::Unsupported(diagnostics) => RunError::Ptx {
                file: arguments.file.clone().unwrap_or_default(),
                diagnostics,
            },
            other => RunError::Usage(other.to_string()),
        })?;
    let mut outputs = Vec::new();
    for (at, to, before) in results {
        let mut bytes = vec![0; before.bytes().len()];
        machine.read(at, &mut bytes)?;
        let unwritten = machine.unwritten(at, bytes.len() as u64)?;
        let tensor = Tensor::new(before.dtype(), before.shape().to_vec(), bytes)
            .map_err(|error| RunError::Usage(error.to_string()))?;
        outputs.push((to, tensor, unwritten));
    }
    Ok((report, outputs))
}

/// A buffer on the device: its address, type and shape. What is to be written at the end is noted.
fn buffer(
    machine: &mut Machine,
    argument: &Argument,
    label: &str,
    results: &mut Vec<(u64, PathBuf, Tensor)>,
) -> Result<(u64, DType, Vec<usize>), RunError> {
    let (at, tensor, to) = match argument {
        Argument::In(path) => {
            let tensor = npy::read(path)?;
            let at = machine.allocate_from(tensor.bytes(), label)?;
            machine.set_rights(at, Rights::ReadOnly)?;
            (at, tensor, None)
        }
        Argument::InOut(path, to) => {
            let tensor = npy::read(path)?;
            let at = machine.allocate_from(tensor.bytes(), label)?;
            (at, tensor, Some(to))
        }
        Argument::Out { dtype, shape, to } => {
            let bytes = byte_count(*dtype, shape).unwrap_or(usize::MAX);
            let at = machine.allocate(bytes as u64, label)?;
            let poisoned = Tensor::new(*dtype, shape.clone(), vec![0; bytes])
                .map_err(|error| RunError::Usage(error.to_string()))?;
            (at, poisoned, Some(to))
        }
        _ => return Err(RunError::Usage(format!("{label} is no buffer"))),
    };
    let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
    if let Some(to) = to {
        results.push((at, to.clone(), tensor));
    }
    Ok((at, dtype, shape))
}

/// The tensor map of a buffer without gaps. It counts dimensions from the innermost.
fn tensor_map(
    address: u64,
    dtype: DType,
    shape: &[usize],
    tile: &[u32],
    swizzle: Swizzle,
) -> Result<TensorMap, simt::tensor_map::TensorMapError> {
    let data_type = match dtype {
        // Copies do not look at signs.
        DType::U8 | DType::I8 => DataType::U8,
        DType::U16 | DType::I16 => DataType::U16,
        DType::U32 => DataType::U32,
        DType::I32 => DataType::S32,
        DType::U64 => DataType::U64,
        DType::I64 => DataType::S64,
        DType::F16 => DataType::F16,
        DType::Bf16 => DataType::Bf16,
        DType::F32 => DataType::F32,
        DType::F64 => DataType::F64,
    };
    let sizes: Vec<u64> = shape.iter().rev().map(|n| *n as u64).collect();
    let mut stride = data_type.bytes();
    let inner = sizes.iter().take(sizes.len().saturating_sub(1));
    let strides: Vec<u64> = inner
        .map(|n| {
            stride = stride.saturating_mul(*n);
            stride
        })
        .collect();
    let tile: Vec<u32> = tile.iter().rev().copied().collect();
    TensorMap::tiled(&Tiled {
        data_type,
        address,
        sizes: &sizes,
        strides: &strides,
        tile: &tile,
        element_strides: &vec![1; sizes.len()],
        swizzle,
        fill: Fill::Zero,
    })
}

/// What a diagnostic calls the buffer: `argument 2 (x.npy)`.
fn label(index: usize, argument: &Argument) -> String {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let file = match argument {
        Argument::In(path) | Argument::InOut(path, _) => name(path),
        Argument::Out { to, .. } => name(to),
        Argument::Map { of, .. } => return label(index, of),
        _ => None,
    };
    file.map_or_else(
        || format!("argument {index}"),
        |file| format!("argument {index} ({file})"),
    )
}
