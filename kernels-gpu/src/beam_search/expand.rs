//! The 2K best continuations of each beam, and what normalises them.

use crate::device::half::{Bf16, F16};
use crate::device::thread::{block_idx_x, sync_threads_or, thread_idx_x};
use crate::topk::scan::{Rules, Span, gather, gather_states, leave, scan};
use crate::topk::selection::Selection;

/// Whether there is a beam here that takes a token.
///
/// # Safety
/// The launch gives a sum and a mark for each beam.
#[inline(always)]
pub(super) unsafe fn takes_token(acc: *const f32, finished: *const u8, beam: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { *acc.add(beam) > f32::NEG_INFINITY && *finished.add(beam) == 0 }
}

/// Whether a token ends a beam.
///
/// # Safety
/// The launch gives `count` tokens in `eos`.
#[inline(always)]
pub(super) unsafe fn is_eos(eos: *const i32, count: u32, token: u32) -> bool {
    let mut at = 0;
    while at < count {
        // SAFETY: at < count.
        if unsafe { *eos.add(at as usize) } == token as i32 {
            return true;
        }
        at += 1;
    }
    false
}

/// Which tokens a beam may take.
#[derive(Clone, Copy)]
struct Allowed {
    eos: *const i32,
    /// 0 once the beam is long enough to end.
    eos_count: u32,
}

impl Rules for Allowed {
    #[inline(always)]
    unsafe fn see(self, _at: usize, _lanes: u32, values: &mut [f32; 8]) {
        // Of NaN and another number the greater is the other one.
        for value in values.iter_mut() {
            *value = value.max(f32::NEG_INFINITY);
        }
    }

    #[inline(always)]
    fn may_enter(self, wanted: u32, column: u32, values: &[f32; 8]) -> u32 {
        let mut allowed = wanted;
        for (e, value) in values.iter().enumerate() {
            if *value == f32::NEG_INFINITY {
                allowed &= !(1 << e);
            }
        }
        let mut at = 0;
        while at < self.eos_count {
            // SAFETY: the launch gives that many.
            let token = unsafe { *self.eos.add(at as usize) } as u32;
            if token.wrapping_sub(column) < values.len() as u32 {
                allowed &= !(1 << (token - column));
            }
            at += 1;
        }
        allowed
    }
}

macro_rules! entries {
    ($($name:ident($t:ty);)*) => {$(
        /// Grid: `parts` blocks of 512 for each beam, of `part` columns each. `logits` is aligned to
        /// 32 bytes; `eos` may be null when there is none. Leaves the part's best `width` = 2K keys
        /// and its softmax state; of beams that take no token, nothing.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            logits: *const $t,
            acc: *const f32,
            length: *const i32,
            finished: *const u8,
            eos: *const i32,
            keys: *mut u64,
            states: *mut f32,
            vocabulary: u32,
            width: u32,
            parts: u32,
            part: u32,
            eos_count: u32,
            min_length: i32,
        ) {
            let block = block_idx_x();
            let beam = block / parts;
            // SAFETY: the launch's promise: each part begins within the row.
            unsafe {
                // One thread reads what decides: all of the block's warps would read a sector each.
                let first = thread_idx_x() == 0;
                if !sync_threads_or(first && takes_token(acc, finished, beam as usize)) {
                    return;
                }
                let begin = (block - beam * parts) * part;
                let span = Span {
                    logits,
                    row_start: beam as usize * vocabulary as usize,
                    begin,
                    end: begin + part.min(vocabulary - begin),
                };
                let too_short = min_length > 0 && *length.add(beam as usize) < min_length;
                let allowed = Allowed {
                    eos,
                    eos_count: if too_short { eos_count } else { 0 },
                };
                let mut selection = Selection::new(width);
                let state = scan(span, allowed, 1.0, &mut selection);
                leave(block, width, selection, state, keys, states);
            }
        }
    )*};
}

entries! {
    beam_expand_f32(f32);
    beam_expand_f16(F16);
    beam_expand_bf16(Bf16);
}

/// Grid: a block of 512 for each beam. The best `width` keys and the state of a row from those of
/// its `parts` ≤ 256 parts.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn beam_merge(
    part_keys: *const u64,
    part_states: *const f32,
    acc: *const f32,
    finished: *const u8,
    keys: *mut u64,
    states: *mut f32,
    width: u32,
    parts: u32,
) {
    let beam = block_idx_x();
    let first = beam as usize * parts as usize;
    // SAFETY: the launch gives `width` keys and a state for each part of each beam, and for each
    // beam.
    unsafe {
        if !takes_token(acc, finished, beam as usize) {
            return;
        }
        let mut selection = Selection::new(width);
        let part_keys = part_keys.add(first * width as usize);
        gather(parts * width, &mut selection, |at| {
            *part_keys.add(at as usize)
        });
        let state = gather_states(part_states.add(2 * first), parts);
        leave(beam, width, selection, state, keys, states);
    }
}
