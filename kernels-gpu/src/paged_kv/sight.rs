//! Which keys a query sees, and where they lie.

/// The queries and keys of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Sequence {
    /// Its number.
    pub(super) number: u32,
    /// Its first query among those of all sequences.
    pub(super) first: u32,
    /// Its queries.
    pub(super) queries: u32,
    /// Its keys.
    pub(super) keys: u32,
    /// Keys that come before the token tree; all where there is none.
    pub(super) prefix: u32,
}

/// The tables that a call gives.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    /// `[B, width]`: the pages of each sequence.
    pub(super) table: *const i32,
    /// `[B]`: its keys.
    pub(super) lengths: *const i32,
    /// `[B + 1]`: where its queries start; null: one each.
    pub(super) starts: *const i32,
    /// `[T, words]`: bit j of row i says that node i sees node j; null: there is no tree.
    pub(super) mask: *const u32,
    /// `[T]`: the depth of each node.
    pub(super) depth: *const i32,
    /// Pages of a row of the table.
    pub(super) width: u32,
    /// Tokens of a page.
    pub(super) page: u32,
    /// Words of a row of the mask.
    pub(super) words: u32,
    /// Keys seen before the query's position.
    pub(super) left: i32,
    /// The first keys, seen from everywhere.
    pub(super) sinks: u32,
}

/// What one query sees: the keys below `high` that are not below `low`, and the sinks.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    pub(super) low: u32,
    pub(super) high: u32,
    /// The query among those of all sequences.
    query: u32,
}

impl Sight {
    /// Nothing.
    pub(super) const NONE: Sight = Sight {
        low: 0,
        high: 0,
        query: 0,
    };
}

impl Tables {
    /// A sequence of the call.
    ///
    /// # Safety
    /// It is one.
    #[inline(always)]
    pub(super) unsafe fn sequence(self, number: u32) -> Sequence {
        // SAFETY: the caller's promise.
        unsafe {
            let keys = *self.lengths.add(number as usize) as u32;
            let (first, queries) = if self.starts.is_null() {
                (number, 1)
            } else {
                let start = *self.starts.add(number as usize) as u32;
                (start, *self.starts.add(number as usize + 1) as u32 - start)
            };
            let prefix = if self.mask.is_null() {
                u32::MAX
            } else {
                keys - queries
            };
            Sequence {
                number,
                first,
                queries,
                keys,
                prefix,
            }
        }
    }

    /// What query number `query` of the sequence sees. Without a tree it stands at
    /// `query + keys − queries`, a node of a tree behind the prefix by its depth.
    ///
    /// # Safety
    /// The sequence has the query.
    #[inline(always)]
    pub(super) unsafe fn sight(self, sequence: Sequence, query: u32) -> Sight {
        let number = sequence.first + query;
        if !self.mask.is_null() {
            // SAFETY: the caller's promise.
            let depth = unsafe { *self.depth.add(number as usize) };
            return Sight {
                low: (sequence.prefix as i32 + depth - self.left).max(0) as u32,
                high: sequence.keys,
                query: number,
            };
        }
        let position = query as i32 + sequence.keys as i32 - sequence.queries as i32;
        Sight {
            low: (position - self.left).max(0) as u32,
            high: (position + 1).max(0) as u32,
            query: number,
        }
    }

    /// Whether the key is seen.
    ///
    /// # Safety
    /// The sight is one of this sequence's.
    #[inline(always)]
    pub(super) unsafe fn sees(self, sequence: Sequence, sight: Sight, key: u32) -> bool {
        if key >= sight.high {
            return false;
        }
        let near = |position: u32| position >= sight.low || position < self.sinks;
        if key < sequence.prefix {
            return near(key);
        }
        let node = key - sequence.prefix;
        // SAFETY: node < queries: words for all of them.
        unsafe {
            let row = sight.query as usize * self.words as usize;
            let word = *self.mask.add(row + node as usize / 32);
            let depth = *self.depth.add((sequence.first + node) as usize) as u32;
            word >> (node % 32) & 1 == 1 && near(sequence.prefix + depth)
        }
    }

    /// The slot of a key.
    ///
    /// # Safety
    /// The sequence has the key.
    #[inline(always)]
    pub(super) unsafe fn slot(self, sequence: Sequence, key: u32) -> u32 {
        let row = sequence.number as usize * self.width as usize;
        // SAFETY: the caller's promise.
        let page = unsafe { *self.table.add(row + (key / self.page) as usize) };
        page as u32 * self.page + key % self.page
    }
}
