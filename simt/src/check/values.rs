//! Values that hold nothing: bytes of memory that were never written, and what a shuffle brings
//! from a lane that takes no part. They may be copied about; they must not decide anything.
//!
//! Unknown bytes are followed through registers. Moves, logic, shifts and byte permutations keep
//! unknown bytes apart from known ones; any other operation with an unknown operand has an
//! unknown result.

use super::Checker;
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::observer::{AccessEvent, At, Known};
use crate::exec::registers::{LANES, Plane, Registers};
use crate::exec::step::bits;
use crate::exec::straight;
use crate::isa::alu::{self, Alu};
use crate::lower::program::{Access, Guard, Inst, Logic, MemoryOp, Op, Program, Reg};
use crate::lower::sync::SyncOp;
use crate::ptx::types::{ScalarType, Space, TypeKind};
use bytemuck::Zeroable;

/// Unknown bytes of a register plane: four bits for each lane.
type Bytes = u128;

/// What is unknown in the registers of one warp.
#[derive(Debug)]
pub(crate) struct Values {
    planes: Vec<Bytes>,
    predicates: Vec<u32>,
    /// The instruction that brought in what is unknown.
    origins: Vec<u32>,
    predicate_origins: Vec<u32>,
    /// Planes and predicates with something unknown; none is the usual state.
    unknown: u32,
}

/// Four bits for each lane of a mask.
fn spread(mask: u32) -> Bytes {
    if mask == u32::MAX {
        return Bytes::MAX;
    }
    bits(mask).fold(0, |all, lane| all | 0xf << (4 * lane))
}

/// The lanes with an unknown byte.
fn lanes(unknown: Bytes) -> u32 {
    if unknown == 0 {
        return 0;
    }
    (0..LANES).fold(0, |all, lane| {
        all | u32::from(unknown >> (4 * lane) & 0xf != 0) << lane
    })
}

/// Operations whose result bytes depend on single operand bytes.
fn bytewise(f: Alu) -> bool {
    use Alu::*;
    matches!(
        f,
        And32
            | And64
            | Or32
            | Or64
            | Shl32
            | Shl64
            | ShrU32
            | ShrU64
            | ShfLWrap
            | ShfRWrap
            | ShfLClamp
            | ShfRClamp
            | Lop3
            | Prmt
            | BfeU32
            | BfeU64
            | Bfi32
            | Bfi64
            | Selp16
            | Selp32
            | Selp64
            | Mov32
            | Mov64
            | CvtU32U16
            | CvtU64U32
            | CvtU32U64
            | CvtU16U32
    )
}

fn planes(ty: ScalarType) -> u8 {
    match ty {
        ScalarType::Pred => 0,
        _ if ty.bits() > 32 => 2,
        _ => 1,
    }
}

fn predicate(plane: u16) -> Reg {
    Reg { plane, planes: 0 }
}

/// The register that arithmetic writes.
fn result(inst: &Inst) -> Reg {
    match inst.op {
        Op::Alu { f, r } => Reg {
            plane: r[0],
            planes: planes(alu::FORMS[f as usize].result),
        },
        Op::Logic { r, .. } => predicate(r[0]),
        _ => predicate(0),
    }
}

impl Values {
    pub(crate) fn new(program: &Program) -> Self {
        let (planes, predicates) = (usize::from(program.planes), usize::from(program.predicates));
        Self {
            planes: vec![0; planes],
            predicates: vec![0; predicates],
            origins: vec![0; planes],
            predicate_origins: vec![0; predicates],
            unknown: 0,
        }
    }

    /// Another block begins.
    pub(crate) fn restart(&mut self) {
        if self.unknown != 0 {
            self.planes.fill(0);
            self.predicates.fill(0);
            self.unknown = 0;
        }
    }

    /// Whether anything is unknown.
    pub(crate) fn any(&self) -> bool {
        self.unknown != 0
    }

    fn set_plane(&mut self, plane: u16, value: Bytes, origin: u32) {
        let slot = &mut self.planes[usize::from(plane)];
        self.unknown = self.unknown + u32::from(value != 0) - u32::from(*slot != 0);
        *slot = value;
        if value != 0 {
            self.origins[usize::from(plane)] = origin;
        }
    }

    fn set_predicate(&mut self, p: u16, value: u32, origin: u32) {
        let slot = &mut self.predicates[usize::from(p)];
        self.unknown = self.unknown + u32::from(value != 0) - u32::from(*slot != 0);
        *slot = value;
        if value != 0 {
            self.predicate_origins[usize::from(p)] = origin;
        }
    }

