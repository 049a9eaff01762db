//! The emitter: operands to registers, with their types checked.

use super::program::*;
use super::scope::{Scopes, Symbol, special};
use crate::diagnostics::{Blame, Diagnostic};
use crate::isa::Work;
use crate::ptx::ast::{Instruction, Module, Number, Operand, OperandKind};
use crate::ptx::source::Span;
use crate::ptx::types::{ScalarType, Space, TypeKind};
use std::collections::HashMap;

pub(crate) type Result<T> = std::result::Result<T, Diagnostic>;

/// Bytes of shared memory for the system's use, in a program that asks where they are.
pub(crate) const RESERVED: u64 = 1024;

/// What messages call them.
const RESERVED_NAME: &str = "reserved shared memory";

/// Lowers one entry and the functions it calls.
pub(crate) struct Emitter<'m> {
    pub(crate) module: &'m Module,
    pub(crate) scopes: Scopes,
    pub(crate) program: Program,
    pub(crate) labels: Vec<Option<u32>>,
    pub(crate) function: u16,
    pub(crate) location: (u32, u32, u32),
    /// The carry flag of the function being lowered.
    pub(crate) carry: Option<u16>,
    constants: HashMap<(u8, ConstantKey), Reg>,
    next_plane: u32,
    next_predicate: u32,
    line: u32,
    work: Work,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum ConstantKey {
    Dynamic(i64),
    Bits(u64),
    Variable(usize, i64, bool),
    Special(Special),
}

impl<'m> Emitter<'m> {
    pub(crate) fn new(module: &'m Module, program: Program) -> Self {
        Self {
            module,
            scopes: Scopes::default(),
            program,
            labels: Vec::new(),
            function: 0,
            location: (0, 0, 0),
            carry: None,
            constants: HashMap::new(),
            next_plane: 0,
            next_predicate: 0,
            line: 0,
            work: Work::default(),
        }
    }

