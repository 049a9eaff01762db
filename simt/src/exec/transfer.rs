//! Values between registers and a memory, for all lanes of a checked access.
//!
//! Elements of 32, 64 and 128 bits in registers of their own width are moved as words: from memory in
//! one piece where lanes follow each other, then dealt to the registers by the vector units.
//! Everything else goes lane by lane.

use super::misc::{get, set};
use super::observer::{At, Known, Observer};
use super::pattern::{Addresses, Pattern};
use super::registers::{FULL, LANES, Registers};
use super::step::bits;
use super::warp::Warp;
use crate::lower::form::{Form, WORDS};
use crate::lower::program::{MemoryOp, Reg};
use crate::memory::Store;
use crate::ptx::types::{ScalarType, TypeKind};
use pulp::{Arch, NullaryFnOnce};

/// Where the lanes of an access are.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Addresses, and what is to be taken from them. Of lanes that are regular nobody asks.
    pub(crate) offsets: &'a Addresses,
    pub(crate) base: u64,
    /// How the differences lie.
    pub(crate) pattern: Pattern,
    pub(crate) mask: u32,
}

impl Place<'_> {
    /// Where a lane is.
    #[inline(always)]
    pub(crate) fn of(&self, lane: usize) -> u64 {
        let irregular = || self.offsets[lane].wrapping_sub(self.base);
        self.pattern.at(lane).unwrap_or_else(irregular)
    }
}

/// Loads of whole registers.
struct LoadWords<'a, M> {
    memory: &'a M,
    registers: &'a mut Registers,
    form: &'a Form,
    place: Place<'a>,
}

impl<M: Store> LoadWords<'_, M> {
    #[inline(always)]
    fn run(self) {
        match self.form.words {
            1 => self.load::<1>(),
            2 => self.load::<2>(),
            4 => self.load::<4>(),
            _ => self.load::<8>(),
        }
    }

    #[inline(always)]
    fn load<const W: usize>(self) {
        let Place { pattern, mask, .. } = self.place;
        if let Some(at) = pattern.uniform() {
            return self.spread::<W>(at);
        }
        if let Some(at) = pattern.contiguous(mask, 4 * W as u32) {
            return self.deal::<W>(at);
        }
        let mut lanes = [[0u32; W]; LANES];
        if mask == FULL {
            for (lane, words) in lanes.iter_mut().enumerate() {
                *words = self.memory.load_words(self.place.of(lane));
            }
        } else {
            for lane in bits(mask) {
                lanes[lane] = self.memory.load_words(self.place.of(lane));
            }
        }
        if self.form.wide() {
            for k in (0..W).step_by(2) {
                let mut values = [0; LANES];
                for i in 0..LANES {
                    let high = lanes[i][(k + 1) % W];
                    values[i] = u64::from(lanes[i][k]) | u64::from(high) << 32;
                }
                keep(
                    self.registers.wide_mut(self.form.planes[k % WORDS]),
                    mask,
                    values,
                );
            }
        } else {
            for (k, plane) in self.form.planes.iter().take(W).enumerate() {
                let mut values = [0; LANES];
                for i in 0..LANES {
                    values[i] = lanes[i][k];
                }
                keep(self.registers.narrow_mut(*plane), mask, values);
            }
        }
    }

    /// What is at one place, to all lanes.
    #[inline(always)]
    fn spread<const W: usize>(self, at: u64) {
        let one: [u32; W] = self.memory.load_words(at);
        let (mask, planes) = (self.place.mask, &self.form.planes);
        if self.form.wide() {
            for k in (0..W).step_by(2) {
                let value = u64::from(one[k]) | u64::from(one[(k + 1) % W]) << 32;
                let to = self.registers.wide_mut(planes[k % WORDS]);
                keep(to, mask, [value; LANES]);
            }
        } else {
            for k in 0..W {
                let to = self.registers.narrow_mut(planes[k % WORDS]);
                keep(to, mask, [one[k]; LANES]);
            }
        }
    }

    /// Consecutive pieces, one to each lane of the whole warp.
    #[inline(always)]
    fn deal<const W: usize>(self, at: u64) {
        let planes = &self.form.planes;
        if self.form.wide() {
            for k in (0..W).step_by(2) {
                let values = self.memory.deal_wide::<W>(at, k);
                *self.registers.wide_mut(planes[k % WORDS]) = values;
            }
        } else {
            for k in 0..W {
                let values = self.memory.deal::<W>(at, k);
                *self.registers.narrow_mut(planes[k % WORDS]) = values;
            }
        }
    }
}

#[inline(always)]
fn keep<T: Copy>(old: &mut [T; LANES], mask: u32, new: [T; LANES]) {
    if mask == FULL {
        *old = new;
    } else {
        for i in 0..LANES {
            // Both are read, or it becomes a choice of where to read from, lane by lane.
            let (before, after) = (old[i], new[i]);
            old[i] = if mask >> i & 1 != 0 { after } else { before };
        }
    }
}

