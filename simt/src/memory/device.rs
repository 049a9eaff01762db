//! Device memory: allocations far apart in a 64-bit address space.
//!
//! Each allocation has address slots of 4 GiB to itself, so that an address which leaves it by
//! any likely mistake hits nothing. Slots are not reused: use after free is always seen.
//!
//! Blocks run in parallel and share the bytes without `unsafe`: they are 32-bit atomics, and a
//! relaxed load or store of one is a plain move on the host.

use super::Store;
use super::windows::GLOBAL;
use crate::exec::registers::LANES;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const SLOT_BITS: u32 = 32;
/// Where in its first slot an allocation begins: what lies below is redzone too.
const MARGIN: u64 = 1 << 28;
const MAX_SLOTS: u64 = 1 << 14;

/// What may be done to an allocation by a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Reads and writes.
    ReadWrite,
    /// Reads; a write is a fault.
    ReadOnly,
}

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    /// Address of its first byte.
    pub base: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// What to call it in messages.
    pub label: String,
    /// What a program may do to it.
    pub rights: Rights,
    /// Whether it was freed.
    pub freed: bool,
    words: Vec<AtomicU32>,
    /// One bit per byte that was written; empty when all were.
    written: Vec<AtomicU32>,
}

/// Why memory could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// More than the limit of the machine.
    #[error("{asked} bytes asked for, {left} left of the memory limit")]
    OutOfMemory {
        /// Asked for.
        asked: u64,
        /// Left.
        left: u64,
    },
    /// No such allocation.
    #[error("no live allocation holds {bytes} bytes at {address:#x}")]
    NotAllocated {
        /// Where.
        address: u64,
        /// How many.
        bytes: u64,
    },
}

impl Allocation {
    fn new(base: u64, bytes: u64, label: String, poisoned: bool) -> Self {
        let words = bytes.div_ceil(4) as usize;
        let fill = || (0..words).map(|_| AtomicU32::new(0)).collect();
        let written = if poisoned {
            (0..words.div_ceil(8)).map(|_| AtomicU32::new(0)).collect()
        } else {
            Vec::new()
        };
        let rights = Rights::ReadWrite;
        Self {
            base,
            bytes,
            label,
            rights,
            freed: false,
            words: fill(),
            written,
        }
    }

    /// Whether `size` bytes at `offset` lie inside.
    #[inline(always)]
    pub fn holds(&self, offset: u64, size: u64) -> bool {
        offset < self.bytes && size <= self.bytes - offset
    }

    /// Reads 1, 2, 4 or 8 bytes at an aligned offset inside.
    #[inline(always)]
    pub fn load(&self, offset: u64, size: u32) -> u64 {
        let at = (offset / 4) as usize;
        let word = u64::from(self.words[at].load(Relaxed));
        match size {
            4 => word,
            8 => word | u64::from(self.words[at + 1].load(Relaxed)) << 32,
            2 => word >> (8 * (offset & 2)) & 0xffff,
            _ => word >> (8 * (offset & 3)) & 0xff,
        }
    }

    /// Writes 1, 2, 4 or 8 bytes at an aligned offset inside. `alone` says that no other thread
    /// of the host runs blocks.
    #[inline(always)]
    pub fn store(&self, offset: u64, size: u32, value: u64, alone: bool) {
        let at = (offset / 4) as usize;
        match size {
            4 => self.words[at].store(value as u32, Relaxed),
            8 => {
                self.words[at].store(value as u32, Relaxed);
                self.words[at + 1].store((value >> 32) as u32, Relaxed);
            }
            _ => {
                let shift = 8 * (offset & 3) as u32;
                let mask = if size == 2 { 0xffff } else { 0xff } << shift;
                let bits = (value as u32) << shift & mask;
                let word = &self.words[at];
                if alone {
                    word.store(word.load(Relaxed) & !mask | bits, Relaxed);
                } else {
                    let _ = word.fetch_update(Relaxed, Relaxed, |old| Some(old & !mask | bits));
                }
            }
        }
    }

