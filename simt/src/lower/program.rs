//! Lowered code: dense registers, resolved labels and addresses.

use super::form::Form;
use crate::isa::alu::Alu;
use crate::isa::meaning::convert::Conversion;
use crate::ptx::ast::{LaunchBounds, Param};
use crate::ptx::types::{ScalarType, Space};
use smallvec::SmallVec;
use smol_str::SmolStr;

/// The guard of an instruction: index of a predicate, and whether it is negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(u16);

impl Guard {
    /// No guard.
    pub const NONE: Guard = Guard(u16::MAX);

    pub(crate) fn new(predicate: u16, negated: bool) -> Self {
        Guard(predicate << 1 | u16::from(negated))
    }

    /// The predicate and whether it is negated.
    #[inline(always)]
    pub fn parts(self) -> Option<(u16, bool)> {
        (self != Guard::NONE).then_some((self.0 >> 1, self.0 & 1 != 0))
    }
}

/// One lowered instruction.
#[derive(Clone, Copy, Debug)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// For which lanes.
    pub guard: Guard,
}

/// Logic on whole predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the operations")]
pub enum Logic {
    And,
    Or,
    Xor,
    Not,
    Move,
    Set,
    Clear,
}

/// What an instruction does. Registers are plane indices.
///
/// The tag is a number of its own: packed into the first field of arithmetic, it would take a dozen
/// instructions of the host to tell which it is, each time that one runs.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "operands are explained at the variants")]
#[repr(u16)]
pub enum Op {
    /// Arithmetic: result, operands, flags.
    Alu { f: Alu, r: [u16; 5] },
    /// Predicates: result and two operands.
    Logic { f: Logic, r: [u16; 3] },
    /// Addition with carry in and out; see `Carry`.
    Carry(u16),
    /// Any conversion that is not in the table of arithmetic.
    Convert(u16),
    /// Registers put together or taken apart.
    Pack(u16),
    /// A load, store or atomic.
    Memory(u32),
    /// Lanes of the guard go to `target`, the others on.
    Branch { target: u32 },
    /// Indexed branch through a table.
    Table { index: u16, table: u16 },
    /// Jump to a function; the way back is kept in `link`.
    Call { target: u32, link: u16 },
    /// A call through a register that holds no function's address.
    NoFunction { a: u16 },
    /// Jump back.
    Return { link: u16 },
    /// The thread ends.
    Exit,
    /// The thread reports a fault.
    Trap,
    /// An operation of a warp or block that waits for others.
    Sync(u32),
    /// A matrix operation.
    Matrix(u32),
    /// Asynchronous copies.
    Async(u32),
    /// The mask of lanes running together.
    ActiveMask { d: u16 },
    /// A counter of executed instructions, 32 or 64 bits.
    Clock { d: u16, wide: bool },
    /// Memory fence.
    Fence { scope: Scope, between: Between },
    /// Nothing that can be seen here: prefetch, nanosleep, setmaxnreg.
    Nothing,
}

/// What a fence orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// All accesses before it and after it.
    Accesses,
    /// Ordinary accesses and those of the asynchronous proxy, to these memories.
    Async {
        /// Shared memory.
        shared: bool,
        /// Device memory.
        global: bool,
    },
    /// Accesses before it, tensor maps written among them, for who acquires them.
    Maps,
    /// The `mbarrier.init` before it, for the other blocks of the cluster.
    BarrierInit,
    /// Accesses by one virtual address and by another.
    Aliases,
}

/// Who takes part in an ordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "PTX's names")]
pub enum Scope {
    Block,
    Cluster,
    Device,
    System,
}

/// Addition and multiplication with the carry flag.
#[derive(Clone, Copy, Debug)]
pub struct CarryOp {
    pub(crate) d: u16,
    pub(crate) a: u16,
    pub(crate) b: u16,
    /// The third operand of `madc`.
    pub(crate) c: Option<u16>,
    pub(crate) wide: bool,
    pub(crate) subtract: bool,
    pub(crate) high: bool,
    pub(crate) signed: bool,
    pub(crate) carry_in: bool,
    pub(crate) carry_out: bool,
    /// The predicate that holds the flag.
    pub(crate) flag: u16,
}

/// A general conversion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvertOp {
    pub(crate) d: u16,
    pub(crate) a: u16,
    pub(crate) wide_d: bool,
    pub(crate) wide_a: bool,
    /// Elements packed in a register: `cvt.rn.f16x2.e4m3x2`.
    pub(crate) b: Option<u16>,
    pub(crate) packed: bool,
    pub(crate) conversion: Conversion,
}

/// One register of a vector or tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    /// Its first plane.
    pub plane: u16,
    /// Planes it occupies: 1, 2 or 4; 0 for a predicate.
    pub planes: u8,
}

/// `mov.b64 d, {a, b}` and back. Parts are of equal width, low bits first.
#[derive(Clone, Debug)]
pub(crate) struct PackOp {
    pub(crate) whole: Reg,
    pub(crate) parts: SmallVec<[Option<Reg>; 4]>,
    pub(crate) part_bits: u32,
    pub(crate) unpack: bool,
}

/// Where an access goes: `base + offset` in a space.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// The register, if any.
    pub base: Option<Reg>,
    /// Added to it.
    pub offset: i64,
    /// The space named by the instruction.
    pub space: Space,
}

