//! The observer of a launch: counters and checkers, as the options ask for them.

use crate::check::barrier::Arrival;
use crate::check::block::Blocks;
use crate::check::finding::Log;
use crate::check::proxy_device::{self, To, Who};
use crate::check::race::Sites;
use crate::check::values::Values;
use crate::check::{Checker, Checks, Finding, barrier, global, mask, mbarrier};
use crate::count::Counters;
use crate::count::observe::Tally;
use crate::exec::observer::{AccessEvent, At, BarrierUse, Known, Observer};
use crate::exec::registers::{LANES, Registers};
use crate::exec::warp::Shape;
use crate::lower::asynchronous::AsyncOp;
use crate::lower::program::{Between, MemoryOp, Op, Program, Reg, Scope};
use crate::lower::sync::{BARRIERS, BarrierKind, SyncOp};
use crate::ptx::ast::Module;
use crate::ptx::types::Space;
use std::sync::Arc;

/// What one worker of a launch sees.
pub(crate) struct Watch<'p> {
    program: &'p Program,
    tally: Option<Box<Tally>>,
    checks: Checks,
    /// Threads of a block.
    threads: u32,
    /// Whether the proxies to shared memory are watched: the program uses both.
    proxies: bool,
    blocks: Blocks,
    /// Whether a register of some warp may hold something unknown: most programs never have one.
    unknown: bool,
    sites: Arc<Sites<'p>>,
    global: Arc<global::Shadow>,
    /// The proxies to device memory, if the program uses more than one.
    device: Option<Arc<proxy_device::Shadow>>,
    log: Log,
    /// The block of the cluster whose shared memory is accessed, if not the own.
    peer: Option<u32>,
}

impl<'p> Watch<'p> {
    pub(crate) fn new(
        sites: Arc<Sites<'p>>,
        counters: bool,
        checks: Checks,
        threads: u32,
        global: Arc<global::Shadow>,
        device: Option<Arc<proxy_device::Shadow>>,
    ) -> Self {
        let program = sites.program;
        let uses = |by: fn(&AsyncOp) -> bool| program.asyncs.iter().any(by);
        let proxies = checks.has(Checker::Proxy) && uses(AsyncOp::by_async_proxy);
        Self {
            program,
            sites,
            tally: counters.then(|| Box::new(Tally::new(program))),
            checks,
            threads,
            proxies,
            blocks: Blocks::default(),
            unknown: false,
            global,
            device,
            log: Log::default(),
            peer: None,
        }
    }

    /// Takes over what another worker saw.
    pub(crate) fn merge(&mut self, other: Self) {
        if let (Some(mine), Some(other)) = (&mut self.tally, other.tally) {
            mine.merge(*other);
        }
        self.log.merge(other.log);
    }

    /// The counters, if they were asked for, and the findings.
    pub(crate) fn finish(self, module: &Module, shape: &Shape) -> (Option<Counters>, Vec<Finding>) {
        let blocks = shape.grid.iter().map(|n| u64::from(*n)).product();
        let finish =
            |tally: Box<Tally>| tally.finish(module, self.program, blocks, shape.threads());
        let counters = self.tally.map(finish);
        let mut findings = self.log.finish(module, self.program, shape);
        // Two checkers share their knowledge of values; either may be off.
        findings.retain(|f| self.checks.has(f.checker));
        (counters, findings)
    }

    /// What is unknown in the registers of a warp, if anything is in any.
    #[inline(always)]
    fn values(&mut self, at: At) -> Option<(&mut Values, &mut Log)> {
        if !self.unknown {
            return None;
        }
        self.all_values(at)
    }

    /// What is unknown in the registers of a warp, if a checker wants to know.
    fn all_values(&mut self, at: At) -> Option<(&mut Values, &mut Log)> {
        let wanted = self.checks.has(Checker::Uninitialised) || self.checks.has(Checker::Shuffle);
        if !wanted {
            return None;
        }
        let member = self.sites.clusters.member(at.block);
        let state = self.blocks.get(member.first)?;
        let warp = (member.base + at.warp) as usize;
        Some((&mut state.values[warp], &mut self.log))
    }

    fn sync_op(&self, pc: u32) -> Option<&'p SyncOp> {
        match self.program.code[pc as usize].op {
            Op::Sync(index) => self.program.syncs.get(index as usize),
            _ => None,
        }
    }
}

