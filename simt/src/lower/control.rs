//! Branches, exits and instructions that do nothing a program could see.

use super::asynchronous::{AsyncOp, literal, push};
use super::emit::{Emitter, Result};
use super::program::*;
use super::scope::Symbol;
use crate::ptx::ast::{Instruction, Operand, OperandKind};
use crate::ptx::source::Span;
use crate::ptx::types::ScalarType;

fn label(e: &Emitter<'_>, name: &str, span: Span) -> Result<u32> {
    match e.scopes.find(name) {
        Some(Symbol::Label(id)) => Ok(*id as u32),
        Some(_) => Err(e.wrong(span, format!("`{name}` is not a label"))),
        None => Err(e.unknown(name, span)),
    }
}

/// `bra`.
pub(crate) fn bra(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 1)?;
    let OperandKind::Name(name) = &operands[0].kind else {
        return Err(e.wrong(operands[0].span, "a label is needed here"));
    };
    let target = label(e, name, operands[0].span)?;
    e.push(Op::Branch { target }, guard);
    Ok(())
}

/// `call` and `ret`: what lowers bodies takes them before the table is asked.
pub(crate) fn of_body(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    Err(e.unsupported(i.span, format!("`{}` outside a body", i.mnemonic())))
}

/// `brx.idx`.
pub(crate) fn brx(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let index = e.src(&operands[0], ScalarType::U32)?.plane;
    let span = operands[1].span;
    let targets = match &operands[1].kind {
        OperandKind::Name(name) => match e.scopes.find(name) {
            Some(Symbol::Targets(targets)) => targets.clone(),
            Some(_) => {
                let message = format!("`{name}` is no list of `.branchtargets`");
                return Err(e.wrong(span, message));
            }
            None => return Err(e.unknown(name, span)),
        },
        _ => return Err(e.wrong(span, "the name of a `.branchtargets` list is needed here")),
    };
    let labels = targets
        .iter()
        .map(|t| label(e, t, span))
        .collect::<Result<Vec<u32>>>()?;
    let table = e.program.tables.len() as u16;
    e.program.tables.push(labels);
    e.push(Op::Table { index, table }, guard);
    Ok(())
}

/// `exit`, `trap`, `brkpt`.
pub(crate) fn stop(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let op = if i.opcode.text == "exit" {
        Op::Exit
    } else {
        Op::Trap
    };
    e.push(op, guard);
    Ok(())
}

/// Instructions without an effect that can be seen: `prefetch`, `nanosleep`, `setmaxnreg`.
pub(crate) fn nothing(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    for operand in &i.operands {
        check_names(e, operand)?;
    }
    e.push(Op::Nothing, guard);
    Ok(())
}

fn check_names(e: &Emitter<'_>, operand: &Operand) -> Result<()> {
    match &operand.kind {
        OperandKind::Name(name) | OperandKind::Offset(name, _) if e.scopes.find(name).is_none() => {
            Err(e.unknown(name, operand.span))
        }
        OperandKind::Address(parts) | OperandKind::Vector(parts) => {
            parts.iter().try_for_each(|p| check_names(e, p))
        }
        _ => Ok(()),
    }
}

/// `membar`, `fence`.
pub(crate) fn fence(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let scope = i.modifiers.iter().find_map(|m| match m.text.as_str() {
        ".cta" => Some(Scope::Block),
        ".cluster" => Some(Scope::Cluster),
        ".sys" => Some(Scope::System),
        _ => None,
    });
    let has = |text| i.modifiers.iter().any(|m| m.text == text);
    let restricted = i
        .modifiers
        .iter()
        .any(|m| m.text.starts_with(".sync_restrict"));
    let between = if has(".mbarrier_init") {
        Between::BarrierInit
    } else if has(".tensormap::generic") {
        Between::Maps
    } else if has(".alias") {
        Between::Aliases
    } else if has(".proxy") {
        Between::Async {
            shared: !has(".global"),
            global: !(restricted || has(".shared::cta") || has(".shared::cluster")),
        }
    } else {
        Between::Accesses
    };
    e.operands(i, 0)?;
    if between == Between::Accesses && has(".acquire") {
        // It releases nothing, and strong loads acquire as they are.
        e.push(Op::Nothing, guard);
        return Ok(());
    }
    let scope = scope.unwrap_or(Scope::Device);
    e.push(Op::Fence { scope, between }, guard);
    Ok(())
}

/// `fence.proxy.tensormap` on one tensor map: its address and size are operands.
pub(crate) fn fence_of_map(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    if literal(e, &operands[1])? != crate::tensor_map::BYTES as u32 {
        return Err(e.wrong(operands[1].span, "a tensor map has 128 bytes"));
    }
    let map = e.address(&operands[0], crate::ptx::types::Space::Generic)?;
    push(e, AsyncOp::AcquireMap(map), guard);
    Ok(())
}

/// `activemask`.
pub(crate) fn activemask(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 1)?;
    let d = e.dst(&operands[0], ScalarType::B32)?.plane;
    e.push(Op::ActiveMask { d }, guard);
    Ok(())
}
