//! Reading `.npy` files as raw elements: the cases need no arrays, only bytes and a type.

use std::path::Path;

/// A file's contents.
#[derive(Debug)]
pub struct Npy {
    /// NumPy's name of the element type without byte order: `f4`, `i8`, `u2`, …
    pub descr: String,
    /// Little-endian elements in row-major order.
    pub bytes: Vec<u8>,
}

impl Npy {
    /// Reads a file of format 1.0 or 2.0.
    pub fn read(path: &Path) -> Result<Self, String> {
        let all = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&all)
            .ok_or_else(|| format!("{}: not a little-endian row-major npy file", path.display()))
    }

    fn parse(all: &[u8]) -> Option<Self> {
        let (head, rest) = all.split_at_checked(8)?;
        if &head[..6] != b"\x93NUMPY" {
            return None;
        }
        let (length, rest) = match head[6] {
            1 => (
                u16::from_le_bytes(rest.first_chunk().copied()?) as usize,
                &rest[2..],
            ),
            2 => (
                u32::from_le_bytes(rest.first_chunk().copied()?) as usize,
                &rest[4..],
            ),
            _ => return None,
        };
        let (header, bytes) = rest.split_at_checked(length)?;
        let header = std::str::from_utf8(header).ok()?;
        let descr = header.split("'descr': '").nth(1)?.split('\'').next()?;
        if header.contains("'fortran_order': True") || descr.starts_with('>') {
            return None;
        }
        Some(Self {
            descr: descr[1..].to_owned(),
            bytes: bytes.to_vec(),
        })
    }

    /// The elements, if they are f64.
    pub fn doubles(&self) -> Option<Vec<f64>> {
        let chunks = self.bytes.chunks_exact(8);
        (self.descr == "f8").then(|| {
            chunks
                .map(|c| f64::from_le_bytes(c.try_into().expect("chunks of eight")))
                .collect()
        })
    }
}
