//! Rung 2: sixteen rows a block on the tensor cores, the keys shared out among its warps.

use super::format::{Factor, Int4, Int8, Pages};
use super::input::{fresh, load, times};
use super::outcome::{Outcome, combine};
use super::sight::{Sequence, Sight, Tables};
use super::words::{load_f16, load_runs};
use super::{TENSOR_KEYS, TENSOR_ROWS, TENSOR_WARPS};
use crate::attention::{Half, Lane, Scoring, fragment};
use crate::device::float::{ex2_approx, fma};
use crate::device::half::{Bf16, F16};
use crate::device::shared::dynamic;
use crate::device::warp::{FULL, shuffle, shuffle_xor, vote_any};
use crate::device::{thread, warp};

/// The scores or weights of a lane: rows g and g + 8, keys 2t, 2t + 1, and those eight further.
type Scores = [[f32; 4]; 2];

/// The running softmax of a lane's two rows, in base 2. `l` is the lane's own part of the sum.
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    pub(super) m: [f32; 2],
    pub(super) l: [f32; 2],
}

impl Softmax {
    /// Turns scores into weights; gives what the sums so far are to be multiplied by.
    #[inline(always)]
    fn step(&mut self, s: &mut Scores) -> [f32; 2] {
        let mut corrections = [0.0; 2];
        for row in 0..2 {
            let mut m = self.m[row];
            for n in 0..2 {
                m = m.max(s[n][2 * row].max(s[n][2 * row + 1]));
            }
            m = m.max(shuffle_xor(FULL, m, 1));
            m = m.max(shuffle_xor(FULL, m, 2));
            // A row that has seen nothing yet: −inf − 0 and not −inf − (−inf).
            let base = if m == f32::NEG_INFINITY { 0.0 } else { m };
            let correction = ex2_approx(self.m[row] - base);
            let mut sum = 0.0;
            for n in 0..2 {
                for at in 2 * row..2 * row + 2 {
                    s[n][at] = ex2_approx(s[n][at] - base);
                    sum += s[n][at];
                }
            }
            self.m[row] = m;
            self.l[row] = fma(self.l[row], correction, sum);
            corrections[row] = correction;
        }
        corrections
    }
}

/// What the rows of a block see together.
#[derive(Clone, Copy)]
struct Reach {
    /// Keys that any row sees, sinks apart.
    any: [u32; 2],
    /// Keys that each row sees.
    all: [u32; 2],
    /// Whether rows differ.
    ragged: bool,
}

impl Reach {
    /// # Safety
    /// The sequence has the queries `first..=last`.
    #[inline(always)]
    unsafe fn of(tables: Tables, sequence: Sequence, first: u32, last: u32) -> Reach {
        if !tables.mask.is_null() {
            // Depths are not known here: at least 0, and with a window any.
            let low = (sequence.prefix as i32 - tables.left).max(0) as u32;
            let all = if low == 0 && tables.left >= sequence.keys as i32 {
                0
            } else {
                u32::MAX
            };
            return Reach {
                any: [low, sequence.keys],
                all: [all, sequence.prefix],
                ragged: true,
            };
        }
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (tables.sight(sequence, first), tables.sight(sequence, last)) };
        Reach {
            any: [a.low, b.high],
            all: [b.low, a.high],
            ragged: first != last,
        }
    }
}

/// The words of v of a lane's four keys.
type Values<const W: usize> = [[u32; W]; 4];

/// A pair's halves that are NaN or infinite, all their bits set.
#[inline(always)]
fn odd<E: Half>(pair: u32) -> u32 {
    let carry = 0x8000 - E::EXPONENT;
    let upper = ((pair & 0x7fff_7fff) + (carry << 16 | carry)) & 0x8000_8000;
    (upper >> 15) * 0xffff
}

