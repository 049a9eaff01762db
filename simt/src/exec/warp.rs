//! A warp: registers, and the groups into which its lanes have diverged.

use super::registers::{FULL, LANES, Plane, Registers};
use crate::lower::program::{Constant, MaskKind, Program, Special};
use crate::lower::sync::BarrierKind;
use crate::memory::bytes::Bytes;
use bytemuck::Zeroable;

/// What a group of lanes waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Ready,
    /// Other lanes of the warp, at a `.sync` operation with this mask.
    Lanes { member: u32 },
    /// A barrier of the block.
    Barrier { id: u32 },
    /// The barrier of the cluster.
    Cluster,
}

/// Lanes that are at the same place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub(crate) mask: u32,
    pub(crate) pc: u32,
    pub(crate) state: State,
    /// When it last ran, for fairness.
    pub(crate) ran: u64,
}

/// One warp.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) index: u32,
    pub(crate) registers: Registers,
    pub(crate) splits: Vec<Split>,
    /// Lanes that have not exited.
    pub(crate) live: u32,
    /// Local memory: the lanes one after the other.
    pub(crate) local: Bytes,
    pub(crate) steps: u64,
    /// Whether the next choice of a group must be the one that waited longest.
    pub(crate) rotate: bool,
    /// Reducing barriers at which lanes wait, by instruction.
    pub(crate) reductions: Vec<(u32, BarrierKind)>,
}

/// What a block's registers are filled with.
pub(crate) struct Shape {
    pub(crate) block: [u32; 3],
    pub(crate) grid: [u32; 3],
    pub(crate) cluster: [u32; 3],
    pub(crate) dynamic_shared: u32,
    /// Addresses of the module's variables.
    pub(crate) variables: Vec<u64>,
}

impl Shape {
    pub(crate) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Blocks of a cluster.
    pub(crate) fn cluster_size(&self) -> u32 {
        self.cluster.iter().product()
    }

    pub(crate) fn warps(&self) -> u32 {
        self.threads().div_ceil(LANES as u32)
    }

    pub(crate) fn coordinates(index: u64, extent: [u32; 3]) -> [u32; 3] {
        let (x, y) = (u64::from(extent[0]), u64::from(extent[1]));
        [
            (index % x) as u32,
            (index / x % y) as u32,
            (index / x / y) as u32,
        ]
    }
}

impl Warp {
    pub(crate) fn new(program: &Program, shape: &Shape, block: u64, index: u32) -> Self {
        let planes = vec![Plane::zeroed(); usize::from(program.planes)];
        let predicates = vec![0; usize::from(program.predicates)];
        let registers = Registers { planes, predicates };
        let mut warp = Self {
            index,
            registers,
            splits: Vec::new(),
            live: 0,
            local: Bytes::poisoned(program.local_bytes as usize * LANES),
            steps: 0,
            rotate: false,
            reductions: Vec::new(),
        };
        warp.fill(program, shape, block, |_| true);
        warp.start(shape);
        warp
    }

    /// Makes the warp ready for another block of the same launch.
    pub(crate) fn restart(&mut self, program: &Program, shape: &Shape, block: u64) {
        self.fill(program, shape, block, Constant::of_block);
        self.start(shape);
    }

    fn start(&mut self, shape: &Shape) {
        let first = self.index * LANES as u32;
        let lanes = (shape.threads() - first).min(LANES as u32);
        self.live = if lanes == 32 { FULL } else { (1 << lanes) - 1 };
        self.splits.clear();
        self.splits.push(Split {
            mask: self.live,
            pc: 0,
            state: State::Ready,
            ran: 0,
        });
        self.steps = 0;
        self.rotate = false;
        self.reductions.clear();
        self.local.reset();
    }

    /// Fills the registers of constants, which no instruction writes.
    fn fill(
        &mut self,
        program: &Program,
        shape: &Shape,
        block: u64,
        which: impl Fn(&Constant) -> bool,
    ) {
        let first = self.index * LANES as u32;
        for (reg, constant) in program.constants.iter().filter(|(_, c)| which(c)) {
            let lane_value = |lane: usize| match constant {
                Constant::Bits(bits) => *bits,
                Constant::Variable { index, offset, .. } => {
                    shape.variables[*index].wrapping_add_signed(*offset)
                }
                Constant::Dynamic(offset) => program.dynamic_offset.wrapping_add_signed(*offset),
                Constant::Special(s) => u64::from(special(*s, program, shape, block, first, lane)),
            };
            if !constant.differs() {
                let value = lane_value(0);
                if reg.planes == 2 {
                    *self.registers.wide_mut(reg.plane) = [value; LANES];
                } else {
                    *self.registers.narrow_mut(reg.plane) = [value as u32; LANES];
                }
                continue;
            }
            if reg.planes == 2 {
                *self.registers.wide_mut(reg.plane) = std::array::from_fn(lane_value);
            } else {
                *self.registers.narrow_mut(reg.plane) =
                    std::array::from_fn(|lane| lane_value(lane) as u32);
            }
        }
    }

