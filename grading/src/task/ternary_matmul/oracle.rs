//! What is right for a call.

use super::cases::{Real, packing, weights_of};
use crate::submission::{Call, Named};
use crate::task::{BoundedOutputs, Element, Judged, JudgedOutput, Oracle, dtype};
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::numbers::{self, Bounded, BoundedTensor, Precision};
use reference::ternary::{
    self, Packed, check_quantised, embed, forward, input_gradient, weight_gradient,
};

pub(super) fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    if call.op == "embed" {
        return rows(call);
    }
    match call.inputs.first().map(|input| input.tensor.dtype()) {
        Some(DType::F16) => of::<f16>(call),
        Some(DType::Bf16) => of::<bf16>(call),
        _ => of::<f32>(call),
    }
}

fn of<T: Real>(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let read = |name: &str| -> Result<(Vec<T>, [usize; 2]), String> {
        let tensor = call.input(name).ok_or(format!("no {name}"))?;
        let data = tensor.to_vec().ok_or(format!("{name} of another type"))?;
        match tensor.shape() {
            [a, b] => Ok((data, [*a, *b])),
            _ => Err(format!("{name} is not a matrix")),
        }
    };
    let precision = Precision::of(<T as numbers::Element>::DTYPE);
    let text = |error: reference::Error| error.to_string();
    match call.op {
        "forward" => {
            let (x, shape) = read("x")?;
            let x = View::new("x", &x, shape).map_err(text)?;
            let y = forward(x, &weights_of(call)?, precision).map_err(text)?;
            Ok(floats("y", dtype(precision.output), y))
        }
        "input-gradient" => {
            let (dy, shape) = read("dy")?;
            let dy = View::new("dy", &dy, shape).map_err(text)?;
            let dx = input_gradient(dy, &weights_of(call)?, precision).map_err(text)?;
            Ok(floats("dx", dtype(precision.output), dx))
        }
        "weight-gradient" => {
            let ((dy, of_dy), (x, of_x)) = (read("dy")?, read("x")?);
            let dy = View::new("dy", &dy, of_dy).map_err(text)?;
            let x = View::new("x", &x, of_x).map_err(text)?;
            let precision = precision.with_output(numbers::DType::F32);
            let dw = weight_gradient(dy, x, precision).map_err(text)?;
            Ok(floats("dW", DType::F32, dw))
        }
        "quantise-forward" => {
            let (x, of_x) = read("x")?;
            let tensor = call.input("W").ok_or("no W")?;
            let w = tensor.to_vec().ok_or("W of another type")?;
            let &[n, k] = tensor.shape() else {
                return Err("W is not a matrix".into());
            };
            let view = View::new("W", &w, [n, k]).map_err(text)?;
            let best = ternary::quantise_absmean(view, packing(call)).map_err(text)?;
            View::new("x", &x, of_x).map_err(text)?;
            let packs = Packs {
                w,
                shape: [n, k],
                best,
                exact: false,
            };
            Ok(Box::new(Fused { x, of_x, packs }))
        }
        "quantise" | "pack-exact" => {
            let (w, shape) = read("W")?;
            let view = View::new("W", &w, shape).map_err(text)?;
            let exact = call.op == "pack-exact";
            let best = match exact {
                true => ternary::pack_exact(view, packing(call)),
                false => ternary::quantise_absmean(view, packing(call)),
            };
            let best = best.map_err(text)?;
            Ok(Box::new(Packs {
                w,
                shape,
                best,
                exact,
            }))
        }
        other => Err(format!("no operation {other}")),
    }
}

fn floats(name: &'static str, dtype: DType, expected: BoundedTensor) -> Box<dyn Oracle> {
    Box::new(BoundedOutputs(vec![(name, dtype, expected)]))
}

