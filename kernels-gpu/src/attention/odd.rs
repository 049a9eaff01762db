//! NaN and infinity in a tile at the edge of the band. The weight of what a row does not see is 0,
//! but 0·NaN is NaN: so such values are removed from the tile, and in the end added to the outputs
//! of the rows that see them. Rare: written for few instructions, not for speed.

use super::half::{Half, odd, without_odd};
use super::tile::Tile;
use super::{Span, rolled};
use crate::device::global::load4;

impl<E: Half, const D16: usize, const R16: usize, const PITCH: u32, const WARPS: u32>
    Tile<E, D16, R16, PITCH, WARPS>
{
    /// Whether anything that this thread copied is NaN or infinite. Its copies have been waited for.
    #[inline(always)]
    pub fn any_odd(self) -> bool {
        let mut found = 0;
        for n in rolled(Self::OWN) {
            let place = self.own_place(n);
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
        for n in rolled(Self::OWN) {
            let place = self.own_place(n);
            // SAFETY: this thread copied the chunk.
            unsafe {
                let [a, b, c, d] = place.load4(0);
                let kept = without_odd::<E>;
                place.store4(0, [kept(a), kept(b), kept(c), kept(d)]);
            }
        }
    }
}

/// Adds to a chunk of an output, eight values in four registers, what was removed from the tiles
/// that its sums were made of. `visited` are the rows that were walked, `step` at a time; nothing
/// was removed where all of a step are among `unmasked`. `source` gives the chunk of a walked row,
/// if the output's own row sees it.
///
/// # Safety
/// The chunks are readable and aligned to 16 bytes.
#[inline(always)]
pub unsafe fn add_removed<E: Half>(
    chunk: [u32; 4],
    visited: Span,
    unmasked: Span,
    step: u32,
    source: impl Fn(u32) -> Option<*const E>,
) -> [u32; 4] {
    let mut sums = chunk;
    let mut first = visited.first;
    while first < visited.end {
        let count = if unmasked.contains_all(first, step) {
            0
        } else {
            step.min(visited.end - first)
        };
        for n in rolled(count) {
            if let Some(from) = source(first + n) {
                // SAFETY: the caller's promise.
                let removed = unsafe { load4(from.cast::<u32>()) };
                for i in 0..4 {
                    if odd::<E>(removed[i]) != 0 {
                        // What is finite counted already: 0 in its place.
                        let (low, high) = E::unpack(removed[i] & !without_odd::<E>(removed[i]));
                        let (l, h) = E::unpack(sums[i]);
                        sums[i] = E::pack(l + low, h + high);
                    }
                }
            }
        }
        first += step;
    }
    sums
}
