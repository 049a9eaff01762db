//! The observer that counts. It keeps raw numbers by instruction; [`Tally::finish`] makes them
//! counts by line.

use super::touched::{ByteSet, footprint};
use super::{Compulsory, Counters, Counts, Flow, Line, banks};
use crate::exec::machine::place;
use crate::exec::observer::{AccessEvent, At};
use crate::exec::pattern::Pattern;
use crate::isa::{Class, Unit};
use crate::lower::program::{Access, Op, Program};
use crate::ptx::ast::Module;
use crate::ptx::types::Space;
use std::collections::BTreeMap;

/// Traffic, banks, branches and barriers of one instruction.
type Extra = Counts;

/// Line of the PTX text, and file, line and column of the source.
type Key = (u32, (u32, u32, u32));

/// What one worker counted.
pub(crate) struct Tally {
    /// How often a run of instructions began at an index, minus how often one ended before it:
    /// the running sum is how often each instruction was executed.
    warps: Vec<u64>,
    /// The same, lane by lane.
    lanes: Vec<u64>,
    /// By instruction, one more than the index in `extras`; zero for none.
    slots: Vec<u32>,
    extras: Vec<Extra>,
    /// Bytes read and written, by address of the allocation.
    touched: Vec<(u64, [ByteSet; 2])>,
    /// Of the strided accesses to shared memory last made by each instruction: stride, lanes, and
    /// what the banks did, which depends on nothing else.
    passes: Vec<(i64, u32, (u32, u32))>,
    /// The barrier instruction last arrived at, by barrier.
    barriers: [u32; crate::lower::sync::BARRIERS],
}

impl Tally {
    pub(crate) fn new(program: &Program) -> Self {
        let count = program.len() + 1;
        Self {
            warps: vec![0; count],
            lanes: vec![0; count],
            slots: vec![0; count],
            extras: Vec::new(),
            touched: Vec::new(),
            passes: vec![(0, 0, (0, 0)); count],
            barriers: [0; crate::lower::sync::BARRIERS],
        }
    }

    fn extra(&mut self, pc: u32) -> &mut Extra {
        let slot = &mut self.slots[pc as usize];
        if *slot == 0 {
            self.extras.push(Extra::default());
            *slot = self.extras.len() as u32;
        }
        let at = *slot as usize - 1;
        &mut self.extras[at]
    }

    /// `count` instructions run from `at.pc` on.
    #[inline(always)]
    pub(crate) fn run(&mut self, at: At, count: u32) {
        let (from, to) = (at.pc as usize, (at.pc + count) as usize);
        let lanes = u64::from(at.mask.count_ones());
        self.warps[from] = self.warps[from].wrapping_add(1);
        self.warps[to] = self.warps[to].wrapping_sub(1);
        self.lanes[from] = self.lanes[from].wrapping_add(lanes);
        self.lanes[to] = self.lanes[to].wrapping_sub(lanes);
    }

    /// An instruction that is not arithmetic.
    #[inline(always)]
    pub(crate) fn instruction(&mut self, program: &Program, at: At) {
        self.run(at, 1);
        let inst = program.code[at.pc as usize];
        if matches!(inst.op, Op::Branch { .. }) && inst.guard.parts().is_some() {
            self.extra(at.pc).branches += 1;
        }
    }

    pub(crate) fn branch(&mut self, at: At, taken: u32) {
        if taken != 0 && taken != at.mask {
            self.extra(at.pc).divergent_branches += 1;
        }
    }

    pub(crate) fn barrier_arrive(&mut self, at: At, id: u32) {
        self.barriers[id as usize % crate::lower::sync::BARRIERS] = at.pc;
    }

    pub(crate) fn barrier_complete(&mut self, id: u32) {
        let pc = self.barriers[id as usize % crate::lower::sync::BARRIERS];
        self.extra(pc).barriers += 1;
    }

    fn touched(&mut self, base: u64) -> &mut [ByteSet; 2] {
        let found = self.touched.iter().position(|(b, _)| *b == base);
        let at = found.unwrap_or_else(|| {
            self.touched.push((base, Default::default()));
            self.touched.len() - 1
        });
        &mut self.touched[at].1
    }

