//! Asynchronous copies, their groups, and `mbarrier`.
//!
//! A copy is made when it is issued: a legal moment, since nothing may look before the wait.
//! It goes through ordinary accesses of scratch registers, so bounds, alignment and the other
//! checks see it; observers are told of groups and waits.

use super::bulk::{BulkOp, CopyMapOp, RemoteOp, ReplaceOp, TensorOp};
use super::emit::{Emitter, Result};
use super::memory;
use super::program::*;
use super::scope::Symbol;
use crate::ptx::ast::{Instruction, Number, Operand, OperandKind};
use crate::ptx::types::{ScalarType, Space};
use smallvec::{SmallVec, smallvec};

/// How much of the source a copy reads; the rest of the destination becomes zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of it.
    All,
    /// As many bytes as a register says.
    Bytes(u16),
    /// Nothing where a predicate holds.
    Unless(u16),
}

/// `cp.async`.
#[derive(Clone, Debug)]
pub(crate) struct CopyOp {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) size: u32,
    pub(crate) kept: Kept,
    /// The scratch register, and the access of it from global and to shared memory.
    pub(crate) scratch: Reg,
    pub(crate) load: MemoryOp,
    pub(crate) store: MemoryOp,
    /// One byte, for sources that end inside the copy.
    pub(crate) byte: Reg,
    pub(crate) load_byte: MemoryOp,
}

/// What an mbarrier instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierAction {
    Init,
    Invalidate,
    /// Counts arrivals; `drops` takes them out of later phases as well; with `partial` they may
    /// not be the last.
    Arrive {
        drops: bool,
        partial: bool,
    },
    /// One arrival that first announces bytes.
    ArriveExpect {
        drops: bool,
    },
    /// Bytes announced or landed.
    Expect,
    Complete,
    /// An arrival when the lane's copies have landed; without `.noinc` it is one more than counted.
    ArriveCopies {
        counted: bool,
    },
    TestState,
    TestParity,
}

/// An mbarrier instruction.
#[derive(Clone, Debug)]
pub(crate) struct BarrierOp {
    pub(crate) action: BarrierAction,
    pub(crate) address: Address,
    /// Where the phase before an arrival goes.
    pub(crate) state: Option<Reg>,
    /// Where a test's answer goes.
    pub(crate) answer: Option<u16>,
    /// Count, bytes, parity (one plane) or state (two).
    pub(crate) operand: Option<Reg>,
    /// Whether it orders nothing by itself.
    pub(crate) relaxed: bool,
}

/// An asynchronous operation.
#[derive(Clone, Debug)]
pub(crate) enum AsyncOp {
    Copy(Box<CopyOp>),
    /// `cp.async.bulk`, `cp.reduce.async.bulk`.
    Bulk(Box<BulkOp>),
    /// The same of tensors.
    Tensor(Box<TensorOp>),
    /// `st.async`, `red.async`.
    Remote(Box<RemoteOp>),
    /// `tensormap.replace`.
    Replace(Box<ReplaceOp>),
    /// `tensormap.cp_fenceproxy`.
    CopyMap(Box<CopyMapOp>),
    /// `fence.proxy.tensormap::generic.acquire` of the tensor map at an address.
    AcquireMap(Address),
    /// Ends a group of copies.
    Commit {
        bulk: bool,
    },
    /// Waits until at most so many groups are pending; `None`: for everything.
    Wait {
        pending: Option<u32>,
        bulk: bool,
    },
    Barrier(Box<BarrierOp>),
    /// `wgmma.mma_async`.
    Wgmma(Box<super::wgmma::WgmmaOp>),
    /// `mbarrier.pending_count`.
    PendingCount {
        d: u16,
        state: Reg,
    },
}

impl AsyncOp {
    /// Whether it accesses memory through the asynchronous proxy.
    pub(crate) fn by_async_proxy(&self) -> bool {
        matches!(
            self,
            AsyncOp::Bulk(_) | AsyncOp::Tensor(_) | AsyncOp::Wgmma(_)
        )
    }

    /// Whether it accesses device memory through it.
    pub(crate) fn to_device_memory(&self) -> bool {
        matches!(self, AsyncOp::Bulk(_) | AsyncOp::Tensor(_))
    }

