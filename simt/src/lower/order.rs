//! In which order diverged lanes of a warp run.
//!
//! Lanes at different places are run lowest priority number first, where numbers follow a reverse
//! post-order of the control flow and callees come before their callers. Lanes that wait are then
//! met by the others at the earliest place both can reach ("thread frontiers", Diamos et al.,
//! *SIMD Re-Convergence At Thread Frontiers*, MICRO 2011), for any control flow, reducible or not.

use super::program::{Op, Program};

fn successors(program: &Program, at: u32) -> smallvec::SmallVec<[u32; 4]> {
    let inst = &program.code[at as usize];
    let guarded = inst.guard.parts().is_some();
    let mut next = smallvec::SmallVec::new();
    let falls = match inst.op {
        Op::Branch { target } => {
            next.push(target);
            guarded
        }
        Op::Table { table, .. } => {
            next.extend(program.tables[usize::from(table)].iter().copied());
            guarded
        }
        Op::Return { .. } | Op::Exit | Op::Trap => guarded,
        // A call comes back; where the callee stands is found from its own beginning.
        _ => true,
    };
    if falls && (at as usize + 1) < program.code.len() {
        next.insert(0, at + 1);
    }
    next
}

/// Post-order of what can be reached from `start`, appended to `order`.
fn visit(program: &Program, start: u32, seen: &mut [bool], order: &mut Vec<u32>) {
    let mut stack = vec![(start, 0)];
    if std::mem::replace(&mut seen[start as usize], true) {
        return;
    }
    while let Some((at, taken)) = stack.last_mut() {
        let next = successors(program, *at);
        // The last successor first: then the fall-through comes earlier in reverse post-order
        // than a branch that leaves a loop.
        if let Some(&to) = next.len().checked_sub(*taken + 1).and_then(|i| next.get(i)) {
            *taken += 1;
            if !std::mem::replace(&mut seen[to as usize], true) {
                stack.push((to, 0));
            }
        } else {
            order.push(*at);
            stack.pop();
        }
    }
}

/// Fills in priorities and straight runs.
pub(crate) fn analyse(program: &mut Program) {
    let count = program.code.len();
    let mut starts = vec![0u32];
    let mut targets = vec![false; count + 1];
    for (at, inst) in program.code.iter().enumerate() {
        match inst.op {
            Op::Call { target, .. } => {
                starts.push(target);
                targets[target as usize] = true;
                targets[at + 1] = true;
            }
            Op::Branch { target } => targets[target as usize] = true,
            _ => {}
        }
    }
    program
        .tables
        .iter()
        .flatten()
        .for_each(|t| targets[*t as usize] = true);
    // Deeper functions were lowered later, so later starts come first.
    starts.sort_unstable();
    starts.dedup();
    let mut seen = vec![false; count];
    let mut order = Vec::with_capacity(count);
    let mut priority = vec![u32::MAX; count];
    let mut number = 0;
    for start in starts.into_iter().rev() {
        order.clear();
        visit(program, start, &mut seen, &mut order);
        for at in order.iter().rev() {
            priority[*at as usize] = number;
            number += 1;
        }
    }
    program.priority = priority;
    program.straight = vec![0; count];
    for at in (0..count).rev() {
        let plain = matches!(program.code[at].op, Op::Alu { .. } | Op::Logic { .. });
        let after = if targets[at + 1] {
            0
        } else {
            *program.straight.get(at + 1).unwrap_or(&0)
        };
        program.straight[at] = if plain { after.saturating_add(1) } else { 0 };
    }
}
