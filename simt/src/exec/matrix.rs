//! Matrix instructions of a warp.

use super::access::{self, addresses, shared_inside, window_of};
use super::block::Block;
use super::fault::{FaultKind, Raised};
use super::misc::{get, set};
use super::observer::{AccessEvent, At, Known, Observer};
use super::pattern::Pattern;
use super::registers::{LANES, Registers};
use super::step::{Env, bits};
use super::warp::Warp;
use crate::isa::meaning::matrix::*;
use crate::lower::matrix::{Fragment, MatrixOp, Multiply};
use crate::lower::program::MemoryOp;
use crate::memory::Store;
use crate::ptx::types::{ScalarType, Space};
use pulp::NullaryFnOnce;

/// Executes one matrix instruction. All lanes of the warp take part, as `.aligned` demands.
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MatrixOp,
    at: At,
) -> Result<(), Raised> {
    match op {
        MatrixOp::Multiply(op) => {
            env.arch.dispatch(Product {
                op,
                registers: &mut warp.registers,
                mask: at.mask,
            });
            Ok(())
        }
        MatrixOp::Load { memory, transposed } => {
            load(env, block, warp, observer, memory, *transposed, at)
        }
        MatrixOp::Store { memory, transposed } => {
            store(env, block, warp, observer, memory, *transposed, at)
        }
        MatrixOp::Transpose { d, a } => {
            let from = *warp.registers.narrow(*a);
            let half = |row: usize, column: usize| {
                from[row * 4 + column / 2] >> (16 * (column % 2)) & 0xffff
            };
            let out = warp.registers.narrow_mut(*d);
            for lane in bits(at.mask) {
                let (row, column) = (lane / 4, 2 * (lane % 4));
                out[lane] = half(column, row) | half(column + 1, row) << 16;
            }
            Ok(())
        }
        MatrixOp::Fragment(op) => fragment(env, block, warp, observer, op, at),
    }
}

/// The shared-memory addresses of the rows: lane `8·matrix + row` gives each.
fn rows<O: Observer>(
    env: &Env<'_>,
    block: &Block,
    warp: &Warp,
    observer: &mut O,
    op: &MemoryOp,
    write: bool,
    at: At,
) -> Result<[u64; LANES], Raised> {
    let mut rows = addresses(warp, &op.address);
    let count = 8 * op.registers.len();
    let givers = if count == LANES {
        u32::MAX
    } else {
        (1 << count) - 1
    };
    let (mut ends, mut least, mut most) = (0, u64::MAX, 0);
    for row in rows.iter().take(count) {
        (ends, least, most) = (ends | row, least.min(*row), most.max(*row));
    }
    let good = op.address.space != Space::Generic
        && ends & 15 == 0
        && least >= crate::lower::SHARED_START
        && most.saturating_add(16) <= block.shared.len() as u64;
    // One by one only to tell which is wrong.
    for lane in bits(if good { 0 } else { givers }) {
        if op.address.space == Space::Generic {
            let (space, low) = window_of(rows[lane]);
            if space != Space::Shared {
                let (named, address) = (Space::Shared, rows[lane]);
                let kind = FaultKind::WrongSpace {
                    named,
                    address,
                    actual: space,
                };
                return Err(Raised::new(kind, lane as u32));
            }
            rows[lane] = low;
        }
        if !rows[lane].is_multiple_of(16) {
            let kind = FaultKind::Misaligned {
                space: Space::Shared,
                address: rows[lane],
                bytes: 16,
            };
            return Err(Raised::new(kind, lane as u32));
        }
        shared_inside(env, block, rows[lane], 16, write, lane)?;
    }
    if O::ACTIVE {
        let at = At { mask: givers, ..at };
        let space = Space::Shared;
        observer.access(&AccessEvent {
            at,
            op,
            space,
            offsets: &rows,
            pattern: Pattern::of(&rows, givers),
            allocation: None,
            bytes: 16,
            registers: &warp.registers,
            memory: Some(&block.shared),
        });
    }
    Ok(rows)
}

