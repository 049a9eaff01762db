//! Tensor maps: what `cuTensorMapEncodeTiled` makes, and tensor copies read.
//!
//! On hardware the 128 bytes are opaque. Here they hold the fields in the open, between a mark
//! and a checksum, so that bytes which are no tensor map are known as such. A program may also
//! begin with 128 zeros and set the fields one by one (`tensormap.replace`).
//!
//! ```
//! use simt::tensor_map::{DataType, Fill, Swizzle, TensorMap, Tiled};
//!
//! // Tiles of 64 by 32 of a matrix of 100 rows of 256 halves, swizzled for `wgmma`.
//! let map = TensorMap::tiled(&Tiled {
//!     data_type: DataType::F16,
//!     address: 0x7000_1000_0000,
//!     sizes: &[256, 100],
//!     strides: &[512],
//!     tile: &[64, 32],
//!     element_strides: &[1, 1],
//!     swizzle: Swizzle::Bytes128,
//!     fill: Fill::Zero,
//! })?;
//! assert_eq!(TensorMap::read(&map.bytes())?, map);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// Most dimensions of a tensor.
pub const DIMENSIONS: usize = 5;
/// Bytes of a tensor map.
pub const BYTES: usize = 128;
/// What a tensor map's address must be a multiple of.
pub const ALIGNMENT: u64 = 64;

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$line:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$line])* $variant = $code,)* }

        impl $name {
            /// The variant that `tensormap.replace` means by a number (PTX manual, its tables).
            pub fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    /// Type of the elements.
    #[allow(missing_docs, reason = "PTX's names")]
    DataType {
        U8 = 0, U16 = 1, U32 = 2, S32 = 3, U64 = 4, S64 = 5, F16 = 6, F32 = 7,
        /// f32 whose subnormals become zero on the way.
        F32Ftz = 8,
        F64 = 9, Bf16 = 10, Tf32 = 11, Tf32Ftz = 12,
    }
}

codes! {
    /// How pieces of 16 bytes change places in shared memory.
    Swizzle {
        /// Not at all.
        None = 0,
        /// Within rows of 32 bytes.
        Bytes32 = 1,
        /// Within rows of 64 bytes.
        Bytes64 = 2,
        /// Within rows of 128 bytes.
        Bytes128 = 3,
    }
}

codes! {
    /// What elements outside the tensor read as.
    Fill {
        /// Zero.
        Zero = 0,
        /// A NaN of all ones; for floating-point types only.
        Nan = 1,
    }
}

impl DataType {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::U64 | Self::S64 | Self::F64 => 8,
            _ => 4,
        }
    }

    /// Whether it is a floating-point type.
    pub fn float(self) -> bool {
        !matches!(
            self,
            Self::U8 | Self::U16 | Self::U32 | Self::S32 | Self::U64 | Self::S64
        )
    }
}

impl Swizzle {
    /// Bytes of a row; 0 for none.
    pub fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes32 => 32,
            Self::Bytes64 => 64,
            Self::Bytes128 => 128,
        }
    }

    /// Where what belongs at a shared address lies: bits 4… take the exclusive or with bits 7….
    pub fn place(self, address: u64) -> u64 {
        let pieces = (self.bytes() / 16).saturating_sub(1);
        address ^ (address >> 7 & pieces) << 4
    }
}

/// What a tensor map is made from. The first dimension is the innermost, with elements side by
/// side.
#[derive(Clone, Copy, Debug)]
pub struct Tiled<'a> {
    /// Type of the elements.
    pub data_type: DataType,
    /// Device address of the first element.
    pub address: u64,
    /// Elements along each dimension.
    pub sizes: &'a [u64],
    /// Bytes from one element to the next along each dimension but the first.
    pub strides: &'a [u64],
    /// Elements of a tile along each dimension, those skipped by `element_strides` included.
    pub tile: &'a [u32],
    /// Of how many elements along each dimension one is copied.
    pub element_strides: &'a [u32],
    /// How a tile lies in shared memory.
    pub swizzle: Swizzle,
    /// What lies outside the tensor reads as.
    pub fill: Fill,
}

