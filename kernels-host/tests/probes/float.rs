//! Models of the probes of float arithmetic and of reductions.

use crate::Model;
use crate::expect::{Expected, Input, Word};
use half::{bf16, f16};

fn f(word: u32) -> f32 {
    f32::from_bits(word)
}

/// The result of an operation that is rounded once: its bits, or any NaN.
fn exact(value: f32) -> Word {
    if value.is_nan() {
        Word::NaN
    } else {
        Word::Bits(value.to_bits())
    }
}

/// An f32 with a relative error, and subnormal results flushed to zero.
fn near(value: f64, relative: f64) -> Word {
    if value.is_nan() {
        return Word::NaN;
    }
    // An overflow may come a rounding early.
    let value = if value.abs() > f64::from(f32::MAX) {
        value.signum() * f64::INFINITY
    } else {
        value
    };
    Word::Near {
        value,
        error: value.abs() * relative + f64::from(f32::MIN_POSITIVE),
    }
}

/// `ex2.approx.ftz.f32`: 2 ulp (PTX ISA, ex2).
const EX2: f64 = 2.0 / (1 << 23) as f64;

/// One rounding to f32.
const U: f64 = 1.0 / (1 << 24) as f64;

/// Inputs whose subnormals count as zero.
fn flushed(word: u32) -> f64 {
    let value = f(word);
    if value.is_subnormal() {
        0.0_f64.copysign(f64::from(value))
    } else {
        f64::from(value)
    }
}

fn bf16_of(bits: u32) -> f32 {
    bf16::from_bits(bits as u16).to_f32()
}

fn f16_of(bits: u32) -> f32 {
    f16::from_bits(bits as u16).to_f32()
}

pub fn model(probe: &str) -> Option<Model> {
    if let Some(rest) = probe.strip_prefix("probe_reduce_") {
        return reduction(rest);
    }
    let (input, expected): (Input, fn(&[u32]) -> Expected) = match probe {
        "probe_fma" => (Input::Floats, |a| {
            Expected::each(|i| exact(f(a[i]).mul_add(f(a[i + 64]), f(a[i + 128]))))
        }),
        "probe_sqrt" => (Input::Floats, |a| Expected::each(|i| exact(f(a[i]).sqrt()))),
        "probe_ex2_approx" => (Input::Floats, |a| {
            Expected::each(|i| near(flushed(a[i]).exp2(), EX2))
        }),
        // x·log₂e is rounded twice (the constant and the product), an absolute error in the
        // exponent that becomes a relative one of the result.
        "probe_exp_approx" => (Input::Scores, |a| {
            Expected::each(|i| {
                let x = flushed(a[i]);
                near(x.exp(), EX2 + 2.0 * U * x.abs())
            })
        }),
        // Relative error 2⁻²² outside (0.5, 2), absolute error 2⁻²² within (PTX ISA, lg2).
        "probe_lg2_approx" => (Input::PositiveFloats, |a| {
            Expected::each(|i| {
                let x = flushed(a[i]);
                let value = x.log2();
                let error = if (0.5..=2.0).contains(&x) {
                    4.0 * U
                } else {
                    4.0 * U * value.abs()
                };
                Word::Near { value, error }
            })
        }),
        // 1 ulp (PTX ISA, rcp).
        "probe_rcp_approx" => (Input::PositiveFloats, |a| {
            Expected::each(|i| near(1.0 / flushed(a[i]), 2.0 * U))
        }),
        // 2⁻²²·⁹ (PTX ISA, rsqrt).
        "probe_rsqrt_approx" => (Input::PositiveFloats, |a| {
            Expected::each(|i| near(1.0 / flushed(a[i]).sqrt(), f64::exp2(-22.9)))
        }),
        "probe_f16_to_f32" => (Input::Bits, |a| Expected::each(|i| exact(f16_of(a[i])))),
        "probe_bf16_to_f32" => (Input::Bits, |a| Expected::bits(|i| a[i] << 16)),
        "probe_f16_from_f32" => (Input::Scores, |a| {
            Expected::bits(|i| u32::from(f16::from_f32(f(a[i])).to_bits()))
        }),
        "probe_bf16_from_f32" => (Input::Scores, |a| {
            Expected::bits(|i| u32::from(bf16::from_f32(f(a[i])).to_bits()))
        }),
        "probe_f16x2_from_f32" => (Input::Scores, |a| {
            Expected::bits(|i| {
                let [low, high] = [a[i], a[i + 64]].map(|w| f16::from_f32(f(w)).to_bits());
                u32::from(high) << 16 | u32::from(low)
            })
        }),
        "probe_bf16x2_from_f32" => (Input::Scores, |a| {
            Expected::bits(|i| {
                let [low, high] = [a[i], a[i + 64]].map(|w| bf16::from_f32(f(w)).to_bits());
                u32::from(high) << 16 | u32::from(low)
            })
        }),
        "probe_f16x2_to_f32" => (Input::Bits, |a| {
            Expected::registers(|i| [exact(f16_of(a[i])), exact(f16_of(a[i] >> 16))])
        }),
        "probe_bf16x2_to_f32" => (Input::Bits, |a| {
            Expected::registers(|i| [Word::Bits(a[i] << 16), Word::Bits(a[i] & 0xffff_0000)])
        }),
        // Small integers: products and sums are exact in f32, and rounded to the half once.
        "probe_f16x2_fma" => (Input::SmallF16, |a| {
            Expected::bits(|i| {
                let half = |shift: u32| {
                    let [x, y, z] = [a[i], a[i + 64], a[i + 128]].map(|w| f16_of(w >> shift));
                    u32::from(f16::from_f32(x * y + z).to_bits())
                };
                half(16) << 16 | half(0)
            })
        }),
        "probe_bf16x2_fma" => (Input::SmallBf16, |a| {
            Expected::bits(|i| {
                let half = |shift: u32| {
                    let [x, y, z] = [a[i], a[i + 64], a[i + 128]].map(|w| bf16_of(w >> shift));
                    u32::from(bf16::from_f32(x * y + z).to_bits())
                };
                half(16) << 16 | half(0)
            })
        }),
        _ => return None,
    };
    Some(Model { input, expected })
}