fn load<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    transposed: bool,
    at: At,
) -> Result<(), Raised> {
    let rows = rows(env, block, warp, observer, op, false, at)?;
    let shared = &block.shared;
    for (rows, reg) in rows.as_chunks::<8>().0.iter().zip(&op.registers) {
        let Some(reg) = reg else { continue };
        let matrix = rows.map(|row| shared.row(row));
        let half = |row: usize, column: usize| {
            let bytes = &matrix[row].as_chunks::<2>().0[column];
            u32::from(u16::from_le_bytes(*bytes))
        };
        let mut values = [0; LANES];
        for (lane, value) in values.iter_mut().enumerate() {
            let (row, column) = (lane / 4, 2 * (lane % 4));
            *value = if transposed {
                half(column, row) | half(column + 1, row) << 16
            } else {
                half(row, column) | half(row, column + 1) << 16
            };
        }
        let out = warp.registers.narrow_mut(reg.plane);
        bits(at.mask).for_each(|lane| out[lane] = values[lane]);
    }
    if !O::ACTIVE {
        return Ok(());
    }
    let mut givers = rows.iter().take(8 * op.registers.len());
    if givers.all(|row| shared.written_range(*row, 16)) {
        observer.loaded_whole(at, op);
        return Ok(());
    }
    for (matrix, _) in op.registers.iter().enumerate().filter(|(_, r)| r.is_some()) {
        let mut known: Known = [u16::MAX; LANES];
        for lane in bits(at.mask) {
            let (row, column) = (lane / 4, 2 * (lane % 4));
            known[lane] = if transposed {
                let place = |r: usize| rows[8 * matrix + r] as usize + 2 * row;
                let (low, high) = (place(column), place(column + 1));
                (shared.written(low, 2) | shared.written(high, 2) << 2) as u16
            } else {
                let place = rows[8 * matrix + row] as usize + 2 * column;
                shared.written(place, 4) as u16
            };
        }
        observer.loaded(at, op, matrix, &known);
    }
    Ok(())
}

fn store<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    transposed: bool,
    at: At,
) -> Result<(), Raised> {
    let rows = rows(env, block, warp, observer, op, true, at)?;
    for (matrix, reg) in op.registers.iter().enumerate() {
        let Some(reg) = reg else { continue };
        let values = *warp.registers.narrow(reg.plane);
        let known = if O::ACTIVE {
            observer.stored(at, op, matrix)
        } else {
            [u16::MAX; LANES]
        };
        let shared = &mut block.shared;
        for lane in bits(at.mask) {
            let (row, column) = (lane / 4, 2 * (lane % 4));
            for half in 0..2 {
                let (r, c) = if transposed {
                    (column + half, row)
                } else {
                    (row, column + half)
                };
                let place = rows[8 * matrix + r] as usize + 2 * c;
                shared.store(place, 2, u64::from(values[lane] >> (16 * half) & 0xffff));
                if O::ACTIVE {
                    shared.mark(place, 2, u32::from(known[lane]) >> (2 * half) & 3);
                }
            }
        }
    }
    Ok(())
}

