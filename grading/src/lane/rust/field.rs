//! What inputs are made of: sizes, parameters and tensors, found in a call by their names.

use super::Numbers;
use crate::submission::{Call, Failure, Value};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use std::borrow::Cow;
use std::ops::Deref;

/// Something that a call holds under a name.
pub trait Field<'a>: Sized {
    /// It, if the call has it.
    ///
    /// # Errors
    /// When what the call has is of another type.
    fn find(call: &'a Call, name: &str) -> Result<Option<Self>, Failure>;

    /// It.
    ///
    /// # Errors
    /// When the call does not have it, or has something else.
    fn of(call: &'a Call, name: &str) -> Result<Self, Failure> {
        let missing = || Failure::Grader(format!("the call has no `{name}`"));
        Self::find(call, name)?.ok_or_else(missing)
    }
}

impl<'a, F: Field<'a>> Field<'a> for Option<F> {
    fn find(call: &'a Call, name: &str) -> Result<Option<Self>, Failure> {
        F::find(call, name).map(Some)
    }
}

/// The contract and the call do not fit: the grader's mistake, since it holds its own calls
/// against the contract.
fn unlike<T>(name: &str, what: &str) -> Result<T, Failure> {
    Err(Failure::Grader(format!("`{name}` is not {what}")))
}

/// A size, or a parameter that counts.
impl Field<'_> for usize {
    fn find(call: &Call, name: &str) -> Result<Option<Self>, Failure> {
        if let Some(size) = call.sizes.get(name) {
            return Ok(usize::try_from(*size).ok());
        }
        match call.parameters.get(name) {
            None => Ok(None),
            Some(Value::Int(n)) => Ok(usize::try_from(*n).ok()),
            Some(_) => unlike(name, "a whole number"),
        }
    }
}

/// Parameters that kernels take are exactly f32.
impl Field<'_> for f32 {
    fn find(call: &Call, name: &str) -> Result<Option<Self>, Failure> {
        match call.parameters.get(name) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x as f32)),
            Some(Value::Int(n)) => Ok(Some(*n as f32)),
            Some(_) => unlike(name, "a number"),
        }
    }
}

/// Parameters that no kernel takes as f32.
impl Field<'_> for f64 {
    fn find(call: &Call, name: &str) -> Result<Option<Self>, Failure> {
        match call.parameters.get(name) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Int(n)) => Ok(Some(*n as f64)),
            Some(_) => unlike(name, "a number"),
        }
    }
}

impl Field<'_> for bool {
    fn find(call: &Call, name: &str) -> Result<Option<Self>, Failure> {
        match call.parameters.get(name) {
            None => Ok(None),
            Some(Value::Bool(yes)) => Ok(Some(*yes)),
            Some(_) => unlike(name, "true or false"),
        }
    }
}

impl<'a> Field<'a> for &'a str {
    fn find(call: &'a Call, name: &str) -> Result<Option<Self>, Failure> {
        match call.parameters.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => unlike(name, "a text"),
        }
    }
}

impl<'a> Field<'a> for &'a [i64] {
    fn find(call: &'a Call, name: &str) -> Result<Option<Self>, Failure> {
        match call.parameters.get(name) {
            None => Ok(None),
            Some(Value::Ints(list)) => Ok(Some(list)),
            Some(_) => unlike(name, "a list"),
        }
    }
}

/// The type in which an output is asked for, where no input says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub DType);

impl Field<'_> for Asked {
    fn find(call: &Call, name: &str) -> Result<Option<Self>, Failure> {
        Ok(call.output(name).map(|output| Asked(output.dtype)))
    }
}

/// A tensor whose elements are of one type; it is a slice of them, row-major.
#[derive(Clone, Debug)]
pub struct View<'a, T: Scalar> {
    tensor: &'a Tensor,
    elements: Cow<'a, [T]>,
}

impl<'a, T: Scalar> View<'a, T> {
    fn new(tensor: &'a Tensor) -> Option<View<'a, T>> {
        if tensor.dtype() != T::DTYPE {
            return None;
        }
        // Bytes may lie anywhere: what is not aligned is copied.
        let elements = match bytemuck::try_cast_slice(tensor.bytes()) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => Cow::Owned(tensor.to_vec()?),
        };
        Some(View { tensor, elements })
    }

    /// Its shape.
    pub fn shape(&self) -> &'a [usize] {
        self.tensor.shape()
    }

    /// It as it came.
    pub fn tensor(&self) -> &'a Tensor {
        self.tensor
    }
}

impl<T: Scalar> Deref for View<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements
    }
}

impl<'a, T: Scalar> Field<'a> for View<'a, T> {
    fn find(call: &'a Call, name: &str) -> Result<Option<Self>, Failure> {
        let Some(tensor) = call.input(name) else {
            return Ok(None);
        };
        match View::new(tensor) {
            Some(view) => Ok(Some(view)),
            None => unlike(name, T::DTYPE.name()),
        }
    }
}

macro_rules! any_of {
    ($(#[$doc:meta])* $name:ident: $what:literal; $($variant:ident($t:ty)),*) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub enum $name<'a> {
            $(#[doc = concat!("In `", stringify!($t), "`.")] $variant(View<'a, $t>),)*
        }

        impl<'a> $name<'a> {
            /// It as it came.
            pub fn tensor(&self) -> &'a Tensor {
                match self {
                    $($name::$variant(view) => view.tensor(),)*
                }
            }

            /// Its shape.
            pub fn shape(&self) -> &'a [usize] {
                self.tensor().shape()
            }

            /// The type of its elements.
            pub fn dtype(&self) -> DType {
                self.tensor().dtype()
            }

            /// Its elements as f32: exact.
            pub fn to_f32(&self) -> Vec<f32> {
                self.tensor().to_f32()
            }

            /// Numbers in its type, for an output that is as it is: rounded to nearest, ties to
            /// even.
            pub fn round(&self, numbers: &[f32]) -> Numbers {
                Numbers::rounded(self.dtype(), numbers)
            }
        }

        impl<'a> Field<'a> for $name<'a> {
            fn find(call: &'a Call, name: &str) -> Result<Option<Self>, Failure> {
                let Some(tensor) = call.input(name) else {
                    return Ok(None);
                };
                $(if let Some(view) = View::new(tensor) {
                    return Ok(Some($name::$variant(view)));
                })*
                unlike(name, $what)
            }
        }
    };
}

any_of! {
    /// A tensor in any of the three float types.
    Floats: "f32, f16 or bf16"; F32(f32), F16(f16), Bf16(bf16)
}

any_of! {
    /// What pages of a cache hold: floats, or codes.
    Elements: "f32, f16, bf16, i8 or u8"; F32(f32), F16(f16), Bf16(bf16), I8(i8), U8(u8)
}
