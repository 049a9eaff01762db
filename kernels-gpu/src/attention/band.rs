//! Which keys a query sees, and by which queries a key is seen.

/// The band of one sequence. Lengths are at most 2²⁹ and `left`, `right` at most 2³⁰, so that no
/// sum here leaves an i32.
#[derive(Clone, Copy)]
pub struct Band {
    /// Keys seen before the query's position.
    pub left: i32,
    /// Keys seen after the query's position; 0 is causal.
    pub right: i32,
    /// Queries of the sequence.
    pub queries: u32,
    /// Keys of the sequence.
    pub keys: u32,
}

/// Some numbers in a row: `first..end`, none when `end ≤ first`.
#[derive(Clone, Copy)]
pub struct Span {
    /// The first of them.
    pub first: u32,
    /// One past the last.
    pub end: u32,
}

impl Span {
    /// None.
    pub const EMPTY: Span = Span { first: 0, end: 0 };

    /// Whether the number is one of them.
    #[inline(always)]
    pub fn contains(self, number: u32) -> bool {
        // Below `first` the difference wraps to a great number.
        number.wrapping_sub(self.first) < self.end.saturating_sub(self.first)
    }

    /// Whether any of the `count` numbers from `first` on is.
    #[inline(always)]
    pub fn contains_any(self, first: u32, count: u32) -> bool {
        self.first < first + count && first < self.end
    }

    /// Whether the `count` numbers from `first` on all are.
    #[inline(always)]
    pub fn contains_all(self, first: u32, count: u32) -> bool {
        self.first <= first && first + count <= self.end
    }
}

/// `from..to`, cut to `0..count`.
#[inline(always)]
fn cut(from: i32, to: i32, count: u32) -> Span {
    Span {
        first: from.max(0) as u32,
        end: to.clamp(0, count as i32) as u32,
    }
}

impl Band {
    /// Nk − Nq: the position of query 0.
    #[inline(always)]
    fn offset(self) -> i32 {
        self.keys as i32 - self.queries as i32
    }

    /// The keys that a query sees.
    #[inline(always)]
    pub fn keys_of(self, query: u32) -> Span {
        let position = query as i32 + self.offset();
        cut(position - self.left, position + self.right + 1, self.keys)
    }

    /// The queries that see a key.
    #[inline(always)]
    pub fn queries_of(self, key: u32) -> Span {
        let opposite = key as i32 - self.offset();
        cut(
            opposite - self.right,
            opposite + self.left + 1,
            self.queries,
        )
    }

    /// The keys that any of the queries `first..=last` sees.
    #[inline(always)]
    pub fn keys_of_any(self, first: u32, last: u32) -> Span {
        Span {
            first: self.keys_of(first).first,
            end: self.keys_of(last).end,
        }
    }

    /// The keys that each of the queries `first..=last` sees.
    #[inline(always)]
    pub fn keys_of_all(self, first: u32, last: u32) -> Span {
        Span {
            first: self.keys_of(last).first,
            end: self.keys_of(first).end,
        }
    }

    /// The queries that see any of the keys `first..=last`.
    #[inline(always)]
    pub fn queries_of_any(self, first: u32, last: u32) -> Span {
        Span {
            first: self.queries_of(first).first,
            end: self.queries_of(last).end,
        }
    }

    /// The queries that see each of the keys `first..=last`.
    #[inline(always)]
    pub fn queries_of_all(self, first: u32, last: u32) -> Span {
        Span {
            first: self.queries_of(last).first,
            end: self.queries_of(first).end,
        }
    }
}
