//! `wgmma` at work: descriptors, swizzles, and the product of one warp's rows.

use super::access::shared_inside;
use super::block::Block;
use super::fault::Raised;
use super::mover::PIECE;
use super::observer::{AccessEvent, At, Observer};
use super::pattern::Pattern;
use super::registers::LANES;
use super::step::Env;
use super::warp::Warp;
use crate::isa::meaning::half::{bf16_to_f32, f16_to_f32, f32_to_f16};
use crate::isa::meaning::matrix::to_single;
use crate::lower::wgmma::{Element, Source, WgmmaOp};
use crate::ptx::types::{ScalarType, Space};

/// A shared-memory matrix descriptor (PTX ISA 9.7.15.5.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
    /// Bytes of a swizzled row: 128, 64 or 32; 16 without swizzle.
    width: u64,
}

impl Descriptor {
    fn new(word: u64) -> Self {
        let field = |shift: u32| (word >> shift & 0x3fff) << 4;
        let width = match word >> 62 {
            0 => 16,
            1 => 128,
            2 => 64,
            _ => 32,
        };
        Self {
            start: field(0),
            leading: field(16),
            stride: field(32),
            width,
        }
    }

    /// Where the byte of row (or column) `line` and byte `depth` along k lies, when k is
    /// contiguous: eight lines of `width` bytes, then `stride` to the next eight; without
    /// swizzle pieces of 16 bytes follow at `leading`.
    fn along_k(self, line: u64, depth: u64) -> u64 {
        let rows = line / 8 * self.stride + line % 8 * self.width;
        let at = if self.width == 16 {
            self.start + rows + depth / 16 * self.leading + depth % 16
        } else {
            self.start + rows + depth
        };
        self.swizzled(at)
    }

    /// The same when lines are contiguous: `across` is the byte along them, `k` the row.
    /// Without swizzle the two offsets change places.
    fn across_k(self, across: u64, k: u64) -> u64 {
        let (line, group) = if self.width == 16 {
            (self.stride, self.leading)
        } else {
            (self.leading, self.stride)
        };
        let at =
            across / self.width * line + across % self.width + k / 8 * group + k % 8 * self.width;
        self.swizzled(self.start + at)
    }

    /// Pieces of 16 bytes change places within a row by the row's number: bits 4… of the
    /// address take the exclusive or with bits 7….
    fn swizzled(self, at: u64) -> u64 {
        let pieces = self.width / 16 - 1;
        at ^ (at >> 7 & pieces) << 4
    }
}

fn number(element: Element, pattern: u64) -> f32 {
    match element {
        Element::F16 => f16_to_f32(pattern as u16),
        Element::Bf16 => bf16_to_f32(pattern as u16),
        Element::Tf32 => f32::from_bits(pattern as u32 & !0x1fff),
        Element::E4m3 => to_single(pattern as u32, ScalarType::E4M3),
        Element::E5m2 => to_single(pattern as u32, ScalarType::E5M2),
        Element::S8 => f32::from(pattern as u8 as i8),
        Element::U8 => f32::from(pattern as u8),
        Element::B1 => f32::from(pattern as u8 & 1),
    }
}

/// Reads one operand from shared memory: `lines` lines from `first` on, `k` elements each.
fn operand(
    env: &Env<'_>,
    block: &Block,
    descriptor: Descriptor,
    element: Element,
    transposed: bool,
    lines: std::ops::Range<usize>,
    k: usize,
) -> Result<Vec<f32>, Raised> {
    let (bytes, packed) = (element.bytes() as u64, element.packed());
    let mut out = Vec::with_capacity(lines.len() * k);
    for line in lines {
        for depth in 0..k / packed {
            let (line, depth) = (line as u64, depth as u64);
            let at = if transposed {
                descriptor.across_k(line * bytes, depth)
            } else {
                descriptor.along_k(line, depth * bytes)
            };
            shared_inside(env, block, at, bytes as u32, false, 0)?;
            let pattern = block.shared.load(at as usize, bytes as u32).unwrap_or(0);
            out.extend((0..packed).map(|bit| number(element, pattern >> bit)));
        }
    }
    Ok(out)
}

