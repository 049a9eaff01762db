//! The figures of one call: bytes, operations, and the least time they take on a named GPU.

use serde::Serialize;
use simt::Counters;
use simt::count::SECTOR;
use simt::count::roofline::Gpu;
use simt::isa::Unit;
use std::collections::BTreeMap;

/// What the kernels of one call did, together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The kernels, in the order they ran, and how often each.
    pub kernels: Vec<(String, u32)>,
    /// Bytes of the call's inputs and outputs: each must move once.
    pub compulsory_bytes: u64,
    /// Bytes of device memory moved, in whole sectors, without caches.
    pub moved_bytes: u64,
    /// Bytes that accesses needed, those that lanes share counted once.
    pub needed_bytes: u64,
    /// Bytes of sectors that accesses touched.
    pub sector_bytes: u64,
    /// Floating-point operations, by what does them.
    pub flops: BTreeMap<Unit, u64>,
    /// Instructions of warps.
    pub warp_instructions: u64,
    /// Passes over the banks of shared memory.
    pub wavefronts: u64,
    /// Those that conflicts caused.
    pub conflicts: u64,
    /// Bytes of local memory: spilled registers and arrays.
    pub local_bytes: u64,
    /// Conditional branches at which the lanes of a warp parted.
    pub divergent_branches: u64,
    /// Each launch's own counts, for its own bound.
    #[serde(skip)]
    launches: Vec<Counters>,
}

/// The least time of a call on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// Its launches, one after the other, each bound by memory or by a unit.
    pub seconds: f64,
    /// The same, where every byte that is moved comes from memory: without caches.
    pub moved: f64,
    /// The floor: every input and output once, and nothing else.
    pub floor: f64,
}

/// The slower of memory without caches and the units.
fn moved(bound: &simt::count::roofline::Bound) -> f64 {
    bound.memory_uncached.max(bound.seconds)
}

fn ratio(a: u64, b: u64) -> Option<f64> {
    (b != 0).then(|| a as f64 / b as f64)
}

impl Figures {
    /// From the counters of a call's launches. `compulsory_bytes` are those of the call.
    pub fn of(compulsory_bytes: u64, launches: Vec<Counters>) -> Figures {
        let mut figures = Figures {
            kernels: Vec::new(),
            compulsory_bytes,
            moved_bytes: 0,
            needed_bytes: 0,
            sector_bytes: 0,
            flops: BTreeMap::new(),
            warp_instructions: 0,
            wavefronts: 0,
            conflicts: 0,
            local_bytes: 0,
            divergent_branches: 0,
            launches: Vec::new(),
        };
        for counters in &launches {
            let total = &counters.total;
            match figures
                .kernels
                .iter_mut()
                .find(|(name, _)| *name == counters.kernel)
            {
                Some((_, times)) => *times += 1,
                None => figures.kernels.push((counters.kernel.clone(), 1)),
            }
            let global = total.global.total();
            figures.moved_bytes += total.moved_bytes();
            figures.needed_bytes += global.distinct_bytes;
            figures.sector_bytes += SECTOR * global.sectors;
            for (unit, n) in &total.flops {
                *figures.flops.entry(*unit).or_default() += n;
            }
            figures.warp_instructions += total.warp_instructions;
            figures.wavefronts += total.banks.wavefronts;
            figures.conflicts += total.banks.conflicts;
            figures.local_bytes += total.local.total().bytes;
            figures.divergent_branches += total.divergent_branches;
        }
        figures.launches = launches;
        figures
    }

    /// Bytes moved over bytes that must move: 1 when everything is touched once.
    pub fn traffic_ratio(&self) -> Option<f64> {
        ratio(self.moved_bytes, self.compulsory_bytes)
    }

    /// Bytes needed over bytes of the sectors touched.
    pub fn sector_efficiency(&self) -> Option<f64> {
        ratio(self.needed_bytes, self.sector_bytes)
    }

    /// All operations, floating-point and tensor-core integer.
    pub fn operations(&self) -> u64 {
        self.flops.values().sum()
    }

    /// Operations for each byte that must move: where the call stands under the roof.
    pub fn intensity(&self) -> Option<f64> {
        ratio(self.operations(), self.compulsory_bytes)
    }

    /// Operations for each byte that did move: where the rung stands under the roof.
    pub fn moved_intensity(&self) -> Option<f64> {
        ratio(self.operations(), self.moved_bytes)
    }

    /// The unit that does most of the operations; what the roof's flat part is.
    pub fn main_unit(&self) -> Option<Unit> {
        let most = self.flops.iter().max_by_key(|(_, n)| **n)?;
        (*most.1 > 0).then_some(*most.0)
    }

    /// The least time on that GPU.
    pub fn bound(&self, gpu: &Gpu) -> Bound {
        const TERA: f64 = 1e12;
        Bound {
            seconds: self.launches.iter().map(|l| gpu.bound(l).seconds).sum(),
            moved: self.launches.iter().map(|l| moved(&gpu.bound(l))).sum(),
            floor: self.compulsory_bytes as f64 / (gpu.bandwidth * TERA),
        }
    }

    /// Each launch's counters.
    pub fn launches(&self) -> &[Counters] {
        &self.launches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simt::count::roofline::gpu;
    use simt::count::{Compulsory, Counts};

    fn launch(kernel: &str, sectors: u64, needed: u64, flops: u64) -> Counters {
        let mut total = Counts::default();
        total.global.load.sectors = sectors;
        total.global.load.distinct_bytes = needed;
        total.flops.insert(Unit::Single, flops);
        Counters {
            kernel: kernel.into(),
            total,
            compulsory: Compulsory {
                read: needed,
                written: 0,
            },
            ..Counters::default()
        }
    }

    #[test]
    fn launches_of_a_call_are_added_up() {
        let launches = vec![
            launch("a", 10, 320, 640),
            launch("b", 4, 64, 0),
            launch("a", 10, 320, 640),
        ];
        let figures = Figures::of(640, launches);
        assert_eq!(figures.kernels, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert_eq!(figures.moved_bytes, 24 * 32);
        assert_eq!(figures.traffic_ratio(), Some(1.2));
        assert_eq!(figures.sector_efficiency(), Some(704.0 / 768.0));
        assert_eq!(figures.intensity(), Some(2.0));
        assert_eq!(figures.main_unit(), Some(Unit::Single));
        let h200 = gpu("H200").expect("known");
        let bound = figures.bound(h200);
        assert_eq!(bound.floor, 640.0 / 4.8e12);
        // Launches do not overlap: each is bound by its own bytes.
        let each = [320.0, 64.0, 320.0].map(|bytes: f64| bytes / 4.8e12);
        assert_eq!(bound.seconds, each.iter().sum::<f64>());
        let moved = [320.0, 128.0, 320.0].map(|bytes: f64| bytes / 4.8e12);
        assert_eq!(bound.moved, moved.iter().sum::<f64>());
    }

    #[test]
    fn a_call_without_launches_has_no_ratios() {
        let nothing = Figures::of(0, Vec::new());
        assert_eq!(nothing.traffic_ratio(), None);
        assert_eq!(nothing.sector_efficiency(), None);
        assert_eq!(nothing.main_unit(), None);
    }
}
