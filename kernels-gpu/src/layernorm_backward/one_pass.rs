//! The rungs that read a row once: it stays in registers between its sums and its dx.

use super::access::{Access, MOST, store_f32};
use super::arithmetic::{Pair, Statistics, add, dx, plus};
use crate::device::reduce::{self, Merge};
use crate::device::{thread, warp};
use crate::shared_tile;

/// The pointers and sizes of a launch.
pub(super) struct Problem<T> {
    pub(super) x: *const T,
    pub(super) dy: *const T,
    /// Null: ones.
    pub(super) gamma: *const T,
    /// Null: RMSNorm.
    pub(super) mean: *const f32,
    pub(super) rstd: *const f32,
    /// Null: none.
    pub(super) residual: *const T,
    pub(super) dx: *mut T,
    /// `[2, blocks, width]`: dγ, then dβ (not for RMSNorm).
    pub(super) partial: *mut f32,
    pub(super) rows: u32,
    pub(super) width: u32,
}

/// The threads that share a row, and what they do together.
trait Team: Copy {
    /// This thread's number in the team.
    fn thread(self) -> u32;
    /// Threads of the team.
    fn threads(self) -> u32;
    /// Whom the rows are divided among, in runs: this one's number, and how many there are.
    fn unit(self) -> (u32, u32);
    /// Teams of a unit, a divisor of 32, whose rows take turns; and this team's number.
    fn in_unit(self) -> (u32, u32);
    /// The team's total, for all of it. `turn` counts the calls.
    fn total(self, value: Pair, turn: u32) -> Pair;
}

/// `lanes` lanes of a warp, a power of two; the others have rows of their own.
#[derive(Clone, Copy)]
struct Lanes {
    lanes: u32,
}

impl Team for Lanes {
    #[inline(always)]
    fn thread(self) -> u32 {
        warp::lane_id() & (self.lanes - 1)
    }
    #[inline(always)]
    fn threads(self) -> u32 {
        self.lanes
    }
    #[inline(always)]
    fn unit(self) -> (u32, u32) {
        let warps = thread::block_dim_x() / warp::SIZE;
        (
            thread::block_idx_x() * warps + warp::warp_id(),
            thread::grid_dim_x() * warps,
        )
    }
    #[inline(always)]
    fn in_unit(self) -> (u32, u32) {
        (warp::SIZE / self.lanes, warp::lane_id() / self.lanes)
    }
    #[inline(always)]
    fn total(self, mut value: Pair, _: u32) -> Pair {
        let mut distance = self.lanes / 2;
        while distance > 0 {
            value = value.merge(value.from_lane_xor(distance));
            distance /= 2;
        }
        value
    }
}

/// A whole block.
#[derive(Clone, Copy)]
struct Block;

shared_tile!(
    /// A pair a warp, twice: one barrier a row is enough when rows take turns.
    fn layernorm_backward_pairs: [u32; 128]
);

impl Team for Block {
    #[inline(always)]
    fn thread(self) -> u32 {
        thread::thread_idx_x()
    }
    #[inline(always)]
    fn threads(self) -> u32 {
        thread::block_dim_x()
    }
    #[inline(always)]
    fn unit(self) -> (u32, u32) {
        (thread::block_idx_x(), thread::grid_dim_x())
    }
    #[inline(always)]
    fn in_unit(self) -> (u32, u32) {
        (1, 0)
    }
    #[inline(always)]
    fn total(self, value: Pair, turn: u32) -> Pair {
        let scratch = layernorm_backward_pairs().from(64 * (turn & 1));
        let value = reduce::warp(value);
        if warp::lane_id() == 0 {
            // SAFETY: a place a warp, of 32. Whoever reads the last use of this half has done so
            // before the barrier of the turn between.
            unsafe { value.store(scratch, warp::warp_id()) }
        }
        thread::sync_threads();
        let mut total = Pair::IDENTITY;
        if warp::lane_id() < thread::block_dim_x() / warp::SIZE {
            // SAFETY: written by that warp before the barrier.
            total = unsafe { Pair::load(scratch, warp::lane_id()) };
        }
        reduce::warp(total)
    }
}

/// A row as it was read, `N` accesses a thread.
struct Row<A: Access, const N: usize> {
    x: [A::Raw; N],
    dy: [A::Raw; N],
}

