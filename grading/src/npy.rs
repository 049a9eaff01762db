//! `.npy` files. NumPy has no bf16: such tensors are written as uint16, by their bits.

use crate::tensor::{DType, Tensor};
use bytemuck::Pod;
use half::f16;
use npyz::{DType as NpyType, NpyFile, Order, TypeStr, WriterBuilder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened, is no `.npy` file, or ends too early.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its elements are of a type that kernels do not take.
    #[error("{path}: elements of type {found}; numbers of 8 to 64 bits are taken")]
    Type {
        /// The file.
        path: PathBuf,
        /// The type in NumPy's words.
        found: String,
    },
    /// Its elements are not in row-major order.
    #[error("{path}: in Fortran order; save numpy.ascontiguousarray of it")]
    Order {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a tensor.
///
/// # Errors
/// When the file is not there, or is not a row-major array of numbers.
pub fn read(path: &Path) -> Result<Tensor, Error> {
    let io = |source| Error::Io {
        path: path.into(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    if !countable(reader.fill_buf().map_err(io)?) {
        return Err(io(too_large()));
    }
    let file = NpyFile::new(reader).map_err(io)?;
    let shape: Vec<usize> = file
        .shape()
        .iter()
        .map(|size| usize::try_from(*size).map_err(|_| io(too_large())))
        .collect::<Result<_, _>>()?;
    // A vector has no order; NumPy may write either.
    if file.order() == Order::Fortran && shape.iter().filter(|size| **size > 1).count() > 1 {
        return Err(Error::Order { path: path.into() });
    }
    let found = file.dtype().descr();
    let plain = match file.dtype() {
        NpyType::Plain(plain) => plain.to_string(),
        _ => {
            return Err(Error::Type {
                path: path.into(),
                found,
            });
        }
    };
    let (dtype, bytes) = match plain.as_str() {
        "|u1" => (DType::U8, elements::<u8>(file)),
        "|i1" => (DType::I8, elements::<i8>(file)),
        "<u2" => (DType::U16, elements::<u16>(file)),
        "<i2" => (DType::I16, elements::<i16>(file)),
        "<u4" => (DType::U32, elements::<u32>(file)),
        "<i4" => (DType::I32, elements::<i32>(file)),
        "<u8" => (DType::U64, elements::<u64>(file)),
        "<i8" => (DType::I64, elements::<i64>(file)),
        "<f2" => (DType::F16, elements::<f16>(file)),
        "<f4" => (DType::F32, elements::<f32>(file)),
        "<f8" => (DType::F64, elements::<f64>(file)),
        _ => {
            return Err(Error::Type {
                path: path.into(),
                found,
            });
        }
    };
    let bytes = bytes.map_err(io)?;
    Tensor::new(dtype, shape, bytes)
        .map_err(|mismatch| io(io::Error::new(io::ErrorKind::InvalidData, mismatch)))
}

/// Whether the shape that stands in a header, as `'shape': (2, 3)`, has a number of elements that
/// can be counted; npyz multiplies without looking. What is no header is for npyz to refuse.
fn countable(header: &[u8]) -> bool {
    let text = String::from_utf8_lossy(header);
    let after = text
        .split_once("shape")
        .and_then(|(_, rest)| rest.split_once('('));
    let Some((shape, _)) = after.and_then(|(_, rest)| rest.split_once(')')) else {
        return true;
    };
    let mut sizes = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty());
    // 0 × 2⁶⁴ is 0, but npyz multiplies from the left and from the right.
    let product = sizes.try_fold(1_u64, |n, size| {
        n.checked_mul(size.parse::<u64>().ok()?.max(1))
    });
    product.is_some()
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the shape is too large for this machine",
    )
}

/// The elements one by one, so that a header that promises more than the file holds costs nothing.
fn elements<T: npyz::Deserialize + Pod>(file: NpyFile<impl io::Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for element in file
        .data::<T>()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?
    {
        bytes.extend_from_slice(bytemuck::bytes_of(&element?));
    }
    Ok(bytes)
}

/// Writes a tensor, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, tensor: &Tensor) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: path.into(),
        source,
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = encode(&partial, tensor).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // What is left over is of no use; that it cannot be removed is no news.
        let _ = std::fs::remove_file(&partial);
    }
    written.map_err(io)
}

