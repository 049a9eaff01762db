//! One pass over a row, or a part of one.

use super::THREADS;
use super::key::{key, rank};
use super::selection::Selection;
use crate::device::float::{LN_2, LOG2_E, ex2_approx, lg2_approx};
use crate::device::half::{Bf16, Bf16x2, Element, F16, F16x2};
use crate::device::reduce::{self, Merge, OnlineSoftmax};
use crate::device::shared::Shared;
use crate::device::thread::{sync_threads_or, thread_idx_x};
use crate::device::warp;
use crate::shared_tile;
use core::arch::asm;

shared_tile!(fn topk_scratch: [u32; 64]);

/// Values of a quad: f32 fills four, the others stay −inf.
type Values = [f32; 8];

/// A number that is read four words at a time.
pub(crate) trait Packed: Element {
    /// How many are in four words.
    const LANES: u32;
    /// A word of −inf.
    const NOTHING: u32;
    /// The values of four words.
    fn unpack(words: [u32; 4]) -> Values;
    /// The four words that begin `by` < [`LANES`](Packed::LANES) values behind the first of eight.
    fn behind(words: [u32; 8], by: u32) -> [u32; 4];
}

/// The words that begin `by` ≤ 3 words behind the first of eight, in their places.
#[inline(always)]
fn words_behind(words: [u32; 8], by: u32) -> [u32; 5] {
    let [a, b, c, d, e, f, g, h] = words;
    let [a, b, c, d, e, f] = match by & 2 {
        0 => [a, b, c, d, e, f],
        _ => [c, d, e, f, g, h],
    };
    match by & 1 {
        0 => [a, b, c, d, e],
        _ => [b, c, d, e, f],
    }
}

/// The same for values of half a word.
#[inline(always)]
fn halves_behind(words: [u32; 8], by: u32) -> [u32; 4] {
    let [a, b, c, d, e] = words_behind(words, by / 2);
    let bits = by % 2 * 16;
    let from = |low: u32, high: u32| ((u64::from(high) << 32 | u64::from(low)) >> bits) as u32;
    [from(a, b), from(b, c), from(c, d), from(d, e)]
}

impl Packed for f32 {
    const LANES: u32 = 4;
    const NOTHING: u32 = 0xff80_0000;
    #[inline(always)]
    fn unpack([a, b, c, d]: [u32; 4]) -> Values {
        let none = f32::NEG_INFINITY;
        let bits = f32::from_bits;
        [bits(a), bits(b), bits(c), bits(d), none, none, none, none]
    }
    #[inline(always)]
    fn behind(words: [u32; 8], by: u32) -> [u32; 4] {
        let [a, b, c, d, _] = words_behind(words, by);
        [a, b, c, d]
    }
}

impl Packed for F16 {
    const LANES: u32 = 8;
    const NOTHING: u32 = 0xfc00_fc00;
    #[inline(always)]
    fn unpack(words: [u32; 4]) -> Values {
        let [(a, b), (c, d), (e, f), (g, h)] = words.map(|word| F16x2(word).to_f32());
        [a, b, c, d, e, f, g, h]
    }
    #[inline(always)]
    fn behind(words: [u32; 8], by: u32) -> [u32; 4] {
        halves_behind(words, by)
    }
}

impl Packed for Bf16 {
    const LANES: u32 = 8;
    const NOTHING: u32 = 0xff80_ff80;
    #[inline(always)]
    fn unpack(words: [u32; 4]) -> Values {
        let [(a, b), (c, d), (e, f), (g, h)] = words.map(|word| Bf16x2(word).to_f32());
        [a, b, c, d, e, f, g, h]
    }
    #[inline(always)]
    fn behind(words: [u32; 8], by: u32) -> [u32; 4] {
        halves_behind(words, by)
    }
}

