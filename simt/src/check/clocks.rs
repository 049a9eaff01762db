//! What happened before what, within one block or cluster: vector clocks of its warps (FastTrack; Flanagan,
//! Freund, *FastTrack: Efficient and Precise Dynamic Race Detection*, PLDI 2009), and beneath
//! them what the lanes of a warp know of each other.
//!
//! A warp's clock ticks whenever it publishes what it did: at a barrier, at `bar.warp.sync`, at a
//! fence. An access at clock `c` happened before everything that has seen a later clock of that
//! warp. Lanes of one warp are ordered by program order, by `bar.warp.sync` and by what they
//! acquire; a shuffle or vote orders nothing.

use crate::exec::registers::LANES;
use crate::exec::step::bits;

/// Who made an access and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) thread: u32,
    pub(crate) clock: u32,
}

/// What each lane has seen of each other lane of its warp.
#[derive(Debug)]
struct Lanes {
    /// Every lane has seen every other up to here.
    all: u32,
    /// No lane has seen any other beyond this.
    apart: u32,
    /// A lane has seen every other up to here.
    rows: [u32; LANES],
    /// A lane has seen one other up to here.
    pairs: Option<Box<[[u32; LANES]; LANES]>>,
}

/// The clocks of one block, or of the blocks of one cluster.
#[derive(Debug)]
pub(crate) struct Clocks {
    warps: usize,
    /// What warp `w` has seen of warp `u`, at `w * warps + u`.
    seen: Vec<u32>,
    lanes: Vec<Lanes>,
    /// What each barrier's arrivals have published.
    barriers: Vec<Vec<u32>>,
    /// What each warp had seen at its last fence: of any scope, of device scope.
    fences: [Vec<Option<Box<[u32]>>>; 2],
    /// What lanes of each warp have seen published by relaxed waits since its last fence.
    relaxed: Vec<Vec<(u32, Box<[u32]>)>>,
    /// One more than the clock of each warp's last access to memory.
    used: Vec<u32>,
    /// Lanes of each warp that have not exited.
    live: Vec<u32>,
}

fn join(into: &mut [u32], from: &[u32]) {
    into.iter_mut()
        .zip(from)
        .for_each(|(a, b)| *a = (*a).max(*b));
}

impl Clocks {
    pub(crate) fn new(warps: u32, barriers: usize) -> Self {
        let warps = warps as usize;
        let mut seen = vec![0; warps * warps];
        (0..warps).for_each(|w| seen[w * warps + w] = 1);
        let lanes = || Lanes {
            all: 0,
            apart: 0,
            rows: [0; LANES],
            pairs: None,
        };
        Self {
            warps,
            seen,
            lanes: (0..warps).map(|_| lanes()).collect(),
            barriers: vec![Vec::new(); barriers],
            fences: [vec![None; warps], vec![None; warps]],
            relaxed: vec![Vec::new(); warps],
            used: vec![0; warps],
            live: vec![u32::MAX; warps],
        }
    }

    /// The same for blocks of so many warps and threads.
    pub(crate) fn of_blocks(mut self, warps: u32, threads: u32) -> Self {
        if !threads.is_multiple_of(32) {
            let last = self.live.iter_mut().skip(warps as usize - 1);
            let last = last.step_by(warps as usize);
            last.for_each(|live| *live = (1 << (threads % 32)) - 1);
        }
        self
    }

    /// A warp accesses memory.
    #[inline(always)]
    pub(crate) fn used(&mut self, warp: u32) {
        let now = self.now(warp) + 1;
        self.used[warp as usize] = now;
    }

    /// Lanes of a warp exit.
    pub(crate) fn exit(&mut self, warp: u32, lanes: u32) {
        self.live[warp as usize] &= !lanes;
    }

    /// Whether all that the block did to memory happened before all that it will do.
    pub(crate) fn all_ordered(&self) -> bool {
        let live = |w: &usize| self.live[*w] != 0;
        (0..self.warps).filter(live).all(|w| {
            let seen = self.view(w as u32);
            let others = seen.iter().zip(&self.used).enumerate();
            let ordered = |(u, (seen, used)): (usize, (&u32, &u32))| {
                let seen = if u == w { &self.lanes[w].all } else { seen };
                seen >= used
            };
            others.map(ordered).fold(true, |all, yes| all & yes)
        })
    }

