//! One expected element, in the notation of `ops/README.md`.

use half::{bf16, f16};

/// Element types of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtype {
    /// Bits of one element.
    pub width: u32,
    /// How patterns are read as numbers, if they are floating point.
    pub float: Option<Float>,
}

/// Floating-point formats that intervals are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Dtype {
    /// The type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        let float = match name {
            "f16" => Some(Float::F16),
            "bf16" => Some(Float::Bf16),
            "f32" => Some(Float::F32),
            "f64" => Some(Float::F64),
            _ => None,
        };
        let width = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let width = width.parse().ok().filter(|w| [8, 16, 32, 64].contains(w))?;
        Some(Self { width, float })
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        self.width as usize / 8
    }

    /// The pattern of the element at `index` of little-endian bytes.
    pub fn read(self, bytes: &[u8], index: usize) -> u64 {
        let n = self.bytes();
        let mut word = [0; 8];
        word[..n].copy_from_slice(&bytes[index * n..(index + 1) * n]);
        u64::from_le_bytes(word)
    }

    /// The pattern as a number; exact for every format.
    pub fn number(self, pattern: u64) -> Option<f64> {
        Some(match self.float? {
            Float::F16 => f16::from_bits(pattern as u16).to_f64(),
            Float::Bf16 => bf16::from_bits(pattern as u16).to_f64(),
            Float::F32 => f64::from(f32::from_bits(pattern as u32)),
            Float::F64 => f64::from_bits(pattern),
        })
    }
}

/// What an element may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    Exactly(u64),
    Between(u64, u64),
    AnyNan,
    Anything,
    OneOf(Vec<Element>),
}

impl Element {
    /// Reads the notation.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hex = |t: &str| u64::from_str_radix(t, 16).map_err(|_| format!("`{t}` is not hex"));
        if text.contains('|') {
            return Ok(Self::OneOf(
                text.split('|').map(Self::parse).collect::<Result<_, _>>()?,
            ));
        }
        Ok(match (text, text.split_once("..")) {
            ("nan", _) => Self::AnyNan,
            ("*", _) => Self::Anything,
            (_, Some((lo, hi))) => Self::Between(hex(lo)?, hex(hi)?),
            _ => Self::Exactly(hex(text)?),
        })
    }

    /// Whether `got` is right.
    pub fn admits(&self, dtype: Dtype, got: u64) -> bool {
        match self {
            Self::Exactly(want) => got == *want,
            Self::Anything => true,
            Self::OneOf(all) => all.iter().any(|e| e.admits(dtype, got)),
            Self::AnyNan => dtype.number(got).is_some_and(f64::is_nan),
            Self::Between(lo, hi) => {
                let numbers = [*lo, got, *hi].map(|p| dtype.number(p));
                matches!(numbers, [Some(lo), Some(x), Some(hi)] if lo <= x && x <= hi)
            }
        }
    }
}