/// What a family does with the logits it reads.
pub(crate) trait Rules: Copy {
    /// The `lanes` logits from `at` on as the softmax sees them: 1, or a quad's.
    ///
    /// # Safety
    /// The launch gives `lanes` logits from `at` on, and behind those of a quad as many again, and
    /// all that belongs to them.
    unsafe fn see(self, at: usize, lanes: u32, values: &mut Values);
    /// Of the values in `wanted` (a bit each) those whose columns, from `column` on, may be chosen.
    fn may_enter(self, wanted: u32, column: u32, values: &Values) -> u32;
}

/// Columns `begin..end` of a row whose first logit is `logits[row_start]`.
#[derive(Clone, Copy)]
pub(crate) struct Span<T> {
    /// All logits, aligned to sectors of 32 bytes.
    pub(crate) logits: *const T,
    /// Where the row starts.
    pub(crate) row_start: usize,
    /// The first column.
    pub(crate) begin: u32,
    /// The column behind the last.
    pub(crate) end: u32,
}

/// A thread's softmax state over raw values: `sum = Σ exp2((x − max)·scale)`. The difference first:
/// it is the same for a row that is moved as a whole.
#[derive(Clone, Copy)]
struct State {
    max: f32,
    sum: f32,
}

impl State {
    /// Adds a quad. The sum becomes NaN by a NaN or +inf and stays it.
    #[inline(always)]
    fn add<const LANES: usize>(&mut self, values: &Values, top: f32, scale: f32) {
        if top > self.max {
            // Of nothing the sum is 0, and exp2(−inf) keeps it so.
            self.sum *= ex2_approx((self.max - top) * scale);
            self.max = top;
        }
        // While all is −inf, −inf − max would be NaN.
        let max = if self.max == f32::NEG_INFINITY {
            0.0
        } else {
            self.max
        };
        for value in values.iter().take(LANES) {
            self.sum += ex2_approx((value - max) * scale);
        }
    }
}

