//! Bodies: declarations, labels, calls; everything that is not a plain instruction.

use super::emit::{Emitter, Result};
use super::program::*;
use super::scope::Symbol;
use crate::diagnostics::Diagnostic;
use crate::isa::{self, Class};
use crate::ptx::ast::{Function, Instruction, Name, OperandKind, Statement, Variable};
use crate::ptx::types::{ScalarType, Space};
use smol_str::SmolStr;
use std::collections::HashMap;

/// Where a function's code, parameters and way back are.
#[derive(Clone)]
struct Frame {
    label: usize,
    link: Reg,
    params: Vec<Slot>,
    returns: Vec<Slot>,
}

/// A parameter: in memory of the thread, or in a register.
#[derive(Clone, Copy)]
enum Slot {
    Memory(u64, u64),
    Register(Reg),
}

/// Lowers an entry with all it calls.
pub(crate) struct Body<'e, 'm> {
    pub(crate) emitter: &'e mut Emitter<'m>,
    errors: Vec<Diagnostic>,
    frames: HashMap<usize, Frame>,
    pending: Vec<usize>,
    calls: HashMap<usize, Vec<usize>>,
    current: usize,
}

impl<'e, 'm> Body<'e, 'm> {
    pub(crate) fn lower(emitter: &'e mut Emitter<'m>, entry: usize) -> Vec<Diagnostic> {
        let mut body = Self {
            emitter,
            errors: Vec::new(),
            frames: HashMap::new(),
            pending: Vec::new(),
            calls: HashMap::new(),
            current: entry,
        };
        body.module_scope();
        body.function(entry);
        while let Some(next) = body.pending.pop() {
            body.function(next);
        }
        body.refuse_recursion();
        body.errors
    }

    fn module_scope(&mut self) {
        let module = self.emitter.module;
        self.emitter.scopes.push();
        for (index, function) in module.functions.iter().enumerate() {
            // A definition replaces its declaration.
            let known = self.emitter.scopes.find(&function.name.text).is_some();
            if !known || function.body.is_some() {
                self.emitter
                    .scopes
                    .declare(function.name.text.clone(), Symbol::Function(index));
            }
        }
        for (index, variable) in module.variables.iter().enumerate() {
            match variable.space {
                Space::Shared => self.shared(variable),
                _ => {
                    let symbol = Symbol::Global(index);
                    self.emitter
                        .scopes
                        .declare(variable.name.text.clone(), symbol);
                }
            }
        }
    }

    fn shared(&mut self, variable: &Variable) {
        let program = &mut self.emitter.program;
        let (offset, size) = if variable.external && variable.count == 0 {
            // Dynamic shared memory begins after everything static, at its own alignment.
            (u64::MAX, 0)
        } else {
            let offset = program
                .shared_bytes
                .next_multiple_of(u64::from(variable.align.max(1)));
            program.shared_bytes = offset.saturating_add(variable.size());
            (offset, variable.size())
        };
        let name = variable.name.text.clone();
        if offset == u64::MAX {
            let align = u64::from(variable.align.max(16));
            program.dynamic_offset = program.dynamic_offset.max(align);
            // The place is known once all static variables are; see `place_dynamic`.
            self.emitter
                .scopes
                .declare(name, Symbol::Placed(Space::Shared, super::DYNAMIC_SHARED));
            return;
        }
        program.shared.push(Placed {
            name: name.clone(),
            offset,
            size,
        });
        self.emitter
            .scopes
            .declare(name, Symbol::Placed(Space::Shared, offset));
    }

    fn local(&mut self, name: SmolStr, align: u32, size: u64) -> u64 {
        let program = &mut self.emitter.program;
        let offset = program
            .local_bytes
            .next_multiple_of(u64::from(align.max(1)));
        program.local_bytes = offset.saturating_add(size);
        program.local.push(Placed { name, offset, size });
        offset
    }