    /// Whether it is an ordinary access to that proxy's eyes.
    pub(crate) fn by_generic_proxy(&self) -> bool {
        matches!(
            self,
            AsyncOp::Copy(_) | AsyncOp::Replace(_) | AsyncOp::CopyMap(_)
        )
    }

    /// What it does to the memory it goes to, or reads if it writes none.
    pub(crate) fn access(&self) -> Option<&MemoryOp> {
        match self {
            AsyncOp::Copy(op) => Some(&op.store),
            AsyncOp::Bulk(op) => Some(&op.store),
            AsyncOp::Tensor(op) => Some(&op.store),
            AsyncOp::Remote(op) => Some(&op.memory),
            AsyncOp::Replace(op) => Some(&op.store),
            AsyncOp::CopyMap(op) => Some(&op.store),
            AsyncOp::Wgmma(op) => Some(&op.memory),
            AsyncOp::Commit { .. }
            | AsyncOp::Wait { .. }
            | AsyncOp::Barrier(_)
            | AsyncOp::AcquireMap(_)
            | AsyncOp::PendingCount { .. } => None,
        }
    }
}

pub(crate) fn has(i: &Instruction, modifier: &str) -> bool {
    i.modifiers.iter().any(|m| m.text == modifier)
}

pub(crate) fn push(e: &mut Emitter<'_>, op: AsyncOp, guard: Guard) {
    let index = e.program.asyncs.len() as u32;
    e.program.asyncs.push(op);
    e.push(Op::Async(index), guard);
}

/// A weak access of a scratch register; the addresses come with the operation.
pub(crate) fn access(access: Access, space: Space, ty: ScalarType, register: Reg) -> MemoryOp {
    MemoryOp {
        access,
        address: Address {
            base: None,
            offset: 0,
            space,
        },
        ty,
        registers: smallvec![Some(register)],
        sources: SmallVec::new(),
        order: Order::Weak,
        scope: Scope::Block,
        constant: false,
    }
}

/// The operands without the cache policy that may end them.
pub(crate) fn without_policy(i: &Instruction) -> &[Operand] {
    let hinted = has(i, ".L2::cache_hint");
    &i.operands[..i.operands.len() - usize::from(hinted && !i.operands.is_empty())]
}

pub(crate) fn literal(e: &Emitter<'_>, operand: &Operand) -> Result<u32> {
    match operand.kind {
        OperandKind::Number(Number::Integer(v)) if u32::try_from(v).is_ok() => Ok(v as u32),
        _ => Err(e.wrong(operand.span, "a constant is needed here")),
    }
}

/// `cp.async`.
pub(crate) fn copy(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = without_policy(i);
    let [destination, source, size, rest @ ..] = operands else {
        return Err(e.wrong(i.span, "`cp.async` takes destination, source and size"));
    };
    let bytes = literal(e, size)?;
    let ty = match bytes {
        4 => ScalarType::B32,
        8 => ScalarType::B64,
        16 => ScalarType::B128,
        _ => return Err(e.wrong(size.span, "a copy has 4, 8 or 16 bytes")),
    };
    let destination = e.address(destination, Space::Shared)?;
    let source = e.address(source, Space::Global)?;
    let kept = match rest {
        [] => Kept::All,
        [operand] => match &operand.kind {
            OperandKind::Name(name)
                if matches!(
                    e.scopes.find(name),
                    Some(Symbol::Register(_, ScalarType::Pred))
                ) =>
            {
                Kept::Unless(e.src(operand, ScalarType::Pred)?.plane)
            }
            OperandKind::Not(_) => Kept::Unless(e.src(operand, ScalarType::Pred)?.plane),
            OperandKind::Number(_) if literal(e, operand)? > bytes => {
                let message = format!("a copy of {bytes} bytes cannot read more than that");
                return Err(e.wrong(operand.span, message));
            }
            _ => Kept::Bytes(e.src(operand, ScalarType::B32)?.plane),
        },
        _ => return Err(e.wrong(i.span, "`cp.async` takes at most four operands")),
    };
    let (scratch, byte) = (e.fresh(ty), e.fresh(ScalarType::B16));
    let op = CopyOp {
        source,
        destination,
        size: bytes,
        kept,
        scratch,
        load: access(Access::Load, Space::Global, ty, scratch),
        store: access(Access::Store, Space::Shared, ty, scratch),
        byte,
        load_byte: access(Access::Load, Space::Global, ScalarType::B8, byte),
    };
    push(e, AsyncOp::Copy(Box::new(op)), guard);
    Ok(())
}

