//! Asynchronous copies and mbarriers at work.

use super::access::{self, addresses, shared_inside};
use super::block::Block;
use super::cluster::{at_peer, resolve, shared_address};
use super::fault::{FaultKind, Raised};
use super::misc::{get, set};
use super::mover::each_lane;
use super::observer::{At, BarrierUse, Observer};
use super::registers::LANES;
use super::step::{Env, bits};
use super::warp::Warp;
use crate::lower::asynchronous::{AsyncOp, BarrierAction, BarrierOp, CopyOp, Kept};
use crate::lower::program::Reg;
use crate::ptx::types::Space;

/// Executes one.
pub(crate) fn execute<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &AsyncOp,
    at: At,
) -> Result<(), Raised> {
    match op {
        AsyncOp::Copy(op) => copy(env, block, warp, observer, op, at),
        AsyncOp::Bulk(op) => each_lane(env, block, warp, observer, at, |mover| {
            super::bulk::linear(mover, op)
        }),
        AsyncOp::Tensor(op) => each_lane(env, block, warp, observer, at, |mover| {
            super::tensor::copy(mover, op)
        }),
        AsyncOp::Remote(op) => super::bulk::remote(env, block, warp, observer, op, at),
        AsyncOp::Replace(op) => each_lane(env, block, warp, observer, at, |mover| {
            super::map::replace(mover, op)
        }),
        AsyncOp::CopyMap(op) => {
            let mask = at.mask & at.mask.wrapping_neg();
            let one = At { mask, ..at };
            each_lane(env, block, warp, observer, one, |mover| {
                super::map::copy(mover, op)
            })
        }
        AsyncOp::AcquireMap(map) => {
            if O::ACTIVE {
                let places = addresses(warp, map);
                bits(at.mask).for_each(|lane| observer.map_acquire(at, places[lane]));
            }
            Ok(())
        }
        AsyncOp::Commit { bulk } => {
            if O::ACTIVE {
                observer.copies_commit(at, *bulk);
            }
            Ok(())
        }
        AsyncOp::Wait { pending, bulk } => {
            if O::ACTIVE {
                observer.copies_wait(at, *pending, *bulk);
            }
            Ok(())
        }
        AsyncOp::Barrier(op) => {
            bits(at.mask).try_for_each(|lane| barrier(env, block, warp, observer, op, at, lane))
        }
        AsyncOp::Wgmma(op) => super::wgmma::execute(env, block, warp, observer, op, at),
        AsyncOp::PendingCount { d, state } => {
            for lane in bits(at.mask) {
                let word = Phase::unpack(get(warp, *state, lane));
                warp.registers.narrow_mut(*d)[lane] = word.pending;
            }
            Ok(())
        }
    }
}

fn copy<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &CopyOp,
    at: At,
) -> Result<(), Raised> {
    let (from, to) = (
        addresses(warp, &op.source),
        addresses(warp, &op.destination),
    );
    let kept: [u32; LANES] = match op.kept {
        Kept::All => [op.size; LANES],
        Kept::Bytes(plane) => *warp.registers.narrow(plane),
        Kept::Unless(p) => {
            let ignored = warp.registers.predicates[usize::from(p)];
            std::array::from_fn(|lane| if ignored >> lane & 1 != 0 { 0 } else { op.size })
        }
    };
    if let Some(lane) = bits(at.mask).find(|lane| kept[*lane] > op.size) {
        let (kept, size) = (kept[lane], op.size);
        let kind = FaultKind::CopySource { kept, size };
        return Err(Raised::new(kind, lane as u32));
    }
    let lanes = |holds: &dyn Fn(u32) -> bool| {
        bits(at.mask)
            .filter(|l| holds(kept[*l]))
            .fold(0u32, |m, l| m | 1 << l)
    };
    let whole = lanes(&|n| n == op.size);
    let parts = if whole == at.mask { 0 } else { op.size };
    for lane in bits(at.mask & !whole) {
        (0..op.size / 4).for_each(|k| set_word(warp, op.scratch, k, lane, 0));
    }
    if whole != 0 {
        let here = At { mask: whole, ..at };
        access::execute_at(env, block, warp, observer, &op.load, here, from)?;
    }
    // Sources that end inside the copy are read byte by byte.
    for k in 0..parts {
        let some = lanes(&|n| n < op.size && k < n);
        if some == 0 {
            continue;
        }
        let here = At { mask: some, ..at };
        let byte_at = from.map(|a| a.wrapping_add(u64::from(k)));
        access::execute_at(env, block, warp, observer, &op.load_byte, here, byte_at)?;
        for lane in bits(some) {
            let byte = (get(warp, op.byte, lane) & 0xff) as u32;
            let old = word(warp, op.scratch, k / 4, lane);
            set_word(warp, op.scratch, k / 4, lane, old | byte << (8 * (k % 4)));
        }
    }
    access::execute_at(env, block, warp, observer, &op.store, at, to)?;
    if O::ACTIVE {
        let places = to.map(|address| resolve(block, address).1);
        observer.copies_issue(at, &places, op.size, false);
    }
    Ok(())
}

