//! The cache: sequences that grow token by token in pages, and share the pages of a common prefix.

use super::allocator::{PageAllocator, PageId};
use super::formats::Format;
use super::store::{PageShape, PageStore};
use crate::error::{Error, Result};

/// Names a sequence of one cache. Never used again after the sequence is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceId(usize);

#[derive(Clone, Debug, Default, PartialEq)]
struct Sequence {
    pages: Vec<PageId>,
    tokens: usize,
}

/// K and V of one layer for many sequences.
///
/// Pages are shared by [`KvCache::fork`] and copied on the first write to one that is shared.
#[derive(Clone, Debug, PartialEq)]
pub struct KvCache {
    k: PageStore,
    v: PageStore,
    allocator: PageAllocator,
    sequences: Vec<Option<Sequence>>,
}

impl KvCache {
    /// An empty cache.
    pub fn new(shape: PageShape, format: Format) -> Result<Self> {
        Ok(Self {
            k: PageStore::new(shape, format)?,
            v: PageStore::new(shape, format)?,
            allocator: PageAllocator::new(shape.pages),
            sequences: Vec::new(),
        })
    }

    /// K pages.
    pub fn k(&self) -> &PageStore {
        &self.k
    }

    /// V pages.
    pub fn v(&self) -> &PageStore {
        &self.v
    }

    /// Free pages and reference counts.
    pub fn allocator(&self) -> &PageAllocator {
        &self.allocator
    }

    /// A new sequence without tokens.
    pub fn create(&mut self) -> SequenceId {
        self.insert(Sequence::default())
    }

    /// A new sequence that begins with all tokens of `parent` and shares its pages.
    pub fn fork(&mut self, parent: SequenceId) -> Result<SequenceId> {
        let sequence = self.get(parent)?.clone();
        for &page in &sequence.pages {
            self.allocator.retain(page)?;
        }
        Ok(self.insert(sequence))
    }

    /// Ends a sequence and gives its pages back.
    pub fn remove(&mut self, id: SequenceId) -> Result<()> {
        let sequence = self.get(id)?.clone();
        self.sequences[id.0] = None;
        for page in sequence.pages {
            self.allocator.release(page)?;
        }
        Ok(())
    }

    /// Tokens of a sequence.
    pub fn len(&self, id: SequenceId) -> Result<usize> {
        self.get(id).map(|sequence| sequence.tokens)
    }

    /// Appends one token, `k` and `v` `[Hkv, D]`; returns its slot (`page·page_size + offset`).
    ///
    /// Needs a free page when the last page is full, or shared. On any error nothing changes.
    pub fn append(&mut self, id: SequenceId, k: &[f32], v: &[f32]) -> Result<usize> {
        let page_size = self.k.shape().page;
        let sequence = self.get(id)?;
        let offset = sequence.tokens % page_size;
        let last = sequence.pages.last().copied();
        // Written to a copy first: a token that cannot be stored must not take a page.
        let shared = match last {
            Some(page) if offset != 0 => self.allocator.holders(page)? > 1,
            _ => false,
        };
        self.check_token(k, v)?;
        let page = match last {
            Some(page) if offset != 0 && !shared => page,
            _ => self.allocator.allocate()?,
        };
        if let (Some(old), true) = (last, shared) {
            self.k.copy_page(old, page);
            self.v.copy_page(old, page);
            self.allocator.release(old)?;
        }
        let slot = page * page_size + offset;
        self.k.write("k", slot, k)?;
        self.v.write("v", slot, v)?;
        let sequence = self.get_mut(id)?;
        if shared {
            sequence.pages.pop();
        }
        if shared || offset == 0 {
            sequence.pages.push(page);
        }
        sequence.tokens += 1;
        Ok(slot)
    }

    /// Shortens a sequence to its first `tokens` and gives back the pages it no longer needs.
    pub fn truncate(&mut self, id: SequenceId, tokens: usize) -> Result<()> {
        let page_size = self.k.shape().page;
        let sequence = self.get_mut(id)?;
        if tokens > sequence.tokens {
            let allowed = format!("at most the {} tokens there are", sequence.tokens);
            return Err(Error::argument("tokens", tokens, allowed));
        }
        sequence.tokens = tokens;
        let freed = sequence.pages.split_off(tokens.div_ceil(page_size));
        for page in freed {
            self.allocator.release(page)?;
        }
        Ok(())
    }

    /// Slots of a sequence's tokens, in order.
    pub fn slots(&self, id: SequenceId) -> Result<Vec<usize>> {
        let page = self.k.shape().page;
        let sequence = self.get(id)?;
        let slot = |token: usize| sequence.pages[token / page] * page + token % page;
        Ok((0..sequence.tokens).map(slot).collect())
    }

    /// Block table `[B, widest]` padded with −1, its width, and `seq_len[B]`.
    pub fn block_table(&self, ids: &[SequenceId]) -> Result<(Vec<i32>, usize, Vec<i32>)> {
        let sequences = ids
            .iter()
            .map(|&id| self.get(id))
            .collect::<Result<Vec<_>>>()?;
        let width = sequences.iter().map(|s| s.pages.len()).max().unwrap_or(0);
        let fit = |argument: &'static str, x: usize| {
            i32::try_from(x).map_err(|_| Error::argument(argument, x, "at most 2³¹ − 1"))
        };
        let mut table = vec![-1; width * ids.len()];
        let mut lengths = Vec::with_capacity(ids.len());
        for (row, sequence) in sequences.iter().enumerate() {
            for (column, &page) in sequence.pages.iter().enumerate() {
                table[row * width + column] = fit("page", page)?;
            }
            lengths.push(fit("tokens", sequence.tokens)?);
        }
        Ok((table, width, lengths))
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        self.sequences.push(Some(sequence));
        SequenceId(self.sequences.len() - 1)
    }

    fn get(&self, id: SequenceId) -> Result<&Sequence> {
        let found = self.sequences.get(id.0).and_then(Option::as_ref);
        found.ok_or_else(|| no_such_sequence(id))
    }

    fn get_mut(&mut self, id: SequenceId) -> Result<&mut Sequence> {
        let found = self.sequences.get_mut(id.0).and_then(Option::as_mut);
        found.ok_or_else(|| no_such_sequence(id))
    }

    /// Tries the token on stores of a single slot.
    fn check_token(&self, k: &[f32], v: &[f32]) -> Result<()> {
        let shape = PageShape {
            pages: 1,
            page: 1,
            ..self.k.shape()
        };
        PageStore::new(shape, self.k.pages().format())?.write("k", 0, k)?;
        PageStore::new(shape, self.v.pages().format())?.write("v", 0, v)
    }
}

fn no_such_sequence(id: SequenceId) -> Error {
    Error::argument(
        "sequence",
        id.0,
        "a sequence of this cache that was not removed",
    )
}