    /// Replaces an aligned 32-bit word atomically; returns the old one.
    #[inline]
    pub fn update32(&self, offset: u64, f: impl Fn(u32) -> u32) -> u32 {
        let word = &self.words[(offset / 4) as usize];
        match word.fetch_update(Relaxed, Relaxed, |old| Some(f(old))) {
            Ok(old) | Err(old) => old,
        }
    }

    /// Notes that bytes were written.
    #[inline(always)]
    pub fn mark(&self, offset: u64, size: u32) {
        if self.written.is_empty() {
            return;
        }
        let bits = ((1u64 << size) - 1) << (offset & 31);
        let at = (offset / 32) as usize;
        let low = bits as u32;
        if self.written[at].load(Relaxed) & low != low {
            self.written[at].fetch_or(low, Relaxed);
        }
        let high = (bits >> 32) as u32;
        if high != 0 && self.written[at + 1].load(Relaxed) & high != high {
            self.written[at + 1].fetch_or(high, Relaxed);
        }
    }

    /// Notes that bytes hold nothing again.
    pub fn unmark(&self, offset: u64, size: u32) {
        for byte in offset..offset + u64::from(size) {
            if let Some(word) = self.written.get((byte / 32) as usize) {
                word.fetch_and(!(1 << (byte & 31)), Relaxed);
            }
        }
    }

    /// Whether every byte was written at some time.
    #[inline(always)]
    pub fn initialised(&self) -> bool {
        self.written.is_empty()
    }

    /// One bit for each of up to 16 bytes: whether it was written.
    #[inline(always)]
    pub fn written(&self, offset: u64, size: u32) -> u32 {
        let ones = (1u32 << size) - 1;
        if self.written.is_empty() {
            return ones;
        }
        let at = (offset / 32) as usize;
        let low = u64::from(self.written[at].load(Relaxed));
        let high = self
            .written
            .get(at + 1)
            .map_or(0, |w| u64::from(w.load(Relaxed)));
        ((low | high << 32) >> (offset & 31)) as u32 & ones
    }
}

/// An allocation as the loads and stores of a launch see it.
pub(crate) struct Shared<'a> {
    /// Which.
    pub(crate) allocation: &'a Allocation,
    /// Whether only one thread of the host runs blocks.
    pub(crate) alone: bool,
}

impl Store for Shared<'_> {
    const ALWAYS_MARKED: bool = true;

    #[inline(always)]
    fn load_words(&self, at: u64, words: &mut [u32]) {
        let at = (at / 4) as usize;
        if let Some(from) = self.allocation.words.get(at..at + words.len()) {
            for (word, from) in words.iter_mut().zip(from) {
                *word = from.load(Relaxed);
            }
        }
    }

    #[inline(always)]
    fn deal<const W: usize>(&self, at: u64, k: usize, to: &mut [u32; LANES]) {
        let at = (at / 4) as usize;
        if let Some(from) = self.allocation.words.get(at..at + W * LANES) {
            for (to, lane) in to.iter_mut().zip(from.as_chunks::<W>().0) {
                *to = lane[k % W].load(Relaxed);
            }
        }
    }

    #[inline(always)]
    fn deal_wide<const W: usize>(&self, at: u64, k: usize, to: &mut [u64; LANES]) {
        let at = (at / 4) as usize;
        if let Some(from) = self.allocation.words.get(at..at + W * LANES) {
            for (to, lane) in to.iter_mut().zip(from.as_chunks::<W>().0) {
                let [low, high] = [k, k + 1].map(|k| lane[k % W].load(Relaxed));
                *to = u64::from(low) | u64::from(high) << 32;
            }
        }
    }

    #[inline(always)]
    fn store_words(&mut self, at: u64, words: &[u32]) {
        let at = (at / 4) as usize;
        if let Some(to) = self.allocation.words.get(at..at + words.len()) {
            for (word, to) in words.iter().zip(to) {
                to.store(*word, Relaxed);
            }
        }
    }

    #[inline(always)]
    fn load(&self, at: u64, size: u32) -> u64 {
        self.allocation.load(at, size)
    }

    #[inline(always)]
    fn store(&mut self, at: u64, size: u32, value: u64) {
        self.allocation.store(at, size, value, self.alone);
    }

    #[inline(always)]
    fn all_written(&self) -> bool {
        self.allocation.initialised()
    }

    #[inline(always)]
    fn written_range(&self, at: u64, bytes: u64) -> bool {
        let mut ends = flags(at, bytes);
        ends.all(|(word, want)| match self.allocation.written.get(word) {
            Some(have) => have.load(Relaxed) & want == want,
            None => false,
        })
    }

    #[inline(always)]
    fn written(&self, at: u64, size: u32) -> u32 {
        self.allocation.written(at, size)
    }

    #[inline(always)]
    fn mark_range(&mut self, at: u64, bytes: u64) {
        for (word, want) in flags(at, bytes) {
            if let Some(have) = self.allocation.written.get(word)
                && have.load(Relaxed) & want != want
            {
                have.fetch_or(want, Relaxed);
            }
        }
    }

    #[inline(always)]
    fn mark(&mut self, at: u64, size: u32, which: u32) {
        let all = (1u32 << size) - 1;
        if which & all == all {
            self.allocation.mark(at, size);
            return;
        }
        for byte in 0..size {
            if which >> byte & 1 != 0 {
                self.allocation.mark(at + u64::from(byte), 1);
            } else {
                self.allocation.unmark(at + u64::from(byte), 1);
            }
        }
    }
}

