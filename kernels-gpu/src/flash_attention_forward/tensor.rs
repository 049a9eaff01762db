//! Rung 2: f16 and bf16 on the tensor cores.

use crate::attention::{
    Half, Lane, Scoring, Sequence, Sums, Tile, add_removed, fragment, fresh, rolled,
};
use crate::device::float::{LN_2, ex2_approx, fma, lg2_approx, rcp_approx};
use crate::device::half::{Bf16, F16};
use crate::device::warp::{FULL, shuffle_xor};
use crate::device::{copy, thread, warp};

/// The running softmax of a lane's two rows, in base 2. `l` is the lane's own part of the sum.
struct Softmax {
    m: [f32; 2],
    l: [f32; 2],
}

impl Softmax {
    /// Turns scores into weights; gives what the sums so far are to be multiplied by.
    #[inline(always)]
    fn step<const N: usize>(&mut self, s: &mut Sums<N>) -> [f32; 2] {
        let mut corrections = [0.0; 2];
        for row in 0..2 {
            let (first, second) = (2 * row, 2 * row + 1);
            let mut m = self.m[row];
            for n in 0..2 * N {
                let s = &s[n / 2][n % 2];
                m = m.max(s[first].max(s[second]));
            }
            m = m.max(shuffle_xor(FULL, m, 1));
            m = m.max(shuffle_xor(FULL, m, 2));
            // A row that has seen nothing yet: −inf − 0 and not −inf − (−inf).
            let base = if m == f32::NEG_INFINITY { 0.0 } else { m };
            let correction = ex2_approx(self.m[row] - base);
            let mut sum = 0.0;
            for n in 0..2 * N {
                let s = &mut s[n / 2][n % 2];
                s[first] = ex2_approx(s[first] - base);
                s[second] = ex2_approx(s[second] - base);
                sum += s[first] + s[second];
            }
            self.m[row] = m;
            self.l[row] = fma(self.l[row], correction, sum);
            corrections[row] = correction;
        }
        corrections
    }
}

/// D = 16·D16, keys a step = 16·N16. Grid: ⌈Nq·group / (16·WARPS)⌉ × Hkv × sequences blocks of
/// 32·WARPS.
///
/// # Safety
/// The tensors have the shapes of the family's page, all positions within 2²⁹.
#[inline(always)]
unsafe fn forward<
    E: Half,
    const D16: usize,
    const N16: usize,
    const PITCH: u32,
    const WARPS: u32,
    const ROWS16: usize,
