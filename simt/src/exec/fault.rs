//! What can stop a launch.

use crate::check::Finding;
use crate::diagnostics::Blame;
use crate::ptx::types::Space;
use serde::Serialize;

/// Where in the grid something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Thread {
    /// Block coordinates.
    pub block: [u32; 3],
    /// Thread coordinates.
    pub thread: [u32; 3],
}

/// Where in the text something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The function.
    pub function: String,
    /// Line of the PTX text.
    pub line: u32,
    /// That line, trimmed.
    pub text: String,
    /// File, line and column of the source, from `.loc`.
    pub source: Option<(String, u32, u32)>,
}

/// The memory nearest to a bad address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Nearest {
    /// What it is called.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The bad address relative to its beginning.
    pub offset: i64,
    /// Whether it was freed.
    pub freed: bool,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
#[allow(missing_docs, reason = "the fields are named for what they hold")]
pub enum FaultKind {
    /// An address outside every allocation.
    OutOfBounds {
        space: Space,
        address: u64,
        bytes: u32,
        write: bool,
        nearest: Option<Nearest>,
    },
    /// An address in freed memory.
    UseAfterFree {
        address: u64,
        bytes: u32,
        write: bool,
        nearest: Option<Nearest>,
    },
    /// A write to memory that is read-only.
    ReadOnly {
        space: Space,
        address: u64,
        name: String,
    },
    /// An address that is not a multiple of the access size.
    Misaligned {
        space: Space,
        address: u64,
        bytes: u32,
    },
    /// An address of another state space than the instruction names.
    WrongSpace {
        named: Space,
        address: u64,
        actual: Space,
    },
    /// `trap`.
    Trap,
    /// Nothing can go on.
    Deadlock { waiting: Vec<String> },
    /// Shared memory of a block of the cluster that has ended.
    BlockEnded { rank: u32 },
    /// The barrier of a cluster used out of turn: arrived at twice, or waited for before.
    ClusterBarrier { arrives: bool },
    /// Bytes that are no tensor map, or one that its instruction cannot use.
    TensorMap { address: u64, message: String },
    /// A call of what is no function that takes these arguments.
    NoFunction { address: u64 },
    /// A `cp.async` that is to read more bytes than it writes.
    CopySource { kept: u32, size: u32 },
    /// A bulk copy whose size is not a multiple of 16 bytes.
    BulkSize { bytes: u64 },
    /// Arrivals at an mbarrier that are more than it waits for, or a count that it cannot have.
    MbarrierCount { count: u32, most: u32 },
    /// An arrival with `.noComplete` that ends the phase.
    MbarrierCompletes { count: u32 },
    /// An index outside the table of `brx.idx`.
    BranchIndex { index: u32, targets: u32 },
    /// A barrier number above 15.
    BarrierNumber { number: u32 },
    /// A barrier count that no set of warps can fill.
    BarrierCount { count: u32 },
    /// The step limit.
    Steps { limit: u64 },
    /// An operand whose value this machine does not handle.
    Operand { message: String },
}

impl FaultKind {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            FaultKind::Steps { .. } => Blame::Limit,
            FaultKind::Operand { .. } => Blame::Unsupported,
            _ => Blame::Program,
        }
    }
}

/// What stopped a launch, with where and who.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", crate::diagnostics::run::fault(self))]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// The kernel.
    pub kernel: String,
    /// Where, unless it is the launch as a whole.
    pub place: Option<Place>,
    /// The first thread concerned.
    pub thread: Option<Thread>,
    /// What checkers had found before; often the cause.
    pub findings: Vec<Finding>,
}

impl Fault {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        self.kind.blame()
    }
}

/// A fault as the executor raises it: the place is a program counter.
#[derive(Debug)]
pub(crate) struct Raised {
    pub(crate) kind: Box<FaultKind>,
    pub(crate) lane: u32,
}

impl Raised {
    pub(crate) fn new(kind: FaultKind, lane: u32) -> Self {
        Self {
            kind: Box::new(kind),
            lane,
        }
    }
}