/// The words of `Allocation::written` with the flags of these bytes, and which bits they are.
#[inline(always)]
fn flags(at: u64, bytes: u64) -> impl Iterator<Item = (usize, u32)> {
    let (first, end) = (at / 32, (at + bytes).div_ceil(32));
    (first..end).map(move |word| {
        let low = at.saturating_sub(32 * word).min(31) as u32;
        let high = (at + bytes - 32 * word).min(32) as u32;
        let want = u32::MAX << low & u32::MAX >> (32 - high);
        (word as usize, want)
    })
}

/// All device memory of a machine.
#[derive(Debug)]
pub struct Device {
    allocations: Vec<Allocation>,
    /// The allocation of each slot.
    slots: Vec<u32>,
    used: u64,
    limit: u64,
}

impl Device {
    /// Memory that holds at most `limit` bytes at a time.
    pub fn new(limit: u64) -> Self {
        Self {
            allocations: Vec::new(),
            slots: Vec::new(),
            used: 0,
            limit,
        }
    }

    /// Allocates; a poisoned allocation holds no value until it is written.
    ///
    /// # Errors
    /// When the limit is reached.
    pub fn allocate(
        &mut self,
        bytes: u64,
        label: &str,
        poisoned: bool,
    ) -> Result<u64, MemoryError> {
        let left = self.limit - self.used;
        let slots = (bytes.saturating_add(MARGIN) >> SLOT_BITS) + 1;
        let slots_left = MAX_SLOTS.saturating_sub(self.slots.len() as u64);
        if bytes > left || slots > slots_left {
            return Err(MemoryError::OutOfMemory { asked: bytes, left });
        }
        let base = GLOBAL + ((self.slots.len() as u64) << SLOT_BITS) + MARGIN;
        let index = self.allocations.len() as u32;
        self.slots.extend((0..slots).map(|_| index));
        self.allocations
            .push(Allocation::new(base, bytes, label.to_owned(), poisoned));
        self.used += bytes;
        Ok(base)
    }

    fn slot_of(&self, address: u64) -> Option<usize> {
        let slot = address.checked_sub(GLOBAL)? >> SLOT_BITS;
        self.slots.get(slot as usize).map(|i| *i as usize)
    }

    /// The allocation in whose slots an address falls; the address may lie outside its bytes.
    #[inline(always)]
    pub fn near(&self, address: u64) -> Option<&Allocation> {
        self.slot_of(address).map(|i| &self.allocations[i])
    }

    fn exact(&self, address: u64, bytes: u64) -> Result<usize, MemoryError> {
        let found = self.slot_of(address).filter(|i| {
            let a = &self.allocations[*i];
            let inside = address
                .checked_sub(a.base)
                .is_some_and(|o| a.holds(o, bytes) || (bytes == 0 && o <= a.bytes));
            inside && !a.freed
        });
        found.ok_or(MemoryError::NotAllocated { address, bytes })
    }

