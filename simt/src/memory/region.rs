//! Device memory as a launch has it: words that the blocks share, without `unsafe`.
//!
//! While several threads of the host run blocks, words are atomics, and a relaxed load or store of
//! one is a plain move on the host, but a move of one word. While one thread runs them all, words
//! are cells: nobody else can look, so that a warp's 32 words are moved by the vector units, and an
//! atomic of the program is a load and a store. Which of the two it is, is settled when the memory
//! is lent for a launch (`Device::own`, `Device::lend`).

use super::Store;
use super::device::Rights;
use crate::exec::registers::LANES;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A word that can be written through a shared reference.
trait Word {
    fn get(&self) -> u32;
    fn put(&self, value: u32);
    /// Replaces it in one go; the old value.
    fn change(&self, f: impl Fn(u32) -> u32) -> u32;
}

impl Word for Cell<u32> {
    #[inline(always)]
    fn get(&self) -> u32 {
        Cell::get(self)
    }

    #[inline(always)]
    fn put(&self, value: u32) {
        self.set(value);
    }

    #[inline(always)]
    fn change(&self, f: impl Fn(u32) -> u32) -> u32 {
        self.replace(f(Cell::get(self)))
    }
}

impl Word for AtomicU32 {
    #[inline(always)]
    fn get(&self) -> u32 {
        self.load(Relaxed)
    }

    #[inline(always)]
    fn put(&self, value: u32) {
        self.store(value, Relaxed);
    }

    #[inline(always)]
    fn change(&self, f: impl Fn(u32) -> u32) -> u32 {
        match self.fetch_update(Relaxed, Relaxed, |old| Some(f(old))) {
            Ok(old) | Err(old) => old,
        }
    }
}

