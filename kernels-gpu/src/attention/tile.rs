//! Tiles of 16-bit values in shared memory and their fragments for the tensor cores.
//!
//! A tile has rows of D values, D = 16·D16, swizzled by 16-byte chunks; PITCH is D rounded up to a
//! power of two.

use super::half::Half;
use super::rolled;
use crate::device::copy::copy_16_or_zero;
use crate::device::global::store4;
use crate::device::matrix::{FragmentA, FragmentB, ldmatrix_x4, ldmatrix_x4_transposed};
use crate::device::shared::{Shared, Swizzled};
use crate::device::{thread, warp};

/// A lane's part in the fragments: group `g = lane / 4` holds rows g and g + 8, `t = lane % 4`
/// columns 2t and 2t + 1 of each eight.
#[derive(Clone, Copy)]
pub struct Lane {
    /// The lane.
    pub lane: u32,
    /// Its row of eight.
    pub g: u32,
    /// Its pair of columns of eight.
    pub t: u32,
}

impl Lane {
    /// This thread's.
    #[inline(always)]
    pub fn here() -> Lane {
        let lane = warp::lane_id();
        Lane {
            lane,
            g: lane / 4,
            t: lane % 4,
        }
    }
}

/// Sums of a warp's 16 rows and 16·N columns, as the products leave them: two eights each.
pub type Sums<const N: usize> = [[[f32; 4]; 2]; N];

/// A tile of 16·R16 rows, in a block of `WARPS` warps.
pub struct Tile<E, const D16: usize, const R16: usize, const PITCH: u32, const WARPS: u32> {
    at: Swizzled<E, PITCH>,
    base: Shared<E>,
}

