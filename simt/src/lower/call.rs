//! Calls: arguments and results, functions that call themselves, calls through a register.
//!
//! The registers and parameters of a function exist once. A call that may come back to the
//! function it is made from puts them on a stack in the thread's own memory first, and the
//! function's local variables live on that stack. A call through a register becomes a row of
//! guarded calls, one for each function that it may mean; a function's address is its number in
//! the module.

use super::emit::{Emitter, Result};
use super::function::{Body, Slot};
use super::program::*;
use super::scope::Symbol;
use crate::isa::Work;
use crate::isa::alu::Alu;
use crate::ptx::ast::{Initialiser, Instruction, Module, Operand, OperandKind, Statement};
use crate::ptx::types::{ScalarType, Space};
use smol_str::SmolStr;
use std::collections::{HashMap, HashSet};

/// Bytes of the stack of a thread whose program calls itself.
pub(crate) const STACK: u64 = 1 << 15;

/// What messages call it.
pub(crate) const STACK_NAME: &str = "stack of functions that call themselves";

/// What a function's address is: its number, from one on, so that null is none.
pub(crate) fn function_address(index: usize) -> u64 {
    index as u64 + 1
}

/// Which functions may call which, themselves or through others.
pub(crate) struct CallGraph {
    reaches: HashMap<usize, HashSet<usize>>,
    /// Functions that a register may mean.
    taken: HashSet<usize>,
}

impl CallGraph {
    pub(crate) fn new(module: &Module) -> Self {
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, function) in module.functions.iter().enumerate() {
            if function.body.is_some() || !names.contains_key(function.name.text.as_str()) {
                names.insert(&function.name.text, index);
            }
        }
        let bodies = module.functions.iter().enumerate();
        let any: Vec<usize> = bodies
            .clone()
            .filter(|(_, f)| !f.is_entry && f.body.is_some())
            .map(|(index, _)| index)
            .collect();
        let mut mentioned = HashSet::new();
        for (_, function) in bodies.clone() {
            values(function.body.as_deref().unwrap_or(&[]), &mut mentioned);
        }
        for initial in module.variables.iter().flat_map(|v| &v.init) {
            if let Initialiser::Address { symbol, .. } = initial {
                mentioned.insert(symbol.text.as_str());
            }
        }
        let named = |index: &usize| mentioned.contains(module.functions[*index].name.text.as_str());
        let taken: HashSet<usize> = any.iter().copied().filter(named).collect();
        let mut calls: HashMap<usize, HashSet<usize>> = HashMap::new();
        for (index, function) in bodies {
            let own = calls.entry(index).or_default();
            for target in function.body.iter().flat_map(|b| targets(b)) {
                match names.get(target) {
                    Some(called) => drop(own.insert(*called)),
                    None => own.extend(&taken),
                }
            }
        }
        let reach = |from: usize| {
            let mut found = HashSet::new();
            let mut open = vec![from];
            while let Some(at) = open.pop() {
                let next = calls.get(&at).into_iter().flatten();
                open.extend(next.filter(|n| found.insert(**n)));
            }
            found
        };
        let reaches = any.iter().map(|index| (*index, reach(*index))).collect();
        Self { reaches, taken }
    }

    /// Whether a function's address is a value anywhere in the module.
    fn taken(&self, index: usize) -> bool {
        self.taken.contains(&index)
    }

    /// Whether one function may, by way of others, call another.
    fn leads(&self, from: usize, to: usize) -> bool {
        self.reaches.get(&from).is_some_and(|all| all.contains(&to))
    }

    /// Whether a function may be entered again before it has returned.
    pub(crate) fn recursive(&self, index: usize) -> bool {
        self.leads(index, index)
    }
}

/// The targets of all calls in a body, by name.
fn targets(statements: &[Statement]) -> Vec<&str> {
    let mut found = Vec::new();
    for statement in statements {
        match statement {
            Statement::Block(inner) => found.extend(targets(inner)),
            Statement::Instruction(i) if i.opcode.text == "call" => {
                let mut named = i.operands.iter().filter_map(|o| match &o.kind {
                    OperandKind::Name(name) => Some(name.as_str()),
                    _ => None,
                });
                found.extend(named.next());
            }
            _ => {}
        }
    }
    found
}

