//! `setp` and `set` of pairs of f16 or bf16: the same instruction for each half.

use super::arithmetic;
use super::emit::{Emitter, Result};
use super::program::*;
use super::scope::Symbol;
use crate::ptx::ast::{Instruction, Operand, OperandKind};
use crate::ptx::types::ScalarType;
use smallvec::smallvec;
use smol_str::SmolStr;

/// Names that no program can declare, for the halves: they hold a space.
fn declared(e: &mut Emitter<'_>, name: &str, reg: Reg, ty: ScalarType, like: &Operand) -> Operand {
    let name = SmolStr::from(name);
    e.scopes.declare(name.clone(), Symbol::Register(reg, ty));
    Operand {
        kind: OperandKind::Name(name),
        span: like.span,
    }
}

fn pack(e: &mut Emitter<'_>, whole: Reg, parts: [Reg; 2], unpack: bool, guard: Guard) {
    let index = e.program.packs.len() as u16;
    e.program.packs.push(PackOp {
        whole,
        parts: smallvec![Some(parts[0]), Some(parts[1])],
        part_bits: 16,
        unpack,
    });
    e.push(Op::Pack(index), guard);
}

/// The halves of a source, low first.
fn split(e: &mut Emitter<'_>, operand: &Operand, names: [&str; 2]) -> Result<[Operand; 2]> {
    let whole = e.src(operand, ScalarType::B32)?;
    let parts = [e.fresh(ScalarType::B16), e.fresh(ScalarType::B16)];
    pack(e, whole, parts, true, Guard::NONE);
    Ok([0, 1].map(|k| declared(e, names[k], parts[k], ScalarType::B16, operand)))
}

/// `setp.….f16x2` and `set.….f16x2.f16x2`, `set.….u32.f16x2`.
pub(crate) fn compare(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    e.scopes.push();
    let done = halves(e, i);
    e.scopes.pop();
    done
}

fn halves(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let mut one = i.clone();
    for modifier in &mut one.modifiers {
        match modifier.text.as_str() {
            // Each half of the mask is one of 16 bits.
            ".u32" | ".s32" => modifier.text = SmolStr::new_static(".u16"),
            text => {
                if let Some(half) = text.strip_suffix("x2") {
                    modifier.text = SmolStr::from(half);
                }
            }
        }
    }
    let [result, a, b, rest @ ..] = i.operands.as_slice() else {
        return Err(e.wrong(i.span, "a comparison takes a result and two operands"));
    };
    let a = split(e, a, ["a low", "a high"])?;
    let b = split(e, b, ["b low", "b high"])?;
    // The third operand may be a result as well: it is read once, before either is written.
    let mut combined = Vec::new();
    if let [c] = rest {
        let from = e.src(c, ScalarType::Pred)?;
        let kept = e.fresh(ScalarType::Pred);
        e.push_extra(Op::Logic {
            f: Logic::Move,
            r: [kept.plane, from.plane, 0],
        });
        combined.push(declared(e, "c kept", kept, ScalarType::Pred, c));
    }
    let mut each = |e: &mut Emitter<'_>,
                    k: usize,
                    d: &Operand,
                    lower: fn(&mut Emitter<'_>, &Instruction) -> Result<()>| {
        one.operands = vec![d.clone(), a[k].clone(), b[k].clone()];
        one.operands.extend(combined.iter().cloned());
        lower(e, &one)
    };
    if i.opcode.text == "setp" {
        let OperandKind::Pair(p, q) = &result.kind else {
            return Err(e.wrong(result.span, "`p|q` is needed here"));
        };
        each(e, 0, p, arithmetic::setp)?;
        return each(e, 1, q, arithmetic::setp);
    }
    let whole = e.dst(result, ScalarType::B32)?;
    let parts = [e.fresh(ScalarType::B16), e.fresh(ScalarType::B16)];
    for (k, name) in ["d low", "d high"].into_iter().enumerate() {
        let d = declared(e, name, parts[k], ScalarType::B16, result);
        each(e, k, &d, arithmetic::set)?;
    }
    pack(e, whole, parts, false, guard);
    Ok(())
}
