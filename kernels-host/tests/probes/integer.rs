//! Models of the probes of threads, warps and atomics.

use crate::Model;
use crate::expect::{Expected, Input, N, UNTOUCHED};

/// The word of lane `lane` of the warp of thread `i`.
fn of_lane(a: &[u32], i: usize, lane: usize) -> u32 {
    a[i / 32 * 32 + lane]
}

/// A reduction over the warp of thread `i`.
fn warp<T>(a: &[u32], i: usize, each: impl Fn(u32) -> T, merge: impl Fn(T, T) -> T) -> Option<T> {
    let first = i / 32 * 32;
    a[first..first + 32]
        .iter()
        .map(|word| each(*word))
        .reduce(merge)
}

fn signed(word: u32) -> i32 {
    word as i32
}

pub fn model(probe: &str) -> Option<Model> {
    if let Some(rest) = probe.strip_prefix("probe_atomic_") {
        return atomic(rest);
    }
    let expected: fn(&[u32]) -> Expected = match probe {
        "probe_thread_idx" | "probe_index_1d" => |_| Expected::bits(|i| i as u32),
        "probe_block_dim" => |_| Expected::bits(|_| 64 | 1 << 8 | 1 << 16),
        "probe_block_idx" => |_| Expected::bits(|_| 0),
        "probe_grid_dim" => |_| Expected::bits(|_| 1 | 1 << 8 | 1 << 16),
        "probe_sync_threads" | "probe_sync_named" => |a| Expected::bits(|i| a[i ^ 32]),
        "probe_sync_threads_and" => {
            |a| Expected::bits(|_| u32::from(a[..N].iter().all(|word| word & 1 == 1)))
        }
        "probe_sync_threads_or" => {
            |a| Expected::bits(|_| u32::from(a[..N].iter().any(|word| word & 1 == 1)))
        }
        "probe_sync_threads_count" => {
            |a| Expected::bits(|_| a[..N].iter().map(|word| word & 1).sum())
        }
        "probe_arrive_named" => |a| Expected::bits(|i| if i < 32 { 0 } else { a[i - 32] }),
        "probe_barrier_between_branches" => {
            |a| Expected::bits(|i| if a[i] < 100 { 2 * a[i] } else { 7 })
        }
        "probe_fences" => |a| Expected::first(a[..4 * N].iter().copied()),
        "probe_lane_id" => |_| Expected::bits(|i| i as u32 % 32),
        "probe_warp_id" => |_| Expected::bits(|i| i as u32 / 32),
        "probe_activemask" => |_| Expected::bits(|_| u32::MAX),
        "probe_sync_warp" => {
            |a| Expected::first((0..2 * N).map(|i| if i < N { a[i] } else { a[(i - N) ^ 1] }))
        }
        "probe_shuffle" => |a| Expected::bits(|i| of_lane(a, i, (a[i] >> 3) as usize % 32)),
        "probe_shuffle_up" => |a| Expected::bits(|i| if i % 32 < 3 { a[i] } else { a[i - 3] }),
        "probe_shuffle_down" => |a| Expected::bits(|i| if i % 32 > 26 { a[i] } else { a[i + 5] }),
        "probe_shuffle_xor" => |a| Expected::bits(|i| a[i ^ 21]),
        "probe_shuffle_xor_u64" => {
            |a| Expected::first((0..2 * N).map(|i| a[i / N * N + ((i % N) ^ 9)]))
        }
        "probe_shuffle_in" => |a| Expected::bits(|i| a[i / 8 * 8 + 2]),
        "probe_shuffle_up_in" => |a| Expected::bits(|i| if i % 8 < 3 { a[i] } else { a[i - 3] }),
        "probe_shuffle_down_in" => {
            |a| Expected::bits(|i| if i % 16 > 12 { a[i] } else { a[i + 3] })
        }
        "probe_vote_all" => |a| {
            Expected::bits(|i| u32::from(warp(a, i, |w| w & 1 == 1, |x, y| x && y) == Some(true)))
        },
        "probe_vote_any" => |a| {
            Expected::bits(|i| u32::from(warp(a, i, |w| w & 1 == 1, |x, y| x || y) == Some(true)))
        },
        "probe_ballot" => {
            |a| Expected::bits(|i| (0..32).map(|l| (of_lane(a, i, l) & 1) << l).sum())
        }
        "probe_match_any" => |a| {
            Expected::bits(|i| {
                (0..32)
                    .filter(|l| of_lane(a, i, *l) % 5 == a[i] % 5)
                    .map(|l| 1 << l)
                    .sum()
            })
        },
        "probe_redux_add" => {
            |a| Expected::bits(|i| warp(a, i, |w| w, u32::wrapping_add).unwrap_or(UNTOUCHED))
        }
        "probe_redux_min_u32" => {
            |a| Expected::bits(|i| warp(a, i, |w| w, u32::min).unwrap_or(UNTOUCHED))
        }
        "probe_redux_max_u32" => {
            |a| Expected::bits(|i| warp(a, i, |w| w, u32::max).unwrap_or(UNTOUCHED))
        }
        "probe_redux_min_i32" => {
            |a| Expected::bits(|i| warp(a, i, signed, i32::min).unwrap_or_default() as u32)
        }
        "probe_redux_max_i32" => {
            |a| Expected::bits(|i| warp(a, i, signed, i32::max).unwrap_or_default() as u32)
        }
        "probe_redux_and" => {
            |a| Expected::bits(|i| warp(a, i, |w| w, |x, y| x & y).unwrap_or(UNTOUCHED))
        }
        "probe_redux_or" => {
            |a| Expected::bits(|i| warp(a, i, |w| w, |x, y| x | y).unwrap_or(UNTOUCHED))
        }
        "probe_redux_xor" => {
            |a| Expected::bits(|i| warp(a, i, |w| w, |x, y| x ^ y).unwrap_or(UNTOUCHED))
        }
        _ => return None,
    };
    Some(Model {
        input: Input::Bits,
        expected,
    })
}

