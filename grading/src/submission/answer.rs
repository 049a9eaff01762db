//! What comes back: outputs and what was seen on the way, or the kind of failure.

use super::Named;
use serde::Serialize;
use simt::Counters;
use std::time::Duration;

/// What a checker of the PTX machine found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind: `race`, `uninitialised`, `out-of-bounds`, `barrier`.
    pub kind: String,
    /// The rendered diagnosis.
    pub text: String,
}

/// What the PTX machine counted over the kernels of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Bytes read and written in device memory, in whole sectors.
    pub bytes_moved: u64,
    /// Bytes that the threads asked for.
    pub bytes_requested: u64,
    /// Distinct bytes touched.
    pub bytes_distinct: u64,
    /// Floating-point operations, an fma two, a matrix instruction by its shape.
    pub flops: u64,
    /// Bytes of scratch memory beside inputs and outputs.
    pub workspace: u64,
}

/// A launch, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct CountedLaunch {
    /// What it did, line by line.
    pub counters: Counters,
    /// Bytes of dynamic shared memory that it was given.
    pub shared: u32,
}

/// An answer to a call. Nothing in it has been checked yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The outputs, as they were named, typed and ordered by the submission.
    pub outputs: Vec<Named>,
    /// Inputs whose bytes were changed, where the lane can see it.
    pub touched_inputs: Vec<String>,
    /// Outputs with elements that were never written, where the lane can see it (the lanes that own
    /// the memory poison it first).
    pub unwritten: Vec<String>,
    /// What the machine's checkers found.
    pub findings: Vec<Finding>,
    /// What the machine counted.
    pub counted: Option<Counted>,
    /// What the machine counted launch by launch, where the lane launches PTX.
    pub launches: Vec<CountedLaunch>,
    /// Wall time of the call, reported and never judged.
    pub elapsed: Duration,
}

/// Why there is no answer. Kinds are never mixed: a submission that is not supported is not wrong,
/// and a limit is not a crash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The program did something no program may: out of bounds, a race, a lying barrier.
    #[error("fault: {0}")]
    Fault(String),
    /// It ended, by itself or by a signal, before it answered.
    #[error("crash: {0}")]
    Crash(String),
    /// It did not answer in time, or took more steps than allowed.
    #[error("timeout: {0}")]
    Timeout(String),
    /// A limit other than time: memory, output size, files, processes.
    #[error("limit: {0}")]
    Limit(String),
    /// It answered something that is not an answer: garbage, half a message, a wrong header.
    #[error("malformed: {0}")]
    Malformed(String),
    /// It tried to deceive: the evidence.
    #[error("cheat: {0}")]
    Cheat(String),
    /// It says that it does not support this call, or uses what the machine does not have.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The grader's own mistake.
    #[error("a bug of the grader: {0}")]
    Grader(String),
}