/// The register that holds the 32-bit word `index` of a register of up to four planes, and
/// where in it: wide registers hold 64 consecutive bits of each lane.
fn holder(whole: Reg, index: u32) -> (Reg, u32) {
    if whole.planes == 1 {
        return (whole, 0);
    }
    let plane = whole.plane + (index / 2 * 2) as u16;
    (Reg { plane, planes: 2 }, 32 * (index % 2))
}

pub(crate) fn word(warp: &Warp, whole: Reg, index: u32, lane: usize) -> u32 {
    let (reg, shift) = holder(whole, index);
    (get(warp, reg, lane) >> shift) as u32
}

pub(crate) fn set_word(warp: &mut Warp, whole: Reg, index: u32, lane: usize, word: u32) {
    let (reg, shift) = holder(whole, index);
    let others = get(warp, reg, lane) & !(0xffff_ffff << shift);
    set(warp, reg, lane, others | u64::from(word) << shift);
}

/// What an mbarrier's 64 bits hold. Programs treat them as opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    parity: bool,
    /// Arrivals still missing in this phase.
    pending: u32,
    /// Arrivals of each phase.
    expected: u32,
    /// Bytes announced and not yet landed.
    bytes: i32,
}

const COUNT: u64 = (1 << 20) - 1;

impl Phase {
    fn unpack(word: u64) -> Self {
        Self {
            parity: word & 1 != 0,
            pending: (word >> 1 & COUNT) as u32,
            expected: (word >> 21 & COUNT) as u32,
            bytes: (word as i64 >> 41) as i32,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.parity)
            | (u64::from(self.pending) & COUNT) << 1
            | (u64::from(self.expected) & COUNT) << 21
            | (i64::from(self.bytes) << 41) as u64
    }

    /// The next phase, if nothing is missing in this one.
    fn settled(mut self) -> Self {
        if self.pending == 0 && self.bytes == 0 {
            self.parity = !self.parity;
            self.pending = self.expected;
        }
        self
    }

    fn arrive(mut self, count: u32, drops: bool) -> Self {
        self.pending = self.pending.saturating_sub(count);
        if drops {
            self.expected = self.expected.saturating_sub(count);
        }
        self.settled()
    }

    fn expect_bytes(mut self, bytes: u32) -> Self {
        self.bytes = self.bytes.wrapping_add_unsigned(bytes);
        self
    }

    fn complete_bytes(mut self, bytes: u32) -> Self {
        self.bytes = self.bytes.wrapping_sub_unsigned(bytes);
        self.settled()
    }
}

/// Checks the place of an mbarrier.
fn located(env: &Env<'_>, block: &Block, place: u64, lane: usize) -> Result<usize, Raised> {
    if !place.is_multiple_of(8) {
        let kind = FaultKind::Misaligned {
            space: Space::Shared,
            address: place,
            bytes: 8,
        };
        return Err(Raised::new(kind, lane as u32));
    }
    shared_inside(env, block, place, 8, true, lane)?;
    Ok(place as usize)
}

/// Bytes have landed that the mbarrier at a place expects.
pub(crate) fn complete<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    observer: &mut O,
    at: At,
    place: u64,
    bytes: u32,
) -> Result<(), Raised> {
    let place = located(env, block, place, at.mask.trailing_zeros() as usize)?;
    update(block, place, |phase| phase.complete_bytes(bytes));
    if O::ACTIVE {
        observer.mbarrier(at, place as u64, BarrierUse::Released);
    }
    Ok(())
}

fn read(block: &Block, place: usize) -> u64 {
    block.shared.load(place, 8).unwrap_or(0)
}

/// Changes an mbarrier; returns what it held.
fn update(block: &mut Block, place: usize, change: impl FnOnce(Phase) -> Phase) -> u64 {
    let word = read(block, place);
    block
        .shared
        .store(place, 8, change(Phase::unpack(word)).pack());
    block.shared.mark(place, 8, 0xff);
    word
}

fn barrier<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &BarrierOp,
    at: At,
    lane: usize,
) -> Result<(), Raised> {
    let given = addresses(warp, &op.address)[lane];
    let (rank, place) = resolve(block, shared_address(op.address.space, given, lane)?);
    at_peer(
        env,
        block,
        observer,
        rank,
        lane,
        place,
        |block, observer| barrier_at(env, block, warp, observer, op, at, lane, place),
    )
}

