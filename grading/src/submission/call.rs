//! A request: an operation of a task on named tensors.

use crate::tensor::{DType, Tensor, byte_count};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A parameter's value. An option that is off is absent from the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `causal: true`.
    Bool(bool),
    /// `K: 32`.
    Int(i64),
    /// `temperature: 0.7`. Those that kernels take as f32 are exactly representable in f32.
    Float(f64),
    /// `eos: [2, 7]`.
    Ints(Vec<i64>),
    /// `packing: "two-bit"`.
    Text(String),
}

/// A tensor and what the contract calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name in the contract.
    pub name: String,
    /// Its type, shape and bytes.
    pub tensor: Tensor,
}

/// An output that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its name in the contract.
    pub name: String,
    /// Its type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl OutputSpec {
    /// The bytes it must have. Shapes of calls can be counted.
    pub fn bytes(&self) -> usize {
        byte_count(self.dtype, &self.shape).unwrap_or(usize::MAX)
    }
}

/// Bytes of each input that decide the schedule.
const SCHEDULED: usize = 256;

/// One call of so many is answered with a schedule that explores.
const EXPLORED: u64 = 3;

/// An operation of a task on named tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The task: `softmax-topk`.
    pub task: &'static str,
    /// Its operation; a task with one has the task's own name for it.
    pub op: &'static str,
    /// The sizes that the contract names: `R`, `V`.
    pub sizes: BTreeMap<String, u64>,
    /// The parameters.
    pub parameters: BTreeMap<String, Value>,
    /// The inputs, in the order of the contract. An optional one that is not given is absent.
    pub inputs: Vec<Named>,
    /// The outputs that are asked for, in the order of the contract.
    pub outputs: Vec<OutputSpec>,
}

impl Call {
    /// The input of that name, if it is given.
    pub fn input(&self, name: &str) -> Option<&Tensor> {
        let named = self.inputs.iter().find(|input| input.name == name)?;
        Some(&named.tensor)
    }

    /// The output of that name, if it is asked for.
    pub fn output(&self, name: &str) -> Option<&OutputSpec> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// The seed of the schedule that the PTX machine answers this call with, and whether it is one
    /// that chooses at random wherever it is free. It comes from the call alone, so that a replay
    /// has the same one, and differs from call to call.
    pub fn schedule(&self) -> (u64, bool) {
        let inputs = self.inputs.iter().flat_map(|input| {
            let bytes = input.tensor.bytes();
            &bytes[..bytes.len().min(SCHEDULED)]
        });
        let sizes = self.sizes.values().flat_map(|n| n.to_le_bytes());
        // FNV-1a.
        let seed = inputs
            .copied()
            .chain(sizes)
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        (seed, (seed >> 20) % EXPLORED == 0)
    }

    /// Bytes of all inputs and outputs: what must be moved at least once.
    pub fn compulsory_bytes(&self) -> u64 {
        let inputs = self.inputs.iter().map(|input| input.tensor.bytes().len());
        let outputs = self.outputs.iter().map(OutputSpec::bytes);
        inputs.chain(outputs).map(|bytes| bytes as u64).sum()
    }
}
