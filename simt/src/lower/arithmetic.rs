//! Arithmetic that is more than one line of the table: `setp`, `mov`, `cvt`, carries.

use super::emit::{Emitter, Result};
use super::program::*;
use crate::isa::alu::{Alu, AluForm, FORMS};
use crate::isa::meaning::Flags;
use crate::isa::meaning::convert::Conversion;
use crate::ptx::ast::{Instruction, Number, Operand, OperandKind};
use crate::ptx::types::{ScalarType, TypeKind};

/// Which outcomes of a comparison make a relation true: less 1, equal 2, greater 4, unordered 8.
fn relation(name: &str) -> Option<u16> {
    Some(match name {
        ".eq" => 2,
        ".ne" => 5,
        ".lt" => 1,
        ".le" => 3,
        ".gt" => 4,
        ".ge" => 6,
        ".equ" => 10,
        ".neu" => 13,
        ".ltu" => 9,
        ".leu" => 11,
        ".gtu" => 12,
        ".geu" => 14,
        ".num" => 7,
        ".nan" => 8,
        _ => return None,
    })
}

fn property(name: &str) -> Option<u16> {
    let names = [
        ".finite",
        ".infinite",
        ".number",
        ".notanumber",
        ".normal",
        ".subnormal",
    ];
    names.iter().position(|n| *n == name).map(|p| p as u16)
}

fn flags(i: &Instruction) -> u16 {
    let special = match i.opcode.text.as_str() {
        "setp" | "set" => i.modifiers.iter().find_map(|m| relation(&m.text)),
        "testp" => i.modifiers.iter().find_map(|m| property(&m.text)),
        _ => None,
    };
    special.unwrap_or(Flags::of(i).0)
}

/// A plain line of the table.
pub(crate) fn plain(e: &mut Emitter<'_>, i: &Instruction, form: &AluForm) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 1 + form.operands.len())?;
    let d = e.dst(&operands[0], form.result)?;
    emit(e, i, form, d, &operands[1..], guard)
}

/// A table line whose operands are followed by an immediate: `lop3`.
pub(crate) fn lop3(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 5)?;
    let ty = ScalarType::B32;
    let table = truth_table(e, &operands[4])?;
    let d = e.dst(&operands[0], ty)?.plane;
    let [a, b, c] = [
        e.src(&operands[1], ty)?,
        e.src(&operands[2], ty)?,
        e.src(&operands[3], ty)?,
    ];
    let r = [d, a.plane, b.plane, c.plane, table];
    e.push(Op::Alu { f: Alu::Lop3, r }, guard);
    Ok(())
}

/// `lop3` with a predicate: whether any bit is set, combined with another.
pub(crate) fn lop3_combined(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 6)?;
    let OperandKind::Pair(d, p) = &operands[0].kind else {
        return Err(e.wrong(operands[0].span, "`d|p` is needed here"));
    };
    let ty = ScalarType::B32;
    let table = truth_table(e, &operands[4])?;
    let d = match d.kind {
        OperandKind::Sink => None,
        _ => Some(e.dst(d, ty)?),
    };
    let p = e.dst(p, ScalarType::Pred)?;
    let [a, b, c] = [
        e.src(&operands[1], ty)?,
        e.src(&operands[2], ty)?,
        e.src(&operands[3], ty)?,
    ];
    let q = e.src(&operands[5], ScalarType::Pred)?;
    let (value, any, zero) = (e.fresh(ty), e.fresh(ScalarType::Pred), e.bits(ty, 0));
    let r = [value.plane, a.plane, b.plane, c.plane, table];
    e.push(Op::Alu { f: Alu::Lop3, r }, guard);
    let r = [any.plane, value.plane, zero.plane, 0, 0];
    e.push(Op::Alu { f: Alu::NeB32, r }, guard);
    let f = (i.modifiers.iter().find_map(|m| logic(&m.text))).unwrap_or(Logic::Or);
    let r = [p.plane, any.plane, q.plane];
    e.push(Op::Logic { f, r }, guard);
    if let Some(d) = d {
        copy(e, d, value, guard);
    }
    Ok(())
}