/// D = 16·D16 = 8·D8. A lane loads KW words of k, in runs of KR, for each of its two keys, and VW
/// words of v, in runs of VR, for each of its four.
/// Grid: (⌈most queries·group / 16⌉·splits) × Hkv × sequences blocks of 128.
///
/// # Safety
/// The tensors have the shapes of the family's page. With more than one split the parts have room.
#[inline(always)]
unsafe fn attend<
    F: Factor,
    const D16: usize,
    const D8: usize,
    const KW: usize,
    const KR: usize,
    const VW: usize,
    const VR: usize,
>(
    tables: Tables,
    k: Pages,
    v: Pages,
    q: *const u8,
    outcome: Outcome,
    parts: u32,
    group: u32,
    scoring: Scoring,
) {
    let d = 16 * D16;
    let (lane, warp) = (Lane::here(), warp::warp_id());
    let (kv_heads, kv_head) = (
        thread::grid_dim_y() as usize,
        thread::block_idx_y() as usize,
    );
    // SAFETY: the grid has a layer for each sequence.
    let sequence = unsafe { tables.sequence(thread::block_idx_z()) };
    let (row0, split) = (
        thread::block_idx_x() / outcome.splits * TENSOR_ROWS,
        thread::block_idx_x() % outcome.splits,
    );
    let rows = sequence.queries * group;
    if row0 >= rows {
        return;
    }
    let row_number = |row: u32| {
        let query = (sequence.first + row / group) as usize;
        query * kv_heads * group as usize + kv_head * group as usize + (row % group) as usize
    };
    let bytes = 4 * d / F::PER_WORD as usize;
    // 1, which ptxas does not know: it does not unroll what would spill.
    let one = outcome.splits.min(1);

    // The factors of q, a register of a fragment a turn; what is left of each number is split off
    // into the next part.
    let factors = dynamic::<u32>(0);
    let run = (KR as u32) * F::PER_WORD;
    let words = 128 * D16 as u32;
    let mut index = thread::thread_idx_x();
    while index < words {
        let (step, g, t, j) = (index / 128, index / 16 % 8, index / 4 % 4, index % 4);
        let row = row0 + g + 8 * (j % 2);
        let mut rest = [0.0_f32; 2];
        times(2 * one, |e| {
            let i = F::order(4 * step + 2 * (j / 2) + e);
            let column = i / run * 4 * run + t * run + i % run;
            if row < rows {
                let at = row_number(row) * d + column as usize;
                // SAFETY: a row of q.
                let x = unsafe { load(q, outcome.number_type, at) };
                rest = if e == 0 { [x, 0.0] } else { [rest[0], x] };
            }
        });
        times(parts, |part| {
            let pair = F::Half::pack(rest[0], rest[1]);
            let (low, high) = F::Half::unpack(pair);
            rest[0] = if low.is_finite() { rest[0] - low } else { 0.0 };
            rest[1] = if high.is_finite() {
                rest[1] - high
            } else {
                0.0
            };
            // SAFETY: a place of its own; the launch gives 32·D bytes a part.
            unsafe { factors.store(words * part + index, pair) }
        });
        index += 32 * TENSOR_WARPS;
    }
    thread::sync_threads();
    // Σ q of the lane's rows: what a zero point is multiplied by.
    let mut q_sums = [0.0_f32; 2];
    if F::ZERO {
        times(parts * D16 as u32, |at| {
            // SAFETY: written before the barrier.
            let words = unsafe { factors.load4(4 * (32 * at + lane.lane)) };
            for j in 0..4 {
                let (low, high) = F::Half::unpack(words[j]);
                q_sums[j % 2] += low + high;
            }
        });
        for row in 0..2 {
            q_sums[row] += shuffle_xor(FULL, q_sums[row], 1);
            q_sums[row] += shuffle_xor(FULL, q_sums[row], 2);
        }
    }

    let sight = |row: u32| {
        if row < rows {
            // SAFETY: row / group < queries.
            unsafe { tables.sight(sequence, row / group) }
        } else {
            Sight::NONE
        }
    };
    let sights = [sight(row0 + lane.g), sight(row0 + lane.g + 8)];
    let last_row = (row0 + TENSOR_ROWS).min(rows) - 1;
    // SAFETY: rows of the sequence.
    let reach = unsafe { Reach::of(tables, sequence, row0 / group, last_row / group) };

    // Tiles: those of the sinks, then those of the band.
    let first = reach.any[0] / TENSOR_KEYS * TENSOR_KEYS;
    let sink_tiles = tables.sinks.min(first).div_ceil(TENSOR_KEYS);
    let tiles = sink_tiles + reach.any[1].saturating_sub(first).div_ceil(TENSOR_KEYS);
    let end = tiles * (split + 1) / outcome.splits;
    let mut tile = tiles * split / outcome.splits + warp;

    let mut softmax = Softmax {
        m: [f32::NEG_INFINITY; 2],
        l: [0.0; 2],
    };
    let mut sums = [[0.0_f32; 4]; D8];
    let mut zero_sums = [0.0_f32; 2];
    while tile < end {
        let key0 = if tile < sink_tiles {
            tile * TENSOR_KEYS
        } else {
            first + (tile - sink_tiles) * TENSOR_KEYS
        };
        tile += TENSOR_WARPS;
        // The slot of a key a lane, for those that any row sees.
        let key = key0 + lane.lane;
        let mut slot = u32::MAX;
        if key < reach.any[1] && (key >= reach.any[0] || key < tables.sinks) {
            // SAFETY: key < keys.
            slot = unsafe { tables.slot(sequence, key) };
        }
        times(TENSOR_KEYS / 16 * one, |half| {
            let key0 = key0 + 16 * half;
            if key0 >= reach.any[1] {
                return;
            }
            let slot_of = |offset: u32| {
                let slot = shuffle(FULL, slot, 16 * half + offset);
                let exists = slot != u32::MAX;
                let slot = if exists { slot } else { 0 };
                (slot as usize * kv_heads + kv_head, exists)
            };

            // Both keys of q·kᵀ and all four of p·v are asked for before the first is used.
            let mut keys = [[0_u32; KW]; 2];
            for n in 0..2 {
                let (vector, exists) = slot_of(8 * n as u32 + lane.g);
                let from = k
                    .codes
                    .wrapping_add(vector * bytes + lane.t as usize * KR * 4);
                // SAFETY: the slot holds a token of the sequence.
                keys[n] = unsafe { load_runs::<KW, KR>(from, 16 * KR, exists) };
            }
            let mut values: Values<VW> = [[0; VW]; 4];
            let mut k_scale = [1.0_f32; 4];
            let mut v_scale = [1.0_f32; 4];
            let mut k_zero = [0.0_f32; 4];
            let mut v_zero = [0.0_f32; 4];
            for i in 0..4 {
                let offset = 8 * (i as u32 / 2) + 2 * lane.t + i as u32 % 2;
                let (vector, exists) = slot_of(offset);
                let from = v
                    .codes
                    .wrapping_add(vector * bytes + lane.g as usize * VR * 4);
                // SAFETY: as for k.
                unsafe {
                    values[i] = load_runs::<VW, VR>(from, 32 * VR, exists);
                    if F::SCALED {
                        k_scale[i] = load_f16(k.scale, vector, exists);
                        v_scale[i] = load_f16(v.scale, vector, exists);
                    }
                    if F::ZERO {
                        k_zero[i] = load_f16(k.zero, vector, exists);
                        v_zero[i] = load_f16(v.zero, vector, exists);
                    }
                }
            }

            // s = q·kᵀ
            let mut s: Scores = [[0.0; 4]; 2];
            times(parts, |part| {
                for step in 0..D16 {
                    let at = (part * D16 as u32 + step as u32) * 32 + lane.lane;
                    // SAFETY: written before the barrier.
                    let left = unsafe { factors.load4(4 * at) };
                    for n in 0..2 {
                        s[n] = F::Half::mma(left, F::key(&keys[n], step), s[n]);
                    }
                }
            });
            if F::SCALED {
                for n in 0..2 {
                    for at in 0..4 {
                        let i = 2 * n + at % 2;
                        let dot = fma(-k_zero[i], q_sums[at / 2], s[n][at]);
                        s[n][at] = k_scale[i] * dot;
                    }
                }
            }
            for n in 0..2 {
                for at in 0..4 {
                    s[n][at] *= scoring.factor;
                }
            }
            if fresh(scoring.cap.to_bits()) != 0 {
                let mut scores = [s];
                Scoring {
                    factor: 1.0,
                    ..scoring
                }
                .scores(&mut scores);
                [s] = scores;
            }
            let within = |low: u32, high: u32| key0 >= low && key0 + 16 <= high;
            let interior =
                within(reach.all[0], reach.all[1]) || within(0, tables.sinks.min(reach.all[1]));
            if !interior {
                let mut seen = 0;
                times(8 * one, |i| {
                    let key = key0 + 8 * (i / 4) + 2 * lane.t + i % 2;
                    let sight = if i & 2 == 0 { sights[0] } else { sights[1] };
                    // SAFETY: the rows' own sights.
                    seen |= u32::from(unsafe { tables.sees(sequence, sight, key) }) << i;
                });
                for i in 0..8 {
                    if seen >> i & 1 == 0 {
                        s[i / 4][i % 4] = f32::NEG_INFINITY;
                    }
                }
            }

            let scores = s;
            let correction = softmax.step(&mut s);
            for row in 0..2 {
                zero_sums[row] *= correction[row];
                for c in 0..D8 {
                    sums[c][2 * row] *= correction[row];
                    sums[c][2 * row + 1] *= correction[row];
                }
            }
            if F::SCALED {
                for n in 0..2 {
                    for at in 0..4 {
                        // What is not seen has no weight, whatever its scale.
                        s[n][at] = if scores[n][at] == f32::NEG_INFINITY {
                            0.0
                        } else {
                            s[n][at] * v_scale[2 * n + at % 2]
                        };
                    }
                }
            } else if parts > 1 || (reach.ragged && !interior) {
                // 0·NaN is NaN, and so is the sum of two parts' ∞: what is odd is added to the rows
                // that see it, and taken out.
                let mut found = 0;
                for i in 0..4 {
                    for w in 0..VW {
                        found |= odd::<F::Half>(values[i][w]);
                    }
                }
                if vote_any(FULL, found != 0) {
                    times(16 * one, |offset| {
                        let (vector, exists) = slot_of(offset);
                        // SAFETY: as for the values.
                        unsafe {
                            let key = key0 + offset;
                            let sees = [
                                tables.sees(sequence, sights[0], key),
                                tables.sees(sequence, sights[1], key),
                            ];
                            let from = v.codes.wrapping_add(vector * bytes + lane.t as usize * 32);
                            add_odd::<F::Half, D8>(from, exists, sees, &mut sums);
                        }
                    });
                    for i in 0..4 {
                        for w in 0..VW {
                            values[i][w] &= !odd::<F::Half>(values[i][w]);
                        }
                    }
                }
            }

            // o += p·v
            times(parts, |_| {
                let left = fragment::<F::Half>(&s);
                for n in 0..2 {
                    for row in 0..2 {
                        let (low, high) = F::Half::unpack(left[2 * n + row]);
                        if F::ZERO {
                            let term =
                                |p: f32, i: usize| if p == 0.0 { 0.0 } else { p * v_zero[i] };
                            zero_sums[row] += term(low, 2 * n) + term(high, 2 * n + 1);
                        }
                        s[n][2 * row] -= low;
                        s[n][2 * row + 1] -= high;
                    }
                }
                for c in 0..D8 {
                    let right = [
                        F::pair(&values[0], &values[1], c),
                        F::pair(&values[2], &values[3], c),
                    ];
                    sums[c] = F::Half::mma(left, right, sums[c]);
                }
            });
        });
    }

    for row in 0..2 {
        let mut l = softmax.l[row];
        l += shuffle_xor(FULL, l, 1);
        softmax.l[row] = l + shuffle_xor(FULL, l, 2);
        if F::ZERO {
            let mut zero = zero_sums[row];
            zero += shuffle_xor(FULL, zero, 1);
            zero += shuffle_xor(FULL, zero, 2);
            for c in 0..D8 {
                sums[c][2 * row] -= zero;
                sums[c][2 * row + 1] -= zero;
            }
        }
    }
    let run = VR as u32 * F::PER_WORD;
    let place = |row: u32| (row0 + row < rows).then(|| row_number(row0 + row));
    // SAFETY: the rows of this block.
    unsafe { combine::<D8>(outcome, lane, warp, run, split, softmax, &sums, place) }
}

