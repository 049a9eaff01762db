//! The oracle of a call whose outputs are floats with bounds.

use super::oracle::{Element, Judged, JudgedOutput, Oracle};
use crate::submission::Named;
use crate::tensor::{DType, Tensor};
use reference::numbers::{self, BoundedTensor};

/// The outputs, in the order of the contract.
pub struct BoundedOutputs(pub Vec<(&'static str, DType, BoundedTensor)>);

impl Oracle for BoundedOutputs {
    fn best(&self) -> Vec<Named> {
        let outputs = self.0.iter();
        outputs
            .map(|(name, dtype, expected)| {
                let numbers: Vec<f64> = expected.values().collect();
                Named {
                    name: (*name).to_owned(),
                    tensor: Tensor::from_f64(*dtype, expected.shape(), &numbers)
                        .expect("as many values as the oracle's shape says"),
                }
            })
            .collect()
    }

    fn judge(&self, outputs: &[Named]) -> Judged {
        let pairs = self.0.iter().zip(outputs);
        let outputs = pairs.map(|((name, _, expected), got)| JudgedOutput {
            name: (*name).to_owned(),
            shape: expected.shape().to_vec(),
            elements: got
                .tensor
                .to_f64()
                .into_iter()
                .zip(expected.items())
                .map(|(got, expected)| Element::within(got, *expected))
                .collect(),
        });
        Judged {
            outputs: outputs.collect(),
            note: None,
        }
    }
}

/// The tensor type of an oracle's type.
pub fn dtype(of: numbers::DType) -> DType {
    match of {
        numbers::DType::F32 => DType::F32,
        numbers::DType::F16 => DType::F16,
        numbers::DType::Bf16 => DType::Bf16,
    }
}
