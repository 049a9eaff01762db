//! Rung 2: f16 and bf16 on the tensor cores.

use crate::attention::{Band, Half, Lane, Rows, Scoring, Span, Sums, Tile, fragment};
use crate::device::float::{LOG2_E, ex2_approx};
use crate::device::half::{Bf16, F16};
use crate::device::shared::{Shared, dynamic};
use crate::device::{copy, thread, warp};

/// The tensors and options of a call.
#[derive(Clone, Copy)]
struct Call<E> {
    q: *const E,
    k: *const E,
    v: *const E,
    d_o: *const E,
    lse: *const f32,
    delta: *const f32,
    queries: Rows,
    keys: Rows,
    band: Band,
    kv_head: u32,
    group: u32,
    scoring: Scoring,
    scale: f32,
}

impl<E> Call<E> {
    /// The number of packed row `row`: query `row / group` of head `row % group`.
    #[inline(always)]
    fn query_row(&self, row: u32) -> usize {
        let head = self.kv_head * self.group + row % self.group;
        self.queries.at(head, row / self.group)
    }

    #[inline(always)]
    fn key_row(&self, key: u32) -> usize {
        self.keys.at(self.kv_head, key)
    }

    /// lse in base 2 and D of a row of q. A row with only scores of −inf has no weights: as if its
    /// normaliser were infinite.
    #[inline(always)]
    unsafe fn saved(&self, row: u32) -> (f32, f32) {
        let at = self.query_row(row);
        // SAFETY: the row is one of q's.
        let (lse, delta) = unsafe { (*self.lse.add(at), *self.delta.add(at)) };
        if lse == f32::NEG_INFINITY {
            return (f32::INFINITY, 0.0);
        }
        (lse * LOG2_E, delta)
    }

    /// From a score in base 2 and dP to P and dX.
    #[inline(always)]
    fn pair(&self, score: f32, dp: f32, saved: (f32, f32)) -> (f32, f32) {
        let p = ex2_approx(score - saved.0);
        (p, p * (dp - saved.1) * self.scoring.slope(score))
    }
}

