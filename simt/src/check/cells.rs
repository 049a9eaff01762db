//! Records of consecutive words, and the check of a warp's access against them.
//!
//! What a warp accesses in whole words is compared at once: as a rule all words were last accessed
//! by one warp's one instruction, and then one look at the clocks decides for all of them. What
//! might be a race, and all that is irregular, goes word by word ([`Cells::visit`]).

use super::cell::{Entry, HEADS, Head, LANE, OTHERS, WHOLE, Word, first_of, head_of, word};
use super::range::{Lines, Range};
use crate::exec::pattern::Pattern;
use crate::exec::registers::{FULL, LANES};
use crate::exec::step::bits;
use pulp::{Arch, NullaryFnOnce};

/// The records.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// What words name; the first is nobody's.
    heads: Vec<Head>,
    /// The last write of each word, and a read. Empty until there is one.
    writes: Vec<Word>,
    reads: Vec<Word>,
    /// Words below this are ordered before all that comes.
    floor: Word,
}

/// What orders accesses.
pub(crate) trait Order {
    /// Whether an earlier access happened before what a lane does now.
    fn before(&self, earlier: &Entry, lane: u32) -> bool;
    /// The same of all that a head stands for, for all lanes other than the one that made it;
    /// `None`: it depends.
    fn whole(&self, earlier: Head) -> Option<bool>;
    /// Whether a conflict with an earlier access is how the two synchronise.
    fn tolerates(&self, earlier: &Entry) -> bool;
    /// Whether the access, and an earlier one, take part in synchronisation.
    fn strong(&self, earlier: &Entry) -> (bool, bool);
}

/// The lanes of an access and the words they touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) offsets: &'a [u64; LANES],
    /// The offset of the first word of the cells.
    pub(crate) base: u64,
    pub(crate) pattern: Pattern,
    pub(crate) mask: u32,
    /// Bytes of each lane.
    pub(crate) bytes: u32,
    pub(crate) write: bool,
}

impl Span<'_> {
    /// The index of a lane's first word.
    #[inline(always)]
    fn word(&self, lane: usize) -> usize {
        (self.offsets[lane].wrapping_sub(self.base) / 4) as usize
    }

    /// The index of the first of the words, if the lanes follow each other without gaps.
    #[inline(always)]
    fn contiguous(&self) -> Option<usize> {
        let at = self.pattern.contiguous(self.mask, self.bytes)?;
        Some((at.wrapping_sub(self.base) / 4) as usize)
    }
}

/// An access that conflicts with a new one.
pub(crate) struct Conflict {
    pub(crate) new: Entry,
    pub(crate) with: Entry,
    pub(crate) with_write: bool,
}

impl Cells {
    /// Room for the records of so many words.
    #[inline(always)]
    pub(crate) fn reserve(&mut self, words: usize, write: bool) {
        if self.heads.is_empty() {
            self.heads.push(Head::default());
        }
        let side = if write {
            &mut self.writes
        } else {
            &mut self.reads
        };
        if side.len() < words {
            side.reserve_exact(words - side.len());
            side.resize(words, 0);
        }
    }

    /// Everything so far happened before everything to come.
    pub(crate) fn all_ordered(&mut self) {
        const MANY: usize = 1 << 16;
        if self.heads.len() > MANY {
            self.forget();
        }
        self.floor = first_of(self.heads.len() as u32);
    }

    fn forget(&mut self) {
        self.writes.fill(0);
        self.reads.fill(0);
        self.heads.truncate(1);
        self.floor = 0;
    }

    /// Whether an index names a head of which something is not ordered before all to come.
    #[inline(always)]
    pub(crate) fn names(&self, index: u32, head: Head) -> bool {
        index != 0 && first_of(index) >= self.floor && self.heads.get(index as usize) == Some(&head)
    }

    /// The head of an index.
    #[inline(always)]
    pub(crate) fn head(&self, index: u32) -> Head {
        self.heads.get(index as usize).copied().unwrap_or_default()
    }

