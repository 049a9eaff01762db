//! Loads and stores whose lanes are regular: the same place for all, or equal steps from lane to
//! lane. Nearly every access of nearly every kernel is, so this is the way that must be short.
//!
//! The pattern is found in the register itself, the space and the allocation are looked up once,
//! alignment and bounds are those of the first and the last lane, and no address of a single lane
//! is written down unless an observer wants to see it. The values then move in the same go. Some
//! 12 ns an access without an observer, where [`super::access`] takes 60.
//!
//! Nothing is decided here that is not plain: whatever might be a fault, and all that is irregular,
//! is left to [`super::access`] with nothing done.

use super::access::window_of;
use super::block::Block;
use super::bounds::{fit, hold};
use super::observer::{AccessEvent, At, Observer};
use super::pattern::{Addresses, Pattern};
use super::registers::{LANES, Registers};
use super::step::Env;
use super::transfer::{self, Place, Transfer};
use super::warp::Warp;
use crate::lower::form::Form;
use crate::lower::program::{Access, MemoryOp};
use crate::memory::device::Rights;
use crate::memory::region::Region;
use crate::ptx::types::Space;

/// What a regular access goes to, allowed and inside for every lane.
#[derive(Clone, Copy)]
struct Target<'e> {
    /// Device memory, or the block's shared memory where there is none.
    allocation: Option<&'e Region<'e>>,
    /// Offsets there.
    pattern: Pattern,
}

/// Finds what the lanes of `mask` access, if they are regular and nothing is wrong.
#[inline(always)]
fn find<'e>(
    env: &Env<'e>,
    shared_bytes: usize,
    registers: &Registers,
    form: &Form,
    mask: u32,
) -> Option<Target<'e>> {
    let write = match form.access {
        Access::Load => false,
        Access::Store => true,
        Access::Atomic(_) => return None,
    };
    let bytes = form.bytes;
    let pattern = Pattern::of_operand(registers, &form.address, mask);
    let (low, high) = pattern.ends(mask)?;
    let (space, window) = match form.space() {
        Space::Generic => {
            let ((space, offset), (other, _)) = (window_of(low), window_of(high));
            if space != other {
                return None;
            }
            (space, low - offset)
        }
        space => (space, 0),
    };
    let Pattern::Strided { origin, stride } = pattern.less(window) else {
        return None;
    };
    if (origin | stride as u64) & form.crooked != 0 {
        return None;
    }
    match space {
        Space::Shared => {
            let ends = (low - window, high - window);
            let (start, size) = (crate::lower::SHARED_START, shared_bytes as u64);
            let inside = fit(ends, bytes, start, size);
            inside.then_some(Target {
                allocation: None,
                pattern: pattern.less(window),
            })
        }
        Space::Global => {
            let a = env.device.near(low)?;
            let inside = hold(a, (low, high), bytes);
            let forbidden = a.freed || write && a.rights == Rights::ReadOnly;
            (inside && !forbidden).then_some(Target {
                allocation: Some(a),
                pattern: pattern.less(a.base),
            })
        }
        _ => None,
    }
}

/// The lanes of whoever looks at none.
const NOWHERE: &Addresses = &[0; LANES];

/// Executes an access if it is regular; whether it did.
#[inline(always)]
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    (op, form): (&MemoryOp, &Form),
    at: At,
) -> bool {
    let shared_bytes = block.shared.len();
    let Some(target) = find(env, shared_bytes, &warp.registers, form, at.mask) else {
        return false;
    };
    let Target {
        allocation,
        pattern,
    } = target;
    // Observers alone look at each lane.
    let mut each;
    let mut offsets = NOWHERE;
    if O::ACTIVE {
        each = [0; LANES];
        for (lane, offset) in each.iter_mut().enumerate() {
            *offset = pattern.at(lane).unwrap_or_default();
        }
        offsets = &each;
        let space = match allocation {
            Some(_) => Space::Global,
            None => Space::Shared,
        };
        observer.access(&AccessEvent {
            at,
            op,
            space,
            offsets,
            pattern,
            allocation,
            bytes: form.bytes,
            registers: &warp.registers,
            memory: allocation.is_none().then_some(&block.shared),
        });
    }
    let place = Place {
        offsets,
        base: 0,
        pattern,
        mask: at.mask,
    };
    let transfer = Transfer {
        arch: env.arch,
        op,
        form,
        at,
        place,
    };
    let shared = &mut block.shared;
    match (form.access, allocation) {
        (Access::Load, None) => transfer::load(shared, warp, observer, transfer),
        (Access::Load, Some(m)) => transfer::load(&m, warp, observer, transfer),
        (_, None) => transfer::store(shared, warp, observer, transfer),
        (_, Some(mut m)) => transfer::store(&mut m, warp, observer, transfer),
    }
    true
}
