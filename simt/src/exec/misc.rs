//! Instructions that are neither arithmetic nor memory nor control.

use super::block::Block;
use super::fault::Raised;
use super::observer::{At, Observer};
use super::registers::{LANES, Registers};
use super::step::{Env, bits};
use super::warp::Warp;
use crate::isa::meaning::convert::convert;
use crate::lower::program::{CarryOp, ConvertOp, Op, PackOp, Reg};

/// Notes where lanes come back to.
pub(crate) fn set_link(warp: &mut Warp, link: u16, lanes: u32, pc: u32) {
    let plane = warp.registers.narrow_mut(link);
    bits(lanes).for_each(|lane| plane[lane] = pc);
}

/// The value of a lane, however wide the register.
pub(crate) fn get(warp: &Warp, reg: Reg, lane: usize) -> u64 {
    value(&warp.registers, reg, lane)
}

/// The same, from the registers alone.
pub(crate) fn value(registers: &Registers, reg: Reg, lane: usize) -> u64 {
    if reg.planes == 2 {
        registers.wide(reg.plane)[lane]
    } else {
        u64::from(registers.narrow(reg.plane)[lane])
    }
}

/// Sets the value of a lane, however wide the register.
pub(crate) fn set(warp: &mut Warp, reg: Reg, lane: usize, value: u64) {
    if reg.planes == 2 {
        warp.registers.wide_mut(reg.plane)[lane] = value;
    } else {
        warp.registers.narrow_mut(reg.plane)[lane] = value as u32;
    }
}

/// Executes one such instruction.
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    at: At,
) -> Result<(), Raised> {
    let program = env.program;
    match program.code[at.pc as usize].op {
        Op::Convert(index) => {
            let op = program.converts[usize::from(index)];
            bits(at.mask).for_each(|lane| convert_lane(warp, op, lane));
        }
        Op::Pack(index) => {
            let op = &program.packs[usize::from(index)];
            bits(at.mask).for_each(|lane| pack_lane(warp, op, lane));
        }
        Op::Carry(index) => {
            let op = program.carries[usize::from(index)];
            bits(at.mask).for_each(|lane| carry_lane(warp, op, lane));
        }
        Op::ActiveMask { d } => {
            let plane = warp.registers.narrow_mut(d);
            bits(at.mask).for_each(|lane| plane[lane] = at.mask);
        }
        Op::Clock { d, wide } => {
            let now = block.steps + warp.steps;
            let reg = Reg {
                plane: d,
                planes: 1 + u8::from(wide),
            };
            bits(at.mask).for_each(|lane| set(warp, reg, lane, now));
        }
        Op::Async(index) => {
            let op = &program.asyncs[index as usize];
            super::asynchronous::execute(env, block, warp, observer, op, at)?;
        }
        Op::Fence { scope, between } if O::ACTIVE => observer.fence(at, scope, between),
        Op::Matrix(index) => {
            let op = &program.matrices[index as usize];
            super::matrix::execute(env, block, warp, observer, op, at)?;
        }
        _ => {}
    }
    Ok(())
}

fn convert_lane(warp: &mut Warp, op: ConvertOp, lane: usize) {
    let source = |plane, wide: bool| Reg {
        plane,
        planes: 1 + u8::from(wide),
    };
    let a = get(warp, source(op.a, op.wide_a), lane);
    let c = op.conversion;
    let (from, to) = (c.from.bits(), c.to.bits());
    let value = if op.packed {
        let (low, high) = match op.b {
            // Two registers: the first is the upper element.
            Some(b) => (get(warp, source(b, false), lane), a),
            None => (a & ((1 << from) - 1), a >> from & ((1 << from) - 1)),
        };
        convert(high, c) << to | convert(low, c)
    } else {
        let bits = convert(a, c);
        let signed = c.to.kind() == crate::ptx::types::TypeKind::Signed;
        if signed && to < 64 {
            ((bits << (64 - to)) as i64 >> (64 - to)) as u64
        } else {
            bits
        }
    };
    set(warp, source(op.d, op.wide_d), lane, value);
}

fn pack_lane(warp: &mut Warp, op: &PackOp, lane: usize) {
    let quad = op.whole.planes == 4;
    let half = |i: u16| Reg {
        plane: op.whole.plane + 2 * i,
        planes: 2,
    };
    let read_whole = |warp: &Warp| {
        if quad {
            u128::from(get(warp, half(0), lane)) | u128::from(get(warp, half(1), lane)) << 64
        } else {
            u128::from(get(warp, op.whole, lane))
        }
    };
    let mask = if op.part_bits >= 64 {
        u64::MAX
    } else {
        (1 << op.part_bits) - 1
    };
    if op.unpack {
        let whole = read_whole(warp);
        for (i, part) in op.parts.iter().enumerate() {
            if let Some(part) = part {
                let value = (whole >> (i as u32 * op.part_bits)) as u64 & mask;
                set(warp, *part, lane, value);
            }
        }
    } else {
        let mut whole = 0u128;
        for (i, part) in op.parts.iter().enumerate() {
            if let Some(part) = part {
                whole |= u128::from(get(warp, *part, lane) & mask) << (i as u32 * op.part_bits);
            }
        }
        if quad {
            set(warp, half(0), lane, whole as u64);
            set(warp, half(1), lane, (whole >> 64) as u64);
        } else {
            set(warp, op.whole, lane, whole as u64);
        }
    }
}

fn carry_lane(warp: &mut Warp, op: CarryOp, lane: usize) {
    const { assert!(LANES == 32) };
    let reg = |plane| Reg {
        plane,
        planes: 1 + u8::from(op.wide),
    };
    let width = if op.wide { 64 } else { 32 };
    let ones = (1u128 << width) - 1;
    let a = u128::from(get(warp, reg(op.a), lane));
    let b = u128::from(get(warp, reg(op.b), lane));
    let flag = warp.registers.predicates[usize::from(op.flag)] >> lane & 1;
    let carry = u128::from(op.carry_in && flag != 0);
    let (value, out) = if op.subtract {
        let total = a.wrapping_sub(b).wrapping_sub(carry);
        (total & ones, a < b + carry)
    } else {
        let (x, y) = match op.c {
            None => (a, b),
            Some(c) => {
                let extend = |v: u128| (v << (128 - width)) as i128 >> (128 - width);
                let product = if op.signed {
                    (extend(a) * extend(b)) as u128
                } else {
                    a.wrapping_mul(b)
                };
                let part = if op.high { product >> width } else { product } & ones;
                (part, u128::from(get(warp, reg(c), lane)))
            }
        };
        let total = x + y + carry;
        (total & ones, total > ones)
    };
    set(warp, reg(op.d), lane, value as u64);
    if op.carry_out {
        let flags = &mut warp.registers.predicates[usize::from(op.flag)];
        *flags = *flags & !(1 << lane) | u32::from(out) << lane;
    }
}