    /// The index of a head, which is among the last few or new.
    #[inline(always)]
    pub(crate) fn index_of(&mut self, head: Head, first_word: usize, most: usize) -> u32 {
        const LOOK_BACK: usize = 4;
        for side in [&self.reads, &self.writes] {
            let index = side.get(first_word).map_or(0, |w| head_of(*w));
            if self.names(index, head) {
                return index;
            }
        }
        let from = self.heads.len().saturating_sub(LOOK_BACK).max(1);
        let recent = self.heads[from..].iter().rposition(|h| *h == head);
        if let Some(at) = recent
            && first_of((from + at) as u32) >= self.floor
        {
            return (from + at) as u32;
        }
        if self.heads.len() >= most.min(HEADS) {
            self.collect(most.min(HEADS));
        }
        if self.heads.len() == self.heads.capacity() {
            let more = (self.heads.len() / 2).clamp(4, 256);
            self.heads.reserve_exact(more);
        }
        self.heads.push(head);
        self.heads.len() as u32 - 1
    }

    /// Drops heads that no word names. If too many stay, reads are forgotten, and if that is not
    /// enough, writes: a race may be missed, none is made up.
    #[cold]
    fn collect(&mut self, most: usize) {
        for forget in 0..3 {
            match forget {
                1 => self.reads.fill(0),
                2 => self.writes.fill(0),
                _ => {}
            }
            let mut places = vec![0u32; self.heads.len()];
            let mut kept = vec![Head::default()];
            for word in self.reads.iter_mut().chain(&mut self.writes) {
                let index = head_of(*word) as usize;
                if index == 0 {
                    continue;
                }
                if places[index] == 0 {
                    places[index] = kept.len() as u32;
                    kept.push(self.heads[index]);
                }
                *word = first_of(places[index]) | *word & (first_of(1) - 1);
            }
            self.heads.truncate(kept.len());
            self.heads.copy_from_slice(&kept);
            self.floor = 0;
            if self.heads.len() <= most / 4 * 3 {
                return;
            }
        }
    }

    /// Bytes of the host that the records take.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.writes.capacity() + self.reads.capacity();
        words * size_of::<Word>() + self.heads.capacity() * size_of::<Head>()
    }

    /// Checks and remembers an access of whole words at once. False if that cannot be done, or a
    /// lane may conflict: then nothing has changed.
    #[inline(always)]
    pub(crate) fn whole(
        &mut self,
        arch: Arch,
        mine: u32,
        span: Span<'_>,
        order: &impl Order,
    ) -> bool {
        let words = span.bytes / 4;
        if !span.bytes.is_multiple_of(4) || !matches!(words, 1 | 2 | 4 | 8) {
            return false;
        }
        let whole = Whole {
            cells: self,
            mine,
            span,
            order,
        };
        arch.dispatch(whole)
    }

    /// Checks one lane's access to a word and remembers it.
    #[inline(always)]
    pub(crate) fn visit(
        &mut self,
        at: usize,
        new: Word,
        is_write: bool,
        order: &impl Order,
    ) -> Option<Conflict> {
        let (mut no_write, mut no_read) = (0, 0);
        let (heads, floor) = (&self.heads, self.floor);
        let write = self.writes.get_mut(at).unwrap_or(&mut no_write);
        let read = self.reads.get_mut(at).unwrap_or(&mut no_read);
        let entry = |word: Word| {
            let head = heads.get(head_of(word) as usize);
            (word >= floor.max(first_of(1))).then(|| Entry::new(*head.unwrap_or(&heads[0]), word))
        };
        let me = Entry::new(heads[head_of(new) as usize], new);
        let lane = me.when.thread % 32;
        let own = |e: &Entry| e.block == me.block && e.when.thread == me.when.thread;
        let conflict = |with: Entry, with_write| {
            Some(Conflict {
                new: me,
                with,
                with_write,
            })
        };
        let mut found = None;
        let last_write = entry(*write);
        if let Some(with) = last_write {
            let meets = with.bytes & me.bytes != 0 && !own(&with);
            if meets && !order.tolerates(&with) && !order.before(&with, lane) {
                found = conflict(with, true);
            }
        }
        let last_read = entry(*read);
        // A plain access stays remembered when its own thread synchronises by the word: another
        // thread may do the same, and still race with the plain one.
        let outlives = |old: Option<Entry>| {
            old.is_some_and(|old| {
                let (now, then) = order.strong(&old);
                let same = own(&old) && old.when.clock == me.when.clock;
                same && now && !then && old.bytes & me.bytes == me.bytes
            })
        };
        let same_access = |old: Option<Entry>| {
            old.filter(|old| own(old) && old.when == me.when && old.op == me.op)
        };
        if is_write {
            if let Some(with) = last_read {
                let unordered = if own(&with) {
                    // Another thread read after this one did, which has not synchronised since.
                    with.others && with.when.clock == me.when.clock
                } else {
                    !order.before(&with, lane)
                };
                let meets = with.bytes & me.bytes != 0;
                if found.is_none() && meets && unordered && !order.tolerates(&with) {
                    found = conflict(with, false);
                }
            }
            if !outlives(last_write) {
                let bytes = same_access(last_write).map_or(0, |old| old.bytes);
                *write = new | bytes << 1;
            }
            return found;
        }
        match last_read {
            _ if same_access(last_read).is_some() => *read |= new & WHOLE,
            Some(old) if !own(&old) && old.bytes & me.bytes != 0 && !order.before(&old, lane) => {
                *read |= OTHERS;
            }
            _ if outlives(last_read) => {}
            // Others still read what this thread reads again before it has synchronised.
            Some(old) if own(&old) && old.when.clock == me.when.clock => {
                *read = new | *read & OTHERS;
            }
            _ => *read = new,
        }
        found
    }
}

