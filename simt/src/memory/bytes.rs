//! Memory that one block alone can touch: shared, local, constant, parameters.

use super::Store;
use super::lines::Lines;
use crate::exec::registers::LANES;

/// Bytes and, for each, whether it was written.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    data: Lines,
    written: Lines,
}

impl Bytes {
    /// `size` bytes that hold nothing.
    pub fn poisoned(size: usize) -> Self {
        let zeros = || Lines::new(size);
        Self {
            data: zeros(),
            written: zeros(),
        }
    }

    /// Bytes with values.
    pub fn filled(data: &[u8]) -> Self {
        let mut all = Self::poisoned(data.len());
        all.data.bytes_mut().copy_from_slice(data);
        all.written.bytes_mut().fill(1);
        all
    }

    /// Their number.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.len() == 0
    }

    /// Makes all bytes hold nothing.
    pub fn reset(&mut self) {
        self.written.padded_mut().fill(0);
    }

    /// Reads 1, 2, 4 or 8 bytes; `None` outside.
    #[inline(always)]
    pub fn load(&self, at: usize, size: u32) -> Option<u64> {
        Some(match size {
            4 => u64::from(u32::from_le_bytes(
                self.data.bytes().get(at..at + 4)?.try_into().ok()?,
            )),
            8 => u64::from_le_bytes(self.data.bytes().get(at..at + 8)?.try_into().ok()?),
            2 => u64::from(u16::from_le_bytes(
                self.data.bytes().get(at..at + 2)?.try_into().ok()?,
            )),
            _ => u64::from(*self.data.bytes().get(at)?),
        })
    }

    /// Writes 1, 2, 4 or 8 bytes; false outside.
    #[inline(always)]
    pub fn store(&mut self, at: usize, size: u32, value: u64) -> bool {
        let Some(to) = self.data.bytes_mut().get_mut(at..at + size as usize) else {
            return false;
        };
        match size {
            4 => to.copy_from_slice(&(value as u32).to_le_bytes()),
            8 => to.copy_from_slice(&value.to_le_bytes()),
            2 => to.copy_from_slice(&(value as u16).to_le_bytes()),
            _ => to[0] = value as u8,
        }
        true
    }

    /// One bit for each of up to 16 bytes inside: whether it was written.
    #[inline(always)]
    pub fn written(&self, at: usize, size: u32) -> u32 {
        let Some(flags) = self.written.bytes().get(at..at + size as usize) else {
            return 0;
        };
        flags
            .iter()
            .enumerate()
            .fold(0, |bits, (i, flag)| bits | u32::from(*flag) << i)
    }

    /// Notes which of the bytes hold values, by the bits of `which`.
    #[inline(always)]
    pub fn mark(&mut self, at: usize, size: u32, which: u32) {
        let Some(flags) = self.written.bytes_mut().get_mut(at..at + size as usize) else {
            return;
        };
        if which == (1u32 << size) - 1 {
            flags.fill(1);
        } else {
            for (i, flag) in flags.iter_mut().enumerate() {
                *flag = (which >> i & 1) as u8;
            }
        }
    }

    /// Reads 16 bytes: a row of a matrix.
    #[inline(always)]
    pub(crate) fn row(&self, at: u64) -> [u8; 16] {
        let row = self
            .data
            .bytes()
            .get(at as usize..)
            .and_then(|d| d.first_chunk());
        row.copied().unwrap_or_default()
    }

    /// All bytes.
    pub fn data(&self) -> &[u8] {
        self.data.bytes()
    }
}

impl Store for Bytes {
    const ALWAYS_MARKED: bool = false;

    #[inline(always)]
    fn load_words<const W: usize>(&self, at: u64) -> [u32; W] {
        let words = self.data.words().get(at as usize / 4..);
        words
            .and_then(|w| w.first_chunk().copied())
            .unwrap_or([0; W])
    }

    #[inline(always)]
    fn deal<const W: usize>(&self, at: u64, k: usize) -> [u32; LANES] {
        let at = at as usize / 4;
        let mut to = [0; LANES];
        if let Some(from) = self.data.words().get(at..at + W * LANES) {
            for (to, lane) in to.iter_mut().zip(from.as_chunks::<W>().0) {
                *to = lane[k % W];
            }
        }
        to
    }

    #[inline(always)]
    fn deal_wide<const W: usize>(&self, at: u64, k: usize) -> [u64; LANES] {
        let at = at as usize / 4;
        let mut to = [0; LANES];
        if let Some(from) = self.data.words().get(at..at + W * LANES) {
            for (to, lane) in to.iter_mut().zip(from.as_chunks::<W>().0) {
                *to = u64::from(lane[k % W]) | u64::from(lane[(k + 1) % W]) << 32;
            }
        }
        to
    }

    #[inline(always)]
    fn store_words<const W: usize>(&mut self, at: u64, words: &[u32; W]) {
        let at = at as usize / 4;
        if let Some(to) = self.data.words_mut().get_mut(at..at + W) {
            to.copy_from_slice(words);
        }
    }

    #[inline(always)]
    fn store_lanes<const W: usize>(&mut self, at: u64, lanes: &[[u32; W]; LANES]) {
        let at = at as usize / 4;
        if let Some(to) = self.data.words_mut().get_mut(at..at + W * LANES) {
            to.copy_from_slice(lanes.as_flattened());
        }
    }

    #[inline(always)]
    fn load(&self, at: u64, size: u32) -> u64 {
        Bytes::load(self, at as usize, size).unwrap_or(0)
    }

    #[inline(always)]
    fn store(&mut self, at: u64, size: u32, value: u64) {
        Bytes::store(self, at as usize, size, value);
    }

    #[inline(always)]
    fn all_written(&self) -> bool {
        false
    }

    #[inline(always)]
    fn written_range(&self, at: u64, bytes: u64) -> bool {
        let Some(flags) = self
            .written
            .padded()
            .get(at as usize..(at + bytes) as usize)
        else {
            return false;
        };
        let (rows, rest) = flags.as_chunks::<16>();
        let ones = u128::from_le_bytes([1; 16]);
        let rows = rows
            .iter()
            .fold(ones, |all, row| all & u128::from_le_bytes(*row));
        rows == ones && rest.iter().all(|flag| *flag == 1)
    }

    #[inline(always)]
    fn written(&self, at: u64, size: u32) -> u32 {
        Bytes::written(self, at as usize, size)
    }

    #[inline(always)]
    fn mark_range(&mut self, at: u64, bytes: u64) {
        if let Some(flags) = self
            .written
            .padded_mut()
            .get_mut(at as usize..(at + bytes) as usize)
        {
            flags.fill(1);
        }
    }

    #[inline(always)]
    fn mark(&mut self, at: u64, size: u32, which: u32) {
        Bytes::mark(self, at as usize, size, which);
    }
}