fn truth_table(e: &mut Emitter<'_>, operand: &Operand) -> Result<u16> {
    let table = e.immediate(operand)?;
    match u8::try_from(table) {
        Ok(table) => Ok(table.into()),
        Err(_) => Err(e.wrong(operand.span, "a truth table is a number from 0 to 255")),
    }
}

fn emit(
    e: &mut Emitter<'_>,
    i: &Instruction,
    form: &AluForm,
    d: Reg,
    sources: &[Operand],
    guard: Guard,
) -> Result<()> {
    let mut r = [0; 5];
    r[0] = d.plane;
    // A literal beside `.b` and float modifiers is read as the instruction's type says.
    let mut types = i
        .modifiers
        .iter()
        .filter_map(|m| ScalarType::from_name(&m.text[1..]));
    // `slct` names the type of its values first, that of its condition last.
    let selects = i.opcode.text == "slct";
    let (first, last) = (types.next(), types.next_back());
    for (n, (operand, ty)) in sources.iter().zip(form.operands).enumerate() {
        let named = if selects && n < 2 {
            first
        } else {
            last.or(first)
        };
        let literal = matches!(operand.kind, OperandKind::Number(_));
        let ty = match named {
            Some(named)
                if named.bits() == ty.bits() && (literal || ty.kind() == TypeKind::Bits) =>
            {
                named
            }
            _ => *ty,
        };
        // Shift amounts and bit positions accept any 32-bit register.
        r[n + 1] = e.src(operand, ty)?.plane;
    }
    if form.flags {
        r[form.operands.len() + 1] = flags(i);
    }
    e.push(Op::Alu { f: form.alu, r }, guard);
    Ok(())
}

/// Copies a register.
pub(crate) fn copy(e: &mut Emitter<'_>, d: Reg, a: Reg, guard: Guard) {
    let r = [d.plane, a.plane, 0, 0, 0];
    let op = match d.planes {
        0 => Op::Logic {
            f: Logic::Move,
            r: [d.plane, a.plane, 0],
        },
        1 => Op::Alu { f: Alu::Mov32, r },
        2 => Op::Alu { f: Alu::Mov64, r },
        _ => {
            let low = [d.plane + 2, a.plane + 2, 0, 0, 0];
            e.push(
                Op::Alu {
                    f: Alu::Mov64,
                    r: low,
                },
                guard,
            );
            Op::Alu { f: Alu::Mov64, r }
        }
    };
    e.push(op, guard);
}

fn logic(name: &str) -> Option<Logic> {
    Some(match name {
        ".and" => Logic::And,
        ".or" => Logic::Or,
        ".xor" => Logic::Xor,
        _ => return None,
    })
}

/// `and.pred`, `or.pred`, `xor.pred`, `not.pred`, `mov.pred`.
pub(crate) fn predicate_logic(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let f = match i.opcode.text.as_str() {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        "not" => Logic::Not,
        _ => Logic::Move,
    };
    let sources = if matches!(f, Logic::Not | Logic::Move) {
        1
    } else {
        2
    };
    let operands = e.operands(i, 1 + sources)?;
    let d = e.dst(&operands[0], ScalarType::Pred)?.plane;
    let mut r = [d, 0, 0];
    for (n, operand) in operands[1..].iter().enumerate() {
        r[n + 1] = e.src(operand, ScalarType::Pred)?.plane;
    }
    e.push(Op::Logic { f, r }, guard);
    Ok(())
}

/// The comparison line of the table for `setp` or `set` with these modifiers.
fn comparison(i: &Instruction) -> Option<&'static AluForm> {
    let opcode = crate::isa::patterns().get("setp")?;
    let wanted =
        |m: &str| relation(m).is_some() || matches!(m, ".lo" | ".ls" | ".hi" | ".hs" | ".ftz");
    let source = i.modifiers.last()?;
    let modifiers: Vec<&str> = (i.modifiers.iter())
        .filter(|m| wanted(&m.text) || m.span == source.span)
        .map(|m| m.text.as_str())
        .collect();
    let found = opcode
        .iter()
        .find(|entry| entry.pattern.fits(modifiers.iter().copied()))?;
    found.alu.map(|index| &FORMS[index])
}