    fn frame(&mut self, index: usize) -> Frame {
        if let Some(frame) = self.frames.get(&index) {
            return frame.clone();
        }
        let function = &self.emitter.module.functions[index];
        let label = self.emitter.labels.len();
        self.emitter.labels.push(None);
        let link = self.emitter.fresh(ScalarType::U32);
        let params = function.params.iter().map(|p| self.slot(p)).collect();
        let returns = function.returns.iter().map(|p| self.slot(p)).collect();
        let frame = Frame {
            label,
            link,
            params,
            returns,
        };
        self.frames.insert(index, frame.clone());
        self.pending.push(index);
        frame
    }

    fn slot(&mut self, p: &crate::ptx::ast::Param) -> Slot {
        if p.in_register {
            Slot::Register(self.emitter.fresh(p.ty))
        } else {
            Slot::Memory(self.local(p.name.text.clone(), p.align, p.size()), p.size())
        }
    }

    fn function(&mut self, index: usize) {
        let function: &'m Function = &self.emitter.module.functions[index];
        let Some(body) = &function.body else {
            let message = format!("`{}` is declared but has no body", function.name.text);
            let error = self.emitter.unsupported(function.name.span, message);
            self.errors
                .push(error.with_help("link the library that defines it before running"));
            return;
        };
        self.current = index;
        self.emitter.function = index as u16;
        self.emitter.location = (0, 0, 0);
        self.emitter.carry = None;
        self.emitter.scopes.push();
        if function.is_entry {
            let offsets = self.emitter.program.param_offsets.clone();
            for (param, offset) in function.params.iter().zip(offsets) {
                let symbol = Symbol::Placed(Space::Param, offset);
                self.declare(&param.name, symbol);
            }
        } else {
            let frame = self.frame(index);
            self.emitter.labels[frame.label] = Some(self.emitter.here());
            let slots = frame.params.iter().chain(&frame.returns);
            for (param, slot) in function.params.iter().chain(&function.returns).zip(slots) {
                let symbol = match *slot {
                    Slot::Memory(at, _) => Symbol::Placed(Space::Param, at | super::LOCAL_PARAM),
                    Slot::Register(reg) => Symbol::Register(reg, param.ty),
                };
                self.declare(&param.name, symbol);
            }
        }
        self.block(body);
        // Falling off the end returns.
        self.leave(Guard::NONE);
        self.emitter.scopes.pop();
    }

    /// `ret`, which in an entry ends the thread.
    fn leave(&mut self, guard: Guard) {
        let link = self.frames.get(&self.current).map(|f| f.link.plane);
        self.emitter
            .push(link.map_or(Op::Exit, |link| Op::Return { link }), guard);
    }

    fn declare(&mut self, name: &Name, symbol: Symbol) {
        if !self.emitter.scopes.declare(name.text.clone(), symbol) {
            let message = format!("`{}` is declared twice", name.text);
            self.errors.push(self.emitter.wrong(name.span, message));
        }
    }

    fn block(&mut self, statements: &'m [Statement]) {
        self.emitter.scopes.push();
        self.declarations(statements);
        for statement in statements {
            match statement {
                Statement::Block(inner) => self.block(inner),
                Statement::Label(name) => {
                    if let Some(Symbol::Label(id)) = self.emitter.scopes.find(&name.text) {
                        self.emitter.labels[*id] = Some(self.emitter.here());
                    }
                }
                Statement::Location { file, line, column } => {
                    self.emitter.location = (*file, *line, *column);
                }
                Statement::Instruction(instruction) => {
                    if let Err(error) = self.instruction(instruction) {
                        self.errors.push(error);
                    }
                }
                _ => {}
            }
        }
        self.emitter.scopes.pop();
    }

