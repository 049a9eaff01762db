//! Races on device memory, within a block and between blocks.
//!
//! Records are kept by word in chunks that are made when they are first touched: eight bytes a
//! word for writes, eight for reads, so at most four bytes a byte. Memory that the program may
//! only read needs none.
//!
//! Blocks are ordered by release and acquire only: a fence of device scope followed by an atomic
//! or another strong write publishes what the warp had seen at the fence; an atomic or strong
//! read of the same address acquires it. Acquiring is not asked to have a fence of its own.

use super::Checker;
use super::cell::{Entry, Record};
use super::clocks::{Clocks, When};
use super::finding::Log;
use super::race::{self, Conflict, Sites, report, strong, visit, writes};
use crate::exec::observer::AccessEvent;
use crate::exec::step::bits;
use crate::lower::program::{Access, Order, Scope};
use crate::memory::device::{Allocation, Rights};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Bytes of device memory in one chunk of records.
const CHUNK: u64 = 1 << 13;

#[derive(Debug, Default)]
struct Chunk {
    writes: Vec<Record>,
    reads: Vec<Record>,
}

type Chunks = Arc<Vec<Mutex<Chunk>>>;

/// Records of all device memory, and what blocks published; one for a launch.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    allocations: RwLock<HashMap<u64, Chunks>>,
    hubs: Mutex<Hubs>,
}

/// Hubs, by index, and how much of their history was acquired.
type Acquired = Vec<(u32, u32)>;

/// What a block has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    acquired: Acquired,
    /// Records of allocations it has touched, by address.
    chunks: Vec<(u64, Chunks)>,
}

/// One release of a block at a hub.
#[derive(Debug)]
struct Release {
    version: u32,
    view: Box<[u32]>,
    /// Whether its fence reaches other blocks.
    wide: bool,
}

/// An address at which threads synchronise: its releases, numbered.
#[derive(Debug, Default)]
struct Hub {
    version: u32,
    by_block: HashMap<u64, Vec<Release>>,
    /// What releasing blocks had acquired elsewhere: since which version, hub, its version.
    inherited: Vec<(u32, u32, u32)>,
}

#[derive(Debug, Default)]
struct Hubs {
    by_address: HashMap<u64, u32>,
    all: Vec<Hub>,
}

/// Releases of one block at one address that are told apart. Beyond them the oldest are taken
/// for later ones, so that a race may be missed and none is made up.
const HISTORY: usize = 16;

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hubs {
    fn publish(&mut self, address: u64, block: u64, view: Box<[u32]>, wide: bool, seen: &Acquired) {
        let next = self.all.len() as u32;
        let at = *self.by_address.entry(address).or_insert(next);
        if at == next {
            self.all.push(Hub::default());
        }
        let hub = &mut self.all[at as usize];
        hub.version += 1;
        let version = hub.version;
        let releases = hub.by_block.entry(block).or_default();
        if releases.len() >= HISTORY {
            releases[1].version = releases[0].version;
            releases.remove(0);
        }
        releases.push(Release {
            version,
            view,
            wide,
        });
        for (other, upto) in seen.iter().filter(|(h, _)| *h != at) {
            let known = |(_, h, v): &(u32, u32, u32)| h == other && v >= upto;
            if !hub.inherited.iter().any(known) {
                hub.inherited.push((version, *other, *upto));
            }
        }
    }

    /// Whether another block's access was published to one that has acquired `seen`.
    fn before(&self, cluster: u64, earlier: When, seen: &Acquired) -> bool {
        let warp = (earlier.thread / 32) as usize;
        let mut open = seen.clone();
        let mut done: HashMap<u32, u32> = HashMap::new();
        while let Some((at, version)) = open.pop() {
            if done.get(&at).is_some_and(|v| *v >= version) {
                continue;
            }
            done.insert(at, version);
            let hub = &self.all[at as usize];
            let releases = hub.by_block.get(&cluster).into_iter().flatten();
            let mut upto = releases.filter(|r| r.version <= version && r.wide);
            if upto.any(|r| r.view[warp] > earlier.clock) {
                return true;
            }
            let inherited = hub.inherited.iter().filter(|(since, ..)| *since <= version);
            open.extend(inherited.map(|(_, hub, upto)| (*hub, *upto)));
        }
        false
    }
}

impl Shadow {
    /// The chunks of an allocation; `known` are those that a block has asked for.
    fn chunks(&self, a: &Allocation, known: &mut Vec<(u64, Chunks)>) -> Chunks {
        if let Some((_, chunks)) = known.iter().find(|(base, _)| *base == a.base) {
            return Arc::clone(chunks);
        }
        let chunks = self.look_up(a);
        known.push((a.base, Arc::clone(&chunks)));
        chunks
    }

