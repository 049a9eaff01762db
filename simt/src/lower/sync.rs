//! Operations in which lanes of a warp or warps of a block take part together.

use super::emit::{Emitter, Result};
use super::program::*;
use crate::ptx::ast::{Instruction, OperandKind};
use crate::ptx::types::ScalarType;

/// Barriers that a block can name.
pub(crate) const BARRIERS: usize = 16;

/// How `shfl` picks its source lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote or reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// `redux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduce {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
}

/// What a barrier does besides waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// Counts true predicates into `d`.
    Popc {
        d: u16,
        p: u16,
    },
    /// Combines predicates into predicate `d`.
    Logic {
        d: u16,
        p: u16,
        and: bool,
    },
}

/// An operation that may wait. Members are planes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SyncOp {
    Shuffle {
        mode: ShuffleMode,
        d: u16,
        p: Option<u16>,
        a: u16,
        b: u16,
        c: u16,
        mask: u16,
    },
    Vote {
        vote: Vote,
        d: u16,
        p: u16,
        mask: u16,
    },
    Match {
        all: bool,
        wide: bool,
        d: u16,
        p: Option<u16>,
        a: u16,
        mask: u16,
    },
    Redux {
        op: Reduce,
        signed: bool,
        d: u16,
        a: u16,
        mask: u16,
    },
    Elect {
        d: u16,
        p: u16,
        mask: u16,
    },
    Warp {
        mask: u16,
    },
    Barrier {
        kind: BarrierKind,
        id: u16,
        count: Option<u16>,
        /// Whether all lanes of a warp must execute it together.
        aligned: bool,
    },
    /// Arrival at the barrier of the cluster.
    ClusterArrive {
        /// Whether it publishes what came before.
        release: bool,
    },
    ClusterWait,
}

impl SyncOp {
    /// The plane with the mask of lanes a warp operation waits for.
    pub(crate) fn mask(&self) -> Option<u16> {
        match *self {
            SyncOp::Shuffle { mask, .. }
            | SyncOp::Vote { mask, .. }
            | SyncOp::Match { mask, .. }
            | SyncOp::Redux { mask, .. }
            | SyncOp::Elect { mask, .. }
            | SyncOp::Warp { mask } => Some(mask),
            _ => None,
        }
    }
}

fn has(i: &Instruction, modifier: &str) -> bool {
    i.modifiers.iter().any(|m| m.text == modifier)
}

fn push(e: &mut Emitter<'_>, op: SyncOp, guard: Guard) {
    let index = e.program.syncs.len() as u32;
    e.program.syncs.push(op);
    e.push(Op::Sync(index), guard);
}

const B32: ScalarType = ScalarType::B32;

/// `d|p`: the value and the predicate.
fn pair(
    e: &mut Emitter<'_>,
    operand: &crate::ptx::ast::Operand,
    ty: ScalarType,
) -> Result<(u16, Option<u16>)> {
    match &operand.kind {
        OperandKind::Pair(d, p) => {
            let d = e.dst(d, ty)?.plane;
            Ok((d, Some(e.dst(p, ScalarType::Pred)?.plane)))
        }
        _ => Ok((e.dst(operand, ty)?.plane, None)),
    }
}

/// `shfl.sync`.
pub(crate) fn shuffle(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 5)?;
    let mode = if has(i, ".up") {
        ShuffleMode::Up
    } else if has(i, ".down") {
        ShuffleMode::Down
    } else if has(i, ".bfly") {
        ShuffleMode::Butterfly
    } else {
        ShuffleMode::Index
    };
    let (d, p) = pair(e, &operands[0], B32)?;
    let a = e.src(&operands[1], B32)?.plane;
    let [b, c, mask] = [
        e.src(&operands[2], B32)?.plane,
        e.src(&operands[3], B32)?.plane,
        e.src(&operands[4], B32)?.plane,
    ];
    push(
        e,
        SyncOp::Shuffle {
            mode,
            d,
            p,
            a,
            b,
            c,
            mask,
        },
        guard,
    );
    Ok(())
}

