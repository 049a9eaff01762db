//! Three ways to device memory: ordinary instructions take the generic proxy, bulk and tensor
//! copies the asynchronous one, and a copy reads its tensor map by a third (PTX manual, "Proxies").
//!
//! * What an ordinary instruction wrote, a bulk copy reads or replaces only after
//!   `fence.proxy.async`, of all memory or of `.global`, by the thread that wrote or by one that
//!   comes after it.
//! * A tensor map that the kernel itself wrote must be released by
//!   `fence.proxy.tensormap::generic.release` (`tensormap.cp_fenceproxy` does that too) and acquired
//!   at its address before a copy uses it, even by the same thread.
//!
//! What was there before the launch needs neither. Of another cluster than the writer's any later
//! fence counts, and an acquire by any thread of the cluster: some misuse goes unseen, none is made
//! up.

use super::clocks::{Clocks, When};
use super::cluster::Clusters;
use super::finding::{Log, Mistake, Raw, RawSide};
use super::race::writes;
use super::{Checker, Checks};
use crate::exec::observer::{AccessEvent, At};
use crate::exec::step::bits;
use crate::lower::asynchronous::AsyncOp;
use crate::lower::program::Program;
use crate::tensor_map;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Words of device memory whose writes are kept together.
const WORDS: u64 = 1 << 11;

/// Writes kept for each chunk of words that was touched: one for each 128 bytes, as much as a warp
/// writes at once in whole words. With the words they take less than one and a half bytes a byte.
const EACH: usize = 4 * WORDS as usize / 128;

/// Words name one of so many writes at the most.
const MOST: usize = 1 << 20;

/// Ordinary writes by one instruction of a warp.
#[derive(Clone, Copy, Debug)]
struct Write {
    block: u64,
    /// Proxy fences of the launch before it.
    time: u64,
    /// Its number in the block.
    warp: u32,
    clock: u32,
    pc: u32,
    /// None where no word names the write any more.
    lanes: u32,
    /// Lanes whose writes a fence made known to the asynchronous proxy.
    fenced: u32,
    /// Lanes whose writes were released to the tensor map proxy.
    released: u32,
}

impl Write {
    /// The block that stands for the writer's cluster.
    fn cluster(&self, clusters: &Clusters) -> u64 {
        clusters.member(self.block).first
    }

    fn side(&self, lane: u32, what: &str) -> RawSide {
        RawSide {
            what: what.to_owned(),
            block: self.block,
            thread: self.warp * 32 + lane,
            pc: self.pc,
        }
    }

    /// Lanes whose writes happened before what the lanes of `mask` of a warp do now.
    fn before(&self, clocks: &Clocks, clusters: &Clusters, warp: u32, mask: u32) -> u32 {
        let from = clusters.member(self.block).base + self.warp;
        match clocks.whole(from, self.clock, warp) {
            Some(true) => self.lanes,
            Some(false) if from != warp => 0,
            Some(false) => self.lanes & mask,
            None => {
                let when = |lane: usize| When {
                    thread: from * 32 + lane as u32,
                    clock: self.clock,
                };
                let known =
                    |lane: &usize| bits(mask).any(|by| clocks.before(when(*lane), warp, by as u32));
                bits(self.lanes).filter(known).fold(0, |m, l| m | 1 << l)
            }
        }
    }
}

/// A warp of a block, as the checkers number it.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) clocks: &'a Clocks,
    pub(crate) clusters: &'a Clusters,
    /// The block that stands for its cluster.
    pub(crate) cluster: u64,
    /// Its number in the cluster.
    pub(crate) warp: u32,
}

#[derive(Debug, Default)]
struct State {
    /// For each word the last ordinary write and its lane: zero for none.
    chunks: HashMap<u64, Box<[u32]>>,
    writes: Vec<Write>,
    /// Those of them that no word names.
    free: Vec<u32>,
    /// Writes that found no room since unnamed ones were last looked for.
    refused: usize,
    /// Proxy fences and acquires so far.
    time: u64,
    /// The last fence of the asynchronous proxy, and the last by another cluster than that one's.
    fences: [(u64, u64); 2],
    /// When a cluster last acquired the tensor map at an address.
    acquired: HashMap<(u64, u64), u64>,
}

impl State {
    fn word(&mut self, place: u64) -> Option<&mut u32> {
        let chunk = self.chunks.get_mut(&(place / WORDS))?;
        chunk.get_mut((place % WORDS) as usize)
    }

    fn write_at(&mut self, place: u64) -> Option<(Write, u32)> {
        let packed = *self.word(place)?;
        let write = self.writes.get((packed >> 5).checked_sub(1)? as usize)?;
        Some((*write, packed & 31))
    }

