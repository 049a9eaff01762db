//! Tiles of 16-bit values in shared memory and their fragments for the tensor cores.
//!
//! A tile has rows of D values, D = 16·D16, swizzled by 16-byte chunks; PITCH is D rounded up to a
//! power of two.

use crate::device::copy::copy_16_or_zero;
use crate::device::global::store4;
use crate::device::half::{Bf16, Bf16x2, Element, F16, F16x2};
use crate::device::matrix::{
    self, Accumulator, FragmentA, FragmentB, ldmatrix_x4, ldmatrix_x4_transposed,
};
use crate::device::shared::{Shared, Swizzled};
use crate::device::{thread, warp};

use super::{Span, opaque};

/// A 16-bit type that the tensor cores multiply.
pub trait Half: Element {
    /// The bits of the exponent, all set in what is not finite.
    const EXPONENT: u32;
    /// `a·b + c`.
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32>;
    /// Two values rounded into a register.
    fn pack(low: f32, high: f32) -> u32;
    /// The two values of a register.
    fn unpack(pair: u32) -> (f32, f32);
}

impl Half for F16 {
    const EXPONENT: u32 = 0x7c00;
    #[inline(always)]
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
        matrix::mma_f16(a, b, c)
    }
    #[inline(always)]
    fn pack(low: f32, high: f32) -> u32 {
        F16x2::from_f32(low, high).0
    }
    #[inline(always)]
    fn unpack(pair: u32) -> (f32, f32) {
        F16x2(pair).to_f32()
    }
}

impl Half for Bf16 {
    const EXPONENT: u32 = 0x7f80;
    #[inline(always)]
    fn mma(a: FragmentA, b: FragmentB, c: Accumulator<f32>) -> Accumulator<f32> {
        matrix::mma_bf16(a, b, c)
    }
    #[inline(always)]
    fn pack(low: f32, high: f32) -> u32 {
        Bf16x2::from_f32(low, high).0
    }
    #[inline(always)]
    fn unpack(pair: u32) -> (f32, f32) {
        Bf16x2(pair).to_f32()
    }
}

/// The upper bit of each half that is NaN or infinite: the addition carries into it.
#[inline(always)]
fn odd<E: Half>(pair: u32) -> u32 {
    let carry = 0x8000 - E::EXPONENT;
    ((pair & 0x7fff_7fff) + (carry << 16 | carry)) & 0x8000_8000
}

/// The pair with 0 in place of what is not finite.
#[inline(always)]
fn without_odd<E: Half>(pair: u32) -> u32 {
    pair & !((odd::<E>(pair) >> 15) * 0xffff)
}

/// The chunks of a tile that one thread copies: `count` of them, the n-th at row and chunk
/// `own_chunks(threads, chunks_per_row, n)`. Consecutive threads take consecutive chunks.
#[inline(always)]
fn own_chunks(threads: u32, chunks_per_row: u32, n: u32) -> (u32, u32) {
    let index = thread::thread_idx_x() + n * threads;
    (index / chunks_per_row, index % chunks_per_row)
}

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

