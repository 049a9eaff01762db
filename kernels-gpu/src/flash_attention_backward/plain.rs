//! Rung 1: f32, one pair of query and key a lane.

use super::{PLAIN_OTHERS, PLAIN_ROWS, WARPS};
use crate::attention::{Band, Rows, Softcap, Span, fill_f32, opaque};
use crate::device::float::{exp_approx, fma};
use crate::device::shared::dynamic;
use crate::device::{thread, warp};

/// Rows of one warp.
const ROWS: usize = (PLAIN_ROWS / WARPS) as usize;

/// P and dX of a query and a key that it sees.
#[inline(always)]
fn pair(q_k: f32, do_v: f32, lse: f32, delta: f32, scale: f32, softcap: Softcap) -> (f32, f32) {
    let s = softcap.of(scale * q_k);
    let p = exp_approx(s - lse);
    (p, p * (do_v - delta) * softcap.slope(s))
}

/// What both passes are given.
struct Call {
    q: *const f32,
    k: *const f32,
    v: *const f32,
    d_o: *const f32,
    lse: *const f32,
    delta: *const f32,
    queries: Rows,
    keys: Rows,
    band: Band,
    kv_head: u32,
    group: u32,
    scale: f32,
    softcap: Softcap,
}

impl Call {
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

    /// lse and D of a row of q. A row with only scores of −inf has no weights: as if its normaliser
    /// were infinite.
    #[inline(always)]
    unsafe fn saved(&self, row: u32) -> (f32, f32) {
        let at = self.query_row(row);
        // SAFETY: the row is one of q's.
        let (lse, delta) = unsafe { (*self.lse.add(at), *self.delta.add(at)) };
        if lse == f32::NEG_INFINITY {
            (f32::INFINITY, 0.0)
        } else {
            (lse, delta)
        }
    }
}

