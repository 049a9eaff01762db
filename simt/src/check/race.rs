//! Races: two accesses to a byte, one of them a write, that nothing orders. This module holds
//! what shared and device memory have in common; [`super::shared`] and [`super::global`] keep
//! the records.

use super::Checker;
use super::cell::Entry;
use super::cells::Conflict;
use super::cluster::Clusters;
use super::finding::{Log, Raw, RawSide, SAME_VALUE};
use crate::exec::misc::value;
use crate::exec::observer::AccessEvent;
use crate::lower::program::{Access, MemoryOp, Order, Program, Scope};

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

/// The bits of one word that a lane is about to store, if they are plain to see.
fn stored(event: &AccessEvent<'_>, lane: usize, offset: u64) -> Option<u32> {
    if event.op.access != Access::Store {
        return None;
    }
    let size = event.op.ty.bytes();
    if size > 8 {
        return None;
    }
    let at = offset.checked_sub(event.offsets[lane] & !3)?;
    let k = at / u64::from(size.max(4));
    let reg = (*event.op.registers.get(k as usize)?)?;
    let bits = value(event.registers, reg, lane);
    Some((bits >> (8 * (at % u64::from(size.max(4))))) as u32)
}

/// What a word holds before the access.
fn held(event: &AccessEvent<'_>, offset: u64) -> Option<u32> {
    match (event.allocation, event.memory) {
        (Some(a), _) => Some(a.load(offset & !3, 4) as u32),
        (None, Some(m)) => m.load((offset & !3) as usize, 4).map(|v| v as u32),
        _ => None,
    }
}

fn verb(op: &MemoryOp, write: bool, again: bool) -> String {
    let bytes = op.bytes();
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
    // The sizes must agree for values to be compared; bytes and halves are left alone.
    if both && event.op.ty.bytes() >= 4 && event.op.ty.bytes() == other.ty.bytes() {
        let one_instruction = other_pc == event.at.pc
            && with.when.thread / 32 == new.when.thread / 32
            && with.block == new.block
            && with.when.clock == new.when.clock;
        let its = if one_instruction {
            stored(event, (with.when.thread % 32) as usize, offset)
        } else {
            held(event, offset)
        };
        same = its.is_some() && its == stored(event, lane, offset);
    }
    let kind = match (with_write, writes(event.op)) {
        _ if same => SAME_VALUE,
        (true, true) => "two writes",
        (true, false) => "a read and an earlier write",
        (false, _) => "a write and an earlier read",
    };
    let between = if with.block != new.block {
        "of different blocks"
    } else if with.when.thread / 32 != new.when.thread / 32 {
        "of different warps"
    } else {
        "of one warp"
    };
    let cause = (event.at.pc, other_pc, checker, kind);
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
            what: verb(op, write, again),
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