impl<T> Problem<T> {
    /// The column where access `n` of a thread begins, if it is in the row.
    #[inline(always)]
    fn column<A: Access<Element = T>>(&self, team: impl Team, n: usize) -> Option<usize> {
        let column = (n as u32 * team.threads() + team.thread()) * A::PER as u32;
        (column < self.width).then_some(column as usize)
    }

    /// A row, zeros from `end` on.
    #[inline(always)]
    fn load<A: Access<Element = T>, const N: usize>(
        &self,
        team: impl Team,
        row: u32,
        end: u32,
    ) -> Row<A, N> {
        let mut out = Row {
            x: [A::zeros(); N],
            dy: [A::zeros(); N],
        };
        if row < end {
            let start = row as usize * self.width as usize;
            for n in 0..N {
                if let Some(column) = self.column::<A>(team, n) {
                    // SAFETY: row < rows, and an access that begins in a row ends in it.
                    unsafe {
                        out.x[n] = A::load(self.x.add(start + column));
                        out.dy[n] = A::load(self.dy.add(start + column));
                    }
                }
            }
        }
        out
    }

    /// The statistics of 32 rows, one a lane; zeros from `end` on.
    #[inline(always)]
    fn statistics(&self, first: u32, end: u32) -> Statistics {
        let row = first + warp::lane_id();
        let mut of_lane = Statistics {
            mean: 0.0,
            rstd: 0.0,
        };
        if row < end {
            // SAFETY: row < rows.
            of_lane = unsafe { Statistics::load(self.mean, self.rstd, row) };
        }
        of_lane
    }

    /// γ of access `n`.
    #[inline(always)]
    fn gamma<A: Access<Element = T>>(&self, team: impl Team, n: usize) -> A::Raw {
        match self.column::<A>(team, n) {
            // SAFETY: gamma has `width` elements, and an access that begins in a row ends in it.
            Some(column) if !self.gamma.is_null() => unsafe {
                A::load_shared(self.gamma.add(column))
            },
            _ => A::ones(),
        }
    }

    /// dx of all rows of this team; returns its dγ and dβ. With `AHEAD` the next row is under way
    /// while this one is reduced.
    #[inline(always)]
    fn rows<A: Access<Element = T>, const N: usize, const AHEAD: bool>(
        &self,
        team: impl Team,
    ) -> ([[f32; MOST]; N], [[f32; MOST]; N]) {
        // No launch has 2³¹ rows; the compiler cannot know.
        let zero = self.rows >> 31;
        let mut held = [A::zeros(); N];
        for (n, gamma) in held.iter_mut().enumerate() {
            *gamma = self.gamma::<A>(team, n);
        }
        let (mut dgamma, mut dbeta) = ([[0.0; MOST]; N], [[0.0; MOST]; N]);

        // A unit has a run of rows, so that a lane can read the statistics of each of the next 32.
        let ((unit, units), (teams, number)) = (team.unit(), team.in_unit());
        let run = self.rows.div_ceil(units).next_multiple_of(teams);
        let first = (unit * run).min(self.rows);
        let end = self.rows.min(first + run);
        let mut coming = self.statistics(first, end);
        let mut of_lanes = coming;

        // The teams of a unit take as many turns as its first one has rows.
        let mut leader = first;
        let mut turn = 0;
        let mut ahead = self.load::<A, N>(team, first + number, end);
        while leader < end {
            let row = leader + number;
            let Row { x, dy } = ahead;
            let next = row + teams;
            if AHEAD {
                ahead = self.load::<A, N>(team, next, end);
            }
            let lane = (leader - first) % warp::SIZE;
            if lane == 0 {
                of_lanes = coming;
                coming = self.statistics(leader + warp::SIZE, end);
            }
            let statistics = Statistics {
                mean: warp::shuffle(warp::FULL, of_lanes.mean, lane + number),
                rstd: warp::shuffle(warp::FULL, of_lanes.rstd, lane + number),
            };
            let mut sums = Pair::IDENTITY;
            for n in 0..N {
                let columns = Some((&mut dgamma[n], &mut dbeta[n]));
                let gamma = A::again(held[n], zero);
                add::<A>(statistics, x[n], dy[n], gamma, &mut sums, columns);
            }
            let means = team
                .total(sums, turn)
                .means(self.width, !self.mean.is_null());
            if row < end {
                let start = row as usize * self.width as usize;
                for n in 0..N {
                    if let Some(column) = self.column::<A>(team, n) {
                        let (x, dy) = (A::again(x[n], zero), A::again(dy[n], zero));
                        let gamma = A::again(held[n], zero);
                        let mut out = dx::<A>(statistics, means, x, dy, gamma);
                        // SAFETY: row < rows, and the access lies in the row; this thread's alone.
                        unsafe {
                            if !self.residual.is_null() {
                                let residual = A::load(self.residual.add(start + column));
                                out = plus::<A>(out, residual);
                            }
                            A::store(self.dx.add(start + column), out);
                        }
                    }
                }
            }
            if !AHEAD {
                ahead = self.load::<A, N>(team, next, end);
            }
            leader += teams;
            turn += 1;
        }
        (dgamma, dbeta)
    }