    /// A problem with the program.
    pub(crate) fn wrong(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.module.source, Blame::Program, span, message)
    }

    /// Something this machine does not do.
    pub(crate) fn unsupported(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.module.source, Blame::Unsupported, span, message)
    }

    /// Remembers which instruction is being lowered.
    pub(crate) fn begin(&mut self, instruction: &Instruction, work: Work) {
        self.line = self.module.source.position(instruction.span).line;
        self.work = work;
    }

    /// Appends an instruction.
    pub(crate) fn push(&mut self, op: Op, guard: Guard) {
        self.program.code.push(Inst { op, guard });
        self.program.sites.push(Site {
            line: self.line,
            location: self.location,
            function: self.function,
            work: self.work,
        });
        // An instruction that becomes several is counted once.
        self.work = Work::NONE;
    }

    /// Where the next instruction will stand.
    pub(crate) fn here(&self) -> u32 {
        self.program.code.len() as u32
    }

    /// A fresh register for values of `ty`.
    pub(crate) fn fresh(&mut self, ty: ScalarType) -> Reg {
        if ty == ScalarType::Pred {
            self.next_predicate += 1;
            return Reg {
                plane: (self.next_predicate - 1) as u16,
                planes: 0,
            };
        }
        let planes = ty.bits().div_ceil(32).max(1);
        let plane = self.next_plane as u16;
        self.next_plane += planes;
        Reg {
            plane,
            planes: planes as u8,
        }
    }

    /// Whether so many more registers of a type can be told apart.
    pub(crate) fn has_room(&self, count: u32, ty: ScalarType) -> bool {
        let planes = u64::from(count) * u64::from(ty.bits().div_ceil(32));
        match ty {
            ScalarType::Pred => u64::from(self.next_predicate) + u64::from(count) < 1 << 15,
            _ => u64::from(self.next_plane) + planes <= u64::from(u16::MAX),
        }
    }

    /// Number of planes and predicates handed out.
    pub(crate) fn register_counts(&self) -> (u32, u32) {
        (self.next_plane, self.next_predicate)
    }

    fn constant(&mut self, ty: ScalarType, key: ConstantKey, value: Constant) -> Reg {
        let planes = ty.bits().div_ceil(32).max(1) as u8;
        if let Some(reg) = self.constants.get(&(planes, key.clone())) {
            return *reg;
        }
        let reg = self.fresh(ty);
        self.program.constants.push((reg, value));
        self.constants.insert((planes, key), reg);
        reg
    }

    /// A register that always holds `bits`.
    pub(crate) fn bits(&mut self, ty: ScalarType, bits: u64) -> Reg {
        self.constant(ty, ConstantKey::Bits(bits), Constant::Bits(bits))
    }

    /// A register that always holds the address of a module variable.
    pub(crate) fn variable_address(&mut self, index: usize, offset: i64, generic: bool) -> Reg {
        let value = Constant::Variable {
            index,
            offset,
            generic,
        };
        self.constant(
            ScalarType::U64,
            ConstantKey::Variable(index, offset, generic),
            value,
        )
    }

    /// A variable that another file defines has no place here.
    fn defined(&self, index: usize, span: Span) -> Result<()> {
        let variable = &self.module.variables[index];
        if !variable.external {
            return Ok(());
        }
        let message = format!(
            "`{}` is declared, and has no definition",
            variable.name.text
        );
        let error = self.unsupported(span, message);
        Err(error.with_help("link the file that defines it before running"))
    }

    /// A register that always holds a special register.
    pub(crate) fn special(&mut self, special: Special, ty: ScalarType) -> Reg {
        self.constant(
            ty,
            ConstantKey::Special(special),
            Constant::Special(special),
        )
    }

    /// The guard of an instruction.
    pub(crate) fn guard(&self, instruction: &Instruction) -> Result<Guard> {
        let Some(guard) = &instruction.guard else {
            return Ok(Guard::NONE);
        };
        match self.scopes.find(&guard.predicate.text) {
            Some(Symbol::Register(reg, ScalarType::Pred)) => {
                Ok(Guard::new(reg.plane, guard.negated))
            }
            Some(_) => Err(self.wrong(guard.predicate.span, "a guard must be a predicate")),
            None => Err(self.unknown(&guard.predicate.text, guard.predicate.span)),
        }
    }

    /// An undeclared name.
    pub(crate) fn unknown(&self, name: &str, span: Span) -> Diagnostic {
        let error = self.wrong(span, format!("`{name}` is not declared"));
        match self.scopes.nearest(name) {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None => error,
        }
    }

    fn check(
        &self,
        span: Span,
        declared: ScalarType,
        wanted: ScalarType,
        loose: bool,
    ) -> Result<()> {
        let (have, want) = (declared.bits(), wanted.bits());
        let predicate = declared == ScalarType::Pred || wanted == ScalarType::Pred;
        let width_fits = have == want || (loose && have >= want && !predicate);
        let integer = |k| matches!(k, TypeKind::Signed | TypeKind::Unsigned);
        let (a, b) = (declared.kind(), wanted.kind());
        let crossed = (a == TypeKind::Float && integer(b)) || (integer(a) && b == TypeKind::Float);
        if width_fits && (loose || !crossed) {
            return Ok(());
        }
        let message = format!("this register is {declared}, the instruction needs {wanted}");
        Err(self.wrong(span, message))
    }

    fn register(&self, operand: &Operand, ty: ScalarType, loose: bool) -> Result<Option<Reg>> {
        let OperandKind::Name(name) = &operand.kind else {
            return Ok(None);
        };
        match self.scopes.find(name) {
            Some(Symbol::Register(reg, declared)) => {
                self.check(operand.span, *declared, ty, loose)?;
                Ok(Some(*reg))
            }
            _ => Ok(None),
        }
    }

    /// A destination register; `_` is a register nobody reads.
    pub(crate) fn dst(&mut self, operand: &Operand, ty: ScalarType) -> Result<Reg> {
        self.dst_with(operand, ty, false)
    }

    /// A destination that may be wider than the type, as in `ld` and `cvt`.
    pub(crate) fn dst_loose(&mut self, operand: &Operand, ty: ScalarType) -> Result<Reg> {
        self.dst_with(operand, ty, true)
    }

    fn dst_with(&mut self, operand: &Operand, ty: ScalarType, loose: bool) -> Result<Reg> {
        if let OperandKind::Sink = operand.kind {
            return Ok(self.fresh(ty));
        }
        if let Some(reg) = self.register(operand, ty, loose)? {
            return Ok(reg);
        }
        match &operand.kind {
            OperandKind::Name(name)
                if self.scopes.find(name).is_none() && special(name).is_none() =>
            {
                Err(self.unknown(name, operand.span))
            }
            _ => Err(self.wrong(
                operand.span,
                format!("a register of type {ty} is needed here"),
            )),
        }
    }

    /// A source: register, literal, address of a variable or special register.
    pub(crate) fn src(&mut self, operand: &Operand, ty: ScalarType) -> Result<Reg> {
        self.src_with(operand, ty, false)
    }

    /// A source that may be wider than the type, as in `st` and `cvt`.
    pub(crate) fn src_loose(&mut self, operand: &Operand, ty: ScalarType) -> Result<Reg> {
        self.src_with(operand, ty, true)
    }

    fn src_with(&mut self, operand: &Operand, ty: ScalarType, loose: bool) -> Result<Reg> {
        if let Some(reg) = self.register(operand, ty, loose)? {
            return Ok(reg);
        }
        match &operand.kind {
            OperandKind::Number(number) => {
                if ty == ScalarType::Pred {
                    let Number::Integer(value) = number else {
                        return Err(self.wrong(operand.span, "a predicate is needed here"));
                    };
                    let reg = self.fresh(ty);
                    let f = if *value != 0 {
                        Logic::Set
                    } else {
                        Logic::Clear
                    };
                    self.push_extra(Op::Logic {
                        f,
                        r: [reg.plane, 0, 0],
                    });
                    return Ok(reg);
                }
                let bits = self.literal(*number, ty, operand.span)?;
                Ok(self.bits(ty, bits))
            }
            OperandKind::Not(name) if ty == ScalarType::Pred => {
                let inner = Operand {
                    kind: OperandKind::Name(name.clone()),
                    span: operand.span,
                };
                let a = self.src(&inner, ty)?;
                let reg = self.fresh(ty);
                self.push_extra(Op::Logic {
                    f: Logic::Not,
                    r: [reg.plane, a.plane, 0],
                });
                Ok(reg)
            }
            OperandKind::Name(name) => self.named(name, 0, ty, operand.span),
            OperandKind::Offset(name, offset) => self.named(name, *offset, ty, operand.span),
            _ => Err(self.wrong(
                operand.span,
                format!("an operand of type {ty} is needed here"),
            )),
        }
    }

    /// An unguarded helper instruction that keeps the class for the one that follows.
    pub(crate) fn push_extra(&mut self, op: Op) {
        let kept = self.work;
        self.work = Work::NONE;
        self.push(op, Guard::NONE);
        self.work = kept;
    }

    /// The shared memory that a program which asks for it has for the system's use.
    fn reserved(&mut self) -> u64 {
        let program = &mut self.program;
        program.reserved.unwrap_or_else(|| {
            let offset = program.shared_bytes.next_multiple_of(RESERVED);
            program.reserved = Some(offset);
            program.shared_bytes = offset + RESERVED;
            program.shared.push(Placed {
                name: RESERVED_NAME.into(),
                offset,
                size: RESERVED,
            });
            offset
        })
    }

    fn named(&mut self, name: &str, offset: i64, ty: ScalarType, span: Span) -> Result<Reg> {
        if let Some(which) = name.strip_prefix("%reserved_smem_offset_") {
            let within = match which {
                "begin" | "0" => Some(0),
                // What cooperative groups of several warps use begins here.
                "1" => Some(RESERVED / 2),
                "end" => Some(RESERVED),
                _ => None,
            };
            if let Some(within) = within.filter(|_| ty.bits() == 32) {
                let at = self.reserved() + within;
                return Ok(self.bits(ty, at));
            }
        }
        if name == "%reserved_smem_offset_cap" && ty.bits() == 32 {
            return Ok(self.bits(ty, RESERVED));
        }
        if let Some((which, declared)) = special(name).filter(|_| offset == 0) {
            if declared == ScalarType::Pred {
                let (value, one) = (
                    self.special(which, ScalarType::U32).plane,
                    self.bits(ScalarType::U32, 1).plane,
                );
                let p = self.fresh(ScalarType::Pred);
                self.push_extra(Op::Alu {
                    f: crate::isa::alu::Alu::EqB32,
                    r: [p.plane, value, one, 0, 0],
                });
                return Ok(p);
            }
            if !matches!(ty.bits(), 16 | 32 | 64) {
                let message = format!("`{name}` is {declared}, the instruction needs {ty}");
                return Err(self.wrong(span, message));
            }
            return Ok(self.special(which, ty));
        }
        match self.scopes.find(name).cloned() {
            Some(Symbol::Placed(_, super::DYNAMIC_SHARED)) => {
                Ok(self.constant(ty, ConstantKey::Dynamic(offset), Constant::Dynamic(offset)))
            }
            Some(Symbol::Placed(_, at)) => {
                let bits = at.wrapping_add_signed(offset);
                Ok(self.bits(
                    ty,
                    if ty.bits() == 32 {
                        bits & 0xffff_ffff
                    } else {
                        bits
                    },
                ))
            }
            Some(Symbol::Framed(base, at)) => {
                if ty.bits() != 64 {
                    return Err(self.unsupported(
                        span,
                        "32-bit addresses of local variables in a function that calls itself",
                    ));
                }
                let d = self.fresh(ty);
                let offset = self.bits(ty, at.wrapping_add_signed(offset));
                self.push_extra(Op::Alu {
                    f: crate::isa::alu::Alu::Add64,
                    r: [d.plane, base.plane, offset.plane, 0, 0],
                });
                Ok(d)
            }
            Some(Symbol::Global(index)) => {
                if ty.bits() != 64 {
                    return Err(self.wrong(span, "an address has 64 bits"));
                }
                self.defined(index, span)?;
                Ok(self.variable_address(index, offset, false))
            }
            Some(Symbol::Register(..)) => {
                Err(self.wrong(span, "a register with an offset stands only inside `[ ]`"))
            }
            Some(Symbol::Function(index)) => {
                Ok(self.bits(ty, super::call::function_address(index)))
            }
            Some(Symbol::Label(_) | Symbol::Targets(_)) => {
                Err(self.wrong(span, "a label is not a value"))
            }
            None if name.starts_with('%')
                && name.len() > 1
                && self.scopes.nearest(name).is_none() =>
            {
                Err(self.unsupported(span, format!("special register `{name}`")))
            }
            None => Err(self.unknown(name, span)),
        }
    }

    /// The bits of a literal as a value of `ty`.
    pub(crate) fn literal(&self, number: Number, ty: ScalarType, span: Span) -> Result<u64> {
        let keep = if ty.bits() >= 64 {
            u64::MAX
        } else {
            (1 << ty.bits()) - 1
        };
        match (number, ty) {
            (Number::Integer(v), ScalarType::F32) => Ok(u64::from((v as f32).to_bits())),
            (Number::Integer(v), ScalarType::F64) => Ok((v as f64).to_bits()),
            (Number::Integer(v), _) => Ok(v as u64 & keep),
            (Number::Single(bits), _) if ty.bits() == 32 => Ok(u64::from(bits)),
            (Number::Single(bits), ScalarType::F64) => {
                Ok(f64::from(f32::from_bits(bits)).to_bits())
            }
            (Number::Double(v), ScalarType::F32) => Ok(u64::from((v as f32).to_bits())),
            (Number::Double(v), _) if ty.bits() == 64 => Ok(v.to_bits()),
            _ => Err(self.wrong(span, format!("this literal is not of type {ty}"))),
        }
    }

    /// An operand that must be a literal.
    pub(crate) fn immediate(&self, operand: &Operand) -> Result<i128> {
        match operand.kind {
            OperandKind::Number(Number::Integer(v)) => Ok(v),
            _ => Err(self.wrong(operand.span, "an integer literal is needed here")),
        }
    }

    /// The registers of `{a, b}`, or of a single register.
    pub(crate) fn elements<'o>(&self, operand: &'o Operand) -> &'o [Operand] {
        match &operand.kind {
            OperandKind::Vector(elements) => elements,
            _ => std::slice::from_ref(operand),
        }
    }

    /// The registers of a vector operand that must have `count` elements.
    pub(crate) fn exactly<'o>(&self, operand: &'o Operand, count: usize) -> Result<&'o [Operand]> {
        let elements = self.elements(operand);
        if elements.len() == count {
            return Ok(elements);
        }
        let message = format!("{count} registers are needed here, not {}", elements.len());
        Err(self.wrong(operand.span, message))
    }

    /// An address operand in the space an instruction names.
    pub(crate) fn address(&mut self, operand: &Operand, space: Space) -> Result<Address> {
        let inner = match &operand.kind {
            OperandKind::Address(parts) if parts.len() == 1 => &parts[0],
            OperandKind::Address(_) => {
                return Err(self.wrong(operand.span, "one address is needed here"));
            }
            _ => return Err(self.wrong(operand.span, "an address in `[ ]` is needed here")),
        };
        self.address_of(inner, space)
    }

    /// The inside of an address operand.
    pub(crate) fn address_of(&mut self, inner: &Operand, space: Space) -> Result<Address> {
        let (name, offset) = match &inner.kind {
            OperandKind::Name(name) => (name, 0),
            OperandKind::Offset(name, offset) => (name, *offset),
            OperandKind::Number(Number::Integer(v)) => {
                let offset = *v as i64;
                return Ok(Address {
                    base: None,
                    offset,
                    space,
                });
            }
            _ => return Err(self.wrong(inner.span, "a register, a variable or a number is needed")),
        };
        match self.scopes.find(name).cloned() {
            Some(Symbol::Register(reg, ty)) if matches!(ty.bits(), 32 | 64) => Ok(Address {
                base: Some(reg),
                offset,
                space,
            }),
            Some(Symbol::Register(..)) => {
                Err(self.wrong(inner.span, "an address has 32 or 64 bits"))
            }
            Some(Symbol::Placed(home, at)) => {
                let space = if space == Space::Generic { home } else { space };
                if space != home {
                    let message = format!("`{name}` is in {home} memory, not in {space}");
                    return Err(self.wrong(inner.span, message));
                }
                if at == super::DYNAMIC_SHARED {
                    let base = self.named(name, 0, ScalarType::U32, inner.span)?;
                    return Ok(Address {
                        base: Some(base),
                        offset,
                        space,
                    });
                }
                // Parameters of functions and of calls live in the thread's own memory.
                let own = space == Space::Param && at & super::LOCAL_PARAM != 0;
                let space = if own { Space::Local } else { space };
                let at = at & !super::LOCAL_PARAM;
                Ok(Address {
                    base: None,
                    offset: offset.wrapping_add(at as i64),
                    space,
                })
            }
            Some(Symbol::Framed(base, at)) => {
                if space != Space::Local && space != Space::Generic {
                    let message = format!("`{name}` is in local memory, not in {space}");
                    return Err(self.wrong(inner.span, message));
                }
                Ok(Address {
                    base: Some(base),
                    offset: offset.wrapping_add(at as i64),
                    space: Space::Local,
                })
            }
            Some(Symbol::Global(index)) => {
                let home = self.module.variables[index].space;
                if space != home && space != Space::Generic {
                    let message = format!("`{name}` is in {home} memory, not in {space}");
                    return Err(self.wrong(inner.span, message));
                }
                self.defined(index, inner.span)?;
                let base = self.variable_address(index, 0, false);
                Ok(Address {
                    base: Some(base),
                    offset,
                    space: home,
                })
            }
            Some(_) => Err(self.wrong(inner.span, "this is not an address")),
            None => Err(self.unknown(name, inner.span)),
        }
    }

    /// The operands, which must be `count` in number.
    pub(crate) fn operands<'i>(&self, i: &'i Instruction, count: usize) -> Result<&'i [Operand]> {
        if i.operands.len() == count {
            return Ok(&i.operands);
        }
        let message = format!(
            "`{}` takes {count} operands, not {}",
            i.mnemonic(),
            i.operands.len()
        );
        Err(self.wrong(i.span, message))
    }
}