    /// Names are visible in the whole block, before and after their declaration.
    fn declarations(&mut self, statements: &'m [Statement]) {
        for statement in statements {
            match statement {
                Statement::Registers { ty, names } => {
                    for (name, count) in names {
                        self.registers(name, *count, *ty);
                    }
                }
                Statement::Variable(variable) => match variable.space {
                    Space::Shared => self.shared(variable),
                    Space::Param => {
                        let name = variable.name.text.clone();
                        let at = self.local(name, variable.align, variable.size());
                        self.declare(
                            &variable.name,
                            Symbol::Placed(Space::Param, at | super::LOCAL_PARAM),
                        );
                    }
                    Space::Local => {
                        let name = variable.name.text.clone();
                        let at = self.local(name, variable.align, variable.size());
                        self.declare(&variable.name, Symbol::Placed(Space::Local, at));
                    }
                    _ => {
                        let message = "a variable of this space belongs to module scope";
                        self.errors
                            .push(self.emitter.unsupported(variable.name.span, message));
                    }
                },
                Statement::Label(name) => {
                    let id = self.emitter.labels.len();
                    self.emitter.labels.push(None);
                    self.declare(name, Symbol::Label(id));
                }
                Statement::Targets { name, targets } => {
                    let targets = targets.iter().map(|t| t.text.clone()).collect();
                    self.declare(name, Symbol::Targets(targets));
                }
                _ => {}
            }
        }
    }

    fn registers(&mut self, name: &Name, count: Option<u32>, ty: ScalarType) {
        match count {
            None => {
                let reg = self.emitter.fresh(ty);
                self.declare(name, Symbol::Register(reg, ty));
            }
            Some(count) => {
                for i in 0..count {
                    let reg = self.emitter.fresh(ty);
                    let text = format!("{}{i}", name.text).into();
                    self.declare(
                        &Name {
                            text,
                            span: name.span,
                        },
                        Symbol::Register(reg, ty),
                    );
                }
            }
        }
    }

    fn instruction(&mut self, i: &'m Instruction) -> Result<()> {
        match i.opcode.text.as_str() {
            "ret" => {
                let guard = self.emitter.guard(i)?;
                self.emitter.begin(i, Class::Control, 0);
                self.leave(guard);
                Ok(())
            }
            "call" => self.call(i),
            _ => isa::lower(self.emitter, i),
        }
    }

