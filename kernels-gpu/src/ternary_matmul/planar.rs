//! Ternary weights as the kernels read them, and 4-element loads.
//!
//! Codes and scales lie in arrays of their own, so that both are aligned: `codes[N, K/128, 8]`,
//! sixteen 2-bit codes a word, and `scales[⌈N/16⌉, K/128, 16]`, f16. That is 2.125 bits a weight, as
//! packed. Sixteen rows have their scales of a group in one sector, since a tile of a product on
//! tensor cores has sixteen rows; there rows r and r + 8 are neighbours, as in a lane's fragment.
//!
//! A group is sixteen chunks of eight weights. Word `j` holds two of them, chunk `8(j mod 2) + ⌊j/2⌋`
//! and the chunk four further on: so the words 2t and 2t + 1 have the chunks t, t + 4, t + 8, t + 12,
//! what lane t of four multiplies on tensor cores. Weight `i` of a word's first chunk stands at bit
//! 4i, of its second at 4i + 2: `word & 0x33333333` and `(word >> 2) & 0x33333333` have a chunk each, a
//! code a nibble. A `prmt` takes four nibbles as byte numbers, and so looks four weights up at once.

use crate::device::global::load4;
use crate::device::half::{Bf16, Bf16x2, Element, F16, F16x2};
use core::arch::asm;

/// Weights that share a scale.
pub(super) const GROUP: u32 = 128;
/// Words of a group.
pub(super) const WORDS: u32 = GROUP / 16;
/// The bits of a word's first chunk.
pub(super) const NIBBLES: u32 = 0x3333_3333;

/// The first chunk of word `j` of a group; the second is four further on.
#[inline(always)]
pub(super) fn first_chunk(j: u32) -> u32 {
    8 * (j % 2) + j / 2
}

/// The word of a group that holds a chunk, and its lowest bit there.
#[inline(always)]
pub(super) fn place_of(chunk: u32) -> (u32, u32) {
    (2 * (chunk % 4) + chunk / 8, 2 * (chunk / 4 % 2))
}

