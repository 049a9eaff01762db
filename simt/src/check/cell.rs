//! What is remembered of the accesses to one word of memory: the last write and a read, each in
//! 64 bits.

use super::clocks::When;

/// An access to a word, or nothing (zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record(u64);

const BLOCK: u32 = 22;
const THREAD: u32 = 10;
const CLOCK: u32 = 14;
const OP: u32 = 13;

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

impl Record {
    /// Blocks and operations beyond these cannot be remembered.
    pub(crate) const fn fits(block: u64, op: u32) -> bool {
        block < 1 << BLOCK && op < 1 << OP
    }

    /// Packs an access. A clock beyond the field stands still, so that what came after it seems
    /// ordered: a race may be missed, none is made up.
    #[inline(always)]
    pub(crate) fn pack(e: Entry) -> Self {
        let clock = u64::from(e.when.clock.min((1 << CLOCK) - 1));
        let mut bits = e.block;
        bits = bits << THREAD | u64::from(e.when.thread);
        bits = bits << CLOCK | clock;
        bits = bits << OP | u64::from(e.op);
        bits = bits << 4 | u64::from(e.bytes);
        Record(bits << 1 | u64::from(e.others))
    }

    /// The access, if there is one.
    #[inline(always)]
    pub(crate) fn entry(self) -> Option<Entry> {
        if self.0 == 0 {
            return None;
        }
        let field = |shift: u32, width: u32| self.0 >> shift & ((1 << width) - 1);
        let when = When {
            thread: field(5 + OP + CLOCK, THREAD) as u32,
            clock: field(5 + OP, CLOCK) as u32,
        };
        Some(Entry {
            block: field(5 + OP + CLOCK + THREAD, BLOCK),
            when,
            op: field(5, OP) as u32,
            bytes: field(1, 4) as u32,
            others: self.0 & 1 != 0,
        })
    }

    /// Whether both are the same access but for the bytes.
    #[inline(always)]
    pub(crate) fn same_access(self, other: Record) -> bool {
        self.0 >> 5 == other.0 >> 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_comes_back() {
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
        assert_eq!(Record::pack(entry).entry(), Some(entry));
        assert_eq!(Record::default().entry(), None);
        let late = Entry {
            when: When {
                clock: u32::MAX,
                ..entry.when
            },
            ..entry
        };
        let back = Record::pack(late).entry().expect("an access");
        assert_eq!((back.when.clock, back.block), ((1 << 14) - 1, entry.block));
    }
}