struct Whole<'a, T> {
    cells: &'a mut Cells,
    mine: u32,
    span: Span<'a>,
    order: &'a T,
}

impl<T: Order> NullaryFnOnce for Whole<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        match self.span.bytes / 4 {
            1 => self.either::<1>(),
            2 => self.either::<2>(),
            4 => self.either::<4>(),
            _ => self.either::<8>(),
        }
    }
}

/// What words were found to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Ordered before everything now, or nothing.
    Over,
    /// That, or of this head.
    One(u32),
    /// This and that.
    Mixed,
}

/// Ones for a word that says something, which is not below `least`.
#[inline(always)]
fn live(word: Word, least: Word) -> Word {
    if word >= least { Word::MAX } else { 0 }
}

#[inline(always)]
fn past(words: &[Word], least: Word) -> Past {
    let highest = words.iter().fold(0, |highest, word| highest.max(*word));
    if highest < least {
        return Past::Over;
    }
    let head = head_of(highest);
    let differs = words.iter().fold(0, |differs, word| {
        differs | (head_of(*word) ^ head) & live(*word, least)
    });
    if differs == 0 {
        Past::One(head)
    } else {
        Past::Mixed
    }
}

/// The records of the words that begin at `at`, `V` for each lane.
#[inline(always)]
fn lines<const V: usize>(side: &[Word], at: usize) -> Option<&Lines<V>> {
    side.get(at..at + LANES * V)?.as_chunks().0.first_chunk()
}

/// The same, to be changed.
#[inline(always)]
fn lines_mut<const V: usize>(side: &mut [Word], at: usize) -> Option<&mut Lines<V>> {
    let side = side.get_mut(at..at + LANES * V)?;
    side.as_chunks_mut().0.first_chunk_mut()
}