    /// Frees an allocation by the address of its first byte.
    ///
    /// # Errors
    /// When there is none.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let missing = MemoryError::NotAllocated { address, bytes: 0 };
        let index = self.exact(address, 0)?;
        let a = &mut self.allocations[index];
        if a.base != address {
            return Err(missing);
        }
        a.freed = true;
        (a.words, a.written) = (Vec::new(), Vec::new());
        self.used -= a.bytes;
        Ok(())
    }

    /// Sets what a program may do to an allocation.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_rights(&mut self, address: u64, rights: Rights) -> Result<(), MemoryError> {
        let index = self.exact(address, 0)?;
        self.allocations[index].rights = rights;
        Ok(())
    }

    /// Writes bytes from the host.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let index = self.exact(address, data.len() as u64)?;
        let a = &mut self.allocations[index];
        let start = address - a.base;
        if start == 0 && data.len() as u64 == a.bytes {
            a.written = Vec::new();
        }
        let mut at = 0;
        while at < data.len() {
            let offset = start + at as u64;
            if offset.is_multiple_of(4) && data.len() - at >= 4 {
                let word: [u8; 4] = data[at..at + 4].try_into().expect("four bytes");
                *a.words[(offset / 4) as usize].get_mut() = u32::from_le_bytes(word);
                a.mark(offset, 4);
                at += 4;
            } else {
                a.store(offset, 1, u64::from(data[at]), true);
                a.mark(offset, 1);
                at += 1;
            }
        }
        Ok(())
    }

    /// Makes bytes hold nothing, filled with a pattern that is a signalling NaN in every format.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn poison(&mut self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        let index = self.exact(address, bytes)?;
        let a = &mut self.allocations[index];
        if a.written.is_empty() {
            let words = a.words.len().div_ceil(8);
            a.written = (0..words).map(|_| AtomicU32::new(u32::MAX)).collect();
        }
        let start = address - a.base;
        for offset in start..start + bytes {
            a.store(offset, 1, if offset % 2 == 0 { 0xa1 } else { 0x7f }, true);
            a.unmark(offset, 1);
        }
        Ok(())
    }

    /// Reads bytes to the host.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), MemoryError> {
        let index = self.exact(address, data.len() as u64)?;
        let a = &self.allocations[index];
        let start = address - a.base;
        let mut at = 0;
        while at < data.len() {
            let offset = start + at as u64;
            if offset.is_multiple_of(4) && data.len() - at >= 4 {
                let word = a.words[(offset / 4) as usize].load(Relaxed);
                data[at..at + 4].copy_from_slice(&word.to_le_bytes());
                at += 4;
            } else {
                data[at] = a.load(offset, 1) as u8;
                at += 1;
            }
        }
        Ok(())
    }

    /// How many of these bytes were never written.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn unwritten(&self, address: u64, bytes: u64) -> Result<u64, MemoryError> {
        let index = self.exact(address, bytes)?;
        let a = &self.allocations[index];
        let start = address - a.base;
        if a.initialised() {
            return Ok(0);
        }
        Ok((start..start + bytes)
            .filter(|o| a.written(*o, 1) == 0)
            .count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_know_whether_they_were_written() {
        let mut device = Device::new(1 << 20);
        let at = device.allocate(37, "a", true).expect("fits");
        device
            .write(at + 3, &[1, 2, 3, 4, 5, 6, 7])
            .expect("inside");
        let mut back = [0; 9];
        device.read(at + 2, &mut back).expect("inside");
        assert_eq!(back, [0, 1, 2, 3, 4, 5, 6, 7, 0]);
        assert_eq!(device.unwritten(at, 37), Ok(30));
        assert!(device.write(at + 36, &[0, 0]).is_err());
        device.free(at).expect("is live");
        assert!(device.read(at, &mut back).is_err());
        assert!(device.free(at).is_err());
    }

    #[test]
    fn the_limit_holds() {
        let mut device = Device::new(100);
        let first = device.allocate(60, "a", false).expect("fits");
        assert!(device.allocate(60, "b", false).is_err());
        device.free(first).expect("is live");
        assert!(device.allocate(60, "b", false).is_ok());
    }
}
