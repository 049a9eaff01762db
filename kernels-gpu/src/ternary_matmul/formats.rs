//! Making ternary weights and changing their form: from dense weights, from and to both packings,
//! and dense rows of an embedding.

use super::TENSOR_ROWS;
use super::planar::{
    Four, GROUP, WORDS, Weights, first_chunk, halved, place_of, scale_place, upper_bytes,
};
use crate::device::half::{Element, F16};
use crate::device::reduce::{self, Max, Sum};
use crate::device::{atomic, thread, warp};

/// Packed groups of either kind as u16: a scale, and then codes.
const TWO_BIT_HALVES: u32 = 17;
const BASE3_HALVES: u32 = 14;

/// Eight bits to the lowest bits of eight nibbles.
#[inline(always)]
fn spread(bits: u32) -> u32 {
    let bits = (bits | bits << 12) & 0x000f_000f;
    let bits = (bits | bits << 6) & 0x0303_0303;
    (bits | bits << 3) & 0x1111_1111
}

/// Eight 2-bit codes to the lower halves of eight nibbles.
#[inline(always)]
fn spread_codes(codes: u32) -> u32 {
    let codes = (codes | codes << 8) & 0x00ff_00ff;
    let codes = (codes | codes << 4) & 0x0f0f_0f0f;
    (codes | codes << 2) & 0x3333_3333
}

/// Where the scale of group `group` of a whole tensor stands.
#[inline(always)]
fn place_of_scale(group: u32, of_row: u32) -> usize {
    scale_place(of_row, group / of_row, group % of_row)
}

/// Dense weights, and where what they become is written.
#[derive(Clone, Copy)]
pub(super) struct Dense<T> {
    pub(super) w: *const T,
    pub(super) codes: *mut u32,
    pub(super) scales: *mut F16,
    /// Counts groups that become nothing.
    pub(super) refused: *mut u32,
    /// Groups of a row.
    pub(super) of_row: u32,
}

/// All groups of a tensor of `rows` rows: a warp a group of 16 rows.
#[inline(always)]
pub(super) fn quantise<T: Element, const EXACT: bool>(dense: Dense<T>, rows: u32) {
    let at = thread::block_idx_x() * (thread::block_dim_x() / warp::SIZE) + warp::warp_id();
    let (tile, group) = (at / dense.of_row, at % dense.of_row);
    let first = tile * TENSOR_ROWS;
    if first < rows {
        let count = TENSOR_ROWS.min(rows - first);
        dense.quantise::<EXACT>(first, count, group);
    }
}

impl<T: Element> Dense<T> {
    /// Group `group` of `count` rows of a tile, at least one, by a warp: so their scales, which lie in
    /// one sector, are written together. The next row is under way while one is worked on.
    #[inline(always)]
    pub(super) fn quantise<const EXACT: bool>(self, first: u32, count: u32, group: u32) {
        let lane = warp::lane_id();
        let load = |row: u32| {
            let at = ((row * self.of_row + group) as usize) * GROUP as usize + lane as usize;
            // SAFETY: the row and the group exist, and a group has 128 weights.
            let value = |i: usize| unsafe { (*self.w.add(at + 32 * i)).to_f32() };
            [value(0), value(1), value(2), value(3)]
        };
        let mut mine = F16(0);
        let mut ahead = load(first);
        let mut row = 0;
        while row < count {
            let values = ahead;
            if row + 1 < count {
                ahead = load(first + row + 1);
            }
            let scale = self.quantise_group::<EXACT>(values, (first + row) * self.of_row + group);
            if lane == row {
                mine = scale;
            }
            row += 1;
        }
        if lane < count {
            // SAFETY: a scale a group, this warp's.
            unsafe {
                *self
                    .scales
                    .add(scale_place(self.of_row, first + lane, group)) = mine
            }
        }
    }

