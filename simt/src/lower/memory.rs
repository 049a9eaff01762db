//! Loads, stores, atomics and addresses.

use super::emit::{Emitter, Result};
use super::program::*;
use crate::isa::alu::Alu;
use crate::memory::windows::PLACE_BITS;
use crate::ptx::ast::{Instruction, OperandKind};
use crate::ptx::types::{ScalarType, Space};
use smallvec::{SmallVec, smallvec};

fn has(i: &Instruction, modifier: &str) -> bool {
    i.modifiers.iter().any(|m| m.text == modifier)
}

/// The space an instruction names.
pub(crate) fn space(i: &Instruction) -> Space {
    let named = i
        .modifiers
        .iter()
        .find_map(|m| match m.text.split("::").next() {
            Some(".global") => Some(Space::Global),
            Some(".shared") => Some(Space::Shared),
            Some(".local") => Some(Space::Local),
            Some(".const") => Some(Space::Const),
            Some(".param") => Some(Space::Param),
            _ => None,
        });
    named.unwrap_or(Space::Generic)
}

fn element_type(e: &Emitter<'_>, i: &Instruction) -> Result<ScalarType> {
    let ty = i
        .modifiers
        .iter()
        .rev()
        .find_map(|m| ScalarType::from_name(&m.text[1..]));
    ty.ok_or_else(|| e.wrong(i.span, format!("`{}` needs a type", i.mnemonic())))
}

fn order(i: &Instruction) -> Order {
    let found = i.modifiers.iter().find_map(|m| match m.text.as_str() {
        ".volatile" | ".relaxed" | ".mmio" => Some(Order::Relaxed),
        ".acquire" => Some(Order::Acquire),
        ".release" => Some(Order::Release),
        ".acq_rel" => Some(Order::AcquireRelease),
        _ => None,
    });
    found.unwrap_or(Order::Weak)
}

fn scope(i: &Instruction) -> Scope {
    let found = i.modifiers.iter().find_map(|m| match m.text.as_str() {
        ".cta" => Some(Scope::Block),
        ".cluster" => Some(Scope::Cluster),
        ".sys" => Some(Scope::System),
        _ => None,
    });
    found.unwrap_or(Scope::Device)
}

fn push(e: &mut Emitter<'_>, op: MemoryOp, guard: Guard) {
    let strong = op.order != Order::Weak || matches!(op.access, Access::Atomic(_));
    let outside = !matches!(
        op.address.space,
        Space::Shared | Space::Local | Space::Param
    );
    e.program.communicates |= strong && outside && op.scope != Scope::Block;
    let index = e.program.memory.len() as u32;
    e.program.memory.push(op);
    e.push(Op::Memory(index), guard);
}

/// A weak access of one register.
pub(crate) fn plain(
    e: &mut Emitter<'_>,
    access: Access,
    address: Address,
    ty: ScalarType,
    register: Reg,
    guard: Guard,
) {
    let op = MemoryOp {
        access,
        address,
        ty,
        registers: smallvec![Some(register)],
        sources: SmallVec::new(),
        order: Order::Weak,
        scope: Scope::Block,
        constant: false,
    };
    push(e, op, guard);
}

fn vector_length(i: &Instruction) -> usize {
    if has(i, ".v8") {
        8
    } else if has(i, ".v4") {
        4
    } else if has(i, ".v2") {
        2
    } else {
        1
    }
}

/// `ld`, `ldu`.
pub(crate) fn load(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    // A cache policy may follow the address.
    let count = if has(i, ".L2::cache_hint") { 3 } else { 2 };
    let operands = e.operands(i, count)?;
    let ty = element_type(e, i)?;
    let elements = e.exactly(&operands[0], vector_length(i))?;
    let mut registers = SmallVec::new();
    for element in elements {
        registers.push(match element.kind {
            OperandKind::Sink => None,
            _ => Some(e.dst_loose(element, ty)?),
        });
    }
    let address = e.address(&operands[1], space(i))?;
    let constant = has(i, ".nc");
    let (order, scope) = (order(i), scope(i));
    let sources = SmallVec::new();
    let access = Access::Load;
    push(
        e,
        MemoryOp {
            access,
            address,
            ty,
            registers,
            sources,
            order,
            scope,
            constant,
        },
        guard,
    );
    Ok(())
}

