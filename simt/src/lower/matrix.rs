//! Matrix instructions: `mma`, `wmma`, `ldmatrix`, `stmatrix`, `movmatrix`.

use super::emit::{Emitter, Result};
use super::memory::space;
use super::program::*;
use super::sync::SyncOp;
use crate::isa::meaning::Flags;
use crate::isa::meaning::matrix::{BitOp, Layout, Part, Shape};
use crate::ptx::ast::{Instruction, Operand};
use crate::ptx::types::ScalarType;
use smallvec::{SmallVec, smallvec};

/// A matrix operation.
#[derive(Clone, Debug)]
pub(crate) enum MatrixOp {
    /// `d = a · b + c`.
    Multiply(Box<Multiply>),
    /// `ldmatrix`: `memory` holds destinations and the address.
    Load { memory: MemoryOp, transposed: bool },
    /// `stmatrix`: `memory` holds sources and the address.
    Store { memory: MemoryOp, transposed: bool },
    /// `movmatrix`: an 8×8 matrix transposed between registers.
    Transpose { d: u16, a: u16 },
    /// `wmma.load` and `wmma.store`.
    Fragment(Box<Fragment>),
}

impl MatrixOp {
    /// Bytes of the row whose address a lane gives, of `ldmatrix` and `stmatrix`.
    pub(crate) fn row_bytes(&self) -> Option<u32> {
        matches!(self, MatrixOp::Load { .. } | MatrixOp::Store { .. }).then_some(16)
    }
}

/// A multiplication and its registers.
#[derive(Clone, Debug)]
pub(crate) struct Multiply {
    pub(crate) shape: Shape,
    pub(crate) a: SmallVec<[u16; 8]>,
    pub(crate) b: SmallVec<[u16; 8]>,
    pub(crate) c: SmallVec<[u16; 8]>,
    pub(crate) d: SmallVec<[u16; 8]>,
}

/// A fragment in memory.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) shape: Shape,
    pub(crate) part: Part,
    pub(crate) ty: ScalarType,
    pub(crate) column_major: bool,
    pub(crate) registers: SmallVec<[Reg; 8]>,
    /// One element, or a register full of such of less than a byte: its register is where it is
    /// put together or taken apart.
    pub(crate) memory: MemoryOp,
    /// Elements from one row (or column) to the next.
    pub(crate) stride: Option<u16>,
}

fn has(i: &Instruction, modifier: &str) -> bool {
    i.modifiers.iter().any(|m| m.text == modifier)
}

fn types(i: &Instruction) -> SmallVec<[ScalarType; 4]> {
    i.modifiers
        .iter()
        .filter_map(|m| ScalarType::from_name(&m.text[1..]))
        .collect()
}

/// `.m16n8k16`.
pub(crate) fn extents(i: &Instruction) -> Option<(usize, usize, usize)> {
    i.modifiers.iter().find_map(|modifier| {
        let rest = modifier.text.strip_prefix(".m")?;
        let (m, rest) = rest.split_once('n')?;
        let (n, k) = rest.split_once('k')?;
        Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
    })
}

/// All of these are `.sync`: the lanes of the warp wait for each other before it runs.
fn push(e: &mut Emitter<'_>, op: MatrixOp, guard: Guard) {
    let mask = e.bits(ScalarType::B32, u64::from(u32::MAX)).plane;
    let sync = e.program.syncs.len() as u32;
    e.program.syncs.push(SyncOp::Warp { mask });
    e.push_extra(Op::Sync(sync));
    let index = e.program.matrices.len() as u32;
    e.program.matrices.push(op);
    e.push(Op::Matrix(index), guard);
}

/// The type of the registers that hold elements of a type.
fn holder(ty: ScalarType) -> ScalarType {
    if ty == ScalarType::F64 {
        ScalarType::F64
    } else {
        ScalarType::B32
    }
}

fn fragment(
    e: &mut Emitter<'_>,
    operand: &Operand,
    ty: ScalarType,
    count: usize,
    written: bool,
) -> Result<SmallVec<[u16; 8]>> {
    let elements = e.exactly(operand, count)?;
    let mut planes = SmallVec::new();
    for element in elements {
        let ty = holder(ty);
        let reg = if written {
            e.dst(element, ty)?
        } else {
            e.src(element, ty)?
        };
        planes.push(reg.plane);
    }
    Ok(planes)
}