/// Eight places that begin as the first values; thread `i` brings value `i + 8` to place `i % 8`.
fn places<T: Copy>(values: &[T], apply: impl Fn(T, T) -> T) -> Vec<T> {
    let mut places = values[..8].to_vec();
    for i in 0..N {
        places[i % 8] = apply(places[i % 8], values[i + 8]);
    }
    places
}

fn words_of(pairs: &[u64]) -> impl Iterator<Item = u32> {
    pairs
        .iter()
        .flat_map(|pair| [*pair as u32, (*pair >> 32) as u32])
}

fn pairs(a: &[u32]) -> Vec<u64> {
    a.chunks_exact(2)
        .map(|pair| u64::from(pair[1]) << 32 | u64::from(pair[0]))
        .collect()
}

fn i32s(a: &[u32]) -> Vec<i32> {
    a.iter().map(|word| *word as i32).collect()
}

fn f32s(a: &[u32]) -> Vec<f32> {
    a.iter().map(|word| f32::from_bits(*word)).collect()
}

fn on_u32(a: &[u32], apply: impl Fn(u32, u32) -> u32) -> Expected {
    Expected::first(places(a, apply))
}

fn on_i32(a: &[u32], apply: impl Fn(i32, i32) -> i32) -> Expected {
    Expected::first(
        places(&i32s(a), apply)
            .into_iter()
            .map(|value| value as u32),
    )
}

fn on_u64(a: &[u32], apply: impl Fn(u64, u64) -> u64) -> Expected {
    Expected::first(words_of(&places(&pairs(a), apply)))
}

fn on_f32(a: &[u32], apply: impl Fn(f32, f32) -> f32) -> Expected {
    Expected::first(places(&f32s(a), apply).into_iter().map(f32::to_bits))
}

/// The eight places after each was given value `8 + place` by all its threads.
fn exchanged(a: &[u32], words: usize) -> Expected {
    Expected::first(a[8 * words..16 * words].iter().copied())
}

/// Each place was added to eight times, in any order.
fn atomic(rest: &str) -> Option<Model> {
    let rest = rest.replace("_shared", "");
    // Sums of f32 are exact for small integers only, whose order then does not matter.
    let input = match rest.as_str() {
        "add_f32" | "cas_f32" => Input::SmallIntegers,
        "max_f32" | "min_f32" => Input::Scores,
        _ => Input::Bits,
    };
    let expected: fn(&[u32]) -> Expected = match rest.as_str() {
        "add_u32" => |a| on_u32(a, u32::wrapping_add),
        "max_u32" => |a| on_u32(a, u32::max),
        "min_u32" => |a| on_u32(a, u32::min),
        "cas_u32" => |a| on_u32(a, |place, _| place.wrapping_add(3)),
        "add_i32" => |a| on_i32(a, i32::wrapping_add),
        "max_i32" => |a| on_i32(a, i32::max),
        "min_i32" => |a| on_i32(a, i32::min),
        "cas_i32" => |a| on_i32(a, |place, _| place.wrapping_add(3)),
        "add_u64" => |a| on_u64(a, u64::wrapping_add),
        "max_u64" => |a| on_u64(a, u64::max),
        "min_u64" => |a| on_u64(a, u64::min),
        "cas_u64" => |a| on_u64(a, |place, _| place.wrapping_add(3)),
        "add_f32" => |a| on_f32(a, |place, value| place + value),
        "max_f32" => |a| on_f32(a, f32::max),
        "min_f32" => |a| on_f32(a, f32::min),
        "cas_f32" => |a| on_f32(a, |place, _| place + 1.0),
        "exchange_u32" | "exchange_i32" | "exchange_f32" => |a| exchanged(a, 1),
        "exchange_u64" => |a| exchanged(a, 2),
        _ => return None,
    };
    Some(Model { input, expected })
}