/// Stores of whole registers.
struct StoreWords<'a, M> {
    memory: &'a mut M,
    registers: &'a Registers,
    form: &'a Form,
    place: Place<'a>,
}

impl<M: Store> StoreWords<'_, M> {
    #[inline(always)]
    fn run(self) {
        match self.form.words {
            1 => self.store::<1>(),
            2 => self.store::<2>(),
            4 => self.store::<4>(),
            _ => self.store::<8>(),
        }
    }

    #[inline(always)]
    fn store<const W: usize>(self) {
        let Place { pattern, mask, .. } = self.place;
        let planes = &self.form.planes;
        if W == 1
            && let Some(at) = pattern.contiguous(mask, 4)
        {
            let values = self.registers.narrow(planes[0]);
            return self.memory.store_words(at, values);
        }
        let mut lanes = [[0u32; W]; LANES];
        if self.form.wide() {
            for k in (0..W).step_by(2) {
                let values = self.registers.wide(planes[k % WORDS]);
                for i in 0..LANES {
                    lanes[i][k] = values[i] as u32;
                    lanes[i][(k + 1) % W] = (values[i] >> 32) as u32;
                }
            }
        } else {
            for k in 0..W {
                let values = self.registers.narrow(planes[k % WORDS]);
                for i in 0..LANES {
                    lanes[i][k] = values[i];
                }
            }
        }
        if let Some(at) = pattern.contiguous(mask, 4 * W as u32) {
            self.memory.store_lanes(at, &lanes);
        } else if let Some(at) = pattern.uniform() {
            // Of several writes to one place the last lane's stays.
            let last = 31 - mask.leading_zeros();
            self.memory.store_words(at, &lanes[last as usize % LANES]);
        } else {
            for lane in bits(mask) {
                self.memory.store_words(self.place.of(lane), &lanes[lane]);
            }
        }
    }
}

/// Whether everything that the lanes access was written.
#[inline(always)]
fn all_written<M: Store>(memory: &M, place: Place<'_>, bytes: u32) -> bool {
    if memory.all_written() {
        return true;
    }
    if let Some(at) = place.pattern.contiguous(place.mask, bytes) {
        memory.written_range(at, LANES as u64 * u64::from(bytes))
    } else if let Some(at) = place.pattern.uniform() {
        memory.written_range(at, u64::from(bytes))
    } else {
        bits(place.mask).all(|lane| memory.written_range(place.of(lane), u64::from(bytes)))
    }
}

/// Notes that everything that the lanes access is written.
#[inline(always)]
fn mark_all<M: Store>(memory: &mut M, place: Place<'_>, bytes: u32) {
    if let Some(at) = place.pattern.contiguous(place.mask, bytes) {
        memory.mark_range(at, LANES as u64 * u64::from(bytes));
    } else if let Some(at) = place.pattern.uniform() {
        memory.mark_range(at, u64::from(bytes));
    } else {
        for lane in bits(place.mask) {
            memory.mark_range(place.of(lane), u64::from(bytes));
        }
    }
}

/// Loads into registers.
#[inline(never)]
pub(crate) fn load<M: Store, O: Observer>(
    arch: Arch,
    memory: &M,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    arch.dispatch(Loading {
        memory,
        warp,
        observer,
        op,
        at,
        place,
    });
}

struct Loading<'a, M, O> {
    memory: &'a M,
    warp: &'a mut Warp,
    observer: &'a mut O,
    op: &'a MemoryOp,
    at: At,
    place: Place<'a>,
}

impl<M: Store, O: Observer> NullaryFnOnce for Loading<'_, M, O> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Loading {
            memory,
            warp,
            observer,
            op,
            at,
            place,
        } = self;
        load_here(memory, warp, observer, op, &Form::of(op), at, place);
    }
}

/// As [`load`], where the vector units are chosen already, and the form is known.
#[allow(
    clippy::too_many_arguments,
    reason = "the state of the machine, passed down once"
)]
#[inline(always)]
pub(crate) fn load_here<M: Store, O: Observer>(
    memory: &M,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    form: &Form,
    at: At,
    place: Place<'_>,
) {
    if form.words > 0 {
        let load = LoadWords {
            memory,
            registers: &mut warp.registers,
            form,
            place,
        };
        load.run();
    } else {
        load_lanes(memory, warp, op, place);
    }
    if !O::ACTIVE {
        return;
    }
    if all_written(memory, place, form.bytes) {
        observer.loaded_whole(at, op);
    } else {
        loaded_parts(memory, observer, op, at, place);
    }
}