    /// Writes this block's share of dγ and dβ.
    #[inline(always)]
    fn write<A: Access<Element = T>, const N: usize>(
        &self,
        team: impl Team,
        dgamma: [[f32; MOST]; N],
        dbeta: [[f32; MOST]; N],
    ) {
        let width = self.width as usize;
        let (block, blocks) = (thread::block_idx_x(), thread::grid_dim_x());
        for n in 0..N {
            if let Some(column) = self.column::<A>(team, n) {
                let at = block as usize * width + column;
                // SAFETY: a place a block and column, this thread's.
                unsafe {
                    store_f32::<A>(self.partial.add(at), dgamma[n]);
                    if !self.mean.is_null() {
                        store_f32::<A>(self.partial.add(blocks as usize * width + at), dbeta[n]);
                    }
                }
            }
        }
    }
}

shared_tile!(
    /// dγ and dβ of the warps so far.
    fn layernorm_backward_columns_so_far: [f32; 2 * 32 * 32]
);

/// A few lanes, or all, of a warp a row; `lanes · N · PER ≥ width`, `N · PER ≤ 32`.
#[inline(always)]
pub(super) fn by_lanes<A: Access, const N: usize>(problem: &Problem<A::Element>, lanes: u32) {
    let warps = thread::block_dim_x() / warp::SIZE;
    let team = Lanes { lanes };
    let (mut dgamma, mut dbeta) = problem.rows::<A, N, true>(team);

    // Teams of a warp have the same columns: add them up, in the order of a butterfly.
    let mut distance = lanes;
    while distance < warp::SIZE {
        for n in 0..N {
            for i in 0..A::PER {
                dgamma[n][i] += warp::shuffle_xor(warp::FULL, dgamma[n][i], distance);
                dbeta[n][i] += warp::shuffle_xor(warp::FULL, dbeta[n][i], distance);
            }
        }
        distance *= 2;
    }

    // Then the warps, one after the other.
    let so_far = layernorm_backward_columns_so_far();
    let (warp_id, lane) = (warp::warp_id(), warp::lane_id());
    let mut turn = 0;
    while turn < warps {
        if turn == warp_id {
            for n in 0..N {
                for i in 0..A::PER {
                    let at = (n * A::PER + i) as u32 * 32 + lane;
                    // SAFETY: N · PER ≤ 32 words a lane for each of the two; the other warps wait
                    // at the barrier.
                    unsafe {
                        if warp_id > 0 {
                            dgamma[n][i] += so_far.load(at);
                            dbeta[n][i] += so_far.load(1024 + at);
                        }
                        so_far.store(at, dgamma[n][i]);
                        so_far.store(1024 + at, dbeta[n][i]);
                    }
                }
            }
        }
        thread::sync_threads();
        turn += 1;
    }
    if warp_id == warps - 1 && lane < lanes {
        problem.write::<A, N>(team, dgamma, dbeta);
    }
}

/// A block a row; `block_dim_x · N · PER ≥ width`.
#[inline(always)]
pub(super) fn by_block<A: Access, const N: usize, const AHEAD: bool>(
    problem: &Problem<A::Element>,
) {
    let (dgamma, dbeta) = problem.rows::<A, N, AHEAD>(Block);
    problem.write::<A, N>(Block, dgamma, dbeta);
}