fn rows(call: &Call) -> Result<Box<dyn Oracle>, String> {
    let tokens: Vec<i32> = call
        .input("tokens")
        .and_then(|tokens| tokens.to_vec())
        .ok_or("no tokens")?;
    let asked = call.outputs.first().map_or(DType::F32, |o| o.dtype);
    let output = match asked {
        DType::F16 => numbers::DType::F16,
        DType::Bf16 => numbers::DType::Bf16,
        _ => numbers::DType::F32,
    };
    let precision = Precision::of(numbers::DType::F32).with_output(output);
    let rows = embed(&tokens, &weights_of(call)?, precision).map_err(|e| e.to_string())?;
    Ok(floats("rows", asked, rows))
}

/// Packed bytes: right are the best ones, and where a quotient is near a half or a mean near the
/// middle between two f16, what a quantisation in f32 may make of them.
struct Packs<T> {
    w: Vec<T>,
    shape: [usize; 2],
    best: Packed,
    exact: bool,
}

impl<T: Real> Oracle for Packs<T> {
    fn best(&self) -> Vec<Named> {
        let [n, k] = self.shape;
        let packing = self.best.packing();
        let shape = [n, k / ternary::GROUP, packing.block_bytes()];
        vec![Named {
            name: "packed".into(),
            tensor: Tensor::of(&shape, self.best.bytes()).expect("packed by that shape"),
        }]
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let got = &outputs[0].tensor;
        let note = self.note(got.bytes());
        let right = note.is_none();
        let pairs = got.bytes().iter().zip(self.best.bytes());
        let elements = pairs.map(|(got, best)| Element {
            got: f64::from(*got),
            expected: Bounded::exact(f64::from(*best)),
            right: right || got == best,
        });
        Judged {
            outputs: vec![JudgedOutput {
                name: "packed".into(),
                shape: got.shape().to_vec(),
                elements: elements.collect(),
            }],
            note,
        }
    }
}

impl<T: Real> Packs<T> {
    /// What is wrong, if anything is.
    fn note(&self, bytes: &[u8]) -> Option<String> {
        if bytes == self.best.bytes() {
            return None;
        }
        let packed = match Packed::from_bytes(self.best.packing(), self.shape, bytes) {
            Ok(packed) => packed,
            Err(error) => return Some(error.to_string()),
        };
        if self.exact {
            return Some("the packed weights are not those that were to be packed".into());
        }
        let judged = View::new("W", &self.w, self.shape).and_then(|w| {
            check_quantised(w, &packed, Precision::of(<T as numbers::Element>::DTYPE))
        });
        match judged {
            Ok(Ok(())) => None,
            Ok(Err(wrong)) => Some(wrong.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Packed weights, and the product with those that were packed.
struct Fused<T> {
    x: Vec<T>,
    of_x: [usize; 2],
    packs: Packs<f32>,
}

impl<T: Real> Fused<T> {
    fn product(&self, packed: &Packed) -> BoundedOutputs {
        let precision = Precision::of(<T as numbers::Element>::DTYPE);
        let x = View::new("x", &self.x, self.of_x).expect("looked at when the oracle was made");
        let y = forward(x, packed, precision).expect("shapes that a call has");
        BoundedOutputs(vec![("y", dtype(precision.output), y)])
    }
}

impl<T: Real> Oracle for Fused<T> {
    fn best(&self) -> Vec<Named> {
        let mut outputs = self.product(&self.packs.best).best();
        outputs.extend(self.packs.best());
        outputs
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let (packing, shape) = (self.packs.best.packing(), self.packs.shape);
        let bytes = outputs[1].tensor.bytes();
        // Bytes that are no weights are wrong by themselves; y is then held against the right ones.
        let own = Packed::from_bytes(packing, shape, bytes);
        let packed = own.as_ref().unwrap_or(&self.packs.best);
        let mut judged = self.product(packed).judge(&outputs[..1]);
        let packs = self.packs.judge(&outputs[1..]);
        judged.outputs.extend(packs.outputs);
        judged.note = packs.note;
        judged
    }
}
