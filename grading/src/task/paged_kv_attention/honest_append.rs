//! Plain appending in f32, and what can go wrong in it.

use super::append::pairs;
use super::cases::integers;
use super::pages::{Owned, shape};
use crate::submission::{Call, Failure, Named};
use crate::task::Way;
use crate::tensor::Tensor;
use half::{bf16, f16};
use reference::paged_kv::PageShape;
use reference::paged_kv::append::RopePairs;

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    appended(call, way).map_err(Failure::Grader)
}

fn appended(call: &Call, way: &Way) -> Result<Vec<Named>, String> {
    let tensor = call.input("k").ok_or("no k")?;
    let &[tokens, heads, d] = tensor.shape() else {
        return Err("k is no vector a head".into());
    };
    let v = call.input("v").ok_or("no v")?.to_f32();
    let mut k = tensor.to_f32();
    if let Some(pairs) = pairs(call).filter(|_| !way.has("not-rotated")) {
        rotate(call, way, pairs, heads, d, &mut k)?;
    }
    let shape = shape(call, d)?;
    let slots: Vec<usize> = (integers(call, "slots")?.into_iter())
        .map(|slot| slot as usize)
        .collect();
    let target = |token: usize| match way.mistake {
        Some("one-slot-late") => (slots[token] + 1) % shape.slots(),
        Some("slots-in-order") => token,
        _ => slots[token],
    };
    let mut pages = [
        Owned::read("k", &call.inputs)?,
        Owned::read("v", &call.inputs)?,
    ];
    for (pages, x) in pages.iter_mut().zip([&k, &v]) {
        for token in 0..tokens {
            for head in 0..heads {
                let from = (token * heads + head) * d;
                let vector = target(token) * heads + head;
                store(pages, vector, &x[from..from + d], way);
            }
        }
    }
    let [k, v] = pages;
    Ok(outputs(call, &k, &v, shape))
}

fn outputs(call: &Call, k: &Owned, v: &Owned, shape: PageShape) -> Vec<Named> {
    let PageShape {
        pages, page, heads, ..
    } = shape;
    let vectors = [pages, page, heads];
    let good = "as many as there were";
    let part = |owned: &Owned, part: &str, like: &[usize]| match (owned, part) {
        (Owned::F32(x), _) => Tensor::of(like, x).expect(good),
        (Owned::F16(x), _) => Tensor::of(like, x).expect(good),
        (Owned::Bf16(x), _) => Tensor::of(like, x).expect(good),
        (Owned::Int8(codes, _), "pages") => Tensor::of(like, codes).expect(good),
        (Owned::Int4(packed, ..), "pages") => Tensor::of(like, packed).expect(good),
        (Owned::Int8(_, scale) | Owned::Int4(_, scale, _), "scale") => {
            Tensor::of(&vectors, scale).expect(good)
        }
        (Owned::Int8(_, zero) | Owned::Int4(_, _, zero), _) => {
            Tensor::of(&vectors, zero).expect(good)
        }
    };
    let each = call.outputs.iter().map(|output| {
        let (which, name) = output.name.split_once('_').unwrap_or(("k", "pages"));
        let owned = if which == "k" { k } else { v };
        Named {
            name: output.name.clone(),
            tensor: part(owned, name, &output.shape),
        }
    });
    each.collect()
}

fn rotate(
    call: &Call,
    way: &Way,
    pairs: RopePairs,
    heads: usize,
    d: usize,
    k: &mut [f32],
) -> Result<(), String> {
    let table = |name: &str| {
        let tensor = call.input(name).map(Tensor::to_f32);
        tensor.ok_or_else(|| format!("no {name}"))
    };
    let (cos, sin) = (table("cos")?, table("sin")?);
    let position = integers(call, "position")?;
    let half = (pairs == RopePairs::Half) != way.has("other-pairs");
    for (at, x) in k.chunks_mut(d).enumerate() {
        let row = position[at / heads] as usize * (d / 2);
        for f in 0..d / 2 {
            let (a, b) = if half {
                (f, f + d / 2)
            } else {
                (2 * f, 2 * f + 1)
            };
            let (xa, xb) = (x[a], x[b]);
            let (c, s) = (cos[row + f], sin[row + f]);
            let s = if way.has("turned-backwards") { -s } else { s };
            (x[a], x[b]) = match way.has("rotated-by-fma") {
                true => (xa.mul_add(c, -(xb * s)), xb.mul_add(c, xa * s)),
                false => (xa * c - xb * s, xb * c + xa * s),
            };
        }
    }
    Ok(())
}

