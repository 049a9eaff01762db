//! Bulk copies, linear and of tensors; stores that complete bytes at an mbarrier.

use super::asynchronous::{AsyncOp, access, has, literal, push, without_policy};
use super::emit::{Emitter, Result};
use super::memory;
use super::program::*;
use crate::ptx::ast::{Instruction, Operand, OperandKind};
use crate::ptx::types::{ScalarType, Space};
use crate::tensor_map::Field;
use smallvec::SmallVec;

/// `cp.async.bulk` and `cp.reduce.async.bulk`, in pieces of 16 bytes.
#[derive(Clone, Debug)]
pub(crate) struct BulkOp {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) size: u16,
    pub(crate) load: MemoryOp,
    pub(crate) store: MemoryOp,
    /// What is done to each element of the destination, if it is not replaced.
    pub(crate) reduce: Option<Reduction>,
    /// The mbarrier that expects the bytes.
    pub(crate) barrier: Option<Address>,
    /// The plane with the mask of the blocks of the cluster that get the bytes.
    pub(crate) multicast: Option<u16>,
    pub(crate) registers: Scratch,
}

/// An atomic on the elements of a destination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reduction {
    pub(crate) what: Atomic,
    /// The type of an element; for tensors that of the tensor map counts.
    pub(crate) ty: ScalarType,
}

/// Registers through which a copy goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch {
    /// 16 bytes as they were loaded.
    pub(crate) piece: Reg,
    /// 16 bytes put together from elements.
    pub(crate) parts: Reg,
    /// One element of up to 8 bytes.
    pub(crate) element: Reg,
}

/// What a tensor copy does.
#[derive(Clone, Debug)]
pub(crate) enum Motion {
    /// Into shared memory; the mbarrier expects the bytes.
    Load {
        barrier: Address,
        multicast: Option<u16>,
    },
    /// Out of it.
    Store,
    /// Out of it, by atomics.
    Reduce(Atomic),
}

/// `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor`.
#[derive(Clone, Debug)]
pub(crate) struct TensorOp {
    pub(crate) map: Address,
    /// Planes with the tile's first coordinates, the innermost first.
    pub(crate) coordinates: SmallVec<[u16; 5]>,
    /// In shared memory.
    pub(crate) tile: Address,
    pub(crate) motion: Motion,
    pub(crate) load: MemoryOp,
    pub(crate) store: MemoryOp,
    pub(crate) registers: Scratch,
}

/// `st.async` and `red.async`.
#[derive(Clone, Debug)]
pub(crate) struct RemoteOp {
    pub(crate) memory: MemoryOp,
    pub(crate) barrier: Address,
}

/// `tensormap.replace`.
#[derive(Clone, Debug)]
pub(crate) struct ReplaceOp {
    pub(crate) map: Address,
    pub(crate) field: Field,
    pub(crate) value: Reg,
    pub(crate) load: MemoryOp,
    pub(crate) store: MemoryOp,
}

/// `tensormap.cp_fenceproxy`.
#[derive(Clone, Debug)]
pub(crate) struct CopyMapOp {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) load: MemoryOp,
    pub(crate) store: MemoryOp,
}

impl Scratch {
    fn new(e: &mut Emitter<'_>) -> Self {
        Self {
            piece: e.fresh(ScalarType::B128),
            parts: e.fresh(ScalarType::B128),
            element: e.fresh(ScalarType::B64),
        }
    }
}

fn whole(kind: Access, space: Space, register: Reg) -> MemoryOp {
    access(kind, space, ScalarType::B128, register)
}

/// The access as reductions make it.
fn atomic(what: Atomic, op: MemoryOp) -> MemoryOp {
    MemoryOp {
        access: Access::Atomic(what),
        order: Order::Relaxed,
        scope: Scope::Device,
        ..op
    }
}

fn reduction(i: &Instruction) -> Option<Atomic> {
    i.modifiers.iter().find_map(|m| {
        Some(match m.text.as_str() {
            ".add" => Atomic::CopyAdd,
            ".min" => Atomic::Min,
            ".max" => Atomic::Max,
            ".inc" => Atomic::Inc,
            ".dec" => Atomic::Dec,
            ".and" => Atomic::And,
            ".or" => Atomic::Or,
            ".xor" => Atomic::Xor,
            _ => return None,
        })
    })
}

/// The space after `.bulk`: destination, then source.
fn spaces(i: &Instruction) -> (Space, Space) {
    let mut named = i.modifiers.iter().filter_map(|m| match m.text.as_str() {
        ".global" => Some(Space::Global),
        ".shared::cta" | ".shared::cluster" => Some(Space::Shared),
        _ => None,
    });
    let destination = named.next().unwrap_or(Space::Shared);
    (destination, named.next().unwrap_or(Space::Global))
}

