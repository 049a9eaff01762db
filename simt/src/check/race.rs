//! Races: two accesses to a byte, one of them a write, that nothing orders. This module holds
//! what shared and device memory have in common; [`super::shared`] and [`super::global`] keep
//! the records.

use super::Checker;
use super::cell::Entry;
use super::cells::Conflict;
use super::cluster::Clusters;
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::misc::value;
use crate::exec::observer::AccessEvent;
use crate::lower::program::{Access, MemoryOp, Op, Order, Program, Scope};

/// The instructions of a program that access memory, numbered, so that a number fits a record.
#[derive(Debug)]
pub(crate) struct Sites<'p> {
    pub(crate) program: &'p Program,
    pub(crate) clusters: Clusters,
    /// The vector units of the host.
    pub(crate) arch: pulp::Arch,
    pcs: Vec<u32>,
    numbers: Vec<u32>,
}

impl<'p> Sites<'p> {
    pub(crate) fn new(program: &'p Program, clusters: Clusters) -> Self {
        let all = 0..program.len() as u32;
        let pcs: Vec<u32> = all.filter(|pc| program.access(*pc).is_some()).collect();
        let mut numbers = vec![u32::MAX; program.len()];
        for (number, pc) in pcs.iter().enumerate() {
            numbers[*pc as usize] = number as u32;
        }
        Self {
            program,
            clusters,
            arch: pulp::Arch::new(),
            pcs,
            numbers,
        }
    }

    /// The number of an instruction.
    #[inline(always)]
    pub(crate) fn number(&self, pc: u32) -> u32 {
        self.numbers[pc as usize]
    }

    fn pc(&self, number: u32) -> u32 {
        self.pcs[number as usize]
    }

    fn op(&self, number: u32) -> Option<&'p MemoryOp> {
        self.program.access(self.pc(number))
    }

    /// Bytes that a lane accesses by an instruction: of `ldmatrix` and `stmatrix`, a row.
    fn bytes(&self, number: u32, op: &MemoryOp) -> u32 {
        match self.program.code[self.pc(number) as usize].op {
            Op::Matrix(index) => self.program.matrices[index as usize].row_bytes(),
            _ => None,
        }
        .unwrap_or(op.bytes())
    }

    /// Whether an earlier access took part in synchronisation, and how far.
    pub(crate) fn strong(&self, number: u32, scope: Scope) -> bool {
        self.op(number).is_some_and(|op| strong(op, scope))
    }
}

/// What an access does to memory.
pub(crate) fn writes(op: &MemoryOp) -> bool {
    op.access != Access::Load
}

/// Whether an access takes part in synchronisation, and how far.
pub(crate) fn strong(op: &MemoryOp, scope: Scope) -> bool {
    let ordered = op.order != Order::Weak || matches!(op.access, Access::Atomic(_));
    ordered && op.scope >= scope
}

/// One bit for each byte of a word that an access from `start` to `end` touches.
#[inline(always)]
pub(crate) fn bytes_of_word(word: u64, start: u64, end: u64) -> u32 {
    let low = start.saturating_sub(word * 4);
    let high = (end - word * 4).min(4);
    (1 << high) - (1 << low)
}

/// The bytes of the word at `offset` that a lane is about to store, if they are plain to see;
/// zero where it stores none.
fn stored(event: &AccessEvent<'_>, lane: usize, offset: u64) -> Option<u32> {
    if event.op.access != Access::Store {
        return None;
    }
    let size = u64::from(event.op.ty.bytes());
    if size > 8 {
        return None;
    }
    let mut word = 0;
    for byte in 0..4 {
        let Some(at) = (offset + byte).checked_sub(event.offsets[lane]) else {
            continue;
        };
        if let Some(register) = event.op.registers.get((at / size) as usize) {
            let bits = value(event.registers, (*register)?, lane) >> (8 * (at % size));
            word |= (bits as u32 & 0xff) << (8 * byte);
        }
    }
    Some(word)
}

/// Ones for the bits of the bytes that are named by one bit each.
fn bits_of_bytes(bytes: u32) -> u32 {
    (0..4).fold(0, |bits, k| bits | (((bytes >> k) & 1) * 0xff) << (8 * k))
}

/// What a word holds before the access.
fn held(event: &AccessEvent<'_>, offset: u64) -> Option<u32> {
    match (event.allocation, event.memory) {
        (Some(a), _) => Some(a.load(offset & !3, 4) as u32),
        (None, Some(m)) => m.load((offset & !3) as usize, 4).map(|v| v as u32),
        _ => None,
    }
}