/// The names that a body uses otherwise than as the target of a call.
fn values<'m>(statements: &'m [Statement], found: &mut HashSet<&'m str>) {
    fn of<'m>(operand: &'m Operand, found: &mut HashSet<&'m str>) {
        match &operand.kind {
            OperandKind::Name(name) | OperandKind::Offset(name, _) => drop(found.insert(name)),
            OperandKind::Vector(parts) | OperandKind::Address(parts) | OperandKind::List(parts) => {
                parts.iter().for_each(|part| of(part, found));
            }
            OperandKind::Pair(a, b) => [a, b].into_iter().for_each(|part| of(part, found)),
            OperandKind::Not(_) | OperandKind::Number(_) | OperandKind::Sink => {}
        }
    }
    for statement in statements {
        match statement {
            Statement::Block(inner) => values(inner, found),
            Statement::Instruction(i) => {
                let target = |o: &Operand| matches!(o.kind, OperandKind::Name(_));
                let called = if i.opcode.text == "call" {
                    i.operands.iter().position(target)
                } else {
                    None
                };
                for (at, operand) in i.operands.iter().enumerate() {
                    if Some(at) != called {
                        of(operand, found);
                    }
                }
            }
            // A list names what a register may hold.
            Statement::Targets { targets, .. } => {
                found.extend(targets.iter().map(|t| t.text.as_str()));
            }
            _ => {}
        }
    }
}

/// Bytes that the local variables of a body need.
pub(crate) fn locals(statements: &[Statement]) -> u64 {
    let each = statements.iter().map(|statement| match statement {
        Statement::Block(inner) => locals(inner),
        Statement::Variable(v) if v.space == Space::Local => {
            // Room for the worst alignment, however scopes are nested.
            v.size().saturating_add(u64::from(v.align.max(1)))
        }
        _ => 0,
    });
    each.fold(0, u64::saturating_add)
}

/// A call, taken apart.
struct Call<'m> {
    returns: &'m [Operand],
    target: &'m Operand,
    arguments: &'m [Operand],
    /// The list that names what a register may hold.
    list: Option<&'m Operand>,
}

impl<'m> Call<'m> {
    fn new(e: &Emitter<'_>, i: &'m Instruction) -> Result<Self> {
        fn list(operand: &Operand) -> Option<&[Operand]> {
            match &operand.kind {
                OperandKind::List(items) => Some(items),
                _ => None,
            }
        }
        let mut operands = i.operands.as_slice();
        let returns = operands.first().and_then(list);
        if returns.is_some() {
            operands = &operands[1..];
        }
        let [target, rest @ ..] = operands else {
            return Err(e.wrong(i.span, "`call` needs a function"));
        };
        let arguments = rest.first().and_then(list);
        let rest = &rest[usize::from(arguments.is_some())..];
        Ok(Self {
            returns: returns.unwrap_or(&[]),
            target,
            arguments: arguments.unwrap_or(&[]),
            list: rest.first(),
        })
    }
}

/// What must survive a call that may come back: registers, and parameters in memory.
struct Saved {
    registers: Vec<(Reg, u64)>,
    memory: Vec<(u64, u64, u64)>,
    bytes: u64,
}

const U64: ScalarType = ScalarType::U64;

fn local(base: Option<Reg>, offset: u64) -> Address {
    Address {
        base,
        offset: offset as i64,
        space: Space::Local,
    }
}

fn width(planes: u8) -> ScalarType {
    match planes {
        4 => ScalarType::B128,
        2 => ScalarType::B64,
        _ => ScalarType::B32,
    }
}