/// `st`.
pub(crate) fn store(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let count = if has(i, ".L2::cache_hint") { 3 } else { 2 };
    let operands = e.operands(i, count)?;
    let ty = element_type(e, i)?;
    let address = e.address(&operands[0], space(i))?;
    if address.space == Space::Const || address.space == Space::Param {
        let message = format!("{} memory cannot be written", address.space);
        return Err(e.wrong(operands[0].span, message));
    }
    let elements = e.exactly(&operands[1], vector_length(i))?;
    let mut registers = SmallVec::new();
    for element in elements {
        registers.push(Some(e.src_loose(element, ty)?));
    }
    let (order, scope) = (order(i), scope(i));
    let sources = SmallVec::new();
    let access = Access::Store;
    let op = MemoryOp {
        access,
        address,
        ty,
        registers,
        sources,
        order,
        scope,
        constant: false,
    };
    push(e, op, guard);
    Ok(())
}

/// `atom` and `red`.
pub(crate) fn atomic(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let what = i.modifiers.iter().find_map(|m| match m.text.as_str() {
        ".and" => Some(Atomic::And),
        ".or" => Some(Atomic::Or),
        ".xor" => Some(Atomic::Xor),
        ".exch" => Some(Atomic::Exchange),
        ".cas" => Some(Atomic::CompareSwap),
        ".add" => Some(Atomic::Add),
        ".inc" => Some(Atomic::Inc),
        ".dec" => Some(Atomic::Dec),
        ".min" => Some(Atomic::Min),
        ".max" => Some(Atomic::Max),
        _ => None,
    });
    let Some(what) = what else {
        return Err(e.wrong(i.span, "this atomic names no operation"));
    };
    let ty = element_type(e, i)?;
    let returns = i.opcode.text == "atom";
    let values = if what == Atomic::CompareSwap { 2 } else { 1 };
    let hint = usize::from(has(i, ".L2::cache_hint"));
    let count = usize::from(returns) + 1 + values + hint;
    let operands = e.operands(i, count)?;
    let (result, rest) = operands.split_at(usize::from(returns));
    let length = vector_length(i);
    let mut registers: SmallVec<[Option<Reg>; 8]> = smallvec![None; length];
    if let [result] = result {
        for (n, element) in e.exactly(result, length)?.iter().enumerate() {
            registers[n] = match element.kind {
                OperandKind::Sink => None,
                _ => Some(e.dst(element, ty)?),
            };
        }
    }
    let address = e.address(&rest[0], space(i))?;
    let mut sources = SmallVec::new();
    for operand in &rest[1..1 + values] {
        for element in e.exactly(operand, length)? {
            sources.push(e.src(element, ty)?);
        }
    }
    let order = match order(i) {
        Order::Weak => Order::Relaxed,
        order => order,
    };
    let access = Access::Atomic(what);
    let scope = scope(i);
    let op = MemoryOp {
        access,
        address,
        ty,
        registers,
        sources,
        order,
        scope,
        constant: false,
    };
    push(e, op, guard);
    Ok(())
}

/// The generic address at which a window begins; device memory is its own.
pub(crate) fn window(space: Space) -> u64 {
    use crate::memory::windows::{CONST, LOCAL, PARAM, SHARED};
    match space {
        Space::Shared => SHARED,
        Space::Local => LOCAL,
        Space::Const => CONST,
        Space::Param => PARAM,
        Space::Global | Space::Generic => 0,
    }
}

/// `cvta` and `cvta.to`.
pub(crate) fn cvta(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let ty = element_type(e, i)?;
    let base = window(space(i));
    let d = e.dst(&operands[0], ty)?.plane;
    let a = e.src(&operands[1], ty)?.plane;
    let base = e.bits(ty, base).plane;
    let f = if has(i, ".to") {
        Alu::Sub64
    } else {
        Alu::Add64
    };
    e.push(
        Op::Alu {
            f,
            r: [d, a, base, 0, 0],
        },
        guard,
    );
    Ok(())
}

/// `isspacep`: windows are told apart by their upper halves; that of the block's own shared memory
/// is the part of the cluster's that names no block.
pub(crate) fn isspacep(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let p = e.dst(&operands[0], ScalarType::Pred)?.plane;
    let a = e.src(&operands[1], ScalarType::U64)?.plane;
    let space = space(i);
    let own = space == Space::Shared && !has(i, ".shared::cluster");
    let window_bits = if own { PLACE_BITS } else { 32 };
    let shift = e.bits(ScalarType::U32, u64::from(window_bits)).plane;
    let upper = e.fresh(ScalarType::U64).plane;
    e.push(
        Op::Alu {
            f: Alu::ShrU64,
            r: [upper, a, shift, 0, 0],
        },
        guard,
    );
    let (f, bits) = match space {
        Space::Global => (Alu::GeU64, crate::memory::windows::GLOBAL >> 32),
        _ => (Alu::EqB64, window(space) >> window_bits),
    };
    let limit = e.bits(ScalarType::U64, bits).plane;
    e.push(
        Op::Alu {
            f,
            r: [p, upper, limit, 0, 0],
        },
        guard,
    );
    Ok(())
}

