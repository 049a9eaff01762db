//! A block's sequence and KV head: where its rows lie, and what its rows see.

use super::{Band, Rows, Span};
use crate::device::thread;

/// One sequence under one KV head, whose query heads are packed into rows: row r is query
/// `r / group` of head `r % group`. The grid is tiles × KV heads × sequences.
#[derive(Clone, Copy)]
pub struct Sequence {
    queries: Rows,
    keys: Rows,
    /// Which keys a query sees.
    pub band: Band,
    kv_head: u32,
    /// Query heads of a KV head.
    pub group: u32,
}

impl Sequence {
    /// This block's. `starts` of queries and keys are null for a dense batch of `lengths`; `band` is
    /// what is seen to the left and to the right.
    ///
    /// # Safety
    /// As for [`Rows::of`]; `group` is not 0.
    #[inline(always)]
    pub unsafe fn here(
        starts: [*const i32; 2],
        lengths: [u32; 2],
        group: u32,
        band: [i32; 2],
    ) -> Sequence {
        let (kv_heads, sequence) = (thread::grid_dim_y(), thread::block_idx_z());
        // SAFETY: the caller's promise. Divisions by it need no check then.
        unsafe { core::hint::assert_unchecked(group != 0) }
        // SAFETY: the caller's promise.
        let (queries, keys) = unsafe {
            (
                Rows::of(starts[0], sequence, kv_heads * group, lengths[0]),
                Rows::of(starts[1], sequence, kv_heads, lengths[1]),
            )
        };
        Sequence {
            queries,
            keys,
            band: Band {
                left: band[0],
                right: band[1],
                queries: queries.length,
                keys: keys.length,
            },
            kv_head: thread::block_idx_y(),
            group,
        }
    }

    /// Packed rows of q.
    #[inline(always)]
    pub fn rows(&self) -> u32 {
        self.band.queries * self.group
    }

    /// The number, among all rows of q, of packed row `row`.
    #[inline(always)]
    pub fn query_row(&self, row: u32) -> usize {
        let head = self.kv_head * self.group + row % self.group;
        self.queries.at(head, row / self.group)
    }

    /// The number, among all rows of k, of a key.
    #[inline(always)]
    pub fn key_row(&self, key: u32) -> usize {
        self.keys.at(self.kv_head, key)
    }

    /// The keys that a packed row sees; none when there is no such row.
    #[inline(always)]
    pub fn keys_of(&self, row: u32) -> Span {
        if row < self.rows() {
            self.band.keys_of(row / self.group)
        } else {
            Span::EMPTY
        }
    }

    /// The queries that see a key; none when there is no such key.
    #[inline(always)]
    pub fn queries_of(&self, key: u32) -> Span {
        if key < self.band.keys {
            self.band.queries_of(key)
        } else {
            Span::EMPTY
        }
    }

    /// The keys that any, and that each, of the packed rows `first..=last` sees.
    #[inline(always)]
    pub fn keys_of_tile(&self, first: u32, last: u32) -> (Span, Span) {
        let (first, last) = (first / self.group, last / self.group);
        (
            self.band.keys_of_any(first, last),
            self.band.keys_of_all(first, last),
        )
    }

    /// The keys that any of the sixteen packed rows from `first` on sees.
    #[inline(always)]
    pub fn keys_of_sixteen(&self, first: u32) -> Span {
        let end = self.rows().min(first + 16);
        if first < end {
            self.keys_of_tile(first, end - 1).0
        } else {
            Span::EMPTY
        }
    }

    /// The packed rows that see any of the sixteen keys from `first` on.
    #[inline(always)]
    pub fn rows_of_sixteen(&self, first: u32) -> Span {
        let end = self.band.keys.min(first + 16);
        if first < end {
            self.rows_of_tile(first, end - 1).0
        } else {
            Span::EMPTY
        }
    }

    /// The packed rows that see any, and that see each, of the keys `first..=last`.
    #[inline(always)]
    pub fn rows_of_tile(&self, first: u32, last: u32) -> (Span, Span) {
        let packed = |queries: Span| Span {
            first: queries.first * self.group,
            end: queries.end * self.group,
        };
        (
            packed(self.band.queries_of_any(first, last)),
            packed(self.band.queries_of_all(first, last)),
        )
    }
}