    /// What the banks do. Moving all lanes by whole words only renames the banks.
    fn passes(&mut self, event: &AccessEvent<'_>) -> (u32, u32) {
        let (offsets, mask, bytes) = (event.offsets, event.at.mask, event.bytes);
        let stride = match event.pattern {
            Pattern::Strided { stride, .. } if bytes >= 4 => stride,
            _ => return banks::passes(offsets, mask, bytes),
        };
        let last = &mut self.passes[event.at.pc as usize];
        if (last.0, last.1) != (stride, mask) {
            *last = (stride, mask, banks::passes(offsets, mask, bytes));
        }
        last.2
    }

    pub(crate) fn access(&mut self, event: &AccessEvent<'_>) {
        let AccessEvent {
            at,
            op,
            offsets,
            pattern,
            bytes,
            ..
        } = *event;
        let (sectors, distinct_bytes) = footprint(offsets, pattern, at.mask, bytes);
        if let Some(a) = event.allocation {
            let [read, written] = self.touched(a.base);
            if op.access != Access::Store {
                read.insert_lanes(offsets, pattern, at.mask, bytes);
            }
            if op.access != Access::Load {
                written.insert_lanes(offsets, pattern, at.mask, bytes);
            }
        }
        let (done, ideal) = if event.space == Space::Shared {
            self.passes(event)
        } else {
            (0, 0)
        };
        let extra = self.extra(at.pc);
        let traffic = match event.space {
            Space::Global | Space::Generic => &mut extra.global,
            Space::Shared => {
                extra.banks.wavefronts += u64::from(done);
                extra.banks.conflicts += u64::from(done - ideal);
                &mut extra.shared
            }
            Space::Local => &mut extra.local,
            Space::Const | Space::Param => {
                extra.constant_loads += 1;
                return;
            }
        };
        let flow = match op.access {
            Access::Load => &mut traffic.load,
            Access::Store => &mut traffic.store,
            Access::Atomic(_) => &mut traffic.atomic,
        };
        flow.add(&Flow {
            requests: 1,
            bytes: u64::from(at.mask.count_ones() * event.bytes),
            distinct_bytes,
            sectors,
        });
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: Tally) {
        let add = |a: &mut Vec<u64>, b: &[u64]| {
            a.iter_mut()
                .zip(b)
                .for_each(|(a, b)| *a = a.wrapping_add(*b));
        };
        add(&mut self.warps, &other.warps);
        add(&mut self.lanes, &other.lanes);
        for (pc, slot) in other.slots.iter().enumerate().filter(|(_, s)| **s != 0) {
            self.extra(pc as u32).add(&other.extras[*slot as usize - 1]);
        }
        for (base, sets) in &other.touched {
            let own = self.touched(*base);
            own.iter_mut().zip(sets).for_each(|(a, b)| a.merge(b));
        }
    }

    /// The counts, by line.
    pub(crate) fn finish(
        self,
        module: &Module,
        program: &Program,
        blocks: u64,
        threads: u32,
    ) -> Counters {
        let mut lines: BTreeMap<Key, (u32, Counts)> = BTreeMap::new();
        let (mut warps, mut lanes) = (0u64, 0u64);
        for (pc, site) in program.sites.iter().enumerate() {
            warps = warps.wrapping_add(self.warps[pc]);
            lanes = lanes.wrapping_add(self.lanes[pc]);
            let slot = self.slots[pc];
            if warps == 0 && slot == 0 {
                continue;
            }
            let key = (site.line, site.location);
            let (_, counts) = lines.entry(key).or_insert((pc as u32, Counts::default()));
            if site.work.class != Class::None {
                counts.warp_instructions += warps;
                counts.thread_instructions += lanes;
                *counts.classes.entry(site.work.class).or_default() += warps;
            }
            if site.work.unit != Unit::None {
                let flops = lanes * u64::from(site.work.flops);
                *counts.flops.entry(site.work.unit).or_default() += flops;
            }
            if slot != 0 {
                counts.add(&self.extras[slot as usize - 1]);
            }
        }
        let mut total = Counts::default();
        lines.values().for_each(|(_, counts)| total.add(counts));
        let lines = lines.into_values().map(|(pc, counts)| {
            let place = place(module, program, pc);
            Line {
                line: place.line,
                text: place.text,
                source: place.source,
                counts,
            }
        });
        let sum = |which: usize| self.touched.iter().map(|(_, sets)| sets[which].len()).sum();
        Counters {
            kernel: program.name().to_owned(),
            blocks,
            threads,
            total,
            compulsory: Compulsory {
                read: sum(0),
                written: sum(1),
            },
            lines: lines.collect(),
        }
    }
}