/// Words of memory, and words with a flag for each byte: whether it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words<'a> {
    /// Of the one thread that runs blocks.
    One([&'a [Cell<u32>]; 2]),
    /// Of all threads.
    Many([&'a [AtomicU32]; 2]),
}

/// Does the same with the words (`0`) or the flags (`1`), of whichever kind they are.
macro_rules! with {
    ($region:expr, $which:literal, $words:ident => $work:expr) => {
        match $region.words {
            Words::One(both) => {
                let $words = both[$which];
                $work
            }
            Words::Many(both) => {
                let $words = both[$which];
                $work
            }
        }
    };
}

/// What is known of an allocation besides its bytes.
#[derive(Debug)]
pub(crate) struct About {
    /// Address of its first byte.
    pub(crate) base: u64,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// What to call it in messages.
    pub(crate) label: String,
    /// What a program may do to it.
    pub(crate) rights: Rights,
    /// Whether it was freed.
    pub(crate) freed: bool,
    /// Whether all bytes are written, so that no flag is kept.
    pub(crate) whole: bool,
}

/// One allocation, for the time of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'a> {
    /// Address of its first byte.
    pub(crate) base: u64,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// What to call it in messages.
    pub(crate) label: &'a str,
    /// What a program may do to it.
    pub(crate) rights: Rights,
    /// Whether it was freed.
    pub(crate) freed: bool,
    whole: bool,
    words: Words<'a>,
}

/// One bit for each of up to 16 bytes at an offset, of words with a bit a byte.
#[inline(always)]
fn flagged<W: Word>(flags: &[W], offset: u64, size: u32) -> u32 {
    let at = (offset / 32) as usize;
    let word = |at: usize| flags.get(at).map_or(0, |w| u64::from(w.get()));
    ((word(at) | word(at + 1) << 32) >> (offset & 31)) as u32 & ((1 << size) - 1)
}

/// Sets flags; a word that has them already is left alone, for the sake of other threads.
#[inline(always)]
fn flag<W: Word>(flags: &[W], at: usize, want: u32) {
    if let Some(word) = flags.get(at)
        && word.get() & want != want
    {
        word.change(|have| have | want);
    }
}

impl<'a> Region<'a> {
    pub(crate) fn new(about: &'a About, words: Words<'a>) -> Self {
        Self {
            base: about.base,
            bytes: about.bytes,
            label: &about.label,
            rights: about.rights,
            freed: about.freed,
            whole: about.whole,
            words,
        }
    }

    /// Whether `size` bytes at `offset` lie inside.
    #[inline(always)]
    pub(crate) fn holds(&self, offset: u64, size: u64) -> bool {
        offset < self.bytes && size <= self.bytes - offset
    }

    /// Reads 1, 2, 4 or 8 bytes at an aligned offset inside.
    #[inline(always)]
    pub(crate) fn load(&self, offset: u64, size: u32) -> u64 {
        let at = (offset / 4) as usize;
        with!(self, 0, words => {
            let word = u64::from(words[at].get());
            match size {
                4 => word,
                8 => word | u64::from(words[at + 1].get()) << 32,
                2 => word >> (8 * (offset & 2)) & 0xffff,
                _ => word >> (8 * (offset & 3)) & 0xff,
            }
        })
    }

    /// Writes 1, 2, 4 or 8 bytes at an aligned offset inside.
    #[inline(always)]
    pub(crate) fn store(&self, offset: u64, size: u32, value: u64) {
        let at = (offset / 4) as usize;
        with!(self, 0, words => match size {
            4 => words[at].put(value as u32),
            8 => {
                words[at].put(value as u32);
                words[at + 1].put((value >> 32) as u32);
            }
            _ => {
                let shift = 8 * (offset & 3) as u32;
                let mask = if size == 2 { 0xffff } else { 0xff } << shift;
                let bits = (value as u32) << shift & mask;
                words[at].change(|old| old & !mask | bits);
            }
        });
    }

    /// Whether only one thread runs blocks.
    #[inline(always)]
    pub(crate) fn alone(&self) -> bool {
        matches!(self.words, Words::One(_))
    }

    /// Replaces an aligned 32-bit word in one go; returns the old one.
    #[inline]
    pub(crate) fn update32(&self, offset: u64, f: impl Fn(u32) -> u32) -> u32 {
        with!(self, 0, words => words[(offset / 4) as usize].change(f))
    }

    /// Notes that bytes were written.
    #[inline(always)]
    pub(crate) fn mark(&self, offset: u64, size: u32) {
        if self.whole {
            return;
        }
        let bits = ((1u64 << size) - 1) << (offset & 31);
        let at = (offset / 32) as usize;
        with!(self, 1, flags => {
            flag(flags, at, bits as u32);
            if bits >> 32 != 0 {
                flag(flags, at + 1, (bits >> 32) as u32);
            }
        });
    }

    /// Notes that bytes hold nothing again.
    pub(crate) fn unmark(&self, offset: u64, size: u32) {
        with!(self, 1, flags => {
            for byte in offset..offset + u64::from(size) {
                if let Some(word) = flags.get((byte / 32) as usize) {
                    word.change(|have| have & !(1 << (byte & 31)));
                }
            }
        });
    }
}

impl Store for &Region<'_> {
    const ALWAYS_MARKED: bool = true;

    #[inline(always)]
    fn load_words<const W: usize>(&self, at: u64) -> [u32; W] {
        let at = (at / 4) as usize;
        let mut to = [0; W];
        with!(self, 0, words => {
            if let Some(from) = words.get(at..at + W) {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from.get();
                }
            }
        });
        to
    }

    #[inline(always)]
    fn deal<const W: usize>(&self, at: u64, k: usize) -> [u32; LANES] {
        let at = (at / 4) as usize;
        let mut to = [0; LANES];
        with!(self, 0, words => {
            if let Some(from) = words.get(at..at + W * LANES) {
                for (to, lane) in to.iter_mut().zip(from.as_chunks::<W>().0) {
                    *to = lane[k % W].get();
                }
            }
        });
        to
    }

    #[inline(always)]
    fn deal_wide<const W: usize>(&self, at: u64, k: usize) -> [u64; LANES] {
        let at = (at / 4) as usize;
        let mut to = [0; LANES];
        with!(self, 0, words => {
            if let Some(from) = words.get(at..at + W * LANES) {
                for (to, lane) in to.iter_mut().zip(from.as_chunks::<W>().0) {
                    let [low, high] = [k, k + 1].map(|k| lane[k % W].get());
                    *to = u64::from(low) | u64::from(high) << 32;
                }
            }
        });
        to
    }

    #[inline(always)]
    fn store_words<const W: usize>(&mut self, at: u64, words: &[u32; W]) {
        let at = (at / 4) as usize;
        let from = *words;
        with!(self, 0, words => {
            if let Some(to) = words.get(at..at + W) {
                for (from, to) in from.iter().zip(to) {
                    to.put(*from);
                }
            }
        });
    }

    #[inline(always)]
    fn store_lanes<const W: usize>(&mut self, at: u64, lanes: &[[u32; W]; LANES]) {
        let at = (at / 4) as usize;
        let lanes = *lanes;
        with!(self, 0, words => {
            if let Some(to) = words.get(at..at + W * LANES) {
                for (from, to) in lanes.as_flattened().iter().zip(to) {
                    to.put(*from);
                }
            }
        });
    }

    #[inline(always)]
    fn load(&self, at: u64, size: u32) -> u64 {
        Region::load(self, at, size)
    }

    #[inline(always)]
    fn store(&mut self, at: u64, size: u32, value: u64) {
        Region::store(self, at, size, value);
    }

    #[inline(always)]
    fn all_written(&self) -> bool {
        self.whole
    }

    #[inline(always)]
    fn written_range(&self, at: u64, bytes: u64) -> bool {
        with!(self, 1, flags => {
            ranges(at, bytes).all(|(word, want)| match flags.get(word) {
                Some(have) => have.get() & want == want,
                None => false,
            })
        })
    }

    #[inline(always)]
    fn written(&self, at: u64, size: u32) -> u32 {
        if self.whole {
            return (1 << size) - 1;
        }
        with!(self, 1, flags => flagged(flags, at, size))
    }

    #[inline(always)]
    fn mark_range(&mut self, at: u64, bytes: u64) {
        with!(self, 1, flags => {
            for (word, want) in ranges(at, bytes) {
                flag(flags, word, want);
            }
        });
    }

    #[inline(always)]
    fn mark(&mut self, at: u64, size: u32, which: u32) {
        let all = (1u32 << size) - 1;
        if which & all == all {
            Region::mark(self, at, size);
            return;
        }
        for byte in 0..size {
            if which >> byte & 1 != 0 {
                Region::mark(self, at + u64::from(byte), 1);
            } else {
                self.unmark(at + u64::from(byte), 1);
            }
        }
    }
}

