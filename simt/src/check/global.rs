//! Races on device memory, within a block and between blocks.
//!
//! Records are kept by word in chunks that are made when they are first touched: four bytes a word
//! for writes, four for reads, and the heads that they name, of which a chunk has no more than fit
//! four bytes a byte in all. Memory that the program may only read needs none.
//!
//! Blocks are ordered by release and acquire only: a fence of device scope followed by an atomic
//! or another strong write publishes what the warp had seen at the fence; an atomic or strong
//! read of the same address acquires it. Acquiring is not asked to have a fence of its own.

use super::Checker;
use super::cell::{Entry, Head, word};
use super::cells::{Cells, Order, Span};
use super::clocks::{Clocks, When};
use super::finding::Log;
use super::race::{self, Sites, report, strong, writes};
use crate::exec::observer::AccessEvent;
use crate::exec::pattern::Pattern;
use crate::exec::step::bits;
use crate::lower::program::{Access, Order as Strength, Scope};
use crate::memory::device::Rights;
use crate::memory::region::Region;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Bytes of device memory in one chunk of records.
const CHUNK: u64 = 1 << 10;

/// Heads of a chunk: with the words of both sides, and the slack of a growing list, less than four
/// bytes a byte.
const HEADS: usize = 192;

/// The same where proxies to device memory are recorded too (`proxy_device.rs`), which takes a byte
/// and a third.
const FEWER_HEADS: usize = 60;

/// Records of one chunk. Blocks that run side by side on several cores of the host often write to
/// chunks side by side: no two share what the host keeps coherent in one piece.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Chunk(Mutex<Cells>);

type Chunks = Arc<Vec<Chunk>>;

/// Records of all device memory, and what blocks published; one for a launch.
#[derive(Debug)]
pub(crate) struct Shadow {
    /// Heads of a chunk, at the most.
    heads: usize,
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

impl Seen {
    /// Another block begins, which has acquired nothing.
    pub(crate) fn restart(&mut self) {
        self.acquired.clear();
    }
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
    /// Nothing is recorded yet; `proxies`: whether others record proxies beside it.
    pub(crate) fn new(proxies: bool) -> Self {
        Self {
            heads: if proxies { FEWER_HEADS } else { HEADS },
            allocations: RwLock::default(),
            hubs: Mutex::default(),
        }
    }

    /// The chunks of an allocation; `known` are those that a block has asked for.
    #[inline(always)]
    fn chunks<'k>(&self, a: &Region<'_>, known: &'k mut Vec<(u64, Chunks)>) -> &'k Chunks {
        let found = known.iter().position(|(base, _)| *base == a.base);
        let at = found.unwrap_or_else(|| {
            known.push((a.base, self.look_up(a)));
            known.len() - 1
        });
        &known[at].1
    }

