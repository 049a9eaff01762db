//! How much fixed shared memory a kernel uses: its own variables, and those of the module that it
//! or a function it calls names. Others of the module do not count, on a GPU neither.

use simt::ptx::Module;
use simt::ptx::ast::{Operand, OperandKind, Statement, Variable};
use simt::ptx::types::Space;
use std::collections::HashSet;

/// Bytes of fixed shared memory of `entry`.
pub(crate) fn fixed_shared(module: &Module, entry: &str) -> u64 {
    let mut names = HashSet::new();
    let mut own = 0;
    let mut to_visit = vec![entry];
    let mut visited = HashSet::new();
    while let Some(function) = to_visit.pop() {
        if !visited.insert(function) {
            continue;
        }
        let found = module
            .functions
            .iter()
            .find(|f| f.name.text == function && f.body.is_some());
        let Some(body) = found.and_then(|function| function.body.as_deref()) else {
            continue;
        };
        let mut here = HashSet::new();
        own += statements(body, &mut here);
        to_visit.extend(here.iter().copied());
        names.extend(here);
    }
    let used = module
        .variables
        .iter()
        .filter(|v| names.contains(v.name.text.as_str()));
    used.map(bytes).fold(own, u64::saturating_add)
}

fn bytes(variable: &Variable) -> u64 {
    if variable.space == Space::Shared && !variable.external {
        variable.size()
    } else {
        0
    }
}

/// Gathers the names that operands use; the bytes of shared variables declared among them.
fn statements<'a>(body: &'a [Statement], names: &mut HashSet<&'a str>) -> u64 {
    let mut own = 0_u64;
    for statement in body {
        match statement {
            Statement::Variable(variable) => own = own.saturating_add(bytes(variable)),
            Statement::Block(inner) => own = own.saturating_add(statements(inner, names)),
            Statement::Instruction(instruction) => operands(&instruction.operands, names),
            _ => {}
        }
    }
    own
}

fn operands<'a>(list: &'a [Operand], names: &mut HashSet<&'a str>) {
    for operand in list {
        match &operand.kind {
            OperandKind::Name(name) | OperandKind::Not(name) | OperandKind::Offset(name, _) => {
                names.insert(name);
            }
            OperandKind::Vector(inner) | OperandKind::Address(inner) | OperandKind::List(inner) => {
                operands(inner, names);
            }
            OperandKind::Pair(first, second) => {
                operands(std::slice::from_ref(first), names);
                operands(std::slice::from_ref(second), names);
            }
            OperandKind::Number(_) | OperandKind::Sink => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_kernel_reaches_counts() {
        let module = simt::ptx::parse(
            ".version 7.0\n.target sm_80\n.address_size 64\n\
             .shared .align 4 .b8 mine[64];\n.shared .align 4 .b8 called[32];\n\
             .shared .align 4 .b8 others[1024];\n.extern .shared .align 16 .b8 dynamic[];\n\
             .func helper() { .reg .b32 %r<2>; mov.u32 %r1, called; ret; }\n\
             .visible .entry k() { .reg .b32 %r<3>; .shared .align 4 .b8 own[8];\n\
             mov.u32 %r1, dynamic; { ld.shared.u32 %r2, [mine+4]; } call helper, (); ret; }\n\
             .visible .entry l() { .reg .b32 %r<2>; mov.u32 %r1, others; ret; }",
        )
        .expect("it is PTX");
        assert_eq!(fixed_shared(&module, "k"), 64 + 32 + 8);
        assert_eq!(fixed_shared(&module, "l"), 1024);
    }
}