/// Shows observers what an operand reads, 16 bytes a lane.
fn show<O: Observer>(
    block: &Block,
    warp: &Warp,
    observer: &mut O,
    op: &WgmmaOp,
    at: At,
    places: impl Iterator<Item = u64>,
) {
    let places: Vec<u64> = places.collect();
    for some in places.chunks(LANES) {
        let mut offsets = [0; LANES];
        offsets[..some.len()].copy_from_slice(some);
        let mask = u32::MAX >> (LANES - some.len());
        observer.access(&AccessEvent {
            at: At { mask, ..at },
            op: &op.memory,
            space: Space::Shared,
            offsets: &offsets,
            pattern: Pattern::of(&offsets, mask),
            allocation: None,
            bytes: PIECE as u32,
            registers: &warp.registers,
            memory: Some(&block.shared),
        });
    }
}

/// The pieces of 16 bytes that an operand is made of.
fn pieces(
    descriptor: Descriptor,
    element: Element,
    transposed: bool,
    lines: std::ops::Range<usize>,
    k: usize,
) -> impl Iterator<Item = u64> {
    let bytes = element.bytes() as u64;
    let (first, last) = (lines.start as u64 * bytes, lines.end as u64 * bytes);
    let (outer, from, to) = if transposed {
        (0..k as u64, first, last)
    } else {
        let depth = (k / element.packed()) as u64 * bytes;
        (lines.start as u64..lines.end as u64, 0, depth)
    };
    outer.flat_map(move |line| {
        (from..to).step_by(PIECE as usize).map(move |byte| {
            if transposed {
                descriptor.across_k(byte, line)
            } else {
                descriptor.along_k(line, byte)
            }
        })
    })
}

/// The sixteen rows of A that a warp holds in registers, as in `mma.m16n8k16`.
fn held(warp: &Warp, registers: &[u16], element: Element, k: usize) -> Vec<f32> {
    let mut out = vec![0.0; 16 * k];
    let per_register = 4 / element.bytes() * element.packed();
    for (r, plane) in registers.iter().enumerate() {
        for (lane, word) in warp.registers.narrow(*plane).iter().enumerate() {
            let row = lane / 4 + 8 * (r % 2);
            let first = lane % 4 * per_register + 4 * per_register * (r / 2);
            for j in 0..per_register {
                let pattern = u64::from(*word) >> (32 / per_register * j);
                out[row * k + first + j] = number(element, pattern);
            }
        }
    }
    out
}

/// Row and column of an accumulator: eight columns after the other, each as in `mma`.
fn place(lane: usize, i: usize) -> (usize, usize) {
    (
        lane / 4 + 8 * (i / 2 % 2),
        8 * (i / 4) + lane % 4 * 2 + i % 2,
    )
}