#[allow(clippy::too_many_arguments, reason = "the operands of the instruction")]
fn barrier_at<O: Observer>(
    env: &Env<'_>,
    block: &mut Block,
    warp: &mut Warp,
    observer: &mut O,
    op: &BarrierOp,
    at: At,
    lane: usize,
    place: u64,
) -> Result<(), Raised> {
    let place = located(env, block, place, lane)?;
    let operand = op.operand.map(|reg| get(warp, reg, lane));
    let number = operand.unwrap_or(1) as u32;
    let mut waited = false;
    let fault = miscounted(op.action, number, Phase::unpack(read(block, place)));
    let before = match op.action {
        BarrierAction::Init => update(block, place, |_| Phase {
            parity: false,
            pending: number,
            expected: number,
            bytes: 0,
        }),
        BarrierAction::Invalidate => {
            let word = read(block, place);
            block.shared.mark(place, 8, 0);
            word
        }
        BarrierAction::Arrive { drops, .. } => update(block, place, |p| p.arrive(number, drops)),
        BarrierAction::ArriveExpect { drops } => {
            update(block, place, |p| p.expect_bytes(number).arrive(1, drops))
        }
        BarrierAction::Expect => update(block, place, |p| p.expect_bytes(number)),
        BarrierAction::Complete => update(block, place, |p| p.complete_bytes(number)),
        // The copies have landed: one more arrival is expected and made, or one is made.
        BarrierAction::ArriveCopies { counted: false } => read(block, place),
        BarrierAction::ArriveCopies { counted: true } => {
            update(block, place, |p| p.arrive(1, false))
        }
        BarrierAction::TestState | BarrierAction::TestParity => {
            let word = read(block, place);
            let now = Phase::unpack(word).parity;
            let tested = operand.unwrap_or(0) & 1 != 0;
            waited = now != tested;
            word
        }
    };
    if let Some(state) = op.state {
        set(warp, state, lane, before);
    }
    if let Some(p) = op.answer {
        super::collective::set_predicate(warp, p, 1 << lane, u32::from(waited) << lane);
    }
    if O::ACTIVE {
        let what = match op.action {
            BarrierAction::Init => BarrierUse::Init,
            BarrierAction::Invalidate => BarrierUse::Invalidate,
            BarrierAction::TestState | BarrierAction::TestParity if waited => BarrierUse::Passed {
                relaxed: op.relaxed,
            },
            BarrierAction::TestState | BarrierAction::TestParity => BarrierUse::Tested,
            BarrierAction::Expect | BarrierAction::Complete => BarrierUse::Relaxed,
            _ if op.relaxed => BarrierUse::Relaxed,
            _ => BarrierUse::Released,
        };
        let mask = 1 << lane;
        observer.mbarrier(At { mask, ..at }, place as u64, what);
    }
    fault.map_or(Ok(()), |kind| Err(Raised::new(kind, lane as u32)))
}

/// What is wrong with a count (PTX manual, "mbarrier": the ranges of counts, `.noComplete`).
fn miscounted(action: BarrierAction, number: u32, before: Phase) -> Option<FaultKind> {
    let (count, most) = match action {
        BarrierAction::Init => (number, COUNT as u32),
        BarrierAction::Arrive { .. } => (number, before.pending),
        BarrierAction::ArriveExpect { .. } | BarrierAction::ArriveCopies { counted: true } => {
            (1, before.pending)
        }
        _ => return None,
    };
    if !(1..=most).contains(&count) {
        return Some(FaultKind::MbarrierCount { count, most });
    }
    let partial = matches!(action, BarrierAction::Arrive { partial: true, .. });
    (partial && count == most && before.bytes == 0)
        .then_some(FaultKind::MbarrierCompletes { count })
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn a_phase_ends_when_arrivals_and_bytes_are_in() {
        let start = Phase {
            parity: false,
            pending: 2,
            expected: 2,
            bytes: 0,
        };
        assert_eq!(Phase::unpack(start.pack()), start);
        let waiting = start.expect_bytes(64).arrive(1, false);
        assert_eq!(Phase::unpack(waiting.pack()), waiting);
        assert!(!waiting.parity);
        let arrived = waiting.arrive(1, false);
        assert!(!arrived.parity, "the bytes are missing");
        let done = arrived.complete_bytes(64);
        assert_eq!(
            done,
            Phase {
                parity: true,
                ..start
            }
        );
        // Bytes may land before they are announced.
        let early = start.complete_bytes(32);
        assert_eq!(Phase::unpack(early.pack()).bytes, -32);
        assert!(early.expect_bytes(32).arrive(2, false).parity);
        let dropped = start.arrive(1, true).arrive(1, false);
        assert_eq!((dropped.pending, dropped.expected), (1, 1));
    }
}
