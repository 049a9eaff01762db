//! Rung 1: f32, one score a lane.

use super::{PLAIN_KEYS, PLAIN_ROWS, PLAIN_WARPS};
use crate::attention::{GREATEST_HEAD_SIZE, Sequence, Softcap, Span, fill_f32, fresh, rolled};
use crate::device::float::{LN_2, exp_approx, fma, lg2_approx, rcp_approx};
use crate::device::reduce::{self, Max, Sum};
use crate::device::shared::dynamic;
use crate::device::{thread, warp};

/// Rows of one warp.
const ROWS: usize = (PLAIN_ROWS / PLAIN_WARPS) as usize;

/// Groups of 32 columns, one a lane, of the greatest head size.
const GROUPS: usize = (GREATEST_HEAD_SIZE / 32) as usize;

/// Rung 1. D is a multiple of 32 up to 256. Grid: ⌈Nq·group / 16⌉ × Hkv × sequences blocks of 128.
///
/// # Safety
/// The tensors have the shapes of the family's page, all positions within 2²⁹.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn flash_forward_f32(
    q: *const f32,
    k: *const f32,
    v: *const f32,
    o: *mut f32,
    lse: *mut f32,
    cu_queries: *const i32,
    cu_keys: *const i32,
    queries: u32,
    keys: u32,
    group: u32,
    left: i32,
    right: i32,
    scale: f32,
    cap: f32,
    d: u32,
) {
    let (lane, warp) = (warp::lane_id(), warp::warp_id());
    // SAFETY: the caller's promise.
    let sequence =
        unsafe { Sequence::here([cu_queries, cu_keys], [queries, keys], group, [left, right]) };
    let rows = sequence.rows();
    let row0 = thread::block_idx_x() * PLAIN_ROWS;
    if row0 >= rows {
        return;
    }

    let softcap = Softcap::new(cap);
    let pitch = d + 4;
    let q_tile = dynamic::<f32>(0);
    let k_tile = q_tile.from(PLAIN_ROWS * d);
    let v_tile = k_tile.from(PLAIN_KEYS * pitch);
    // SAFETY: rows of q within its shape; the tile lies in what the launch gives.
    unsafe {
        fill_f32(q_tile, PLAIN_ROWS, d, d, |row| {
            (row0 + row < rows).then(|| q.add(sequence.query_row(row0 + row) * d as usize))
        });
    }

    // The warp's rows, and the keys that each sees.
    let first_row = row0 + warp * ROWS as u32;
    let mut seen = [Span::EMPTY; ROWS];
    for r in 0..ROWS {
        seen[r] = sequence.keys_of(first_row + r as u32);
    }
    let (visited, _) = sequence.keys_of_tile(row0, (row0 + PLAIN_ROWS).min(rows) - 1);

    let mut m = [f32::NEG_INFINITY; ROWS];
    let mut l = [0.0_f32; ROWS];
    // Lane's columns: lane + 32·c, those below D.
    let mut sums = [[0.0_f32; GROUPS]; ROWS];

    let mut key0 = visited.first;
    while key0 < visited.end {
        thread::sync_threads();
        let source = |from: *const f32| {
            move |row: u32| {
                let key = key0 + row;
                // SAFETY: key < Nk.
                (key < visited.end).then(|| unsafe { from.add(sequence.key_row(key) * d as usize) })
            }
        };
        // SAFETY: rows of k and v within their shapes; the tiles lie in what the launch gives.
        unsafe {
            fill_f32(k_tile, PLAIN_KEYS, d, pitch, source(k));
            fill_f32(v_tile, PLAIN_KEYS, d, pitch, source(v));
        }
        thread::sync_threads();

        // s = scale·q·k: a key a lane.
        let mut s = [0.0_f32; ROWS];
        for quad in rolled(d / 4) {
            // SAFETY: filled before the barrier.
            let key = unsafe { k_tile.load4(lane * pitch + 4 * quad) };
            for r in 0..ROWS {
                let row = warp * ROWS as u32 + r as u32;
                // SAFETY: filled before the barrier.
                let query = unsafe { q_tile.load4(row * d + 4 * quad) };
                for at in 0..4 {
                    s[r] = fma(query[at], key[at], s[r]);
                }
            }
        }

        // m' = max(m, s);  p = exp(s − m');  l and o times exp(m − m').
        let mut p = [0.0_f32; ROWS];
        for r in 0..ROWS {
            let mut score = softcap.of(scale * s[r]);
            if !seen[r].contains(key0 + lane) {
                score = f32::NEG_INFINITY;
            }
            let greatest = m[r].max(reduce::warp(Max(score)).0);
            // A row that has seen nothing yet: −inf − 0 and not −inf − (−inf).
            let base = if greatest == f32::NEG_INFINITY {
                0.0
            } else {
                greatest
            };
            p[r] = exp_approx(score - base);
            let correction = exp_approx(m[r] - base);
            l[r] = fma(l[r], correction, reduce::warp(Sum(p[r])).0);
            for c in 0..GROUPS {
                sums[r][c] *= correction;
            }
            m[r] = greatest;
        }

        // o += p·v: some columns a lane.
        for j in rolled(PLAIN_KEYS) {
            // Kept, the answers to which columns there are would be more than there are predicates.
            let d = fresh(d);
            let mut weight = [0.0_f32; ROWS];
            let mut sees = [false; ROWS];
            for r in 0..ROWS {
                weight[r] = warp::shuffle(warp::FULL, p[r], j);
                sees[r] = seen[r].contains(key0 + j);
            }
            for c in 0..GROUPS {
                if 32 * (c as u32) < d {
                    // SAFETY: filled before the barrier.
                    let value = unsafe { v_tile.load(j * pitch + lane + 32 * c as u32) };
                    for r in 0..ROWS {
                        // 0·NaN is NaN: what is not seen is not added.
                        let sum = fma(weight[r], value, sums[r][c]);
                        sums[r][c] = if sees[r] { sum } else { sums[r][c] };
                    }
                }
            }
        }
        key0 += PLAIN_KEYS;
    }

    // As above: what was asked before the walk is not kept through it.
    let (rows, d) = (fresh(rows), fresh(d));
    for r in 0..ROWS {
        let row = first_row + r as u32;
        if row < rows {
            let at = sequence.query_row(row);
            let inverse = if l[r] == 0.0 { 0.0 } else { rcp_approx(l[r]) };
            for c in 0..GROUPS {
                if 32 * (c as u32) < d {
                    let value = sums[r][c] * inverse;
                    // SAFETY: a row of o; the column is this lane's.
                    unsafe { *o.add(at * d as usize + lane as usize + 32 * c) = value }
                }
            }
            if lane == 0 {
                // SAFETY: a row of lse.
                unsafe { *lse.add(at) = m[r] + lg2_approx(l[r]) * LN_2 }
            }
        }
    }
}