/// Why a tensor map cannot be made, or used: the demands of `cuTensorMapEncodeTiled`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TensorMapError {
    #[error("a tensor has 1 to 5 dimensions, not {rank}")]
    Rank { rank: usize },
    #[error("{what} are given for {got} dimensions, {want} are needed")]
    Lengths {
        what: &'static str,
        got: usize,
        want: usize,
    },
    #[error("the tensor's address {address:#x} is not a multiple of 16")]
    Address { address: u64 },
    #[error("dimension {dimension} has {size} elements; there may be 1 to 2^32")]
    Size { dimension: usize, size: u64 },
    #[error(
        "the stride of dimension {dimension} is {stride} bytes; it must be a multiple of 16 below 2^40"
    )]
    Stride { dimension: usize, stride: u64 },
    #[error("a tile has {size} elements along dimension {dimension}; there may be 1 to 256")]
    Tile { dimension: usize, size: u32 },
    #[error("a row of a tile has {bytes} bytes; it must be a multiple of 16")]
    RowBytes { bytes: u64 },
    #[error("a row of a tile has {bytes} bytes, the swizzle allows {most}")]
    RowSwizzle { bytes: u64, most: u64 },
    #[error("the element stride of dimension {dimension} is {stride}; it may be 1 to 8")]
    ElementStride { dimension: usize, stride: u32 },
    #[error("NaN is no value of the integer type {data_type:?}")]
    NanOfInteger { data_type: DataType },
    #[error("these 128 bytes are no tensor map")]
    NoMap,
    #[error("the tensor map's {field} is {value}, which means nothing")]
    Code { field: &'static str, value: u64 },
}

type Result<T> = std::result::Result<T, TensorMapError>;

/// A tensor and how tiles of it are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub(crate) address: u64,
    pub(crate) rank: usize,
    pub(crate) sizes: [u64; DIMENSIONS],
    /// The first entry belongs to dimension 1.
    pub(crate) strides: [u64; DIMENSIONS - 1],
    pub(crate) tile: [u32; DIMENSIONS],
    pub(crate) element_strides: [u32; DIMENSIONS],
    pub(crate) data_type: DataType,
    pub(crate) swizzle: Swizzle,
    pub(crate) fill: Fill,
}

/// A field that `tensormap.replace` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Address,
    Rank,
    Tile(usize),
    Size(usize),
    Stride(usize),
    ElementStride(usize),
    DataType,
    Interleave,
    Swizzle,
    Fill,
}

impl TensorMap {
    const EMPTY: TensorMap = TensorMap {
        address: 0,
        rank: 0,
        sizes: [0; DIMENSIONS],
        strides: [0; DIMENSIONS - 1],
        tile: [0; DIMENSIONS],
        element_strides: [0; DIMENSIONS],
        data_type: DataType::U8,
        swizzle: Swizzle::None,
        fill: Fill::Zero,
    };

    /// Makes a tensor map.
    ///
    /// # Errors
    /// What `cuTensorMapEncodeTiled` refuses.
    pub fn tiled(t: &Tiled<'_>) -> Result<Self> {
        let rank = t.sizes.len();
        if rank == 0 || rank > DIMENSIONS {
            return Err(TensorMapError::Rank { rank });
        }
        for (what, got, want) in [
            ("strides", t.strides.len(), rank - 1),
            ("tile sizes", t.tile.len(), rank),
            ("element strides", t.element_strides.len(), rank),
        ] {
            if got != want {
                return Err(TensorMapError::Lengths { what, got, want });
            }
        }
        let mut map = Self {
            address: t.address,
            rank,
            data_type: t.data_type,
            swizzle: t.swizzle,
            fill: t.fill,
            ..Self::EMPTY
        };
        map.sizes[..rank].copy_from_slice(t.sizes);
        map.strides[..rank - 1].copy_from_slice(t.strides);
        map.tile[..rank].copy_from_slice(t.tile);
        map.element_strides[..rank].copy_from_slice(t.element_strides);
        map.check()?;
        Ok(map)
    }

    /// Whether every field holds what `cuTensorMapEncodeTiled` asks for.
    ///
    /// # Errors
    /// The first field that does not.
    pub fn check(&self) -> Result<()> {
        use TensorMapError as E;
        let rank = self.rank;
        if rank == 0 || rank > DIMENSIONS {
            return Err(E::Rank { rank });
        }
        if !self.address.is_multiple_of(16) {
            let address = self.address;
            return Err(E::Address { address });
        }
        for dimension in 0..rank {
            let size = self.sizes[dimension];
            if size == 0 || size > 1 << 32 {
                return Err(E::Size { dimension, size });
            }
            let size = self.tile[dimension];
            if size == 0 || size > 256 {
                return Err(E::Tile { dimension, size });
            }
            let stride = self.element_strides[dimension];
            if stride == 0 || stride > 8 {
                return Err(E::ElementStride { dimension, stride });
            }
        }
        for (i, stride) in self.strides[..rank - 1].iter().copied().enumerate() {
            if !stride.is_multiple_of(16) || stride >= 1 << 40 {
                let dimension = i + 1;
                return Err(E::Stride { dimension, stride });
            }
        }
        let bytes = self.row_bytes();
        if !bytes.is_multiple_of(16) {
            return Err(E::RowBytes { bytes });
        }
        let most = self.swizzle.bytes();
        if most != 0 && bytes > most {
            return Err(E::RowSwizzle { bytes, most });
        }
        if self.fill == Fill::Nan && !self.data_type.float() {
            let data_type = self.data_type;
            return Err(E::NanOfInteger { data_type });
        }
        Ok(())
    }