/// `vote.sync`.
pub(crate) fn vote(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 3)?;
    let (vote, ty) = if has(i, ".ballot") {
        (Vote::Ballot, B32)
    } else if has(i, ".all") {
        (Vote::All, ScalarType::Pred)
    } else if has(i, ".any") {
        (Vote::Any, ScalarType::Pred)
    } else {
        (Vote::Uniform, ScalarType::Pred)
    };
    let d = e.dst(&operands[0], ty)?.plane;
    let p = e.src(&operands[1], ScalarType::Pred)?.plane;
    let mask = e.src(&operands[2], B32)?.plane;
    push(e, SyncOp::Vote { vote, d, p, mask }, guard);
    Ok(())
}

/// `match.sync`.
pub(crate) fn matching(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 3)?;
    let wide = has(i, ".b64");
    let ty = if wide { ScalarType::B64 } else { B32 };
    let (d, p) = pair(e, &operands[0], B32)?;
    let a = e.src(&operands[1], ty)?.plane;
    let mask = e.src(&operands[2], B32)?.plane;
    push(
        e,
        SyncOp::Match {
            all: has(i, ".all"),
            wide,
            d,
            p,
            a,
            mask,
        },
        guard,
    );
    Ok(())
}

/// `redux.sync`.
pub(crate) fn redux(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 3)?;
    let op = i.modifiers.iter().find_map(|m| match m.text.as_str() {
        ".add" => Some(Reduce::Add),
        ".min" => Some(Reduce::Min),
        ".max" => Some(Reduce::Max),
        ".and" => Some(Reduce::And),
        ".or" => Some(Reduce::Or),
        _ => None,
    });
    let d = e.dst(&operands[0], B32)?.plane;
    let a = e.src(&operands[1], B32)?.plane;
    let mask = e.src(&operands[2], B32)?.plane;
    let signed = has(i, ".s32");
    push(
        e,
        SyncOp::Redux {
            op: op.unwrap_or(Reduce::Xor),
            signed,
            d,
            a,
            mask,
        },
        guard,
    );
    Ok(())
}

/// `elect.sync`.
pub(crate) fn elect(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let (d, p) = pair(e, &operands[0], B32)?;
    let Some(p) = p else {
        return Err(e.wrong(operands[0].span, "`d|p` is needed here"));
    };
    let mask = e.src(&operands[1], B32)?.plane;
    push(e, SyncOp::Elect { d, p, mask }, guard);
    Ok(())
}

/// `bar.warp.sync`.
pub(crate) fn warp_barrier(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 1)?;
    let mask = e.src(&operands[0], B32)?.plane;
    push(e, SyncOp::Warp { mask }, guard);
    Ok(())
}

/// `bar` and `barrier`.
pub(crate) fn barrier(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let reduces = has(i, ".red");
    let arrives = has(i, ".arrive");
    let mut rest = i.operands.as_slice();
    let mut kind = if arrives {
        BarrierKind::Arrive
    } else {
        BarrierKind::Sync
    };
    if reduces {
        let (Some((d, inner)), Some((p, _))) = (rest.split_first(), rest.split_last()) else {
            return Err(e.wrong(i.span, "this barrier needs a result and a predicate"));
        };
        rest = &inner[..inner.len().saturating_sub(1)];
        let popc = has(i, ".popc");
        let d = e
            .dst(
                d,
                if popc {
                    ScalarType::U32
                } else {
                    ScalarType::Pred
                },
            )?
            .plane;
        let p = e.src(p, ScalarType::Pred)?.plane;
        kind = if popc {
            BarrierKind::Popc { d, p }
        } else {
            BarrierKind::Logic {
                d,
                p,
                and: has(i, ".and"),
            }
        };
    }
    if rest.is_empty() || rest.len() > 2 {
        return Err(e.wrong(
            i.span,
            "a barrier takes its number and, if need be, a thread count",
        ));
    }
    let id = e.src(&rest[0], B32)?.plane;
    let count = rest
        .get(1)
        .map(|c| e.src(c, B32))
        .transpose()?
        .map(|r| r.plane);
    let aligned = i.opcode.text == "bar" || has(i, ".aligned");
    let op = SyncOp::Barrier {
        kind,
        id,
        count,
        aligned,
    };
    push(e, op, guard);
    Ok(())
}

/// `barrier.cluster`.
pub(crate) fn cluster(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    e.operands(i, 0)?;
    let op = if has(i, ".arrive") {
        SyncOp::ClusterArrive {
            release: !has(i, ".relaxed"),
        }
    } else {
        SyncOp::ClusterWait
    };
    push(e, op, guard);
    Ok(())
}
