//! `--arg` of `touchstone run`: what a kernel's parameter gets.

use crate::tensor::{DType, byte_count};
use simt::tensor_map::Swizzle;
use std::path::PathBuf;
use std::str::FromStr;

/// One argument, in the order of the kernel's parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// `in:FILE.npy`: a buffer that holds the file; the kernel must not write it.
    In(PathBuf),
    /// `inout:FILE.npy:OUT.npy`: a buffer that holds the file, written to another one at the end.
    InOut(PathBuf, PathBuf),
    /// `out:DTYPE:AxBxC:OUT.npy`: a poisoned buffer, written to a file at the end.
    Out {
        /// The type of its elements.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Where it goes.
        to: PathBuf,
    },
    /// `i32:V`, `u32:V`
    Bits32(u32),
    /// `i64:V`, `u64:V`
    Bits64(u64),
    /// `f32:V`
    F32(f32),
    /// `f64:V`
    F64(f64),
    /// `null`
    Null,
    /// `tmap:IN.npy:BOXxBOX[:SWIZZLE]`, `tmapout:DTYPE:AxBxC:OUT.npy:BOXxBOX[:SWIZZLE]`: a tensor
    /// map of a buffer, for bulk copies of its tiles.
    Map {
        /// The buffer: `in` or `out`.
        of: Box<Argument>,
        /// The shape of a tile, in the order of the tensor's shape.
        tile: Vec<u32>,
        /// How a tile lies in shared memory.
        swizzle: Swizzle,
    },
}

/// Why the text is not an argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It begins with none of the kinds.
    #[error(
        "`{0}`: an argument is in:FILE.npy, inout:FILE.npy:OUT.npy, out:DTYPE:AxBxC:OUT.npy, \
         i32:V, u32:V, i64:V, u64:V, f32:V, f64:V, null, tmap:IN.npy:BOXxBOX[:SWIZZLE] or \
         tmapout:DTYPE:AxBxC:OUT.npy:BOXxBOX[:SWIZZLE]"
    )]
    Kind(String),
    /// The value is not one of the type.
    #[error("`{0}`: `{1}` is not a value of the type {2}")]
    Value(String, String, &'static str),
    /// The file's name is missing.
    #[error("`{0}`: a file name is missing")]
    File(String),
    /// The element type is none.
    #[error(
        "`{0}`: `{1}` is no element type; there are u8, i8, u16, i16, u32, i32, u64, i64, f16, \
         bf16, f32, f64"
    )]
    DType(String, String),
    /// The shape is none.
    #[error("`{0}`: `{1}` is no shape; write sizes with x between them, as 4x128")]
    Shape(String, String),
    /// The tile of a tensor map is none.
    #[error(
        "`{0}`: a tensor map ends in the shape of its tile, as 8x64, and perhaps a swizzle: none, \
         32b, 64b or 128b"
    )]
    Tile(String),
}

impl ParseError {
    /// The same of a text that holds the one that was read.
    fn about(mut self, whole: &str) -> Self {
        use ParseError as E;
        let (E::Kind(text)
        | E::Value(text, ..)
        | E::File(text)
        | E::DType(text, _)
        | E::Shape(text, _)
        | E::Tile(text)) = &mut self;
        whole.clone_into(text);
        self
    }
}

impl FromStr for Argument {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Argument, ParseError> {
        let whole = || text.to_owned();
        if text == "null" {
            return Ok(Argument::Null);
        }
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| ParseError::Kind(whole()))?;
        let file = |name: &str| {
            if name.is_empty() {
                Err(ParseError::File(whole()))
            } else {
                Ok(PathBuf::from(name))
            }
        };
        match kind {
            "in" => Ok(Argument::In(file(rest)?)),
            "inout" => {
                let (from, to) = rest
                    .rsplit_once(':')
                    .ok_or_else(|| ParseError::File(whole()))?;
                Ok(Argument::InOut(file(from)?, file(to)?))
            }
            "out" => {
                let mut parts = rest.splitn(3, ':');
                let dtype = parts.next().unwrap_or_default();
                let shape = parts.next().unwrap_or_default();
                let to = parts.next().unwrap_or_default();
                Ok(Argument::Out {
                    dtype: DType::from_name(dtype)
                        .ok_or_else(|| ParseError::DType(whole(), dtype.into()))?,
                    shape: parse_shape(shape, dtype)
                        .ok_or_else(|| ParseError::Shape(whole(), shape.into()))?,
                    to: file(to)?,
                })
            }
            "tmap" | "tmapout" => map(text, kind, rest),
            "i32" => number::<i32>(text, rest, "i32").map(|v| Argument::Bits32(v as u32)),
            "u32" => number(text, rest, "u32").map(Argument::Bits32),
            "i64" => number::<i64>(text, rest, "i64").map(|v| Argument::Bits64(v as u64)),
            "u64" => number(text, rest, "u64").map(Argument::Bits64),
            "f32" => number(text, rest, "f32").map(Argument::F32),
            "f64" => number(text, rest, "f64").map(Argument::F64),
            _ => Err(ParseError::Kind(whole())),
        }
    }
}