    /// Unknown lanes of a register, and where they come from.
    fn of(&self, reg: Reg) -> (u32, u32) {
        if reg.planes == 0 {
            let p = usize::from(reg.plane);
            return (self.predicates[p], self.predicate_origins[p]);
        }
        let all = usize::from(reg.plane)..usize::from(reg.plane) + usize::from(reg.planes);
        let mut found = (0, 0);
        for plane in all {
            if self.planes[plane] != 0 {
                found = (found.0 | lanes(self.planes[plane]), self.origins[plane]);
            }
        }
        found
    }

    /// Makes whole lanes of a register unknown or known.
    fn set(&mut self, reg: Reg, mask: u32, unknown: u32, origin: u32) {
        if reg.planes == 0 {
            let old = self.predicates[usize::from(reg.plane)];
            self.set_predicate(reg.plane, old & !mask | unknown & mask, origin);
            return;
        }
        for plane in reg.plane..reg.plane + u16::from(reg.planes) {
            let old = self.planes[usize::from(plane)];
            let new = old & !spread(mask) | spread(unknown & mask);
            self.set_plane(plane, new, origin);
        }
    }

    /// Arithmetic is about to run.
    #[inline(always)]
    pub(crate) fn straight(&mut self, program: &Program, at: At, count: u32, regs: &Registers) {
        if self.unknown == 0 {
            return;
        }
        let code = &program.code[at.pc as usize..(at.pc + count) as usize];
        // Values are looked at only where bytes are told apart, and there an instruction must see
        // what earlier ones of the run computed.
        let mut replay: Option<(usize, Registers)> = None;
        for (n, inst) in code.iter().enumerate() {
            let (unknown, origin) = self.operands(inst, at.mask);
            let d = result(inst);
            let split = match inst.op {
                Op::Alu { f, r } if unknown != 0 && bytewise(f) => Some((f, r)),
                _ => None,
            };
            let Some((f, r)) = split else {
                self.set(d, at.mask, unknown, origin);
                continue;
            };
            let (done, now) = replay.get_or_insert_with(|| (0, regs.clone()));
            straight::run(pulp::Arch::new(), &code[*done..n], at.mask, now);
            *done = n;
            self.bytes(f, r, d, at.mask, origin, now);
        }
    }

    /// Lanes in which an operand or the guard is unknown, and where that comes from.
    fn operands(&self, inst: &Inst, mask: u32) -> (u32, u32) {
        let (mut unknown, mut origin) = (0, 0);
        let mut add = |(lanes, from): (u32, u32)| {
            if lanes & mask != 0 {
                (unknown, origin) = (unknown | lanes & mask, from);
            }
        };
        if let Some((p, _)) = inst.guard.parts() {
            add(self.of(predicate(p)));
        }
        match inst.op {
            Op::Logic { f, r } => {
                let reads = match f {
                    Logic::Set | Logic::Clear => 0,
                    Logic::Move | Logic::Not => 1,
                    _ => 2,
                };
                r[1..1 + reads]
                    .iter()
                    .for_each(|p| add(self.of(predicate(*p))));
            }
            Op::Alu { f, r } => {
                let form = &alu::FORMS[f as usize];
                for (ty, plane) in form.operands.iter().zip(&r[1..]) {
                    add(self.of(Reg {
                        plane: *plane,
                        planes: planes(*ty),
                    }));
                }
            }
            _ => {}
        }
        (unknown, origin)
    }

