//! Counters: what a profiler estimates, counted exactly.
//!
//! Every count is of what the program asks for. Caches are not modelled: a byte that is read
//! twice is moved twice, and [`Counters::traffic_ratio`] says how often that happens.

pub(crate) mod banks;
pub(crate) mod observe;
pub mod roofline;
pub mod text;
pub(crate) mod touched;

use crate::isa::{Class, Unit};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a sector, the unit in which memory is moved.
pub const SECTOR: u64 = 32;

/// One direction of traffic with a memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Warp-level accesses.
    pub requests: u64,
    /// Bytes asked for, lane by lane.
    pub bytes: u64,
    /// Bytes asked for, those that several lanes of an access share counted once.
    pub distinct_bytes: u64,
    /// Sectors of 32 bytes, each counted once in an access.
    pub sectors: u64,
}

/// Traffic with one memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Loads.
    pub load: Flow,
    /// Stores.
    pub store: Flow,
    /// Atomics and reductions.
    pub atomic: Flow,
}

/// What shared memory did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Banks {
    /// Passes over the banks.
    pub wavefronts: u64,
    /// Passes that accesses without conflicts would have done without.
    pub conflicts: u64,
}

/// Counts of a kernel or of one of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// PTX instructions, each warp's counted once.
    pub warp_instructions: u64,
    /// PTX instructions, lane by lane; lanes whose guard is false do not count.
    pub thread_instructions: u64,
    /// Warp instructions by class.
    pub classes: BTreeMap<Class, u64>,
    /// Floating-point operations by what does them; a fused multiply-add is two.
    pub flops: BTreeMap<Unit, u64>,
    /// Device memory.
    pub global: Traffic,
    /// Shared memory.
    pub shared: Traffic,
    /// Banks of shared memory.
    pub banks: Banks,
    /// Local memory: spilled registers and arrays of a thread.
    pub local: Traffic,
    /// Constants and parameters: warp-level loads.
    pub constant_loads: u64,
    /// Conditional branches that warps came to.
    pub branches: u64,
    /// Those at which lanes of a warp parted.
    pub divergent_branches: u64,
    /// Barriers that completed.
    pub barriers: u64,
}

/// Counts of one line of the PTX text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Line of the PTX text.
    pub line: u32,
    /// That line, trimmed.
    pub text: String,
    /// File, line and column of the source, from `.loc`.
    pub source: Option<(String, u32, u32)>,
    /// What was counted there.
    pub counts: Counts,
}

/// Bytes of device memory that were touched at all: each would have to move once at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compulsory {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

/// What a launch did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// The kernel.
    pub kernel: String,
    /// Blocks of the launch.
    pub blocks: u64,
    /// Threads of a block.
    pub threads: u32,
    /// The whole kernel.
    pub total: Counts,
    /// Distinct bytes of device memory.
    pub compulsory: Compulsory,
    /// Line by line, in the order of the text; lines that did nothing are left out.
    pub lines: Vec<Line>,
}

/// Counts of one line of the program's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// File.
    pub file: String,
    /// Line in it.
    pub line: u32,
    /// What was counted there.
    pub counts: Counts,
}

impl Flow {
    fn add(&mut self, other: &Flow) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.distinct_bytes += other.distinct_bytes;
        self.sectors += other.sectors;
    }
}

impl Traffic {
    /// Loads, stores and atomics together.
    pub fn total(&self) -> Flow {
        let mut all = self.load;
        all.add(&self.store);
        all.add(&self.atomic);
        all
    }

    fn add(&mut self, other: &Traffic) {
        self.load.add(&other.load);
        self.store.add(&other.store);
        self.atomic.add(&other.atomic);
    }
}

impl Counts {
    /// All floating-point operations.
    pub fn all_flops(&self) -> u64 {
        let float = |(unit, _): &(&Unit, &u64)| **unit != Unit::TensorInteger;
        self.flops.iter().filter(float).map(|(_, n)| n).sum()
    }

    /// Bytes of device memory moved in whole sectors. An atomic moves its sector both ways.
    pub fn moved_bytes(&self) -> u64 {
        let g = &self.global;
        SECTOR * (g.load.sectors + g.store.sectors + 2 * g.atomic.sectors)
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Counts) {
        self.warp_instructions += other.warp_instructions;
        self.thread_instructions += other.thread_instructions;
        for (class, n) in &other.classes {
            *self.classes.entry(*class).or_default() += n;
        }
        for (unit, n) in &other.flops {
            *self.flops.entry(*unit).or_default() += n;
        }
        self.global.add(&other.global);
        self.shared.add(&other.shared);
        self.local.add(&other.local);
        self.banks.wavefronts += other.banks.wavefronts;
        self.banks.conflicts += other.banks.conflicts;
        self.constant_loads += other.constant_loads;
        self.branches += other.branches;
        self.divergent_branches += other.divergent_branches;
        self.barriers += other.barriers;
    }
}

fn ratio(a: u64, b: u64) -> Option<f64> {
    (b != 0).then(|| a as f64 / b as f64)
}

impl Counters {
    /// Bytes moved over bytes that had to be moved: 1 when everything is touched once.
    pub fn traffic_ratio(&self) -> Option<f64> {
        let least = self.compulsory.read + self.compulsory.written;
        ratio(self.total.moved_bytes(), least)
    }

    /// Bytes that accesses to device memory needed over bytes of the sectors they touched.
    pub fn sector_efficiency(&self) -> Option<f64> {
        let all = self.total.global.total();
        ratio(all.distinct_bytes, SECTOR * all.sectors)
    }

    /// Floating-point operations for each byte of device memory that had to be moved.
    pub fn arithmetic_intensity(&self) -> Option<f64> {
        let least = self.compulsory.read + self.compulsory.written;
        ratio(self.total.all_flops(), least)
    }

    /// Lanes at work in an average instruction, of 32.
    pub fn active_lanes(&self) -> Option<f64> {
        ratio(self.total.thread_instructions, self.total.warp_instructions)
    }

    /// The counts by line of the source, from `.loc`; lines of PTX without one are left out.
    pub fn source_lines(&self) -> Vec<SourceLine> {
        let mut by: BTreeMap<(&str, u32), Counts> = BTreeMap::new();
        for line in &self.lines {
            if let Some((file, number, _)) = &line.source {
                by.entry((file, *number)).or_default().add(&line.counts);
            }
        }
        let each = by.into_iter().map(|((file, line), counts)| SourceLine {
            file: file.to_owned(),
            line,
            counts,
        });
        each.collect()
    }
}
