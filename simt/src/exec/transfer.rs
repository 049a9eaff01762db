//! Values between registers and a memory, for all lanes of a checked access.
//!
//! Elements of 32, 64 and 128 bits in registers of their own width are moved as words: from memory in
//! one piece where lanes follow each other, then dealt to the registers by the vector units.
//! Everything else goes lane by lane.

use super::misc::{get, set};
use super::observer::{At, Known, Observer};
use super::pattern::{Addresses, Pattern};
use super::registers::{FULL, LANES, Registers, blend};
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
    /// Those of regular lanes here, others elsewhere.
    #[inline(always)]
    fn load<const W: usize>(self, arch: Arch) {
        let Place { pattern, mask, .. } = self.place;
        if let Some(at) = pattern.uniform() {
            self.spread::<W>(at);
        } else if let Some(at) = pattern.contiguous(mask, 4 * W as u32) {
            self.deal::<W>(at);
        } else {
            self.gathered::<W>(arch);
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
                blend(to, mask, [value; LANES]);
            }
        } else {
            for k in 0..W {
                let to = self.registers.narrow_mut(planes[k % WORDS]);
                blend(to, mask, [one[k]; LANES]);
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

    /// Lane by lane. Out of the way of the others: what this keeps at hand they would have to make
    /// room for.
    #[inline(never)]
    fn gathered<const W: usize>(self, arch: Arch) {
        arch.dispatch(Gathered::<M, W>(self));
    }
}

struct Gathered<'a, M, const W: usize>(LoadWords<'a, M>);

impl<M: Store, const W: usize> NullaryFnOnce for Gathered<'_, M, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let LoadWords {
            memory,
            registers,
            form,
            place,
        } = self.0;
        let mask = place.mask;
        let mut lanes = [[0u32; W]; LANES];
        if mask == FULL {
            for (lane, words) in lanes.iter_mut().enumerate() {
                *words = memory.load_words(place.of(lane));
            }
        } else {
            for lane in bits(mask) {
                lanes[lane] = memory.load_words(place.of(lane));
            }
        }
        if form.wide() {
            for k in (0..W).step_by(2) {
                let mut values = [0; LANES];
                for i in 0..LANES {
                    let high = lanes[i][(k + 1) % W];
                    values[i] = u64::from(lanes[i][k]) | u64::from(high) << 32;
                }
                blend(registers.wide_mut(form.planes[k % WORDS]), mask, values);
            }
        } else {
            for (k, plane) in form.planes.iter().take(W).enumerate() {
                let mut values = [0; LANES];
                for i in 0..LANES {
                    values[i] = lanes[i][k];
                }
                blend(registers.narrow_mut(*plane), mask, values);
            }
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
    /// Those of a plane to consecutive words here, others elsewhere.
    #[inline(always)]
    fn store<const W: usize>(self, arch: Arch) {
        let Place { pattern, mask, .. } = self.place;
        if W == 1
            && let Some(at) = pattern.contiguous(mask, 4)
        {
            let values = self.registers.narrow(self.form.planes[0]);
            self.memory.store_words(at, values);
        } else {
            self.dealt::<W>(arch);
        }
    }

    /// Lane by lane, or the words of all lanes in turn.
    #[inline(never)]
    fn dealt<const W: usize>(self, arch: Arch) {
        arch.dispatch(Dealt::<M, W>(self));
    }
}

struct Dealt<'a, M, const W: usize>(StoreWords<'a, M>);

impl<M: Store, const W: usize> NullaryFnOnce for Dealt<'_, M, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let StoreWords {
            memory,
            registers,
            form,
            place,
        } = self.0;
        let Place { pattern, mask, .. } = place;
        let planes = &form.planes;
        let mut lanes = [[0u32; W]; LANES];
        if form.wide() {
            for k in (0..W).step_by(2) {
                let values = registers.wide(planes[k % WORDS]);
                for i in 0..LANES {
                    lanes[i][k] = values[i] as u32;
                    lanes[i][(k + 1) % W] = (values[i] >> 32) as u32;
                }
            }
        } else {
            for k in 0..W {
                let values = registers.narrow(planes[k % WORDS]);
                for i in 0..LANES {
                    lanes[i][k] = values[i];
                }
            }
        }
        if let Some(at) = pattern.contiguous(mask, 4 * W as u32) {
            memory.store_lanes(at, &lanes);
        } else if let Some(at) = pattern.uniform() {
            // Of several writes to one place the last lane's stays.
            let last = 31 - mask.leading_zeros();
            memory.store_words(at, &lanes[last as usize % LANES]);
        } else {
            for lane in bits(mask) {
                memory.store_words(place.of(lane), &lanes[lane]);
            }
        }
    }
}

