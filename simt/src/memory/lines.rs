//! Bytes that begin at a line of the host's cache: what a warp moves at once is then seldom split
//! over two, and what was stored in one piece is loaded again in one.

use bytemuck::{Pod, Zeroable};

const LINE: usize = 64;

/// Bytes are also used as the words that they are to the program, which puts the lowest first.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "the host must put the lowest byte first"
);

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u32; LINE / 4]);

/// Zeros at first. Behind their end, up to that of the last line, there is nothing of use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    bytes: usize,
}

impl Lines {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            lines: bytemuck::zeroed_vec(bytes.div_ceil(LINE)),
            bytes,
        }
    }

    /// Their number.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// To the end of the last line.
    #[inline(always)]
    pub(crate) fn padded(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    /// To the end of the last line.
    #[inline(always)]
    pub(crate) fn padded_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// The bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.padded()[..self.bytes]
    }

    /// The bytes.
    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.bytes;
        &mut self.padded_mut()[..bytes]
    }

    /// As words, the last of them perhaps half of use.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.lines)
    }

    /// As words.
    #[inline(always)]
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}
