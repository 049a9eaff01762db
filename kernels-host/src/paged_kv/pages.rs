//! The pages themselves: memory of a device, and what it holds.

use crate::{Arg, Buffer, Device, Error, LaunchConfig, Module, Result, launch};
use half::{bf16, f16};
use kernels_gpu::paged_kv::{COPY_THREADS, FAMILY, MAX_HEAD_SIZE, MAX_PAGE};
use std::sync::Arc;

/// How vectors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As f16.
    F16,
    /// As bf16.
    Bf16,
    /// A byte a component, and an f16 scale.
    Int8,
    /// Half a byte a component, and f16 scale and zero point.
    Int4,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::F16, Format::Bf16, Format::Int8, Format::Int4];

    /// Its part of a kernel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::Int8 => "int8",
            Format::Int4 => "int4",
        }
    }

    /// Bytes of a vector, scale and zero point included.
    pub fn vector_bytes(self, head_size: usize) -> usize {
        match self {
            Format::F16 | Format::Bf16 => 2 * head_size,
            Format::Int8 => head_size + 2,
            Format::Int4 => head_size.div_ceil(2) + 4,
        }
    }
}

/// Sizes of paged k and v: `[pages, page, heads, head_size]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageShape {
    /// Pages.
    pub pages: usize,
    /// Tokens of a page, 1 to 256.
    pub page: usize,
    /// KV heads.
    pub heads: usize,
    /// Components of a head, 1 to 256.
    pub head_size: usize,
}

impl PageShape {
    /// Slots of tokens.
    pub fn slots(&self) -> usize {
        self.pages * self.page
    }

    pub(crate) fn check(&self) -> Result<()> {
        let within = |name, got: usize, high: usize| {
            if (1..=high).contains(&got) {
                return Ok(());
            }
            Err(Error::Parameter {
                name,
                got: got.to_string(),
                must_be: format!("1 to {high}"),
            })
        };
        within("page", self.page, MAX_PAGE as usize)?;
        within("kv heads", self.heads, 65_535)?;
        within("head_size", self.head_size, MAX_HEAD_SIZE as usize)?;
        // Slots are numbered in an i32.
        within("pages", self.pages, i32::MAX as usize / self.page)
    }
}

/// The pages of k or of v.
#[derive(Debug)]
pub enum Store {
    /// f16 `[pages, page, heads, D]`.
    F16(Buffer<f16>),
    /// bf16, the same shape.
    Bf16(Buffer<bf16>),
    /// Codes in the same shape, a scale for each vector.
    Int8 {
        /// `[pages, page, heads, D]`.
        codes: Buffer<i8>,
        /// `[pages, page, heads]`.
        scale: Buffer<f16>,
    },
    /// Two codes a byte, the first in the low half; a scale and a zero point for each vector.
    Int4 {
        /// `[pages, page, heads, ⌈D/2⌉]`.
        packed: Buffer<u8>,
        /// `[pages, page, heads]`.
        scale: Buffer<f16>,
        /// `[pages, page, heads]`.
        zero: Buffer<f16>,
    },
}

impl Store {
    fn uninit(device: &Arc<dyn Device>, shape: &PageShape, format: Format) -> Result<Store> {
        let vectors = shape.slots() * shape.heads;
        let d = shape.head_size;
        Ok(match format {
            Format::F16 => Store::F16(Buffer::uninit(device, vectors * d)?),
            Format::Bf16 => Store::Bf16(Buffer::uninit(device, vectors * d)?),
            Format::Int8 => Store::Int8 {
                codes: Buffer::uninit(device, vectors * d)?,
                scale: Buffer::uninit(device, vectors)?,
            },
            Format::Int4 => Store::Int4 {
                packed: Buffer::uninit(device, vectors * d.div_ceil(2))?,
                scale: Buffer::uninit(device, vectors)?,
                zero: Buffer::uninit(device, vectors)?,
            },
        })
    }

    /// How its vectors are stored.
    pub fn format(&self) -> Format {
        match self {
            Store::F16(_) => Format::F16,
            Store::Bf16(_) => Format::Bf16,
            Store::Int8 { .. } => Format::Int8,
            Store::Int4 { .. } => Format::Int4,
        }
    }

    fn check(&self, name: &'static str, shape: &PageShape) -> Result<()> {
        let PageShape {
            pages,
            page,
            heads,
            head_size: d,
        } = *shape;
        let vectors = [("pages", pages), ("page", page), ("heads", heads)];
        let [a, b, c] = vectors;
        let whole = [a, b, c, ("D", d)];
        match self {
            Store::F16(x) => x.expect_shape(name, &whole),
            Store::Bf16(x) => x.expect_shape(name, &whole),
            Store::Int8 { codes, scale } => codes
                .expect_shape(name, &whole)
                .and_then(|()| scale.expect_shape("scale", &vectors)),
            Store::Int4 {
                packed,
                scale,
                zero,
            } => packed
                .expect_shape(name, &[a, b, c, ("⌈D/2⌉", d.div_ceil(2))])
                .and_then(|()| scale.expect_shape("scale", &vectors))
                .and_then(|()| zero.expect_shape("zero", &vectors)),
        }
    }

