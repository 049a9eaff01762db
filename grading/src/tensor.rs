//! Tensors as they come and go: a type, a shape, and bytes in row-major order.

use half::{bf16, f16};
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

    /// A tensor of those elements.
    ///
    /// # Errors
    /// When they are not as many as the shape says.
    pub fn of<T: Scalar>(shape: &[usize], elements: &[T]) -> Result<Tensor, SizeMismatch> {
        let bytes = bytemuck::cast_slice(elements).to_vec();
        Tensor::new(T::DTYPE, shape.to_vec(), bytes)
    }

    /// Its elements, if they have that type.
    pub fn to_vec<T: Scalar>(&self) -> Option<Vec<T>> {
        (self.dtype == T::DTYPE).then(|| self.elements().collect())
    }

    /// The bytes may lie anywhere: elements are read unaligned.
    fn elements<T: Scalar>(&self) -> impl Iterator<Item = T> {
        let elements = self.bytes.chunks_exact(size_of::<T>());
        elements.map(bytemuck::pod_read_unaligned)
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.bytes()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its elements as f64: exact, but for 64-bit integers beyond 2⁵³.
    pub fn to_f64(&self) -> Vec<f64> {
        fn all<T: Scalar>(tensor: &Tensor, read: impl Fn(T) -> f64) -> Vec<f64> {
            tensor.elements().map(read).collect()
        }
        match self.dtype {
            DType::U8 => all::<u8>(self, f64::from),
            DType::I8 => all::<i8>(self, f64::from),
            DType::U16 => all::<u16>(self, f64::from),
            DType::I16 => all::<i16>(self, f64::from),
            DType::U32 => all::<u32>(self, f64::from),
            DType::I32 => all::<i32>(self, f64::from),
            DType::U64 => all::<u64>(self, |x| x as f64),
            DType::I64 => all::<i64>(self, |x| x as f64),
            DType::F16 => all::<f16>(self, f64::from),
            DType::Bf16 => all::<bf16>(self, f64::from),
            DType::F32 => all::<f32>(self, f64::from),
            DType::F64 => all::<f64>(self, |x| x),
        }
    }

    /// Its elements as f32: exact for floats of 32 bits and less.
    pub fn to_f32(&self) -> Vec<f32> {
        self.to_f64().into_iter().map(|x| x as f32).collect()
    }

    /// A tensor of that type from numbers: floats are rounded to nearest, ties to even, integers
    /// saturate.
    ///
    /// # Errors
    /// When there are not as many as the shape says.
    pub fn from_f64(
        dtype: DType,
        shape: &[usize],
        numbers: &[f64],
    ) -> Result<Tensor, SizeMismatch> {
        fn all<T: Scalar>(
            shape: &[usize],
            numbers: &[f64],
            write: impl Fn(f64) -> T,
        ) -> Result<Tensor, SizeMismatch> {
            let elements: Vec<T> = numbers.iter().map(|x| write(*x)).collect();
            Tensor::of(shape, &elements)
        }
        use reference::numbers::Element;
        match dtype {
            DType::U8 => all(shape, numbers, |x| x as u8),
            DType::I8 => all(shape, numbers, |x| x as i8),
            DType::U16 => all(shape, numbers, |x| x as u16),
            DType::I16 => all(shape, numbers, |x| x as i16),
            DType::U32 => all(shape, numbers, |x| x as u32),
            DType::I32 => all(shape, numbers, |x| x as i32),
            DType::U64 => all(shape, numbers, |x| x as u64),
            DType::I64 => all(shape, numbers, |x| x as i64),
            DType::F16 => all(shape, numbers, <f16 as Element>::from_f64),
            DType::Bf16 => all(shape, numbers, <bf16 as Element>::from_f64),
            DType::F32 => all(shape, numbers, |x| x as f32),
            DType::F64 => all(shape, numbers, |x| x),
        }
    }
}

/// A type of elements.
pub trait Scalar: bytemuck::Pod {
    /// Its name for tensors.
    const DTYPE: DType;
}

macro_rules! scalars {
    ($($t:ty = $variant:ident),*) => {
        $(impl Scalar for $t {
            const DTYPE: DType = DType::$variant;
        })*
    };
}

scalars!(
    u8 = U8,
    i8 = I8,
    u16 = U16,
    i16 = I16,
    u32 = U32,
    i32 = I32,
    u64 = U64,
    i64 = I64,
    f16 = F16,
    bf16 = Bf16,
    f32 = F32,
    f64 = F64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_and_come_out_in_every_type() {
        let numbers = [0.0, 1.0, 2.0, 100.0];
        for dtype in DType::ALL {
            let tensor = Tensor::from_f64(*dtype, &[2, 2], &numbers).unwrap();
            assert_eq!((tensor.len(), tensor.dtype()), (4, *dtype));
            assert_eq!(tensor.to_f64(), numbers, "{dtype}");
        }
        assert!(Tensor::from_f64(DType::F32, &[3], &numbers).is_err());
    }

    #[test]
    fn elements_come_out_only_as_what_they_are() {
        let tensor = Tensor::of(&[2], &[1.5_f32, -0.0]).unwrap();
        assert_eq!(tensor.to_vec::<f32>(), Some(vec![1.5, -0.0]));
        assert_eq!(tensor.to_vec::<i32>(), None);
    }
}