impl<E, const D16: usize, const R16: usize, const PITCH: u32, const WARPS: u32> Clone
    for Tile<E, D16, R16, PITCH, WARPS>
{
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<E, const D16: usize, const R16: usize, const PITCH: u32, const WARPS: u32> Copy
    for Tile<E, D16, R16, PITCH, WARPS>
{
}

impl<E: Half, const D16: usize, const R16: usize, const PITCH: u32, const WARPS: u32>
    Tile<E, D16, R16, PITCH, WARPS>
{
    const ROW_BYTES: u32 = 2 * PITCH;
    /// Bytes of shared memory.
    pub const BYTES: u32 = 16 * R16 as u32 * Self::ROW_BYTES;
    /// Chunks that each thread copies.
    pub(super) const OWN: u32 = {
        let chunks = 16 * R16 as u32 * 2 * D16 as u32;
        assert!(
            chunks % (32 * WARPS) == 0,
            "threads share the chunks evenly"
        );
        chunks / (32 * WARPS)
    };

    /// The tile from byte `offset` of the dynamic shared memory on, a multiple of 1024.
    #[inline(always)]
    pub fn at(offset: u32) -> Self {
        let base = crate::device::shared::dynamic(offset);
        Tile {
            at: Swizzled::new(base),
            base,
        }
    }

    /// The same tile `offset` bytes further, a multiple of 1024.
    #[inline(always)]
    pub fn further(self, offset: u32) -> Self {
        let base = Shared::at_address(self.base.address(0) + offset);
        Tile {
            at: Swizzled::new(base),
            base,
        }
    }

    /// The row and chunk of this thread's `n`-th copy. Consecutive threads take consecutive chunks.
    #[inline(always)]
    fn own_chunk(n: u32) -> (u32, u32) {
        let index = thread::thread_idx_x() + n * (32 * WARPS);
        (index / (2 * D16 as u32), index % (2 * D16 as u32))
    }

    #[inline(always)]
    pub(super) fn chunk_address(self, row: u32, chunk: u32) -> u32 {
        self.at.chunk_address(row, chunk)
    }

    /// Where this thread's `n`-th copy goes.
    #[inline(always)]
    pub(super) fn own_place(self, n: u32) -> Shared<u32> {
        let (row, chunk) = Self::own_chunk(n);
        Shared::at_address(self.chunk_address(row, chunk))
    }

    /// Begins to copy rows, all threads together: `source` gives the address of a row's D values
    /// and whether they exist; zeros stand for those that do not.
    ///
    /// # Safety
    /// The rows that exist are readable and aligned to 16 bytes; nobody touches the tile until the
    /// copy has been waited for.
    #[inline(always)]
    pub unsafe fn fill(self, source: impl Fn(u32) -> (*const E, bool)) {
        // SAFETY: the caller's promise.
        unsafe {
            Self::fill_alike([self], |row| {
                let (from, exists) = source(row);
                ([from], exists)
            });
        }
    }

    /// [`fill`](Tile::fill) of several tiles whose rows lie alike: where a row lies is found once.
    ///
    /// # Safety
    /// As there, for each tile.
    #[inline(always)]
    pub unsafe fn fill_alike<const TILES: usize>(
        tiles: [Self; TILES],
        source: impl Fn(u32) -> ([*const E; TILES], bool),
    ) {
        for n in rolled(Self::OWN) {
            let (row, chunk) = Self::own_chunk(n);
            let (from, exists) = source(row);
            let valid = if exists { 16 } else { 0 };
            for tile in 0..TILES {
                let to = tiles[tile].chunk_address(row, chunk);
                // SAFETY: the caller's promise; chunk < 2·D16 lies in the row.
                unsafe { copy_16_or_zero(to, from[tile].add(8 * chunk as usize), valid) }
            }
        }
    }

    /// The address of chunk 2·`c16` + `chunk` of row 16·`r16` + `row`, with `row` below 16 and
    /// `chunk` 0 or 1. The swizzle is an exclusive or with bits of `row`, and 2·`c16` has other bits
    /// than `chunk`: so what depends on the lane is made once, and each fragment costs one more
    /// exclusive or.
    #[inline(always)]
    fn fragment_address(self, row: u32, chunk: u32, r16: u32, c16: u32) -> u32 {
        (self.chunk_address(row, chunk) ^ (32 * c16)) + 16 * r16 * Self::ROW_BYTES
    }

    /// A fragment of the left factor: rows 16·`r16`…+15, columns 16·`c16`…+15.
    ///
    /// # Safety
    /// The tile has been filled; the whole warp is here.
    #[inline(always)]
    pub unsafe fn left(self, lane: Lane, r16: u32, c16: u32) -> FragmentA {
        let address = self.fragment_address(lane.lane % 16, lane.lane / 16, r16, c16);
        // SAFETY: the caller's promise.
        unsafe { ldmatrix_x4(address) }
    }

    /// The right factor made of the tile's rows as columns (`x·tileᵀ`): rows 16·`r16`…+15 as two
    /// fragments of eight, columns 16·`c16`…+15 to be summed over.
    ///
    /// # Safety
    /// As for [`left`](Tile::left).
    #[inline(always)]
    pub unsafe fn right_transposed(self, lane: Lane, r16: u32, c16: u32) -> [FragmentB; 2] {
        let row = lane.lane / 16 * 8 + lane.lane % 8;
        let address = self.fragment_address(row, lane.lane / 8 % 2, r16, c16);
        // SAFETY: the caller's promise.
        let [a, b, c, d] = unsafe { ldmatrix_x4(address) };
        [[a, b], [c, d]]
    }

    /// The right factor itself (`x·tile`): rows 16·`r16`…+15 to be summed over, columns
    /// 16·`c16`…+15 as two fragments of eight.
    ///
    /// # Safety
    /// As for [`left`](Tile::left).
    #[inline(always)]
    pub unsafe fn right(self, lane: Lane, r16: u32, c16: u32) -> [FragmentB; 2] {
        let address = self.fragment_address(lane.lane % 16, lane.lane / 16, r16, c16);
        // SAFETY: the caller's promise.
        let [a, b, c, d] = unsafe { ldmatrix_x4_transposed(address) };
        [[a, b], [c, d]]
    }

    /// The left factor made of the tile's columns as rows (`tileᵀ·x`): columns 16·`c16`…+15 as rows,
    /// rows 16·`r16`…+15 to be summed over.
    ///
    /// # Safety
    /// As for [`left`](Tile::left).
    #[inline(always)]
    pub unsafe fn left_transposed(self, lane: Lane, r16: u32, c16: u32) -> FragmentA {
        let row = lane.lane / 16 * 8 + lane.lane % 8;
        let address = self.fragment_address(row, lane.lane / 8 % 2, r16, c16);
        // SAFETY: the caller's promise.
        unsafe { ldmatrix_x4_transposed(address) }
    }

    /// Rounds the warp's sums, each of a lane's two rows times its factor, into the warp's own rows
    /// of the tile, columns from 16·`c16` on.
    ///
    /// # Safety
    /// Nobody else uses the warp's rows of the tile.
    #[inline(always)]
    pub unsafe fn put<const N: usize>(
        self,
        lane: Lane,
        warp: u32,
        c16: u32,
        sums: &Sums<N>,
        factors: [f32; 2],
    ) {
        for c in 0..2 * N as u32 {
            let sums = &sums[c as usize / 2][c as usize % 2];
            let chunk = self.fragment_address(lane.g, c % 2, warp, c16 + c / 2);
            for row in 0..2 {
                let (low, high) = (sums[2 * row], sums[2 * row + 1]);
                let pair = E::pack(low * factors[row], high * factors[row]);
                // Eight rows further the swizzle is the same.
                let address = chunk + 8 * row as u32 * Self::ROW_BYTES + 4 * lane.t;
                // SAFETY: a row of this warp.
                unsafe { Shared::<u32>::at_address(address).store(0, pair) };
            }
        }
    }

    /// Writes the warp's sums, each of a lane's two rows times its factor, to global memory in whole
    /// chunks by way of the warp's own rows of the tile. Columns from 16·`c16` on; `to` gives the
    /// address of a row of the tile, if it is to be written; `finish` has the last word on a chunk,
    /// from its row and number.
    ///
    /// # Safety
    /// Nobody else uses the warp's rows of the tile; the rows that `to` gives have D places each,
    /// aligned to 16 bytes.
    #[inline(always)]
    pub unsafe fn store_rows<const N: usize>(
        self,
        lane: Lane,
        warp: u32,
        c16: u32,
        sums: &Sums<N>,
        factors: [f32; 2],
        to: impl Fn(u32) -> Option<*mut E>,
        finish: impl Fn(u32, u32, [u32; 4]) -> [u32; 4],
    ) {
        warp::sync_warp(warp::FULL);
        // SAFETY: the caller's promise.
        unsafe { self.put(lane, warp, c16, sums, factors) }
        warp::sync_warp(warp::FULL);
        for n in rolled(N as u32) {
            let index = lane.lane + 32 * n;
            let row = 16 * warp + index / (2 * N as u32);
            let chunk = 2 * c16 + index % (2 * N as u32);
            if let Some(to) = to(row) {
                let place = Shared::<u32>::at_address(self.chunk_address(row, chunk));
                // SAFETY: written before the barrier of the warp; a chunk of the row.
                unsafe {
                    let made = finish(row, chunk, place.load4(0));
                    store4(to.add(8 * chunk as usize).cast::<u32>(), made);
                }
            }
        }
    }
}
