//! Tensors as they come and go: a type, a shape, and bytes in row-major order.

use std::fmt;

macro_rules! dtypes {
    ($($variant:ident, $name:literal, $bytes:literal;)*) => {
        /// The type of a tensor's elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DType {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl DType {
            /// All of them.
            pub const ALL: &'static [DType] = &[$(DType::$variant),*];

            /// Its name: `f32`.
            pub fn name(self) -> &'static str {
                match self {
                    $(DType::$variant => $name,)*
                }
            }

            /// Bytes of an element.
            pub fn bytes(self) -> usize {
                match self {
                    $(DType::$variant => $bytes,)*
                }
            }

            /// The type of that name.
            pub fn from_name(name: &str) -> Option<DType> {
                match name {
                    $($name => Some(DType::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

dtypes! {
    U8, "u8", 1;
    I8, "i8", 1;
    U16, "u16", 2;
    I16, "i16", 2;
    U32, "u32", 4;
    I32, "i32", 4;
    U64, "u64", 8;
    I64, "i64", 8;
    F16, "f16", 2;
    Bf16, "bf16", 2;
    F32, "f32", 4;
    F64, "f64", 8;
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor. Its bytes are as many as its type and shape say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A shape whose bytes cannot be counted, or bytes that are not as many as it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {dtype} tensor of shape {shape:?} does not have {bytes} bytes")]
pub struct SizeMismatch {
    dtype: DType,
    shape: Vec<usize>,
    bytes: usize,
}

/// The bytes of a tensor of that type and shape, if they can be counted.
pub fn byte_count(dtype: DType, shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(dtype.bytes(), |bytes, size| bytes.checked_mul(*size))
}

impl Tensor {
    /// A tensor of those bytes.
    ///
    /// # Errors
    /// When they are not as many as the type and shape say.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Tensor, SizeMismatch> {
        if byte_count(dtype, &shape) == Some(bytes.len()) {
            Ok(Tensor {
                dtype,
                shape,
                bytes,
            })
        } else {
            Err(SizeMismatch {
                dtype,
                shape,
                bytes: bytes.len(),
            })
        }
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its bytes, little-endian, row-major.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