/// A buffer, the shape of a tile and perhaps a swizzle.
fn map(text: &str, kind: &str, rest: &str) -> Result<Argument, ParseError> {
    let bad = || ParseError::Tile(text.to_owned());
    let (mut before, mut last) = rest.rsplit_once(':').ok_or_else(bad)?;
    let swizzle = match last {
        "none" => Some(Swizzle::None),
        "32b" => Some(Swizzle::Bytes32),
        "64b" => Some(Swizzle::Bytes64),
        "128b" => Some(Swizzle::Bytes128),
        _ => None,
    };
    if swizzle.is_some() {
        (before, last) = before.rsplit_once(':').ok_or_else(bad)?;
    }
    let tile: Option<Vec<u32>> = last.split('x').map(|size| size.parse().ok()).collect();
    let buffer = match kind {
        "tmap" => format!("in:{before}"),
        _ => format!("out:{before}"),
    };
    Ok(Argument::Map {
        of: Box::new(buffer.parse().map_err(|e: ParseError| e.about(text))?),
        tile: tile.ok_or_else(bad)?,
        swizzle: swizzle.unwrap_or(Swizzle::None),
    })
}

fn number<T: FromStr>(text: &str, value: &str, ty: &'static str) -> Result<T, ParseError> {
    value
        .parse()
        .map_err(|_| ParseError::Value(text.into(), value.into(), ty))
}

/// Sizes with `x` between them, whose bytes can be counted.
fn parse_shape(text: &str, dtype: &str) -> Option<Vec<usize>> {
    let shape: Vec<usize> = text
        .split('x')
        .map(|size| size.parse().ok())
        .collect::<Option<_>>()?;
    byte_count(DType::from_name(dtype)?, &shape)?;
    Some(shape)
}

/// `X[,Y[,Z]]` of `--grid` and `--block`; what is left out is 1.
///
/// # Errors
/// When it is not one to three numbers.
pub fn parse_dimensions(text: &str) -> Result<[u32; 3], String> {
    let mut dimensions = [1; 3];
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 3 {
        return Err(format!("`{text}`: at most three numbers, as 8,4,1"));
    }
    for (dimension, part) in dimensions.iter_mut().zip(parts) {
        *dimension = part.trim().parse().map_err(|_| {
            format!(
                "`{text}`: `{part}` is not a number from 0 to {}; write X[,Y[,Z]]",
                u32::MAX
            )
        })?;
    }
    Ok(dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_is_read() {
        let read = |text: &str| text.parse::<Argument>().expect(text);
        assert_eq!(read("in:a.npy"), Argument::In("a.npy".into()));
        assert_eq!(
            read("inout:a.npy:b.npy"),
            Argument::InOut("a.npy".into(), "b.npy".into())
        );
        assert_eq!(
            read("out:bf16:2x3x4:o.npy"),
            Argument::Out {
                dtype: DType::Bf16,
                shape: vec![2, 3, 4],
                to: "o.npy".into()
            }
        );
        assert_eq!(read("i32:-1"), Argument::Bits32(u32::MAX));
        assert_eq!(read("u32:4294967295"), Argument::Bits32(u32::MAX));
        assert_eq!(read("i64:-2"), Argument::Bits64(u64::MAX - 1));
        assert_eq!(read("f32:-inf"), Argument::F32(f32::NEG_INFINITY));
        assert_eq!(read("f64:1e-300"), Argument::F64(1e-300));
        assert_eq!(read("null"), Argument::Null);
        assert_eq!(
            read("tmap:a:b.npy:8x64:128b"),
            Argument::Map {
                of: Argument::In("a:b.npy".into()).into(),
                tile: vec![8, 64],
                swizzle: Swizzle::Bytes128,
            }
        );
        assert_eq!(
            read("tmapout:f16:4x64:o.npy:16"),
            Argument::Map {
                of: read("out:f16:4x64:o.npy").into(),
                tile: vec![16],
                swizzle: Swizzle::None,
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let errors: Vec<String> = [
            "",
            "x",
            "in:",
            "inout:a.npy",
            "inout:a.npy:",
            "out:f32:2x3",
            "out:f33:2x3:o.npy",
            "out:f32:2x-3:o.npy",
            "out:f32:99999999999x99999999999:o.npy",
            "i32:4294967295",
            "u32:-1",
            "f32:one",
            "u128:1",
            "tmap:a.npy",
            "tmap:8x8",
            "tmap:a.npy:8by8",
            "tmap:a.npy:8x8:16b",
            "tmapout:a.npy:8x8",
            "tmapout:f32:8:o.npy:8x-8:32b",
        ]
        .iter()
        .map(|text| text.parse::<Argument>().expect_err(text).to_string())
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn dimensions_that_are_left_out_are_one() {
        assert_eq!(parse_dimensions("7"), Ok([7, 1, 1]));
        assert_eq!(parse_dimensions("7,8"), Ok([7, 8, 1]));
        assert_eq!(parse_dimensions("7,8,9"), Ok([7, 8, 9]));
        assert!(parse_dimensions("7,8,9,10").is_err());
        assert!(parse_dimensions("").is_err());
        assert!(parse_dimensions("4294967296").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Argument>();
            let _ = parse_dimensions(&text);
        }
    }
}