/// One pass, D = 32·C. The block owns 16 rows: of q, or of k and v when `OWN_KEYS`; it walks the
/// *others*, 32 at a time, one a lane. `first` is the own vectors that make scores, `second` those
/// that make dP:
///
/// ```text
///            own          others
/// dq         q, do        k, v         dq += dX·k
/// dk, dv     k, v         q, do        dk += dX·q,  dv += P·do
/// ```
#[inline(always)]
unsafe fn pass<const C: usize, const OWN_KEYS: bool>(call: &Call, by_dx: *mut f32, by_p: *mut f32) {
    let d = 32 * C as u32;
    let (lane, warp) = (warp::lane_id(), warp::warp_id());
    let band = call.band;
    let rows_of_q = band.queries * call.group;
    let (own_count, group) = if OWN_KEYS {
        (band.keys, call.group)
    } else {
        (rows_of_q, call.group)
    };
    let row0 = thread::block_idx_x() * PLAIN_ROWS;
    if row0 >= own_count {
        return;
    }
    let last = (row0 + PLAIN_ROWS).min(own_count) - 1;
    let own_number = |row: u32| {
        if OWN_KEYS {
            call.key_row(row)
        } else {
            call.query_row(row)
        }
    };
    let other_number = |row: u32| {
        if OWN_KEYS {
            call.query_row(row)
        } else {
            call.key_row(row)
        }
    };
    let (own_first, own_second, other_first, other_second) = if OWN_KEYS {
        (call.k, call.v, call.q, call.d_o)
    } else {
        (call.q, call.d_o, call.k, call.v)
    };

    let pitch = d + 4;
    let own_first_tile = dynamic::<f32>(0);
    let own_second_tile = own_first_tile.from(PLAIN_ROWS * d);
    let first_tile = own_second_tile.from(PLAIN_ROWS * d);
    let second_tile = first_tile.from(PLAIN_OTHERS * pitch);
    let source = |from: *const f32| {
        move |row: u32| {
            // SAFETY: the row exists.
            (row0 + row <= last).then(|| unsafe { from.add(own_number(row0 + row) * d as usize) })
        }
    };
    // SAFETY: own rows within their shapes; the tiles lie in what the launch gives.
    unsafe {
        fill_f32(own_first_tile, PLAIN_ROWS, d, d, source(own_first));
        fill_f32(own_second_tile, PLAIN_ROWS, d, d, source(own_second));
    }

    // The warp's rows, what each sees or is seen by, and the rows of the others to walk.
    let first_row = row0 + warp * ROWS as u32;
    let mut seen = [Span::EMPTY; ROWS];
    let mut saved = [(0.0, 0.0); ROWS];
    for r in 0..ROWS {
        let row = first_row + r as u32;
        if row <= last {
            if OWN_KEYS {
                seen[r] = band.queries_of(row);
            } else {
                seen[r] = band.keys_of(row / group);
                // SAFETY: a row of q.
                saved[r] = unsafe { call.saved(row) };
            }
        }
    }
    let visited = if OWN_KEYS {
        let queries = band.queries_of_any(row0, last);
        Span {
            first: queries.first * group,
            end: queries.end * group,
        }
    } else {
        band.keys_of_any(row0 / group, last / group)
    };

    // Lane's columns: lane + 32·c.
    let mut dx_sums = [[0.0_f32; C]; ROWS];
    let mut p_sums = [[0.0_f32; C]; ROWS];
    let mut other0 = visited.first;
    while other0 < visited.end {
        thread::sync_threads();
        let source = |from: *const f32| {
            move |row: u32| {
                let other = other0 + row;
                // SAFETY: the row exists.
                (other < visited.end).then(|| unsafe { from.add(other_number(other) * d as usize) })
            }
        };
        // SAFETY: rows within their shapes; the tiles lie in what the launch gives.
        unsafe {
            fill_f32(first_tile, PLAIN_OTHERS, d, pitch, source(other_first));
            fill_f32(second_tile, PLAIN_OTHERS, d, pitch, source(other_second));
        }
        thread::sync_threads();

        // q·k and do·v: one of the others a lane.
        let mut q_k = [0.0_f32; ROWS];
        let mut do_v = [0.0_f32; ROWS];
        for quad in 0..opaque(d / 4) {
            let at = lane * pitch + 4 * quad;
            // SAFETY: filled before the barrier.
            let (first, second) = unsafe { (first_tile.load4(at), second_tile.load4(at)) };
            for r in 0..ROWS {
                let at = (warp * ROWS as u32 + r as u32) * d + 4 * quad;
                // SAFETY: filled before the barrier.
                let (own_first, own_second) =
                    unsafe { (own_first_tile.load4(at), own_second_tile.load4(at)) };
                for i in 0..4 {
                    q_k[r] = fma(own_first[i], first[i], q_k[r]);
                    do_v[r] = fma(own_second[i], second[i], do_v[r]);
                }
            }
        }

        // P and dX; which of the others count, a bit each.
        let other = other0 + lane;
        let exists = other < visited.end;
        let mut others_saved = (0.0, 0.0);
        if OWN_KEYS && exists {
            // SAFETY: a row of q.
            others_saved = unsafe { call.saved(other) };
        }
        let position = if OWN_KEYS { other / group } else { other };
        let mut p = [0.0_f32; ROWS];
        let mut dx = [0.0_f32; ROWS];
        let mut count = [0_u32; ROWS];
        for r in 0..ROWS {
            let (lse, delta) = if OWN_KEYS { others_saved } else { saved[r] };
            (p[r], dx[r]) = pair(q_k[r], do_v[r], lse, delta, call.scale, call.softcap);
            count[r] = warp::ballot(warp::FULL, exists && seen[r].contains(position));
        }

        // dq += dX·k, or dk += dX·q and dv += P·do: some columns a lane.
        for j in 0..opaque(PLAIN_OTHERS) {
            let mut first = [0.0_f32; C];
            let mut second = [0.0_f32; C];
            for c in 0..C {
                let at = j * pitch + lane + 32 * c as u32;
                // SAFETY: filled before the barrier.
                first[c] = unsafe { first_tile.load(at) };
                if OWN_KEYS {
                    // SAFETY: as above.
                    second[c] = unsafe { second_tile.load(at) };
                }
            }
            for r in 0..ROWS {
                // 0·NaN is NaN: what does not count is not added.
                let counts = count[r] >> j & 1 != 0;
                let weight = warp::shuffle(warp::FULL, dx[r], j);
                for c in 0..C {
                    let sum = fma(weight, first[c], dx_sums[r][c]);
                    dx_sums[r][c] = if counts { sum } else { dx_sums[r][c] };
                }
                if OWN_KEYS {
                    let weight = warp::shuffle(warp::FULL, p[r], j);
                    for c in 0..C {
                        let sum = fma(weight, second[c], p_sums[r][c]);
                        p_sums[r][c] = if counts { sum } else { p_sums[r][c] };
                    }
                }
            }
        }
        other0 += PLAIN_OTHERS;
    }

    for r in 0..ROWS {
        let row = first_row + r as u32;
        if row <= last {
            let at = own_number(row) * d as usize + lane as usize;
            for c in 0..C {
                // SAFETY: a row of the output; the column is this lane's.
                unsafe {
                    *by_dx.add(at + 32 * c) = call.scale * dx_sums[r][c];
                    if OWN_KEYS {
                        *by_p.add(at + 32 * c) = p_sums[r][c];
                    }
                }
            }
        }
    }
}

