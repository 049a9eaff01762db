//! Rung 2, dk and dv: a block owns keys and walks the query rows that see them. On request it adds
//! its part of dq too.

use super::call::Call;
use super::unordered::Share;
use crate::attention::{Half, Lane, Sums, Tile, add_removed, fragment, fresh, rolled};
use crate::device::shared::{Shared, dynamic};
use crate::device::{copy, thread, warp};

/// What the rows of a step of q bring besides their vectors, in shared memory.
#[derive(Clone, Copy)]
struct Others {
    /// Pairs of lse in base 2 and D.
    saved: Shared<f32>,
    /// The query of each row.
    query: Shared<u32>,
}

impl Others {
    const WORDS: u32 = 3;

    #[inline(always)]
    fn at(offset: u32, rows: u32) -> Others {
        let saved = dynamic::<f32>(offset);
        Others {
            saved,
            query: saved.from(2 * rows).cast(),
        }
    }
}

/// dk and dv: the block owns 16·WARPS keys, and 16·C16 of D's columns (all, or a part), and walks
/// the packed rows of q and do, 16·N16 a step. Scores stand transposed: keys by queries.
///
/// With `ADDS` dX goes through shared memory too, and the block adds `dX·k` of each step to
/// `dq_sums`, `[rows of q, D]`.
#[inline(always)]
pub(super) unsafe fn key_pass<
    E: Half,
    const D16: usize,
    const C16: usize,
    const N16: usize,
    const PITCH: u32,
    const WARPS: u32,
    const ROWS16: usize,
    const ADDS: bool,
