//! Typed memory of a device.

use crate::{Device, Error, Result};
use std::marker::PhantomData;
use std::sync::Arc;

mod sealed {
    pub trait Sealed {}
}

/// A type a buffer can hold: plain numbers.
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// Its name: `f32`, `bf16`.
    const NAME: &'static str;
}

macro_rules! elements {
    ($($t:ty = $name:literal),*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const NAME: &'static str = $name;
        }
    )*};
}

elements!(
    u8 = "u8",
    i8 = "i8",
    u16 = "u16",
    i16 = "i16",
    u32 = "u32",
    i32 = "i32",
    u64 = "u64",
    i64 = "i64",
    f32 = "f32",
    f64 = "f64",
    half::f16 = "f16",
    half::bf16 = "bf16"
);

/// An array of `T` on a device. Freed when dropped.
#[derive(Debug)]
pub struct Buffer<T: Element> {
    device: Arc<dyn Device>,
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// An array of `len` elements with undefined contents.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub fn uninit(device: &Arc<dyn Device>, len: usize) -> Result<Buffer<T>> {
        let bytes = len
            .checked_mul(size_of::<T>())
            .ok_or_else(|| Error::Memory {
                bytes: usize::MAX,
                device: device.name(),
                why: format!(
                    "{len} elements of {} bytes cannot be counted",
                    size_of::<T>()
                ),
            })?;
        let address = if bytes == 0 {
            0
        } else {
            device.allocate(bytes)?
        };
        Ok(Buffer {
            device: device.clone(),
            address,
            len,
            element: PhantomData,
        })
    }

    /// An array that holds `values`.
    ///
    /// # Errors
    /// When there is not as much memory, or the copy fails.
    pub fn from_slice(device: &Arc<dyn Device>, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = Buffer::uninit(device, values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device it lives on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The address of its first element on the device; 0 when it is empty.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Overwrites all elements.
    ///
    /// # Errors
    /// When `values` has another length, or work before it failed.
    pub fn write(&mut self, values: &[T]) -> Result<()> {
        self.same_length(values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        self.device
            .write(self.address, 0, bytemuck::cast_slice(values))
    }

    /// All elements, after the work that was asked for before.
    ///
    /// # Errors
    /// When that work failed.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); self.len];
        if !values.is_empty() {
            self.device
                .read(self.address, 0, bytemuck::cast_slice_mut(&mut values))?;
        }
        Ok(values)
    }

    fn same_length(&self, len: usize) -> Result<()> {
        if len == self.len {
            return Ok(());
        }
        Err(Error::Length {
            name: "values",
            got: len,
            expected: self.len,
            shape: "the buffer".into(),
        })
    }

    /// Fails unless the buffer holds exactly the elements of a shape.
    pub(crate) fn expect_shape(&self, name: &'static str, shape: &[(&str, usize)]) -> Result<()> {
        let shown = || {
            let parts: Vec<_> = shape
                .iter()
                .map(|(name, size)| format!("{name} {size}"))
                .collect();
            parts.join(" × ")
        };
        let expected = shape
            .iter()
            .try_fold(1_usize, |n, (_, size)| n.checked_mul(*size));
        match expected {
            Some(expected) if expected == self.len => Ok(()),
            Some(expected) => Err(Error::Length {
                name,
                got: self.len,
                expected,
                shape: shown(),
            }),
            None => Err(Error::Parameter {
                name,
                got: shown(),
                must_be: "a number of elements that can be counted".into(),
            }),
        }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.address != 0 {
            self.device.free(self.address);
        }
    }
}