fn verb(op: &MemoryOp, bytes: u32, write: bool, again: bool) -> String {
    let what = match op.access {
        Access::Atomic(_) => "atomic",
        // A copy reads in one place and writes in another.
        _ if write => "write",
        _ => "read",
    };
    let when = if again { " before" } else { "" };
    format!("{what} of {bytes} bytes{when}")
}

/// Notes a race between a lane of this access and an earlier one, on the word at `offset`.
#[cold]
pub(crate) fn report(
    log: &mut Log,
    sites: &Sites<'_>,
    checker: Checker,
    event: &AccessEvent<'_>,
    conflict: &Conflict,
    offset: u64,
) {
    let Conflict {
        new,
        with,
        with_write,
    } = conflict;
    let lane = (new.when.thread % 32) as usize;
    let program = sites.program;
    let Some(other) = sites.op(with.op) else {
        return;
    };
    let other_pc = sites.pc(with.op);
    let both = *with_write && event.op.access == Access::Store && other.access == Access::Store;
    let mut same = false;
    // Matrix stores give each lane's row what other lanes hold: what is stored is not plain to see.
    if both && matches!(program.code[event.at.pc as usize].op, Op::Memory(_)) {
        let its_lane = (with.when.thread % 32) as usize;
        let its_start = event.offsets[its_lane];
        let one_instruction = other_pc == event.at.pc
            && with.when.thread / 32 == new.when.thread / 32
            && with.block == new.block
            && with.when.clock == new.when.clock
            && event.at.mask >> its_lane & 1 != 0
            && (offset..offset + 4).contains(&its_start.max(offset))
            && its_start + u64::from(event.bytes) > offset;
        let its = if one_instruction {
            stored(event, its_lane, offset)
        } else {
            held(event, offset)
        };
        // Only the bytes that both write are in question.
        let shared = bits_of_bytes(with.bytes & new.bytes);
        let differ = its
            .zip(stored(event, lane, offset))
            .map(|(a, b)| (a ^ b) & shared);
        same = differ == Some(0);
    }
    let (mistake, kind) = match (with_write, writes(event.op)) {
        _ if same => (Mistake::SameValue, "two writes of one value"),
        (true, true) => (Mistake::TwoWrites, "two writes"),
        (true, false) => (Mistake::ReadAfterWrite, "a read and an earlier write"),
        (false, _) => (Mistake::WriteAfterRead, "a write and an earlier read"),
    };
    let between = if with.block != new.block {
        "of different blocks"
    } else if with.when.thread / 32 != new.when.thread / 32 {
        "of different warps"
    } else {
        "of one warp"
    };
    let cause = (event.at.pc, other_pc, checker, mistake);
    log.add(cause, || {
        let place = match event.allocation {
            Some(a) => format!("byte {offset} of `{}`", a.label),
            None => shared_name(program, offset),
        };
        let usual_cause = if same {
            "every thread stores a result that one of them should; it holds only as long as \
             the values agree"
        } else if with.block != new.block
            && sites.clusters.member(with.block).first == sites.clusters.member(new.block).first
        {
            "a missing `cluster.sync()` between filling and using what blocks of a cluster share"
        } else if with.block != new.block {
            "blocks that pass data need an atomic after `__threadfence()`, or a launch of their own"
        } else if between == "of one warp" {
            "a missing `__syncwarp()`: lanes of a warp need not run in lockstep"
        } else {
            "a missing `__syncthreads()` between filling and using a tile, or before the next round \
             refills it"
        };
        let side = |e: &Entry, pc: u32, op: &MemoryOp, write: bool, again: bool| RawSide {
            what: verb(op, sites.bytes(e.op, op), write, again),
            block: e.block,
            thread: e.when.thread,
            pc,
        };
        Raw {
            message: format!("race: {kind}, threads {between}, at {place}"),
            usual_cause,
            sides: vec![
                side(new, event.at.pc, event.op, writes(event.op), false),
                side(with, other_pc, other, *with_write, true),
            ],
        }
    });
}

fn shared_name(program: &Program, offset: u64) -> String {
    let named = program
        .shared
        .iter()
        .find(|v| (v.offset..v.offset + v.size).contains(&offset));
    match named {
        Some(v) => format!("byte {} of shared `{}`", offset - v.offset, v.name),
        None if offset >= program.dynamic_offset => format!(
            "byte {} of dynamic shared memory",
            offset - program.dynamic_offset
        ),
        None => format!("shared address {offset:#x}"),
    }
}
