//! Validation and lowering: a module whose every instruction was found in the table, whose
//! operands have the right types, and whose labels and addresses are resolved.

pub(crate) mod arithmetic;
pub(crate) mod asynchronous;
pub(crate) mod bulk;
pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod emit;
pub(crate) mod form;
mod function;
pub(crate) mod matrix;
pub(crate) mod memory;
pub(crate) mod order;
pub(crate) mod pairs;
pub mod program;
pub(crate) mod scope;
pub(crate) mod sync;
pub(crate) mod wgmma;

use crate::diagnostics::{Blame, Diagnostic, Diagnostics};
use crate::ptx::ast::{Function, Module};
use emit::Emitter;
use form::Form;
use program::{Op, Program};
use smol_str::SmolStr;
use std::sync::Arc;

/// Marks offsets of function parameters, which live in the thread's own memory.
pub(crate) const LOCAL_PARAM: u64 = 1 << 40;
/// Stands for the beginning of dynamic shared memory, which is known once all static variables
/// are placed.
pub(crate) const DYNAMIC_SHARED: u64 = u64::MAX;
/// Shared memory begins after what the system keeps for itself, so that address 0 is never valid.
pub(crate) const SHARED_START: u64 = 1024;

/// A module that may be run: the token that later stages demand.
#[derive(Clone, Debug)]
pub struct Validated {
    module: Arc<Module>,
    programs: Vec<Arc<Program>>,
    unsupported: Vec<(SmolStr, Diagnostics)>,
}

impl Validated {
    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The kernels in it, lowered.
    pub fn programs(&self) -> impl Iterator<Item = &Arc<Program>> {
        self.programs.iter()
    }

    /// The kernel called `name`.
    pub fn program(&self, name: &str) -> Option<&Arc<Program>> {
        self.programs.iter().find(|p| p.name == name)
    }

    /// Why the kernel called `name` cannot run, if it uses something this machine does not do.
    pub fn unsupported(&self, name: &str) -> Option<&Diagnostics> {
        self.unsupported
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, why)| why)
    }

    pub(crate) fn shared_module(&self) -> &Arc<Module> {
        &self.module
    }
}

/// Validates and lowers every entry of a module.
///
/// A kernel that uses something unsupported is refused when it is launched, so that its
/// neighbours can run; when no kernel is left, the whole module is refused.
///
/// # Errors
/// Everything found wrong, in the order of the text.
pub fn validate(module: Module) -> Result<Validated, Diagnostics> {
    let module = Arc::new(module);
    let mut programs = Vec::new();
    let mut unsupported = Vec::new();
    let mut errors: Vec<Diagnostic> = Vec::new();
    for (index, function) in module.functions.iter().enumerate() {
        if !function.is_entry || function.body.is_none() {
            continue;
        }
        match entry(&module, index, function) {
            Ok(program) => programs.push(Arc::new(program)),
            Err(found) if found.iter().all(|d| d.blame == Blame::Unsupported) => {
                unsupported.push((function.name.text.clone(), Diagnostics(found)));
            }
            Err(found) => errors.extend(found),
        }
    }
    if programs.is_empty() {
        errors.extend(
            unsupported
                .iter()
                .flat_map(|(_, why)| why.0.iter().cloned()),
        );
    }
    errors.sort_by_key(|d| d.position);
    errors.dedup();
    if errors.is_empty() {
        Ok(Validated {
            module,
            programs,
            unsupported,
        })
    } else {
        Err(Diagnostics(errors))
    }
}

fn empty(module: &Module, function: &Function) -> Program {
    let mut offset = 0u64;
    let mut param_offsets = Vec::new();
    for param in &function.params {
        offset = offset.next_multiple_of(u64::from(param.align.max(1)));
        param_offsets.push(offset);
        offset = offset.saturating_add(param.size());
    }
    Program {
        name: function.name.text.clone(),
        params: function.params.clone(),
        param_offsets,
        param_bytes: offset,
        bounds: function.bounds.clone(),
        target: module.target,
        code: Vec::new(),
        sites: Vec::new(),
        priority: Vec::new(),
        straight: Vec::new(),
        observed: Vec::new(),
        memory: Vec::new(),
        forms: Vec::new(),
        carries: Vec::new(),
        converts: Vec::new(),
        packs: Vec::new(),
        syncs: Vec::new(),
        matrices: Vec::new(),
        asyncs: Vec::new(),
        tables: Vec::new(),
        planes: 0,
        predicates: 0,
        constants: Vec::new(),
        shared: Vec::new(),
        shared_bytes: SHARED_START,
        reserved: None,
        dynamic_offset: 0,
        local: Vec::new(),
        local_bytes: 0,
        communicates: false,
    }
}

fn entry(module: &Module, index: usize, function: &Function) -> Result<Program, Vec<Diagnostic>> {
    let fail = |blame, message: &str| {
        vec![Diagnostic::new(
            &module.source,
            blame,
            function.name.span,
            message,
        )]
    };
    let mut emitter = Emitter::new(module, empty(module, function));
    // A function parameter cannot reach these sizes, and sums of offsets stay in range.
    if emitter.program.param_bytes > 1 << 20 {
        return Err(fail(
            Blame::Program,
            "the parameters are larger than the hardware allows",
        ));
    }
    let mut errors = function::Body::lower(&mut emitter, index);
    let (planes, predicates) = emitter.register_counts();
    if planes > u32::from(u16::MAX) || predicates > 0x7fff {
        errors.extend(fail(Blame::Limit, "more than 65535 registers"));
    }
    if emitter.program.code.len() > 1 << 24 {
        errors.extend(fail(Blame::Limit, "more than 16 million instructions"));
    }
    for (what, bytes, most) in [
        ("shared", emitter.program.shared_bytes, 1 << 24),
        ("local", emitter.program.local_bytes, 1 << 24),
    ] {
        if bytes > most {
            errors.extend(fail(
                Blame::Limit,
                &format!("more than 16 MiB of {what} memory"),
            ));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let labels = std::mem::take(&mut emitter.labels);
    let mut program = emitter.program;
    (program.planes, program.predicates) = (planes as u16, predicates as u16);
    let resolve = |label: u32| labels[label as usize].unwrap_or(0);
    for inst in &mut program.code {
        match &mut inst.op {
            Op::Branch { target } | Op::Call { target, .. } => *target = resolve(*target),
            _ => {}
        }
    }
    for target in program.tables.iter_mut().flatten() {
        *target = resolve(*target);
    }
    // Dynamic shared memory comes after all static variables.
    program.dynamic_offset = program
        .shared_bytes
        .next_multiple_of(program.dynamic_offset.max(16));
    order::analyse(&mut program);
    program.forms = program.memory.iter().map(Form::of).collect();
    Ok(program)
}
