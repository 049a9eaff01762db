//! The rungs that read a row once: it stays in registers between its sums and its dx.

use super::access::{Access, MOST};
use super::arithmetic::{Pair, Statistics, add, dx, plus};
use super::{BLOCK_THREADS, WIDE_COLUMNS};
use crate::device::global::store4;
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
    /// The team's total, for all of it. `turn` is odd at every other call.
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

    /// The statistics of the rows from `from` on, up to the next multiple of 32: each by the lane
    /// that is its rest.
    #[inline(always)]
    fn statistics(&self, from: u32, end: u32) -> Statistics {
        let row = from / warp::SIZE * warp::SIZE + warp::lane_id();
        let mut of_lane = Statistics {
            mean: 0.0,
            rstd: 0.0,
        };
        if from <= row && row < end {
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
    /// while this one is reduced, and γ stays in registers; without it γ stays in shared memory.
    #[inline(always)]
    fn rows<A: Access<Element = T>, const N: usize, const AHEAD: bool>(
        &self,
        team: impl Team,
    ) -> ([[f32; MOST]; N], [[f32; MOST]; N]) {
        // No launch has 2³¹ rows; the compiler cannot know.
        let zero = self.rows >> 31;
        let mut held = [A::zeros(); N];
        let place = |n: usize| n as u32 * team.threads() + team.thread();
        for (n, held) in held.iter_mut().enumerate() {
            let gamma = self.gamma::<A>(team, n);
            if AHEAD {
                *held = gamma;
            } else {
                // SAFETY: the tile has 16 bytes an access, this thread's.
                unsafe { A::leave(gamma, layernorm_backward_gamma(), place(n)) }
            }
        }
        let gamma = |n: usize| {
            if AHEAD {
                A::again(held[n], zero)
            } else {
                // SAFETY: left there above.
                unsafe { A::left(layernorm_backward_gamma(), place(n)) }
            }
        };
        let (mut dgamma, mut dbeta) = ([[0.0; MOST]; N], [[0.0; MOST]; N]);

        // A unit has a run of rows, so that each of its lanes can read the statistics of another.
        let ((unit, units), (teams, number)) = (team.unit(), team.in_unit());
        let run = self.rows.div_ceil(units).next_multiple_of(teams);
        let mut leader = (unit * run).min(self.rows);
        let end = self.rows.min(leader + run);
        let mut of_lanes = self.statistics(leader, end);
        let mut coming = of_lanes;
        if AHEAD {
            coming = self.statistics((leader | (warp::SIZE - 1)) + 1, end);
        }

        // The teams of a unit take as many turns as its first one has rows.
        let mut ahead = self.load::<A, N>(team, leader + number, end);
        while leader < end {
            let row = leader + number;
            let Row { x, dy } = ahead;
            let next = row + teams;
            if AHEAD {
                ahead = self.load::<A, N>(team, next, end);
            }
            let lane = row % warp::SIZE;
            let statistics = Statistics {
                mean: warp::shuffle(warp::FULL, of_lanes.mean, lane),
                rstd: warp::shuffle(warp::FULL, of_lanes.rstd, lane),
            };
            let mut sums = Pair::IDENTITY;
            for n in 0..N {
                let columns = Some((&mut dgamma[n], &mut dbeta[n]));
                add::<A>(statistics, x[n], dy[n], gamma(n), &mut sums, columns);
            }
            let means = team
                .total(sums, leader)
                .means(self.width, !self.mean.is_null());
            if row < end {
                let start = row as usize * self.width as usize;
                for n in 0..N {
                    if let Some(column) = self.column::<A>(team, n) {
                        let (x, dy) = (A::again(x[n], zero), A::again(dy[n], zero));
                        let mut out = dx::<A>(statistics, means, x, dy, gamma(n));
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
            if leader % warp::SIZE == 0 {
                if AHEAD {
                    of_lanes = coming;
                    coming = self.statistics(leader + warp::SIZE, end);
                } else {
                    of_lanes = self.statistics(leader, end);
                }
            }
        }
        (dgamma, dbeta)
    }

    /// Writes this block's share of dγ and dβ, as far as a lane is `active`. All lanes of a warp call
    /// it together.
    #[inline(always)]
    fn write<A: Access<Element = T>, const N: usize>(
        &self,
        team: impl Team,
        active: bool,
        dgamma: [[f32; MOST]; N],
        dbeta: [[f32; MOST]; N],
    ) {
        let width = self.width as usize;
        let (block, blocks) = (
            thread::block_idx_x() as usize,
            thread::grid_dim_x() as usize,
        );
        for n in 0..N {
            // SAFETY: a row a block.
            unsafe {
                self.write_access::<A>(team, n, active, self.partial.add(block * width), dgamma[n]);
                if !self.mean.is_null() {
                    let row = self.partial.add((blocks + block) * width);
                    self.write_access::<A>(team, n, active, row, dbeta[n]);
                }
            }
        }
    }

    /// Writes access `n` to a row of f32. Eight columns are two stores of 16 bytes: pairs of lanes
    /// exchange a half, for each of them to fill whole sectors.
    ///
    /// # Safety
    /// The row has `width` elements, and this access's are this thread's to write.
    #[inline(always)]
    unsafe fn write_access<A: Access<Element = T>>(
        &self,
        team: impl Team,
        n: usize,
        active: bool,
        row: *mut f32,
        v: [f32; MOST],
    ) {
        let width = self.width as usize;
        let (low, high) = ([v[0], v[1], v[2], v[3]], [v[4], v[5], v[6], v[7]]);
        if A::PER == MOST {
            let odd = warp::lane_id() % 2 == 1;
            let [a, b, c, d] = if odd { low } else { high };
            let of_other = |word: f32| warp::shuffle_xor(warp::FULL, word, 1);
            let taken = [of_other(a), of_other(b), of_other(c), of_other(d)];
            let of_pair = (n as u32 * team.threads() + (team.thread() & !1)) as usize * MOST;
            let (first, second) = if odd { (taken, high) } else { (low, taken) };
            let store = |values, at: usize| {
                let column = of_pair + at + if odd { MOST / 2 } else { 0 };
                if active && column < width {
                    // SAFETY: the caller's promise: the pair's columns are its two threads'.
                    unsafe { store4(row.add(column), values) }
                }
            };
            store(first, 0);
            store(second, MOST);
        } else if let Some(column) = self.column::<A>(team, n).filter(|_| active) {
            // SAFETY: the caller's promise.
            unsafe {
                match A::PER {
                    1 => *row.add(column) = v[0],
                    _ => store4(row.add(column), low),
                }
            }
        }
    }
}

shared_tile!(
    /// γ of a block of `…_block_wide`.
    fn layernorm_backward_gamma: [u32; WIDE_COLUMNS as usize * BLOCK_THREADS as usize]
);

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
    if warp_id == warps - 1 {
        // Teams have the same sums now: where a lane is a team, the next one is its pair.
        let active = lane < if A::PER == MOST { lanes.max(2) } else { lanes };
        problem.write::<A, N>(team, active, dgamma, dbeta);
    }
}

/// A block a row; `block_dim_x · N · PER ≥ width`.
#[inline(always)]
pub(super) fn by_block<A: Access, const N: usize, const AHEAD: bool>(
    problem: &Problem<A::Element>,
) {
    let (dgamma, dbeta) = problem.rows::<A, N, AHEAD>(Block);
    problem.write::<A, N>(Block, true, dgamma, dbeta);
}