    /// Whether what a warp did at a clock happened before what all lanes of `warp` do now, apart
    /// from what each lane did itself; `None`: it depends on the lane.
    #[inline(always)]
    pub(crate) fn whole(&self, from: u32, clock: u32, warp: u32) -> Option<bool> {
        if from != warp {
            return Some(self.seen[warp as usize * self.warps + from as usize] > clock);
        }
        let lanes = &self.lanes[warp as usize];
        if lanes.all > clock {
            Some(true)
        } else if lanes.apart > clock {
            None
        } else {
            Some(false)
        }
    }

    fn view(&self, warp: u32) -> &[u32] {
        &self.seen[warp as usize * self.warps..][..self.warps]
    }

    fn view_mut(&mut self, warp: u32) -> &mut [u32] {
        &mut self.seen[warp as usize * self.warps..][..self.warps]
    }

    /// The clock of a warp now.
    #[inline(always)]
    pub(crate) fn now(&self, warp: u32) -> u32 {
        self.seen[warp as usize * self.warps + warp as usize]
    }

    fn tick(&mut self, warp: u32) -> u32 {
        let clock = &mut self.view_mut(warp)[warp as usize];
        *clock += 1;
        *clock
    }

    /// Whether an access happened before what a thread does now.
    #[inline(always)]
    pub(crate) fn before(&self, earlier: When, warp: u32, lane: u32) -> bool {
        let (from, its_lane) = (earlier.thread / 32, earlier.thread % 32);
        if from != warp {
            return self.seen[warp as usize * self.warps + from as usize] > earlier.clock;
        }
        let lanes = &self.lanes[warp as usize];
        its_lane == lane
            || lanes.all > earlier.clock
            || lanes.rows[lane as usize] > earlier.clock
            || lanes
                .pairs
                .as_ref()
                .is_some_and(|p| p[lane as usize][its_lane as usize] > earlier.clock)
    }

    /// Lanes of a warp meet at `bar.warp.sync`.
    pub(crate) fn warp_sync(&mut self, warp: u32, mask: u32, live: u32) {
        let now = self.tick(warp);
        let lanes = &mut self.lanes[warp as usize];
        if mask & live == live {
            lanes.all = now;
            return;
        }
        lanes.apart = now;
        let pairs = lanes
            .pairs
            .get_or_insert_with(|| Box::new([[0; LANES]; LANES]));
        let mut row = [0; LANES];
        let mut whole = 0;
        for lane in bits(mask) {
            join(&mut row, &pairs[lane]);
            whole = whole.max(lanes.rows[lane]);
            row[lane] = now;
        }
        for lane in bits(mask) {
            pairs[lane] = row;
            lanes.rows[lane] = whole;
        }
    }

    /// A warp arrives at a barrier.
    pub(crate) fn arrive(&mut self, warp: u32, id: u32) {
        let now = self.tick(warp);
        let view = &self.seen[warp as usize * self.warps..][..self.warps];
        let barrier = &mut self.barriers[id as usize];
        barrier.resize(view.len(), 0);
        join(barrier, view);
        // The lanes that arrived have met; others would be a divergent barrier.
        self.lanes[warp as usize].all = now;
    }

    /// A barrier completes for the warps that waited at it. True if these are all, and all that was
    /// done to memory is ordered before all to come; otherwise [`Self::all_ordered`] may still be.
    pub(crate) fn complete(&mut self, id: u32, waiting: impl Iterator<Item = u32>) -> bool {
        let mut published = std::mem::take(&mut self.barriers[id as usize]);
        let mut met = 0;
        for warp in waiting {
            let own = self.now(warp);
            join(self.view_mut(warp), &published);
            self.view_mut(warp)[warp as usize] = own;
            met += 1;
        }
        // Where all have met, each has seen what was published, and no row needs to be looked at.
        let each = published.iter().zip(&self.used).zip(&self.lanes);
        let seen = |((seen, used), lanes): ((&u32, &u32), &Lanes)| seen.min(&lanes.all) >= used;
        let ordered = met == self.warps && each.map(seen).fold(true, |all, yes| all & yes);
        published.clear();
        self.barriers[id as usize] = published;
        ordered
    }

    /// A warp publishes what it has seen.
    pub(crate) fn publish(&mut self, warp: u32) -> Vec<u32> {
        self.tick(warp);
        self.view(warp).to_vec()
    }

