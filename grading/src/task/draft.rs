//! Putting a call together.

use crate::submission::{Call, Named, OutputSpec, Value};
use crate::tensor::{DType, Scalar, Tensor};
use std::collections::BTreeMap;

/// A call that is being put together. Inputs and outputs are named in the order of the contract.
#[derive(Clone, Debug)]
pub struct Draft(Call);

impl Draft {
    /// An operation of a task.
    pub fn new(task: &'static str, op: &'static str) -> Draft {
        Draft(Call {
            task,
            op,
            sizes: BTreeMap::new(),
            parameters: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        })
    }

    /// A size.
    #[must_use]
    pub fn size(mut self, name: &str, size: usize) -> Draft {
        self.0.sizes.insert(name.to_owned(), size as u64);
        self
    }

    /// A parameter.
    #[must_use]
    pub fn set(mut self, name: &str, value: Value) -> Draft {
        self.0.parameters.insert(name.to_owned(), value);
        self
    }

    /// An input.
    ///
    /// # Panics
    /// When the elements are not as many as the shape says: a mistake of a generator.
    #[must_use]
    pub fn input<T: Scalar>(self, name: &str, shape: &[usize], elements: &[T]) -> Draft {
        let tensor = Tensor::of(shape, elements).expect("a generator makes what its shape says");
        self.tensor(name, tensor)
    }

    /// An input that may be left out.
    #[must_use]
    pub fn maybe<T: Scalar>(self, name: &str, shape: &[usize], elements: Option<&[T]>) -> Draft {
        match elements {
            Some(elements) => self.input(name, shape, elements),
            None => self,
        }
    }

    /// An input that is a tensor already.
    #[must_use]
    pub fn tensor(mut self, name: &str, tensor: Tensor) -> Draft {
        let name = name.to_owned();
        self.0.inputs.push(Named { name, tensor });
        self
    }

    /// An output to ask for.
    #[must_use]
    pub fn output(mut self, name: &str, dtype: DType, shape: &[usize]) -> Draft {
        self.0.outputs.push(OutputSpec {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        });
        self
    }

    /// The call.
    pub fn call(self) -> Call {
        self.0
    }
}