/// `prmt.b32`: byte `i` of the result is byte number (nibble `i` of `selector`) of `high:low`.
#[inline(always)]
pub(super) fn permute(low: u32, high: u32, selector: u32) -> u32 {
    let out: u32;
    // SAFETY: arithmetic.
    unsafe {
        asm!("prmt.b32 {o}, {a}, {b}, {s};", o = out(reg32) out, a = in(reg32) low,
            b = in(reg32) high, s = in(reg32) selector,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The upper bytes of −½, 0 and ½ in f32 and bf16, by code: their other bytes are 0. So one lookup
/// makes t/2, and twice the scale makes up for it.
const UPPER_BYTES: u32 = 0x003f_00bf;

/// The upper bytes of t/2 of weights `4·lane` to `4·lane + 3` of a group.
///
/// # Safety
/// The eight words of the group are readable.
#[inline(always)]
pub(super) unsafe fn upper_bytes(group: *const u32, lane: u32) -> u32 {
    let (word, bit) = place_of(lane / 2);
    // SAFETY: word < 8.
    let codes = unsafe { *group.add(word as usize) } >> (bit + 16 * (lane % 2));
    permute(UPPER_BYTES, 0, codes & NIBBLES)
}

/// t/2 as f32 of four weights by their upper bytes.
#[inline(always)]
pub(super) fn halved(upper: u32) -> [f32; 4] {
    [
        f32::from_bits(permute(upper, 0, 0x0444)),
        f32::from_bits(permute(upper, 0, 0x1444)),
        f32::from_bits(permute(upper, 0, 0x2444)),
        f32::from_bits(permute(upper, 0, 0x3444)),
    ]
}

/// Ternary weights in device memory.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) codes: *const u32,
    pub(super) scales: *const F16,
    /// Groups of a row: K/128.
    pub(super) groups: u32,
}

impl Weights {
    /// The words of group `group` of row `row`.
    #[inline(always)]
    pub(super) fn words(self, row: u32, group: u32) -> *const u32 {
        let at = (row as usize * self.groups as usize + group as usize) * WORDS as usize;
        self.codes.wrapping_add(at)
    }

    /// Twice the scale of group `group` of row `row`, to go with [`halved`].
    ///
    /// # Safety
    /// It exists.
    #[inline(always)]
    pub(super) unsafe fn double_scale(self, row: u32, group: u32) -> f32 {
        // SAFETY: the caller's promise.
        2.0 * unsafe { (*self.scales.add(scale_place(self.groups, row, group))).to_f32() }
    }

    /// Twice the scales of rows `g` and `g + 8` of tile `tile`, in one load. Of rows beyond the last
    /// they are anything.
    ///
    /// # Safety
    /// The tile has a row.
    #[inline(always)]
    pub(super) unsafe fn double_scales(self, tile: u32, g: u32, group: u32) -> [f32; 2] {
        let at = scale_place(self.groups, 16 * tile + g, group);
        // SAFETY: the array has whole tiles; the two are neighbours, the first at an even place.
        let both = F16x2(unsafe { *self.scales.add(at).cast::<u32>() });
        let (first, second) = both.to_f32();
        [2.0 * first, 2.0 * second]
    }

    /// The scales of rows `row` to `row + 3`, in one load.
    ///
    /// # Safety
    /// They exist, and `row` is a multiple of 4.
    #[inline(always)]
    pub(super) unsafe fn four_scales(self, row: u32, group: u32) -> [f32; 4] {
        // Rows r and r + 8 of a tile are neighbours: 16 bytes hold four pairs.
        let at = scale_place(self.groups, row & !8, group);
        // SAFETY: the array has whole tiles, and four pairs begin at a multiple of 16 bytes.
        let pairs: [u32; 4] = unsafe { load4(self.scales.add(at).cast::<u32>()) };
        pairs.map(|pair| {
            let (first, second) = F16x2(pair).to_f32();
            if row & 8 == 0 { first } else { second }
        })
    }
}

/// Where the scale of a group of a row stands.
#[inline(always)]
pub(super) fn scale_place(groups: u32, row: u32, group: u32) -> usize {
    let in_tile = 2 * (row % 8) + row / 8 % 2;
    // Counted in 32 bits: there are at most 2²⁸ groups, and 2¹⁶ in each row that fills up the last tile.
    (((row / 16) * groups + group) * 16 + in_tile) as usize
}

/// Four consecutive elements in one load or store.
pub(super) trait Four: Element {
    /// # Safety
    /// Four elements from `from` on are readable, aligned together.
    unsafe fn load(from: *const Self) -> [f32; 4];
    /// # Safety
    /// As for `load`, and they are this thread's to write.
    unsafe fn store(to: *mut Self, values: [f32; 4]);
}

impl Four for f32 {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { crate::device::global::load4(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, values: [f32; 4]) {
        // SAFETY: the caller's promise.
        unsafe { crate::device::global::store4(to, values) }
    }
}

/// Two words that move together.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Double(pub(super) u32, pub(super) u32);

macro_rules! four_halves {
    ($($half:ident in $pair:ident),*) => {$(
        impl Four for $half {
            #[inline(always)]
            unsafe fn load(from: *const $half) -> [f32; 4] {
                // SAFETY: the caller's promise.
                let words = unsafe { &*from.cast::<Double>() };
                let ((a, b), (c, d)) = ($pair(words.0).to_f32(), $pair(words.1).to_f32());
                [a, b, c, d]
            }
            #[inline(always)]
            unsafe fn store(to: *mut $half, [a, b, c, d]: [f32; 4]) {
                let words = Double($pair::from_f32(a, b).0, $pair::from_f32(c, d).0);
                // SAFETY: the caller's promise.
                unsafe { *to.cast::<Double>() = words }
            }
        }
    )*};
}
four_halves!(F16 in F16x2, Bf16 in Bf16x2);