    /// The index of a new write; `None` where there is no room for it: misuse of what it wrote goes
    /// unseen.
    fn add(&mut self, write: Write) -> Option<u32> {
        let most = MOST.min(EACH * self.chunks.len().max(1));
        if self.free.is_empty() && self.writes.len() >= most && self.refused == 0 {
            self.drop_unnamed();
            // If that gave little, not again soon: looking at all words costs as much as so many
            // writes.
            self.refused = usize::from(self.free.len() < most / 4);
        }
        if let Some(index) = self.free.pop() {
            self.writes[index as usize] = write;
            return Some(index);
        }
        if self.writes.len() >= most {
            self.refused = (self.refused + 1) % most;
            return None;
        }
        if self.writes.len() == self.writes.capacity() {
            self.writes.reserve_exact((self.writes.len() / 8).max(16));
        }
        self.writes.push(write);
        Some(self.writes.len() as u32 - 1)
    }

    /// Frees the writes that no word names: others came after them.
    #[cold]
    fn drop_unnamed(&mut self) {
        let mut named = vec![false; self.writes.len()];
        for word in self.chunks.values().flat_map(|chunk| chunk.iter()) {
            if let Some(index) = (word >> 5).checked_sub(1) {
                named[index as usize] = true;
            }
        }
        let each = self.writes.iter_mut().zip(&named).enumerate();
        for (index, (write, _)) in each.filter(|(_, (_, named))| !**named) {
            write.lanes = 0;
            self.free.push(index as u32);
        }
    }

    /// Whether a cluster that did not make a write fenced after it.
    fn fenced_elsewhere(&self, write: &Write, clusters: &Clusters) -> bool {
        let cluster = write.cluster(clusters);
        let mut others = self.fences.iter().filter(|(by, _)| *by != cluster);
        others.next().is_some_and(|(_, time)| *time > write.time)
    }
}

/// The ordinary writes to device memory of a launch.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    state: Mutex<State>,
    /// Whether there is any.
    written: AtomicBool,
}

/// The writes of a cluster that not all proxies know of.
#[derive(Debug, Default)]
pub(crate) struct Open(Vec<u32>);

impl Open {
    /// Another cluster begins.
    pub(crate) fn restart(&mut self) {
        self.0.clear();
    }
}

/// Whether a program takes more than one way to device memory, and it is watched.
pub(crate) fn records(program: &Program, checks: Checks) -> bool {
    let copies = |op: &AsyncOp| op.to_device_memory();
    checks.has(Checker::Proxy) && program.asyncs.iter().any(copies)
}

/// What a fence makes ordinary writes known to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Async,
    Maps,
}

impl Shadow {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn words_of(event: &AccessEvent<'_>, lane: usize) -> std::ops::Range<u64> {
        let base = event.allocation.map_or(0, |a| a.base);
        let start = base + event.offsets[lane];
        start / 4..(start + u64::from(event.bytes)).div_ceil(4)
    }

    /// An ordinary access; `released`: it tells the tensor map proxy itself.
    pub(crate) fn ordinary(
        &self,
        who: Who<'_>,
        open: &mut Open,
        event: &AccessEvent<'_>,
        released: bool,
    ) {
        if !writes(event.op) {
            return;
        }
        self.written.store(true, Relaxed);
        let state = &mut *self.lock();
        let at = event.at;
        let write = Write {
            block: at.block,
            warp: at.warp,
            clock: who.clocks.now(who.warp),
            pc: at.pc,
            lanes: at.mask,
            time: state.time,
            fenced: 0,
            released: if released { u32::MAX } else { 0 },
        };
        let number = match open.0.last() {
            // A loop between two fences is one write.
            Some(last) if state.writes[*last as usize].same(&write) => {
                state.writes[*last as usize].lanes |= at.mask;
                last + 1
            }
            _ => state.add(write).map_or(0, |index| {
                open.0.push(index);
                index + 1
            }),
        };
        for lane in bits(at.mask) {
            let packed = if number == 0 {
                0
            } else {
                number << 5 | lane as u32
            };
            for place in Self::words_of(event, lane) {
                let fresh = || vec![0; WORDS as usize].into_boxed_slice();
                let chunk = state.chunks.entry(place / WORDS).or_insert_with(fresh);
                chunk[(place % WORDS) as usize] = packed;
            }
        }
    }

    /// Lanes of a warp execute a proxy fence.
    pub(crate) fn fence(&self, who: Who<'_>, open: &mut Open, mask: u32, to: To) {
        let state = &mut *self.lock();
        state.time += 1;
        if to == To::Async {
            if state.fences[0].0 != who.cluster {
                state.fences[1] = state.fences[0];
            }
            state.fences[0] = (who.cluster, state.time);
        }
        let writes = &mut state.writes;
        open.0.retain(|index| {
            let write = &mut writes[*index as usize];
            // Dropped, and perhaps another's now.
            if write.lanes == 0 || write.cluster(who.clusters) != who.cluster {
                return false;
            }
            let known = write.before(who.clocks, who.clusters, who.warp, mask);
            match to {
                To::Async => write.fenced |= known,
                To::Maps => write.released |= known,
            }
            write.lanes & !(write.fenced & write.released) != 0
        });
    }