impl<'m> Body<'_, 'm> {
    /// `call`.
    pub(super) fn call(&mut self, i: &'m Instruction) -> Result<()> {
        self.emitter.begin(i, Work::of(i));
        let guard = self.emitter.guard(i)?;
        let call = Call::new(self.emitter, i)?;
        let OperandKind::Name(name) = &call.target.kind else {
            let message = "the name of a function or a register is needed here";
            return Err(self.emitter.wrong(call.target.span, message));
        };
        match self.emitter.scopes.find(name).cloned() {
            Some(Symbol::Function(index)) => {
                self.fits(index, &call, i, true)?;
                self.one(index, &call, guard, &[])
            }
            Some(Symbol::Register(..)) => self.through(&call, i, guard),
            _ => Err(self.emitter.unknown(name, call.target.span)),
        }
    }

    /// Whether a function takes the arguments of a call; if it must, what is wrong.
    fn fits(&mut self, index: usize, call: &Call<'m>, i: &Instruction, must: bool) -> Result<bool> {
        let function = &self.emitter.module.functions[index];
        let (takes, gives) = (function.params.len(), function.returns.len());
        if (call.arguments.len(), call.returns.len()) == (takes, gives) {
            return Ok(true);
        }
        if !must {
            return Ok(false);
        }
        let name = &function.name.text;
        let message = format!("`{name}` takes {takes} arguments and returns {gives}");
        Err(self.emitter.wrong(i.span, message))
    }

    /// A call through a register.
    fn through(&mut self, call: &Call<'m>, i: &'m Instruction, guard: Guard) -> Result<()> {
        let module = self.emitter.module;
        let listed: Option<Vec<SmolStr>> = match call.list.map(|l| &l.kind) {
            Some(OperandKind::Name(name)) => match self.emitter.scopes.find(name) {
                Some(Symbol::Targets(targets)) => Some(targets.clone()),
                _ => None,
            },
            _ => None,
        };
        let mut candidates = Vec::new();
        for (index, function) in module.functions.iter().enumerate() {
            let named = |list: &Vec<SmolStr>| list.contains(&function.name.text);
            let taken = || self.graph.taken(index);
            let meant = listed.as_ref().map_or_else(taken, named);
            let callable = !function.is_entry && function.body.is_some();
            if callable && meant && self.fits(index, call, i, false)? {
                candidates.push(index);
            }
        }
        let e = &mut *self.emitter;
        let given = e.src(call.target, U64)?;
        let address = e.fresh(U64);
        super::arithmetic::copy(e, address, given, Guard::NONE);
        // The predicates are made before any call, for it may change the register.
        let all = guarded(e, guard);
        let none = e.fresh(ScalarType::Pred).plane;
        logic(e, Logic::Move, [none, all, 0]);
        let mut picks = Vec::new();
        for index in &candidates {
            let number = e.bits(U64, function_address(*index)).plane;
            let pick = e.fresh(ScalarType::Pred).plane;
            alu(
                e,
                Alu::EqB64,
                [pick, address.plane, number, 0, 0],
                Guard::NONE,
            );
            logic(e, Logic::And, [pick, pick, all]);
            let other = e.fresh(ScalarType::Pred).plane;
            logic(e, Logic::Not, [other, pick, 0]);
            logic(e, Logic::And, [none, none, other]);
            picks.push(pick);
        }
        e.push(Op::NoFunction { a: address.plane }, Guard::new(none, false));
        let kept: Vec<Reg> = picks
            .iter()
            .map(|p| Reg {
                plane: *p,
                planes: 0,
            })
            .collect();
        for (index, pick) in candidates.iter().zip(picks) {
            self.one(*index, call, Guard::new(pick, false), &kept)?;
        }
        Ok(())
    }

    /// A call of one function; `kept` must survive it.
    fn one(&mut self, index: usize, call: &Call<'m>, guard: Guard, kept: &[Reg]) -> Result<()> {
        let frame = self.frame(index);
        self.calls.entry(index).or_insert(call.target.span);
        let function = &self.emitter.module.functions[index];
        let saved = if self.graph.leads(index, self.current) {
            Some(self.save(kept, guard))
        } else {
            None
        };
        for ((argument, slot), param) in call
            .arguments
            .iter()
            .zip(&frame.params)
            .zip(&function.params)
        {
            self.pass(argument, *slot, param.ty, guard)?;
        }
        let e = &mut *self.emitter;
        e.push(
            Op::Call {
                target: frame.label as u32,
                link: frame.link.plane,
            },
            guard,
        );
        // Results leave their places, which are the caller's own in a recursion, before the
        // caller's values come back.
        let mut results = Vec::new();
        for (slot, param) in frame.returns.iter().zip(&function.returns) {
            results.push(take(e, *slot, param.ty, guard));
        }
        if let Some(saved) = saved {
            self.restore(&saved, guard);
        }
        for ((result, values), param) in call.returns.iter().zip(results).zip(&function.returns) {
            self.give(result, &values, param.ty, guard)?;
        }
        Ok(())
    }

    /// Copies an argument into its parameter.
    fn pass(
        &mut self,
        operand: &'m Operand,
        slot: Slot,
        ty: ScalarType,
        guard: Guard,
    ) -> Result<()> {
        let e = &mut *self.emitter;
        match (own(e, operand), slot) {
            (Some(own), Slot::Memory(at, size)) => {
                for (offset, ty) in pieces(own, at, size) {
                    let reg = e.fresh(ty);
                    let (from, to) = (local(None, own + offset), local(None, at + offset));
                    super::memory::plain(e, Access::Load, from, ty, reg, guard);
                    super::memory::plain(e, Access::Store, to, ty, reg, guard);
                }
            }
            (None, Slot::Memory(at, _)) => {
                let reg = e.src(operand, ty)?;
                super::memory::plain(e, Access::Store, local(None, at), ty, reg, guard);
            }
            (Some(own), Slot::Register(reg)) => {
                super::memory::plain(e, Access::Load, local(None, own), ty, reg, guard);
            }
            (None, Slot::Register(reg)) => {
                let other = e.src(operand, ty)?;
                super::arithmetic::copy(e, reg, other, guard);
            }
        }
        Ok(())
    }

    /// Puts a result where the caller wants it.
    fn give(
        &mut self,
        operand: &'m Operand,
        values: &[(u64, ScalarType, Reg)],
        ty: ScalarType,
        guard: Guard,
    ) -> Result<()> {
        let e = &mut *self.emitter;
        if let Some(own) = own(e, operand) {
            for (offset, ty, reg) in values {
                let to = local(None, own + offset);
                super::memory::plain(e, Access::Store, to, *ty, *reg, guard);
            }
        } else {
            let d = e.dst(operand, ty)?;
            if let [(_, _, value)] = values {
                super::arithmetic::copy(e, d, *value, guard);
            } else {
                return Err(e.wrong(operand.span, "this result does not fit a register"));
            }
        }
        Ok(())
    }

    /// Pushes the registers and parameters of the function that calls.
    fn save(&mut self, kept: &[Reg], guard: Guard) -> Saved {
        let sp = self.stack();
        let mut all: Vec<Reg> = self.emitter.scopes.registers();
        all.extend(kept);
        if let Some(frame) = self.frames.get(&self.current) {
            all.push(frame.link);
            all.extend(frame.base);
            let slots = frame.params.iter().chain(&frame.returns);
            all.extend(slots.filter_map(|s| match s {
                Slot::Register(reg) => Some(*reg),
                Slot::Memory(..) => None,
            }));
        }
        all.sort_unstable_by_key(|r| (r.planes == 0, r.plane));
        all.dedup();
        let mut saved = Saved {
            registers: Vec::new(),
            memory: Vec::new(),
            bytes: 0,
        };
        let mut room = |size: u64| {
            let at = saved.bytes.next_multiple_of(size.clamp(4, 16));
            saved.bytes = at + size;
            at
        };
        for reg in all {
            let at = room(u64::from(width(reg.planes).bytes()));
            saved.registers.push((reg, at));
        }
        for at in self.emitter.scopes.own_params() {
            let known = self.emitter.program.local.iter().find(|p| p.offset == at);
            let size = known.map_or(0, |p| p.size);
            let to = room(size.next_multiple_of(16));
            saved.memory.push((at, size, to));
        }
        saved.bytes = saved.bytes.next_multiple_of(16);
        let e = &mut *self.emitter;
        for (reg, at) in &saved.registers {
            let value = if reg.planes == 0 {
                number(e, *reg)
            } else {
                *reg
            };
            let to = local(Some(sp), *at);
            super::memory::plain(e, Access::Store, to, width(value.planes), value, guard);
        }
        for (from, size, to) in &saved.memory {
            for (offset, ty) in pieces(*from, *to, *size) {
                let reg = e.fresh(ty);
                let (from, to) = (local(None, from + offset), local(Some(sp), to + offset));
                super::memory::plain(e, Access::Load, from, ty, reg, guard);
                super::memory::plain(e, Access::Store, to, ty, reg, guard);
            }
        }
        self.move_stack(Alu::Add64, saved.bytes, guard);
        saved
    }

    /// Pops them.
    fn restore(&mut self, saved: &Saved, guard: Guard) {
        let sp = self.stack();
        self.move_stack(Alu::Sub64, saved.bytes, guard);
        let e = &mut *self.emitter;
        for (reg, at) in &saved.registers {
            let from = local(Some(sp), *at);
            if reg.planes != 0 {
                super::memory::plain(e, Access::Load, from, width(reg.planes), *reg, guard);
                continue;
            }
            let value = e.fresh(ScalarType::B32);
            super::memory::plain(e, Access::Load, from, ScalarType::B32, value, guard);
            let one = e.bits(ScalarType::B32, 1).plane;
            alu(e, Alu::EqB32, [reg.plane, value.plane, one, 0, 0], guard);
        }
        for (to, size, from) in &saved.memory {
            for (offset, ty) in pieces(*to, *from, *size) {
                let reg = e.fresh(ty);
                let (from, to) = (local(Some(sp), from + offset), local(None, to + offset));
                super::memory::plain(e, Access::Load, from, ty, reg, guard);
                super::memory::plain(e, Access::Store, to, ty, reg, guard);
            }
        }
    }

    /// The stack's register.
    pub(super) fn stack(&mut self) -> Reg {
        let emitter = &mut *self.emitter;
        *self.stack.get_or_insert_with(|| emitter.fresh(U64))
    }

    /// Makes the stack longer or shorter.
    pub(super) fn move_stack(&mut self, f: Alu, bytes: u64, guard: Guard) {
        let sp = self.stack().plane;
        let bytes = self.emitter.bits(U64, bytes).plane;
        alu(self.emitter, f, [sp, sp, bytes, 0, 0], guard);
    }
}