    /// Which result bytes change when unknown operand bytes do: all zeros, all ones, and ones in
    /// one operand at a time.
    fn bytes(&mut self, f: Alu, r: [u16; 5], d: Reg, mask: u32, origin: u32, regs: &Registers) {
        let form = &alu::FORMS[f as usize];
        let operands = form.operands.len();
        let run = |ones: u32| {
            let mut scratch = Registers {
                planes: vec![Plane::zeroed(); 12],
                predicates: vec![0; 6],
            };
            let mut to = [0u16; 5];
            to[4] = r[4];
            for (n, ty) in form.operands.iter().enumerate() {
                let (from, at) = (usize::from(r[n + 1]), 2 * (n + 1));
                let one = ones >> n & 1 != 0;
                to[n + 1] = at as u16;
                match planes(*ty) {
                    0 => {
                        let unknown = self.predicates[from];
                        let known = regs.predicates[from] & !unknown;
                        scratch.predicates[n + 1] = known | if one { unknown } else { 0 };
                        to[n + 1] = (n + 1) as u16;
                    }
                    count => {
                        let wide = count == 2;
                        for lane in 0..LANES {
                            let reg = |plane: usize| Reg {
                                plane: plane as u16,
                                planes: count,
                            };
                            let value = crate::exec::misc::value(regs, reg(from), lane);
                            let hole = self.hole(from, wide, lane);
                            let value = if one { value | hole } else { value & !hole };
                            if wide {
                                scratch.wide_mut(at as u16)[lane] = value;
                            } else {
                                scratch.narrow_mut(at as u16)[lane] = value as u32;
                            }
                        }
                    }
                }
            }
            if form.flags {
                to[operands + 1] = r[operands + 1];
            }
            let inst = Inst {
                op: Op::Alu { f, r: to },
                guard: Guard::NONE,
            };
            straight::run(pulp::Arch::new(), &[inst], mask, &mut scratch);
            scratch
        };
        let base = run(0);
        let mut low: Bytes = 0;
        let mut high: Bytes = 0;
        let all = (1u32 << operands) - 1;
        for ones in (0..operands).map(|n| 1 << n).chain([all]) {
            let other = run(ones);
            for lane in bits(mask) {
                let reg = Reg {
                    plane: 0,
                    planes: d.planes,
                };
                let value = |regs| crate::exec::misc::value(regs, reg, lane);
                let changed = value(&base) ^ value(&other);
                for byte in 0..8 {
                    if changed >> (8 * byte) & 0xff != 0 {
                        let bit = 1 << (4 * lane + byte % 4);
                        *(if byte < 4 { &mut low } else { &mut high }) |= bit;
                    }
                }
            }
        }
        let keep = !spread(mask);
        let old = self.planes[usize::from(d.plane)] & keep;
        self.set_plane(d.plane, old | low, origin);
        if d.planes == 2 {
            let old = self.planes[usize::from(d.plane) + 1] & keep;
            self.set_plane(d.plane + 1, old | high, origin);
        }
    }

    /// Ones where bytes of a lane's value are unknown.
    fn hole(&self, plane: usize, wide: bool, lane: usize) -> u64 {
        let nibble = |plane: usize| (self.planes[plane] >> (4 * lane) & 0xf) as u64;
        let which = nibble(plane) | if wide { nibble(plane + 1) << 4 } else { 0 };
        (0..8).fold(0, |all, byte| {
            all | (which >> byte & 1) * (0xff << (8 * byte))
        })
    }

    /// Any other instruction is about to run.
    pub(crate) fn instruction(&mut self, program: &Program, at: At, log: &mut Log) {
        if self.unknown == 0 {
            return;
        }
        let inst = program.code[at.pc as usize];
        if let (Some((p, _)), false) = (inst.guard.parts(), matches!(inst.op, Op::Branch { .. })) {
            self.decides(
                program,
                at,
                predicate(p),
                "decides whether this happens",
                log,
            );
        }
        let reg = |plane, wide: bool| Reg {
            plane,
            planes: 1 + u8::from(wide),
        };
        match inst.op {
            Op::Convert(index) => {
                let op = program.converts[usize::from(index)];
                let (mut unknown, mut origin) = self.of(reg(op.a, op.wide_a));
                if let Some(b) = op.b {
                    let (lanes, from) = self.of(reg(b, false));
                    if lanes != 0 {
                        (unknown, origin) = (unknown | lanes, from);
                    }
                }
                self.set(reg(op.d, op.wide_d), at.mask, unknown, origin);
            }
            Op::Pack(index) => self.pack(&program.packs[usize::from(index)], at),
            Op::Carry(index) => {
                let op = program.carries[usize::from(index)];
                let all = [Some(op.a), Some(op.b), op.c];
                let each = all.into_iter().flatten().map(|r| self.of(reg(r, op.wide)));
                let (unknown, origin) = each.fold((0, 0), |sum, (lanes, from)| {
                    (sum.0 | lanes, if lanes != 0 { from } else { sum.1 })
                });
                self.set(reg(op.d, op.wide), at.mask, unknown, origin);
            }
            Op::ActiveMask { d } => self.set(reg(d, false), at.mask, 0, 0),
            Op::Clock { d, wide } => self.set(reg(d, wide), at.mask, 0, 0),
            Op::Table { index, .. } => {
                let index = reg(index, false);
                self.decides(program, at, index, "decides where to go", log);
            }
            _ => {}
        }
    }