/// dq: the block owns 16·WARPS packed rows of q and do, and walks k and v, 16·N16 keys a step.
#[inline(always)]
unsafe fn query_pass<
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
    let (band, group) = (call.band, call.group);
    let rows = band.queries * group;
    let row0 = (thread::grid_dim_x() - 1 - thread::block_idx_x()) * 16 * WARPS;
    if row0 >= rows {
        return;
    }
    let last = (row0 + 16 * WARPS).min(rows) - 1;
    let visited = band.keys_of_any(row0 / group, last / group);
    let unmasked = band.keys_of_all(row0 / group, last / group);
    let own_row = row0 + 16 * warp + lane.g;
    let mut seen = [Span::EMPTY; 2];
    let mut saved = [(f32::INFINITY, 0.0); 2];
    for r in 0..2 {
        let row = own_row + 8 * r as u32;
        if row < rows {
            seen[r] = band.keys_of(row / group);
            // SAFETY: a row of q.
            saved[r] = unsafe { call.saved(row) };
        }
    }

    let q_tile = Tile::<E, D16, ROWS16, PITCH, WARPS>::at(0);
    let own_bytes = Tile::<E, D16, ROWS16, PITCH, WARPS>::BYTES;
    let do_tile = q_tile.further(own_bytes);
    let k_tile = Tile::<E, D16, N16, PITCH, WARPS>::at(2 * own_bytes);
    let step_bytes = Tile::<E, D16, N16, PITCH, WARPS>::BYTES;
    let v_tile = k_tile.further(2 * step_bytes);
    let begin = |stage: u32, key0: u32| {
        let source = |from: *const E| {
            move |row: u32| {
                let key = (key0 + row).min(visited.end - 1);
                // SAFETY: key < Nk.
                let at = unsafe { from.add(call.key_row(key) * d) };
                (at, key0 + row < visited.end)
            }
        };
        // SAFETY: rows within their shapes; the stage was read before the last barrier.
        unsafe {
            k_tile.further(stage * step_bytes).fill(source(call.k));
            v_tile.further(stage * step_bytes).fill(source(call.v));
        }
    };
    let own = |from: *const E| {
        move |row: u32| {
            let at = call.query_row((row0 + row).min(last));
            // SAFETY: the row exists.
            (unsafe { from.add(at * d) }, row0 + row <= last)
        }
    };
    // SAFETY: rows within their shapes.
    unsafe {
        q_tile.fill(own(call.q));
        do_tile.fill(own(call.d_o));
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

        // s = q·kᵀ, dP = do·vᵀ
        let mut s: Sums<N16> = [[[0.0; 4]; 2]; N16];
        let mut dp: Sums<N16> = [[[0.0; 4]; 2]; N16];
        for c in 0..D16 as u32 {
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
        call.scoring.scores(&mut s);
        for n in 0..2 * N16 {
            for at in 0..4 {
                let (score, dp) = (s[n / 2][n % 2][at], dp[n / 2][n % 2][at]);
                let (_, mut dx) = call.pair(score, dp, saved[at / 2]);
                let column = 8 * n as u32 + 2 * lane.t + at as u32 % 2;
                if edge && !seen[at / 2].contains(key0 + column) {
                    dx = 0.0;
                }
                s[n / 2][n % 2][at] = dx;
            }
        }

        if odd {
            // SAFETY: k has come; nobody reads it between the barriers.
            unsafe { k_tile.add_odd(lane, 0, key0, |row| row, seen, &mut sums) };
            thread::sync_threads();
            k_tile.remove_odd();
            thread::sync_threads();
        }
        // dq += dX·k
        for n in 0..N16 {
            let left = fragment::<E>(&s[n]);
            for c in 0..D16 {
                // SAFETY: k has come.
                let right = unsafe { k_tile.right(lane, n as u32, c as u32) };
                sums[c][0] = E::mma(left, right[0], sums[c][0]);
                sums[c][1] = E::mma(left, right[1], sums[c][1]);
            }
        }
        stage ^= 1;
        key0 += step;
    }
    // SAFETY: the warp's own rows of the tile; rows of dq.
    unsafe {
        q_tile.store_rows(lane, warp, 0, &sums, [call.scale; 2], |row| {
            (row0 + row <= last).then(|| dq.add(call.query_row(row0 + row) * d))
        });
    }
}

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
#[inline(always)]
unsafe fn key_pass<
    E: Half,
    const D16: usize,
    const C16: usize,
    const N16: usize,
    const PITCH: u32,
    const WARPS: u32,
    const ROWS16: usize,
