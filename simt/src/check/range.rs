//! The check of a whole warp's regular access: consecutive words, or the same words for all lanes.
//!
//! The words of such an access were as a rule last accessed by one instruction, each by the lane
//! that comes now. One pass over the old records tells that, without a branch a word: each is
//! compared with what it would then be, and the differences are gathered ([`Summary`]). One look at
//! the clocks decides for all, and the new records are one run of consecutive numbers. That is a
//! few vector operations for each 16 words, where [`super::cells`] takes a dozen.
//!
//! Nothing that might be a race is decided here, nor what depends on the word: of those the answer
//! is [`None`] or false, with nothing changed.

use super::cell::{HEAD, Head, LANE, OTHERS, WHOLE, Word, first_of, head_of};
use super::cells::Order;
use crate::exec::registers::LANES;

/// Records of `V` words for each lane.
pub(crate) type Lines<const V: usize> = [[Word; V]; LANES];

/// What the records of one kind have in common.
#[derive(Clone, Copy)]
struct Summary {
    /// The head that all of them name.
    head: u32,
    /// All are ordered before what comes, or there are none.
    over: bool,
    /// Each is of the lane that accesses it now.
    own: bool,
    /// Others read one of them, too.
    others: bool,
}

/// The record of a lane's whole words.
#[inline(always)]
fn record(head: u32, lane: usize) -> Word {
    first_of(head) | WHOLE | (lane as Word) << 5
}

/// `None`: they name several heads.
#[inline(always)]
fn summary<const V: usize>(lines: &Lines<V>, least: Word) -> Option<Summary> {
    let first = lines[0][0];
    let head = head_of(first);
    let start = record(head, 0);
    let mut differs = 0;
    for (lane, words) in lines.iter().enumerate() {
        for word in words {
            differs |= word ^ (start + (lane as Word) * 32);
        }
    }
    (differs >> HEAD == 0).then_some(Summary {
        head,
        over: first < least,
        own: differs & LANE == 0,
        others: differs & OTHERS != 0,
    })
}

/// Every word was accessed by its lane, by the instruction of this head.
#[inline(always)]
fn put<const V: usize>(lines: &mut Lines<V>, head: u32) {
    let start = record(head, 0);
    for (lane, words) in lines.iter_mut().enumerate() {
        *words = [start + (lane as Word) * 32; V];
    }
}

/// An access by all lanes.
pub(crate) struct Range<'a, T> {
    pub(crate) heads: &'a [Head],
    /// The index of its head.
    pub(crate) mine: u32,
    /// Words below are ordered before all that comes.
    pub(crate) least: Word,
    pub(crate) order: &'a T,
}