/// Registers of a fragment of `mma`.
fn registers(shape: &Shape, part: Part, ty: ScalarType) -> usize {
    let (rows, columns) = shape.extent(part);
    // `m8n8k4` on f16 multiplies four times.
    let times = if matches!(shape.layout, Layout::Quads { .. }) {
        4
    } else {
        1
    };
    (times * rows * columns).div_ceil(32 * Shape::packed(ty))
}

fn bit_op(i: &Instruction) -> Option<BitOp> {
    if has(i, ".xor") {
        Some(BitOp::Xor)
    } else if has(i, ".and") {
        Some(BitOp::And)
    } else {
        None
    }
}

/// `mma.sync`.
pub(crate) fn mma(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 4)?;
    let ([d, a, b, c], Some((m, n, k))) = (
        types(i)[..].try_into().unwrap_or([ScalarType::B1; 4]),
        extents(i),
    ) else {
        return Err(e.wrong(i.span, "`mma` needs a shape and four types"));
    };
    let layouts: SmallVec<[bool; 2]> = i
        .modifiers
        .iter()
        .filter(|m| matches!(m.text.as_str(), ".row" | ".col"))
        .map(|m| m.text == ".col")
        .collect();
    let [a_column, b_column] = layouts[..] else {
        return Err(e.wrong(i.span, "`mma` needs two layouts"));
    };
    let quads = (m, n, k) == (8, 8, 4) && a == ScalarType::F16;
    let layout = if quads {
        Layout::Quads { a_column, b_column }
    } else {
        Layout::Regular
    };
    let (saturate, bits) = (has(i, ".satfinite"), bit_op(i));
    let rounding = Flags::of(i).rounding();
    let shape = Shape {
        m,
        n,
        k,
        a,
        b,
        c,
        d,
        saturate,
        rounding,
        bits,
        layout,
    };
    let [rd, ra, rb, rc] = [
        fragment(e, &operands[0], d, registers(&shape, Part::C, d), true)?,
        fragment(e, &operands[1], a, registers(&shape, Part::A, a), false)?,
        fragment(e, &operands[2], b, registers(&shape, Part::B, b), false)?,
        fragment(e, &operands[3], c, registers(&shape, Part::C, c), false)?,
    ];
    let op = Multiply {
        shape,
        a: ra,
        b: rb,
        c: rc,
        d: rd,
    };
    push(e, MatrixOp::Multiply(Box::new(op)), guard);
    Ok(())
}

fn memory(address: Address, access: Access, ty: ScalarType) -> MemoryOp {
    MemoryOp {
        access,
        address,
        ty,
        registers: SmallVec::new(),
        sources: SmallVec::new(),
        order: Order::Weak,
        scope: Scope::Block,
        constant: false,
    }
}

fn matrices(i: &Instruction) -> usize {
    if has(i, ".x4") {
        4
    } else if has(i, ".x2") {
        2
    } else {
        1
    }
}

/// `ldmatrix`.
pub(crate) fn ldmatrix(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let planes = fragment(e, &operands[0], ScalarType::B32, matrices(i), true)?;
    let address = e.address(&operands[1], space(i))?;
    let mut memory = memory(address, Access::Load, ScalarType::B32);
    memory.registers = planes
        .iter()
        .map(|p| {
            Some(Reg {
                plane: *p,
                planes: 1,
            })
        })
        .collect();
    push(
        e,
        MatrixOp::Load {
            memory,
            transposed: has(i, ".trans"),
        },
        guard,
    );
    Ok(())
}

/// `stmatrix`.
pub(crate) fn stmatrix(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let address = e.address(&operands[0], space(i))?;
    let planes = fragment(e, &operands[1], ScalarType::B32, matrices(i), false)?;
    let mut memory = memory(address, Access::Store, ScalarType::B32);
    memory.registers = planes
        .iter()
        .map(|p| {
            Some(Reg {
                plane: *p,
                planes: 1,
            })
        })
        .collect();
    push(
        e,
        MatrixOp::Store {
            memory,
            transposed: has(i, ".trans"),
        },
        guard,
    );
    Ok(())
}

