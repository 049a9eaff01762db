//! What is remembered of the accesses to one word of memory: the last write and a read.
//!
//! Words that one warp accessed by one instruction share most of what there is to say: that is a
//! [`Head`], kept once. A [`Word`] names its head, the lane and the bytes, in 32 bits.

use super::clocks::When;

/// Whose access it was and when, but for the lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head(u64);

const BLOCK: u32 = 22;
const WARP: u32 = 5;
const CLOCK: u32 = 18;
const OP: u32 = 19;

impl Head {
    /// Blocks and operations beyond these cannot be remembered.
    pub(crate) const fn fits(block: u64, op: u32) -> bool {
        block < 1 << BLOCK && op < 1 << OP
    }

    /// Packs them. A clock beyond the field stands still, so that what came after it seems
    /// ordered: a race may be missed, none is made up.
    #[inline(always)]
    pub(crate) fn new(block: u64, warp: u32, clock: u32, op: u32) -> Self {
        let clock = u64::from(clock.min((1 << CLOCK) - 1));
        let who = block << WARP | u64::from(warp);
        Head((who << CLOCK | clock) << OP | u64::from(op))
    }

    #[inline(always)]
    fn field(self, shift: u32, width: u32) -> u64 {
        self.0 >> shift & ((1 << width) - 1)
    }

    /// Index of the block.
    #[inline(always)]
    pub(crate) fn block(self) -> u64 {
        self.field(OP + CLOCK + WARP, BLOCK)
    }

    /// Index of the warp in the block.
    #[inline(always)]
    pub(crate) fn warp(self) -> u32 {
        self.field(OP + CLOCK, WARP) as u32
    }

    /// The warp's clock.
    #[inline(always)]
    pub(crate) fn clock(self) -> u32 {
        self.field(OP, CLOCK) as u32
    }

    /// The instruction, by its number in [`super::race::Sites`].
    #[inline(always)]
    pub(crate) fn op(self) -> u32 {
        self.field(0, OP) as u32
    }

    /// Whether both are of one warp of one block.
    #[inline(always)]
    pub(crate) fn same_warp(self, other: Head) -> bool {
        self.0 >> (OP + CLOCK) == other.0 >> (OP + CLOCK)
    }
}

/// An access to a word by one lane; zero for none.
pub(crate) type Word = u32;

/// For a read: others read too, and are not ordered after this one.
pub(crate) const OTHERS: Word = 1;
/// Every byte of the word.
pub(crate) const WHOLE: Word = 0xf << 1;
/// The lane's bits.
pub(crate) const LANE: Word = 0x1f << 5;
/// Where the index of the head begins.
pub(crate) const HEAD: u32 = 10;
/// Heads that a word can name, and none.
pub(crate) const HEADS: usize = 1 << (32 - HEAD);

/// The index of a word's head.
#[inline(always)]
pub(crate) fn head_of(word: Word) -> u32 {
    word >> HEAD
}

/// The least word that names a head.
#[inline(always)]
pub(crate) fn first_of(head: u32) -> Word {
    head << HEAD
}

/// A word.
#[inline(always)]
pub(crate) fn word(head: u32, lane: u32, bytes: u32) -> Word {
    first_of(head) | lane << 5 | bytes << 1
}

/// An access, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index of the block.
    pub(crate) block: u64,
    /// Index of the thread in the block, and its warp's clock.
    pub(crate) when: When,
    /// The instruction, by its number in [`super::race::Sites`].
    pub(crate) op: u32,
    /// Bytes of the word.
    pub(crate) bytes: u32,
    /// For a read: others read too, and are not ordered after this one.
    pub(crate) others: bool,
}

impl Entry {
    /// An access from its parts.
    #[inline(always)]
    pub(crate) fn new(head: Head, word: Word) -> Self {
        let when = When {
            thread: head.warp() * 32 + (word & LANE) / 32,
            clock: head.clock(),
        };
        Self {
            block: head.block(),
            when,
            op: head.op(),
            bytes: (word & WHOLE) >> 1,
            others: word & OTHERS != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_comes_back() {
        let head = Head::new((1 << 22) - 1, 31, 77, 4711);
        let entry = Entry {
            block: (1 << 22) - 1,
            when: When {
                thread: 1023,
                clock: 77,
            },
            op: 4711,
            bytes: 0b1010,
            others: true,
        };
        let word = word(9, 31, 0b1010) | OTHERS;
        assert_eq!(head_of(word), 9);
        assert_eq!(Entry::new(head, word), entry);
        let late = Head::new(3, 2, u32::MAX, 1);
        assert_eq!(
            (late.clock(), late.block(), late.warp()),
            ((1 << 18) - 1, 3, 2)
        );
    }
}
