//! Bodies: declarations, labels, functions; everything that is not a plain instruction.

use super::call::{self, CallGraph};
use super::emit::{Emitter, Result};
use super::program::*;
use super::scope::Symbol;
use crate::diagnostics::{Blame, Diagnostic};
use crate::isa::alu::Alu;
use crate::isa::{self, Work};
use crate::ptx::ast::{ELEMENTS, Function, Instruction, Name, Statement, Variable};
use crate::ptx::source::Span;
use crate::ptx::types::{ScalarType, Space};
use smol_str::SmolStr;
use std::collections::HashMap;

/// Where a function's code, parameters and way back are.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) label: usize,
    pub(super) link: Reg,
    pub(super) params: Vec<Slot>,
    pub(super) returns: Vec<Slot>,
    /// Where the local variables of a function begin that may be entered again.
    pub(super) base: Option<Reg>,
    /// Their size.
    locals: u64,
}

/// A parameter: in memory of the thread, or in a register.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    Memory(u64, u64),
    Register(Reg),
}

/// Whether a function is one of those that the driver links into a program: output, the heap,
/// failed assertions, launches from the device.
fn of_the_driver(name: &str) -> bool {
    let names = ["vprintf", "malloc", "free", "__assertfail", "__assert_fail"];
    names.contains(&name) || name.starts_with("cuda") || name.starts_with("__cudaCDP")
}

/// Lowers an entry with all it calls.
pub(crate) struct Body<'e, 'm> {
    pub(crate) emitter: &'e mut Emitter<'m>,
    errors: Vec<Diagnostic>,
    pub(super) frames: HashMap<usize, Frame>,
    pending: Vec<usize>,
    /// Where each function is first called.
    pub(super) calls: HashMap<usize, Span>,
    pub(super) graph: CallGraph,
    pub(super) current: usize,
    /// The stack of functions that call themselves, if there is one.
    pub(super) stack: Option<Reg>,
    /// Bytes of its local variables that the current function has placed on the stack.
    placed: u64,
}

impl<'e, 'm> Body<'e, 'm> {
    pub(crate) fn lower(emitter: &'e mut Emitter<'m>, entry: usize) -> Vec<Diagnostic> {
        let graph = CallGraph::new(emitter.module);
        let mut body = Self {
            emitter,
            errors: Vec::new(),
            frames: HashMap::new(),
            pending: Vec::new(),
            calls: HashMap::new(),
            graph,
            current: entry,
            stack: None,
            placed: 0,
        };
        body.module_scope();
        body.function(entry);
        while let Some(next) = body.pending.pop() {
            body.function(next);
        }
        if let Some(sp) = body.stack {
            // It begins where the last variable ends.
            let program = &mut body.emitter.program;
            let start = program.local_bytes.next_multiple_of(16);
            program.constants.push((sp, Constant::Bits(start)));
            program.local_bytes = start + call::STACK;
            program.local.push(Placed {
                name: call::STACK_NAME.into(),
                offset: start,
                size: call::STACK,
            });
        }
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
            let known = self.emitter.scopes.find(&variable.name.text).is_some();
            match variable.space {
                Space::Shared => self.shared(variable),
                _ if variable.external && known => {}
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

    pub(super) fn frame(&mut self, index: usize) -> Frame {
        if let Some(frame) = self.frames.get(&index) {
            return frame.clone();
        }
        let function = &self.emitter.module.functions[index];
        let label = self.emitter.labels.len();
        self.emitter.labels.push(None);
        let link = self.emitter.fresh(ScalarType::U32);
        let params = function.params.iter().map(|p| self.slot(p)).collect();
        let returns = function.returns.iter().map(|p| self.slot(p)).collect();
        let size = match &function.body {
            Some(body) if self.graph.recursive(index) => call::locals(body),
            _ => 0,
        };
        let base = (size > 0).then(|| self.emitter.fresh(ScalarType::U64));
        let frame = Frame {
            label,
            link,
            params,
            returns,
            base,
            locals: size.next_multiple_of(16),
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
            let name = function.name.text.as_str();
            let message = format!("`{name}` is called, declared, and has no body");
            let place = self.calls.get(&index).unwrap_or(&function.name.span);
            let error = self.emitter.unsupported(*place, message);
            let help = if of_the_driver(name) {
                "the CUDA driver has this function, as machine code; this machine does not"
            } else {
                "link the library that defines it before running"
            };
            self.errors.push(error.with_help(help));
            return;
        };
        self.current = index;
        self.placed = 0;
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
            if let Some(base) = frame.base {
                let sp = self.stack();
                super::arithmetic::copy(self.emitter, base, sp, Guard::NONE);
                self.move_stack(Alu::Add64, frame.locals, Guard::NONE);
            }
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
        let frame = self.frames.get(&self.current);
        let link = frame.map(|f| f.link.plane);
        if let Some(bytes) = frame.filter(|f| f.base.is_some()).map(|f| f.locals) {
            self.move_stack(Alu::Sub64, bytes, guard);
        }
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
                Statement::Registers { ty, vector, names } => {
                    for (name, count) in names {
                        self.registers(name, *count, *ty, *vector);
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
                    Space::Local if self.base().is_some() => {
                        let at = self
                            .placed
                            .next_multiple_of(u64::from(variable.align.max(1)));
                        self.placed = at.saturating_add(variable.size());
                        let base = self.base().unwrap_or(Reg {
                            plane: 0,
                            planes: 2,
                        });
                        self.declare(&variable.name, Symbol::Framed(base, at));
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

    /// Where the current function's local variables begin, if that changes from call to call.
    fn base(&self) -> Option<Reg> {
        self.frames.get(&self.current).and_then(|f| f.base)
    }

    fn registers(&mut self, name: &Name, count: Option<u32>, ty: ScalarType, vector: u32) {
        // So that a few lines of text cannot ask for all memory.
        let wanted = count.unwrap_or(1).saturating_mul(vector);
        if !self.emitter.has_room(wanted, ty) {
            let error = Diagnostic::new(
                &self.emitter.module.source,
                Blame::Limit,
                name.span,
                "more than 65535 registers",
            );
            self.errors.push(error);
            return;
        }
        let mut one = |text: SmolStr| {
            let reg = self.emitter.fresh(ty);
            let span = name.span;
            self.declare(&Name { text, span }, Symbol::Register(reg, ty));
        };
        for i in 0..count.unwrap_or(1) {
            let base: SmolStr = match count {
                None => name.text.clone(),
                Some(_) => format!("{}{i}", name.text).into(),
            };
            if vector == 1 {
                one(base);
                continue;
            }
            for element in &ELEMENTS[..vector as usize] {
                one(format!("{base}.{element}").into());
            }
        }
    }

    fn instruction(&mut self, i: &'m Instruction) -> Result<()> {
        match i.opcode.text.as_str() {
            "ret" => {
                let guard = self.emitter.guard(i)?;
                self.emitter.begin(i, Work::of(i));
                self.leave(guard);
                Ok(())
            }
            "call" => self.call(i),
            _ => isa::lower(self.emitter, i),
        }
    }
}