/// The product of the warp's rows.
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &WgmmaOp,
    at: At,
) -> Result<(), Raised> {
    let (n, k) = (op.n, op.k);
    let first = 16 * (warp.index as usize % 4);
    let descriptor = |warp: &Warp, plane: u16| Descriptor::new(warp.registers.wide(plane)[0]);
    let mut a = match &op.a {
        Source::Registers(registers) => held(warp, registers, op.a_type, k),
        Source::Descriptor(reg) => {
            let from = descriptor(warp, reg.plane);
            if O::ACTIVE {
                let rows = first..first + 16;
                let places = pieces(from, op.a_type, op.transpose_a, rows, k);
                show(block, warp, observer, op, at, places);
            }
            operand(
                env,
                block,
                from,
                op.a_type,
                op.transpose_a,
                first..first + 16,
                k,
            )?
        }
    };
    let from = descriptor(warp, op.b.plane);
    if O::ACTIVE {
        let places = pieces(from, op.b_type, op.transpose_b, 0..n, k);
        show(block, warp, observer, op, at, places);
    }
    let b = operand(env, block, from, op.b_type, op.transpose_b, 0..n, k)?;
    if op.negate_a != op.negate_b {
        a.iter_mut().for_each(|x| *x = -*x);
    }
    let keep = warp.registers.predicates[usize::from(op.keep)] & 1 != 0;
    // Products of eight-bit numbers over 32 places, and of bits over 256, stay exact in f32.
    let mut sums = vec![0.0f32; 16 * n];
    if keep && !op.a_type.integer() {
        for_each(op, |lane, i, row, column| {
            sums[row * n + column] = old(warp, op, lane, i)
        });
    }
    env.arch.dispatch(|| accumulate(&a, &b, &mut sums, n, k));
    if op.a_type.integer() {
        for (i, plane) in op.d.iter().enumerate() {
            let out = warp.registers.narrow_mut(*plane);
            for (lane, word) in out.iter_mut().enumerate() {
                let (row, column) = place(lane, i);
                let before = if keep { *word as i32 } else { 0 };
                let added = sums[row * n + column] as i32;
                *word = if op.saturate {
                    before.saturating_add(added)
                } else {
                    before.wrapping_add(added)
                } as u32;
            }
        }
        return Ok(());
    }
    for (r, plane) in op.d.iter().enumerate() {
        let out = warp.registers.narrow_mut(*plane);
        for (lane, word) in out.iter_mut().enumerate() {
            let value = |i: usize| {
                let (row, column) = place(lane, i);
                sums[row * n + column]
            };
            *word = if op.d_half {
                u32::from(f32_to_f16(value(2 * r))) | u32::from(f32_to_f16(value(2 * r + 1))) << 16
            } else {
                value(r).to_bits()
            };
        }
    }
    Ok(())
}

fn for_each(op: &WgmmaOp, mut f: impl FnMut(usize, usize, usize, usize)) {
    for lane in 0..LANES {
        for i in 0..op.n / 2 {
            let (row, column) = place(lane, i);
            f(lane, i, row, column);
        }
    }
}

/// An accumulator before the product.
fn old(warp: &Warp, op: &WgmmaOp, lane: usize, i: usize) -> f32 {
    if op.d_half {
        let word = warp.registers.narrow(op.d[i / 2])[lane];
        f16_to_f32((word >> (16 * (i % 2))) as u16)
    } else {
        f32::from_bits(warp.registers.narrow(op.d[i])[lane])
    }
}

#[inline(always)]
fn accumulate(a: &[f32], b: &[f32], sums: &mut [f32], n: usize, k: usize) {
    // One column of A against one row of B at a time, so that columns are vectors.
    let mut row_of_b = vec![0.0f32; n];
    for depth in 0..k {
        row_of_b
            .iter_mut()
            .enumerate()
            .for_each(|(column, x)| *x = b[column * k + depth]);
        for (row, sum) in sums.chunks_exact_mut(n).enumerate() {
            let x = a[row * k + depth];
            sum.iter_mut().zip(&row_of_b).for_each(|(s, y)| *s += x * y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptor;

    #[test]
    fn every_byte_of_a_swizzled_tile_has_its_own_place() {
        for (mode, width) in [(1u64, 128u64), (2, 64), (3, 32)] {
            let d = Descriptor::new(mode << 62 | (8 * width >> 4) << 32 | 1024 >> 4);
            let mut seen: Vec<u64> = (0..64)
                .flat_map(|line| (0..width).map(move |depth| d.along_k(line, depth)))
                .collect();
            seen.sort_unstable();
            let want: Vec<u64> = (1024..1024 + 64 * width).collect();
            assert_eq!(seen, want, "{width} bytes");
        }
        // Row 3 of a 128-byte swizzle: its first piece lies where the fourth would.
        let d = Descriptor::new(1 << 62 | (1024 >> 4) << 32);
        assert_eq!(d.along_k(3, 0), 3 * 128 + 3 * 16);
    }
}
