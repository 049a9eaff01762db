//! What can go wrong between a caller and a kernel.

use simt::diagnostics::Diagnostics;
use simt::{Finding, LaunchError};

/// The result of anything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and what to do about it. Nothing was launched unless it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no GPU driver to load.
    #[error(
        "no CUDA driver: libcuda could not be loaded; install NVIDIA's driver, or use the Vm device"
    )]
    NoDriver,
    /// There are fewer GPUs than asked for.
    #[error("there is no GPU number {ordinal}; the driver sees {count}")]
    NoDevice {
        /// The GPU asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver refused. The message is its own; the launch before it may have failed.
    #[error("the CUDA driver failed to {doing}: {message}")]
    Driver {
        /// What was tried.
        doing: &'static str,
        /// The driver's words.
        message: String,
    },
    /// The text is not PTX, or not PTX this crate understands.
    #[error("{0}")]
    Ptx(#[from] Diagnostics),
    /// No PTX of the family runs on the device.
    #[error("there is no PTX of `{family}` for {device}; it runs {targets}")]
    NoTarget {
        /// The family of kernels.
        family: String,
        /// The device's name.
        device: String,
        /// What it runs.
        targets: String,
    },
    /// The module has no such kernel.
    #[error("the module has no entry `{entry}`; it has {entries}")]
    NoEntry {
        /// The entry asked for.
        entry: String,
        /// Those there are.
        entries: String,
    },
    /// The grid, block or shared memory is not possible.
    #[error("`{entry}` cannot be launched: {why}")]
    Config {
        /// The kernel.
        entry: String,
        /// What is not possible, with the limit.
        why: String,
    },
    /// The wrong number of arguments.
    #[error("`{entry}` takes {expected} arguments, {got} were given")]
    ArgumentCount {
        /// The kernel.
        entry: String,
        /// What its signature says.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// An argument of the wrong type.
    #[error("argument {index} (`{parameter}`) of `{entry}` is .{expected}, {got} was given")]
    ArgumentType {
        /// The kernel.
        entry: String,
        /// Which argument, from 0.
        index: usize,
        /// Its name in the PTX.
        parameter: String,
        /// Its type in the PTX.
        expected: String,
        /// What was given.
        got: &'static str,
    },
    /// A buffer that lives on another device.
    #[error("argument {index} of `{entry}` is a buffer of another device")]
    ForeignBuffer {
        /// The kernel.
        entry: String,
        /// Which argument, from 0.
        index: usize,
    },
    /// A buffer of another length than the shapes ask for.
    #[error("`{name}` holds {got} elements; {expected} ({shape}) are needed")]
    Length {
        /// The argument.
        name: &'static str,
        /// How many it holds.
        got: usize,
        /// How many are needed.
        expected: usize,
        /// The shape they make.
        shape: String,
    },
    /// A parameter outside its range.
    #[error("`{name}` is {got}; it must be {must_be}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        got: String,
        /// The range.
        must_be: String,
    },
    /// One number of a list outside its range.
    #[error("`{name}`[{index}] is {got}; it must be {must_be}")]
    Entry {
        /// The list.
        name: &'static str,
        /// Which number, from 0.
        index: usize,
        /// Its value.
        got: i64,
        /// The range.
        must_be: String,
    },
    /// The cache has no free page left.
    #[error("out of pages: {asked} asked, {free} of {pages} free")]
    OutOfPages {
        /// Pages asked for.
        asked: usize,
        /// Pages that nobody holds.
        free: usize,
        /// All pages.
        pages: usize,
    },
    /// A sequence that was removed, or is another cache's.
    #[error("the cache has no sequence {number}; it was removed, or is another cache's")]
    NoSequence {
        /// Its number.
        number: usize,
    },
    /// More memory than there is, or than can be counted.
    #[error("cannot allocate {bytes} bytes on {device}: {why}")]
    Memory {
        /// The bytes asked for.
        bytes: usize,
        /// The device's name.
        device: String,
        /// Why not.
        why: String,
    },
    /// A copy past the end of a buffer.
    #[error("a copy of {bytes} bytes at byte {offset} of a buffer does not fit it")]
    Copy {
        /// Where it begins.
        offset: usize,
        /// How long it is.
        bytes: usize,
    },
    /// The kernel ran to its end on the PTX machine, but its checkers found mistakes.
    #[error("`{entry}` ran, but {}", shown(findings))]
    Findings {
        /// The kernel.
        entry: String,
        /// What was found: at least one.
        findings: Vec<Finding>,
    },
    /// The PTX machine stopped the kernel, or could not begin.
    #[error(transparent)]
    Vm(#[from] Box<LaunchError>),
}

/// The first findings; all of them say more than anybody reads.
fn shown(findings: &[Finding]) -> String {
    const MOST: usize = 3;
    let first = findings
        .iter()
        .take(MOST)
        .map(|finding| format!("\n{finding}"));
    let rest = match findings.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    format!(
        "the checkers found {} mistakes: {}{rest}",
        findings.len(),
        first.collect::<String>()
    )
}