/// `setp` in all its forms.
pub(crate) fn setp(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let Some(form) = comparison(i) else {
        return Err(e.unsupported(i.span, format!("`{}`", i.mnemonic())));
    };
    let guard = e.guard(i)?;
    let combine = i.modifiers.iter().find_map(|m| logic(&m.text));
    let operands = e.operands(i, if combine.is_some() { 4 } else { 3 })?;
    let (first, second) = match &operands[0].kind {
        OperandKind::Pair(p, q) => (&**p, Some(&**q)),
        _ => (&operands[0], None),
    };
    let half = (i.modifiers.last()).is_some_and(|m| matches!(m.text.as_str(), ".f16" | ".bf16"));
    if half && second.is_some() {
        let error = e.wrong(operands[0].span, "`setp` of one half writes one predicate");
        return Err(error.with_help("of a pair it writes one for each half"));
    }
    let p = e.dst(first, ScalarType::Pred)?;
    if combine.is_none() && second.is_none() {
        return emit(e, i, form, p, &operands[1..3], guard);
    }
    let q = second.map(|q| e.dst(q, ScalarType::Pred)).transpose()?;
    let c = combine
        .map(|_| e.src(&operands[3], ScalarType::Pred))
        .transpose()?;
    let outcome = e.fresh(ScalarType::Pred);
    emit(e, i, form, outcome, &operands[1..3], guard)?;
    let opposite = e.fresh(ScalarType::Pred);
    let mut results = vec![];
    if let Some(q) = q {
        let r = [opposite.plane, outcome.plane, 0];
        e.push(Op::Logic { f: Logic::Not, r }, guard);
        results.push((q, opposite));
    }
    results.insert(0, (p, outcome));
    // `p` may be `c` itself, so both outcomes are combined before either is written.
    for (_, from) in &mut results {
        if let (Some(f), Some(c)) = (combine, c) {
            e.push(
                Op::Logic {
                    f,
                    r: [from.plane, from.plane, c.plane],
                },
                guard,
            );
        }
    }
    for (to, from) in results {
        e.push(
            Op::Logic {
                f: Logic::Move,
                r: [to.plane, from.plane, 0],
            },
            guard,
        );
    }
    Ok(())
}

/// `set`: a comparison whose outcome is a number.
pub(crate) fn set(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let types: Vec<ScalarType> = i
        .modifiers
        .iter()
        .filter_map(|m| ScalarType::from_name(&m.text[1..]))
        .collect();
    let (Some(form), Some(to)) = (comparison(i), types.first()) else {
        return Err(e.unsupported(i.span, format!("`{}`", i.mnemonic())));
    };
    let guard = e.guard(i)?;
    let combine = i.modifiers.iter().find_map(|m| logic(&m.text));
    let operands = e.operands(i, if combine.is_some() { 4 } else { 3 })?;
    let d = e.dst(&operands[0], *to)?;
    let c = combine
        .map(|_| e.src(&operands[3], ScalarType::Pred))
        .transpose()?;
    let outcome = e.fresh(ScalarType::Pred);
    emit(e, i, form, outcome, &operands[1..3], guard)?;
    if let (Some(f), Some(c)) = (combine, c) {
        e.push(
            Op::Logic {
                f,
                r: [outcome.plane, outcome.plane, c.plane],
            },
            guard,
        );
    }
    let (f, one) = match to {
        ScalarType::F32 => (Alu::Selp32, u64::from(1f32.to_bits())),
        ScalarType::F16 => (Alu::Selp16, 0x3c00),
        ScalarType::BF16 => (Alu::Selp16, 0x3f80),
        _ if to.bits() == 16 => (Alu::Selp16, 0xffff),
        _ => (Alu::Selp32, 0xffff_ffff),
    };
    let (one, zero) = (e.bits(*to, one), e.bits(*to, 0));
    let r = [d.plane, one.plane, zero.plane, outcome.plane, 0];
    e.push(Op::Alu { f, r }, guard);
    Ok(())
}