    /// Bytes of the innermost row of a tile. Elements along it are never skipped: without
    /// interleave the first element stride is not looked at.
    pub(crate) fn row_bytes(&self) -> u64 {
        u64::from(self.tile[0]) * self.data_type.bytes()
    }

    /// Elements of a tile in shared memory along a dimension.
    pub(crate) fn copied(&self, dimension: usize) -> u64 {
        let tile = u64::from(self.tile[dimension]);
        match dimension {
            0 => tile,
            _ => tile.div_ceil(u64::from(self.element_strides[dimension])),
        }
    }

    /// Its 128 bytes.
    pub fn bytes(&self) -> [u8; BYTES] {
        let mut out = Vec::with_capacity(BYTES);
        out.extend(MARK);
        out.extend(self.address.to_le_bytes());
        out.extend(self.sizes.iter().flat_map(|n| n.to_le_bytes()));
        out.extend(self.strides.iter().flat_map(|n| n.to_le_bytes()));
        out.extend(self.tile.iter().flat_map(|n| (*n as u16).to_le_bytes()));
        out.extend(self.element_strides.iter().map(|n| *n as u8));
        out.extend([
            self.data_type as u8,
            self.swizzle as u8,
            self.fill as u8,
            self.rank as u8,
        ]);
        let mut all = [0; BYTES];
        all[..out.len()].copy_from_slice(&out);
        let sum = checksum(&all[..BYTES - 8]);
        all[BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
        all
    }

    /// Reads 128 bytes; zeros are a tensor map without any field set.
    ///
    /// # Errors
    /// When [`TensorMap::bytes`] did not make them.
    pub fn read(bytes: &[u8; BYTES]) -> Result<Self> {
        if *bytes == [0; BYTES] {
            return Ok(Self::EMPTY);
        }
        let word = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .rev()
                .fold(0u64, |v, b| v << 8 | u64::from(*b))
        };
        if bytes[..8] != MARK || word(BYTES - 8) != checksum(&bytes[..BYTES - 8]) {
            return Err(TensorMapError::NoMap);
        }
        let tiles = 16 + 8 * (2 * DIMENSIONS - 1);
        let strides = tiles + 2 * DIMENSIONS;
        let codes = strides + DIMENSIONS;
        let code = |i: usize| u64::from(bytes[codes + i]);
        Ok(Self {
            address: word(8),
            rank: usize::from(bytes[codes + 3]),
            sizes: std::array::from_fn(|i| word(16 + 8 * i)),
            strides: std::array::from_fn(|i| word(16 + 8 * (DIMENSIONS + i))),
            tile: std::array::from_fn(|i| word(tiles + 2 * i) as u32 & 0xffff),
            element_strides: std::array::from_fn(|i| u32::from(bytes[strides + i])),
            data_type: DataType::from_code(code(0)).ok_or(TensorMapError::NoMap)?,
            swizzle: Swizzle::from_code(code(1)).ok_or(TensorMapError::NoMap)?,
            fill: Fill::from_code(code(2)).ok_or(TensorMapError::NoMap)?,
        })
    }

    /// Sets a field, as `tensormap.replace` does.
    ///
    /// # Errors
    /// When the value means nothing. What is merely out of range is found at the first use.
    pub(crate) fn replace(&mut self, field: Field, value: u64) -> Result<()> {
        let code = |field| TensorMapError::Code { field, value };
        let within = |most: u64, field| {
            if value <= most {
                Ok(())
            } else {
                Err(code(field))
            }
        };
        match field {
            Field::Address => self.address = value,
            Field::Rank => {
                within(DIMENSIONS as u64 - 1, "rank less one")?;
                self.rank = value as usize + 1;
            }
            Field::Tile(i) => {
                within(256, "tile size")?;
                self.tile[i] = value as u32;
            }
            Field::Size(i) => self.sizes[i] = value,
            Field::Stride(i) => self.strides[i] = value,
            Field::ElementStride(i) => {
                within(8, "element stride")?;
                self.element_strides[i] = value as u32;
            }
            Field::DataType => self.data_type = DataType::from_code(value).ok_or(code("type"))?,
            Field::Interleave => within(0, "interleave (this machine knows none)")?,
            Field::Swizzle => self.swizzle = Swizzle::from_code(value).ok_or(code("swizzle"))?,
            Field::Fill => self.fill = Fill::from_code(value).ok_or(code("fill"))?,
        }
        Ok(())
    }
}