    fn call(&mut self, i: &'m Instruction) -> Result<()> {
        self.emitter.begin(i, Class::Control, 0);
        let guard = self.emitter.guard(i)?;
        let list = |k: &'m OperandKind| match k {
            OperandKind::List(items) => Some(items.as_slice()),
            _ => None,
        };
        let mut operands = i.operands.iter();
        let mut next = operands.next();
        let returns = next.and_then(|o| list(&o.kind));
        if returns.is_some() {
            next = operands.next();
        }
        let Some(target) = next else {
            return Err(self.emitter.wrong(i.span, "`call` needs a function"));
        };
        let arguments = operands.next().and_then(|o| list(&o.kind)).unwrap_or(&[]);
        let OperandKind::Name(name) = &target.kind else {
            return Err(self
                .emitter
                .wrong(target.span, "the name of a function is needed here"));
        };
        let index = match self.emitter.scopes.find(name) {
            Some(Symbol::Function(index)) => *index,
            Some(Symbol::Register(..)) => {
                return Err(self.emitter.unsupported(i.span, "calls through a register"));
            }
            _ => return Err(self.emitter.unknown(name, target.span)),
        };
        self.calls.entry(self.current).or_default().push(index);
        let frame = self.frame(index);
        let returns = returns.unwrap_or(&[]);
        if arguments.len() != frame.params.len() || returns.len() != frame.returns.len() {
            let message = format!(
                "`{name}` takes {} arguments and returns {}",
                frame.params.len(),
                frame.returns.len()
            );
            return Err(self.emitter.wrong(i.span, message));
        }
        let function = &self.emitter.module.functions[index];
        for ((argument, slot), param) in arguments.iter().zip(&frame.params).zip(&function.params) {
            self.pass(argument, *slot, param.ty, guard, true)?;
        }
        self.emitter.push(
            Op::Call {
                target: frame.label as u32,
                link: frame.link.plane,
            },
            guard,
        );
        for ((result, slot), param) in returns.iter().zip(&frame.returns).zip(&function.returns) {
            self.pass(result, *slot, param.ty, guard, false)?;
        }
        Ok(())
    }

    /// Copies an argument into its parameter, or a result out of it.
    fn pass(
        &mut self,
        operand: &'m crate::ptx::ast::Operand,
        slot: Slot,
        ty: ScalarType,
        guard: Guard,
        into: bool,
    ) -> Result<()> {
        let e = &mut *self.emitter;
        let own = match &operand.kind {
            OperandKind::Name(name) => match e.scopes.find(name) {
                Some(Symbol::Placed(Space::Param, at)) if at & super::LOCAL_PARAM != 0 => {
                    Some(at & !super::LOCAL_PARAM)
                }
                _ => None,
            },
            _ => None,
        };
        let memory = |at: u64| Address {
            base: None,
            offset: at as i64,
            space: Space::Local,
        };
        match (own, slot) {
            (Some(own), Slot::Memory(at, size)) => {
                let (from, to) = if into { (own, at) } else { (at, own) };
                let mut done = 0;
                while done < size {
                    let step = [8, 4, 2, 1].into_iter().find(|s| {
                        done + s <= size && (from + done) % s == 0 && (to + done) % s == 0
                    });
                    let step = step.unwrap_or(1);
                    let ty = [
                        ScalarType::B8,
                        ScalarType::B16,
                        ScalarType::B32,
                        ScalarType::B64,
                    ][step.trailing_zeros() as usize];
                    let reg = e.fresh(ty);
                    super::memory::plain(e, Access::Load, memory(from + done), ty, reg, guard);
                    super::memory::plain(e, Access::Store, memory(to + done), ty, reg, guard);
                    done += step;
                }
            }
            (None, Slot::Memory(at, _)) => {
                let reg = if into {
                    e.src(operand, ty)?
                } else {
                    e.dst(operand, ty)?
                };
                let access = if into { Access::Store } else { Access::Load };
                super::memory::plain(e, access, memory(at), ty, reg, guard);
            }
            (Some(own), Slot::Register(reg)) => {
                let access = if into { Access::Load } else { Access::Store };
                super::memory::plain(e, access, memory(own), ty, reg, guard);
            }
            (None, Slot::Register(reg)) => {
                let other = if into {
                    e.src(operand, ty)?
                } else {
                    e.dst(operand, ty)?
                };
                let (d, a) = if into { (reg, other) } else { (other, reg) };
                super::arithmetic::copy(e, d, a, guard);
            }
        }
        Ok(())
    }

    fn refuse_recursion(&mut self) {
        // Registers and parameters of a function exist once, so a cycle cannot be run.
        let mut state: HashMap<usize, bool> = HashMap::new();
        fn visit(
            at: usize,
            calls: &HashMap<usize, Vec<usize>>,
            state: &mut HashMap<usize, bool>,
        ) -> Option<usize> {
            match state.get(&at) {
                Some(true) => return None,
                Some(false) => return Some(at),
                None => {}
            }
            state.insert(at, false);
            for next in calls.get(&at).into_iter().flatten() {
                if let Some(found) = visit(*next, calls, state) {
                    return Some(found);
                }
            }
            state.insert(at, true);
            None
        }
        let mut roots: Vec<usize> = self.calls.keys().copied().collect();
        roots.sort_unstable();
        for root in roots {
            if let Some(index) = visit(root, &self.calls, &mut state) {
                let name = &self.emitter.module.functions[index].name;
                let message = format!("`{}` calls itself", name.text);
                self.errors
                    .push(self.emitter.unsupported(name.span, message));
                return;
            }
        }
    }
}