/// `cp.async.bulk` and `cp.reduce.async.bulk`.
pub(crate) fn linear(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let (to, from) = spaces(i);
    let lands = to == Space::Shared;
    let casts = has(i, ".multicast::cluster");
    let operands = without_policy(i);
    let wanted = 3 + usize::from(lands) + usize::from(casts);
    if operands.len() != wanted {
        return Err(e.wrong(
            i.span,
            "a bulk copy takes destination, source and size; into shared memory an mbarrier, and \
             for several blocks their mask",
        ));
    }
    let destination = e.address(&operands[0], to)?;
    let source = e.address(&operands[1], from)?;
    let size = e.src(&operands[2], ScalarType::B32)?.plane;
    let barrier = lands
        .then(|| e.address(&operands[3], Space::Shared))
        .transpose()?;
    let multicast = casts
        .then(|| e.src(&operands[4], ScalarType::U16).map(|r| r.plane))
        .transpose()?;
    let reduce = (i.modifiers[0].text == ".reduce").then(|| {
        let named = |m: &crate::ptx::ast::Name| ScalarType::from_name(&m.text[1..]);
        let ty = i.modifiers.iter().rev().find_map(named);
        reduction(i).zip(ty)
    });
    let reduce = match reduce {
        None => None,
        Some(Some((what, ty))) => Some(Reduction { what, ty }),
        Some(None) => return Err(e.wrong(i.span, "this reduction names no operation and type")),
    };
    if reduce.is_some() && to == Space::Global {
        e.program.communicates = true;
    }
    let registers = Scratch::new(e);
    let mut store = whole(Access::Store, to, registers.piece);
    if let Some(reduction) = reduce {
        store = atomic(reduction.what, store);
    }
    let op = BulkOp {
        source,
        destination,
        size,
        load: whole(Access::Load, from, registers.piece),
        store,
        reduce,
        barrier,
        multicast,
        registers,
    };
    push(e, AsyncOp::Bulk(Box::new(op)), guard);
    Ok(())
}

/// `[map, {x, y}]`: the tensor map's address and the planes of the coordinates.
fn position(
    e: &mut Emitter<'_>,
    i: &Instruction,
    operand: &Operand,
) -> Result<(Address, SmallVec<[u16; 5]>)> {
    let rank = i.modifiers.iter().find_map(|m| match m.text.as_bytes() {
        [b'.', n @ b'1'..=b'5', b'd'] => Some(usize::from(n - b'0')),
        _ => None,
    });
    let (Some(rank), OperandKind::Address(parts)) = (rank, &operand.kind) else {
        return Err(e.wrong(operand.span, "`[tensor map, {coordinates}]` is needed here"));
    };
    let [map, coordinates] = parts.as_slice() else {
        return Err(e.wrong(operand.span, "`[tensor map, {coordinates}]` is needed here"));
    };
    let map = e.address_of(map, Space::Generic)?;
    let mut planes = SmallVec::new();
    for coordinate in e.exactly(coordinates, rank)? {
        planes.push(e.src(coordinate, ScalarType::S32)?.plane);
    }
    Ok((map, planes))
}

/// `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor`.
pub(crate) fn tensor(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = without_policy(i);
    let lands = spaces(i).0 == Space::Shared;
    let casts = has(i, ".multicast::cluster");
    let (tile, at, motion) = match operands {
        [tile, at, barrier, mask @ ..] if lands && mask.len() == usize::from(casts) => {
            let barrier = e.address(barrier, Space::Shared)?;
            let multicast = match mask {
                [mask] => Some(e.src(mask, ScalarType::U16)?.plane),
                _ => None,
            };
            (tile, at, Motion::Load { barrier, multicast })
        }
        [at, tile] if !lands => match reduction(i) {
            Some(what) => (tile, at, Motion::Reduce(what)),
            None => (tile, at, Motion::Store),
        },
        _ => {
            return Err(e.wrong(
                i.span,
                "a tensor copy takes a tile and `[tensor map, {coordinates}]`; into shared memory \
                 also an mbarrier, and for several blocks their mask",
            ));
        }
    };
    let (map, coordinates) = position(e, i, at)?;
    let tile = e.address(tile, Space::Shared)?;
    if matches!(motion, Motion::Reduce(_)) {
        e.program.communicates = true;
    }
    let registers = Scratch::new(e);
    let (from, to) = if lands {
        (Space::Global, Space::Shared)
    } else {
        (Space::Shared, Space::Global)
    };
    let mut store = whole(Access::Store, to, registers.piece);
    if let Motion::Reduce(what) = motion {
        store = atomic(what, store);
    }
    let op = TensorOp {
        map,
        coordinates,
        tile,
        motion,
        load: whole(Access::Load, from, registers.piece),
        store,
        registers,
    };
    push(e, AsyncOp::Tensor(Box::new(op)), guard);
    Ok(())
}