fn alu(e: &mut Emitter<'_>, f: Alu, r: [u16; 5], guard: Guard) {
    e.push(Op::Alu { f, r }, guard);
}

fn logic(e: &mut Emitter<'_>, f: Logic, r: [u16; 3]) {
    e.push(Op::Logic { f, r }, Guard::NONE);
}

/// A predicate that holds where a guard does.
fn guarded(e: &mut Emitter<'_>, guard: Guard) -> u16 {
    let p = e.fresh(ScalarType::Pred).plane;
    match guard.parts() {
        None => logic(e, Logic::Set, [p, 0, 0]),
        Some((given, true)) => logic(e, Logic::Not, [p, given, 0]),
        Some((given, false)) => logic(e, Logic::Move, [p, given, 0]),
    }
    p
}

/// A predicate as a number.
fn number(e: &mut Emitter<'_>, p: Reg) -> Reg {
    let d = e.fresh(ScalarType::B32);
    let (one, zero) = (
        e.bits(ScalarType::B32, 1).plane,
        e.bits(ScalarType::B32, 0).plane,
    );
    alu(
        e,
        Alu::Selp32,
        [d.plane, one, zero, p.plane, 0],
        Guard::NONE,
    );
    d
}

/// Where a parameter of the caller lies in its own memory.
fn own(e: &Emitter<'_>, operand: &Operand) -> Option<u64> {
    let OperandKind::Name(name) = &operand.kind else {
        return None;
    };
    match e.scopes.find(name) {
        Some(Symbol::Placed(Space::Param, at)) if at & super::LOCAL_PARAM != 0 => {
            Some(at & !super::LOCAL_PARAM)
        }
        _ => None,
    }
}