/// `mov`: of values, addresses, vectors.
pub(crate) fn mov(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let Some(ty) = i
        .modifiers
        .last()
        .and_then(|m| ScalarType::from_name(&m.text[1..]))
    else {
        return Err(e.wrong(i.span, "`mov` needs a type"));
    };
    if let OperandKind::Name(name) = &operands[1].kind {
        let clock = match name.as_str() {
            "%clock" | "%clock_hi" | "%globaltimer_lo" | "%globaltimer_hi" => Some(false),
            "%clock64" | "%globaltimer" => Some(true),
            _ => None,
        };
        if let Some(wide) = clock {
            let d = e.dst(&operands[0], ty)?;
            e.push(
                Op::Clock {
                    d: d.plane,
                    wide: wide && d.planes == 2,
                },
                guard,
            );
            return Ok(());
        }
        if name == "%activemask" {
            let d = e.dst(&operands[0], ty)?.plane;
            e.push(Op::ActiveMask { d }, guard);
            return Ok(());
        }
    }
    match (&operands[0].kind, &operands[1].kind) {
        (OperandKind::Vector(parts), _) => {
            let whole = e.src(&operands[1], ty)?;
            pack(e, i, whole, parts, ty, true, guard)
        }
        (_, OperandKind::Vector(parts)) => {
            let whole = e.dst(&operands[0], ty)?;
            pack(e, i, whole, parts, ty, false, guard)
        }
        _ => {
            let d = e.dst(&operands[0], ty)?;
            let a = e.src(&operands[1], ty)?;
            copy(e, d, a, guard);
            Ok(())
        }
    }
}

fn pack(
    e: &mut Emitter<'_>,
    i: &Instruction,
    whole: Reg,
    parts: &[Operand],
    ty: ScalarType,
    unpack: bool,
    guard: Guard,
) -> Result<()> {
    let part_bits = ty.bits() / parts.len().max(1) as u32;
    let part_type = match part_bits {
        8 => ScalarType::B8,
        16 => ScalarType::B16,
        32 => ScalarType::B32,
        64 => ScalarType::B64,
        _ => {
            return Err(e.wrong(
                i.span,
                format!("{ty} does not split into {} parts", parts.len()),
            ));
        }
    };
    let mut registers = smallvec::SmallVec::new();
    for part in parts {
        registers.push(match part.kind {
            OperandKind::Sink => None,
            _ if unpack => Some(e.dst_loose(part, part_type)?),
            _ => Some(e.src_loose(part, part_type)?),
        });
    }
    let index = e.program.packs.len() as u16;
    e.program.packs.push(PackOp {
        whole,
        parts: registers,
        part_bits,
        unpack,
    });
    e.push(Op::Pack(index), guard);
    Ok(())
}

/// Any scalar conversion: the line of the arithmetic table if there is one.
pub(crate) fn cvt_any(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let modifiers = || i.modifiers.iter().map(|m| m.text.as_str());
    let lines = crate::isa::patterns().get("cvt").into_iter().flatten();
    let line = lines
        .filter(|entry| entry.pattern.fits(modifiers()))
        .find_map(|entry| entry.alu);
    match line {
        Some(index) => cvt_plain(e, i, &FORMS[index]),
        None => cvt(e, i),
    }
}

