//! Runs of arithmetic: the inner loop of the machine.
//!
//! The loop is compiled for the vector units the host has, chosen when the program starts
//! (`pulp`), so that one plane of 32 lanes is a few vector registers.

use super::registers::Registers;
use super::warp::guarded;
use crate::isa::alu;
use crate::lower::program::{Inst, Logic, Op};
use pulp::{Arch, NullaryFnOnce};

struct Straight<'a> {
    code: &'a [Inst],
    mask: u32,
    registers: &'a mut Registers,
}

impl NullaryFnOnce for Straight<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        here(self.code, self.mask, self.registers);
    }
}

/// As [`run`], where the vector units are chosen already.
#[inline(always)]
pub(crate) fn here(code: &[Inst], mask: u32, registers: &mut Registers) {
    for inst in code {
        let lanes = guarded(registers, inst.guard, mask);
        if lanes == 0 {
            continue;
        }
        match inst.op {
            Op::Alu { f, r } => alu::execute(f, r, lanes, registers),
            Op::Logic { f, r } => logic(f, r, lanes, registers),
            _ => {}
        }
    }
}

/// Logic on whole predicates.
#[inline(always)]
fn logic(f: Logic, r: [u16; 3], mask: u32, registers: &mut Registers) {
    let p = &mut registers.predicates;
    let (a, b) = (p[usize::from(r[1])], p[usize::from(r[2])]);
    let value = match f {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
        Logic::Not => !a,
        Logic::Move => a,
        Logic::Set => u32::MAX,
        Logic::Clear => 0,
    };
    let d = &mut p[usize::from(r[0])];
    *d = *d & !mask | value & mask;
}

/// Runs instructions that are all arithmetic, for the lanes of `mask`.
pub(crate) fn run(arch: Arch, code: &[Inst], mask: u32, registers: &mut Registers) {
    arch.dispatch(Straight {
        code,
        mask,
        registers,
    });
}