fn encode(path: &Path, tensor: &Tensor) -> io::Result<()> {
    let mut to = BufWriter::new(File::create(path)?);
    match tensor.dtype() {
        DType::U8 => put::<u8>(&mut to, "|u1", tensor),
        DType::I8 => put::<i8>(&mut to, "|i1", tensor),
        DType::U16 | DType::Bf16 => put::<u16>(&mut to, "<u2", tensor),
        DType::I16 => put::<i16>(&mut to, "<i2", tensor),
        DType::U32 => put::<u32>(&mut to, "<u4", tensor),
        DType::I32 => put::<i32>(&mut to, "<i4", tensor),
        DType::U64 => put::<u64>(&mut to, "<u8", tensor),
        DType::I64 => put::<i64>(&mut to, "<i8", tensor),
        DType::F16 => put::<f16>(&mut to, "<f2", tensor),
        DType::F32 => put::<f32>(&mut to, "<f4", tensor),
        DType::F64 => put::<f64>(&mut to, "<f8", tensor),
    }?;
    to.flush()
}

fn put<T: npyz::Serialize + Pod>(to: &mut impl Write, ty: &str, tensor: &Tensor) -> io::Result<()> {
    let ty: TypeStr = ty
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let shape: Vec<u64> = tensor.shape().iter().map(|size| *size as u64).collect();
    let mut writer = npyz::WriteOptions::new()
        .dtype(NpyType::Plain(ty))
        .shape(&shape)
        .writer(to)
        .begin_nd()?;
    for element in tensor.bytes().chunks_exact(size_of::<T>()) {
        writer.push(&bytemuck::pod_read_unaligned::<T>(element))?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(dtype: DType, shape: Vec<usize>) -> Tensor {
        let count = shape.iter().product::<usize>() * dtype.bytes();
        let bytes = (0..count).map(|i| (i * 37 % 251) as u8).collect();
        Tensor::new(dtype, shape, bytes).expect("as many bytes as it says")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            dtype in proptest::sample::select(DType::ALL),
            shape in proptest::collection::vec(0_usize..5, 0..4),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("t.npy");
            let tensor = sample(dtype, shape.clone());
            write(&path, &tensor).expect("written");
            let back = read(&path).expect("read");
            let as_file = if dtype == DType::Bf16 { DType::U16 } else { dtype };
            prop_assert_eq!(back.dtype(), as_file);
            prop_assert_eq!(back.shape(), &shape[..]);
            prop_assert_eq!(back.bytes(), tensor.bytes());
        }

        #[test]
        fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("t.npy");
            std::fs::write(&path, &bytes).expect("written");
            prop_assert!(read(&path).is_err());
        }
    }

    /// Bytes as NumPy 1.26 writes them: `np.save("a.npy", np.array([[1, 2, 3], [4, 5, 6]], "<f2"))`.
    #[test]
    fn numpys_own_bytes_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.npy");
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }";
        bytes.extend(format!("{header:<117}\n").bytes());
        for value in 1..=6 {
            bytes.extend(f16::from_f32(value as f32).to_bits().to_le_bytes());
        }
        std::fs::write(&path, &bytes).expect("written");
        let tensor = read(&path).expect("read");
        assert_eq!((tensor.dtype(), tensor.shape()), (DType::F16, &[2, 3][..]));
        assert_eq!(tensor.bytes(), &bytes[128..]);
    }

    #[test]
    fn what_cannot_be_taken_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.npy");
        for (descr, fortran, shape, why) in [
            ("<c8", "False", "(2,)", "numbers of 8 to 64 bits"),
            ("<f4", "True", "(2, 3)", "ascontiguousarray"),
            ("<f4", "False", "(99999999999, 99999999999)", "too large"),
            ("<f4", "False", "(0, 99999999999, 99999999999)", "too large"),
            ("<f4", "False", "(2, 4)", "a.npy"),
        ] {
            let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
            bytes.extend(format!("{header:<117}\n").bytes());
            bytes.extend([0; 24]);
            std::fs::write(&path, &bytes).expect("written");
            let error = read(&path).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
