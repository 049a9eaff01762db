//! Making ternary weights and changing their form: from dense weights, from and to both packings,
//! and dense rows of an embedding.

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

/// A group's scale and signs: a warp a group, of which a row has `of_row`.
///
/// * By the mean: `d = f16(mean|W|)`, `t = clamp(round_half_even(W/d), −1, 1)`. |W| > d/2 decides, as
///   d/2 is exact in f32 and ½ itself rounds to 0.
/// * `EXACT`: the weights are ternary already, `d = max|W|` and `t = sign(W)`.
///
/// Groups that f16 has no scale for, with NaN or an infinity in them, or not ternary where they must
/// be, are counted in `refused`.
#[inline(always)]
pub(super) fn quantise<T: Element, const EXACT: bool>(
    w: *const T,
    codes: *mut u32,
    scales: *mut F16,
    refused: *mut u32,
    groups: u32,
    of_row: u32,
) {
    let group = thread::block_idx_x() * (thread::block_dim_x() / warp::SIZE) + warp::warp_id();
    if group < groups {
        quantise_group::<T, EXACT>(w, codes, scales, refused, group, of_row);
    }
}

/// Group `group`, by a warp.
#[inline(always)]
pub(super) fn quantise_group<T: Element, const EXACT: bool>(
    w: *const T,
    codes: *mut u32,
    scales: *mut F16,
    refused: *mut u32,
    group: u32,
    of_row: u32,
) {
    let lane = warp::lane_id();
    let first = group as usize * GROUP as usize + lane as usize;
    let mut values = [0.0; 4];
    for (i, value) in values.iter_mut().enumerate() {
        // SAFETY: group < groups, and a group has 128 weights.
        *value = unsafe { (*w.add(first + 32 * i)).to_f32() };
    }
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
    let (mut zeros, mut ups) = ([0; 2], [0; 2]);
    let mut wrong = !(scale.to_f32() < f32::INFINITY);
    for (i, value) in values.into_iter().enumerate() {
        let is_zero = !(value.abs() > least && least > 0.0);
        let zero = warp::ballot(warp::FULL, is_zero);
        let up = warp::ballot(warp::FULL, !is_zero && value > 0.0);
        if lane % 2 == i as u32 / 2 {
            (zeros[i % 2], ups[i % 2]) = (zero >> (4 * (lane & 6)), up >> (4 * (lane & 6)));
        }
        wrong |= EXACT && value != 0.0 && value.abs() != scale.to_f32();
    }
    if EXACT {
        wrong = warp::vote_any(warp::FULL, wrong);
    }
    if lane < WORDS {
        let chunk = |i: usize| spread(zeros[i] & 0xff) | spread(ups[i] & 0xff) << 1;
        let word = chunk(0) | chunk(1) << 2;
        // SAFETY: eight words a group, this warp's.
        unsafe { *codes.add((group * WORDS + lane) as usize) = word }
    }
    if lane == 0 {
        // SAFETY: a scale a group, this warp's; `refused` is only added to.
        unsafe {
            *scales.add(place_of_scale(group, of_row)) = scale;
            if wrong {
                atomic::add(refused, 1_u32);
            }
        }
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
