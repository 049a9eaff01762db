//! Rung 2, dq: a block owns query rows and walks the keys that they see.

use super::call::Call;
use crate::attention::{Half, Lane, Sums, Tile, fragment, fresh, rolled};
use crate::device::{copy, thread, warp};

/// dq: the block owns 16·WARPS packed rows of q and do, and walks k and v, 16·N16 keys a step.
#[inline(always)]
pub(super) unsafe fn query_pass<
    E: Half,
    const D16: usize,
    const N16: usize,
    const PITCH: u32,
    const WARPS: u32,
    const ROWS16: usize,
>(
    call: Call<E>,
    dq: *mut E,
) {
    let d = 16 * D16;
    let step = 16 * N16 as u32;
    let (lane, warp) = (Lane::here(), warp::warp_id());
    let sequence = call.sequence;
    let rows = sequence.rows();
    // Under a causal mask the last tiles have the most to do: they go first.
    let row0 = (thread::grid_dim_x() - 1 - thread::block_idx_x()) * 16 * WARPS;
    if row0 >= rows {
        return;
    }
    let last = (row0 + 16 * WARPS).min(rows) - 1;
    let (visited, unmasked) = sequence.keys_of_tile(row0, last);
    let met = sequence.keys_of_sixteen(row0 + 16 * warp);
    let own_row = row0 + 16 * warp + lane.g;
    let own_row = [own_row, own_row + 8];
    // SAFETY: rows of q or past them.
    let saved = own_row.map(|row| unsafe { call.saved(row) });

    let q_tile = Tile::<E, D16, ROWS16, PITCH, WARPS>::at(0);
    let own_bytes = Tile::<E, D16, ROWS16, PITCH, WARPS>::BYTES;
    let do_tile = q_tile.further(own_bytes);
    let k_tile = Tile::<E, D16, N16, PITCH, WARPS>::at(2 * own_bytes);
    let step_bytes = Tile::<E, D16, N16, PITCH, WARPS>::BYTES;
    let v_tile = k_tile.further(2 * step_bytes);
    let begin = |stage: u32, key0: u32| {
        let offset = stage * step_bytes;
        let source = |row: u32| {
            let at = sequence.key_row((key0 + row).min(visited.end - 1)) * d;
            // SAFETY: key < Nk.
            (
                unsafe { [call.k.add(at), call.v.add(at)] },
                key0 + row < visited.end,
            )
        };
        // SAFETY: rows within their shapes; the stage was read before the last barrier.
        unsafe { Tile::fill_alike([k_tile.further(offset), v_tile.further(offset)], source) }
    };
    // SAFETY: rows within their shapes.
    unsafe {
        Tile::fill_alike([q_tile, do_tile], |row| {
            let at = sequence.query_row((row0 + row).min(last)) * d;
            ([call.q.add(at), call.d_o.add(at)], row0 + row <= last)
        });
    }
    if visited.first < visited.end {
        begin(0, visited.first);
    }
    copy::wait_all();
    thread::sync_threads();

    let mut sums: Sums<D16> = [[[0.0; 4]; 2]; D16];
    let mut stage = 0;
    let mut key0 = visited.first;
    while key0 < visited.end {
        let (k_tile, v_tile) = (
            k_tile.further(stage * step_bytes),
            v_tile.further(stage * step_bytes),
        );
        let edge = !unmasked.contains_all(key0, step);
        copy::wait_all();
        let odd = thread::sync_threads_or(edge && k_tile.any_odd());
        if key0 + step < visited.end {
            begin(stage ^ 1, key0 + step);
        }

        // At an edge of the band some warps have nothing to do with a step.
        let meets = met.contains_any(key0, step);
        // s = q·kᵀ, dP = do·vᵀ
        let mut s: Sums<N16> = [[[0.0; 4]; 2]; N16];
        let mut dp: Sums<N16> = [[[0.0; 4]; 2]; N16];
        if meets {
            for c in rolled(D16 as u32) {
                // SAFETY: all have come.
                let (q, d_o) = unsafe { (q_tile.left(lane, warp, c), do_tile.left(lane, warp, c)) };
                for n in 0..N16 {
                    // SAFETY: as above.
                    let (k, v) = unsafe {
                        (
                            k_tile.right_transposed(lane, n as u32, c),
                            v_tile.right_transposed(lane, n as u32, c),
                        )
                    };
                    for half in 0..2 {
                        s[n][half] = E::mma(q, k[half], s[n][half]);
                        dp[n][half] = E::mma(d_o, v[half], dp[n][half]);
                    }
                }
            }
            call.weights(&mut s, &mut dp, |_, r| saved[r]);
            if edge {
                // Found at edges only: through the walk it would take registers.
                let seen = own_row.map(|row| sequence.keys_of(fresh(row)));
                for n in 0..2 * N16 {
                    for at in 0..4 {
                        let column = 8 * n as u32 + 2 * lane.t + at as u32 % 2;
                        if !seen[at / 2].contains(key0 + column) {
                            dp[n / 2][n % 2][at] = 0.0;
                        }
                    }
                }
            }
        }
        if odd {
            // For who sees such a k, dX is NaN: it need not be added.
            // Not before every warp has made its scores.
            thread::sync_threads();
            k_tile.remove_odd();
            thread::sync_threads();
        }
        if meets {
            // dq += dX·k
            for n in 0..N16 {
                let left = fragment::<E>(&dp[n]);
                for c in 0..D16 {
                    // SAFETY: k has come.
                    let right = unsafe { k_tile.right(lane, n as u32, c as u32) };
                    sums[c][0] = E::mma(left, right[0], sums[c][0]);
                    sums[c][1] = E::mma(left, right[1], sums[c][1]);
                }
            }
        }
        stage ^= 1;
        key0 += step;
    }
    // SAFETY: the warp's own rows of the tile; rows of dq.
    unsafe {
        let to = |row| (row0 + row <= last).then(|| dq.add(sequence.query_row(row0 + row) * d));
        q_tile.store_rows(lane, warp, 0, &sums, [call.scale; 2], to, |_, _, made| made);
    }
}
