//! The pages themselves: K or V of `[pages, page, Hkv, D]` in one of the formats.

use half::{bf16, f16};

use super::formats::{Format, Int4Vector, Int8Vector, nibble};
use crate::error::{Error, Result};
use crate::numbers::{DType, Element};
use crate::tensor::{elements, nonzero};

/// Sizes of a paged tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageShape {
    /// Number of pages.
    pub pages: usize,
    /// Tokens per page.
    pub page: usize,
    /// KV heads.
    pub heads: usize,
    /// Components per head.
    pub head_size: usize,
}

impl PageShape {
    /// Errors when a size other than the number of pages is zero, or the tensor cannot be
    /// addressed.
    pub fn check(&self) -> Result<()> {
        nonzero("page size", self.page)?;
        nonzero("kv heads", self.heads)?;
        nonzero("head size", self.head_size)?;
        elements(
            "pages",
            &[self.pages, self.page, self.heads, self.head_size],
        )
        .map(|_| ())
    }

    /// Token slots.
    pub fn slots(&self) -> usize {
        self.pages * self.page
    }

    /// Vectors: slots × heads.
    pub fn vectors(&self) -> usize {
        self.slots() * self.heads
    }
}

/// Borrowed pages, as a submission gets them.
#[derive(Clone, Copy, Debug)]
pub enum Pages<'a> {
    /// f32 `[pages, page, Hkv, D]`.
    F32(&'a [f32]),
    /// f16, the same shape.
    F16(&'a [f16]),
    /// bf16, the same shape.
    Bf16(&'a [bf16]),
    /// Codes in the same shape; one scale per vector.
    Int8 {
        /// `[pages, page, Hkv, D]`.
        codes: &'a [i8],
        /// `[pages, page, Hkv]`.
        scale: &'a [f16],
    },
    /// Two codes per byte; one scale and zero point per vector.
    Int4 {
        /// `[pages, page, Hkv, ⌈D/2⌉]`.
        packed: &'a [u8],
        /// `[pages, page, Hkv]`.
        scale: &'a [f16],
        /// `[pages, page, Hkv]`.
        zero: &'a [f16],
    },
}

/// One component read from a page: its exact value, and a magnitude that the rounding errors of
/// making it are relative to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// `x`, `code·scale` or `(code − zero)·scale`.
    pub value: f64,
    /// At least `|value|`; for int4 `(code + |zero|)·scale`, since an implementation may compute
    /// `code·scale − zero·scale`.
    pub size: f64,
}

impl Pages<'_> {
    /// How the vectors are stored.
    pub fn format(&self) -> Format {
        match self {
            Self::F32(_) => Format::Float(DType::F32),
            Self::F16(_) => Format::Float(DType::F16),
            Self::Bf16(_) => Format::Float(DType::Bf16),
            Self::Int8 { .. } => Format::Int8,
            Self::Int4 { .. } => Format::Int4,
        }
    }

    /// Errors when the data does not have the length that `shape` asks for.
    pub fn check(&self, argument: &'static str, shape: &PageShape) -> Result<()> {
        shape.check()?;
        let (vectors, d) = (shape.vectors(), shape.head_size);
        let expect = |per_vector: usize, got: usize| {
            let expected = vectors * per_vector;
            if got == expected {
                return Ok(());
            }
            Err(Error::Length {
                argument,
                shape: vec![shape.pages, shape.page, shape.heads, per_vector],
                expected,
                got,
            })
        };
        match self {
            Self::F32(x) => expect(d, x.len()),
            Self::F16(x) => expect(d, x.len()),
            Self::Bf16(x) => expect(d, x.len()),
            Self::Int8 { codes, scale } => expect(d, codes.len()).and(expect(1, scale.len())),
            Self::Int4 {
                packed,
                scale,
                zero,
            } => expect(d.div_ceil(2), packed.len())
                .and(expect(1, scale.len()))
                .and(expect(1, zero.len())),
        }
    }

    /// Component `d` of vector `vector` (`slot·Hkv + head`).
    pub fn read(&self, vector: usize, d: usize, head_size: usize) -> Component {
        let at = vector * head_size + d;
        let plain = |value: f64| Component {
            value,
            size: value.abs(),
        };
        match self {
            Self::F32(x) => plain(x[at].to_f64()),
            Self::F16(x) => plain(x[at].to_f64()),
            Self::Bf16(x) => plain(x[at].to_f64()),
            Self::Int8 { codes, scale } => plain(f64::from(codes[at]) * scale[vector].to_f64()),
            Self::Int4 {
                packed,
                scale,
                zero,
            } => {
                let bytes = head_size.div_ceil(2);
                let code = f64::from(nibble(&packed[vector * bytes..(vector + 1) * bytes], d));
                let (scale, zero) = (scale[vector].to_f64(), zero[vector].to_f64());
                Component {
                    value: (code - zero) * scale,
                    size: (code + zero.abs()) * scale.abs(),
                }
            }
        }
    }
}

/// Pages that own their memory.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    Int8(Vec<i8>, Vec<f16>),
    Int4(Vec<u8>, Vec<f16>, Vec<f16>),
}

/// K or V pages that can be written.
#[derive(Clone, Debug, PartialEq)]
pub struct PageStore {
    shape: PageShape,
    data: Data,
}