/// The threads whose values a thread's result is made of.
fn group(i: usize, block: bool) -> std::ops::Range<usize> {
    if block {
        0..64
    } else {
        i / 32 * 32..i / 32 * 32 + 32
    }
}

/// Sums over small integers are exact, so no order matters.
fn sum(a: &[u32], block: bool) -> Expected {
    Expected::each(|i| exact(a[group(i, block)].iter().map(|word| f(*word)).sum()))
}

fn max(a: &[u32], block: bool) -> Expected {
    Expected::each(|i| {
        exact(
            a[group(i, block)]
                .iter()
                .map(|w| f(*w))
                .fold(f32::MIN, f32::max),
        )
    })
}

/// The greatest value, at its lowest index.
fn arg_max(a: &[u32], block: bool) -> Expected {
    Expected::registers(|i| {
        let mut best = group(i, block).start;
        for j in group(i, block) {
            if f(a[j]) > f(a[best]) {
                best = j;
            }
        }
        [exact(f(a[best])), Word::Bits(best as u32)]
    })
}

/// The maximum, and the sum of exponentials relative to it over `scores` words a thread.
///
/// A term passes at most eight merges; in each it is multiplied by an `exp_approx` (of at most 8,
/// the scores' spread) and added: `8·(EX2 + 2U·8 + 2U)`.
fn softmax(a: &[u32], block: bool, scores: usize) -> Expected {
    Expected::registers(|i| {
        let words: Vec<f64> = (0..scores)
            .flat_map(|s| group(i, block).map(move |j| j + 64 * s))
            .map(|j| f64::from(f(a[j])))
            .collect();
        let max = words.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = words.iter().map(|x| (x - max).exp()).sum();
        let relative = 8.0 * (EX2 + 18.0 * U);
        [
            exact(max as f32),
            Word::Near {
                value: sum,
                error: sum * relative,
            },
        ]
    })
}

fn reduction(rest: &str) -> Option<Model> {
    let (input, expected): (Input, fn(&[u32]) -> Expected) = match rest {
        "warp_sum" => (Input::SmallIntegers, |a| sum(a, false)),
        "block_sum" => (Input::SmallIntegers, |a| sum(a, true)),
        "warp_max" => (Input::Scores, |a| max(a, false)),
        "block_max" => (Input::Scores, |a| max(a, true)),
        // Small integers tie often: the lowest index wins.
        "warp_arg_max" => (Input::SmallIntegers, |a| arg_max(a, false)),
        "block_arg_max" => (Input::SmallIntegers, |a| arg_max(a, true)),
        "warp_softmax" => (Input::Scores, |a| softmax(a, false, 2)),
        "block_softmax" => (Input::Scores, |a| softmax(a, true, 1)),
        _ => return None,
    };
    Some(Model { input, expected })
}