>(
    call: Call<E>,
    dk: *mut E,
    dv: *mut E,
) {
    let d = 16 * D16;
    let step = 16 * N16 as u32;
    let parts = (D16 / C16) as u32;
    let (lane, warp) = (Lane::here(), warp::warp_id());
    let (band, group) = (call.band, call.group);
    let part16 = thread::block_idx_x() % parts * C16 as u32;
    let key0 = thread::block_idx_x() / parts * 16 * WARPS;
    if key0 >= band.keys {
        return;
    }
    let last = (key0 + 16 * WARPS).min(band.keys) - 1;
    let by_rows = |queries: Span| Span {
        first: queries.first * group,
        end: queries.end * group,
    };
    let visited = by_rows(band.queries_of_any(key0, last));
    let unmasked = by_rows(band.queries_of_all(key0, last));
    let own_key = key0 + 16 * warp + lane.g;
    let mut seen = [Span::EMPTY; 2];
    for r in 0..2 {
        let key = own_key + 8 * r as u32;
        if key < band.keys {
            seen[r] = band.queries_of(key);
        }
    }

    let k_tile = Tile::<E, D16, ROWS16, PITCH, WARPS>::at(0);
    let own_bytes = Tile::<E, D16, ROWS16, PITCH, WARPS>::BYTES;
    let v_tile = k_tile.further(own_bytes);
    let q_tile = Tile::<E, D16, N16, PITCH, WARPS>::at(2 * own_bytes);
    let step_bytes = Tile::<E, D16, N16, PITCH, WARPS>::BYTES;
    let do_tile = q_tile.further(2 * step_bytes);
    let others = |stage: u32| {
        let offset = 2 * own_bytes + 4 * step_bytes + stage * step * 4 * Others::WORDS;
        Others::at(offset, step)
    };
    let begin = |stage: u32, row0: u32| {
        let source = |from: *const E| {
            move |row: u32| {
                let at = call.query_row((row0 + row).min(visited.end - 1));
                // SAFETY: the row exists.
                (unsafe { from.add(at * d) }, row0 + row < visited.end)
            }
        };
        // SAFETY: rows within their shapes; the stage was read before the last barrier.
        unsafe {
            q_tile.further(stage * step_bytes).fill(source(call.q));
            do_tile.further(stage * step_bytes).fill(source(call.d_o));
        }
        let thread = thread::thread_idx_x();
        if thread < step {
            let row = row0 + thread;
            let mut saved = (f32::INFINITY, 0.0);
            if row < visited.end {
                // SAFETY: a row of q.
                saved = unsafe { call.saved(row) };
            }
            let others = others(stage);
            // SAFETY: this thread's places; the stage was read before the last barrier.
            unsafe {
                others.saved.store(2 * thread, saved.0);
                others.saved.store(2 * thread + 1, saved.1);
                others.query.store(thread, row / group);
            }
        }
    };
    let own = |from: *const E| {
        move |row: u32| {
            let at = call.key_row((key0 + row).min(last));
            // SAFETY: the row exists.
            (unsafe { from.add(at * d) }, key0 + row <= last)
        }
    };
    // SAFETY: rows within their shapes.
    unsafe {
        k_tile.fill(own(call.k));
        v_tile.fill(own(call.v));
    }
    if visited.first < visited.end {
        begin(0, visited.first);
    }
    copy::wait_all();
    thread::sync_threads();

    let mut dk_sums: Sums<C16> = [[[0.0; 4]; 2]; C16];
    let mut dv_sums: Sums<C16> = [[[0.0; 4]; 2]; C16];
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

        // sᵀ = k·qᵀ, dPᵀ = v·doᵀ
        let mut s: Sums<N16> = [[[0.0; 4]; 2]; N16];
        let mut dp: Sums<N16> = [[[0.0; 4]; 2]; N16];
        for c in 0..D16 as u32 {
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
        call.scoring.scores(&mut s);
        for n in 0..2 * N16 {
            for column in 0..2 {
                let at = 8 * n as u32 + 2 * lane.t + column as u32;
                // SAFETY: written before the barrier.
                let (saved, query) = unsafe {
                    (
                        (others.saved.load(2 * at), others.saved.load(2 * at + 1)),
                        others.query.load(at),
                    )
                };
                for r in 0..2 {
                    let i = 2 * r + column;
                    let (score, dp_at) = (s[n / 2][n % 2][i], dp[n / 2][n % 2][i]);
                    let (mut p, mut dx) = call.pair(score, dp_at, saved);
                    if edge && !seen[r].contains(query) {
                        (p, dx) = (0.0, 0.0);
                    }
                    s[n / 2][n % 2][i] = p;
                    dp[n / 2][n % 2][i] = dx;
                }
            }
        }

        if odd {
            // The warp's rows count for what they see; rows past the end are zeros.
            let query = |row: u32| {
                // SAFETY: written before the barrier.
                unsafe { others.query.load(row - row0) }
            };
            // SAFETY: both have come; nobody reads them between the barriers.
            unsafe {
                q_tile.add_odd(lane, part16, row0, query, seen, &mut dk_sums);
                do_tile.add_odd(lane, part16, row0, query, seen, &mut dv_sums);
            }
            thread::sync_threads();
            q_tile.remove_odd();
            do_tile.remove_odd();
            thread::sync_threads();
        }
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
        stage ^= 1;
        row0 += step;
    }
    // SAFETY: the warp's own rows of the tiles; rows of dk and dv.
    unsafe {
        k_tile.store_rows(lane, warp, part16, &dk_sums, [call.scale; 2], |row| {
            (key0 + row <= last).then(|| dk.add(call.key_row(key0 + row) * d))
        });
        v_tile.store_rows(lane, warp, part16, &dv_sums, [1.0; 2], |row| {
            (key0 + row <= last).then(|| dv.add(call.key_row(key0 + row) * d))
        });
    }
}