    fn pack(&mut self, op: &crate::lower::program::PackOp, at: At) {
        // Parts narrower than a byte's multiple do not occur; quads are followed by halves.
        let bytes = (op.part_bits / 8) as usize;
        let total = usize::from(op.whole.planes) * 4;
        let origin = self.of(op.whole).1;
        for lane in bits(at.mask) {
            let get = |values: &Self, reg: Reg, byte: usize| {
                let plane = usize::from(reg.plane) + byte / 4;
                values.planes[plane] >> (4 * lane + byte % 4) & 1 != 0
            };
            let mut moved: Vec<(Reg, usize, bool, u32)> = Vec::new();
            for (n, part) in op.parts.iter().enumerate() {
                let Some(part) = *part else { continue };
                for byte in 0..bytes {
                    let whole = n * bytes + byte;
                    if whole >= total || byte >= usize::from(part.planes) * 4 {
                        continue;
                    }
                    moved.push(if op.unpack {
                        (part, byte, get(self, op.whole, whole), origin)
                    } else {
                        let from = self.of(part).1;
                        (op.whole, whole, get(self, part, byte), from)
                    });
                }
            }
            for (reg, byte, unknown, origin) in moved {
                let plane = reg.plane + (byte / 4) as u16;
                let bit = 1 << (4 * lane + byte % 4);
                let old = self.planes[usize::from(plane)];
                let new = if unknown { old | bit } else { old & !bit };
                self.set_plane(plane, new, origin);
            }
        }
    }

    /// A conditional branch of all lanes of `at.mask`.
    pub(crate) fn branch(&self, program: &Program, at: At, log: &mut Log) {
        if let Some((p, _)) = program.code[at.pc as usize].guard.parts() {
            let reg = predicate(p);
            self.decides(program, at, reg, "decides a branch", log);
        }
    }

    /// Reports the use of a register if a lane of it is unknown.
    fn decides(&self, program: &Program, at: At, reg: Reg, what: &str, log: &mut Log) {
        if self.unknown == 0 {
            return;
        }
        let (unknown, origin) = self.of(reg);
        let bad = unknown & at.mask;
        if bad != 0 {
            report(program, at, bad.trailing_zeros(), origin, what, log);
        }
    }

    /// Memory is about to be accessed.
    pub(crate) fn access(&mut self, program: &Program, event: &AccessEvent<'_>, log: &mut Log) {
        let at = event.at;
        if self.unknown == 0 {
            return;
        }
        if let Some(base) = event.op.address.base {
            self.decides(program, at, base, "is part of this address", log);
        }
        if event.op.access == Access::Store && event.space == Space::Global {
            for reg in event.op.registers.iter().flatten() {
                let whole = self.whole(*reg, event.op.ty) & at.mask;
                if whole != 0 {
                    let origin = self.of(*reg).1;
                    let lane = whole.trailing_zeros();
                    report(program, at, lane, origin, "is stored to device memory", log);
                }
            }
        }
        if matches!(event.space, Space::Const | Space::Param) && event.op.access == Access::Load {
            for reg in event.op.registers.iter().flatten() {
                self.set(*reg, at.mask, 0, 0);
            }
        }
    }

    /// Lanes of which no byte is known: padding copied with its neighbours is left alone.
    fn whole(&self, reg: Reg, ty: ScalarType) -> u32 {
        let mut lanes_whole = u32::MAX;
        let mut left = ty.bytes();
        for plane in reg.plane..reg.plane + u16::from(reg.planes) {
            let take = left.min(4);
            left -= take;
            let want = (1u128 << take) - 1;
            for lane in 0..LANES {
                let have = self.planes[usize::from(plane)] >> (4 * lane) & want;
                if have != want {
                    lanes_whole &= !(1 << lane);
                }
            }
        }
        lanes_whole
    }

    /// Values were loaded of which every byte is known.
    #[inline(always)]
    pub(crate) fn loaded_whole(&mut self, at: At, op: &MemoryOp) {
        if self.unknown != 0 {
            for reg in op.registers.iter().flatten() {
                self.set(*reg, at.mask, 0, 0);
            }
        }
    }

    /// Whether every byte of the registers of a store is known.
    #[inline(always)]
    pub(crate) fn stores_whole(&self, op: &MemoryOp) -> bool {
        let known = |reg: &Reg| {
            let from = usize::from(reg.plane);
            let planes = &self.planes[from..from + usize::from(reg.planes)];
            planes.iter().all(|unknown| *unknown == 0)
        };
        self.unknown == 0 || op.registers.iter().flatten().all(known)
    }

