//! Registers of a warp: planes of 32 lanes, and predicates of one bit per lane.

use bytemuck::{Pod, Zeroable};
use std::hint::black_box;

/// Lanes of a warp.
pub const LANES: usize = 32;
/// The mask of a whole warp.
pub const FULL: u32 = u32::MAX;

/// 32 lanes of 32 bits. A 64-bit register is two planes holding 32 consecutive `u64`.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C, align(64))]
pub struct Plane(pub [u32; LANES]);

/// All registers of one warp.
#[derive(Clone, Debug)]
pub struct Registers {
    /// Values.
    pub planes: Vec<Plane>,
    /// Truth values, one bit per lane.
    pub predicates: Vec<u32>,
}

/// A type that a register can hold for 32 lanes.
pub trait Lane: Copy {
    /// Reads all lanes of the register that begins at plane `at`.
    fn read(registers: &Registers, at: u16) -> [Self; LANES];
    /// Writes the lanes of `mask`.
    fn write(registers: &mut Registers, at: u16, mask: u32, values: [Self; LANES]);
}

/// Replaces the lanes of a mask.
#[inline(always)]
pub(crate) fn blend<T: Copy>(old: &mut [T; LANES], mask: u32, new: [T; LANES]) {
    if mask == FULL {
        *old = new;
        return;
    }
    // What becomes of each bit of the mask belongs here, and not before the branch or the loop of
    // whoever calls: nearly every mask is full.
    let mask = black_box(mask);
    for i in 0..LANES {
        // Both are read, or it becomes a choice of where to read from, lane by lane.
        let (before, after) = (old[i], new[i]);
        old[i] = if mask >> i & 1 != 0 { after } else { before };
    }
}

impl Registers {
    /// A 64-bit register.
    #[inline(always)]
    pub fn wide(&self, at: u16) -> &[u64; LANES] {
        let at = usize::from(at);
        let pair: &[Plane; 2] = self.planes[at..at + 2].try_into().expect("two planes");
        bytemuck::cast_ref(pair)
    }

    /// A 64-bit register, to be written.
    #[inline(always)]
    pub fn wide_mut(&mut self, at: u16) -> &mut [u64; LANES] {
        let at = usize::from(at);
        let pair: &mut [Plane; 2] = (&mut self.planes[at..at + 2])
            .try_into()
            .expect("two planes");
        bytemuck::cast_mut(pair)
    }

    /// A 32-bit register.
    #[inline(always)]
    pub fn narrow(&self, at: u16) -> &[u32; LANES] {
        &self.planes[usize::from(at)].0
    }

    /// A 32-bit register, to be written.
    #[inline(always)]
    pub fn narrow_mut(&mut self, at: u16) -> &mut [u32; LANES] {
        &mut self.planes[usize::from(at)].0
    }
}

macro_rules! narrow_lane {
    ($($t:ty),*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn read(registers: &Registers, at: u16) -> [Self; LANES] {
                bytemuck::cast(*registers.narrow(at))
            }
            #[inline(always)]
            fn write(registers: &mut Registers, at: u16, mask: u32, values: [Self; LANES]) {
                blend(registers.narrow_mut(at), mask, bytemuck::cast(values));
            }
        }
    )*};
}
narrow_lane!(u32, i32, f32);

macro_rules! wide_lane {
    ($($t:ty),*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn read(registers: &Registers, at: u16) -> [Self; LANES] {
                bytemuck::cast(*registers.wide(at))
            }
            #[inline(always)]
            fn write(registers: &mut Registers, at: u16, mask: u32, values: [Self; LANES]) {
                blend(registers.wide_mut(at), mask, bytemuck::cast(values));
            }
        }
    )*};
}
wide_lane!(u64, i64, f64);

macro_rules! short_lane {
    ($($t:ty, $u:ty);*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn read(registers: &Registers, at: u16) -> [Self; LANES] {
                let from = registers.narrow(at);
                let mut values = [0; LANES];
                for i in 0..LANES {
                    values[i] = from[i] as $t;
                }
                values
            }
            #[inline(always)]
            fn write(registers: &mut Registers, at: u16, mask: u32, values: [Self; LANES]) {
                let mut wide = [0; LANES];
                for i in 0..LANES {
                    wide[i] = u32::from(values[i] as $u);
                }
                blend(registers.narrow_mut(at), mask, wide);
            }
        }
    )*};
}
short_lane!(u16, u16; i16, u16; u8, u8; i8, u8);

/// One bit a lane, of one byte a lane.
#[inline(always)]
pub(crate) fn gather(values: [bool; LANES]) -> u32 {
    // The bytes are looked at as such: a compiler that sees where they come from takes the lanes
    // apart one by one.
    let mut bytes = [0; LANES];
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = u8::from(value);
    }
    let bytes = black_box(bytes);
    let mut bits = 0;
    for (i, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        // Eight bits, eight apart, move together: pairs, then fours, then all into the lowest
        // byte. A product would do it in one, in three times the time.
        let mut x = u64::from_le_bytes(*eight);
        x |= x >> 7;
        x |= x >> 14;
        x |= x >> 28;
        bits |= u32::from(x as u8) << (8 * i);
    }
    bits
}

impl Lane for bool {
    #[inline(always)]
    fn read(registers: &Registers, at: u16) -> [Self; LANES] {
        let mask = registers.predicates[usize::from(at)];
        let mut values = [false; LANES];
        for (i, value) in values.iter_mut().enumerate() {
            *value = mask >> i & 1 != 0;
        }
        values
    }

    #[inline(always)]
    fn write(registers: &mut Registers, at: u16, mask: u32, values: [Self; LANES]) {
        let bits = gather(values);
        let old = &mut registers.predicates[usize::from(at)];
        *old = *old & !mask | bits & mask;
    }
}