/// Shows what of loaded values was ever written.
#[inline(never)]
fn loaded_parts<M: Store, O: Observer>(
    memory: &M,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    let size = op.ty.bytes();
    for (k, _) in op.registers.iter().enumerate().filter(|(_, r)| r.is_some()) {
        let step = k as u64 * u64::from(size);
        let mut known: Known = [u16::MAX; LANES];
        for lane in bits(place.mask) {
            known[lane] = memory.written(place.of(lane) + step, size) as u16;
        }
        observer.loaded(at, op, k, &known);
    }
}

/// A loaded value as a register of its own or a greater width holds it.
#[inline(always)]
pub(crate) fn extend(value: u64, ty: ScalarType) -> u64 {
    let bits = ty.bits();
    if ty.kind() == TypeKind::Signed && bits < 64 {
        ((value << (64 - bits)) as i64 >> (64 - bits)) as u64
    } else {
        value
    }
}

/// The two halves of a register of 128 bits.
fn halves(reg: Reg) -> [Reg; 2] {
    [0, 2].map(|n| Reg {
        plane: reg.plane + n,
        planes: 2,
    })
}

#[inline(never)]
fn load_lanes<M: Store>(memory: &M, warp: &mut Warp, op: &MemoryOp, place: Place<'_>) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let step = k as u64 * u64::from(size);
        for lane in bits(place.mask) {
            let from = place.of(lane) + step;
            if size == 16 {
                for (n, half) in halves(reg).into_iter().enumerate() {
                    set(warp, half, lane, memory.load(from + 8 * n as u64, 8));
                }
            } else {
                set(warp, reg, lane, extend(memory.load(from, size), op.ty));
            }
        }
    }
}

/// Stores registers.
#[inline(never)]
pub(crate) fn store<M: Store, O: Observer>(
    arch: Arch,
    memory: &mut M,
    warp: &Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    arch.dispatch(Storing {
        memory,
        warp,
        observer,
        op,
        at,
        place,
    });
}

struct Storing<'a, M, O> {
    memory: &'a mut M,
    warp: &'a Warp,
    observer: &'a mut O,
    op: &'a MemoryOp,
    at: At,
    place: Place<'a>,
}

impl<M: Store, O: Observer> NullaryFnOnce for Storing<'_, M, O> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Storing {
            memory,
            warp,
            observer,
            op,
            at,
            place,
        } = self;
        store_here(memory, warp, observer, op, &Form::of(op), at, place);
    }
}

/// As [`store`], where the vector units are chosen already, and the form is known.
#[allow(
    clippy::too_many_arguments,
    reason = "the state of the machine, passed down once"
)]
#[inline(always)]
pub(crate) fn store_here<M: Store, O: Observer>(
    memory: &mut M,
    warp: &Warp,
    observer: &mut O,
    op: &MemoryOp,
    form: &Form,
    at: At,
    place: Place<'_>,
) {
    if form.words > 0 {
        let store = StoreWords {
            memory,
            registers: &warp.registers,
            form,
            place,
        };
        store.run();
    } else {
        store_lanes(memory, warp, op, place);
    }
    if O::ACTIVE && !observer.stores_whole(at, op) {
        store_known(memory, observer, op, at, place);
    } else if (O::ACTIVE || M::ALWAYS_MARKED) && !memory.all_written() {
        // A sink among the registers of a store leaves its bytes alone.
        if form.words > 0 || op.registers.iter().all(Option::is_some) {
            mark_all(memory, place, form.bytes);
        } else {
            mark_registers(memory, op, place);
        }
    }
}

#[inline(never)]
fn store_lanes<M: Store>(memory: &mut M, warp: &Warp, op: &MemoryOp, place: Place<'_>) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let step = k as u64 * u64::from(size);
        for lane in bits(place.mask) {
            let to = place.of(lane) + step;
            if size == 16 {
                for (n, half) in halves(reg).into_iter().enumerate() {
                    memory.store(to + 8 * n as u64, 8, get(warp, half, lane));
                }
            } else {
                memory.store(to, size, get(warp, reg, lane));
            }
        }
    }
}

/// Notes what is written of a store that leaves some elements out.
#[inline(never)]
fn mark_registers<M: Store>(memory: &mut M, op: &MemoryOp, place: Place<'_>) {
    let size = op.ty.bytes();
    for (k, _) in op.registers.iter().enumerate().filter(|(_, r)| r.is_some()) {
        let step = k as u64 * u64::from(size);
        for lane in bits(place.mask) {
            memory.mark(place.of(lane) + step, size, (1 << size) - 1);
        }
    }
}

/// Notes which bytes hold something after a store of values that are partly unknown.
#[inline(never)]
fn store_known<M: Store, O: Observer>(
    memory: &mut M,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    let size = op.ty.bytes();
    for (k, _) in op.registers.iter().enumerate().filter(|(_, r)| r.is_some()) {
        let step = k as u64 * u64::from(size);
        let known = observer.stored(at, op, k);
        for lane in bits(place.mask) {
            let which = u32::from(known[lane]) & ((1 << size) - 1);
            memory.mark(place.of(lane) + step, size, which);
        }
    }
}
