//! Rung 1: f32, one pair of query and key a lane.

use super::{PLAIN_OTHERS, PLAIN_ROWS, WARPS};
use crate::attention::{GREATEST_HEAD_SIZE, Sequence, Softcap, fill_f32, fresh, rolled};
use crate::device::float::{exp_approx, fma};
use crate::device::shared::dynamic;
use crate::device::{thread, warp};

/// Rows of one warp.
const ROWS: usize = (PLAIN_ROWS / WARPS) as usize;
/// Groups of 32 columns, one a lane, of the greatest head size.
const GROUPS: usize = (GREATEST_HEAD_SIZE / 32) as usize;

/// P and dX of a query and a key that it sees.
#[inline(always)]
fn pair(q_k: f32, do_v: f32, saved: (f32, f32), scale: f32, softcap: Softcap) -> (f32, f32) {
    let (lse, delta) = saved;
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
    sequence: Sequence,
    scale: f32,
    softcap: Softcap,
}

impl Call {
    /// lse and D of a row of q. A row with only scores of −inf has no weights: as if its normaliser
    /// were infinite.
    #[inline(always)]
    unsafe fn saved(&self, row: u32) -> (f32, f32) {
        let at = self.sequence.query_row(row);
        // SAFETY: the row is one of q's.
        let (lse, delta) = unsafe { (*self.lse.add(at), *self.delta.add(at)) };
        if lse == f32::NEG_INFINITY {
            (f32::INFINITY, 0.0)
        } else {
            (lse, delta)
        }
    }
}