    /// Whether every lane has exited.
    pub(crate) fn done(&self) -> bool {
        self.splits.is_empty()
    }

    /// What the barrier at `pc` computes besides waiting.
    pub(crate) fn take_reduction(&mut self, pc: u32) -> Option<BarrierKind> {
        let at = self.reductions.iter().position(|(at, _)| *at == pc)?;
        Some(self.reductions.swap_remove(at).1)
    }

    /// The mask of lanes in a guard.
    #[inline(always)]
    pub(crate) fn guarded(&self, guard: crate::lower::program::Guard, mask: u32) -> u32 {
        guarded(&self.registers, guard, mask)
    }
}

/// The lanes of `mask` whose guard holds.
#[inline(always)]
pub(crate) fn guarded(
    registers: &Registers,
    guard: crate::lower::program::Guard,
    mask: u32,
) -> u32 {
    match guard.parts() {
        None => mask,
        Some((p, negated)) => {
            let bits = registers.predicates[usize::from(p)];
            mask & if negated { !bits } else { bits }
        }
    }
}

impl Constant {
    /// Whether blocks hold different values.
    fn of_block(&self) -> bool {
        use Special::{ClusterCtaid, ClusterCtarank, ClusterId, Ctaid, SmId};
        matches!(
            self,
            Constant::Special(Ctaid(_) | SmId | ClusterId(_) | ClusterCtaid(_) | ClusterCtarank)
        )
    }

    /// Whether lanes hold different values.
    fn differs(&self) -> bool {
        matches!(
            self,
            Constant::Special(Special::Tid(_) | Special::LaneId | Special::LaneMask(_))
        )
    }
}

fn special(
    s: Special,
    program: &Program,
    shape: &Shape,
    block: u64,
    first: u32,
    lane: usize,
) -> u32 {
    let [x, y, _] = shape.block;
    let thread = first + lane as u32;
    let ctaid = || Shape::coordinates(block, shape.grid);
    let bit =
        |f: fn(u32, u32) -> bool| (0..32).fold(0, |m, i| m | u32::from(f(i, lane as u32)) << i);
    let axis = |i: u8| usize::from(i);
    let cluster = shape.cluster;
    let within = |i: usize| ctaid()[i] % cluster[i];
    match s {
        Special::Tid(0) => thread % x,
        Special::Tid(1) => thread / x % y,
        Special::Tid(_) => thread / x / y,
        Special::Ntid(i) => shape.block[axis(i)],
        Special::Ctaid(i) => ctaid()[axis(i)],
        Special::Nctaid(i) => shape.grid[axis(i)],
        Special::LaneId => lane as u32,
        Special::WarpId => first / LANES as u32,
        Special::NWarpId => shape.warps(),
        // One multiprocessor per block in flight is as good an answer as any.
        Special::SmId => (block % 132) as u32,
        Special::NSmId => 132,
        Special::GridId => 0,
        Special::ExplicitCluster => u32::from(shape.cluster_size() > 1),
        Special::LaneMask(MaskKind::Eq) => 1 << lane,
        Special::LaneMask(MaskKind::Le) => bit(|i, l| i <= l),
        Special::LaneMask(MaskKind::Lt) => bit(|i, l| i < l),
        Special::LaneMask(MaskKind::Ge) => bit(|i, l| i >= l),
        Special::LaneMask(MaskKind::Gt) => bit(|i, l| i > l),
        Special::DynamicSharedSize => shape.dynamic_shared,
        Special::Zero => 0,
        Special::TotalSharedSize => program.dynamic_offset as u32 + shape.dynamic_shared,
        Special::ClusterId(i) => ctaid()[axis(i)] / cluster[axis(i)],
        Special::NClusterId(i) => shape.grid[axis(i)] / cluster[axis(i)],
        Special::ClusterCtaid(i) => within(axis(i)),
        Special::ClusterNctaid(i) => cluster[axis(i)],
        Special::ClusterCtarank => within(0) + cluster[0] * (within(1) + cluster[1] * within(2)),
        Special::ClusterNctarank => cluster.iter().product(),
    }
}