/// How strong an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's names")]
pub enum Order {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

/// What an atomic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's names")]
pub enum Atomic {
    And,
    Or,
    Xor,
    Exchange,
    CompareSwap,
    Add,
    /// As copies that reduce add: subnormals of f32 stay what they are in device memory too.
    CopyAdd,
    Inc,
    Dec,
    Min,
    Max,
}

/// What a memory instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's names")]
pub enum Access {
    Load,
    Store,
    Atomic(Atomic),
}

/// A load, store, atomic or reduction.
#[derive(Clone, Debug)]
pub struct MemoryOp {
    /// Which.
    pub access: Access,
    /// Where.
    pub address: Address,
    /// Type of one element.
    pub ty: ScalarType,
    /// Destinations of a load, sources of a store, `[d?]` of an atomic; `None` is a sink.
    pub registers: SmallVec<[Option<Reg>; 8]>,
    /// Further sources of an atomic, by vector element.
    pub sources: SmallVec<[Reg; 2]>,
    /// Strength.
    pub order: Order,
    /// Scope of a strong access.
    pub scope: Scope,
    /// `ld.global.nc`: the data must not change while the kernel runs.
    pub constant: bool,
}

impl MemoryOp {
    /// Bytes one lane touches.
    #[inline]
    pub fn bytes(&self) -> u32 {
        self.ty.bytes() * self.registers.len().max(1) as u32
    }
}

/// Where an instruction comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Line of the PTX text.
    pub line: u32,
    /// `.loc`: file index, line, column; file 0 with line 0 is "none".
    pub location: (u32, u32, u32),
    /// Index of the function in the module.
    pub function: u16,
    /// What it costs.
    pub work: crate::isa::Work,
}

/// A value put into a register plane before a warp starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    /// The same bits in every lane.
    Bits(u64),
    /// Address of a module variable, known when it is loaded.
    Variable {
        index: usize,
        offset: i64,
        generic: bool,
    },
    /// A special register.
    Special(Special),
    /// An address in dynamic shared memory.
    Dynamic(i64),
}

/// Special registers that do not change while a warp runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PTX's names")]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LaneMask(MaskKind),
    DynamicSharedSize,
    TotalSharedSize,
    /// Holds nothing but zero here.
    Zero,
    ClusterId(u8),
    NClusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterCtarank,
    ClusterNctarank,
    /// Whether blocks form clusters: 1 or 0.
    ExplicitCluster,
}

/// The comparison of `%lanemask_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PTX's names")]
pub(crate) enum MaskKind {
    Eq,
    Le,
    Lt,
    Ge,
    Gt,
}

/// A variable of the program in shared or local memory.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its name.
    pub name: SmolStr,
    /// Offset in its space.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A kernel ready to run.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) name: SmolStr,
    pub(crate) params: Vec<Param>,
    pub(crate) param_offsets: Vec<u64>,
    pub(crate) param_bytes: u64,
    pub(crate) bounds: LaunchBounds,
    pub(crate) target: u32,
    pub(crate) code: Vec<Inst>,
    pub(crate) sites: Vec<Site>,
    /// Scheduling priority of each instruction: lower goes first. See [`super::order`].
    pub(crate) priority: Vec<u32>,
    /// How many instructions from here on are arithmetic, without a label between.
    pub(crate) straight: Vec<u16>,
    /// The same when observed: a guarded instruction is a run of its own, so that the lanes of
    /// a run are known when it starts.
    pub(crate) observed: Vec<u16>,
    pub(crate) memory: Vec<MemoryOp>,
    /// The same, prepared to be run.
    pub(crate) forms: Vec<Form>,
    pub(crate) carries: Vec<CarryOp>,
    pub(crate) converts: Vec<ConvertOp>,
    pub(crate) packs: Vec<PackOp>,
    pub(crate) syncs: Vec<super::sync::SyncOp>,
    pub(crate) matrices: Vec<super::matrix::MatrixOp>,
    pub(crate) asyncs: Vec<super::asynchronous::AsyncOp>,
    pub(crate) tables: Vec<Vec<u32>>,
    pub(crate) planes: u16,
    pub(crate) predicates: u16,
    pub(crate) constants: Vec<(Reg, Constant)>,
    pub(crate) shared: Vec<Placed>,
    pub(crate) shared_bytes: u64,
    /// Where the memory begins that a program which asks for it has for the system's use.
    pub(crate) reserved: Option<u64>,
    pub(crate) dynamic_offset: u64,
    pub(crate) local: Vec<Placed>,
    pub(crate) local_bytes: u64,
    /// Whether blocks can influence each other through atomics or strong accesses.
    pub(crate) communicates: bool,
}

impl Program {
    /// Name of the entry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The access to memory that an instruction makes.
    pub(crate) fn access(&self, pc: u32) -> Option<&MemoryOp> {
        use super::matrix::MatrixOp;
        match self.code[pc as usize].op {
            Op::Memory(index) => self.memory.get(index as usize),
            Op::Matrix(index) => match &self.matrices[index as usize] {
                MatrixOp::Load { memory, .. } | MatrixOp::Store { memory, .. } => Some(memory),
                MatrixOp::Fragment(fragment) => Some(&fragment.memory),
                MatrixOp::Multiply(_) | MatrixOp::Transpose { .. } => None,
            },
            Op::Async(index) => self.asyncs[index as usize].access(),
            _ => None,
        }
    }

    /// Lowered instructions.
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// Whether there is no instruction.
    pub fn is_empty(&self) -> bool {
        self.code.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_instruction_is_twenty_bytes() {
        assert_eq!(std::mem::size_of::<super::Inst>(), 20);
    }
}