/// Four words from `from` where the condition holds, by `ld.global.nc.L1::no_allocate.v4.b32`. No
/// branch: where it does not hold, `words` stay as they are.
///
/// # Safety
/// Where the condition holds, `from` is aligned to 16 bytes, its 16 bytes are readable, and nothing
/// writes them while the kernel runs.
#[inline(always)]
unsafe fn load_if(condition: bool, from: *const u32, words: &mut [u32; 4]) {
    let [a, b, c, d] = words;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{ .reg .b64 g; .reg .pred p; setp.ne.u32 p, {w}, 0; cvta.to.global.u64 g, {p};",
            "@p ld.global.nc.L1::no_allocate.v4.b32 {{{a}, {b}, {c}, {d}}}, [g]; }}",
            w = in(reg32) u32::from(condition), p = in(reg64) from, a = inout(reg32) *a,
            b = inout(reg32) *b, c = inout(reg32) *c, d = inout(reg32) *d,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
}

/// The words of the lane `by` lanes on; behind the last lane those that the first ones have `ahead`.
/// Collective.
#[inline(always)]
fn lanes_on(words: [u32; 4], ahead: [u32; 4], by: u32) -> [u32; 4] {
    let lane = warp::lane_id();
    let from = (lane + by) % warp::SIZE;
    let on = |word: u32, next: u32| {
        let mine = if lane < by { next } else { word };
        warp::shuffle(warp::FULL, mine, from)
    };
    let ([a, b, c, d], [e, f, g, h]) = (words, ahead);
    [on(a, e), on(b, f), on(c, g), on(d, h)]
}

/// Scans `span` into `selection`, which is pruned and sorted at the end. Returns the block's total
/// over values times `inverse_temperature`; its sum is NaN when a NaN or +inf was seen. Collective.
///
/// Each thread takes the same columns of every span of a length, whatever address it begins at, so
/// equal rows have equal sums. Memory is read in whole sectors all the same: where a span begins
/// `shift` values behind one, a thread's quad is pieced together from two that the warp has read.
///
/// # Safety
/// The launch gives the span's logits and what `rules` reads; the selection is new.
#[inline(always)]
pub(crate) unsafe fn scan<T: Packed, R: Rules>(
    span: Span<T>,
    rules: R,
    inverse_temperature: f32,
    selection: &mut Selection,
) -> OnlineSoftmax {
    let me = thread_idx_x();
    let scale = LOG2_E * inverse_temperature;
    let start = span.row_start + span.begin as usize;
    let length = span.end - span.begin;
    // The first sector's worth and the last quad's are left to the last step, in single values: so
    // all that quads are pieced together from lies in the span.
    let head = if length < 2 * T::LANES {
        length
    } else {
        2 * T::LANES
    };
    let quads = ((length - head) / T::LANES).saturating_sub(1);
    let edges = length - quads * T::LANES;
    // Each warp has a run of quads, for what is behind the last lane's to be what the first reads
    // next.
    let steps = quads.div_ceil(THREADS);
    let first = warp::warp_id() * steps * warp::SIZE + warp::lane_id();
    let shift = start as u32 % (2 * T::LANES);
    // SAFETY: at most at the span's end, and not before it, unless there are no quads.
    let sectors = unsafe { span.logits.add(start + head as usize - shift as usize) }.cast::<u32>();
    let stop = (warp::warp_id() + 1) * steps * warp::SIZE;
    let stop = match quads {
        0 => 0,
        _ => (if stop < quads { stop } else { quads }) + shift.div_ceil(T::LANES),
    };
    // What a thread without a quad finds has nothing in it.
    let load = |quad: u32, words: &mut [u32; 4]| {
        *words = [T::NOTHING; 4];
        // SAFETY: below `stop` quads lie in the span, and the launch gives logits aligned to sectors.
        unsafe { load_if(quad < stop, sectors.wrapping_add(4 * quad as usize), words) }
    };

    let mut state = State {
        max: f32::NEG_INFINITY,
        sum: 0.0,
    };
    // Two loads are under way while a quad is worked on.
    let (mut words, mut ahead) = ([0; 4], [0; 4]);
    load(first, &mut words);
    load(first + warp::SIZE, &mut ahead);
    let mut step = 0;
    loop {
        let last = step == steps;
        let now = unknown(step);
        let mut values;
        let mut column = 0;
        let mut present = 0_u32;
        if !last {
            let quad = first + step * warp::SIZE;
            if shift != 0 {
                let by = shift / T::LANES;
                let [a, b, c, d] = lanes_on(words, ahead, by);
                let [e, f, g, h] = lanes_on(words, ahead, by + 1);
                words = T::behind([a, b, c, d, e, f, g, h], shift % T::LANES);
                if quad >= quads {
                    words = [T::NOTHING; 4];
                }
            }
            values = T::unpack(words);
            if quad < quads {
                column = span.begin + head + quad * T::LANES;
                present = (1 << T::LANES) - 1;
                // SAFETY: the quad's logits lie in the span, and a quad behind it.
                unsafe {
                    rules.see(span.row_start + column as usize, T::LANES, &mut values);
                }
            }
            words = ahead;
            load(quad + 2 * warp::SIZE, &mut ahead);
        } else {
            values = [f32::NEG_INFINITY; 8];
            // The same number, but not known to be: what follows from it is not computed ahead of
            // the loop and kept in registers all through it.
            let me = me.wrapping_add(now).wrapping_sub(steps);
            if me < edges {
                column = span.begin + me;
                if me >= head {
                    column += quads * T::LANES;
                }
                present = 1;
                let at = span.row_start + column as usize;
                // SAFETY: the column lies in the span.
                unsafe {
                    values[0] = (*span.logits.add(at)).to_f32();
                    rules.see(at, 1, &mut values);
                }
            }
        }

        let top = values.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        if T::LANES == 4 {
            state.add::<4>(&values, top, scale);
        } else {
            state.add::<8>(&values, top, scale);
        }

        let floor = selection.floor_from(column);
        let beats = |value: f32| !(value <= floor);
        let mut full = false;
        if warp::vote_any(warp::FULL, beats(top)) {
            let mut wanted = 0;
            for (e, value) in values.iter().enumerate() {
                if beats(*value) {
                    wanted |= 1 << e;
                }
            }
            wanted &= present;
            // SAFETY: at most eight keys a thread, then the end of the step.
            full = unsafe {
                selection.push(rules.may_enter(wanted, column, &values), |e| {
                    key(rank(pick(&values, e)), column + e)
                })
            };
        }
        // SAFETY: the end of the step.
        unsafe { selection.end_step(full, last) };
        if last {
            break;
        }
        step += 1;
    }

    let spoilt = sync_threads_or(state.sum.is_nan());
    // SAFETY: this module's scratch.
    let mut total = unsafe {
        reduce::block(
            scratch(),
            OnlineSoftmax {
                max: state.max * inverse_temperature,
                sum: state.sum,
            },
        )
    };
    if spoilt {
        total.sum = f32::NAN;
    }
    total
}

/// Leaves a part's best `width` keys, 0 where there are fewer, and its softmax state at place
/// `part` of the workspace. Collective.
///
/// # Safety
/// The launch gives `width` keys and two floats for each part; these are the block's.
#[inline(always)]
pub(crate) unsafe fn leave(
    part: u32,
    width: u32,
    selection: Selection,
    state: OnlineSoftmax,
    keys: *mut u64,
    states: *mut f32,
) {
    let part = part as usize;
    let mut place = thread_idx_x();
    // SAFETY: place < width, and each place is one thread's.
    unsafe {
        while place < width {
            *keys.add(part * width as usize + place as usize) = selection.best(place);
            place += THREADS;
        }
        if thread_idx_x() == 0 {
            *states.add(2 * part) = state.max;
            *states.add(2 * part + 1) = state.sum;
        }
    }
}

/// Sorts `count` keys from memory into `selection`; keys of 0 are none. Collective.
///
/// # Safety
/// The launch gives `count` keys; the selection is new.
#[inline(always)]
pub(crate) unsafe fn gather(count: u32, selection: &mut Selection, read: impl Fn(u32) -> u64) {
    let mut first = 0;
    loop {
        let at = first + thread_idx_x();
        let candidate = if at < count { read(at) } else { 0 };
        let beats = candidate >= selection.least;
        let last = first + THREADS >= count;
        // SAFETY: one key a thread, then the end of the step.
        unsafe {
            let full = selection.push_one(beats, candidate);
            selection.end_step(full, last);
        }
        if last {
            return;
        }
        first += THREADS;
    }
}

/// The total of `parts` (at most [`THREADS`]) softmax states in memory. The sum is NaN when any is.
/// Collective.
///
/// # Safety
/// The launch gives `2·parts` floats from `states` on.
#[inline(always)]
pub(crate) unsafe fn gather_states(states: *const f32, parts: u32) -> OnlineSoftmax {
    let me = thread_idx_x();
    let mut state = OnlineSoftmax::IDENTITY;
    if me < parts {
        // SAFETY: below `parts`.
        unsafe {
            state.max = *states.add(2 * me as usize);
            state.sum = *states.add(2 * me as usize + 1);
        }
    }
    let spoilt = sync_threads_or(state.sum.is_nan());
    // SAFETY: this module's scratch.
    let mut total = unsafe { reduce::block(scratch(), state) };
    if spoilt {
        total.sum = f32::NAN;
    }
    total
}

/// log Σ exp of a state: −inf of nothing, NaN of a spoilt one.
#[inline(always)]
pub(crate) fn lse(state: OnlineSoftmax) -> f32 {
    state.max + lg2_approx(state.sum) * LN_2
}

/// The value, of which the compiler knows nothing any more.
#[inline(always)]
fn unknown(value: u32) -> u32 {
    let same: u32;
    // SAFETY: a copy.
    unsafe {
        asm!("mov.u32 {o}, {i};", o = out(reg32) same, i = in(reg32) value,
            options(nomem, nostack));
    }
    same
}

#[inline(always)]
fn scratch() -> Shared<u32> {
    topk_scratch()
}

/// `values[e]` without an index that would move the array to local memory.
#[inline(always)]
fn pick(values: &Values, e: u32) -> f32 {
    let mut picked = values[0];
    for (i, value) in values.iter().enumerate().skip(1) {
        if e == i as u32 {
            picked = *value;
        }
    }
    picked
}
