//! Rung 1: a warp a row, key by key.

use super::format::Format;
use super::input::{fresh, load, store};
use super::sight::Tables;
use super::{MAX_HEAD_SIZE, PLAIN_WARPS};
use crate::attention::Softcap;
use crate::device::float::{LN_2, exp_approx, fma, lg2_approx, rcp_approx};
use crate::device::half::{Bf16, F16};
use crate::device::reduce::{self, Sum};
use crate::device::{thread, warp};
use crate::shared_tile;

use super::format::{Int4, Int8, Pages};

shared_tile!(fn paged_plain_sums: [f32; (PLAIN_WARPS * MAX_HEAD_SIZE) as usize]);

/// Calls `each` with the lane's columns: lane, lane + 32, …
#[inline(always)]
fn columns(d: u32, mut each: impl FnMut(u32)) {
    let mut column = fresh(warp::lane_id());
    while column < d {
        each(column);
        column += warp::SIZE;
    }
}

/// Grid: ⌈most queries·group / 4⌉ × Hkv × sequences blocks of 128.
///
/// # Safety
/// The tensors have the shapes of the family's page.
#[inline(always)]
unsafe fn attend<F: Format>(
    tables: Tables,
    k: Pages,
    v: Pages,
    q: *const u8,
    sink_logits: *const f32,
    o: *mut u8,
    lse: *mut f32,
    d: u32,
    number_type: u32,
    group: u32,
    scale: f32,
    cap: f32,
) {
    let (kv_heads, kv_head) = (thread::grid_dim_y(), thread::block_idx_y());
    // SAFETY: the grid has a layer for each sequence.
    let sequence = unsafe { tables.sequence(thread::block_idx_z()) };
    let row = thread::block_idx_x() * PLAIN_WARPS + warp::warp_id();
    if row >= sequence.queries * group {
        return;
    }
    let head = kv_head * group + row % group;
    let number = (sequence.first + row / group) as usize * (kv_heads * group) as usize;
    let number = number + head as usize;
    // SAFETY: row / group < queries.
    let sight = unsafe { tables.sight(sequence, row / group) };
    let softcap = Softcap::new(cap);

    // o of the row: a lane reads and writes its own columns only.
    let sums = paged_plain_sums().from(warp::warp_id() * MAX_HEAD_SIZE);
    // SAFETY: the warp's own part, and the lane's own columns of it.
    columns(d, |column| unsafe { sums.store(column, 0.0) });
    let (mut m, mut l) = (f32::NEG_INFINITY, 0.0_f32);
    let mut key = 0;
    while key < sight.high {
        if key < sight.low && key >= tables.sinks {
            key = sight.low;
            continue;
        }
        // SAFETY: key < high ≤ keys.
        let (seen, slot) = unsafe {
            (
                tables.sees(sequence, sight, key),
                tables.slot(sequence, key),
            )
        };
        key += 1;
        if !seen {
            continue;
        }
        let vector = slot as usize * kv_heads as usize + kv_head as usize;

        // s = scale·q·k
        let mut dot = 0.0;
        columns(d, |column| {
            // SAFETY: a row of q; the slot holds a token of the sequence.
            unsafe {
                let q = load(q, number_type, number * d as usize + column as usize);
                dot = fma(q, F::value(k, vector, column, d), dot);
            }
        });
        let s = softcap.of(scale * reduce::warp(Sum(dot)).0);

        // m' = max(m, s);  p = exp(s − m');  l and o times exp(m − m').
        let greatest = m.max(s);
        // Nothing but −inf so far: −inf − 0 and not −inf − (−inf).
        let base = if greatest == f32::NEG_INFINITY {
            0.0
        } else {
            greatest
        };
        let (p, correction) = (exp_approx(s - base), exp_approx(m - base));
        l = fma(l, correction, p);
        columns(d, |column| {
            // SAFETY: as for k; the lane's own column.
            unsafe {
                let value = F::value(v, vector, column, d);
                sums.store(column, fma(p, value, sums.load(column) * correction));
            }
        });
        m = greatest;
    }

    let mut factor = 1.0;
    if !sink_logits.is_null() {
        // SAFETY: one for each head.
        let sink = unsafe { *sink_logits.add(head as usize) };
        let greatest = m.max(sink);
        let base = if greatest == f32::NEG_INFINITY {
            0.0
        } else {
            greatest
        };
        let correction = exp_approx(m - base);
        l = fma(l, correction, exp_approx(sink - base));
        factor = correction;
        m = greatest;
    }
    factor *= if l == 0.0 { 0.0 } else { rcp_approx(l) };
    columns(d, |column| {
        // SAFETY: a row of o; the column is this lane's.
        unsafe {
            let at = number * d as usize + column as usize;
            store(o, number_type, at, sums.load(column) * factor);
        }
    });
    if warp::lane_id() == 0 {
        // SAFETY: a row of lse.
        unsafe { *lse.add(number) = m + lg2_approx(l) * LN_2 }
    }
}

macro_rules! entries {
    ($($name:ident: $format:ty;)*) => {$(
        /// Rung 1.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            q: *const u8, k: *const u8, v: *const u8, k_scale: *const F16, v_scale: *const F16,
            k_zero: *const F16, v_zero: *const F16, table: *const i32, lengths: *const i32,
            starts: *const i32, mask: *const u32, depth: *const i32, sink_logits: *const f32,
            o: *mut u8, lse: *mut f32, width: u32, page: u32, words: u32, left: i32, sinks: u32,
            d: u32, number_type: u32, group: u32, scale: f32, cap: f32,
        ) {
            let tables = Tables {
                table, lengths, starts, mask, depth, width, page, words, left, sinks,
            };
            let k = Pages { codes: k, scale: k_scale, zero: k_zero };
            let v = Pages { codes: v, scale: v_scale, zero: v_zero };
            // SAFETY: the launch gives what `attend` asks for.
            unsafe {
                attend::<$format>(tables, k, v, q, sink_logits, o, lse, d, number_type, group,
                    scale, cap);
            }
        }
    )*};
}

entries! {
    paged_attention_plain_f16: F16;
    paged_attention_plain_bf16: Bf16;
    paged_attention_plain_int8: Int8;
    paged_attention_plain_int4: Int4;
}