    /// Codes, scale, zero point.
    pub(crate) fn args(&self) -> [Arg; 3] {
        match self {
            Store::F16(x) => [x.into(), Arg::Null, Arg::Null],
            Store::Bf16(x) => [x.into(), Arg::Null, Arg::Null],
            Store::Int8 { codes, scale } => [codes.into(), scale.into(), Arg::Null],
            Store::Int4 {
                packed,
                scale,
                zero,
            } => [packed.into(), scale.into(), zero.into()],
        }
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        match self {
            Store::F16(x) => x.device(),
            Store::Bf16(x) => x.device(),
            Store::Int8 { codes, .. } => codes.device(),
            Store::Int4 { packed, .. } => packed.device(),
        }
    }

    /// Its arrays and the bytes that a token has in each.
    pub(crate) fn arrays(&self, shape: &PageShape) -> Vec<(Arg, usize)> {
        let PageShape {
            heads,
            head_size: d,
            ..
        } = *shape;
        let [codes, scale, zero] = self.args();
        let scale = (scale, 2 * heads);
        match self {
            Store::F16(_) | Store::Bf16(_) => vec![(codes, 2 * heads * d)],
            Store::Int8 { .. } => vec![(codes, heads * d), scale],
            Store::Int4 { .. } => {
                vec![(codes, heads * d.div_ceil(2)), scale, (zero, 2 * heads)]
            }
        }
    }
}

/// K and V of one layer in pages.
#[derive(Debug)]
pub struct Pages {
    shape: PageShape,
    k: Store,
    v: Store,
}

impl Pages {
    /// Pages with undefined contents.
    ///
    /// # Errors
    /// When a size is out of range, or there is no memory.
    pub fn uninit(device: &Arc<dyn Device>, shape: PageShape, format: Format) -> Result<Pages> {
        shape.check()?;
        Ok(Pages {
            shape,
            k: Store::uninit(device, &shape, format)?,
            v: Store::uninit(device, &shape, format)?,
        })
    }

    /// Pages that are there already.
    ///
    /// # Errors
    /// When a size is out of range, a buffer does not fit, or k and v differ in format or device.
    pub fn new(shape: PageShape, k: Store, v: Store) -> Result<Pages> {
        shape.check()?;
        k.check("k pages", &shape)?;
        v.check("v pages", &shape)?;
        if k.format() != v.format() {
            return Err(Error::Parameter {
                name: "v pages",
                got: format!("{:?}", v.format()),
                must_be: format!("{:?}, as the k pages", k.format()),
            });
        }
        Ok(Pages { shape, k, v })
    }

    /// The sizes.
    pub fn shape(&self) -> PageShape {
        self.shape
    }

    /// How vectors are stored.
    pub fn format(&self) -> Format {
        self.k.format()
    }

    /// Key pages.
    pub fn k(&self) -> &Store {
        &self.k
    }

    /// Value pages.
    pub fn v(&self) -> &Store {
        &self.v
    }

    /// The device they live on.
    pub fn device(&self) -> &Arc<dyn Device> {
        self.k.device()
    }

    /// Copies the first tokens of pages over those of others: `(from, to, tokens)`. A page that is
    /// written to is named once, and not read.
    pub(crate) fn copy(&mut self, copies: &[(usize, usize, usize)]) -> Result<()> {
        let device = self.device().clone();
        let kernel = Module::embedded(FAMILY.name, &*device)?.kernel("paged_copy")?;
        // A launch takes as many pairs as the grid has rows.
        for copies in copies.chunks(65_535) {
            let number = |of: fn(&(usize, usize, usize)) -> usize| {
                let numbers: Vec<i32> = copies.iter().map(|copy| of(copy) as i32).collect();
                Buffer::from_slice(&device, &numbers)
            };
            let from = number(|copy| copy.0)?;
            let to = number(|copy| copy.1)?;
            let used = number(|copy| copy.2)?;
            for store in [&self.k, &self.v] {
                for (array, bytes) in store.arrays(&self.shape) {
                    let (units, unit) = units(bytes);
                    let blocks = (units * self.shape.page as u32).div_ceil(COPY_THREADS);
                    let config = LaunchConfig {
                        grid: [blocks.clamp(1, 64), copies.len() as u32, 1],
                        block: [COPY_THREADS, 1, 1],
                        shared: 0,
                    };
                    let args = [
                        array,
                        (&from).into(),
                        (&to).into(),
                        (&used).into(),
                        (self.shape.page as u32).into(),
                        units.into(),
                        unit.into(),
                    ];
                    launch(&*device, &kernel, config, &args)?;
                }
            }
        }
        Ok(())
    }
}

/// A token's bytes in units of 2 bytes, or of 1 where they are odd: how many, of how many bytes.
pub(crate) fn units(bytes: usize) -> (u32, u32) {
    if bytes.is_multiple_of(2) {
        (bytes as u32 / 2, 2)
    } else {
        (bytes as u32, 1)
    }
}
