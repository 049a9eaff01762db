//! Rung 2: f16 and bf16 on the tensor cores. Its entries.

use super::call::Call;
use super::keys::key_pass;
use super::queries::query_pass;
use crate::attention::{Scoring, Sequence};
use crate::device::half::{Bf16, F16};

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
                let sequence = Sequence::here([cu_queries, cu_keys], [queries, keys], group,
                    [left, right]);
                let scoring = Scoring { factor, cap };
                let call = Call { q, k, v, d_o, lse, delta, sequence, scoring, scale };
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
                let sequence = Sequence::here([cu_queries, cu_keys], [queries, keys], group,
                    [left, right]);
                let scoring = Scoring { factor, cap };
                let call = Call { q, k, v, d_o, lse, delta, sequence, scoring, scale };
                key_pass::<$t, $d16, $c16, $n16, $pitch, 4, 4, false>(call, dk, dv, core::ptr::null_mut());
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

macro_rules! fused {
    ($($name:ident: $t:ty, $d16:literal, $n16:literal, $pitch:literal;)*) => {$(
        /// Rung 3: dk and dv, and sums of dq that every block adds to. Grid: ⌈Nk / 64⌉ × Hkv ×
        /// sequences blocks of 128.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            q: *const $t, k: *const $t, v: *const $t, d_o: *const $t, lse: *const f32,
            delta: *const f32, dk: *mut $t, dv: *mut $t, dq_sums: *mut f32,
            cu_queries: *const i32, cu_keys: *const i32, queries: u32, keys: u32, group: u32,
            left: i32, right: i32, factor: f32, cap: f32, scale: f32,
        ) {
            // SAFETY: the launch gives tensors of the shapes of the family's page.
            unsafe {
                let sequence = Sequence::here([cu_queries, cu_keys], [queries, keys], group,
                    [left, right]);
                let scoring = Scoring { factor, cap };
                let call = Call { q, k, v, d_o, lse, delta, sequence, scoring, scale };
                key_pass::<$t, $d16, $d16, $n16, $pitch, 4, 4, true>(call, dk, dv, dq_sums);
            }
        }
    )*};
}

fused! {
    flash_backward_fused_f16_128: F16, 8, 2, 128;
    flash_backward_fused_bf16_128: Bf16, 8, 2, 128;
}