/// `movmatrix`.
pub(crate) fn movmatrix(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 2)?;
    let d = e.dst(&operands[0], ScalarType::B32)?.plane;
    let a = e.src(&operands[1], ScalarType::B32)?.plane;
    push(e, MatrixOp::Transpose { d, a }, guard);
    Ok(())
}

/// Registers of a fragment of `wmma` (PTX manual, "Matrix Fragments for WMMA").
fn wmma_registers(shape: &Shape, part: Part, ty: ScalarType) -> usize {
    let (rows, columns) = shape.extent(part);
    // An f16 fragment of A or B holds every element twice.
    if ty == ScalarType::F16 && part != Part::C {
        return 8;
    }
    (rows * columns).div_ceil(32 * Shape::packed(ty)).max(1)
}

fn wmma_shape(e: &Emitter<'_>, i: &Instruction, ty: ScalarType) -> Result<Shape> {
    let Some((m, n, k)) = extents(i) else {
        return Err(e.wrong(i.span, "`wmma` needs a shape"));
    };
    let (saturate, bits, layout) = (has(i, ".satfinite"), bit_op(i), Layout::Dealt);
    let rounding = Flags::of(i).rounding();
    Ok(Shape {
        m,
        n,
        k,
        a: ty,
        b: ty,
        c: ty,
        d: ty,
        saturate,
        rounding,
        bits,
        layout,
    })
}

/// `wmma.load` and `wmma.store`.
pub(crate) fn wmma_memory(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let load = has(i, ".load");
    let Some(ty) = types(i).last().copied() else {
        return Err(e.wrong(i.span, "`wmma` needs a type"));
    };
    let shape = wmma_shape(e, i, ty)?;
    let part = if has(i, ".a") {
        Part::A
    } else if has(i, ".b") {
        Part::B
    } else {
        Part::C
    };
    let [first, second, stride @ ..] = &i.operands[..] else {
        return Err(e.wrong(i.span, "`wmma` needs registers and an address"));
    };
    let (registers, address) = if load {
        (first, second)
    } else {
        (second, first)
    };
    let address = e.address(address, space(i))?;
    let count = wmma_registers(&shape, part, ty);
    let mut regs = SmallVec::new();
    for element in e.exactly(registers, count)? {
        let ty = holder(ty);
        regs.push(if load {
            e.dst(element, ty)?
        } else {
            e.src(element, ty)?
        });
    }
    let stride = match stride.first() {
        Some(s) => Some(e.src(s, ScalarType::U32)?.plane),
        None => None,
    };
    let element = match ty.bits() {
        8 => ScalarType::B8,
        16 => ScalarType::B16,
        64 => ScalarType::B64,
        // Or the eight or 32 elements of a register, side by side.
        _ => ScalarType::B32,
    };
    let access = if load { Access::Load } else { Access::Store };
    let mut memory = memory(address, access, element);
    memory.registers = smallvec![Some(e.fresh(element))];
    let column_major = has(i, ".col");
    let op = Fragment {
        shape,
        part,
        ty,
        column_major,
        registers: regs,
        memory,
        stride,
    };
    push(e, MatrixOp::Fragment(Box::new(op)), guard);
    Ok(())
}

/// `wmma.mma`.
pub(crate) fn wmma_mma(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 4)?;
    let (d, a, b, c) = match types(i)[..] {
        [d, c] => (d, ScalarType::F16, ScalarType::F16, c),
        [d, a, b, c] => (d, a, b, c),
        _ => return Err(e.wrong(i.span, "`wmma.mma` needs two or four types")),
    };
    let shape = Shape {
        a,
        b,
        c,
        d,
        ..wmma_shape(e, i, a)?
    };
    let [rd, ra, rb, rc] = [
        fragment(e, &operands[0], d, wmma_registers(&shape, Part::C, d), true)?,
        fragment(
            e,
            &operands[1],
            a,
            wmma_registers(&shape, Part::A, a),
            false,
        )?,
        fragment(
            e,
            &operands[2],
            b,
            wmma_registers(&shape, Part::B, b),
            false,
        )?,
        fragment(
            e,
            &operands[3],
            c,
            wmma_registers(&shape, Part::C, c),
            false,
        )?,
    ];
    let op = Multiply {
        shape,
        a: ra,
        b: rb,
        c: rc,
        d: rd,
    };
    push(e, MatrixOp::Multiply(Box::new(op)), guard);
    Ok(())
}