    /// The codes and the scale of group `group` of the tensor, of which a lane has every 32nd weight.
    ///
    /// * By the mean: `d = f16(mean|W|)`, `t = clamp(round_half_even(W/d), −1, 1)`. |W| > d/2 decides,
    ///   as d/2 is exact in f32 and ½ itself rounds to 0.
    /// * `EXACT`: the weights are ternary already, `d = max|W|` and `t = sign(W)`.
    ///
    /// Groups that f16 has no scale for, with NaN or an infinity in them, or not ternary where they
    /// must be, are counted in `refused`.
    #[inline(always)]
    fn quantise_group<const EXACT: bool>(self, values: [f32; 4], group: u32) -> F16 {
        let lane = warp::lane_id();
        let [a, b, c, d] = values.map(f32::abs);
        let exact = if EXACT {
            reduce::warp(Max(a.max(b).max(c.max(d)))).0
        } else {
            reduce::warp(Sum((a + b) + (c + d))).0 * (1.0 / GROUP as f32)
        };
        let scale = F16::from_f32(exact);
        let least = 0.5 * scale.to_f32();

        // values[i] of the warp are chunks 4i to 4i + 3, a byte of a ballot each. Lane j < 8 makes word j,
        // of the ballots of i = 2(j mod 2) and the next.
        let mut wrong = !(scale.to_f32() < f32::INFINITY);
        let mut of = |value: f32| {
            let is_zero = !(value.abs() > least && least > 0.0);
            let zero = warp::ballot(warp::FULL, is_zero);
            let up = warp::ballot(warp::FULL, !is_zero && value > 0.0);
            wrong |= EXACT && value != 0.0 && value.abs() != scale.to_f32();
            (zero, up)
        };
        // One by one: in a loop they would go through local memory where this stands in one.
        let (a, b, c, d) = (of(values[0]), of(values[1]), of(values[2]), of(values[3]));
        let (first, second) = if lane % 2 == 0 { (a, b) } else { (c, d) };
        if EXACT {
            wrong = warp::vote_any(warp::FULL, wrong);
        }
        if lane < WORDS {
            let chunk = |(zero, up): (u32, u32)| {
                let byte = |ballot: u32| spread(ballot >> (4 * (lane & 6)) & 0xff);
                byte(zero) | byte(up) << 1
            };
            let word = chunk(first) | chunk(second) << 2;
            // SAFETY: eight words a group, this warp's.
            unsafe { *self.codes.add((group * WORDS + lane) as usize) = word }
        }
        if lane == 0 && wrong {
            // SAFETY: only added to.
            unsafe { atomic::add(self.refused, 1_u32) };
        }
        scale
    }
}

/// The scale of a group, and whether it is one: finite and not negative.
#[inline(always)]
fn scale_is_right(scale: u16) -> bool {
    scale < 0x7c00
}

/// From two-bit packing, a thread a word. Words with a reserved code and wrong scales are counted in
/// `refused`.
#[inline(always)]
pub(super) fn from_two_bit(
    packed: *const u16,
    codes: *mut u32,
    scales: *mut u16,
    refused: *mut u32,
    groups: u32,
    of_row: u32,
) {
    let at = thread::index_1d();
    let (group, part) = (at / WORDS, at % WORDS);
    if group >= groups {
        return;
    }
    let block = group as usize * TWO_BIT_HALVES as usize;
    // SAFETY: group < groups: a scale and sixteen chunks, a half each.
    let (scale, first, second) = unsafe {
        let chunks = packed.add(block + 1 + first_chunk(part) as usize);
        (
            *packed.add(block),
            u32::from(*chunks),
            u32::from(*chunks.add(4)),
        )
    };
    let word = spread_codes(first) | spread_codes(second) << 2;
    // A reserved code has both bits.
    let mut wrong = word & word >> 1 & 0x5555_5555 != 0;
    // SAFETY: a word a thread, a scale a group; `refused` is only added to.
    unsafe {
        *codes.add(at as usize) = word;
        if part == 0 {
            *scales.add(place_of_scale(group, of_row)) = scale;
            wrong |= !scale_is_right(scale);
        }
        if wrong {
            atomic::add(refused, 1_u32);
        }
    }
}

/// From base-3 packing, a thread a word.
#[inline(always)]
pub(super) fn from_base3(
    packed: *const u8,
    codes: *mut u32,
    scales: *mut u16,
    refused: *mut u32,
    groups: u32,
    of_row: u32,
) {
    let at = thread::index_1d();
    let (group, part) = (at / WORDS, at % WORDS);
    if group >= groups {
        return;
    }
    let block = group as usize * 2 * BASE3_HALVES as usize;
    let (mut word, mut wrong) = (0, false);
    for half in 0..2 {
        // Eight digits from the `skip`-th of byte `first` on: three bytes hold them all.
        let digits = 8 * (first_chunk(part) + 4 * half);
        let (first, skip) = (digits / 5, digits % 5);
        for byte in 0..3 {
            let index = first + byte;
            if index > 25 {
                break;
            }
            // SAFETY: group < groups, and a group has 26 bytes of codes.
            let mut rest = u32::from(unsafe { *packed.add(block + 2 + index as usize) });
            // Five digits make at most 242; of the last byte only three have weights.
            wrong |= rest > if index == 25 { 26 } else { 242 };
            for digit in 0..5 {
                let i = (5 * byte + digit).wrapping_sub(skip);
                if i < 8 {
                    word |= (rest % 3) << (4 * i + 2 * half);
                }
                rest /= 3;
            }
        }
    }
    // SAFETY: as in `from_two_bit`.
    unsafe {
        *codes.add(at as usize) = word;
        if part == 0 {
            let scale = u16::from(*packed.add(block)) | u16::from(*packed.add(block + 1)) << 8;
            *scales.add(place_of_scale(group, of_row)) = scale;
            wrong |= !scale_is_right(scale);
        }
        if wrong {
            atomic::add(refused, 1_u32);
        }
    }
}

