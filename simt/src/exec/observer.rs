//! The one interface through which checkers and counters see a run. The core knows none of them.

use super::pattern::Pattern;
use super::registers::{LANES, Registers};
use crate::lower::program::{Between, MemoryOp, Program, Reg, Scope};
use crate::lower::sync::SyncOp;
use crate::memory::bytes::Bytes;
use crate::memory::region::Region;
use crate::ptx::types::Space;

/// Which warp of which block does something, and where.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the checkers that read this follow")]
pub(crate) struct At {
    /// Index of the block in the grid.
    pub(crate) block: u64,
    /// Index of the warp in the block.
    pub(crate) warp: u32,
    /// Index of the instruction.
    pub(crate) pc: u32,
    /// Lanes taking part.
    pub(crate) mask: u32,
}

/// A checked access, about to happen.
#[allow(dead_code, reason = "the checkers that read this follow")]
pub(crate) struct AccessEvent<'a> {
    /// Who and where.
    pub(crate) at: At,
    /// The instruction.
    pub(crate) op: &'a MemoryOp,
    /// The space it goes to; never generic.
    pub(crate) space: Space,
    /// Offsets in the space or, for device memory, in the allocation. Lanes outside the mask
    /// hold anything.
    pub(crate) offsets: &'a [u64; LANES],
    /// How the offsets lie.
    pub(crate) pattern: Pattern,
    /// The allocation, for device memory.
    pub(crate) allocation: Option<&'a Region<'a>>,
    /// Bytes each lane touches.
    pub(crate) bytes: u32,
    /// Registers of the warp: what a store is about to write.
    pub(crate) registers: &'a Registers,
    /// The memory, for spaces other than device memory.
    pub(crate) memory: Option<&'a Bytes>,
}

/// What a lane does with an mbarrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierUse {
    Init,
    Invalidate,
    /// It finds a phase complete; if `relaxed`, only a fence that follows acquires.
    Passed {
        relaxed: bool,
    },
    /// It finds the phase not complete.
    Tested,
    /// It arrives and releases what it did; or bytes land.
    Released,
    /// It arrives or announces bytes, and releases what a fence has put before.
    Relaxed,
}

/// What a lane knows of the bytes of a value: one bit per byte.
pub(crate) type Known = [u16; LANES];

/// Hooks. Each has a default that does nothing, and [`Off`] removes the calls.
pub(crate) trait Observer {
    /// Whether any hook does something.
    const ACTIVE: bool;

    /// A block starts, with this many warps.
    fn block_start(&mut self, _block: u64, _warps: u32) {}
    /// A block ended.
    fn block_end(&mut self, _block: u64) {}
    /// Arithmetic is about to run: `count` instructions from `at.pc` on, all for the lanes of
    /// `at.mask`.
    fn straight(&mut self, _program: &Program, _at: At, _count: u32, _registers: &Registers) {}
    /// Any other instruction runs.
    fn instruction(&mut self, _program: &Program, _at: At, _registers: &Registers) {}
    /// Memory is accessed.
    fn access(&mut self, _event: &AccessEvent<'_>) {}
    /// Values were loaded of which every byte was written.
    fn loaded_whole(&mut self, _at: At, _op: &MemoryOp) {}
    /// Which bytes of loaded values were ever written, per element.
    fn loaded(&mut self, _at: At, _op: &MemoryOp, _element: usize, _known: &Known) {}
    /// Whether every byte of what is stored holds something; if not, `stored` is asked.
    fn stores_whole(&mut self, _at: At, _op: &MemoryOp) -> bool {
        true
    }
    /// Which bytes of a value about to be stored hold something.
    fn stored(&mut self, _at: At, _op: &MemoryOp, _element: usize) -> Known {
        [u16::MAX; LANES]
    }
    /// Which bytes of a register hold something: an operand of an atomic.
    fn held(&mut self, _at: At, _reg: Reg) -> Known {
        [u16::MAX; LANES]
    }
    /// A fence.
    fn fence(&mut self, _at: At, _scope: Scope, _between: Between) {}
    /// A tensor map in device memory is read by a copy.
    fn map_read(&mut self, _at: At, _address: u64) {}
    /// Lanes acquire a tensor map in device memory.
    fn map_acquire(&mut self, _at: At, _address: u64) {}
    /// A conditional branch: lanes taken out of `at.mask`.
    fn branch(&mut self, _at: At, _taken: u32) {}
    /// A warp operation is about to run; `member` is its mask, `live` the lanes not exited.
    fn warp_sync(&mut self, _at: At, _op: &SyncOp, _member: u32, _live: u32) {}
    /// A shuffle reads, in lane i, from lane `source[i]`.
    fn shuffle(&mut self, _at: At, _op: &SyncOp, _source: &[u8; LANES], _member: u32) {}
    /// Lanes arrive at a barrier of the block.
    fn barrier_arrive(&mut self, _at: At, _live: u32, _id: u32, _count: Option<u32>) {}
    /// A barrier completes for the warps that have arrived.
    fn barrier_complete(&mut self, _block: u64, _id: u32) {}
    /// From now on shared memory is that of another block of the cluster, or the own again.
    fn peer(&mut self, _rank: Option<u32>) {}
    /// Lanes arrive at the barrier of the cluster; `release`: they publish what they did.
    fn cluster_arrive(&mut self, _at: At, _release: bool) {}
    /// The barrier of the cluster that begins with this block completes a phase.
    fn cluster_complete(&mut self, _first: u64) {}
    /// Lanes have waited for a phase of it.
    fn cluster_wait(&mut self, _at: At) {}
    /// Lanes issued asynchronous copies of `bytes` each to these places in shared memory.
    fn copies_issue(&mut self, _at: At, _to: &[u64; LANES], _bytes: u32, _bulk: bool) {}
    /// A lane issued a bulk copy out of shared memory.
    fn copies_read(&mut self, _at: At, _from: u64, _bytes: u32) {}
    /// Lanes end a group of copies.
    fn copies_commit(&mut self, _at: At, _bulk: bool) {}
    /// Lanes have waited until at most so many groups are pending; `None`: for everything.
    fn copies_wait(&mut self, _at: At, _pending: Option<u32>, _bulk: bool) {}
    /// A lane used the mbarrier at an offset in shared memory.
    fn mbarrier(&mut self, _at: At, _place: u64, _what: BarrierUse) {}
    /// Lanes exit.
    fn exit(&mut self, _at: At) {}
}

/// No checker, no counter.
pub(crate) struct Off;

impl Observer for Off {
    const ACTIVE: bool = false;
}
