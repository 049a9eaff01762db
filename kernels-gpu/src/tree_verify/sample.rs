//! The sampling walk: multi-draft rejection.

use super::WALK_THREADS;
use super::walk::{Walk, scratch};
use crate::attention::fresh;
use crate::device::float::{exp_approx, rcp_approx};
use crate::device::half::{Bf16, Element, F16};
use crate::device::reduce::{self, Merge, OnlineSoftmax, Sum};
use crate::device::thread::{block_idx_x, sync_threads, thread_idx_x};
use crate::shared_tile;

shared_tile!(fn tree_sums: [f32; WALK_THREADS as usize]);

/// Calls `each` with this thread's columns.
#[inline(always)]
fn columns(vocabulary: u32, mut each: impl FnMut(usize)) {
    let mut column = thread_idx_x();
    while column < vocabulary {
        each(column as usize);
        column += WALK_THREADS;
    }
}

/// p of a row into the workspace, a thread its own columns; whether any logit is finite. Collective.
///
/// # Safety
/// The row and the workspace are there.
#[inline(always)]
unsafe fn softmax<T: Element>(
    row: *const T,
    p: *mut f32,
    vocabulary: u32,
    inverse_temperature: f32,
) -> bool {
    // SAFETY: columns below the vocabulary, of this thread.
    unsafe {
        let mut state = OnlineSoftmax::IDENTITY;
        columns(vocabulary, |column| {
            let logit = (*row.add(column)).to_f32();
            if logit.is_finite() {
                state = state.add(logit * inverse_temperature);
            }
        });
        let state = reduce::block(scratch(), state);
        let inverse = rcp_approx(state.sum);
        columns(vocabulary, |column| {
            let logit = (*row.add(column)).to_f32();
            *p.add(column) = if logit.is_finite() {
                exp_approx(logit * inverse_temperature - state.max) * inverse
            } else {
                0.0
            };
        });
        state.max > f32::NEG_INFINITY
    }
}

/// Takes the draft's distribution off p and scales what is left to 1, a thread its own columns. A draft
/// without one is certain of `token`. Collective.
///
/// # Safety
/// p and q are there.
#[inline(always)]
unsafe fn reject(p: *mut f32, q: *const f32, token: usize, vocabulary: u32) {
    // SAFETY: columns below the vocabulary, of this thread.
    unsafe {
        let left = |column: usize| {
            let q = if !q.is_null() {
                *q.add(column)
            } else if column == token {
                1.0
            } else {
                0.0
            };
            let left = *p.add(column) - q;
            if left > 0.0 { left } else { 0.0 }
        };
        let mut sum = 0.0;
        columns(vocabulary, |column| sum += left(column));
        let Sum(mass) = reduce::block(scratch(), Sum(sum));
        // Nothing is left only where p = q, and there no child is rejected.
        if mass > 0.0 {
            columns(vocabulary, |column| *p.add(column) = left(column) / mass);
        }
    }
}

/// The first token at which the running sum of p exceeds `uniform`; the last one with any probability
/// where rounding keeps it below. Collective: each round a thread adds up its part of what is
/// left of the row, and all go on with the part in which the sum is crossed.
///
/// # Safety
/// p is there, and its columns have been written before a barrier.
#[inline(always)]
unsafe fn draw(p: *const f32, vocabulary: u32, uniform: f32) -> i32 {
    let (mut begin, mut end, mut before) = (0, vocabulary, 0.0_f32);
    loop {
        let each = (end - begin).div_ceil(WALK_THREADS);
        let mut column = begin + thread_idx_x() * each;
        let part_end = (column + each).min(end);
        let mut sum = 0.0;
        // SAFETY: columns of the row; a place of this thread's own.
        unsafe {
            while column < part_end {
                sum += *p.add(column as usize);
                column += 1;
            }
            tree_sums().store(thread_idx_x(), sum);
        }
        sync_threads();
        let (mut part, mut running, mut chosen, mut base) = (0, before, u32::MAX, before);
        while part < fresh(WALK_THREADS) {
            // SAFETY: written before the barrier.
            let sum = unsafe { tree_sums().load(part) };
            if sum > 0.0 {
                (chosen, base) = (part, running);
                running += sum;
                if running > uniform {
                    break;
                }
            }
            part += 1;
        }
        sync_threads();
        if chosen == u32::MAX {
            return -1;
        }
        begin += chosen * each;
        end = (begin + each).min(end);
        before = base;
        if each == 1 {
            return begin as i32;
        }
    }
}

/// Grid: a block of 256 an item.
///
/// # Safety
/// The arrays have the shapes of the family's page; `draft` may be null.
#[inline(always)]
unsafe fn sample<T: Element>(
    logits: *const T,
    draft: *const f32,
    starts: *const i32,
    uniform: *const f32,
    bonus_uniform: *const f32,
    workspace: *mut f32,
    walk: Walk,
    count: *mut i32,
    bonus: *mut i32,
    vocabulary: u32,
    inverse_temperature: f32,
) {
    let item = block_idx_x() as usize;
    let width = vocabulary as usize;
    // SAFETY: an item of the launch; a row of logits for its prompt and each of its nodes.
    unsafe {
        let first = *starts.add(item) as usize;
        let mut walk = Walk {
            first,
            nodes: *starts.add(item + 1) as u32 - first as u32,
            ..walk
        };
        let p = workspace.add(item * width);
        let token = 'walk: loop {
            let row = (first + item + walk.row()) * width;
            let some = softmax(logits.add(row), p, vocabulary, inverse_temperature);
            if !some {
                break -1;
            }
            let q = if draft.is_null() {
                draft
            } else {
                draft.add(row)
            };
            let mut from = walk.row() as u32;
            loop {
                // p is there, for all threads.
                sync_threads();
                let Some(child) = walk.child(from, |_| true) else {
                    break 'walk draw(p, vocabulary, *bonus_uniform.add(item));
                };
                let token = walk.token(child) as usize;
                let certain = if q.is_null() { 1.0 } else { *q.add(token) };
                let accepted = *uniform.add(first + child as usize) * certain < *p.add(token);
                // Everybody has looked before p changes.
                sync_threads();
                if accepted {
                    if walk.accept(child) {
                        break 'walk -1;
                    }
                    break;
                }
                reject(p, q, token, vocabulary);
                from = child + 1;
            }
        };
        walk.end(count.add(item), bonus.add(item), token);
    }
}

macro_rules! entries {
    ($($name:ident: $t:ty;)*) => {$(
        /// The sampling walk.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            logits: *const $t, draft: *const f32, token: *const i32, parent: *const i32,
            starts: *const i32, stop: *const i32, slot: *const i32, uniform: *const f32,
            bonus_uniform: *const f32, workspace: *mut f32, node_out: *mut i32,
            token_out: *mut i32, slot_out: *mut i32, count: *mut i32, bonus: *mut i32,
            vocabulary: u32, stops: u32, inverse_temperature: f32,
        ) {
            let walk = Walk {
                token, parent, stop, stops, slot, node_out, token_out, slot_out, first: 0,
                nodes: 0, accepted: 0, at: -1,
            };
            // SAFETY: the launch gives what `sample` asks for.
            unsafe {
                sample(logits, draft, starts, uniform, bonus_uniform, workspace, walk, count,
                    bonus, vocabulary, inverse_temperature);
            }
        }
    )*};
}

entries! {
    tree_sample_f32: f32;
    tree_sample_f16: F16;
    tree_sample_bf16: Bf16;
}