/// Conversions that are not a line of the table, or whose registers are wider than their types.
pub(crate) fn cvt(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let types: Vec<ScalarType> = i
        .modifiers
        .iter()
        .filter_map(|m| ScalarType::from_name(&m.text[1..]))
        .collect();
    let [to, from] = types[..] else {
        return Err(e.wrong(
            i.span,
            "`cvt` needs a type to convert to and one to convert from",
        ));
    };
    let elements = |ty: ScalarType| match ty {
        ScalarType::F16x2 => Some(ScalarType::F16),
        ScalarType::BF16x2 => Some(ScalarType::BF16),
        ScalarType::E4M3x2 => Some(ScalarType::E4M3),
        ScalarType::E5M2x2 => Some(ScalarType::E5M2),
        _ => None,
    };
    let packed = elements(to).is_some();
    let two_sources = packed && elements(from).is_none();
    let operands = e.operands(i, if two_sources { 3 } else { 2 })?;
    let d = e.dst_loose(&operands[0], to)?;
    let a = e.src_loose(&operands[1], from)?;
    let b = if two_sources {
        Some(e.src_loose(&operands[2], from)?.plane)
    } else {
        None
    };
    let integral = |m: &str| matches!(m, ".rni" | ".rzi" | ".rmi" | ".rpi");
    let conversion = Conversion {
        to: elements(to).unwrap_or(to),
        from: elements(from).unwrap_or(from),
        flags: Flags::of(i),
        integral: i.modifiers.iter().any(|m| integral(&m.text)),
    };
    let index = e.program.converts.len() as u16;
    let (wide_d, wide_a) = (d.planes == 2, a.planes == 2);
    let (d, a) = (d.plane, a.plane);
    e.program.converts.push(ConvertOp {
        d,
        a,
        wide_d,
        wide_a,
        b,
        packed,
        conversion,
    });
    e.push(Op::Convert(index), guard);
    Ok(())
}

/// `cvt` by the table when the registers are exactly as wide as the types, else in general.
pub(crate) fn cvt_plain(e: &mut Emitter<'_>, i: &Instruction, form: &AluForm) -> Result<()> {
    let exact = i
        .operands
        .iter()
        .zip(std::iter::once(&form.result).chain(form.operands));
    let fits = exact.into_iter().all(|(operand, ty)| match &operand.kind {
        OperandKind::Name(name) => match e.scopes.find(name) {
            Some(super::scope::Symbol::Register(reg, _)) => {
                u32::from(reg.planes) == ty.bits().div_ceil(32)
            }
            _ => false,
        },
        OperandKind::Number(Number::Integer(_)) => false,
        _ => true,
    });
    if !fits || i.operands.len() != 1 + form.operands.len() {
        return cvt(e, i);
    }
    let guard = e.guard(i)?;
    let d = e.dst_loose(&i.operands[0], form.result)?;
    let mut r = [d.plane, 0, 0, 0, 0];
    for (n, (operand, ty)) in i.operands[1..].iter().zip(form.operands).enumerate() {
        r[n + 1] = e.src_loose(operand, *ty)?.plane;
    }
    if form.flags {
        r[form.operands.len() + 1] = Flags::of(i).0;
    }
    e.push(Op::Alu { f: form.alu, r }, guard);
    Ok(())
}

/// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc`.
pub(crate) fn carry(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let opcode = i.opcode.text.as_str();
    let has = |m: &str| i.modifiers.iter().any(|x| x.text == m);
    let multiply = opcode.starts_with("mad");
    let operands = e.operands(i, if multiply { 4 } else { 3 })?;
    let ty = i
        .modifiers
        .last()
        .and_then(|m| ScalarType::from_name(&m.text[1..]));
    let ty = ty.unwrap_or(ScalarType::U32);
    let d = e.dst(&operands[0], ty)?.plane;
    let a = e.src(&operands[1], ty)?.plane;
    let b = e.src(&operands[2], ty)?.plane;
    let c = if multiply {
        Some(e.src(&operands[3], ty)?.plane)
    } else {
        None
    };
    let flag = match e.carry {
        Some(flag) => flag,
        None => {
            let flag = e.fresh(ScalarType::Pred).plane;
            e.carry = Some(flag);
            flag
        }
    };
    let op = CarryOp {
        d,
        a,
        b,
        c,
        wide: ty.bits() == 64,
        subtract: opcode.starts_with("sub"),
        high: has(".hi"),
        signed: ty.kind() == TypeKind::Signed,
        carry_in: opcode.ends_with('c'),
        carry_out: has(".cc"),
        flag,
    };
    let index = e.program.carries.len() as u16;
    e.program.carries.push(op);
    e.push(Op::Carry(index), guard);
    Ok(())
}