impl Observer for Watch<'_> {
    const ACTIVE: bool = true;

    fn block_start(&mut self, block: u64, warps: u32) {
        let clusters = &self.sites.clusters;
        if clusters.member(block).rank == 0 {
            let (threads, size) = (self.threads, clusters.size);
            self.blocks.start(self.program, block, warps, threads, size);
        }
    }

    fn block_end(&mut self, block: u64) {
        self.blocks.end(block);
    }

    #[inline(always)]
    fn straight(&mut self, program: &Program, at: At, count: u32, registers: &Registers) {
        if let Some(tally) = &mut self.tally {
            tally.run(at, count);
        }
        if let Some((values, _)) = self.values(at) {
            values.straight(program, at, count, registers);
        }
    }

    #[inline(always)]
    fn instruction(&mut self, program: &Program, at: At, _registers: &Registers) {
        if let Some(tally) = &mut self.tally {
            tally.instruction(program, at);
        }
        if let Some((values, log)) = self.values(at) {
            values.instruction(program, at, log);
        }
    }

    #[inline(always)]
    fn loaded_whole(&mut self, at: At, op: &MemoryOp) {
        if let Some((values, _)) = self.values(at) {
            values.loaded_whole(at, op);
        }
    }

    #[inline(always)]
    fn stores_whole(&mut self, at: At, op: &MemoryOp) -> bool {
        match self.values(at) {
            Some((values, _)) => values.stores_whole(op),
            None => true,
        }
    }

    fn loaded(&mut self, at: At, op: &MemoryOp, element: usize, known: &Known) {
        if let Some((values, _)) = self.all_values(at) {
            values.loaded(at, op, element, known);
            self.unknown |= values.any();
        }
    }

    fn stored(&mut self, at: At, op: &MemoryOp, element: usize) -> Known {
        match self.values(at) {
            Some((values, _)) => values.stored(op, element),
            None => [u16::MAX; LANES],
        }
    }

    fn held(&mut self, at: At, reg: Reg) -> Known {
        match self.values(at) {
            Some((values, _)) => values.held(reg),
            None => [u16::MAX; LANES],
        }
    }

    fn shuffle(&mut self, at: At, op: &SyncOp, source: &[u8; LANES], _member: u32) {
        if let Some((values, _)) = self.all_values(at) {
            values.shuffle(at, op, source);
            self.unknown |= values.any();
        }
    }

    fn access(&mut self, event: &AccessEvent<'_>) {
        let program = self.program;
        let asynchronous = match program.code[event.at.pc as usize].op {
            Op::Async(index) => Some(&program.asyncs[index as usize]),
            _ => None,
        };
        // What a product reads is part of its instruction; each of its warps shows all of B.
        let product = matches!(asynchronous, Some(AsyncOp::Wgmma(_)));
        if let Some(tally) = self.tally.as_mut().filter(|_| !product) {
            tally.access(event);
        }
        if let Some((values, log)) = self.values(event.at) {
            values.access(program, event, log);
        }
        let member = self.sites.clusters.member(event.at.block);
        let Some(state) = self.blocks.get(member.first) else {
            return;
        };
        let target = self.peer.unwrap_or(member.rank) as usize;
        let (sites, log) = (&*self.sites, &mut self.log);
        let by_copy = asynchronous.is_some() && !product;
        if event.space == Space::Shared && !by_copy && self.checks.has(Checker::Copies) {
            state.copies[target].access(event, log);
        }
        if self.proxies {
            let ordinary = asynchronous.is_none_or(AsyncOp::by_generic_proxy);
            let other = asynchronous.is_some_and(AsyncOp::by_async_proxy);
            let (clocks, clusters) = (&state.clocks, &sites.clusters);
            let (cluster, warp) = (member.first, member.base + event.at.warp);
            let who = Who {
                clocks,
                clusters,
                cluster,
                warp,
            };
            match (event.space, &self.device) {
                (Space::Shared, _) if ordinary => {
                    state.proxies[target].ordinary(clocks.now(warp), event);
                }
                (Space::Shared, _) if other => {
                    state.proxies[target].asynchronous(clocks, clusters, warp, event, log);
                }
                (Space::Global, Some(device)) if ordinary => {
                    let released = matches!(asynchronous, Some(AsyncOp::CopyMap(_)));
                    device.ordinary(who, &mut state.open, event, released);
                }
                (Space::Global, Some(device)) if other => device.asynchronous(who, event, log),
                _ => {}
            }
        }
        match event.space {
            Space::Shared if self.checks.has(Checker::SharedRace) => {
                let shadow = &mut state.shared[target];
                shadow.access(sites, &mut state.clocks, log, event);
                if self.peer.is_some() {
                    let warp = member.base + event.at.warp;
                    state.visits[target].note(&state.clocks, warp, event);
                }
            }
            Space::Global if self.checks.has(Checker::GlobalRace) => {
                let (clocks, seen) = (&mut state.clocks, &mut state.seen);
                self.global.access(sites, clocks, seen, log, event);
            }
            _ => {}
        }
    }

    fn fence(&mut self, at: At, scope: Scope, between: Between) {
        let clusters = &self.sites.clusters;
        let member = clusters.member(at.block);
        let Some(state) = self.blocks.get(member.first) else {
            return;
        };
        let (cluster, warp) = (member.first, member.base + at.warp);
        let clocks = &state.clocks;
        let who = Who {
            clocks,
            clusters,
            cluster,
            warp,
        };
        match between {
            Between::Async { shared, global } if self.proxies => {
                if shared {
                    let all = state.proxies.iter_mut();
                    all.for_each(|p| p.fence(clocks, clusters, warp, at.mask));
                }
                if let Some(device) = self.device.as_ref().filter(|_| global) {
                    device.fence(who, &mut state.open, at.mask, To::Async);
                }
            }
            Between::Maps => {
                if let Some(device) = &self.device {
                    device.fence(who, &mut state.open, at.mask, To::Maps);
                }
            }
            Between::BarrierInit => {
                let phases = state.barrier.phases;
                state.mbarriers[member.rank as usize].fence(at, phases);
            }
            _ => {}
        }
        if matches!(between, Between::Accesses | Between::Maps) {
            state.clocks.acquire_relaxed(warp, at.mask);
            state.clocks.fence(warp, scope >= Scope::Device);
        }
    }

    fn map_read(&mut self, at: At, address: u64) {
        let clusters = &self.sites.clusters;
        let member = clusters.member(at.block);
        let state = self.blocks.get(member.first);
        if let (Some(state), Some(device)) = (state, &self.device) {
            let who = Who {
                clocks: &state.clocks,
                clusters,
                cluster: member.first,
                warp: member.base + at.warp,
            };
            device.map_read(who, at, address, &mut self.log);
        }
    }

    fn map_acquire(&mut self, at: At, address: u64) {
        if let Some(device) = &self.device {
            let cluster = self.sites.clusters.member(at.block).first;
            device.map_acquire(cluster, address);
        }
    }

    fn branch(&mut self, at: At, taken: u32) {
        if let Some(tally) = &mut self.tally {
            tally.branch(at, taken);
        }
        let program = self.program;
        if let Some((values, log)) = self.values(at) {
            values.branch(program, at, log);
        }
    }

    fn warp_sync(&mut self, at: At, op: &SyncOp, member: u32, live: u32) {
        if self.checks.has(Checker::Mask) {
            mask::check(&mut self.log, at, member);
        }
        if let Some((values, _)) = self.values(at) {
            values.warp_sync(at, op);
        }
        let member = self.sites.clusters.member(at.block);
        if let (SyncOp::Warp { .. }, Some(state)) = (op, self.blocks.get(member.first)) {
            let warp = member.base + at.warp;
            state.clocks.warp_sync(warp, at.mask, live);
        }
    }

    fn peer(&mut self, rank: Option<u32>) {
        self.peer = rank;
    }

    fn cluster_arrive(&mut self, at: At, release: bool) {
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first).filter(|_| release) {
            let warp = member.base + at.warp;
            state.barrier.arrive(&mut state.clocks, warp);
        }
    }

    fn cluster_complete(&mut self, first: u64) {
        if let Some(state) = self.blocks.get(first) {
            state.barrier.complete();
        }
    }

    fn cluster_wait(&mut self, at: At) {
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first) {
            let warp = member.base + at.warp;
            state.barrier.wait(&mut state.clocks, warp, at.mask);
        }
    }

    fn exit(&mut self, at: At) {
        let clusters = self.sites.clusters;
        let member = clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first) {
            state.clocks.exit(member.base + at.warp, at.mask);
            if clusters.size == 1 || !self.checks.has(Checker::SharedRace) {
                return;
            }
            let live = &mut state.live[member.rank as usize];
            *live = live.saturating_sub(at.mask.count_ones());
            if *live == 0 {
                let own = member.base..member.base + clusters.warps;
                state.visits[member.rank as usize].end(&state.clocks, own, at, &mut self.log);
            }
        }
    }

    fn copies_issue(&mut self, at: At, to: &[u64; LANES], bytes: u32, bulk: bool) {
        if !self.checks.has(Checker::Copies) {
            return;
        }
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first) {
            let target = self.peer.unwrap_or(member.rank) as usize;
            state.copies[target].issue(at, to, bytes, bulk, &mut self.log);
        }
    }

    fn copies_read(&mut self, at: At, from: u64, bytes: u32) {
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self
            .blocks
            .get(member.first)
            .filter(|_| self.checks.has(Checker::Copies))
        {
            state.copies[member.rank as usize].read(at, from, bytes, &mut self.log);
        }
    }

    fn copies_commit(&mut self, at: At, bulk: bool) {
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first) {
            state.copies[member.rank as usize].commit(at, bulk);
        }
    }

    fn copies_wait(&mut self, at: At, pending: Option<u32>, bulk: bool) {
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first) {
            state.copies[member.rank as usize].wait(at, pending, bulk);
        }
    }

    fn mbarrier(&mut self, at: At, place: u64, what: BarrierUse) {
        let member = self.sites.clusters.member(at.block);
        let target = self.peer.unwrap_or(member.rank) as usize;
        if let Some(state) = self.blocks.get(member.first) {
            let warp = member.base + at.warp;
            if self.checks.has(Checker::Mbarrier) {
                let user = mbarrier::User {
                    clocks: &state.clocks,
                    clusters: &self.sites.clusters,
                    warp,
                    phases: state.barrier.phases,
                };
                state.mbarriers[target].used(&user, at, place, what, &mut self.log);
            }
            let at = At { warp, ..at };
            state.shared[target].mbarrier(&mut state.clocks, at, place, what);
            if matches!(what, BarrierUse::Passed { .. }) {
                state.copies[target].phase();
            }
        }
    }

    fn barrier_arrive(&mut self, at: At, _live: u32, id: u32, count: Option<u32>) {
        if let Some(tally) = &mut self.tally {
            tally.barrier_arrive(at, id);
        }
        let aligned = matches!(
            self.sync_op(at.pc),
            Some(SyncOp::Barrier { aligned: true, .. })
        );
        let member = self.sites.clusters.member(at.block);
        if let Some(state) = self.blocks.get(member.first) {
            let id = id + member.rank * BARRIERS as u32;
            state.clocks.arrive(member.base + at.warp, id);
            state.arrivals[id as usize].push(Arrival { at, count, aligned });
        }
    }

    fn barrier_complete(&mut self, block: u64, id: u32) {
        if let Some(tally) = &mut self.tally {
            tally.barrier_complete(id);
        }
        let member = self.sites.clusters.member(block);
        let Some(state) = self.blocks.get(member.first) else {
            return;
        };
        let number = id + member.rank * BARRIERS as u32;
        let mut arrivals = std::mem::take(&mut state.arrivals[number as usize]);
        let program = self.program;
        let waits = |a: &&Arrival| match program.code[a.at.pc as usize].op {
            Op::Sync(index) => !matches!(
                program.syncs[index as usize],
                SyncOp::Barrier {
                    kind: BarrierKind::Arrive,
                    ..
                }
            ),
            _ => true,
        };
        let waiting = arrivals
            .iter()
            .filter(waits)
            .map(|a| member.base + a.at.warp);
        let met = state.clocks.complete(number, waiting);
        if state.shared.len() == 1 && (met || state.clocks.all_ordered()) {
            state.shared[0].all_ordered();
        }
        if self.checks.has(Checker::Barrier) {
            barrier::complete(&mut self.log, id, &arrivals);
        }
        arrivals.clear();
        state.arrivals[number as usize] = arrivals;
    }
}