    fn look_up(&self, a: &Region<'_>) -> Chunks {
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
            Arc::new((0..count).map(|_| Chunk::default()).collect())
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
        if a.rights == Rights::ReadOnly || !Head::fits(event.at.block, index) {
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
        clocks.used(warp);
        let chunks = self.chunks(a, &mut seen.chunks);
        let at = event.at;
        let access = Seeing {
            shadow: self,
            sites,
            clocks,
            acquired: &seen.acquired,
            event,
            head: Head::new(at.block, at.warp, clocks.now(warp), index),
            cluster: member.first,
            warp,
        };
        let mut left = at.mask;
        while left != 0 {
            let number = |lane: usize| event.offsets[lane] / CHUNK;
            let first = number(left.trailing_zeros() as usize % 32);
            let both = event.pattern.ends(left);
            let one = both.is_some_and(|(low, high)| low / CHUNK == first && high / CHUNK == first);
            let group = if one {
                left
            } else {
                bits(left)
                    .take_while(|lane| number(*lane) == first)
                    .fold(0, |m, lane| m | 1 << lane)
            };
            if let Some(chunk) = chunks.get(first as usize) {
                access.chunk(&mut lock(&chunk.0), first * CHUNK, group, log);
            }
            left &= !group;
        }
        if own_strong && writes(event.op) {
            self.release(clocks, &seen.acquired, event, a.base, (member.first, warp));
        }
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
        let now = matches!(event.op.order, Strength::Release | Strength::AcquireRelease);
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
        let chunk = |c: &Chunk| (lock(&c.0).bytes() + size_of::<Chunk>()) as u64;
        all.values()
            .flat_map(|chunks| chunks.iter())
            .map(chunk)
            .sum()
    }
}

/// One access, and what its block has seen.
struct Seeing<'a> {
    shadow: &'a Shadow,
    sites: &'a Sites<'a>,
    clocks: &'a Clocks,
    acquired: &'a Acquired,
    event: &'a AccessEvent<'a>,
    head: Head,
    /// The block that stands for the cluster, and the warp as the clocks of the cluster know it.
    cluster: u64,
    warp: u32,
}

impl Seeing<'_> {
    /// Checks the lanes of `mask`, which are in the chunk that begins at `base`.
    #[inline(always)]
    fn chunk(&self, cells: &mut Cells, base: u64, mask: u32, log: &mut Log) {
        let event = self.event;
        let write = writes(event.op);
        cells.reserve((CHUNK / 4) as usize, write);
        let first = event.offsets[mask.trailing_zeros() as usize % 32] - base;
        let mine = cells.index_of(self.head, (first / 4) as usize, self.shadow.heads);
        let span = Span {
            offsets: event.offsets,
            base,
            pattern: if mask == event.at.mask {
                event.pattern
            } else {
                Pattern::of(event.offsets, mask)
            },
            mask,
            bytes: event.bytes,
            write,
        };
        if !strong(event.op, Scope::Block) && cells.whole(self.sites.arch, mine, span, self) {
            return;
        }
        for lane in bits(mask) {
            let start = event.offsets[lane];
            let end = start + u64::from(event.bytes);
            for place in start / 4..end.div_ceil(4) {
                let bytes = race::bytes_of_word(place, start, end);
                let new = word(mine, lane as u32, bytes);
                let at = (place - base / 4) as usize;
                if let Some(conflict) = cells.visit(at, new, write, self) {
                    let checker = Checker::GlobalRace;
                    report(log, self.sites, checker, event, &conflict, place * 4);
                }
            }
        }
    }

    /// Whether what another cluster did at a time was published to this one.
    fn hubs_order(&self, cluster: u64, when: When) -> bool {
        !self.acquired.is_empty() && lock(&self.shadow.hubs).before(cluster, when, self.acquired)
    }

    fn scope(&self, block: u64) -> Scope {
        if block == self.event.at.block {
            Scope::Block
        } else if self.sites.clusters.member(block).first == self.cluster {
            Scope::Cluster
        } else {
            Scope::Device
        }
    }
}

impl Order for Seeing<'_> {
    #[inline(always)]
    fn before(&self, earlier: &Entry, lane: u32) -> bool {
        let clusters = &self.sites.clusters;
        let (cluster, when) = (
            clusters.member(earlier.block).first,
            clusters.when(earlier.block, earlier.when),
        );
        if cluster == self.cluster {
            self.clocks.before(when, self.warp, lane)
        } else {
            self.hubs_order(cluster, when)
        }
    }

    #[inline(always)]
    fn whole(&self, earlier: Head) -> Option<bool> {
        let member = self.sites.clusters.member(earlier.block());
        let (warp, clock) = (earlier.warp() + member.base, earlier.clock());
        if member.first == self.cluster {
            self.clocks.whole(warp, clock, self.warp)
        } else {
            let thread = warp * 32;
            Some(self.hubs_order(member.first, When { thread, clock }))
        }
    }

    #[inline(always)]
    fn tolerates(&self, earlier: &Entry) -> bool {
        let scope = self.scope(earlier.block);
        strong(self.event.op, scope) && self.sites.strong(earlier.op, scope)
    }

    #[inline(always)]
    fn strong(&self, earlier: &Entry) -> (bool, bool) {
        let now = strong(self.event.op, Scope::Block);
        (now, self.sites.strong(earlier.op, Scope::Block))
    }
}
