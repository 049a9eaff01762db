//! What outputs are made of.

use crate::submission::{Call, Failure, Named};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};

/// An output, or one that may be absent.
pub trait Output {
    /// It as a tensor of that shape, if it is there.
    ///
    /// # Errors
    /// When it has another number of elements: `malformed`.
    fn tensor(self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, Failure>;
}

impl<T: Scalar> Output for Vec<T> {
    fn tensor(self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, Failure> {
        let fits = Tensor::of(shape, &self);
        let why = |_| {
            let count = self.len();
            Failure::Malformed(format!(
                "output `{name}` has {count} elements, not {shape:?}"
            ))
        };
        fits.map(Some).map_err(why)
    }
}

impl<O: Output> Output for Option<O> {
    fn tensor(self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, Failure> {
        match self {
            Some(output) => output.tensor(name, shape),
            None => Ok(None),
        }
    }
}

/// Elements of an output whose type depends on an input's.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// In `f32`.
    F32(Vec<f32>),
    /// In `f16`.
    F16(Vec<f16>),
    /// In `bf16`.
    Bf16(Vec<bf16>),
    /// In `i8`.
    I8(Vec<i8>),
    /// In `u8`.
    U8(Vec<u8>),
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers::F32(Vec::new())
    }
}

impl Numbers {
    /// Floats rounded to that type, to nearest, ties to even; integers saturate. A type that no
    /// output has gives f32.
    pub fn rounded(dtype: DType, numbers: &[f32]) -> Numbers {
        match dtype {
            DType::F16 => Numbers::F16(numbers.iter().map(|x| f16::from_f32(*x)).collect()),
            DType::Bf16 => Numbers::Bf16(numbers.iter().map(|x| bf16::from_f32(*x)).collect()),
            DType::I8 => Numbers::I8(numbers.iter().map(|x| *x as i8).collect()),
            DType::U8 => Numbers::U8(numbers.iter().map(|x| *x as u8).collect()),
            _ => Numbers::F32(numbers.to_vec()),
        }
    }
}

impl Output for Numbers {
    fn tensor(self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, Failure> {
        match self {
            Numbers::F32(numbers) => numbers.tensor(name, shape),
            Numbers::F16(numbers) => numbers.tensor(name, shape),
            Numbers::Bf16(numbers) => numbers.tensor(name, shape),
            Numbers::I8(codes) => codes.tensor(name, shape),
            Numbers::U8(codes) => codes.tensor(name, shape),
        }
    }
}

/// Adds an output to an answer, in the shape that the call asks for.
///
/// # Errors
/// When the call does not ask for it, or it has another number of elements: `malformed`.
pub(super) fn put(
    call: &Call,
    name: &str,
    output: impl Output,
    outputs: &mut Vec<Named>,
) -> Result<(), Failure> {
    let shape = call.output(name).map_or(&[][..], |asked| &asked.shape);
    if let Some(tensor) = output.tensor(name, shape)? {
        if call.output(name).is_none() {
            let why = format!("output `{name}` is not asked for");
            return Err(Failure::Malformed(why));
        }
        outputs.push(Named {
            name: name.to_owned(),
            tensor,
        });
    }
    Ok(())
}