/// `mapa`: the address of another block's shared memory.
pub(crate) fn mapa(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 3)?;
    let ty = element_type(e, i)?;
    let d = e.dst(&operands[0], ty)?.plane;
    let a = e.src(&operands[1], ty)?.plane;
    let rank = e.src(&operands[2], ScalarType::U32)?.plane;
    let shift = e.bits(ScalarType::U32, 24).plane;
    let one = e.bits(ScalarType::U32, 1).plane;
    // Rank r is window part r + 1; part 0 is the block's own.
    let part = e.fresh(ScalarType::U32).plane;
    let wide = ty.bits() == 64;
    e.push(
        Op::Alu {
            f: Alu::Add32,
            r: [part, rank, one, 0, 0],
        },
        guard,
    );
    e.push(
        Op::Alu {
            f: Alu::Shl32,
            r: [part, part, shift, 0, 0],
        },
        guard,
    );
    let keep = e
        .bits(ty, if wide { !0xff00_0000 } else { 0x00ff_ffff })
        .plane;
    let own = e.fresh(ty).plane;
    if wide {
        let extended = e.fresh(ty).plane;
        e.push(
            Op::Alu {
                f: Alu::CvtU64U32,
                r: [extended, part, 0, 0, 0],
            },
            guard,
        );
        e.push(
            Op::Alu {
                f: Alu::And64,
                r: [own, a, keep, 0, 0],
            },
            guard,
        );
        e.push(
            Op::Alu {
                f: Alu::Or64,
                r: [d, own, extended, 0, 0],
            },
            guard,
        );
    } else {
        e.push(
            Op::Alu {
                f: Alu::And32,
                r: [own, a, keep, 0, 0],
            },
            guard,
        );
        e.push(
            Op::Alu {
                f: Alu::Or32,
                r: [d, own, part, 0, 0],
            },
            guard,
        );
    }
    Ok(())
}

/// `getctarank`: the block whose shared memory an address names.
pub(crate) fn rank_of(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let wide = element_type(e, i)?.bits() == 64;
    let d = e.dst(&operands[0], ScalarType::U32)?.plane;
    let part = e.fresh(ScalarType::U32).plane;
    let emit = |e: &mut Emitter<'_>, f, r| e.push(Op::Alu { f, r }, guard);
    if wide {
        let a = e.src(&operands[1], ScalarType::U64)?.plane;
        emit(e, Alu::CvtU32U64, [part, a, 0, 0, 0]);
    } else {
        let a = e.src(&operands[1], ScalarType::U32)?;
        super::arithmetic::copy(
            e,
            Reg {
                plane: part,
                planes: 1,
            },
            a,
            guard,
        );
    }
    let constant = |e: &mut Emitter<'_>, v| e.bits(ScalarType::U32, v).plane;
    let (shift, mask, one) = (constant(e, 24), constant(e, 0xff), constant(e, 1));
    emit(e, Alu::ShrU32, [part, part, shift, 0, 0]);
    emit(e, Alu::And32, [part, part, mask, 0, 0]);
    // Part 0 is the block's own memory, part r + 1 that of rank r.
    let zero = constant(e, 0);
    let own = e.special(Special::ClusterCtarank, ScalarType::U32).plane;
    let p = e.fresh(ScalarType::Pred).plane;
    emit(e, Alu::EqB32, [p, part, zero, 0, 0]);
    emit(e, Alu::Sub32, [part, part, one, 0, 0]);
    emit(e, Alu::Selp32, [d, own, part, p, 0]);
    Ok(())
}

/// `createpolicy`: a value that only advises the caches.
pub(crate) fn policy(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let Some(d) = i.operands.first() else {
        return Err(e.wrong(i.span, "a destination is needed"));
    };
    let d = e.dst(d, ScalarType::B64)?;
    let zero = e.bits(ScalarType::B64, 0);
    super::arithmetic::copy(e, d, zero, guard);
    Ok(())
}