>(
    q: *const E,
    k: *const E,
    v: *const E,
    o: *mut E,
    lse: *mut f32,
    sequence: Sequence,
    scoring: Scoring,
) {
    let d = 16 * D16;
    let step = 16 * N16 as u32;
    let (lane, warp) = (Lane::here(), warp::warp_id());
    let rows = sequence.rows();
    // Under a causal mask the last tiles have the most to do: they go first.
    let row0 = (thread::grid_dim_x() - 1 - thread::block_idx_x()) * 16 * WARPS;
    if row0 >= rows {
        return;
    }
    let last = (row0 + 16 * WARPS).min(rows) - 1;
    let (visited, unmasked) = sequence.keys_of_tile(row0, last);
    let own_row = row0 + 16 * warp + lane.g;
    let own_row = [own_row, own_row + 8];

    let q_tile = Tile::<E, D16, ROWS16, PITCH, WARPS>::at(0);
    let k_tile = Tile::<E, D16, N16, PITCH, WARPS>::at(Tile::<E, D16, ROWS16, PITCH, WARPS>::BYTES);
    let tile_bytes = Tile::<E, D16, N16, PITCH, WARPS>::BYTES;
    let v_tile = k_tile.further(2 * tile_bytes);
    let begin = |stage: u32, key0: u32| {
        let offset = stage * tile_bytes;
        let source = |row: u32| {
            let at = sequence.key_row((key0 + row).min(visited.end - 1)) * d;
            // SAFETY: key < Nk.
            (unsafe { [k.add(at), v.add(at)] }, key0 + row < visited.end)
        };
        // SAFETY: rows of k and v within their shapes; the stage was read before the last barrier.
        unsafe { Tile::fill_alike([k_tile.further(offset), v_tile.further(offset)], source) }
    };

    // SAFETY: rows of q within its shape.
    unsafe {
        q_tile.fill(|row| {
            let at = sequence.query_row((row0 + row).min(last));
            (q.add(at * d), row0 + row <= last)
        });
    }
    if visited.first < visited.end {
        begin(0, visited.first);
    }
    copy::wait_all();
    thread::sync_threads();

    let mut softmax = Softmax {
        m: [f32::NEG_INFINITY; 2],
        l: [0.0; 2],
    };
    let mut sums: Sums<D16> = [[[0.0; 4]; 2]; D16];
    let mut removed = false;
    let mut stage = 0;
    let mut key0 = visited.first;
    while key0 < visited.end {
        let (k_tile, v_tile) = (
            k_tile.further(stage * tile_bytes),
            v_tile.further(stage * tile_bytes),
        );
        let edge = !unmasked.contains_all(key0, step);
        copy::wait_all();
        let odd = thread::sync_threads_or(edge && v_tile.any_odd());
        if key0 + step < visited.end {
            begin(stage ^ 1, key0 + step);
        }

        if odd {
            removed = true;
            v_tile.remove_odd();
            thread::sync_threads();
        }
        // At an edge of the band some warps have nothing to do with a step.
        let met = sequence.keys_of_sixteen(fresh(row0 + 16 * warp));
        if met.contains_any(key0, step) {
            // s = q·kᵀ
            let mut s: Sums<N16> = [[[0.0; 4]; 2]; N16];
            for c in rolled(D16 as u32) {
                // SAFETY: q has come.
                let left = unsafe { q_tile.left(lane, warp, c) };
                for n in 0..N16 {
                    // SAFETY: k has come.
                    let right = unsafe { k_tile.right_transposed(lane, n as u32, c) };
                    s[n][0] = E::mma(left, right[0], s[n][0]);
                    s[n][1] = E::mma(left, right[1], s[n][1]);
                }
            }
            scoring.scores(&mut s);
            if edge {
                // Found at edges only: through the walk it would take registers.
                let seen = own_row.map(|row| sequence.keys_of(fresh(row)));
                for n in 0..2 * N16 {
                    for at in 0..4 {
                        let column = 8 * n as u32 + 2 * lane.t + at as u32 % 2;
                        if !seen[at / 2].contains(key0 + column) {
                            s[n / 2][n % 2][at] = f32::NEG_INFINITY;
                        }
                    }
                }
            }

            let correction = softmax.step(&mut s);
            for c in 0..2 * D16 {
                for at in 0..4 {
                    sums[c / 2][c % 2][at] *= correction[at / 2];
                }
            }

            // o += p·v
            for n in 0..N16 {
                let left = fragment::<E>(&s[n]);
                for c in 0..D16 {
                    // SAFETY: v has come.
                    let right = unsafe { v_tile.right(lane, n as u32, c as u32) };
                    sums[c][0] = E::mma(left, right[0], sums[c][0]);
                    sums[c][1] = E::mma(left, right[1], sums[c][1]);
                }
            }
        }
        stage ^= 1;
        key0 += step;
    }

    // lse = m + ln l, o / l
    let mut inverse = [0.0; 2];
    for r in 0..2 {
        let mut l = softmax.l[r];
        l += shuffle_xor(FULL, l, 1);
        l += shuffle_xor(FULL, l, 2);
        if lane.t == 0 && own_row[r] < rows {
            let value = (softmax.m[r] + lg2_approx(l)) * LN_2;
            // SAFETY: a row of lse.
            unsafe { *lse.add(sequence.query_row(own_row[r])) = value }
        }
        inverse[r] = if l == 0.0 { 0.0 } else { rcp_approx(l) };
    }
    // SAFETY: the warp's own rows of the tile; rows of o and v.
    unsafe {
        let to = |row| (row0 + row <= last).then(|| o.add(sequence.query_row(row0 + row) * d));
        q_tile.store_rows(lane, warp, 0, &sums, inverse, to, |row, chunk, made| {
            if !removed {
                return made;
            }
            let seen = sequence.keys_of(row0 + row);
            add_removed(made, visited, unmasked, step, |key| {
                let at = sequence.key_row(key) * d + 8 * chunk as usize;
                seen.contains(key).then(|| v.add(at))
            })
        });
    }
}

macro_rules! entries {
    ($($f16:ident, $bf16:ident: $d16:literal, $n16:literal, $pitch:literal, $warps:literal;)*) => {$(
        entries!(@ $f16: F16, $d16, $n16, $pitch, $warps);
        entries!(@ $bf16: Bf16, $d16, $n16, $pitch, $warps);
    )*};
    (@ $name:ident: $t:ty, $d16:literal, $n16:literal, $pitch:literal, $warps:literal) => {
        /// Rung 2.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            q: *const $t, k: *const $t, v: *const $t, o: *mut $t, lse: *mut f32,
            cu_queries: *const i32, cu_keys: *const i32, queries: u32, keys: u32, group: u32,
            left: i32, right: i32, factor: f32, cap: f32,
        ) {
            // SAFETY: the launch gives what `forward` asks for.
            unsafe {
                let sequence = Sequence::here([cu_queries, cu_keys], [queries, keys], group,
                    [left, right]);
                forward::<$t, $d16, $n16, $pitch, $warps, $warps>(q, k, v, o, lse, sequence,
                    Scoring { factor, cap });
            }
        }
    };
}

entries! {
    flash_forward_f16_32, flash_forward_bf16_32: 2, 4, 32, 8;
    flash_forward_f16_64, flash_forward_bf16_64: 4, 4, 64, 8;
    flash_forward_f16_96, flash_forward_bf16_96: 6, 4, 128, 8;
    flash_forward_f16_128, flash_forward_bf16_128: 8, 4, 128, 8;
    flash_forward_f16_256, flash_forward_bf16_256: 16, 1, 256, 4;
}