/// `wmma.load` and `wmma.store`, one element of every lane at a time.
fn fragment<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &Fragment,
    at: At,
) -> Result<(), Raised> {
    let base = addresses(warp, &op.memory.address);
    let (rows, columns) = op.shape.extent(op.part);
    let stride = op.stride.map(|s| *warp.registers.narrow(s));
    let count = op.registers.len();
    let per = Shape::packed(op.ty);
    // Elements of less than a byte go by whole registers.
    let narrow = op.ty.bits() < 8;
    let width = if narrow {
        op.ty.bits()
    } else {
        op.memory.ty.bits()
    };
    let load = op.memory.access == crate::lower::program::Access::Load;
    let Some(Some(one)) = op.memory.registers.first().copied() else {
        return Ok(());
    };
    for (r, reg) in op.registers.iter().enumerate() {
        for i in 0..if narrow { 1 } else { per } {
            let targets = std::array::from_fn(|lane| {
                let (row, column) = op.shape.position(op.part, per, lane, r, i, count);
                let dense = if op.column_major { rows } else { columns } as u64;
                let step = stride.map_or(dense, |s| u64::from(s[lane]));
                let element = if op.column_major {
                    column as u64 * step + row as u64
                } else {
                    row as u64 * step + column as u64
                };
                base[lane].wrapping_add(element.wrapping_mul(u64::from(width)) / 8)
            });
            let shift = (i as u32 * op.ty.bits()).min(31);
            let keep = if narrow || op.ty.bits() >= 32 {
                u64::MAX
            } else {
                (1 << op.ty.bits()) - 1
            };
            if load {
                access::execute_at(env, block, warp, observer, &op.memory, at, targets)?;
                for lane in bits(at.mask) {
                    let part = get(warp, one, lane) & keep;
                    let old = if i == 0 { 0 } else { get(warp, *reg, lane) };
                    set(warp, *reg, lane, old | part << shift);
                }
            } else {
                for lane in bits(at.mask) {
                    let value = get(warp, *reg, lane) >> shift & keep;
                    set(warp, one, lane, value);
                }
                access::execute_at(env, block, warp, observer, &op.memory, at, targets)?;
            }
        }
    }
    Ok(())
}

/// A multiplication, compiled for the vector units of the host.
struct Product<'a> {
    op: &'a Multiply,
    registers: &'a mut Registers,
    mask: u32,
}

impl NullaryFnOnce for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Product {
            op,
            registers,
            mask,
        } = self;
        match op.shape.a {
            ScalarType::F64 => double(op, registers, mask),
            ScalarType::F16
            | ScalarType::BF16
            | ScalarType::TF32
            | ScalarType::E4M3
            | ScalarType::E5M2 => single(op, registers, mask),
            _ => integer(op, registers, mask),
        }
    }
}

/// The largest fragment in elements: m16n8k256 on single bits.
const MOST: usize = 4096;

/// Calls `f` with every element of a fragment: its bits and where it stands in the matrix.
#[inline(always)]
fn each(
    op: &Multiply,
    registers: &Registers,
    part: Part,
    ty: ScalarType,
    lanes: std::ops::Range<usize>,
    mut f: impl FnMut(usize, usize, u32),
) {
    let planes = match part {
        Part::A => &op.a,
        Part::B => &op.b,
        Part::C => &op.c,
    };
    let per = Shape::packed(ty);
    let width = ty.bits().min(32);
    for (r, plane) in planes.iter().enumerate() {
        let values = registers.narrow(*plane);
        for i in 0..per {
            for lane in lanes.clone() {
                let (row, column) = op.shape.position(part, per, lane, r, i, planes.len());
                let bits = values[lane] >> (i as u32 * width % 32);
                f(row, column, bits);
            }
        }
    }
}

/// The lanes of each multiplication: all, or the four pairs of quads.
fn groups(op: &Multiply) -> usize {
    if matches!(op.shape.layout, Layout::Quads { .. }) {
        4
    } else {
        1
    }
}

fn takes_part(op: &Multiply, group: usize, lane: usize) -> bool {
    groups(op) == 1 || lane % 16 / 4 == group
}

/// Puts a value of each lane where `start + g·down + t·along` says, `g` and `t` as in the layouts.
#[inline(always)]
fn deal(values: &[f32; LANES], to: &mut [f32; 512], start: usize, down: usize, along: usize) {
    for g in 0..8 {
        for t in 0..4 {
            to[(start + g * down + t * along) % 512] = values[4 * g + t];
        }
    }
}

/// One element of each lane, of a register that holds several.
#[inline(always)]
fn element(values: &[u32; LANES], shift: usize, widen: impl Fn(u32) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = widen(values[lane] >> shift);
    }
    out
}

