//! Models of the probes of global and shared memory and of asynchronous copies.

use crate::Model;
use crate::expect::{Expected, Input, N, Word};

pub fn model(probe: &str) -> Option<Model> {
    let expected: fn(&[u32]) -> Expected = match probe {
        "probe_load4" | "probe_load4_readonly" | "probe_load4_streaming" => {
            |a| Expected::registers(|i| [0, 1, 2, 3].map(|j| Word::Bits(a[4 * i + j])))
        }
        "probe_load4_streaming_if" => |a| {
            Expected::registers(|i| {
                let odd = a[4 * i] % 2 != 0;
                [0, 1, 2, 3].map(|j| Word::Bits(if odd { a[4 * i + j] } else { j as u32 + 1 }))
            })
        },
        "probe_store4" | "probe_store4_streaming" => {
            |a| Expected::first((0..4 * N).map(|at| a[at / 4 + 64 * (at % 4)]))
        }
        "probe_load_readonly" => |a| Expected::bits(|i| a[i]),
        "probe_shared_u8" => |a| Expected::bits(|i| a[i ^ 32] & 0xff),
        "probe_shared_u16" | "probe_shared_f16" | "probe_shared_bf16" => {
            |a| Expected::bits(|i| a[i ^ 32] & 0xffff)
        }
        "probe_shared_u32"
        | "probe_shared_i32"
        | "probe_shared_f32"
        | "probe_shared_dynamic"
        | "probe_copy_4" => |a| Expected::bits(|i| a[i ^ 32]),
        "probe_shared_u64" | "probe_shared_f64" => {
            |a| Expected::first((0..2 * N).map(|i| a[i / N * N + ((i % N) ^ 32)]))
        }
        "probe_shared_quads" => {
            |a| Expected::first((0..4 * N).map(|i| a[i / N * N + ((i % N) ^ 32)]))
        }
        // Written at (at / 32, at % 32), read at (at % 8, at / 8).
        "probe_shared_swizzled" => {
            |a| Expected::first((0..4 * N).map(|at| a[at % 8 * 32 + at / 8]))
        }
        "probe_copy_8" => |a| Expected::first(a[..2 * N].iter().copied()),
        "probe_copy_16" => |a| Expected::first(a[..4 * N].iter().copied()),
        "probe_copy_16_or_zero" => {
            |a| Expected::first((0..4 * N).map(|at| if at % 4 < at / 4 % 5 { a[at] } else { 0 }))
        }
        _ => return None,
    };
    Some(Model {
        input: Input::Bits,
        expected,
    })
}