/// The words with the flags of these bytes, and which bits they are.
#[inline(always)]
fn ranges(at: u64, bytes: u64) -> impl Iterator<Item = (usize, u32)> {
    let (first, end) = (at / 32, (at + bytes).div_ceil(32));
    (first..end).map(move |word| {
        let low = at.saturating_sub(32 * word).min(31) as u32;
        let high = (at + bytes - 32 * word).min(32) as u32;
        let want = u32::MAX << low & u32::MAX >> (32 - high);
        (word as usize, want)
    })
}

/// All device memory, for the time of a launch, as one thread of the host has it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) regions: Vec<Region<'a>>,
    /// The region of each slot of the address space.
    pub(crate) slots: &'a [u32],
}

impl<'a> View<'a> {
    /// The region in whose slots an address falls; the address may lie outside its bytes.
    #[inline(always)]
    pub(crate) fn near(&self, address: u64) -> Option<&Region<'a>> {
        let slot = super::device::slot(address)?;
        self.regions.get(*self.slots.get(slot)? as usize)
    }
}

/// Device memory lent to the threads of the host.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    pub(crate) regions: Vec<(&'a About, [&'a [AtomicU32]; 2])>,
    pub(crate) slots: &'a [u32],
}

impl Lent<'_> {
    /// As one of them has it.
    pub(crate) fn view(&self) -> View<'_> {
        let each = self.regions.iter();
        View {
            regions: each
                .map(|(about, words)| Region::new(about, Words::Many(*words)))
                .collect(),
            slots: self.slots,
        }
    }
}