/// The multiplications of m16n8 in the regular layout, whose positions are the formulas of
/// [`Shape::position`] with the lane taken apart.
#[inline(always)]
fn regular(op: &Multiply, registers: &mut Registers, mask: u32, widen: impl Fn(u32) -> f32) {
    const N: usize = 8;
    let s = op.shape;
    let k = s.k;
    let mut a = [0f32; 512];
    let mut b = [0f32; 512];
    let mut acc = [0f32; 512];
    let per = Shape::packed(s.a);
    let width = 32 / per;
    for (r, plane) in op.a.iter().enumerate() {
        for i in 0..per {
            let values = element(registers.narrow(*plane), i * width, &widen);
            let start = 8 * (r % 2) * k + 4 * per * (r / 2) + i;
            deal(&values, &mut a, start, k, per);
        }
    }
    for (r, plane) in op.b.iter().enumerate() {
        for i in 0..per {
            let values = element(registers.narrow(*plane), i * width, &widen);
            deal(&values, &mut b, (4 * per * r + i) * N, 1, per * N);
        }
    }
    let per = Shape::packed(s.c);
    for (r, plane) in op.c.iter().enumerate() {
        for i in 0..per {
            let values = element(registers.narrow(*plane), 16 * i, |v| accumulator(v, s.c));
            let e = r * per + i;
            deal(&values, &mut acc, 8 * (e / 2) * N + e % 2, N, 2);
        }
    }
    multiply_single::<N>(&a[..16 * k], &b[..k * N], &mut acc[..16 * N], k);
    let per = Shape::packed(s.d);
    for (r, plane) in op.d.iter().enumerate() {
        let mut words = [0; LANES];
        for i in 0..per {
            let e = r * per + i;
            let start = 8 * (e / 2) * N + e % 2;
            let mut values = [0.0; LANES];
            for g in 0..8 {
                for t in 0..4 {
                    values[4 * g + t] = acc[(start + g * N + 2 * t) % 512];
                }
            }
            for lane in 0..LANES {
                words[lane] |= result(values[lane], s.d) << (16 * i);
            }
        }
        let out = registers.narrow_mut(*plane);
        for lane in 0..LANES {
            let taken = mask >> lane & 1 != 0;
            out[lane] = if taken { words[lane] } else { out[lane] };
        }
    }
}

#[inline(always)]
fn single(op: &Multiply, registers: &mut Registers, mask: u32) {
    let s = op.shape;
    if s.layout == Layout::Regular && (s.m, s.n) == (16, 8) && s.k <= 32 {
        match s.a {
            ScalarType::F16 if s.b == s.a => {
                return regular(op, registers, mask, |v| {
                    to_single(v & 0xffff, ScalarType::F16)
                });
            }
            ScalarType::BF16 if s.b == s.a => {
                return regular(op, registers, mask, |v| {
                    to_single(v & 0xffff, ScalarType::BF16)
                });
            }
            ScalarType::TF32 if s.b == s.a => {
                return regular(op, registers, mask, |v| to_single(v, ScalarType::TF32));
            }
            _ => {}
        }
    }
    let mut a = [0f32; 512];
    let mut b = [0f32; 512];
    let mut acc = [0f32; 512];
    let (m, n, k) = (s.m, s.n, s.k);
    if m * k > 512 || k * n > 512 || m * n > 512 {
        return;
    }
    for group in 0..groups(op) {
        let lanes = || (0..LANES).filter(|l| takes_part(op, group, *l));
        if groups(op) == 1 {
            each(op, registers, Part::A, s.a, 0..LANES, |r, c, v| {
                a[r * k + c] = to_single(v, s.a)
            });
            each(op, registers, Part::B, s.b, 0..LANES, |r, c, v| {
                b[r * n + c] = to_single(v, s.b)
            });
            each(op, registers, Part::C, s.c, 0..LANES, |r, c, v| {
                acc[r * n + c] = accumulator(v, s.c);
            });
        } else {
            for lane in lanes() {
                let one = lane..lane + 1;
                each(op, registers, Part::A, s.a, one.clone(), |r, c, v| {
                    a[r * k + c] = to_single(v, s.a);
                });
                each(op, registers, Part::B, s.b, one.clone(), |r, c, v| {
                    b[r * n + c] = to_single(v, s.b);
                });
                each(op, registers, Part::C, s.c, one, |r, c, v| {
                    acc[r * n + c] = accumulator(v, s.c)
                });
            }
        }
        match n {
            8 => multiply_single::<8>(&a[..m * k], &b[..k * n], &mut acc[..m * n], k),
            16 => multiply_single::<16>(&a[..m * k], &b[..k * n], &mut acc[..m * n], k),
            _ => multiply_single::<32>(&a[..m * k], &b[..k * n], &mut acc[..m * n], k),
        }
        let per = Shape::packed(s.d);
        for (r, plane) in op.d.iter().enumerate() {
            let out = registers.narrow_mut(*plane);
            for lane in lanes().filter(|l| mask >> l & 1 != 0) {
                let mut word = 0;
                for i in 0..per {
                    let (row, column) = s.position(Part::C, per, lane, r, i, op.d.len());
                    word |= result(acc[row * n + column], s.d) << (16 * i);
                }
                out[lane] = word;
            }
        }
    }
}