/// Half to even, or as a mistake has it.
fn rounded(x: f32, way: &Way) -> f32 {
    match way.mistake {
        Some("half-away-from-zero") => x.round(),
        Some("truncated") => x.trunc(),
        _ => x.round_ties_even(),
    }
}

fn store(pages: &mut Owned, vector: usize, x: &[f32], way: &Way) {
    let d = x.len();
    let at = vector * d..(vector + 1) * d;
    match pages {
        Owned::F32(to) => to[at].copy_from_slice(x),
        Owned::F16(to) => {
            let each = to[at].iter_mut().zip(x);
            each.for_each(|(to, x)| *to = f16::from_f32(*x));
        }
        Owned::Bf16(to) => {
            let truncated = |x: f32| bf16::from_bits((x.to_bits() >> 16) as u16);
            let each = to[at].iter_mut().zip(x);
            each.for_each(|(to, x)| {
                *to = match way.has("bf16-truncated") {
                    true => truncated(*x),
                    false => bf16::from_f32(*x),
                }
            });
        }
        Owned::Int8(codes, scales) => {
            let most = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            let most = match way.has("greatest-not-absolute") {
                true => x.iter().fold(0.0_f32, |m, x| m.max(*x)),
                false => most,
            };
            let exact = most / 127.0;
            let scale = f16::from_f32(exact);
            scales[vector] = scale;
            let used = match way.has("scale-not-rounded-first") {
                true => exact,
                false => scale.to_f32(),
            };
            for (to, x) in codes[at].iter_mut().zip(x) {
                let code = match used == 0.0 && !way.has("zero-divided") {
                    true => 0.0,
                    false => rounded(x / used, way).clamp(-127.0, 127.0),
                };
                *to = if code.is_nan() { -1 } else { code as i8 };
            }
        }
        Owned::Int4(packed, scales, zeros) => {
            let least = x.iter().copied().fold(f32::INFINITY, f32::min);
            let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exact = (most - least) / 15.0;
            let mut scale = f16::from_f32(exact);
            if scale == f16::ZERO && !way.has("constant-divided") {
                scale = f16::ONE;
            }
            let used = match way.has("scale-not-rounded-first") && exact > 0.0 {
                true => exact,
                false => scale.to_f32(),
            };
            let mut zero = f16::from_f32(-least / used);
            // A range, or a distance from zero, that f16 cannot hold: as for a constant vector.
            let used = match zero.is_finite() || way.has("constant-divided") {
                true => used,
                false => {
                    (scale, zero) = (f16::ONE, f16::from_f32(-least));
                    1.0
                }
            };
            (scales[vector], zeros[vector]) = (scale, zero);
            let bytes = d.div_ceil(2);
            let codes: Vec<u8> = (x.iter())
                .map(|x| rounded(x / used + zero.to_f32(), way).clamp(0.0, 15.0) as u8)
                .collect();
            for byte in 0..bytes {
                let low = codes[2 * byte];
                let high = codes.get(2 * byte + 1).copied();
                let high = match way.has("unused-nibble") {
                    true => high.unwrap_or(low),
                    false => high.unwrap_or(0),
                };
                packed[vector * bytes + byte] = match way.has("nibbles-swapped") {
                    true => low << 4 | high,
                    false => high << 4 | low,
                };
            }
        }
    }
}