/// `cp.async.commit_group`, `cp.async.wait_group`, `cp.async.wait_all` and their bulk kin.
pub(crate) fn group(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let bulk = has(i, ".bulk");
    if has(i, ".commit_group") {
        e.operands(i, 0)?;
        push(e, AsyncOp::Commit { bulk }, guard);
        return Ok(());
    }
    let pending = if has(i, ".wait_all") {
        e.operands(i, 0)?;
        None
    } else {
        let operands = e.operands(i, 1)?;
        Some(literal(e, &operands[0])?)
    };
    push(e, AsyncOp::Wait { pending, bulk }, guard);
    Ok(())
}

/// `mbarrier.…` and `cp.async.mbarrier.arrive`.
pub(crate) fn barrier(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    if has(i, ".pending_count") {
        let operands = e.operands(i, 2)?;
        let d = e.dst(&operands[0], ScalarType::U32)?.plane;
        let state = e.src(&operands[1], ScalarType::B64)?;
        push(e, AsyncOp::PendingCount { d, state }, guard);
        return Ok(());
    }
    let space = memory::space(i);
    let drops = has(i, ".arrive_drop");
    let operands = i.operands.as_slice();
    let needs = |e: &Emitter<'_>| e.wrong(i.span, format!("`{}` has other operands", i.mnemonic()));
    // Result, address and operand, by instruction.
    let tests = has(i, ".test_wait") || has(i, ".try_wait");
    let arrives = !tests && i.opcode.text == "mbarrier" && (drops || has(i, ".arrive"));
    let bare = has(i, ".inval") || i.opcode.text == "cp";
    let counted = has(i, ".expect_tx") || has(i, ".noComplete");
    let (result, address, operand) = match operands {
        [p, a, v] if tests => (Some(p), a, Some(v)),
        // A time limit says nothing here.
        [p, a, v, limit] if has(i, ".try_wait") => {
            e.src(limit, ScalarType::B32)?;
            (Some(p), a, Some(v))
        }
        [s, a] if arrives && !counted => (Some(s), a, None),
        [s, a, v] if arrives => (Some(s), a, Some(v)),
        [a] if bare => (None, a, None),
        [a, v] if !tests && !arrives && !bare => (None, a, Some(v)),
        _ => return Err(needs(e)),
    };
    if let Some(result) = result
        && has(i, ".shared::cluster")
        && !matches!(result.kind, OperandKind::Sink)
    {
        return Err(e.wrong(
            result.span,
            "an arrival in the cluster's shared memory has no state: `_` is needed here",
        ));
    }
    let action = if i.opcode.text == "cp" {
        BarrierAction::ArriveCopies {
            counted: has(i, ".noinc"),
        }
    } else if has(i, ".init") {
        BarrierAction::Init
    } else if has(i, ".inval") {
        BarrierAction::Invalidate
    } else if tests && has(i, ".parity") {
        BarrierAction::TestParity
    } else if tests {
        BarrierAction::TestState
    } else if arrives && has(i, ".expect_tx") {
        BarrierAction::ArriveExpect { drops }
    } else if arrives {
        let partial = has(i, ".noComplete");
        BarrierAction::Arrive { drops, partial }
    } else if has(i, ".expect_tx") {
        BarrierAction::Expect
    } else {
        BarrierAction::Complete
    };
    let address = e.address(address, space)?;
    let wide = action == BarrierAction::TestState;
    let ty = if wide {
        ScalarType::B64
    } else {
        ScalarType::B32
    };
    let operand = operand.map(|v| e.src(v, ty)).transpose()?;
    let mut op = BarrierOp {
        action,
        address,
        state: None,
        answer: None,
        operand,
        relaxed: has(i, ".relaxed"),
    };
    if let Some(result) = result {
        if tests {
            op.answer = Some(e.dst(result, ScalarType::Pred)?.plane);
        } else {
            op.state = Some(e.dst(result, ScalarType::B64)?);
        }
    }
    push(e, AsyncOp::Barrier(Box::new(op)), guard);
    Ok(())
}