/// One pass. The block owns 16 rows: of q, or of k and v when `OWN_KEYS`; it walks the
/// *others*, 32 at a time, one a lane. `first` is the own vectors that make scores, `second` those
/// that make dP:
///
/// ```text
///            own          others
/// dq         q, do        k, v         dq += dX·k
/// dk, dv     k, v         q, do        dk += dX·q,  dv += P·do
/// ```
#[inline(always)]
unsafe fn pass<const OWN_KEYS: bool>(call: &Call, by_dx: *mut f32, by_p: *mut f32, d: u32) {
    let (lane, warp) = (warp::lane_id(), warp::warp_id());
    let sequence = call.sequence;
    let own_count = if OWN_KEYS {
        sequence.band.keys
    } else {
        sequence.rows()
    };
    let row0 = thread::block_idx_x() * PLAIN_ROWS;
    if row0 >= own_count {
        return;
    }
    let last = (row0 + PLAIN_ROWS).min(own_count) - 1;
    let own_number = |row: u32| {
        if OWN_KEYS {
            sequence.key_row(row)
        } else {
            sequence.query_row(row)
        }
    };
    let other_number = |row: u32| {
        if OWN_KEYS {
            sequence.query_row(row)
        } else {
            sequence.key_row(row)
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

    // The warp's rows, and the rows of the others to walk.
    let first_row = row0 + warp * ROWS as u32;
    let (visited, _) = if OWN_KEYS {
        sequence.rows_of_tile(row0, last)
    } else {
        sequence.keys_of_tile(row0, last)
    };

    // Lane's columns: lane + 32·c, those below D.
    let mut dx_sums = [[0.0_f32; GROUPS]; ROWS];
    let mut p_sums = [[0.0_f32; GROUPS]; ROWS];
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
        for quad in rolled(d / 4) {
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
        let mut others_saved = (f32::INFINITY, 0.0);
        if OWN_KEYS && exists {
            // SAFETY: a row of q.
            others_saved = unsafe { call.saved(other) };
        }
        let position = if OWN_KEYS {
            other / sequence.group
        } else {
            other
        };
        let mut p = [0.0_f32; ROWS];
        let mut dx = [0.0_f32; ROWS];
        let mut count = [0_u32; ROWS];
        for r in 0..ROWS {
            let row = first_row + r as u32;
            let mut saved = others_saved;
            if !OWN_KEYS && row <= last {
                // SAFETY: a row of q.
                saved = unsafe { call.saved(row) };
            }
            (p[r], dx[r]) = pair(q_k[r], do_v[r], saved, call.scale, call.softcap);
            let seen = if OWN_KEYS {
                sequence.queries_of(row)
            } else {
                sequence.keys_of(row)
            };
            count[r] = warp::ballot(warp::FULL, exists && seen.contains(position));
        }

        // dq += dX·k, or dk += dX·q and dv += P·do: some columns a lane.
        for j in rolled(PLAIN_OTHERS) {
            // Kept, the answers to which columns there are would be more than there are predicates.
            let d = fresh(d);
            let mut by_dx = [0.0_f32; ROWS];
            let mut by_p = [0.0_f32; ROWS];
            for r in 0..ROWS {
                by_dx[r] = warp::shuffle(warp::FULL, dx[r], j);
                if OWN_KEYS {
                    by_p[r] = warp::shuffle(warp::FULL, p[r], j);
                }
            }
            for c in 0..GROUPS {
                if 32 * (c as u32) < d {
                    let at = j * pitch + lane + 32 * c as u32;
                    // SAFETY: filled before the barrier.
                    let first = unsafe { first_tile.load(at) };
                    let mut second = 0.0;
                    if OWN_KEYS {
                        // SAFETY: as above.
                        second = unsafe { second_tile.load(at) };
                    }
                    for r in 0..ROWS {
                        // 0·NaN is NaN: what does not count is not added.
                        let counts = count[r] >> j & 1 != 0;
                        let sum = fma(by_dx[r], first, dx_sums[r][c]);
                        dx_sums[r][c] = if counts { sum } else { dx_sums[r][c] };
                        if OWN_KEYS {
                            let sum = fma(by_p[r], second, p_sums[r][c]);
                            p_sums[r][c] = if counts { sum } else { p_sums[r][c] };
                        }
                    }
                }
            }
        }
        other0 += PLAIN_OTHERS;
    }

    // As above: what was asked before the walk is not kept through it.
    let (first_row, last, d) = (fresh(first_row), fresh(last), fresh(d));
    for r in 0..ROWS {
        let row = first_row + r as u32;
        if row <= last {
            let at = own_number(row) * d as usize + lane as usize;
            for c in 0..GROUPS {
                if 32 * (c as u32) < d {
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
}

/// Rung 1, dq. D is a multiple of 32 up to 256. Grid: ⌈Nq·group / 16⌉ × Hkv × sequences blocks of
/// 128.
///
/// # Safety
/// The tensors have the shapes of the family's page.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn flash_backward_dq_f32(
    q: *const f32,
    k: *const f32,
    v: *const f32,
    d_o: *const f32,
    lse: *const f32,
    delta: *const f32,
    dq: *mut f32,
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
    // SAFETY: the caller's promise.
    unsafe {
        let sequence = Sequence::here([cu_queries, cu_keys], [queries, keys], group, [left, right]);
        let softcap = Softcap::new(cap);
        let call = Call {
            q,
            k,
            v,
            d_o,
            lse,
            delta,
            sequence,
            scale,
            softcap,
        };
        pass::<false>(&call, dq, core::ptr::null_mut(), d);
    }
}

/// Rung 1, dk and dv. Grid: ⌈Nk / 16⌉ × Hkv × sequences blocks of 128.
///
/// # Safety
/// As for [`flash_backward_dq_f32`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn flash_backward_dkdv_f32(
    q: *const f32,
    k: *const f32,
    v: *const f32,
    d_o: *const f32,
    lse: *const f32,
    delta: *const f32,
    dk: *mut f32,
    dv: *mut f32,
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
    // SAFETY: the caller's promise.
    unsafe {
        let sequence = Sequence::here([cu_queries, cu_keys], [queries, keys], group, [left, right]);
        let softcap = Softcap::new(cap);
        let call = Call {
            q,
            k,
            v,
            d_o,
            lse,
            delta,
            sequence,
            scale,
            softcap,
        };
        pass::<true>(&call, dk, dv, d);
    }
}