    /// A warp executes a fence: what it has seen may be released by its next strong write.
    pub(crate) fn fence(&mut self, warp: u32, wide: bool) {
        self.tick(warp);
        let view: Box<[u32]> = self.view(warp).into();
        if wide {
            self.fences[1][warp as usize] = Some(view.clone());
        }
        self.fences[0][warp as usize] = Some(view);
    }

    /// What a strong write of a warp publishes, to other blocks if `wide`; `now` if the write
    /// itself releases.
    pub(crate) fn released(&mut self, warp: u32, now: bool, wide: bool) -> Option<Box<[u32]>> {
        if now {
            self.fence(warp, wide);
        }
        self.fences[usize::from(wide)][warp as usize].clone()
    }

    /// A relaxed wait of a lane has seen what was published; it acquires nothing yet.
    pub(crate) fn see_relaxed(&mut self, warp: u32, lane: u32, published: &[u32]) {
        let seen = &mut self.relaxed[warp as usize];
        seen.retain(|(other, _)| *other != lane);
        seen.push((lane, published.into()));
    }

    /// Lanes of a warp execute a fence: what their relaxed waits have seen is acquired.
    pub(crate) fn acquire_relaxed(&mut self, warp: u32, mask: u32) {
        if self.relaxed[warp as usize].is_empty() {
            return;
        }
        let (now, later) = std::mem::take(&mut self.relaxed[warp as usize])
            .into_iter()
            .partition(|(lane, _)| mask >> lane & 1 != 0);
        self.relaxed[warp as usize] = later;
        let acquired: Vec<(u32, Box<[u32]>)> = now;
        for (lane, published) in acquired {
            self.acquire(warp, lane, &published);
        }
    }

    /// A lane of a warp acquires what was published in this block.
    pub(crate) fn acquire(&mut self, warp: u32, lane: u32, published: &[u32]) {
        let own = self.now(warp);
        let lanes = &mut self.lanes[warp as usize];
        let row = &mut lanes.rows[lane as usize];
        *row = (*row).max(published[warp as usize]);
        lanes.apart = lanes.apart.max(*row);
        join(self.view_mut(warp), published);
        self.view_mut(warp)[warp as usize] = own + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Clocks, When};

    fn at(clocks: &Clocks, warp: u32, lane: u32) -> When {
        When {
            thread: warp * 32 + lane,
            clock: clocks.now(warp),
        }
    }

    #[test]
    fn a_barrier_orders_what_came_before_it_only() {
        let mut c = Clocks::new(3, 2);
        let before = at(&c, 0, 5);
        (0..2).for_each(|w| c.arrive(w, 1));
        let after = at(&c, 0, 5);
        c.complete(1, 0..2);
        assert!(c.before(before, 1, 0) && !c.before(before, 2, 0));
        assert!(!c.before(after, 1, 0));
        assert!(c.before(before, 0, 7), "lanes of the warp met too");
    }

    #[test]
    fn lanes_are_ordered_by_warp_barriers() {
        let mut c = Clocks::new(1, 1);
        let first = at(&c, 0, 0);
        assert!(!c.before(first, 0, 1) && c.before(first, 0, 0));
        c.warp_sync(0, 0b11, u32::MAX);
        assert!(c.before(first, 0, 1) && !c.before(first, 0, 2));
        c.warp_sync(0, 0b110, u32::MAX);
        assert!(c.before(first, 0, 2), "through lane 1");
    }

    #[test]
    fn a_barrier_of_all_orders_everything() {
        let mut c = Clocks::new(2, 1);
        c.used(0);
        (0..2).for_each(|w| c.arrive(w, 0));
        assert!(c.complete(0, 0..2) && c.all_ordered());
        (0..2).for_each(|w| c.arrive(w, 0));
        assert!(!c.complete(0, 1..2), "one only arrives");
        c.arrive(0, 0);
        c.used(0);
        c.arrive(1, 0);
        assert!(!c.complete(0, 0..2), "and then goes on");
        assert!(!c.all_ordered());
    }

    #[test]
    fn a_lock_orders_critical_sections() {
        let mut c = Clocks::new(2, 1);
        let inside = at(&c, 0, 3);
        c.fence(0, false);
        let outside = at(&c, 0, 3);
        let published = c.released(0, false, false).expect("a fence came before");
        c.acquire(1, 0, &published);
        c.acquire(0, 4, &published);
        assert!(c.before(inside, 1, 9) && !c.before(outside, 1, 9));
        assert!(c.before(inside, 0, 4) && !c.before(inside, 0, 6));
    }
}