impl PageStore {
    /// Pages of zeros.
    pub fn new(shape: PageShape, format: Format) -> Result<Self> {
        shape.check()?;
        let (vectors, d) = (shape.vectors(), shape.head_size);
        let scales = || vec![f16::ZERO; vectors];
        let data = match format {
            Format::Float(DType::F32) => Data::F32(vec![0.0; vectors * d]),
            Format::Float(DType::F16) => Data::F16(vec![f16::ZERO; vectors * d]),
            Format::Float(DType::Bf16) => Data::Bf16(vec![bf16::ZERO; vectors * d]),
            Format::Int8 => Data::Int8(vec![0; vectors * d], scales()),
            Format::Int4 => Data::Int4(vec![0; vectors * d.div_ceil(2)], scales(), scales()),
        };
        Ok(Self { shape, data })
    }

    /// The sizes.
    pub fn shape(&self) -> PageShape {
        self.shape
    }

    /// The pages, to be read.
    pub fn pages(&self) -> Pages<'_> {
        match &self.data {
            Data::F32(x) => Pages::F32(x),
            Data::F16(x) => Pages::F16(x),
            Data::Bf16(x) => Pages::Bf16(x),
            Data::Int8(codes, scale) => Pages::Int8 { codes, scale },
            Data::Int4(packed, scale, zero) => Pages::Int4 {
                packed,
                scale,
                zero,
            },
        }
    }

    /// Stores one token, `[Hkv, D]`, in `slot`: rounded to nearest-even or quantised.
    pub fn write(&mut self, argument: &'static str, slot: usize, token: &[f32]) -> Result<()> {
        let PageShape {
            heads, head_size, ..
        } = self.shape;
        self.check_slot(slot)?;
        if token.len() != heads * head_size {
            return Err(Error::Length {
                argument,
                shape: vec![heads, head_size],
                expected: heads * head_size,
                got: token.len(),
            });
        }
        for (head, x) in token.chunks_exact(head_size).enumerate() {
            self.write_vector(argument, slot * heads + head, x)?;
        }
        Ok(())
    }

    fn write_vector(&mut self, argument: &'static str, vector: usize, x: &[f32]) -> Result<()> {
        fn round<T: Element>(to: &mut [T], from: &[f32]) {
            let pairs = to.iter_mut().zip(from);
            pairs.for_each(|(to, &x)| *to = T::from_f64(f64::from(x)));
        }
        let d = x.len();
        let range = vector * d..(vector + 1) * d;
        match &mut self.data {
            Data::F32(to) => round(&mut to[range], x),
            Data::F16(to) => round(&mut to[range], x),
            Data::Bf16(to) => round(&mut to[range], x),
            Data::Int8(codes, scale) => {
                let q = Int8Vector::quantise(argument, x)?;
                codes[range].copy_from_slice(&q.codes);
                scale[vector] = q.scale;
            }
            Data::Int4(packed, scale, zero) => {
                let q = Int4Vector::quantise(argument, x)?;
                let bytes = d.div_ceil(2);
                packed[vector * bytes..(vector + 1) * bytes].copy_from_slice(&q.packed);
                (scale[vector], zero[vector]) = (q.scale, q.zero);
            }
        }
        Ok(())
    }

    /// Makes a slot unfit to be read: NaN in all its components, through the scale where they are
    /// quantised. What stands in slots that hold no token must never reach an output.
    pub fn poison(&mut self, slot: usize) -> Result<()> {
        self.check_slot(slot)?;
        let PageShape {
            heads, head_size, ..
        } = self.shape;
        let vectors = slot * heads..(slot + 1) * heads;
        let elements = vectors.start * head_size..vectors.end * head_size;
        match &mut self.data {
            Data::F32(x) => x[elements].fill(f32::NAN),
            Data::F16(x) => x[elements].fill(f16::NAN),
            Data::Bf16(x) => x[elements].fill(bf16::NAN),
            Data::Int8(codes, scale) => {
                codes[elements].fill(i8::MIN);
                scale[vectors].fill(f16::NAN);
            }
            Data::Int4(packed, scale, zero) => {
                let bytes = head_size.div_ceil(2);
                packed[vectors.start * bytes..vectors.end * bytes].fill(u8::MAX);
                scale[vectors.clone()].fill(f16::NAN);
                zero[vectors].fill(f16::NAN);
            }
        }
        Ok(())
    }

    fn check_slot(&self, slot: usize) -> Result<()> {
        if slot < self.shape.slots() {
            return Ok(());
        }
        let allowed = format!("below the {} slots there are", self.shape.slots());
        Err(Error::argument("slot", slot, allowed))
    }

    /// Copies all of page `from` over page `to`.
    pub(crate) fn copy_page(&mut self, from: usize, to: usize) {
        fn copy<T: Copy>(data: &mut [T], pages: usize, from: usize, to: usize) {
            let size = data.len() / pages;
            data.copy_within(from * size..(from + 1) * size, to * size);
        }
        let pages = self.shape.pages;
        match &mut self.data {
            Data::F32(x) => copy(x, pages, from, to),
            Data::F16(x) => copy(x, pages, from, to),
            Data::Bf16(x) => copy(x, pages, from, to),
            Data::Int8(codes, scale) => {
                copy(codes, pages, from, to);
                copy(scale, pages, from, to);
            }
            Data::Int4(packed, scale, zero) => {
                copy(packed, pages, from, to);
                copy(scale, pages, from, to);
                copy(zero, pages, from, to);
            }
        }
    }
}