/// Gathers what both passes are given.
#[inline(always)]
unsafe fn call(
    tensors: [*const f32; 6],
    starts: [*const i32; 2],
    lengths: [u32; 2],
    group: u32,
    band: [i32; 2],
    scale: f32,
    cap: f32,
) -> Call {
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
        lse: tensors[4],
        delta: tensors[5],
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
        scale,
        softcap: Softcap::new(cap),
    }
}

macro_rules! entries {
    ($($dq:ident, $dkdv:ident: $columns:literal;)*) => {$(
        /// Rung 1, dq. Grid: ⌈Nq·group / 16⌉ × Hkv × sequences blocks of 128.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $dq(
            q: *const f32, k: *const f32, v: *const f32, d_o: *const f32, lse: *const f32,
            delta: *const f32, dq: *mut f32, cu_queries: *const i32, cu_keys: *const i32,
            queries: u32, keys: u32, group: u32, left: i32, right: i32, scale: f32, cap: f32,
        ) {
            // SAFETY: the launch gives tensors of the shapes of the family's page.
            unsafe {
                let call = call([q, k, v, d_o, lse, delta], [cu_queries, cu_keys],
                    [queries, keys], group, [left, right], scale, cap);
                pass::<$columns, false>(&call, dq, core::ptr::null_mut());
            }
        }

        /// Rung 1, dk and dv. Grid: ⌈Nk / 16⌉ × Hkv × sequences blocks of 128.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $dkdv(
            q: *const f32, k: *const f32, v: *const f32, d_o: *const f32, lse: *const f32,
            delta: *const f32, dk: *mut f32, dv: *mut f32, cu_queries: *const i32,
            cu_keys: *const i32, queries: u32, keys: u32, group: u32, left: i32, right: i32,
            scale: f32, cap: f32,
        ) {
            // SAFETY: the launch gives tensors of the shapes of the family's page.
            unsafe {
                let call = call([q, k, v, d_o, lse, delta], [cu_queries, cu_keys],
                    [queries, keys], group, [left, right], scale, cap);
                pass::<$columns, true>(&call, dk, dv);
            }
        }
    )*};
}

entries! {
    flash_backward_dq_f32_32, flash_backward_dkdv_f32_32: 1;
    flash_backward_dq_f32_64, flash_backward_dkdv_f32_64: 2;
    flash_backward_dq_f32_96, flash_backward_dkdv_f32_96: 3;
    flash_backward_dq_f32_128, flash_backward_dkdv_f32_128: 4;
    flash_backward_dq_f32_256, flash_backward_dkdv_f32_256: 8;
}
