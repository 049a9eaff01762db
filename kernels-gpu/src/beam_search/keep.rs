//! The pool of an item and the K best of it.

use super::MAX_BEAMS;
use super::expand::{is_eos, takes_token};
use crate::device::float::{ex2_approx, lg2_approx};
use crate::device::reduce::OnlineSoftmax;
use crate::device::thread::{block_idx_x, sync_threads, thread_idx_x};
use crate::shared_tile;
use crate::topk::THREADS;
use crate::topk::key::{index_of, key, rank, rank_of, value_of};
use crate::topk::scan::{gather, lse};
use crate::topk::selection::Selection;

shared_tile!(fn beam_lse: [f32; MAX_BEAMS as usize]);

/// What the pool is made from.
#[derive(Clone, Copy)]
struct Pool {
    keys: *const u64,
    acc: *const f32,
    length: *const i32,
    finished: *const u8,
    eos: *const i32,
    eos_count: u32,
    count_eos: bool,
    alpha: f32,
    width: u32,
    /// The item's first beam.
    first: usize,
}

/// A beam as it would be kept.
#[derive(Clone, Copy)]
struct Candidate {
    parent: u32,
    /// −1 for a finished beam.
    token: i32,
    acc: f32,
    length: i32,
    finished: bool,
}

impl Pool {
    /// The candidate at place `at`: 2K places a parent, a finished one in its first.
    ///
    /// # Safety
    /// The launch gives all arrays, and the beams' lse are in shared memory.
    #[inline(always)]
    unsafe fn candidate(self, at: u32) -> Option<Candidate> {
        let parent = at / self.width;
        let place = at - parent * self.width;
        let beam = self.first + parent as usize;
        // SAFETY: the caller's promise; keys only of beams that take a token.
        unsafe {
            let acc = *self.acc.add(beam);
            let length = *self.length.add(beam);
            if !takes_token(self.acc, self.finished, beam) {
                let there = acc > f32::NEG_INFINITY && place == 0;
                return there.then_some(Candidate {
                    parent,
                    token: -1,
                    acc,
                    length,
                    finished: true,
                });
            }
            let found = *self.keys.add(beam * self.width as usize + place as usize);
            // A probability is at most 1; rounding must not make a sum rise.
            let logp = value_of(rank_of(found)) - beam_lse().load(parent);
            let logp = if logp > 0.0 { 0.0 } else { logp };
            let acc = acc + logp;
            if found == 0 || !(acc > f32::NEG_INFINITY) {
                return None;
            }
            let token = index_of(found);
            let finished = is_eos(self.eos, self.eos_count, token);
            let length = length + i32::from(!finished || self.count_eos);
            Some(Candidate {
                parent,
                token: token as i32,
                acc,
                length,
                finished,
            })
        }
    }

    /// acc/len^α.
    #[inline(always)]
    fn score(self, candidate: Candidate) -> f32 {
        let Candidate { acc, length, .. } = candidate;
        if length <= 1 || self.alpha == 0.0 || acc == 0.0 {
            return acc;
        }
        // log₂ of the exponent and of the mantissa apart: the approximate one is good to 2⁻²²
        // absolute between 1 and 2, and exact powers of two stay exact.
        let bits = (length as f32).to_bits();
        let exponent = (bits >> 23) as i32 - 127;
        let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
        let fraction = if mantissa == 1.0 {
            0.0
        } else {
            lg2_approx(mantissa)
        };
        acc * ex2_approx(-self.alpha * (exponent as f32 + fraction))
    }
}

/// Grid: a block of 512 for each item. Writes the K best of its pool, best first.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn beam_keep(
    keys: *const u64,
    states: *const f32,
    acc: *const f32,
    length: *const i32,
    finished: *const u8,
    eos: *const i32,
    parent_out: *mut i32,
    token_out: *mut i32,
    acc_out: *mut f32,
    length_out: *mut i32,
    finished_out: *mut u8,
    score_out: *mut f32,
    beams: u32,
    width: u32,
    eos_count: u32,
    count_eos: u32,
    alpha: f32,
) {
    let pool = Pool {
        keys,
        acc,
        length,
        finished,
        eos,
        eos_count,
        count_eos: count_eos != 0,
        alpha,
        width,
        first: block_idx_x() as usize * beams as usize,
    };
    // SAFETY: the launch gives 2K keys and a state for each beam that takes a token, and an element
    // of every other array for each beam; the outputs are others than the inputs.
    unsafe {
        let mut parent = thread_idx_x();
        while parent < beams {
            let beam = pool.first + parent as usize;
            if takes_token(acc, finished, beam) {
                let state = OnlineSoftmax {
                    max: *states.add(2 * beam),
                    sum: *states.add(2 * beam + 1),
                };
                beam_lse().store(parent, lse(state));
            }
            parent += THREADS;
        }
        sync_threads();

        let mut selection = Selection::new(beams);
        gather(beams * width, &mut selection, |at| {
            pool.candidate(at)
                .map_or(0, |found| key(rank(pool.score(found)), at))
        });

        let mut place = thread_idx_x();
        while place < beams {
            let out = pool.first + place as usize;
            let best = selection.best(place);
            let found = if best == 0 {
                None
            } else {
                pool.candidate(index_of(best))
            };
            let (kept, parent, score) = match found {
                Some(found) => (found, found.parent as i32, pool.score(found)),
                None => {
                    let none = Candidate {
                        parent: 0,
                        token: -1,
                        acc: f32::NEG_INFINITY,
                        length: 0,
                        finished: false,
                    };
                    (none, -1, f32::NEG_INFINITY)
                }
            };
            *parent_out.add(out) = parent;
            *token_out.add(out) = kept.token;
            *acc_out.add(out) = kept.acc;
            *length_out.add(out) = kept.length;
            *finished_out.add(out) = u8::from(kept.finished);
            *score_out.add(out) = score;
            place += THREADS;
        }
    }
}
