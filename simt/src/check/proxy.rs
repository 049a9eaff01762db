//! Two ways to shared memory: ordinary instructions take the generic proxy, bulk copies and `wgmma`
//! the asynchronous one. What was written by the first is seen by the second only after
//! `fence.proxy.async`, by the thread that wrote or by one that comes after it (PTX manual, "Async
//! proxy", "Causality order"). The way back needs none: who has waited for an asynchronous
//! operation has seen it in both.

use super::Checker;
use super::clocks::{Clocks, When};
use super::cluster::Clusters;
use super::finding::{Log, Mistake, Raw, RawSide};
use super::race::writes;
use crate::exec::observer::{AccessEvent, At};
use crate::exec::step::bits;

/// An ordinary write.
#[derive(Clone, Copy, Debug)]
struct Write {
    block: u64,
    when: When,
    pc: u32,
}

/// The ordinary writes to one block's shared memory that no proxy fence has followed.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    /// The last one to each word.
    words: Vec<Option<Write>>,
    /// The words that may have one.
    low: usize,
    high: usize,
}

impl Proxy {
    /// Another block begins.
    pub(crate) fn restart(&mut self) {
        self.words.clear();
        (self.low, self.high) = (0, 0);
    }

    fn words_of(event: &AccessEvent<'_>, lane: usize) -> std::ops::Range<usize> {
        let start = event.offsets[lane];
        let end = start + u64::from(event.bytes);
        (start / 4) as usize..end.div_ceil(4) as usize
    }

    /// An ordinary access, by a warp that writes at a clock of its own.
    pub(crate) fn ordinary(&mut self, clock: u32, event: &AccessEvent<'_>) {
        if !writes(event.op) {
            return;
        }
        let at = event.at;
        for lane in bits(at.mask) {
            let range = Self::words_of(event, lane);
            if self.low == self.high {
                (self.low, self.high) = (range.start, range.end);
            }
            self.low = self.low.min(range.start);
            self.high = self.high.max(range.end);
            if self.words.len() < range.end {
                self.words.resize(range.end, None);
            }
            let thread = at.warp * 32 + lane as u32;
            self.words[range].fill(Some(Write {
                block: at.block,
                when: When { thread, clock },
                pc: at.pc,
            }));
        }
    }

    /// Lanes of a warp, by its number in the cluster, execute a proxy fence.
    pub(crate) fn fence(&mut self, clocks: &Clocks, clusters: &Clusters, warp: u32, mask: u32) {
        let dirty = &mut self.words[self.low..self.high];
        let (mut first, mut last) = (None, 0);
        for (k, word) in dirty.iter_mut().enumerate() {
            let Some(write) = word else { continue };
            let when = clusters.when(write.block, write.when);
            if bits(mask).any(|lane| clocks.before(when, warp, lane as u32)) {
                *word = None;
            } else {
                first.get_or_insert(k);
                last = k + 1;
            }
        }
        let base = self.low;
        (self.low, self.high) = first.map_or((0, 0), |first| (base + first, base + last));
    }

    /// A bulk copy or a product accesses shared memory. A write that is not even ordered before it
    /// is a race, which others report.
    pub(crate) fn asynchronous(
        &mut self,
        clocks: &Clocks,
        clusters: &Clusters,
        warp: u32,
        event: &AccessEvent<'_>,
        log: &mut Log,
    ) {
        if self.low == self.high {
            return;
        }
        for lane in bits(event.at.mask) {
            let range = Self::words_of(event, lane);
            let range = range.start.max(self.low)..range.end.min(self.high);
            for word in self.words.get_mut(range).into_iter().flatten() {
                let Some(write) = *word else { continue };
                let when = clusters.when(write.block, write.when);
                if clocks.before(when, warp, lane as u32) {
                    report(log, event.at, lane as u32, writes(event.op), write);
                }
                if writes(event.op) {
                    *word = None;
                }
            }
        }
    }
}

#[cold]
fn report(log: &mut Log, at: At, lane: u32, overwrites: bool, write: Write) {
    let what = if overwrites { "overwrites" } else { "reads" };
    log.add((at.pc, write.pc, Checker::Proxy, Mistake::Unfenced), || Raw {
        message: format!(
            "an asynchronous operation {what} shared memory that an ordinary instruction wrote, \
             without a proxy fence between"
        ),
        usual_cause: "no `fence.proxy.async` by the threads that wrote, before the barrier after \
                      which the copy or the product is issued",
        sides: vec![
            RawSide {
                what: format!("{what} it by the asynchronous proxy"),
                block: at.block,
                thread: at.warp * 32 + lane,
                pc: at.pc,
            },
            RawSide {
                what: "wrote it".to_owned(),
                block: write.block,
                thread: write.when.thread,
                pc: write.pc,
            },
        ],
    });
}
