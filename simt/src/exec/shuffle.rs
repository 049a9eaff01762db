//! `shfl.sync`: each lane reads a register of another.
//!
//! Nearly every shuffle has one offset for the whole warp, and then no lane is looked up: a
//! butterfly swaps halves, a shift is a move in a longer row. The loops are for the vector units
//! of the host.

use super::observer::{At, Observer};
use super::registers::{FULL, LANES, Lane, Registers, gather};
use crate::lower::sync::{ShuffleMode, SyncOp};

/// The operands of a shuffle: planes.
#[derive(Clone, Copy)]
pub(crate) struct Shuffle {
    pub(crate) mode: ShuffleMode,
    pub(crate) d: u16,
    pub(crate) p: Option<u16>,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) c: u16,
}

/// Executes a shuffle whose lanes have all come.
#[inline(always)]
pub(crate) fn execute<O: Observer>(
    registers: &mut Registers,
    observer: &mut O,
    at: At,
    op: &SyncOp,
    shuffle: Shuffle,
    member: u32,
) {
    let lanes = at.mask;
    let Shuffle {
        mode,
        d,
        p,
        a,
        b,
        c,
    } = shuffle;
    let values = *registers.narrow(a);
    let (offsets, controls) = (*registers.narrow(b), *registers.narrow(c));
    if O::ACTIVE {
        let (source, _) = sources(mode, &offsets, &controls);
        let mut narrow = [0; LANES];
        for (narrow, source) in narrow.iter_mut().zip(source) {
            *narrow = source as u8;
        }
        observer.shuffle(at, op, &narrow, member);
    }
    let (offset, control) = (offsets[0], controls[0]);
    let one = lanes == FULL && is_all(&offsets, offset) && is_all(&controls, control);
    let whole = if one {
        of_warp(mode, &values, offset & 31, control)
    } else {
        None
    };
    let (out, valid) = whole.unwrap_or_else(|| picked(mode, &values, &offsets, &controls));
    u32::write(registers, d, lanes, out);
    if let Some(p) = p {
        let p = &mut registers.predicates[usize::from(p)];
        *p = *p & !lanes | valid & lanes;
    }
}

/// Whether all lanes hold a value.
#[inline(always)]
pub(crate) fn is_all(lanes: &[u32; LANES], value: u32) -> bool {
    lanes.iter().fold(0, |differ, lane| differ | lane ^ value) == 0
}

/// What a whole warp reads at one offset, and of which lanes it lies in the segment; `None` where
/// that is no plain movement.
#[inline(always)]
fn of_warp(
    mode: ShuffleMode,
    values: &[u32; LANES],
    offset: u32,
    control: u32,
) -> Option<([u32; LANES], u32)> {
    let (clamp, segment) = (control & 31, control >> 8 & 31);
    match mode {
        // Lanes change places within their segments.
        ShuffleMode::Butterfly if clamp == 31 && offset & segment == 0 => {
            Some((butterfly(*values, offset), FULL))
        }
        ShuffleMode::Index if clamp == 31 && segment == 0 => {
            Some(([values[offset as usize % LANES]; LANES], FULL))
        }
        ShuffleMode::Down if clamp == 31 && segment == 0 => {
            let valid = FULL >> offset;
            Some((moved(values, offset as usize, valid), valid))
        }
        ShuffleMode::Up if clamp == 0 && segment == 0 => {
            let valid = FULL << offset;
            Some((moved(values, LANES - offset as usize, valid), valid))
        }
        _ => None,
    }
}

/// Lane `i` has that of `i ^ offset`.
#[inline(always)]
fn butterfly(mut values: [u32; LANES], offset: u32) -> [u32; LANES] {
    #[inline(always)]
    fn swapped<const N: usize>(values: [u32; LANES]) -> [u32; LANES] {
        let mut out = [0; LANES];
        for (i, out) in out.iter_mut().enumerate() {
            *out = values[i ^ N];
        }
        out
    }
    if offset & 1 != 0 {
        values = swapped::<1>(values);
    }
    if offset & 2 != 0 {
        values = swapped::<2>(values);
    }
    if offset & 4 != 0 {
        values = swapped::<4>(values);
    }
    if offset & 8 != 0 {
        values = swapped::<8>(values);
    }
    if offset & 16 != 0 {
        values = swapped::<16>(values);
    }
    values
}

