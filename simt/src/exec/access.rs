//! Loads and stores: addresses are resolved, checked, shown to observers, and only then used.
//! This is the way for all of them; [`super::regular`] is the short one for most.

use super::atomic;
use super::block::Block;
use super::bounds::{aligned, inside, inside_shared, locate};
use super::cluster;
use super::fault::{FaultKind, Raised};
use super::observer::{AccessEvent, At, Observer};
use super::pattern::{Pattern, Resolve};
use super::registers::LANES;
use super::step::{Env, bits};
use super::transfer::{self, Place, extend};
use super::warp::Warp;
use crate::lower::program::{Access, MemoryOp, Reg};
use crate::memory::Store;
use crate::memory::bytes::Bytes;
use crate::memory::region::Region;
use crate::memory::windows;
use crate::ptx::types::Space;

pub(crate) use super::bounds::{shared_inside, shared_outside};
pub(crate) use super::pattern::{Addresses, addresses};

/// The space of a generic address and its offset there.
pub(crate) fn window_of(address: u64) -> (Space, u64) {
    let upper = address & !0xffff_ffff;
    let low = address & 0xffff_ffff;
    match upper {
        windows::SHARED => (Space::Shared, low),
        windows::LOCAL => (Space::Local, low),
        windows::CONST => (Space::Const, low),
        windows::PARAM => (Space::Param, low),
        _ => (Space::Global, address),
    }
}

/// Executes a memory instruction for the lanes of `at.mask`, whatever their addresses are.
#[inline(never)]
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
) -> Result<(), Raised> {
    let mut targets = [0; LANES];
    let pattern = env.arch.dispatch(Resolve {
        warp,
        address: &op.address,
        mask: at.mask,
        targets: &mut targets,
    });
    resolved(env, block, warp, observer, op, at, &mut targets, pattern)
}

/// As [`execute`], with addresses found otherwise than by the operand.
pub(crate) fn execute_at<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    mut targets: Addresses,
) -> Result<(), Raised> {
    let pattern = Pattern::of(&targets, at.mask);
    resolved(env, block, warp, observer, op, at, &mut targets, pattern)
}

/// An access to the shared memory that is the block's now, whatever space the operand names.
pub(crate) fn shared_at<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    places: &Addresses,
) -> Result<(), Raised> {
    let pattern = Pattern::of(places, at.mask);
    let mut here = Here {
        env,
        block,
        warp,
        observer,
        op,
    };
    here.in_space(at, Space::Shared, places, pattern)
}

#[allow(
    clippy::too_many_arguments,
    reason = "the state of the machine, passed down once"
)]
#[inline(always)]
fn resolved<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    targets: &mut Addresses,
    pattern: Pattern,
) -> Result<(), Raised> {
    let mut here = Here {
        env,
        block,
        warp,
        observer,
        op,
    };
    if op.address.space != Space::Generic {
        return here.in_space(at, op.address.space, targets, pattern);
    }
    if let Some((low, high)) = pattern.ends(at.mask) {
        let ((space, offset), (other, _)) = (window_of(low), window_of(high));
        if space == other {
            let window = low - offset;
            targets.iter_mut().for_each(|t| *t = t.wrapping_sub(window));
            return here.in_space(at, space, targets, pattern.less(window));
        }
    }
    let mut left = at.mask;
    while left != 0 {
        let (space, _) = window_of(targets[left.trailing_zeros() as usize]);
        let group = bits(left)
            .filter(|lane| window_of(targets[*lane]).0 == space)
            .fold(0, |m, lane| m | 1 << lane);
        bits(group).for_each(|lane| targets[lane] = window_of(targets[lane]).1);
        let at = At { mask: group, ..at };
        let pattern = Pattern::of(targets, group);
        here.in_space(at, space, targets, pattern)?;
        left &= !group;
    }
    Ok(())
}

/// An access being executed.
struct Here<'a, 'e, O> {
    env: &'a Env<'e>,
    block: &'a mut Block,
    warp: &'a mut Warp,
    observer: &'a mut O,
    op: &'a MemoryOp,
}

impl<O: Observer> Here<'_, '_, O> {
    // Once a kind of observer: what is called from each place is large.
    #[inline(never)]
    fn in_space(
        &mut self,
        at: At,
        space: Space,
        targets: &Addresses,
        pattern: Pattern,
    ) -> Result<(), Raised> {
        let (op, mask) = (self.op, at.mask);
        let bytes = op.bytes();
        aligned(bytes, mask, space, targets, pattern)?;
        let write = op.access != Access::Load;
        let place = Place {
            offsets: targets,
            base: 0,
            pattern,
            mask,
        };
        match space {
            Space::Global | Space::Generic => self.global(at, place),
            Space::Shared => {
                let inside =
                    inside_shared(self.env, self.block, targets, pattern, mask, bytes, write);
                if let Err(outside) = inside {
                    return self.elsewhere(at, targets, outside);
                }
                self.event(at, space, place, None, true);
                let memory = &mut self.block.shared;
                small(self.env, memory, self.warp, self.observer, op, at, place);
                Ok(())
            }
            Space::Local => {
                let size = self.env.program.local_bytes;
                inside(targets, pattern, mask, bytes, size, space, write)?;
                self.event(at, space, place, None, false);
                let mut own = *targets;
                for (lane, target) in own.iter_mut().enumerate() {
                    *target = target.wrapping_add(lane as u64 * size);
                }
                let place = Place {
                    offsets: &own,
                    base: 0,
                    pattern: Pattern::of(&own, mask),
                    mask,
                };
                let mut local = std::mem::take(&mut self.warp.local);
                let memory = &mut local;
                small(self.env, memory, self.warp, self.observer, op, at, place);
                self.warp.local = local;
                Ok(())
            }
            Space::Const | Space::Param => self.constant(at, space, place),
        }
    }

