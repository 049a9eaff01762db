//! `wgmma`: products of four warps with operands in shared memory.
//!
//! Each warp computes its own sixteen rows, so nothing but the instruction's own `.aligned`
//! is waited for. The product is made when it is issued, a legal moment: its operands must not
//! change, and its result must not be looked at, before the wait.

use super::asynchronous::{AsyncOp, push};
use super::emit::{Emitter, Result};
use super::program::*;
use super::sync::SyncOp;
use crate::isa::Work;
use crate::ptx::ast::{Instruction, Number, Operand, OperandKind};
use crate::ptx::types::{ScalarType, Space};

/// Element types of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    S8,
    U8,
    B1,
}

impl Element {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            ".f16" => Self::F16,
            ".bf16" => Self::Bf16,
            ".tf32" => Self::Tf32,
            ".e4m3" => Self::E4m3,
            ".e5m2" => Self::E5m2,
            ".s8" => Self::S8,
            ".u8" => Self::U8,
            ".b1" => Self::B1,
            _ => return None,
        })
    }

    /// Bytes of one element, or of [`Element::packed`] single bits.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::Tf32 => 4,
            Self::E4m3 | Self::E5m2 | Self::S8 | Self::U8 | Self::B1 => 1,
        }
    }

    /// Elements in those bytes.
    pub(crate) fn packed(self) -> usize {
        match self {
            Self::B1 => 8,
            _ => 1,
        }
    }

    /// Whether sums are s32.
    pub(crate) fn integer(self) -> bool {
        matches!(self, Self::S8 | Self::U8 | Self::B1)
    }
}

/// Where A comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Registers, as in `mma`.
    Registers(Vec<u16>),
    /// Shared memory behind a descriptor.
    Descriptor(Reg),
}

/// One product.
#[derive(Clone, Debug)]
pub(crate) struct WgmmaOp {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a_type: Element,
    pub(crate) b_type: Element,
    /// Sums in pairs of f16.
    pub(crate) d_half: bool,
    pub(crate) saturate: bool,
    pub(crate) d: Vec<u16>,
    pub(crate) a: Source,
    pub(crate) b: Reg,
    /// Where this predicate is false, the old sums count as zero.
    pub(crate) keep: u16,
    pub(crate) negate_a: bool,
    pub(crate) negate_b: bool,
    /// Rows (columns) of the matrix follow each other in memory instead of k.
    pub(crate) transpose_a: bool,
    pub(crate) transpose_b: bool,
    /// A read of 16 bytes of an operand.
    pub(crate) memory: MemoryOp,
}

fn has(i: &Instruction, modifier: &str) -> bool {
    i.modifiers.iter().any(|m| m.text == modifier)
}

fn read(e: &mut Emitter<'_>) -> MemoryOp {
    let scratch = e.fresh(ScalarType::B128);
    super::asynchronous::access(Access::Load, Space::Shared, ScalarType::B128, scratch)
}

fn constant(e: &Emitter<'_>, operand: &Operand) -> Result<i64> {
    match operand.kind {
        OperandKind::Number(Number::Integer(v)) => Ok(v as i64),
        _ => Err(e.wrong(operand.span, "a constant is needed here")),
    }
}

/// `n` and `k` of `.m64n…k…`.
fn extent(i: &Instruction) -> Option<(usize, usize)> {
    i.modifiers.iter().find_map(|m| {
        let (n, k) = m.text.strip_prefix(".m64n")?.split_once('k')?;
        let (n, k) = (n.parse().ok()?, k.parse().ok()?);
        (n % 8 == 0 && (8..=256).contains(&n)).then_some((n, k))
    })
}

/// `wgmma.mma_async`.
pub(crate) fn multiply(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let guard = e.guard(i)?;
    let unsupported = |e: &Emitter<'_>| e.unsupported(i.span, format!("`{}`", i.mnemonic()));
    let types: Vec<Element> = (i.modifiers.iter().rev())
        .filter_map(|m| Element::from_name(&m.text))
        .take(2)
        .collect();
    let ([b_type, a_type], Some((n, k))) = (&types[..], extent(i)) else {
        return Err(unsupported(e));
    };
    let (a_type, b_type) = (*a_type, *b_type);
    if k * a_type.bytes() != 32 * a_type.packed() {
        return Err(unsupported(e));
    }
    let d_half = !a_type.integer() && !has(i, ".f32");
    let [d, a, b, flags @ ..] = i.operands.as_slice() else {
        return Err(e.wrong(i.span, "`wgmma.mma_async` takes results, A, B and scales"));
    };
    let (word, count) = match (d_half, a_type.integer()) {
        (true, _) => (ScalarType::B32, n / 4),
        (_, true) => (ScalarType::S32, n / 2),
        _ => (ScalarType::F32, n / 2),
    };
    let mut planes = Vec::new();
    for register in e.exactly(d, count)? {
        planes.push(e.dst(register, word)?.plane);
    }
    let source = if let OperandKind::Vector(_) = a.kind {
        let mut registers = Vec::new();
        for register in e.exactly(a, 4)? {
            registers.push(e.src(register, ScalarType::B32)?.plane);
        }
        Source::Registers(registers)
    } else {
        Source::Descriptor(e.src(a, ScalarType::B64)?)
    };
    let b = e.src(b, ScalarType::B64)?;
    // With A in registers only B has a transposition.
    let in_memory = matches!(source, Source::Descriptor(_));
    let constants = match (a_type.integer(), a_type.bytes()) {
        (true, _) => 0,
        (_, 2) => 3 + usize::from(in_memory),
        _ => 2,
    };
    let [keep, rest @ ..] = flags else {
        return Err(e.wrong(
            i.span,
            "`wgmma.mma_async` needs a predicate for the old sums",
        ));
    };
    if rest.len() != constants {
        let message = format!(
            "after the predicate stand {constants} constants: two scales of floating-point types, \
             and transpositions of what types of 16 bits have in shared memory"
        );
        return Err(e.wrong(i.span, message));
    }
    let keep = e.src(keep, ScalarType::Pred)?.plane;
    let scales: Vec<i64> = (rest.iter())
        .map(|s| constant(e, s))
        .collect::<Result<_>>()?;
    for (index, (scale, operand)) in scales.iter().zip(rest).enumerate() {
        let (allowed, message) = match index {
            0 | 1 => ([-1, 1], "a scale is 1 or -1"),
            _ => ([0, 1], "a transposition is 0 or 1"),
        };
        if !allowed.contains(scale) {
            return Err(e.wrong(operand.span, message));
        }
    }
    let at = |index: usize, default: i64| scales.get(index).copied().unwrap_or(default);
    let (transpose_a, transpose_b) = if in_memory {
        (at(2, 0) != 0, at(3, 0) != 0)
    } else {
        (false, at(2, 0) != 0)
    };
    let op = WgmmaOp {
        n,
        k,
        a_type,
        b_type,
        d_half,
        saturate: has(i, ".satfinite"),
        d: planes,
        a: source,
        b,
        keep,
        negate_a: at(0, 1) < 0,
        negate_b: at(1, 1) < 0,
        transpose_a,
        transpose_b,
        memory: read(e),
    };
    e.begin(i, Work::of(i));
    let mask = e.bits(ScalarType::B32, u64::from(u32::MAX)).plane;
    let index = e.program.syncs.len() as u32;
    e.program.syncs.push(SyncOp::Warp { mask });
    e.push_extra(Op::Sync(index));
    push(e, AsyncOp::Wgmma(Box::new(op)), guard);
    Ok(())
}
