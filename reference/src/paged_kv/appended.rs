//! Whether a cache holds what it must after tokens were appended.

use half::f16;

use super::append::{AppendMismatch, int4_admits, int8_admits};
use super::store::{PageStore, Pages};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, BoundedTensor, DType};

/// What is wrong with K or V pages after an append.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendFault {
    /// A component of a token.
    #[error("token {token}, head {head}, component {component} (slot {slot}): {got}, expected {} ± {:e}", expected.value, expected.bound)]
    Component {
        /// Which token, of those appended.
        token: usize,
        /// Its slot.
        slot: usize,
        /// Which KV head.
        head: usize,
        /// Which component.
        component: usize,
        /// What stands there.
        got: f64,
        /// What may.
        expected: Bounded,
    },
    /// A quantised vector of a token.
    #[error("token {token}, head {head} (slot {slot}): {mismatch}")]
    Vector {
        /// Which token, of those appended.
        token: usize,
        /// Its slot.
        slot: usize,
        /// Which KV head.
        head: usize,
        /// What is wrong with it.
        mismatch: AppendMismatch,
    },
    /// A slot that nothing was appended to.
    #[error("slot {slot}, head {head} was changed, and no token was appended there")]
    Touched {
        /// Which slot.
        slot: usize,
        /// Which KV head.
        head: usize,
    },
}

/// Judges `found`, pages of `before` to which the tokens `expected` `[T, Hkv, D]` (as they are before
/// they are stored) were appended at `slots`. Slots that nothing was appended to must hold the bits
/// they held.
pub fn judge_append(
    before: &PageStore,
    expected: &BoundedTensor,
    slots: &[usize],
    found: &Pages<'_>,
) -> Result<std::result::Result<(), AppendFault>> {
    let shape = before.shape();
    let (heads, d) = (shape.heads, shape.head_size);
    found.check("pages", &shape)?;
    if found.format() != before.pages().format() {
        let allowed = format!("{:?}", before.pages().format());
        return Err(Error::argument(
            "pages",
            format!("{:?}", found.format()),
            allowed,
        ));
    }
    if expected.shape() != [slots.len(), heads, d] {
        return Err(Error::Shape {
            argument: "expected",
            expected: vec![slots.len(), heads, d],
            got: expected.shape().to_vec(),
            because: "one row per slot, as the pages",
        });
    }
    if let Some(index) = slots.iter().position(|&slot| slot >= shape.slots()) {
        let allowed = format!("below the {} slots there are", shape.slots());
        return Err(Error::entry("slots", index, slots[index], allowed));
    }
    Ok(judge(before, expected, slots, found))
}

fn judge(
    before: &PageStore,
    expected: &BoundedTensor,
    slots: &[usize],
    found: &Pages<'_>,
) -> std::result::Result<(), AppendFault> {
    let (heads, d) = (before.shape().heads, before.shape().head_size);
    let mut written = vec![false; before.shape().slots()];
    for (token, &slot) in slots.iter().enumerate() {
        written[slot] = true;
        for head in 0..heads {
            let from = (token * heads + head) * d;
            let x = &expected.items()[from..from + d];
            match admits(x, found, slot * heads + head) {
                Ok(()) => {}
                Err(Wrong::Component(component, got, expected)) => {
                    return Err(AppendFault::Component {
                        token,
                        slot,
                        head,
                        component,
                        got,
                        expected,
                    });
                }
                Err(Wrong::Vector(mismatch)) => {
                    return Err(AppendFault::Vector {
                        token,
                        slot,
                        head,
                        mismatch,
                    });
                }
            }
        }
    }
    let untouched = (0..written.len()).filter(|&slot| !written[slot]);
    for slot in untouched {
        for head in 0..heads {
            let vector = slot * heads + head;
            if bits(&before.pages(), vector, d) != bits(found, vector, d) {
                return Err(AppendFault::Touched { slot, head });
            }
        }
    }
    Ok(())
}

enum Wrong {
    Component(usize, f64, Bounded),
    Vector(AppendMismatch),
}

/// Whether vector number `vector` is a right form of `x`.
fn admits(x: &[Bounded], found: &Pages<'_>, vector: usize) -> std::result::Result<(), Wrong> {
    let d = x.len();
    let range = vector * d..(vector + 1) * d;
    let float = |dtype: DType| {
        for (component, &x) in x.iter().enumerate() {
            // What is known exactly is stored in one way only.
            let expected = match x.bound == 0.0 {
                true => Bounded::exact(dtype.round(x.value)),
                false => x.stored(dtype),
            };
            let got = found.read(vector, component, d).value;
            if !expected.admits(got) {
                return Err(Wrong::Component(component, got, expected));
            }
        }
        Ok(())
    };
    match found {
        Pages::F32(_) => float(DType::F32),
        Pages::F16(_) => float(DType::F16),
        Pages::Bf16(_) => float(DType::Bf16),
        Pages::Int8 { codes, scale } => {
            int8_admits(x, &codes[range], scale[vector]).map_err(Wrong::Vector)
        }
        Pages::Int4 {
            packed,
            scale,
            zero,
        } => {
            let bytes = d.div_ceil(2);
            let packed = &packed[vector * bytes..(vector + 1) * bytes];
            int4_admits(x, packed, scale[vector], zero[vector]).map_err(Wrong::Vector)
        }
    }
}

/// All bits of one vector.
fn bits(pages: &Pages<'_>, vector: usize, d: usize) -> Vec<u32> {
    let range = vector * d..(vector + 1) * d;
    let of = |x: f16| u32::from(x.to_bits());
    match pages {
        Pages::F32(x) => x[range].iter().map(|x| x.to_bits()).collect(),
        Pages::F16(x) => x[range].iter().map(|&x| of(x)).collect(),
        Pages::Bf16(x) => x[range].iter().map(|x| u32::from(x.to_bits())).collect(),
        Pages::Int8 { codes, scale } => {
            let codes = codes[range].iter().map(|&code| code as u8 as u32);
            codes.chain([of(scale[vector])]).collect()
        }
        Pages::Int4 {
            packed,
            scale,
            zero,
        } => {
            let bytes = d.div_ceil(2);
            let packed = packed[vector * bytes..(vector + 1) * bytes].iter();
            let ends = [of(scale[vector]), of(zero[vector])];
            packed.map(|&byte| u32::from(byte)).chain(ends).collect()
        }
    }
}