/// The 16×16 accumulator pair as the left factor of the next product: two 16×8 tiles of sums have
/// the layout of A.
#[inline(always)]
pub fn fragment<E: Half>(sums: &[[f32; 4]; 2]) -> FragmentA {
    [
        E::pack(sums[0][0], sums[0][1]),
        E::pack(sums[0][2], sums[0][3]),
        E::pack(sums[1][0], sums[1][1]),
        E::pack(sums[1][2], sums[1][3]),
    ]
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
    /// Bytes of shared memory.
    pub const BYTES: u32 = 16 * R16 as u32 * PITCH * 2;
    /// Chunks that each thread copies.
    const OWN: u32 = {
        let chunks = 16 * R16 as u32 * 2 * D16 as u32;
        assert!(
            chunks % (32 * WARPS) == 0,
            "threads share the chunks evenly"
        );
        chunks / (32 * WARPS)
    };

    /// The tile from byte `offset` of the dynamic shared memory on, a multiple of 128.
    #[inline(always)]
    pub fn at(offset: u32) -> Self {
        let base = crate::device::shared::dynamic(offset);
        Tile {
            at: Swizzled::new(base),
            base,
        }
    }

    /// The same tile `offset` bytes further.
    #[inline(always)]
    pub fn further(self, offset: u32) -> Self {
        let base = Shared::at_address(self.base.address(0) + offset);
        Tile {
            at: Swizzled::new(base),
            base,
        }
    }

    /// Begins to copy rows, all threads together: `source` gives the address of a row's D values
    /// and whether they exist; zeros stand for those that do not.
    ///
    /// # Safety
    /// The rows that exist are readable and aligned to 16 bytes; nobody touches the tile until the
    /// copy has been waited for.
    #[inline(always)]
    pub unsafe fn fill(self, source: impl Fn(u32) -> (*const E, bool)) {
        for n in 0..opaque(Self::OWN) {
            let (row, chunk) = own_chunks(32 * WARPS, 2 * D16 as u32, n);
            let (from, exists) = source(row);
            let valid = if exists { 16 } else { 0 };
            // SAFETY: the caller's promise; chunk < 2·D16 lies in the row.
            unsafe {
                copy_16_or_zero(
                    self.at.chunk_address(row, chunk),
                    from.add(8 * chunk as usize),
                    valid,
                );
            }
        }
    }

    /// Whether anything that this thread copied is NaN or infinite. Its copies have been waited for.
    #[inline(always)]
    pub fn any_odd(self) -> bool {
        let mut found = 0;
        for n in 0..opaque(Self::OWN) {
            let (row, chunk) = own_chunks(32 * WARPS, 2 * D16 as u32, n);
            let place = Shared::<u32>::at_address(self.at.chunk_address(row, chunk));
            // SAFETY: this thread copied the chunk.
            let words = unsafe { place.load4(0) };
            found |= odd::<E>(words[0]) | odd::<E>(words[1]);
            found |= odd::<E>(words[2]) | odd::<E>(words[3]);
        }
        found != 0
    }

    /// Puts 0 in place of what is NaN or infinite among what this thread copied. Nobody else reads
    /// the tile meanwhile.
    #[inline(always)]
    pub fn remove_odd(self) {
        for n in 0..opaque(Self::OWN) {
            let (row, chunk) = own_chunks(32 * WARPS, 2 * D16 as u32, n);
            let place = Shared::<u32>::at_address(self.at.chunk_address(row, chunk));
            // SAFETY: this thread copied the chunk.
            unsafe {
                let [a, b, c, d] = place.load4(0);
                let kept = without_odd::<E>;
                place.store4(0, [kept(a), kept(b), kept(c), kept(d)]);
            }
        }
    }

    /// A fragment of the left factor: rows 16·`r16`…+15, columns 16·`c16`…+15.
    ///
    /// # Safety
    /// The tile has been filled; the whole warp is here.
    #[inline(always)]
    pub unsafe fn left(self, lane: Lane, r16: u32, c16: u32) -> FragmentA {
        let row = 16 * r16 + lane.lane % 16;
        // SAFETY: the caller's promise.
        unsafe { ldmatrix_x4(self.at.chunk_address(row, 2 * c16 + lane.lane / 16)) }
    }

    /// The right factor made of the tile's rows as columns (`x·tileᵀ`): rows 16·`r16`…+15 as two
    /// fragments of eight, columns 16·`c16`…+15 to be summed over.
    ///
    /// # Safety
    /// As for [`left`](Tile::left).
    #[inline(always)]
    pub unsafe fn right_transposed(self, lane: Lane, r16: u32, c16: u32) -> [FragmentB; 2] {
        let row = 16 * r16 + lane.lane / 16 * 8 + lane.lane % 8;
        // SAFETY: the caller's promise.
        let [a, b, c, d] =
            unsafe { ldmatrix_x4(self.at.chunk_address(row, 2 * c16 + lane.lane / 8 % 2)) };
        [[a, b], [c, d]]
    }

    /// The right factor itself (`x·tile`): rows 16·`r16`…+15 to be summed over, columns
    /// 16·`c16`…+15 as two fragments of eight.
    ///
    /// # Safety
    /// As for [`left`](Tile::left).
    #[inline(always)]
    pub unsafe fn right(self, lane: Lane, r16: u32, c16: u32) -> [FragmentB; 2] {
        let row = 16 * r16 + lane.lane % 16;
        // SAFETY: the caller's promise.
        let [a, b, c, d] =
            unsafe { ldmatrix_x4_transposed(self.at.chunk_address(row, 2 * c16 + lane.lane / 16)) };
        [[a, b], [c, d]]
    }

    /// The pair of values at `row` and columns `8·c8 + 2t`, +1.
    ///
    /// # Safety
    /// The tile has been filled.
    #[inline(always)]
    pub unsafe fn pair(self, lane: Lane, row: u32, c8: u32) -> u32 {
        let address = self.at.chunk_address(row, c8) + 4 * lane.t;
        // SAFETY: the caller's promise.
        unsafe { Shared::<u32>::at_address(address).load(0) }
    }

    /// Writes the warp's sums, each of a lane's two rows times its factor, to global memory in whole
    /// chunks by way of the warp's own rows of the tile. Columns from 16·`c16` on; `to` gives the
    /// address of a row of the tile, if it is to be written.
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
    ) {
        warp::sync_warp(warp::FULL);
        for c in 0..2 * N {
            let sums = &sums[c / 2][c % 2];
            for row in 0..2 {
                let (low, high) = (sums[2 * row], sums[2 * row + 1]);
                let pair = E::pack(low * factors[row], high * factors[row]);
                let at = 16 * warp + lane.g + 8 * row as u32;
                let address = self.at.chunk_address(at, 2 * c16 + c as u32) + 4 * lane.t;
                // SAFETY: a row of this warp.
                unsafe { Shared::<u32>::at_address(address).store(0, pair) };
            }
        }
        warp::sync_warp(warp::FULL);
        for n in 0..opaque(N as u32) {
            let index = lane.lane + 32 * n;
            let row = 16 * warp + index / (2 * N as u32);
            let chunk = 2 * c16 + index % (2 * N as u32);
            if let Some(to) = to(row) {
                let place = Shared::<u32>::at_address(self.at.chunk_address(row, chunk));
                // SAFETY: written before the barrier of the warp; a chunk of the row.
                unsafe { store4(to.add(8 * chunk as usize).cast::<u32>(), place.load4(0)) };
            }
        }
    }

    /// Adds to sums over the tile's rows what of it is NaN or infinite, where the sum's own row sees
    /// that row of the tile. Where it does not, its weight is 0, and 0·NaN would still be NaN: so
    /// such values are added here and then removed from the tile.
    ///
    /// The sums are those of the warp's 16 rows and the columns from 16·`c16` on; row 0 of the tile
    /// is number `first`, at the position that `position` gives; `seen` are the positions that the
    /// lane's two rows see.
    ///
    /// # Safety
    /// The tile has been filled.
    #[inline(always)]
    pub unsafe fn add_odd<const N: usize>(
        self,
        lane: Lane,
        c16: u32,
        first: u32,
        position: impl Fn(u32) -> u32,
        seen: [Span; 2],
        sums: &mut Sums<N>,
    ) {
        for row in 0..opaque(16 * R16 as u32) {
            let at = position(first + row);
            let sees = [seen[0].contains(at), seen[1].contains(at)];
            for c in 0..2 * N {
                let sums = &mut sums[c / 2][c % 2];
                // SAFETY: the caller's promise.
                let pair = unsafe { self.pair(lane, row, 2 * c16 + c as u32) };
                if odd::<E>(pair) != 0 {
                    let (low, high) = E::unpack(pair);
                    for at in 0..4 {
                        let x = if at % 2 == 0 { low } else { high };
                        if sees[at / 2] && !x.is_finite() {
                            sums[at] += x;
                        }
                    }
                }
            }
        }
    }
}
