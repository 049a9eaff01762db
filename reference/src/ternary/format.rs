//! The two packings, bit-exact.

use half::f16;

use crate::error::{Error, Result};
use crate::tensor::{View, nonzero};

/// Weights that share one scale, along K.
pub const GROUP: usize = 128;

/// How the 128 codes of a group are laid out after its f16 scale (little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Four codes per byte, the first in the lowest bits.
    TwoBit,
    /// Five codes per byte as digits of a number in base 3, the first the least significant.
    Base3,
}

impl Packing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::TwoBit, Self::Base3];

    /// Codes in one byte.
    fn per_byte(self) -> usize {
        match self {
            Self::TwoBit => 4,
            Self::Base3 => 5,
        }
    }

    /// What one step from code to code multiplies a byte by.
    fn radix(self) -> u8 {
        match self {
            Self::TwoBit => 4,
            Self::Base3 => 3,
        }
    }

    /// Bytes of one group, its scale included.
    pub fn block_bytes(self) -> usize {
        2 + GROUP.div_ceil(self.per_byte())
    }

    /// Writes codes (0, 1, 2) into bytes; digits without a code are 0.
    fn encode(self, codes: &[u8], bytes: &mut Vec<u8>) {
        for chunk in codes.chunks(self.per_byte()) {
            bytes.push(
                chunk
                    .iter()
                    .rev()
                    .fold(0, |byte, code| byte * self.radix() + code),
            );
        }
    }

    /// Reads the codes of one group; `None` when a byte is reserved.
    fn decode(self, bytes: &[u8]) -> Option<[u8; GROUP]> {
        let mut codes = [0; GROUP];
        let mut digits = codes.iter_mut();
        for &byte in bytes {
            let mut rest = byte;
            for _ in 0..self.per_byte() {
                let code = rest % self.radix();
                rest /= self.radix();
                match digits.next() {
                    Some(digit) if code < 3 => *digit = code,
                    // A reserved code, or a digit beyond the group that is not 0.
                    Some(_) => return None,
                    None if code != 0 => return None,
                    None => {}
                }
            }
            if rest != 0 {
                return None;
            }
        }
        Some(codes)
    }
}

/// Packed ternary weights `[N, K]` whose every byte has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    packing: Packing,
    shape: [usize; 2],
    bytes: Vec<u8>,
    scales: Vec<f16>,
    /// t, row-major.
    signs: Vec<i8>,
}

/// N and K as packed weights allow them.
pub(super) fn check_shape(argument: &'static str, [n, k]: [usize; 2]) -> Result<()> {
    nonzero("N", n)?;
    nonzero("K", k)?;
    if k % GROUP != 0 {
        return Err(Error::argument(
            "K",
            k,
            format!("a multiple of {GROUP} (groups of `{argument}`)"),
        ));
    }
    Ok(())
}

impl Packed {
    /// Packs scales `[N, K/128]` and signs `[N, K]` (each −1, 0 or +1).
    pub fn new(packing: Packing, scales: View<'_, f16, 2>, signs: View<'_, i8, 2>) -> Result<Self> {
        let shape @ [n, k] = signs.shape();
        check_shape("signs", shape)?;
        scales.expect_shape([n, k / GROUP], "one per group of `signs`")?;
        check_scales(scales.data())?;
        if let Some(index) = signs.data().iter().position(|t| !(-1..=1).contains(t)) {
            return Err(Error::entry(
                "signs",
                index,
                signs.data()[index],
                "-1, 0 or 1",
            ));
        }
        let mut bytes = Vec::with_capacity(n * k / GROUP * packing.block_bytes());
        for (scale, group) in scales.data().iter().zip(signs.data().chunks(GROUP)) {
            bytes.extend(scale.to_le_bytes());
            let codes: Vec<u8> = group.iter().map(|t| (t + 1) as u8).collect();
            packing.encode(&codes, &mut bytes);
        }
        let (scales, signs) = (scales.data().to_vec(), signs.data().to_vec());
        Ok(Self {
            packing,
            shape,
            bytes,
            scales,
            signs,
        })
    }

    /// Reads packed bytes; refuses reserved codes and scales that are negative or not finite.
    pub fn from_bytes(packing: Packing, shape: [usize; 2], bytes: &[u8]) -> Result<Self> {
        check_shape("packed", shape)?;
        let [n, k] = shape;
        let blocks = View::new("packed", bytes, [n, k / GROUP, packing.block_bytes()])?;
        let (mut scales, mut signs) = (Vec::new(), Vec::new());
        for (index, block) in blocks.data().chunks(packing.block_bytes()).enumerate() {
            scales.push(f16::from_le_bytes([block[0], block[1]]));
            let codes = packing.decode(&block[2..]).ok_or_else(|| {
                Error::entry(
                    "packed",
                    index,
                    "a group with a reserved code",
                    "codes 0, 1 and 2",
                )
            })?;
            signs.extend(codes.map(|code| code as i8 - 1));
        }
        check_scales(&scales)?;
        Ok(Self {
            packing,
            shape,
            bytes: bytes.to_vec(),
            scales,
            signs,
        })
    }

    /// The same weights in the other packing, or the same.
    pub fn repack(&self, packing: Packing) -> Result<Self> {
        let [n, k] = self.shape;
        Self::new(
            packing,
            View::new("scales", &self.scales, [n, k / GROUP])?,
            View::new("signs", &self.signs, self.shape)?,
        )
    }

    /// How the bytes are laid out.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// `[N, K]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The packed bytes, groups in row-major order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// d, `[N, K/128]`.
    pub fn scales(&self) -> &[f16] {
        &self.scales
    }

    /// t, `[N, K]`.
    pub fn signs(&self) -> &[i8] {
        &self.signs
    }

    /// Ŵ, `[N, K]`: exact.
    pub fn unpack(&self) -> Vec<f64> {
        self.weights(|scale, sign| scale * f64::from(sign))
            .collect()
    }

    /// `f(d, t)` of every weight.
    pub(super) fn weights<'a>(
        &'a self,
        f: impl Fn(f64, i8) -> f64 + 'a,
    ) -> impl Iterator<Item = f64> + 'a {
        self.signs
            .iter()
            .enumerate()
            .map(move |(i, &sign)| f(self.scales[i / GROUP].to_f64(), sign))
    }
}

fn check_scales(scales: &[f16]) -> Result<()> {
    match scales
        .iter()
        .position(|d| !d.is_finite() || d.is_sign_negative())
    {
        Some(index) => Err(Error::entry(
            "scales",
            index,
            scales[index],
            "finite and not negative",
        )),
        None => Ok(()),
    }
}