    /// Element `k` of an access was loaded.
    pub(crate) fn loaded(&mut self, at: At, op: &MemoryOp, k: usize, known: &Known) {
        let Some(reg) = op.registers.get(k).copied().flatten() else {
            return;
        };
        let all = ((1u32 << op.ty.bytes()) - 1) as u16;
        let missing = bits(at.mask).any(|lane| known[lane] & all != all);
        if !missing && self.unknown == 0 {
            return;
        }
        let extended = op.ty.kind() == TypeKind::Signed;
        for (n, plane) in (reg.plane..reg.plane + u16::from(reg.planes)).enumerate() {
            let mut value = self.planes[usize::from(plane)];
            for lane in bits(at.mask) {
                let holes = all & !known[lane];
                let mut part = u128::from(holes >> (4 * n) & 0xf);
                if extended && holes >> (op.ty.bytes() - 1) & 1 != 0 {
                    // The sign goes up into the bytes above.
                    let own = (u32::from(all) >> (4 * n)) & 0xf;
                    part |= u128::from(!own & 0xf);
                }
                value = value & !(0xf << (4 * lane)) | part << (4 * lane);
            }
            self.set_plane(plane, value, at.pc);
        }
    }

    /// Which bytes of element `k` hold something.
    pub(crate) fn stored(&self, op: &MemoryOp, k: usize) -> Known {
        let reg = op.registers.get(k).copied().flatten();
        reg.map_or([u16::MAX; LANES], |reg| self.held(reg))
    }

    /// Which bytes of a register hold something.
    pub(crate) fn held(&self, reg: Reg) -> Known {
        if self.unknown == 0 {
            return [u16::MAX; LANES];
        }
        std::array::from_fn(|lane| {
            let each = (0..usize::from(reg.planes)).map(|n| {
                let plane = usize::from(reg.plane) + n;
                ((self.planes[plane] >> (4 * lane) & 0xf) as u16) << (4 * n)
            });
            !each.fold(0, |all, part| all | part)
        })
    }

    /// A shuffle is about to bring values from other lanes.
    pub(crate) fn shuffle(&mut self, at: At, op: &SyncOp, source: &[u8; LANES]) {
        let SyncOp::Shuffle { d, a, .. } = *op else {
            return;
        };
        let present = |lane: usize| at.mask >> source[lane] & 1 != 0;
        if self.unknown == 0 && (at.mask == u32::MAX || bits(at.mask).all(present)) {
            return;
        }
        let from = self.planes[usize::from(a)];
        let mut value = self.planes[usize::from(d)];
        let mut origin = self.origins[usize::from(a)];
        for lane in bits(at.mask) {
            let source = usize::from(source[lane]);
            let absent = at.mask >> source & 1 == 0;
            if absent {
                origin = at.pc;
            }
            let part = if absent {
                0xf
            } else {
                from >> (4 * source) & 0xf
            };
            value = value & !(0xf << (4 * lane)) | part << (4 * lane);
        }
        self.set_plane(d, value, origin);
    }

    /// Another warp operation is about to run; its result depends on all its lanes.
    pub(crate) fn warp_sync(&mut self, at: At, op: &SyncOp) {
        if self.unknown == 0 {
            return;
        }
        let narrow = |plane| Reg { plane, planes: 1 };
        let (d, (unknown, origin)) = match *op {
            SyncOp::Vote { vote, d, p, .. } => {
                let ballot = vote == crate::lower::sync::Vote::Ballot;
                let d = if ballot { narrow(d) } else { predicate(d) };
                (d, self.of(predicate(p)))
            }
            SyncOp::Redux { d, a, .. } => (narrow(d), self.of(narrow(a))),
            SyncOp::Match { d, a, wide, .. } => {
                let planes = 1 + u8::from(wide);
                (narrow(d), self.of(Reg { plane: a, planes }))
            }
            SyncOp::Elect { d, .. } => (narrow(d), (0, 0)),
            _ => return,
        };
        let all = if unknown & at.mask != 0 { u32::MAX } else { 0 };
        self.set(d, at.mask, all, origin);
    }
}

#[cold]
fn report(program: &Program, at: At, lane: u32, origin: u32, what: &str, log: &mut Log) {
    let shuffled = matches!(program.code[origin as usize].op, Op::Sync(_));
    let (checker, mistake, message, usual_cause, from) = if shuffled {
        (
            Checker::Shuffle,
            Mistake::Shuffled,
            format!("a value shuffled from a lane that takes no part {what}"),
            "a full mask in a warp of which some lanes have left or never were there",
            "reads a lane that does not execute it",
        )
    } else {
        (
            Checker::Uninitialised,
            Mistake::Unwritten,
            format!("a value that was never written {what}"),
            "a partial tile of which only a part was filled, or an accumulator without its zero",
            "loads what was never written",
        )
    };
    let side = |pc: u32, what: &str| RawSide {
        what: what.to_owned(),
        block: at.block,
        thread: at.warp * 32 + lane,
        pc,
    };
    log.add((at.pc, origin, checker, mistake), || Raw {
        message,
        usual_cause,
        sides: vec![side(at.pc, "uses it"), side(origin, from)],
    });
}