>(
    call: Call<E>,
    dk: *mut E,
    dv: *mut E,
    dq_sums: *mut f32,
) {
    let d = 16 * D16;
    let step = 16 * N16 as u32;
    let parts = (D16 / C16) as u32;
    let (lane, warp) = (Lane::here(), warp::warp_id());
    let (sequence, keys) = (call.sequence, call.sequence.band.keys);
    let part16 = thread::block_idx_x() % parts * C16 as u32;
    let key0 = thread::block_idx_x() / parts * 16 * WARPS;
    if key0 >= keys {
        return;
    }
    let last = (key0 + 16 * WARPS).min(keys) - 1;
    let (visited, unmasked) = sequence.rows_of_tile(key0, last);
    let met = sequence.rows_of_sixteen(key0 + 16 * warp);
    let own_key = key0 + 16 * warp + lane.g;

    let k_tile = Tile::<E, D16, ROWS16, PITCH, WARPS>::at(0);
    let own_bytes = Tile::<E, D16, ROWS16, PITCH, WARPS>::BYTES;
    let v_tile = k_tile.further(own_bytes);
    let q_tile = Tile::<E, D16, N16, PITCH, WARPS>::at(2 * own_bytes);
    let step_bytes = Tile::<E, D16, N16, PITCH, WARPS>::BYTES;
    let do_tile = q_tile.further(2 * step_bytes);
    let share = Share::<E, D16, N16, ROWS16, PITCH, WARPS>::at(2 * own_bytes + 4 * step_bytes);
    let share_bytes = if ADDS { share.bytes() } else { 0 };
    let others = |stage: u32| {
        let before = 2 * own_bytes + 4 * step_bytes + share_bytes;
        Others::at(before + stage * step * 4 * Others::WORDS, step)
    };
    let begin = |stage: u32, row0: u32| {
        let offset = stage * step_bytes;
        let source = |row: u32| {
            let at = sequence.query_row((row0 + row).min(visited.end - 1)) * d;
            // SAFETY: the row exists.
            (
                unsafe { [call.q.add(at), call.d_o.add(at)] },
                row0 + row < visited.end,
            )
        };
        // SAFETY: rows within their shapes; the stage was read before the last barrier.
        unsafe { Tile::fill_alike([q_tile.further(offset), do_tile.further(offset)], source) }
        let thread = thread::thread_idx_x();
        if thread < step {
            let row = row0 + thread;
            let others = others(stage);
            // SAFETY: rows of q or past them; this thread's places; the stage was read before the
            // last barrier.
            unsafe {
                let saved = call.saved(row);
                // Both in one store: apart they would be two to a bank.
                let pair = u64::from(saved.0.to_bits()) | u64::from(saved.1.to_bits()) << 32;
                others.saved.cast::<u64>().store(thread, pair);
                others.query.store(thread, row / sequence.group);
            }
        }
    };
    // SAFETY: rows within their shapes.
    unsafe {
        Tile::fill_alike([k_tile, v_tile], |row| {
            let at = sequence.key_row((key0 + row).min(last)) * d;
            ([call.k.add(at), call.v.add(at)], key0 + row <= last)
        });
    }
    if visited.first < visited.end {
        begin(0, visited.first);
    }
    copy::wait_all();
    let mut odd_keys = false;
    if ADDS {
        odd_keys = thread::sync_threads_or(k_tile.any_odd());
    } else {
        thread::sync_threads();
    }

    let mut dk_sums: Sums<C16> = [[[0.0; 4]; 2]; C16];
    let mut dv_sums: Sums<C16> = [[[0.0; 4]; 2]; C16];
    let mut removed = false;
    let mut stage = 0;
    let mut row0 = visited.first;
    while row0 < visited.end {
        let (q_tile, do_tile) = (
            q_tile.further(stage * step_bytes),
            do_tile.further(stage * step_bytes),
        );
        let others = others(stage);
        let edge = !unmasked.contains_all(row0, step);
        copy::wait_all();
        let odd = thread::sync_threads_or(edge && (q_tile.any_odd() || do_tile.any_odd()));
        if row0 + step < visited.end {
            begin(stage ^ 1, row0 + step);
        }

        // At an edge of the band some warps have nothing to do with a step.
        let meets = met.contains_any(row0, step);
        // sᵀ = k·qᵀ, dPᵀ = v·doᵀ
        let mut s: Sums<N16> = [[[0.0; 4]; 2]; N16];
        let mut dp: Sums<N16> = [[[0.0; 4]; 2]; N16];
        if meets {
            for c in rolled(D16 as u32) {
                // SAFETY: all have come.
                let (k, v) = unsafe { (k_tile.left(lane, warp, c), v_tile.left(lane, warp, c)) };
                for n in 0..N16 {
                    // SAFETY: as above.
                    let (q, d_o) = unsafe {
                        (
                            q_tile.right_transposed(lane, n as u32, c),
                            do_tile.right_transposed(lane, n as u32, c),
                        )
                    };
                    for half in 0..2 {
                        s[n][half] = E::mma(k, q[half], s[n][half]);
                        dp[n][half] = E::mma(v, d_o[half], dp[n][half]);
                    }
                }
            }
            // lse and D of a lane's two columns of each eight.
            let mut saved = [[[0.0; 4]; 2]; N16];
            for n in 0..2 * N16 {
                // SAFETY: written before the barrier; 16 bytes a pair of columns.
                saved[n / 2][n % 2] =
                    unsafe { others.saved.load4(2 * (8 * n as u32 + 2 * lane.t)) };
            }
            call.weights(&mut s, &mut dp, |column, _| {
                let (saved, at) = (saved[column / 4][column / 2 % 2], 2 * (column % 2));
                (saved[at], saved[at + 1])
            });
            if edge {
                // Found at edges only: through the walk it would take registers.
                let seen = [own_key, own_key + 8].map(|key| sequence.queries_of(fresh(key)));
                for column in 0..4 * N16 {
                    let n = column / 2;
                    let at = 8 * n as u32 + 2 * lane.t + column as u32 % 2;
                    // SAFETY: written before the barrier.
                    let query = unsafe { others.query.load(at) };
                    for r in 0..2 {
                        if !seen[r].contains(query) {
                            s[n / 2][n % 2][2 * r + column % 2] = 0.0;
                            dp[n / 2][n % 2][2 * r + column % 2] = 0.0;
                        }
                    }
                }
            }
        }
        if odd {
            // For who is seen by such a q, dX is NaN: only do need be added.
            removed = true;
            // Not before every warp has made its scores.
            thread::sync_threads();
            q_tile.remove_odd();
            do_tile.remove_odd();
            thread::sync_threads();
        }
        if meets {
            // dv += Pᵀ·do, dk += dXᵀ·q
            for n in 0..N16 {
                let (p, dx) = (fragment::<E>(&s[n]), fragment::<E>(&dp[n]));
                for c in 0..C16 {
                    let column = part16 + c as u32;
                    // SAFETY: both have come.
                    let (d_o, q) = unsafe {
                        (
                            do_tile.right(lane, n as u32, column),
                            q_tile.right(lane, n as u32, column),
                        )
                    };
                    for half in 0..2 {
                        dv_sums[c][half] = E::mma(p, d_o[half], dv_sums[c][half]);
                        dk_sums[c][half] = E::mma(dx, q[half], dk_sums[c][half]);
                    }
                }
            }
        }
        if ADDS {
            // What is not a key may still have made a weight: its k, 0, times that need not be 0.
            for r in 0..2 {
                if own_key + 8 * r > last {
                    for n in 0..2 * N16 {
                        let at = 2 * r as usize;
                        dp[n / 2][n % 2][at] = 0.0;
                        dp[n / 2][n % 2][at + 1] = 0.0;
                    }
                }
            }
            // SAFETY: the step before is done with: every warp has passed the barrier since.
            unsafe { share.put(lane, warp, &dp) };
            thread::sync_threads();
            let to = |row: u32| {
                let row = row0 + row;
                // SAFETY: a row of q.
                (row < visited.end).then(|| unsafe { dq_sums.add(sequence.query_row(row) * d) })
            };
            // SAFETY: every warp's part and k have come; rows of the sums.
            unsafe { share.add(lane, warp, k_tile, odd_keys, to) };
        }
        stage ^= 1;
        row0 += step;
    }
    if ADDS {
        // Every warp reads all of k for its part of dq.
        thread::sync_threads();
    }
    // SAFETY: the warp's own rows of the tiles; rows of dk, dv and do.
    unsafe {
        let to = |from: *mut E| {
            move |row| (key0 + row <= last).then(|| from.add(sequence.key_row(key0 + row) * d))
        };
        let factors = [call.scale; 2];
        k_tile.store_rows(
            lane,
            warp,
            part16,
            &dk_sums,
            factors,
            to(dk),
            |_, _, made| made,
        );
        v_tile.store_rows(
            lane,
            warp,
            part16,
            &dv_sums,
            [1.0; 2],
            to(dv),
            |row, chunk, made| {
                if !removed {
                    return made;
                }
                let seen = sequence.queries_of(key0 + row);
                add_removed(made, visited, unmasked, step, |row| {
                    let at = sequence.query_row(row) * d + 8 * chunk as usize;
                    seen.contains(row / sequence.group)
                        .then(|| call.d_o.add(at))
                })
            },
        );
    }
}