/// `cp.async.bulk.prefetch.tensor`: nothing that could be seen, but its operands must be right.
pub(crate) fn prefetch(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let [at] = without_policy(i) else {
        return Err(e.wrong(i.span, "`[tensor map, {coordinates}]` is needed"));
    };
    position(e, i, at)?;
    e.push(Op::Nothing, guard);
    Ok(())
}

/// `st.async` and `red.async`.
pub(crate) fn remote(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 3)?;
    let count = [(".v2", 2), (".v4", 4)]
        .into_iter()
        .find(|(m, _)| has(i, m));
    let count = count.map_or(1, |(_, n)| n);
    let named = |m: &crate::ptx::ast::Name| ScalarType::from_name(&m.text[1..]);
    let Some(ty) = i.modifiers.iter().rev().find_map(named) else {
        return Err(e.wrong(i.span, "this store names no type"));
    };
    let mut values = SmallVec::<[Reg; 2]>::new();
    for value in e.exactly(&operands[1], count)? {
        values.push(e.src(value, ty)?);
    }
    let what = if i.opcode.text == "red" {
        reduction(i)
    } else {
        None
    };
    let space = memory::space(i);
    let mut memory = access(Access::Store, space, ty, values[0]);
    memory.address = e.address(&operands[0], space)?;
    match what {
        Some(what) => {
            memory.access = Access::Atomic(what);
            memory.registers = smallvec::smallvec![None; count];
            memory.sources = values;
            memory.scope = Scope::Cluster;
        }
        None => memory.registers = values.into_iter().map(Some).collect(),
    }
    memory.order = Order::Relaxed;
    let barrier = e.address(&operands[2], space)?;
    push(
        e,
        AsyncOp::Remote(Box::new(RemoteOp { memory, barrier })),
        guard,
    );
    Ok(())
}

/// `tensormap.replace`.
pub(crate) fn replace(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let indexed = i.operands.len() == 3;
    let dimension = if indexed {
        let ordinal = literal(e, &i.operands[1])? as usize;
        let most = if has(i, ".global_stride") { 3 } else { 4 };
        if ordinal > most {
            return Err(e.wrong(i.operands[1].span, "a tensor has at most 5 dimensions"));
        }
        ordinal
    } else {
        e.operands(i, 2)?;
        0
    };
    let fields = [
        (".global_address", Field::Address, false),
        (".rank", Field::Rank, false),
        (".box_dim", Field::Tile(dimension), true),
        (".global_dim", Field::Size(dimension), true),
        (".global_stride", Field::Stride(dimension), true),
        (".element_stride", Field::ElementStride(dimension), true),
        (".elemtype", Field::DataType, false),
        (".interleave_layout", Field::Interleave, false),
        (".swizzle_mode", Field::Swizzle, false),
        (".fill_mode", Field::Fill, false),
    ];
    let field = fields.into_iter().find(|(name, _, _)| has(i, name));
    let Some((_, field, _)) = field.filter(|(_, _, wants)| *wants == indexed) else {
        return Err(e.wrong(i.span, "this field takes other operands"));
    };
    let wide = has(i, ".b64");
    let ty = if wide {
        ScalarType::B64
    } else {
        ScalarType::B32
    };
    let value = e.src(&i.operands[i.operands.len() - 1], ty)?;
    let map = e.address(&i.operands[0], memory::space(i))?;
    let piece = e.fresh(ScalarType::B128);
    let op = ReplaceOp {
        map,
        field,
        value,
        load: whole(Access::Load, map.space, piece),
        store: whole(Access::Store, map.space, piece),
    };
    push(e, AsyncOp::Replace(Box::new(op)), guard);
    Ok(())
}

/// `tensormap.cp_fenceproxy`: a tensor map from shared to device memory, and a fence.
pub(crate) fn copy_map(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let operands = e.operands(i, 3)?;
    if literal(e, &operands[2])? != crate::tensor_map::BYTES as u32 {
        return Err(e.wrong(operands[2].span, "a tensor map has 128 bytes"));
    }
    let destination = e.address(&operands[0], Space::Global)?;
    let source = e.address(&operands[1], Space::Shared)?;
    let piece = e.fresh(ScalarType::B128);
    let op = CopyMapOp {
        source,
        destination,
        load: whole(Access::Load, Space::Shared, piece),
        store: whole(Access::Store, Space::Global, piece),
    };
    push(e, AsyncOp::CopyMap(Box::new(op)), guard);
    e.push(
        Op::Fence {
            scope: Scope::Device,
            between: Between::Maps,
        },
        guard,
    );
    Ok(())
}