    /// A bulk copy accesses device memory. A write of the same cluster that is not even ordered
    /// before it is a race, which others report.
    pub(crate) fn asynchronous(&self, who: Who<'_>, event: &AccessEvent<'_>, log: &mut Log) {
        if !self.written.load(Relaxed) {
            return;
        }
        let state = &mut *self.lock();
        for lane in bits(event.at.mask) {
            for place in Self::words_of(event, lane) {
                let Some((write, by)) = state.write_at(place) else {
                    continue;
                };
                let elsewhere = write.cluster(who.clusters) != who.cluster;
                let known = write.fenced >> by & 1 != 0
                    || elsewhere && state.fenced_elsewhere(&write, who.clusters);
                if !known && who.comes_after(&write, by, lane as u32) {
                    report_access(log, event, lane as u32, &write, by);
                }
                if let Some(word) = state.word(place).filter(|_| writes(event.op)) {
                    *word = 0;
                }
            }
        }
    }

    /// Lanes of a cluster acquire the tensor map at an address.
    pub(crate) fn map_acquire(&self, cluster: u64, address: u64) {
        let state = &mut *self.lock();
        state.time += 1;
        state.acquired.insert((address, cluster), state.time);
    }

    /// A copy reads the tensor map at an address.
    pub(crate) fn map_read(&self, who: Who<'_>, at: At, address: u64, log: &mut Log) {
        if !self.written.load(Relaxed) {
            return;
        }
        let state = &mut *self.lock();
        let acquired = state.acquired.get(&(address, who.cluster)).copied();
        let lane = at.mask.trailing_zeros();
        for place in address / 4..(address + tensor_map::BYTES as u64) / 4 {
            let Some((write, by)) = state.write_at(place) else {
                continue;
            };
            if !who.comes_after(&write, by, lane) {
                continue;
            }
            if write.released >> by & 1 == 0 {
                return report_map(log, at, &write, by, "released");
            }
            if acquired.is_none_or(|time| time <= write.time) {
                return report_map(log, at, &write, by, "acquired");
            }
        }
    }

    /// Bytes of host memory the records occupy.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.lock();
        let chunks = state.chunks.len() as u64 * WORDS * 4;
        let writes = state.writes.capacity() * size_of::<Write>();
        chunks + (writes + state.free.capacity() * size_of::<u32>()) as u64
    }
}

impl Write {
    /// Whether another write can be told as this one.
    fn same(&self, other: &Write) -> bool {
        let whole = |w: &Write| (w.block, w.warp, w.clock, w.pc, w.time, w.fenced, w.released);
        self.lanes != 0 && whole(self) == whole(other)
    }
}

impl Who<'_> {
    fn comes_after(&self, write: &Write, by: u32, lane: u32) -> bool {
        write.cluster(self.clusters) != self.cluster
            || write.before(self.clocks, self.clusters, self.warp, 1 << lane) >> by & 1 != 0
    }
}

#[cold]
fn report_access(log: &mut Log, event: &AccessEvent<'_>, lane: u32, write: &Write, by: u32) {
    let at = event.at;
    let what = if writes(event.op) {
        "overwrites"
    } else {
        "reads"
    };
    log.add((at.pc, write.pc, Checker::Proxy, Mistake::Unfenced), || Raw {
        message: format!(
            "an asynchronous operation {what} device memory that an ordinary instruction wrote in \
             this launch, without a proxy fence between"
        ),
        usual_cause: "no `fence.proxy.async` by the threads that wrote, before what tells others \
                      that the data is there; an ordinary fence is none between proxies",
        sides: vec![
            RawSide {
                what: format!("{what} it by the asynchronous proxy"),
                block: at.block,
                thread: at.warp * 32 + lane,
                pc: at.pc,
            },
            write.side(by, "wrote it"),
        ],
    });
}

#[cold]
fn report_map(log: &mut Log, at: At, write: &Write, by: u32, missing: &str) {
    log.add((at.pc, write.pc, Checker::Proxy, Mistake::StaleMap), || Raw {
        message: format!(
            "a copy uses a tensor map that this launch wrote and that was not {missing} since"
        ),
        usual_cause: "`fence.proxy.tensormap::generic.release` (or `tensormap.cp_fenceproxy`) by \
                      who writes a tensor map, and `.acquire` of its address by who uses it, are \
                      both needed",
        sides: vec![
            RawSide {
                what: "uses it".to_owned(),
                block: at.block,
                thread: at.warp * 32 + at.mask.trailing_zeros(),
                pc: at.pc,
            },
            write.side(by, "wrote it"),
        ],
    });
}