/// Code `k` of a group; 0 beyond its end.
#[inline(always)]
fn code(codes: *const u32, group: u32, k: u32) -> u32 {
    if k >= GROUP {
        return 0;
    }
    let (word, bit) = place_of(k / 8);
    // SAFETY: eight words a group.
    let word = unsafe { *codes.add((group * WORDS + word) as usize) };
    word >> (4 * (k % 8) + bit) & 3
}

/// To a packing of `HALVES` u16 a group, a thread each.
#[inline(always)]
fn to_packed(
    scales: *const u16,
    packed: *mut u16,
    [groups, of_row]: [u32; 2],
    halves: u32,
    of_codes: impl Fn(u32, u32) -> u32,
) {
    let group = thread::block_idx_x() * (thread::block_dim_x() / warp::SIZE) + warp::warp_id();
    let half = warp::lane_id();
    if group >= groups || half >= halves {
        return;
    }
    // SAFETY: half < halves of group < groups, this thread's to write.
    unsafe {
        let value = if half == 0 {
            *scales.add(place_of_scale(group, of_row))
        } else {
            of_codes(group, half - 1) as u16
        };
        *packed.add(group as usize * halves as usize + half as usize) = value;
    }
}

/// To two-bit packing: a warp a group.
#[inline(always)]
pub(super) fn to_two_bit(
    codes: *const u32,
    scales: *const u16,
    packed: *mut u16,
    groups: u32,
    of_row: u32,
) {
    to_packed(
        scales,
        packed,
        [groups, of_row],
        TWO_BIT_HALVES,
        |group, half| {
            let mut value = 0;
            for k in 0..8 {
                value |= code(codes, group, 8 * half + k) << (2 * k);
            }
            value
        },
    );
}

/// To base-3 packing: a warp a group.
#[inline(always)]
pub(super) fn to_base3(
    codes: *const u32,
    scales: *const u16,
    packed: *mut u16,
    groups: u32,
    of_row: u32,
) {
    to_packed(
        scales,
        packed,
        [groups, of_row],
        BASE3_HALVES,
        |group, half| {
            let byte = |first: u32| {
                let mut value = 0;
                for digit in 0..5 {
                    value = 3 * value + code(codes, group, first + 4 - digit);
                }
                value
            };
            byte(10 * half) | byte(10 * half + 5) << 8
        },
    );
}

/// Rows of Ŵ by token, a block a token. Tokens that are no row are counted in `refused`, and their
/// rows are left alone.
#[inline(always)]
pub(super) fn embed<T: Four>(
    weights: Weights,
    tokens: *const i32,
    out: *mut T,
    refused: *mut u32,
    rows: u32,
) {
    let at = thread::block_idx_x() as usize;
    // SAFETY: a block a token.
    let token = unsafe { *tokens.add(at) } as u32;
    if token >= rows {
        if thread::thread_idx_x() == 0 {
            // SAFETY: `refused` is only added to.
            unsafe { atomic::add(refused, 1_u32) };
        }
        return;
    }
    let width = weights.groups as usize * GROUP as usize;
    let (warps, lane) = (thread::block_dim_x() / warp::SIZE, warp::lane_id());
    let mut group = warp::warp_id();
    while group < weights.groups {
        // SAFETY: token < rows, group < groups; four elements a lane, its own.
        unsafe {
            let scale = weights.double_scale(token, group);
            let upper = upper_bytes(weights.words(token, group), lane);
            let values = halved(upper).map(|sign| scale * sign);
            let column = (group * GROUP + 4 * lane) as usize;
            T::store(out.add(at * width + column), values);
        }
        group += warps;
    }
}
