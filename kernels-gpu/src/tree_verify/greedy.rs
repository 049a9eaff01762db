//! The greedy walk: an argmax along the path.

use super::WALK_THREADS;
use super::walk::{Walk, scratch};
use crate::device::global::load4_streaming;
use crate::device::half::{Bf16, Bf16x2, Element, F16, F16x2};
use crate::device::reduce::{self, ArgMax, Merge};
use crate::device::thread::{block_idx_x, thread_idx_x};

/// A type of logits, four words at a time.
trait Logit: Element {
    /// How many are in four words.
    const LANES: u32;
    /// The greatest finite value of four words, the first of which is number `index`.
    fn greatest(words: [u32; 4], index: u32) -> ArgMax;
}

/// The better of both, the value looked at only if it is finite.
#[inline(always)]
fn better(best: ArgMax, value: f32, index: u32) -> ArgMax {
    if value.is_finite() {
        best.merge(ArgMax { value, index })
    } else {
        best
    }
}

impl Logit for f32 {
    const LANES: u32 = 4;
    #[inline(always)]
    fn greatest(words: [u32; 4], index: u32) -> ArgMax {
        let mut best = ArgMax::IDENTITY;
        for i in 0..4 {
            best = better(best, f32::from_bits(words[i]), index + i as u32);
        }
        best
    }
}

macro_rules! halves {
    ($($half:ty: $pair:ident),*) => {$(
        impl Logit for $half {
            const LANES: u32 = 8;
            #[inline(always)]
            fn greatest(words: [u32; 4], index: u32) -> ArgMax {
                let mut best = ArgMax::IDENTITY;
                for i in 0..4 {
                    let (low, high) = $pair(words[i]).to_f32();
                    best = better(best, low, index + 2 * i as u32);
                    best = better(best, high, index + 2 * i as u32 + 1);
                }
                best
            }
        }
    )*};
}

halves!(F16: F16x2, Bf16: Bf16x2);

/// The greatest finite logit of a row, the lowest of those that are equal; all threads together.
///
/// # Safety
/// The row is there.
#[inline(always)]
unsafe fn argmax<T: Logit>(logits: *const T, start: usize, vocabulary: u32) -> ArgMax {
    // Up to the first aligned quad, then whole quads; what is left at both ends is one step.
    let head = ((start as u32).wrapping_neg() % T::LANES).min(vocabulary);
    let quads = (vocabulary - head) / T::LANES;
    let edges = vocabulary - quads * T::LANES;
    let mut best = ArgMax::IDENTITY;
    let mut quad = thread_idx_x();
    // SAFETY: columns below the vocabulary; quads are aligned, as the first logit is.
    unsafe {
        while quad < quads {
            let column = head + quad * T::LANES;
            let words = load4_streaming(logits.add(start + column as usize).cast::<u32>());
            best = best.merge(T::greatest(words, column));
            quad += WALK_THREADS;
        }
        let edge = thread_idx_x();
        if edge < edges {
            let column = if edge < head {
                edge
            } else {
                edge + quads * T::LANES
            };
            let value = (*logits.add(start + column as usize)).to_f32();
            best = better(best, value, column);
        }
        reduce::block(scratch(), best)
    }
}

/// Grid: a block of 256 an item.
///
/// # Safety
/// The arrays have the shapes of the family's page.
#[inline(always)]
unsafe fn greedy<T: Logit>(
    logits: *const T,
    starts: *const i32,
    walk: Walk,
    count: *mut i32,
    bonus: *mut i32,
    vocabulary: u32,
) {
    let item = block_idx_x() as usize;
    // SAFETY: an item of the launch; a row of logits for its prompt and each of its nodes.
    unsafe {
        let first = *starts.add(item) as usize;
        let mut walk = Walk {
            first,
            nodes: *starts.add(item + 1) as u32 - first as u32,
            ..walk
        };
        let token = loop {
            let row = first + item + walk.row();
            let best = argmax(logits, row * vocabulary as usize, vocabulary);
            if best.index == u32::MAX {
                break -1;
            }
            let best = best.index as i32;
            let Some(child) = walk.child(walk.row() as u32, |token| token == best) else {
                break best;
            };
            if walk.accept(child) {
                break -1;
            }
        };
        walk.end(count.add(item), bonus.add(item), token);
    }
}

macro_rules! entries {
    ($($name:ident: $t:ty;)*) => {$(
        /// The greedy walk.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            logits: *const $t, token: *const i32, parent: *const i32, starts: *const i32,
            stop: *const i32, slot: *const i32, node_out: *mut i32, token_out: *mut i32,
            slot_out: *mut i32, count: *mut i32, bonus: *mut i32, vocabulary: u32, stops: u32,
        ) {
            let walk = Walk {
                token, parent, stop, stops, slot, node_out, token_out, slot_out, first: 0,
                nodes: 0, accepted: 0, at: -1,
            };
            // SAFETY: the launch gives what `greedy` asks for.
            unsafe { greedy(logits, starts, walk, count, bonus, vocabulary) }
        }
    )*};
}

entries! {
    tree_greedy_f32: f32;
    tree_greedy_f16: F16;
    tree_greedy_bf16: Bf16;
}
