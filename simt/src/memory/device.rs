//! Device memory: allocations far apart in a 64-bit address space.
//!
//! Each allocation has address slots of 4 GiB to itself, so that an address which leaves it by
//! any likely mistake hits nothing. Slots are not reused: use after free is always seen.
//!
//! For a launch it is lent, as `memory/region.rs` says.

use super::lines::Lines;
use super::region::{About, Lent, Region, View, Words};
use super::windows::GLOBAL;
use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use zerocopy::{FromBytes, IntoBytes};

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
struct Allocation {
    about: About,
    words: Lines,
    /// One bit per byte that was written; empty when all were.
    written: Lines,
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

/// Bytes that hold a flag for each of so many.
fn flag_bytes(bytes: u64) -> usize {
    bytes.div_ceil(8) as usize
}

impl Allocation {
    fn new(base: u64, bytes: u64, label: String, poisoned: bool) -> Self {
        let flags = if poisoned { flag_bytes(bytes) } else { 0 };
        Self {
            about: About {
                base,
                bytes,
                label,
                rights: Rights::ReadWrite,
                freed: false,
                whole: !poisoned,
            },
            words: Lines::new(bytes as usize),
            written: Lines::new(flags),
        }
    }

    /// Whether `size` bytes at `offset` lie inside.
    fn holds(&self, offset: u64, size: u64) -> bool {
        offset < self.about.bytes && size <= self.about.bytes - offset
    }

    /// As the one thread that uses it has it.
    fn own(&mut self) -> Region<'_> {
        let words = [&mut self.words, &mut self.written];
        let words = words.map(|words| Cell::from_mut(words.words_mut()).as_slice_of_cells());
        Region::new(&self.about, Words::One(words))
    }

    /// As several threads have it: words are as large and as aligned as atomic ones.
    fn lend(&mut self) -> (&About, [&[AtomicU32]; 2]) {
        let words = [&mut self.words, &mut self.written].map(|words| {
            let atomic = <[AtomicU32]>::mut_from_bytes(words.words_mut().as_mut_bytes());
            atomic.map_or(&[][..], |words| &*words)
        });
        (&self.about, words)
    }

    fn forget_flags(&mut self) {
        self.written = Lines::default();
        self.about.whole = true;
    }
}

/// The slot of an address.
#[inline(always)]
pub(crate) fn slot(address: u64) -> Option<usize> {
    Some((address.checked_sub(GLOBAL)? >> SLOT_BITS) as usize)
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
        self.slots.get(slot(address)?).map(|i| *i as usize)
    }

    /// For the one thread that runs blocks.
    pub(crate) fn own(&mut self) -> View<'_> {
        View {
            regions: self.allocations.iter_mut().map(Allocation::own).collect(),
            slots: &self.slots,
        }
    }

    /// For several threads that run blocks.
    pub(crate) fn lend(&mut self) -> Lent<'_> {
        Lent {
            regions: self.allocations.iter_mut().map(Allocation::lend).collect(),
            slots: &self.slots,
        }
    }

    fn exact(&self, address: u64, bytes: u64) -> Result<usize, MemoryError> {
        let found = self.slot_of(address).filter(|i| {
            let a = &self.allocations[*i];
            let inside = address
                .checked_sub(a.about.base)
                .is_some_and(|o| a.holds(o, bytes) || (bytes == 0 && o <= a.about.bytes));
            inside && !a.about.freed
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
        if a.about.base != address {
            return Err(missing);
        }
        a.about.freed = true;
        a.words = Lines::default();
        a.forget_flags();
        self.used -= a.about.bytes;
        Ok(())
    }

    /// Sets what a program may do to an allocation.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_rights(&mut self, address: u64, rights: Rights) -> Result<(), MemoryError> {
        let index = self.exact(address, 0)?;
        self.allocations[index].about.rights = rights;
        Ok(())
    }

    /// Writes bytes from the host.
    ///
    /// # Errors
    /// When they are not all inside one live allocation.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let index = self.exact(address, data.len() as u64)?;
        let a = &mut self.allocations[index];
        let start = address - a.about.base;
        if start == 0 && data.len() as u64 == a.about.bytes {
            a.forget_flags();
        }
        let region = a.own();
        let mut at = 0;
        while at < data.len() {
            let offset = start + at as u64;
            let size = if offset.is_multiple_of(4) && data.len() - at >= 4 {
                let word: [u8; 4] = data[at..at + 4].try_into().expect("four bytes");
                region.store(offset, 4, u64::from(u32::from_le_bytes(word)));
                4
            } else {
                region.store(offset, 1, u64::from(data[at]));
                1
            };
            region.mark(offset, size);
            at += size as usize;
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
        if a.about.whole {
            a.about.whole = false;
            a.written = Lines::new(flag_bytes(a.about.bytes));
            a.written.padded_mut().fill(u8::MAX);
        }
        let start = address - a.about.base;
        let region = a.own();
        for offset in start..start + bytes {
            region.store(offset, 1, if offset % 2 == 0 { 0xa1 } else { 0x7f });
            region.unmark(offset, 1);
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
        let (start, words) = ((address - a.about.base) as usize, a.words.words());
        let byte = |at: usize| words[at / 4].to_le_bytes()[at % 4];
        let mut at = 0;
        while at < data.len() {
            let offset = start + at;
            if offset.is_multiple_of(4) && data.len() - at >= 4 {
                data[at..at + 4].copy_from_slice(&words[offset / 4].to_le_bytes());
                at += 4;
            } else {
                data[at] = byte(offset);
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
        if a.about.whole {
            return Ok(0);
        }
        let start = (address - a.about.base) as usize;
        let missing = |at: &usize| a.written.words()[at / 32] >> (at % 32) & 1 == 0;
        Ok((start..start + bytes as usize).filter(missing).count() as u64)
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