/// Lane `i` has that of `i + by`, of two warps' lanes one behind the other; its own if not valid.
#[inline(always)]
fn moved(values: &[u32; LANES], by: usize, valid: u32) -> [u32; LANES] {
    let mut row = [0; 2 * LANES];
    row[..LANES].copy_from_slice(values);
    row[LANES..].copy_from_slice(values);
    let mut out = [0; LANES];
    for (i, (out, from)) in out.iter_mut().zip(&row[by % (LANES + 1)..]).enumerate() {
        let (other, own) = (*from, values[i]);
        *out = if valid >> i & 1 != 0 { other } else { own };
    }
    out
}

/// What each lane reads, and of which lanes it lies in the segment.
#[inline(always)]
fn picked(
    mode: ShuffleMode,
    values: &[u32; LANES],
    offsets: &[u32; LANES],
    controls: &[u32; LANES],
) -> ([u32; LANES], u32) {
    let (source, valid) = sources(mode, offsets, controls);
    let mut out = [0; LANES];
    for (out, from) in out.iter_mut().zip(source) {
        *out = values[from as usize % LANES];
    }
    (out, valid)
}

/// The lanes read, and of which lanes they lie in the segment.
#[inline(always)]
fn sources(
    mode: ShuffleMode,
    offsets: &[u32; LANES],
    controls: &[u32; LANES],
) -> ([u32; LANES], u32) {
    match mode {
        ShuffleMode::Up => each(offsets, controls, |s| {
            let from = s.lane.wrapping_sub(s.offset);
            (from, from as i32 >= s.max as i32)
        }),
        ShuffleMode::Down => each(offsets, controls, |s| {
            let from = s.lane + s.offset;
            (from, from <= s.max)
        }),
        ShuffleMode::Butterfly => each(offsets, controls, |s| {
            let from = s.lane ^ s.offset;
            (from, from <= s.max)
        }),
        ShuffleMode::Index => each(offsets, controls, |s| {
            let from = s.min | s.offset & !s.segment;
            (from, from <= s.max)
        }),
    }
}

/// What a lane's operands say (PTX manual, `shfl.sync`).
struct Said {
    lane: u32,
    offset: u32,
    segment: u32,
    min: u32,
    max: u32,
}

/// Lane by lane: the one read, its own where that lies outside the segment, and which lie inside.
#[inline(always)]
fn each(
    offsets: &[u32; LANES],
    controls: &[u32; LANES],
    choose: impl Fn(Said) -> (u32, bool),
) -> ([u32; LANES], u32) {
    let mut source = [0; LANES];
    let mut inside = [false; LANES];
    for i in 0..LANES {
        let lane = i as u32;
        let (offset, control) = (offsets[i] & 31, controls[i]);
        let (clamp, segment) = (control & 31, control >> 8 & 31);
        let min = lane & segment;
        let max = min | clamp & !segment;
        let (from, valid) = choose(Said {
            lane,
            offset,
            segment,
            min,
            max,
        });
        source[i] = if valid { from & 31 } else { lane };
        inside[i] = valid;
    }
    (source, gather(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short ways and the way lane by lane are two accounts of one manual.
    #[test]
    fn what_a_warp_moves_is_what_its_lanes_read() {
        use ShuffleMode::{Butterfly, Down, Index, Up};
        let values: [u32; LANES] = std::array::from_fn(|i| 1000 + i as u32);
        let mut plain = 0;
        for mode in [Up, Down, Butterfly, Index] {
            for offset in 0..32 {
                for control in (0..32).flat_map(|clamp| (0..32).map(move |s| s << 8 | clamp)) {
                    let Some(moved) = of_warp(mode, &values, offset, control) else {
                        continue;
                    };
                    plain += 1;
                    let each = picked(mode, &values, &[offset; LANES], &[control; LANES]);
                    assert_eq!(moved, each, "{mode:?} {offset} {control:#x}");
                }
            }
        }
        // One control of each of the others, and the butterflies: of each segment those within.
        assert_eq!(plain, 3 * 32 + 3_u32.pow(5));
    }
}