/// Gathers what both passes are given.
#[inline(always)]
unsafe fn call<E>(
    tensors: [*const E; 4],
    saved: [*const f32; 2],
    starts: [*const i32; 2],
    lengths: [u32; 2],
    group: u32,
    band: [i32; 2],
    scoring: Scoring,
    scale: f32,
) -> Call<E> {
    let (kv_heads, sequence) = (thread::grid_dim_y(), thread::block_idx_z());
    // SAFETY: the caller's promise.
    let (queries, keys) = unsafe {
        (
            Rows::of(starts[0], sequence, kv_heads * group, lengths[0]),
            Rows::of(starts[1], sequence, kv_heads, lengths[1]),
        )
    };
    Call {
        q: tensors[0],
        k: tensors[1],
        v: tensors[2],
        d_o: tensors[3],
        lse: saved[0],
        delta: saved[1],
        queries,
        keys,
        band: Band {
            left: band[0],
            right: band[1],
            queries: queries.length,
            keys: keys.length,
        },
        kv_head: thread::block_idx_y(),
        group,
        scoring,
        scale,
    }
}

macro_rules! entries {
    ($($dq:ident, $dkdv:ident: $t:ty, $d16:literal, $c16:literal, $n16:literal, $pitch:literal;)*) => {$(
        /// Rung 2, dq. Grid: ⌈Nq·group / 64⌉ × Hkv × sequences blocks of 128.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $dq(
            q: *const $t, k: *const $t, v: *const $t, d_o: *const $t, lse: *const f32,
            delta: *const f32, dq: *mut $t, cu_queries: *const i32, cu_keys: *const i32,
            queries: u32, keys: u32, group: u32, left: i32, right: i32, factor: f32, cap: f32,
            scale: f32,
        ) {
            // SAFETY: the launch gives tensors of the shapes of the family's page.
            unsafe {
                let call = call([q, k, v, d_o], [lse, delta], [cu_queries, cu_keys],
                    [queries, keys], group, [left, right], Scoring { factor, cap }, scale);
                query_pass::<$t, $d16, $n16, $pitch, 4, 4>(call, dq);
            }
        }

        /// Rung 2, dk and dv. Grid: ⌈Nk / 64⌉ · parts × Hkv × sequences blocks of 128.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $dkdv(
            q: *const $t, k: *const $t, v: *const $t, d_o: *const $t, lse: *const f32,
            delta: *const f32, dk: *mut $t, dv: *mut $t, cu_queries: *const i32,
            cu_keys: *const i32, queries: u32, keys: u32, group: u32, left: i32, right: i32,
            factor: f32, cap: f32, scale: f32,
        ) {
            // SAFETY: the launch gives tensors of the shapes of the family's page.
            unsafe {
                let call = call([q, k, v, d_o], [lse, delta], [cu_queries, cu_keys],
                    [queries, keys], group, [left, right], Scoring { factor, cap }, scale);
                key_pass::<$t, $d16, $c16, $n16, $pitch, 4, 4>(call, dk, dv);
            }
        }
    )*};
}

entries! {
    flash_backward_dq_f16_32, flash_backward_dkdv_f16_32: F16, 2, 2, 2, 32;
    flash_backward_dq_f16_64, flash_backward_dkdv_f16_64: F16, 4, 4, 2, 64;
    flash_backward_dq_f16_96, flash_backward_dkdv_f16_96: F16, 6, 6, 2, 128;
    flash_backward_dq_f16_128, flash_backward_dkdv_f16_128: F16, 8, 8, 2, 128;
    flash_backward_dq_f16_256, flash_backward_dkdv_f16_256: F16, 16, 8, 1, 256;
    flash_backward_dq_bf16_32, flash_backward_dkdv_bf16_32: Bf16, 2, 2, 2, 32;
    flash_backward_dq_bf16_64, flash_backward_dkdv_bf16_64: Bf16, 4, 4, 2, 64;
    flash_backward_dq_bf16_96, flash_backward_dkdv_bf16_96: Bf16, 6, 6, 2, 128;
    flash_backward_dq_bf16_128, flash_backward_dkdv_bf16_128: Bf16, 8, 8, 2, 128;
    flash_backward_dq_bf16_256, flash_backward_dkdv_bf16_256: Bf16, 16, 8, 1, 256;
}