    fn look_up(&self, a: &Allocation) -> Chunks {
        let known = self.allocations.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(chunks) = known.get(&a.base) {
            return chunks.clone();
        }
        drop(known);
        let all = self.allocations.write();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            let count = a.bytes.div_ceil(CHUNK);
            Arc::new((0..count).map(|_| Mutex::default()).collect())
        };
        all.entry(a.base).or_insert_with(fresh).clone()
    }

    /// Checks an access.
    pub(crate) fn access(
        &self,
        sites: &Sites<'_>,
        clocks: &mut Clocks,
        seen: &mut Seen,
        log: &mut Log,
        event: &AccessEvent<'_>,
    ) {
        let index = sites.number(event.at.pc);
        let Some(a) = event.allocation else { return };
        if a.rights == Rights::ReadOnly || !Record::fits(event.at.block, index) {
            return;
        }
        let own_strong = strong(event.op, Scope::Block);
        let member = sites.clusters.member(event.at.block);
        let warp = event.at.warp + member.base;
        if own_strong && event.op.access != Access::Store {
            self.acquire(
                clocks,
                &mut seen.acquired,
                event,
                a.base,
                (member.first, warp),
            );
        }
        let chunks = self.chunks(a, &mut seen.chunks);
        let mut held: Option<(u64, MutexGuard<'_, Chunk>)> = None;
        for lane in bits(event.at.mask) {
            let start = event.offsets[lane];
            let end = start + u64::from(event.bytes);
            for word in start / 4..end.div_ceil(4) {
                let number = word * 4 / CHUNK;
                if held.as_ref().is_none_or(|(n, _)| *n != number) {
                    drop(held.take());
                    held = Some((number, lock(&chunks[number as usize])));
                }
                let Some((_, chunk)) = &mut held else { return };
                let new = Entry {
                    block: event.at.block,
                    when: When {
                        thread: event.at.warp * 32 + lane as u32,
                        clock: clocks.now(warp),
                    },
                    op: index,
                    bytes: race::bytes_of_word(word, start, end),
                    others: false,
                };
                let found = self.word(chunk, sites, clocks, &seen.acquired, event, new, word);
                if let Some(conflict) = found {
                    let checker = Checker::GlobalRace;
                    report(log, sites, checker, event, &new, &conflict, word * 4);
                }
            }
        }
        drop(held);
        if own_strong && writes(event.op) {
            self.release(clocks, &seen.acquired, event, a.base, (member.first, warp));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one access")]
    #[inline(always)]
    fn word(
        &self,
        chunk: &mut Chunk,
        sites: &Sites<'_>,
        clocks: &Clocks,
        seen: &Acquired,
        event: &AccessEvent<'_>,
        new: Entry,
        word: u64,
    ) -> Option<Conflict> {
        let is_write = writes(event.op);
        let at = (word % (CHUNK / 4)) as usize;
        let side = if is_write {
            &mut chunk.writes
        } else {
            &mut chunk.reads
        };
        if side.is_empty() {
            side.resize((CHUNK / 4) as usize, Record::default());
        }
        let (mut no_write, mut no_read) = (Record::default(), Record::default());
        let write = chunk.writes.get_mut(at).unwrap_or(&mut no_write);
        let read = chunk.reads.get_mut(at).unwrap_or(&mut no_read);
        let lane = new.when.thread % 32;
        let (own, clusters) = (sites.clusters.member(new.block), &sites.clusters);
        let before = |e: &Entry| {
            let member = clusters.member(e.block);
            if member.first == own.first {
                clocks.before(
                    clusters.when(e.block, e.when),
                    event.at.warp + own.base,
                    lane,
                )
            } else {
                !seen.is_empty()
                    && lock(&self.hubs).before(member.first, clusters.when(e.block, e.when), seen)
            }
        };
        let tolerates = |e: &Entry| {
            let scope = if e.block == new.block {
                Scope::Block
            } else if clusters.member(e.block).first == own.first {
                Scope::Cluster
            } else {
                Scope::Device
            };
            strong(event.op, scope) && sites.strong(e.op, scope)
        };
        visit(write, read, new, is_write, tolerates, before)
    }

    fn acquire(
        &self,
        clocks: &mut Clocks,
        seen: &mut Acquired,
        event: &AccessEvent<'_>,
        base: u64,
        (cluster, warp): (u64, u32),
    ) {
        let hubs = lock(&self.hubs);
        if hubs.all.is_empty() {
            return;
        }
        for lane in bits(event.at.mask) {
            let Some(at) = hubs.by_address.get(&(base + event.offsets[lane])) else {
                continue;
            };
            let hub = &hubs.all[*at as usize];
            match seen.iter_mut().find(|(h, _)| h == at) {
                Some((_, version)) => *version = hub.version,
                None => seen.push((*at, hub.version)),
            }
            let own = hub.by_block.get(&cluster).and_then(|r| r.last());
            if let Some(release) = own {
                clocks.acquire(warp, lane as u32, &release.view);
            }
        }
    }

    fn release(
        &self,
        clocks: &mut Clocks,
        seen: &Acquired,
        event: &AccessEvent<'_>,
        base: u64,
        (cluster, warp): (u64, u32),
    ) {
        let now = matches!(event.op.order, Order::Release | Order::AcquireRelease);
        let far = event.op.scope >= Scope::Device;
        let wide = clocks.released(warp, now && far, true);
        let near = clocks.released(warp, now, false);
        let mut hubs: Option<MutexGuard<'_, Hubs>> = None;
        for lane in bits(event.at.mask) {
            let address = base + event.offsets[lane];
            for (view, reaches) in [(&wide, far), (&near, false)] {
                if let Some(view) = view {
                    let hubs = hubs.get_or_insert_with(|| lock(&self.hubs));
                    hubs.publish(address, cluster, view.clone(), reaches, seen);
                }
            }
        }
    }

    /// Bytes of host memory the records occupy.
    pub(crate) fn bytes(&self) -> u64 {
        let all = self.allocations.read();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        let chunk = |c: &Mutex<Chunk>| {
            let c = lock(c);
            let records = c.writes.capacity() + c.reads.capacity();
            (records * size_of::<Record>() + size_of::<Mutex<Chunk>>()) as u64
        };
        all.values()
            .flat_map(|chunks| chunks.iter())
            .map(chunk)
            .sum()
    }
}