/// How to copy bytes between two places: offset and type of each step.
fn pieces(from: u64, to: u64, size: u64) -> Vec<(u64, ScalarType)> {
    let mut steps = Vec::new();
    let mut done = 0;
    while done < size {
        let aligned = |s: &u64| {
            done + s <= size && (from + done).is_multiple_of(*s) && (to + done).is_multiple_of(*s)
        };
        let step = [8, 4, 2].into_iter().find(aligned).unwrap_or(1);
        let ty = match step {
            8 => ScalarType::B64,
            4 => ScalarType::B32,
            2 => ScalarType::B16,
            _ => ScalarType::B8,
        };
        steps.push((done, ty));
        done += step;
    }
    steps
}

/// Takes a result out of its place: offset, type and register of each part.
fn take(
    e: &mut Emitter<'_>,
    slot: Slot,
    ty: ScalarType,
    guard: Guard,
) -> Vec<(u64, ScalarType, Reg)> {
    match slot {
        Slot::Register(reg) => {
            let value = e.fresh(ty);
            super::arithmetic::copy(e, value, reg, guard);
            vec![(0, ty, value)]
        }
        Slot::Memory(at, size) if size == u64::from(ty.bytes()) => {
            let value = e.fresh(ty);
            super::memory::plain(e, Access::Load, local(None, at), ty, value, guard);
            vec![(0, ty, value)]
        }
        Slot::Memory(at, size) => {
            let mut parts = Vec::new();
            for (offset, ty) in pieces(at, 0, size) {
                let value = e.fresh(ty);
                super::memory::plain(e, Access::Load, local(None, at + offset), ty, value, guard);
                parts.push((offset, ty, value));
            }
            parts
        }
    }
}