const MARK: [u8; 8] = *b"simt map";

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| {
        (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Tiled<'_> = Tiled {
        data_type: DataType::F16,
        address: 0x1230,
        sizes: &[100, 1 << 32, 7],
        strides: &[208, 1 << 39],
        tile: &[64, 256, 2],
        element_strides: &[1, 8, 1],
        swizzle: Swizzle::Bytes128,
        fill: Fill::Nan,
    };

    #[test]
    fn a_map_survives_its_bytes_and_other_bytes_are_none() {
        let map = TensorMap::tiled(&GOOD).expect("is right");
        let bytes = map.bytes();
        assert_eq!(TensorMap::read(&bytes), Ok(map));
        for at in 0..BYTES {
            let mut bad = bytes;
            bad[at] ^= 0x10;
            assert_eq!(TensorMap::read(&bad), Err(TensorMapError::NoMap), "{at}");
        }
    }

    #[test]
    fn fields_set_one_by_one_make_the_same_map() {
        let want = TensorMap::tiled(&GOOD).expect("is right");
        let mut map = TensorMap::read(&[0; BYTES]).expect("zeros are empty");
        assert!(map.check().is_err());
        let sets = [
            (Field::Address, 0x1230),
            (Field::Rank, 2),
            (Field::DataType, 6),
            (Field::Interleave, 0),
            (Field::Swizzle, 3),
            (Field::Fill, 1),
        ];
        sets.iter()
            .for_each(|(f, v)| map.replace(*f, *v).expect("means something"));
        for i in 0..3 {
            map.replace(Field::Size(i), GOOD.sizes[i]).expect("fits");
            map.replace(Field::Tile(i), u64::from(GOOD.tile[i]))
                .expect("fits");
            map.replace(Field::ElementStride(i), u64::from(GOOD.element_strides[i]))
                .expect("fits");
        }
        (0..2).for_each(|i| {
            map.replace(Field::Stride(i), GOOD.strides[i])
                .expect("fits")
        });
        assert_eq!((map, map.check()), (want, Ok(())));
        assert!(map.replace(Field::DataType, 40).is_err());
        assert!(map.replace(Field::Interleave, 1).is_err());
    }

    #[test]
    fn what_the_driver_refuses_is_refused() {
        use TensorMapError as E;
        let refused = |change: fn(&mut Tiled<'static>)| {
            let mut t = GOOD;
            change(&mut t);
            TensorMap::tiled(&t).expect_err("must be refused")
        };
        let cases = [
            (refused(|t| t.sizes = &[]), E::Rank { rank: 0 }),
            (refused(|t| t.sizes = &[1; 6]), E::Rank { rank: 6 }),
            (
                refused(|t| t.strides = &[208]),
                E::Lengths {
                    what: "strides",
                    got: 1,
                    want: 2,
                },
            ),
            (refused(|t| t.address = 8), E::Address { address: 8 }),
            (
                refused(|t| t.sizes = &[100, 0, 7]),
                E::Size {
                    dimension: 1,
                    size: 0,
                },
            ),
            (
                refused(|t| t.strides = &[200, 416]),
                E::Stride {
                    dimension: 1,
                    stride: 200,
                },
            ),
            (
                refused(|t| t.strides = &[208, 1 << 40]),
                E::Stride {
                    dimension: 2,
                    stride: 1 << 40,
                },
            ),
            (
                refused(|t| t.tile = &[64, 257, 1]),
                E::Tile {
                    dimension: 1,
                    size: 257,
                },
            ),
            (refused(|t| t.tile = &[4, 1, 1]), E::RowBytes { bytes: 8 }),
            (
                refused(|t| t.tile = &[72, 1, 1]),
                E::RowSwizzle {
                    bytes: 144,
                    most: 128,
                },
            ),
            (
                refused(|t| t.element_strides = &[1, 9, 1]),
                E::ElementStride {
                    dimension: 1,
                    stride: 9,
                },
            ),
            (
                refused(|t| t.data_type = DataType::U16),
                E::NanOfInteger {
                    data_type: DataType::U16,
                },
            ),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn a_swizzle_moves_pieces_within_its_rows_only() {
        // Row 5 of 128 bytes: its first piece lies where the sixth would.
        assert_eq!(Swizzle::Bytes128.place(5 * 128), 5 * 128 + 5 * 16);
        assert_eq!(Swizzle::Bytes64.place(5 * 128 + 3), 5 * 128 + 16 + 3);
        assert_eq!(Swizzle::Bytes32.place(2 * 128), 2 * 128);
        assert_eq!(Swizzle::None.place(5 * 128), 5 * 128);
    }
}