impl<T: Order> Range<'_, T> {
    #[inline(always)]
    fn head(&self, index: u32) -> Head {
        self.heads.get(index as usize).copied().unwrap_or_default()
    }

    /// Whether records of lanes' own words stand against nothing. No closures here: they would not
    /// be compiled for the vector units.
    #[inline(always)]
    fn clear<const V: usize>(&self, lines: &Lines<V>, shared: bool) -> bool {
        let Some(old) = summary(lines, self.least) else {
            return false;
        };
        if old.over {
            return true;
        }
        let (head, mine) = (self.head(old.head), self.head(self.mine));
        let own = old.own && head.same_warp(mine);
        // A read that others share is not only the lane's own, until it has synchronised.
        (own && !(shared && old.others && head.clock() == mine.clock()))
            || self.order.whole(head) == Some(true)
    }

    /// Lanes write consecutive words.
    #[inline(always)]
    pub(crate) fn write<const V: usize>(
        &self,
        writes: &mut Lines<V>,
        reads: Option<&Lines<V>>,
    ) -> bool {
        if !self.clear(writes, false) {
            return false;
        }
        if let Some(reads) = reads
            && !self.clear(reads, true)
        {
            return false;
        }
        put(writes, self.mine);
        true
    }

    /// Lanes read consecutive words.
    #[inline(always)]
    pub(crate) fn read<const V: usize>(
        &self,
        writes: Option<&Lines<V>>,
        reads: &mut Lines<V>,
    ) -> bool {
        if let Some(writes) = writes
            && !self.clear(writes, false)
        {
            return false;
        }
        let Some(old) = summary(reads, self.least) else {
            return false;
        };
        if old.over {
            put(reads, self.mine);
            return true;
        }
        let (head, mine) = (self.head(old.head), self.head(self.mine));
        match self.order.whole(head) {
            None => false,
            // The same instruction once more: the records say so already.
            Some(false) if head == mine => old.own,
            Some(false) if !head.same_warp(mine) => {
                for word in reads.as_flattened_mut() {
                    *word |= OTHERS;
                }
                true
            }
            // Another of this warp, or one from before it has synchronised.
            _ => {
                let plain = !old.others || head.clock() != mine.clock();
                let ordered = self.order.whole(head) == Some(true);
                let taken = head != mine && plain && (ordered || old.own);
                if taken {
                    put(reads, self.mine);
                }
                taken
            }
        }
    }

    /// All lanes, of which `lane` is the first, read the same words.
    #[inline(always)]
    pub(crate) fn read_one(&self, lane: u32, writes: Option<&[Word]>, reads: &mut [Word]) -> bool {
        let Some(first) = reads.first().copied() else {
            return false;
        };
        let one = |words: &[Word]| {
            let named = words.first().copied().unwrap_or_default();
            words
                .iter()
                .all(|w| head_of(*w) == head_of(named))
                .then_some(named)
        };
        let ordered = |word: Word| {
            word < self.least || self.order.whole(self.head(head_of(word))) == Some(true)
        };
        // What one of the lanes wrote is its own, but not the others'.
        if !writes.is_none_or(|words| one(words).is_some_and(ordered)) || one(reads).is_none() {
            return false;
        }
        let (head, mine) = (self.head(head_of(first)), self.head(self.mine));
        if ordered(first) && (first < self.least || head != mine) {
            reads.fill(record(self.mine, lane as usize) | OTHERS);
            return true;
        }
        let unordered = self.order.whole(head) == Some(false);
        let shared = unordered && (head == mine || !head.same_warp(mine));
        if shared {
            reads.iter_mut().for_each(|w| *w |= OTHERS);
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Entry;
    use super::*;

    /// Everything is ordered, or nothing.
    struct All(bool);

    impl Order for All {
        fn before(&self, _: &Entry, _: u32) -> bool {
            self.0
        }
        fn whole(&self, _: Head) -> Option<bool> {
            Some(self.0)
        }
        fn tolerates(&self, _: &Entry) -> bool {
            false
        }
        fn strong(&self, _: &Entry) -> (bool, bool) {
            (false, false)
        }
    }

    /// Nobody; an instruction of this warp, another of it, one of another warp.
    fn heads() -> Vec<Head> {
        let head = |warp, op| Head::new(0, warp, 1, op);
        vec![Head::default(), head(0, 1), head(0, 2), head(1, 1)]
    }

    fn by(head: u32) -> Lines<2> {
        let mut lines = [[0; 2]; LANES];
        put(&mut lines, head);
        lines
    }

    /// Whether a write by the second head goes the short way, and what it leaves.
    fn written(mut writes: Lines<2>, reads: Lines<2>, ordered: bool) -> (bool, Lines<2>) {
        let (heads, order) = (heads(), All(ordered));
        let range = Range {
            heads: &heads,
            mine: 2,
            least: first_of(1),
            order: &order,
        };
        let done = range.write(&mut writes, Some(&reads));
        (done, writes)
    }

    #[test]
    fn lanes_write_their_own_words_again() {
        assert_eq!(written(by(1), by(1), false), (true, by(2)));
        assert_eq!(written([[0; 2]; LANES], by(2), false), (true, by(2)));
        assert_eq!(written(by(3), by(3), true), (true, by(2)), "ordered");
    }

    #[test]
    fn one_word_that_differs_is_left_to_the_long_way() {
        let mut shifted = by(1);
        shifted[17][1] ^= 32;
        let mut other = by(1);
        other[31][0] = by(3)[31][0];
        let mut shared = by(1);
        shared[0][0] |= OTHERS;
        for old in [shifted, other, by(3)] {
            assert_eq!(written(old, by(1), false), (false, old));
            assert_eq!(written(by(1), old, false), (false, by(1)));
        }
        assert_eq!(
            written(by(1), shared, false),
            (false, by(1)),
            "a read of others"
        );
    }

    /// What a read by the second head leaves of an earlier one.
    fn read(mut reads: Lines<2>, writes: Lines<2>, ordered: bool) -> Option<Lines<2>> {
        let (heads, order) = (heads(), All(ordered));
        let range = Range {
            heads: &heads,
            mine: 2,
            least: first_of(1),
            order: &order,
        };
        range.read(Some(&writes), &mut reads).then_some(reads)
    }

    #[test]
    fn reads_are_remembered_beside_those_of_others() {
        let none = [[0; 2]; LANES];
        assert_eq!(read(none, by(1), false), Some(by(2)));
        assert_eq!(read(by(1), none, false), Some(by(2)));
        assert_eq!(read(by(2), none, false), Some(by(2)));
        let shared = by(3).map(|words| words.map(|word| word | OTHERS));
        assert_eq!(read(by(3), none, false), Some(shared));
        assert_eq!(read(by(3), none, true), Some(by(2)));
        assert_eq!(read(none, by(3), false), None, "a race");
    }
}