/// Adds what is NaN or infinite of a row of v to the rows that see it: columns 16·t…+15 of each 64,
/// which are those of the lane's sums.
///
/// # Safety
/// Where it exists the row of v is readable from `from` on.
#[inline(always)]
unsafe fn add_odd<E: Half, const D8: usize>(
    from: *const u8,
    exists: bool,
    sees: [bool; 2],
    sums: &mut [[f32; 4]; D8],
) {
    for block in 0..D8 / 8 {
        // SAFETY: the caller's promise.
        let words = unsafe { load_runs::<8, 4>(from.wrapping_add(128 * block), 16, exists) };
        for w in 0..8 {
            let (low, high) = E::unpack(words[w]);
            let pair = [low, high];
            for h in 0..2 {
                let column = 2 * w + h;
                for row in 0..2 {
                    let sum = &mut sums[8 * block + column % 8][2 * row + column / 8];
                    if sees[row] && !pair[h].is_finite() {
                        // A branch: as selects, all 32 conditions would be in registers at once.
                        *sum = f32::from_bits(fresh((*sum + pair[h]).to_bits()));
                    }
                }
            }
        }
    }
}

macro_rules! entries {
    ($($name:ident: $format:ty, $d16:literal, $d8:literal, $kw:literal by $kr:literal, $vw:literal by $vr:literal;)*) => {$(
        /// Rung 2.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            q: *const u8, k: *const u8, v: *const u8, k_scale: *const F16, v_scale: *const F16,
            k_zero: *const F16, v_zero: *const F16, table: *const i32, lengths: *const i32,
            starts: *const i32, mask: *const u32, depth: *const i32, sink_logits: *const f32,
            o: *mut u8, lse: *mut f32, part_o: *mut f32, part_lse: *mut f32, width: u32,
            page: u32, words: u32, left: i32, sinks: u32, rows: u32, number_type: u32,
            parts: u32, group: u32, splits: u32, factor: f32, cap: f32,
        ) {
            let tables = Tables {
                table, lengths, starts, mask, depth, width, page, words, left, sinks,
            };
            let k = Pages { codes: k, scale: k_scale, zero: k_zero };
            let v = Pages { codes: v, scale: v_scale, zero: v_zero };
            let outcome = Outcome {
                o, lse, part_o, part_lse, sink_logits, rows, number_type, splits,
                heads: thread::grid_dim_y() * group,
            };
            // SAFETY: the launch gives what `attend` asks for.
            unsafe {
                attend::<$format, $d16, $d8, $kw, $kr, $vw, $vr>(tables, k, v, q, outcome, parts,
                    group, Scoring { factor, cap });
            }
        }
    )*};
}

entries! {
    paged_attention_f16_64: F16, 4, 8, 8 by 4, 4 by 4;
    paged_attention_f16_128: F16, 8, 16, 16 by 4, 8 by 4;
    paged_attention_bf16_64: Bf16, 4, 8, 8 by 4, 4 by 4;
    paged_attention_bf16_128: Bf16, 8, 16, 16 by 4, 8 by 4;
    paged_attention_int8_64: Int8, 4, 8, 4 by 4, 2 by 2;
    paged_attention_int8_128: Int8, 8, 16, 8 by 4, 4 by 4;
    paged_attention_int4_128: Int4, 8, 16, 4 by 4, 2 by 2;
}