/// Whether everything that the lanes access was written.
#[inline(always)]
fn all_written<M: Store>(memory: &M, place: &Place<'_>, bytes: u32) -> bool {
    if memory.all_written() {
        return true;
    }
    if let Some(at) = place.pattern.contiguous(place.mask, bytes) {
        memory.written_range(at, LANES as u64 * u64::from(bytes))
    } else if let Some(at) = place.pattern.uniform() {
        memory.written_range(at, u64::from(bytes))
    } else {
        each_written(memory, *place, bytes)
    }
}

#[inline(never)]
fn each_written<M: Store>(memory: &M, place: Place<'_>, bytes: u32) -> bool {
    bits(place.mask).all(|lane| memory.written_range(place.of(lane), u64::from(bytes)))
}

/// Notes that everything that the lanes access is written.
#[inline(always)]
fn mark_all<M: Store>(memory: &mut M, place: &Place<'_>, bytes: u32) {
    if let Some(at) = place.pattern.contiguous(place.mask, bytes) {
        memory.mark_range(at, LANES as u64 * u64::from(bytes));
    } else if let Some(at) = place.pattern.uniform() {
        memory.mark_range(at, u64::from(bytes));
    } else {
        mark_each(memory, *place, bytes);
    }
}

#[inline(never)]
fn mark_each<M: Store>(memory: &mut M, place: Place<'_>, bytes: u32) {
    for lane in bits(place.mask) {
        memory.mark_range(place.of(lane), u64::from(bytes));
    }
}

/// A load or store whose lanes are found and allowed, on its way.
#[derive(Clone, Copy)]
pub(crate) struct Transfer<'a> {
    pub(crate) arch: Arch,
    pub(crate) op: &'a MemoryOp,
    pub(crate) form: &'a Form,
    pub(crate) at: At,
    pub(crate) place: Place<'a>,
}

/// Loads into registers.
#[inline(always)]
pub(crate) fn load<M: Store, O: Observer>(
    memory: &M,
    warp: &mut Warp,
    observer: &mut O,
    transfer: Transfer<'_>,
) {
    let Transfer {
        arch,
        op,
        form,
        at,
        place,
    } = transfer;
    let words = LoadWords {
        memory,
        registers: &mut warp.registers,
        form,
        place,
    };
    match form.words {
        0 => load_lanes(memory, warp, op, place),
        1 => words.load::<1>(arch),
        2 => words.load::<2>(arch),
        4 => words.load::<4>(arch),
        _ => words.load::<8>(arch),
    }
    if !O::ACTIVE {
        return;
    }
    if all_written(memory, &place, form.bytes) {
        observer.loaded_whole(at, op);
    } else {
        loaded_parts(memory, observer, op, at, place);
    }
}

/// The same for an operation of which no form is at hand.
#[inline(never)]
pub(crate) fn load_op<M: Store, O: Observer>(
    arch: Arch,
    memory: &M,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    let form = &Form::of(op);
    let transfer = Transfer {
        arch,
        op,
        form,
        at,
        place,
    };
    load(memory, warp, observer, transfer);
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
#[inline(always)]
pub(crate) fn store<M: Store, O: Observer>(
    memory: &mut M,
    warp: &Warp,
    observer: &mut O,
    transfer: Transfer<'_>,
) {
    let Transfer {
        arch,
        op,
        form,
        at,
        place,
    } = transfer;
    if form.words == 0 {
        store_lanes(memory, warp, op, place);
    } else {
        let words = StoreWords {
            memory,
            registers: &warp.registers,
            form,
            place,
        };
        match form.words {
            1 => words.store::<1>(arch),
            2 => words.store::<2>(arch),
            4 => words.store::<4>(arch),
            _ => words.store::<8>(arch),
        }
    }
    if O::ACTIVE && !observer.stores_whole(at, op) {
        store_known(memory, observer, op, at, place);
    } else if (O::ACTIVE || M::ALWAYS_MARKED) && !memory.all_written() {
        // A sink among the registers of a store leaves its bytes alone.
        if form.words > 0 || op.registers.iter().all(Option::is_some) {
            mark_all(memory, &place, form.bytes);
        } else {
            mark_registers(memory, op, place);
        }
    }
}

/// The same for an operation of which no form is at hand.
#[inline(never)]
pub(crate) fn store_op<M: Store, O: Observer>(
    arch: Arch,
    memory: &mut M,
    warp: &Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    let form = &Form::of(op);
    let transfer = Transfer {
        arch,
        op,
        form,
        at,
        place,
    };
    store(memory, warp, observer, transfer);
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