#[inline(always)]
fn double(op: &Multiply, registers: &mut Registers, mask: u32) {
    let s = op.shape;
    let (m, n, k) = (s.m, s.n, s.k);
    let mut a = vec![0f64; m * k];
    let mut b = vec![0f64; k * n];
    let mut acc = vec![0f64; m * n];
    let wide = |registers: &Registers, plane: u16, lane: usize| {
        f64::from_bits(registers.wide(plane)[lane])
    };
    for lane in 0..LANES {
        for (r, plane) in op.a.iter().enumerate() {
            let (row, column) = s.position(Part::A, 1, lane, r, 0, op.a.len());
            a[row * k + column] = wide(registers, *plane, lane);
        }
        for (r, plane) in op.b.iter().enumerate() {
            let (row, column) = s.position(Part::B, 1, lane, r, 0, op.b.len());
            b[row * n + column] = wide(registers, *plane, lane);
        }
        for (r, plane) in op.c.iter().enumerate() {
            let (row, column) = s.position(Part::C, 1, lane, r, 0, op.c.len());
            acc[row * n + column] = wide(registers, *plane, lane);
        }
    }
    multiply_double(&a, &b, &mut acc, (n, k), s.rounding);
    for (r, plane) in op.d.iter().enumerate() {
        let out = registers.wide_mut(*plane);
        for lane in bits(mask) {
            let (row, column) = s.position(Part::C, 1, lane, r, 0, op.d.len());
            out[lane] = acc[row * n + column].to_bits();
        }
    }
}

#[inline(always)]
fn integer(op: &Multiply, registers: &mut Registers, mask: u32) {
    let s = op.shape;
    let (m, n, k) = (s.m, s.n, s.k);
    if m * k > MOST || k * n > MOST {
        return;
    }
    let mut a = vec![0i32; m * k];
    let mut b = vec![0i32; k * n];
    let mut acc = vec![0i64; m * n];
    let all = 0..LANES;
    each(op, registers, Part::A, s.a, all.clone(), |r, c, v| {
        a[r * k + c] = to_integer(v, s.a)
    });
    each(op, registers, Part::B, s.b, all.clone(), |r, c, v| {
        b[r * n + c] = to_integer(v, s.b)
    });
    each(op, registers, Part::C, ScalarType::S32, all, |r, c, v| {
        acc[r * n + c] = i64::from(v as i32);
    });
    match s.bits {
        None => multiply_integer(&a, &b, &mut acc, n, k),
        Some(which) => {
            for (row, out) in a.chunks_exact(k).zip(acc.chunks_exact_mut(n)) {
                for (j, sum) in out.iter_mut().enumerate() {
                    let pairs = row.iter().enumerate().map(|(x, bit)| (*bit, b[x * n + j]));
                    let count = pairs.filter(|(x, y)| match which {
                        BitOp::Xor => x != y,
                        BitOp::And => x & y != 0,
                    });
                    *sum += count.count() as i64;
                }
            }
        }
    }
    for (r, plane) in op.d.iter().enumerate() {
        let out = registers.narrow_mut(*plane);
        for lane in bits(mask) {
            let (row, column) = s.position(Part::C, 1, lane, r, 0, op.d.len());
            let value = acc[row * n + column];
            out[lane] = if s.saturate {
                value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32
            } else {
                value as u32
            };
        }
    }
}
