//! Memory: the address space, device allocations, and what is known of every byte.

pub mod bytes;
pub mod device;
pub(crate) mod lines;
pub(crate) mod region;
pub mod windows;

use crate::exec::registers::LANES;

/// A memory as loads and stores see it. Places were checked before: outside, reads give zeros and
/// writes go nowhere. Words are at multiples of four, and go by value: where the compiler cannot
/// see that memory and registers are apart, it moves them one by one.
pub(crate) trait Store {
    /// Whether what is written is noted even when no checker looks on.
    const ALWAYS_MARKED: bool;

    /// Reads words.
    fn load_words<const W: usize>(&self, at: u64) -> [u32; W];
    /// Reads word `k` of `W` of each lane, which follow each other.
    fn deal<const W: usize>(&self, at: u64, k: usize) -> [u32; LANES];
    /// The same of two words, `k` and the next.
    fn deal_wide<const W: usize>(&self, at: u64, k: usize) -> [u64; LANES];
    /// Writes words.
    fn store_words<const W: usize>(&mut self, at: u64, words: &[u32; W]);
    /// Writes the words of all lanes, which follow each other.
    fn store_lanes<const W: usize>(&mut self, at: u64, lanes: &[[u32; W]; LANES]);
    /// Reads 1, 2, 4 or 8 bytes.
    fn load(&self, at: u64, size: u32) -> u64;
    /// Writes 1, 2, 4 or 8 bytes.
    fn store(&mut self, at: u64, size: u32, value: u64);
    /// Whether every byte was written at some time, and will stay so.
    fn all_written(&self) -> bool;
    /// Whether these bytes were written.
    fn written_range(&self, at: u64, bytes: u64) -> bool;
    /// One bit for each of up to 16 bytes: whether it was written.
    fn written(&self, at: u64, size: u32) -> u32;
    /// Notes that these bytes are written.
    fn mark_range(&mut self, at: u64, bytes: u64);
    /// Notes which of up to 16 bytes hold values, by the bits of `which`.
    fn mark(&mut self, at: u64, size: u32, which: u32);
}
