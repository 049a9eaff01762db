//! Rungs 2 and 3: a block per row, or per part of a row and a merge.

use super::warp::result;
use crate::device::half::{Bf16, F16};
use crate::device::reduce::OnlineSoftmax;
use crate::device::thread::{block_idx_x, thread_idx_x};
use crate::topk::THREADS;
use crate::topk::key::{index_of, rank_of};
use crate::topk::scan::{Rules, Span, gather, gather_states, leave, lse as lse_of, scan};
use crate::topk::selection::Selection;

/// The mask, which may be null.
#[derive(Clone, Copy)]
struct Masked(*const u8);

impl Rules for Masked {
    #[inline(always)]
    unsafe fn see(self, at: usize, lanes: u32, values: &mut [f32; 8]) {
        if self.0.is_null() {
            return;
        }
        // SAFETY: the launch gives a byte for each logit, from an aligned address on.
        let word = |at: usize| unsafe { *self.0.add(at & !3).cast::<u32>() };
        let words = if lanes == 1 {
            // SAFETY: as above.
            [u32::from(unsafe { *self.0.add(at) }), 0]
        } else {
            let (a, b) = (word(at), if lanes == 8 { word(at + 4) } else { 0 });
            match at as u32 % 4 * 8 {
                0 => [a, b],
                bits => {
                    // Up to three bytes behind the quad's are read, and there are as many.
                    let c = word(at + lanes as usize);
                    let from = |low: u32, high: u32| {
                        ((u64::from(high) << 32 | u64::from(low)) >> bits) as u32
                    };
                    match lanes {
                        8 => [from(a, b), from(b, c)],
                        _ => [from(a, c), 0],
                    }
                }
            }
        };
        for (e, value) in values.iter_mut().enumerate() {
            if words[e / 4] >> (8 * (e % 4)) & 0xff != 0 {
                *value = f32::NEG_INFINITY;
            }
        }
    }

    #[inline(always)]
    fn may_enter(self, wanted: u32, _column: u32, _values: &[f32; 8]) -> u32 {
        wanted
    }
}

/// The k of a row.
///
/// # Safety
/// `ks` is null or has an element for the row.
#[inline(always)]
unsafe fn k_of(ks: *const u32, row: u32, width: u32) -> u32 {
    if ks.is_null() {
        width
    } else {
        // SAFETY: the caller's promise.
        unsafe { *ks.add(row as usize) }
    }
}

/// Writes a row's results from a pruned selection.
///
/// # Safety
/// The launch gives `width` places in both outputs for each row, and one in `lse`.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a kernel's parameters are separate"
)]
unsafe fn write(
    row: u32,
    k: u32,
    width: u32,
    inverse_temperature: f32,
    selection: Selection,
    state: OnlineSoftmax,
    probability: *mut f32,
    index: *mut i32,
    lse: *mut f32,
) {
    let mut place = thread_idx_x();
    while place < width {
        let out = row as usize * width as usize + place as usize;
        // SAFETY: place < width, and this one is this thread's.
        unsafe {
            let key = selection.best(place);
            let found = (place < k).then_some((rank_of(key), index_of(key)));
            (*probability.add(out), *index.add(out)) = result(found, state, inverse_temperature);
        }
        place += THREADS;
    }
    if thread_idx_x() == 0 {
        // SAFETY: a place for each row.
        unsafe { *lse.add(row as usize) = lse_of(state) }
    }
}

macro_rules! entries {
    ($($name:ident($t:ty);)*) => {$(
        /// Rung 2, and the first half of rung 3. Grid: `parts` blocks of 512 for each row, of
        /// `part` columns each. `mask` and `ks` may be null; `logits` is aligned to 32 bytes.
        /// 1 ≤ k ≤ width ≤ min(1024, vocabulary). With one part a block writes its row's results;
        /// with more it leaves its part's best `width` keys, 0 where there are fewer, and its
        /// softmax state. What is not written may be null.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            logits: *const $t,
            mask: *const u8,
            ks: *const u32,
            probability: *mut f32,
            index: *mut i32,
            lse: *mut f32,
            keys: *mut u64,
            states: *mut f32,
            vocabulary: u32,
            width: u32,
            parts: u32,
            part: u32,
            inverse_temperature: f32,
        ) {
            let block = block_idx_x();
            let row = block / parts;
            let begin = (block - row * parts) * part;
            let span = Span {
                logits,
                row_start: row as usize * vocabulary as usize,
                begin,
                end: begin + part.min(vocabulary - begin),
            };
            // SAFETY: the launch's promise: each part begins within the row.
            unsafe {
                let k = k_of(ks, row, width);
                let mut selection = Selection::new(k);
                let state = scan(span, Masked(mask), inverse_temperature, &mut selection);
                if parts == 1 {
                    write(
                        row, k, width, inverse_temperature, selection, state, probability, index, lse,
                    );
                } else {
                    leave(block, width, selection, state, keys, states);
                }
            }
        }
    )*};
}

entries! {
    softmax_topk_block_f32(f32);
    softmax_topk_block_f16(F16);
    softmax_topk_block_bf16(Bf16);
}

/// Rung 3, second half. Grid: a block of 512 for each row; `splits` ≤ 256 parts are merged.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn softmax_topk_merge(
    keys: *const u64,
    states: *const f32,
    ks: *const u32,
    probability: *mut f32,
    index: *mut i32,
    lse: *mut f32,
    splits: u32,
    width: u32,
    inverse_temperature: f32,
) {
    let row = block_idx_x();
    let first = row as usize * splits as usize;
    // SAFETY: the launch gives `width` keys and a state for each part of each row, and the outputs.
    unsafe {
        let k = k_of(ks, row, width);
        let mut selection = Selection::new(k);
        let keys = keys.add(first * width as usize);
        gather(splits * width, &mut selection, |at| *keys.add(at as usize));
        let state = gather_states(states.add(2 * first), splits);
        write(
            row,
            k,
            width,
            inverse_temperature,
            selection,
            state,
            probability,
            index,
            lse,
        );
    }
}