impl<T: Order> Whole<'_, T> {
    #[inline(always)]
    fn either<const V: usize>(mut self) -> bool {
        self.regular::<V>() || self.check::<V>()
    }

    /// The short way for lanes that follow each other or read one place.
    #[inline(always)]
    fn regular<const V: usize>(&mut self) -> bool {
        let (span, order) = (self.span, self.order);
        let contiguous = span.contiguous();
        let uniform = span.pattern.uniform();
        let Cells {
            heads,
            writes,
            reads,
            floor,
        } = &mut *self.cells;
        let range = Range {
            heads,
            mine: self.mine,
            least: (*floor).max(first_of(1)),
            order,
        };
        match (contiguous, uniform, span.write) {
            (Some(at), _, true) => match lines_mut::<V>(writes, at) {
                Some(writes) => range.write(writes, lines(reads, at)),
                None => false,
            },
            (Some(at), _, false) => match lines_mut::<V>(reads, at) {
                Some(reads) => range.read(lines(writes, at), reads),
                None => false,
            },
            (None, Some(_), false) if !span.mask.is_power_of_two() => {
                let lane = span.mask.trailing_zeros();
                let at = span.word(lane as usize % LANES);
                let there = at..at + V;
                match reads.get_mut(there.clone()) {
                    Some(reads) => range.read_one(lane, writes.get(there), reads),
                    None => false,
                }
            }
            _ => false,
        }
    }

    /// Where the words of the lanes begin, one after the other, without gaps.
    #[inline(always)]
    fn gather<const V: usize>(&self, from: &[Word], to: &mut [[Word; V]]) {
        if let Some(at) = self.span.contiguous() {
            if let Some(from) = from.get(at..at + LANES * V) {
                to.as_flattened_mut().copy_from_slice(from);
            }
            return;
        }
        for (lane, to) in bits(self.span.mask).zip(to) {
            let at = self.span.word(lane);
            if let Some(from) = from.get(at..at + V) {
                to.copy_from_slice(from);
            }
        }
    }

    #[inline(always)]
    fn scatter<const V: usize>(&self, from: &[[Word; V]], to: &mut [Word]) {
        if let Some(at) = self.span.contiguous() {
            if let Some(to) = to.get_mut(at..at + LANES * V) {
                to.copy_from_slice(from.as_flattened());
            }
            return;
        }
        // Backwards, so that of lanes that meet the first is remembered.
        let mut left = self.span.mask;
        for from in from[..left.count_ones() as usize].iter().rev() {
            let lane = 31 - left.leading_zeros();
            left &= !(1 << lane);
            let at = self.span.word(lane as usize % LANES);
            if let Some(to) = to.get_mut(at..at + V) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Whether nothing about earlier accesses of this kind stands against a new one by the words'
    /// own lanes. `shared`: reads, which others may share.
    #[inline(always)]
    fn clear(&self, old: &[Word], new: &[Word], least: Word, shared: bool) -> bool {
        let head = match past(old, least) {
            Past::Over => return true,
            Past::One(index) => self.cells.head(index),
            Past::Mixed => return false,
        };
        let mine = self.cells.head(self.mine);
        if self.order.whole(head) == Some(true) {
            return true;
        }
        let (mut lanes, mut others) = (0, 0);
        for (old, new) in old.iter().zip(new) {
            let live = live(*old, least);
            lanes |= (old ^ new) & live;
            others |= old & live;
        }
        let own = head.same_warp(mine) && lanes & LANE == 0;
        own && !(shared && others & OTHERS != 0 && head.clock() == mine.clock())
    }

    #[inline(always)]
    fn check<const V: usize>(self) -> bool {
        let Span {
            pattern,
            mask,
            write: is_write,
            ..
        } = self.span;
        if is_write && pattern.uniform().is_some() && !mask.is_power_of_two() {
            // Lanes write one place.
            return false;
        }
        let one = pattern.uniform().is_some();
        let shared_by = if one && !mask.is_power_of_two() {
            OTHERS
        } else {
            0
        };
        let first = 1 << mask.trailing_zeros();
        let this = if one {
            Whole {
                cells: self.cells,
                mine: self.mine,
                order: self.order,
                span: Span {
                    mask: first,
                    ..self.span
                },
            }
        } else {
            self
        };
        let mask = this.span.mask;
        let count = mask.count_ones() as usize * V;
        let least = this.cells.floor.max(first_of(1));

        let mut new = [[0; V]; LANES];
        if mask == FULL {
            for (lane, new) in new.iter_mut().enumerate() {
                *new = [word(this.mine, lane as u32, 0xf); V];
            }
        } else {
            for (lane, new) in bits(mask).zip(&mut new) {
                *new = [word(this.mine, lane as u32, 0xf); V];
            }
        }
        let mut writes = [[0; V]; LANES];
        let mut reads = [[0; V]; LANES];
        this.gather(&this.cells.writes, &mut writes);
        this.gather(&this.cells.reads, &mut reads);
        let new = &new.as_flattened()[..count];
        let (old_writes, old_reads) = (
            &writes.as_flattened()[..count],
            &reads.as_flattened()[..count],
        );

        if !this.clear(old_writes, new, least, false) {
            return false;
        }
        if shared_by != 0
            && let Past::One(index) = past(old_writes, least)
            && this.order.whole(this.cells.head(index)) != Some(true)
        {
            // What one of the lanes wrote is its own, but not the others'.
            return false;
        }
        if is_write {
            if !this.clear(old_reads, new, least, true) {
                return false;
            }
            let mut out = [[0; V]; LANES];
            out.as_flattened_mut()[..count].copy_from_slice(new);
            let mut to = std::mem::take(&mut this.cells.writes);
            this.scatter(&out, &mut to);
            // Lanes that meet in a word race with each other.
            let alone = pattern != Pattern::Any || this.arrived(&out, &to);
            if !alone {
                this.scatter(&writes, &mut to);
            }
            this.cells.writes = to;
            return alone;
        }

        let mut out = [[0; V]; LANES];
        let flat = &mut out.as_flattened_mut()[..count];
        match past(old_reads, least) {
            Past::Over => {
                for (out, new) in flat.iter_mut().zip(new) {
                    *out = new | shared_by;
                }
            }
            Past::Mixed => return false,
            Past::One(index) => {
                let (head, mine) = (this.cells.head(index), this.cells.head(this.mine));
                let Some(ordered) = this.order.whole(head) else {
                    return false;
                };
                let all = |yes: bool| if yes { Word::MAX } else { 0 };
                let same_warp = all(head.same_warp(mine));
                if shared_by != 0 && head.same_warp(mine) && head != mine && !ordered {
                    // The lane that read before does so again, amid the others.
                    return false;
                }
                // What a lane does to its own record, and to that of another.
                let same_access = all(head == mine);
                let same_clock = if head.clock() == mine.clock() {
                    OTHERS
                } else {
                    0
                };
                let unordered = all(!ordered);
                for ((out, new), old) in flat.iter_mut().zip(new).zip(old_reads) {
                    let own = if (old ^ new) & LANE == 0 {
                        same_warp
                    } else {
                        0
                    };
                    let again = old & same_access | (new | old & same_clock) & !same_access;
                    let other = (old | OTHERS) & unordered | new & !unordered;
                    let live = live(*old, least);
                    *out = ((again & own | other & !own) & live | new & !live) | shared_by;
                }
            }
        }
        let mut to = std::mem::take(&mut this.cells.reads);
        this.scatter(&out, &mut to);
        if pattern == Pattern::Any && !this.arrived(&out, &to) {
            // Lanes met in a word: it is read by others too.
            for (lane, sent) in bits(mask).zip(&out) {
                let at = this.span.word(lane);
                let there = to.get_mut(at..at + V).into_iter().flatten();
                for (word, _) in there.zip(sent).filter(|(word, sent)| *word != *sent) {
                    *word |= OTHERS;
                }
            }
        }
        this.cells.reads = to;
        true
    }

    /// Whether what was scattered is there: no two lanes went to one word.
    #[inline(always)]
    fn arrived<const V: usize>(&self, sent: &[[Word; V]; LANES], to: &[Word]) -> bool {
        let mut there = [[0; V]; LANES];
        self.gather(to, &mut there);
        let count = self.span.mask.count_ones() as usize;
        there[..count] == sent[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::clocks::Clocks;

    const WORDS: usize = 256;

    /// The clocks of a block of two warps.
    struct Two<'a>(&'a Clocks, u32);

    impl Order for Two<'_> {
        fn before(&self, earlier: &Entry, lane: u32) -> bool {
            self.0.before(earlier.when, self.1, lane)
        }
        fn whole(&self, earlier: Head) -> Option<bool> {
            self.0.whole(earlier.warp(), earlier.clock(), self.1)
        }
        fn tolerates(&self, _: &Entry) -> bool {
            false
        }
        fn strong(&self, _: &Entry) -> (bool, bool) {
            (false, false)
        }
    }

    /// Addresses of one of the kinds that programs make.
    fn offsets(mut random: impl FnMut(u64) -> u64, bytes: u64) -> [u64; LANES] {
        let room = WORDS as u64 * 4 / bytes;
        let start = random(room - LANES as u64);
        match random(5) {
            0 => [start * bytes; LANES],
            1 => std::array::from_fn(|i| (start + i as u64) * bytes),
            2 => std::array::from_fn(|i| (i as u64 * 2 % room) * bytes),
            3 => std::array::from_fn(|_| random(room) * bytes),
            _ => std::array::from_fn(|i| (i as u64 ^ 5) * bytes),
        }
    }

    /// The access at once leaves the records, and finds the conflicts, that it leaves and finds
    /// lane by lane.
    #[test]
    fn at_once_is_as_one_by_one() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut at_once, mut clear) = (0, 0);
        for _ in 0..200 {
            let mut clocks = Clocks::new(2, 1);
            let (mut quick, mut slow) = (Cells::default(), Cells::default());
            for cells in [&mut quick, &mut slow] {
                cells.reserve(WORDS, true);
                cells.reserve(WORDS, false);
            }
            for _ in 0..40 {
                match random(12) {
                    0 => {
                        (0..2).for_each(|w| clocks.arrive(w, 0));
                        assert!(clocks.complete(0, 0..2));
                        assert!(clocks.all_ordered());
                        quick.all_ordered();
                    }
                    1 => clocks.warp_sync(random(2) as u32, u32::MAX, u32::MAX),
                    2 => clocks.warp_sync(random(2) as u32, 0xff, u32::MAX),
                    _ => {}
                }
                let (warp, op) = (random(2) as u32, random(3) as u32);
                let bytes = 4 << random(3);
                let offsets = offsets(&mut random, bytes);
                let mask = [u32::MAX, 0xffff, 0x10, 0x8421_1248][random(4) as usize];
                let span = Span {
                    offsets: &offsets,
                    base: 0,
                    pattern: Pattern::of(&offsets, mask),
                    mask,
                    bytes: bytes as u32,
                    write: random(3) == 0,
                };
                let order = Two(&clocks, warp);
                let head = Head::new(0, warp, clocks.now(warp), op);
                let first = span.word(mask.trailing_zeros() as usize);
                let walk = |cells: &mut Cells| {
                    let mine = cells.index_of(head, first, HEADS);
                    let mut conflicts = 0;
                    for lane in bits(mask) {
                        for at in span.word(lane)..span.word(lane) + (bytes / 4) as usize {
                            let new = word(mine, lane as u32, 0xf);
                            let found = cells.visit(at, new, span.write, &order);
                            conflicts += u32::from(found.is_some());
                        }
                    }
                    conflicts
                };
                let conflicts = walk(&mut slow);
                let mine = quick.index_of(head, first, HEADS);
                if quick.whole(Arch::new(), mine, span, &order) {
                    assert_eq!(conflicts, 0, "{span:?}");
                    at_once += 1;
                } else {
                    assert_eq!(walk(&mut quick), conflicts, "{span:?}");
                }
                clear += u32::from(conflicts == 0);
                let entry = |cells: &Cells, word: Word| {
                    let known = word >= cells.floor.max(first_of(1));
                    known.then(|| Entry::new(cells.head(head_of(word)), word))
                };
                for at in 0..WORDS {
                    for (a, b) in [
                        (quick.writes[at], slow.writes[at]),
                        (quick.reads[at], slow.reads[at]),
                    ] {
                        match (entry(&quick, a), entry(&slow, b)) {
                            (None, Some(old)) => {
                                let all = |w| (0..32).all(|l| clocks.before(old.when, w, l));
                                assert!(all(0) && all(1), "word {at}: {old:?} is not over");
                            }
                            (a, b) => assert_eq!(a, b, "word {at}, {span:?}"),
                        }
                    }
                }
            }
        }
        assert!(at_once > clear / 2, "{at_once} of {clear} at once");
    }
}
