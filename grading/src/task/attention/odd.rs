//! NaN and infinity at single places of attention's tensors: what does not see them is as it was.

use super::Draft;
use crate::submission::Call;
use crate::tensor::{DType, Tensor};
use reference::cases::Rng;

/// An element of a tensor, and what it becomes.
pub(in crate::task) struct Spot {
    tensor: &'static str,
    at: usize,
    value: f64,
}

impl Draft {
    /// One NaN for each sequence and KV head, anywhere in one of those tensors.
    pub(in crate::task) fn spots(&self, tensors: &[&'static str], rng: &mut Rng) -> Vec<Spot> {
        let shape = &self.shape;
        let group = shape.query_heads / shape.kv_heads;
        let mut spots = Vec::new();
        for (sequence, (queries, keys)) in shape.lengths.iter().enumerate() {
            for head in 0..shape.kv_heads {
                let tensor = rng.choose(tensors);
                let of_key = matches!(tensor, "k" | "v");
                let rows = if of_key { *keys } else { *queries };
                if rows == 0 {
                    continue;
                }
                let row = match of_key {
                    true => shape.key_row(sequence, head, rng.below(rows)),
                    false => {
                        let head = head * group + rng.below(group);
                        shape.query_row(sequence, head, rng.below(rows))
                    }
                };
                let at = row * shape.head_size + rng.below(shape.head_size);
                spots.push(Spot::nan(tensor, at));
            }
        }
        spots
    }
}

impl Spot {
    /// NaN in an element of a tensor.
    pub(in crate::task) fn nan(tensor: &'static str, at: usize) -> Spot {
        Spot {
            tensor,
            at,
            value: f64::NAN,
        }
    }

    /// Which element.
    #[cfg(test)]
    pub(in crate::task) fn at(&self) -> usize {
        self.at
    }

    /// The same with +inf, where that makes scores of ±inf.
    pub(in crate::task) fn infinite(self) -> Spot {
        let value = match self.tensor {
            "q" | "k" => f64::INFINITY,
            _ => self.value,
        };
        Spot { value, ..self }
    }

    /// Puts it into the numbers that a call is made of.
    pub(in crate::task) fn put(&self, draft: &mut Draft, d_o: &mut [f64]) {
        let numbers = match self.tensor {
            "q" => &mut draft.q[..],
            "k" => &mut draft.k,
            "v" => &mut draft.v,
            _ => d_o,
        };
        numbers[self.at] = self.value;
    }

    /// Gives the NaN of a call, which is the usual one, other bits: of either sign, quiet or not,
    /// one bit set or all of them.
    pub(in crate::task) fn vary(&self, call: &mut Call, rng: &mut Rng) {
        let input = call.inputs.iter_mut().find(|i| i.name == self.tensor);
        let Some(tensor) = input.map(|input| &mut input.tensor) else {
            return;
        };
        if !self.value.is_nan() {
            return;
        }
        let bits: u32 = match tensor.dtype() {
            DType::F16 => rng.choose(&[0x7e00, 0x7c01, 0x7fff, 0xfe00, 0xfc01, 0xffff]),
            DType::Bf16 => rng.choose(&[0x7fc0, 0x7f81, 0x7fff, 0xffc0, 0xff81, 0xffff]),
            _ => rng.choose(&[0x7fc0_0000, 0x7f80_0001, 0xffff_ffff, 0xff80_0001]),
        };
        let size = tensor.dtype().bytes();
        let mut bytes = tensor.bytes().to_vec();
        bytes[self.at * size..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
        *tensor = Tensor::new(tensor.dtype(), tensor.shape().to_vec(), bytes)
            .expect("as many bytes as before");
    }
}