    /// A shared access that leaves the block's own memory: to that of other blocks, or nowhere.
    #[cold]
    fn elsewhere(&mut self, at: At, targets: &Addresses, outside: Raised) -> Result<(), Raised> {
        if !cluster::any_named(at.mask, targets) {
            return Err(outside);
        }
        let Here {
            env,
            block,
            warp,
            observer,
            op,
        } = self;
        cluster::access(env, block, warp, *observer, op, at, targets)
    }

    fn constant(&mut self, at: At, space: Space, place: Place<'_>) -> Result<(), Raised> {
        let (env, op) = (self.env, self.op);
        let memory = if space == Space::Const {
            env.constants
        } else {
            env.params
        };
        let Place {
            offsets,
            pattern,
            mask,
            ..
        } = place;
        let (size, write) = (memory.len() as u64, op.access != Access::Load);
        inside(offsets, pattern, mask, op.bytes(), size, space, write)?;
        if write {
            let lane = mask.trailing_zeros();
            let kind = FaultKind::ReadOnly {
                space,
                address: offsets[lane as usize % 32],
                name: space.to_string(),
            };
            return Err(Raised::new(kind, lane));
        }
        self.event(at, space, place, None, false);
        if op.address.base.is_none() {
            uniform(memory, self.warp, op, at, offsets[0]);
        } else {
            transfer::load_op(env.arch, memory, self.warp, self.observer, op, at, place);
        }
        Ok(())
    }

    fn global(&mut self, at: At, place: Place<'_>) -> Result<(), Raised> {
        let (env, op) = (self.env, self.op);
        let write = op.access != Access::Load;
        let mut left = place.mask;
        while left != 0 {
            let Place {
                offsets, pattern, ..
            } = place;
            let (a, group) = locate(env, left, offsets, pattern, op.bytes(), write)?;
            let pattern = if group == place.mask {
                pattern.less(a.base)
            } else {
                Pattern::of(offsets, group).less(a.base)
            };
            let place = Place {
                offsets,
                base: a.base,
                pattern,
                mask: group,
            };
            let here = At { mask: group, ..at };
            if O::ACTIVE {
                let own = offsets.map(|offset| offset.wrapping_sub(a.base));
                let place = Place {
                    offsets: &own,
                    base: 0,
                    ..place
                };
                self.event(here, Space::Global, place, Some(a), false);
            }
            let (warp, observer) = (&mut *self.warp, &mut *self.observer);
            let mut memory = a;
            match op.access {
                Access::Load => {
                    transfer::load_op(env.arch, &memory, warp, observer, op, here, place);
                }
                Access::Store => {
                    transfer::store_op(env.arch, &mut memory, warp, observer, op, here, place);
                }
                Access::Atomic(what) => {
                    atomic::global(memory, warp, observer, op, what, here, place);
                }
            }
            left &= !group;
        }
        Ok(())
    }

    #[inline(always)]
    fn event(
        &mut self,
        at: At,
        space: Space,
        place: Place<'_>,
        allocation: Option<&Region<'_>>,
        shared: bool,
    ) {
        if O::ACTIVE {
            self.observer.access(&AccessEvent {
                at,
                op: self.op,
                space,
                offsets: place.offsets,
                pattern: place.pattern,
                allocation,
                bytes: self.op.bytes(),
                registers: &self.warp.registers,
                memory: shared.then_some(&self.block.shared),
            });
        }
    }
}

/// An access to memory that this block alone can touch, already checked.
#[inline(always)]
fn small<O: Observer>(
    env: &Env<'_>,
    memory: &mut Bytes,
    warp: &mut Warp,
    observer: &mut O,
    op: &MemoryOp,
    at: At,
    place: Place<'_>,
) {
    match op.access {
        Access::Load => transfer::load_op(env.arch, memory, warp, observer, op, at, place),
        Access::Store => transfer::store_op(env.arch, memory, warp, observer, op, at, place),
        Access::Atomic(what) => {
            atomic::small(memory, warp, observer, op, what, at, place.offsets);
        }
    }
}

/// The same value for every lane: parameters and constants at a fixed address.
fn uniform(memory: &Bytes, warp: &mut Warp, op: &MemoryOp, at: At, address: u64) {
    let size = op.ty.bytes();
    for (k, reg) in op.registers.iter().enumerate() {
        let Some(reg) = *reg else { continue };
        let from = address + k as u64 * u64::from(size);
        let (parts, width) = if size == 16 { (2, 8) } else { (1, size) };
        for part in 0..parts {
            let value = extend(Store::load(memory, from + 8 * part, width), op.ty);
            let plane = reg.plane + 2 * part as u16;
            let planes = if parts == 2 { 2 } else { reg.planes };
            let part = Reg { plane, planes };
            bits(at.mask).for_each(|lane| super::misc::set(warp, part, lane, value));
        }
    }
}
