//! The cache: sequences that grow token by token in pages, and share the pages of a common prefix.

use super::{BlockTable, Format, PageAllocator, PageShape, Pages, Rope, Slots, append};
use crate::attention::Float;
use crate::{Buffer, Device, Error, Result};
use std::sync::Arc;

/// Names a sequence of one cache. Not used again after the sequence is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceId(usize);

#[derive(Clone, Debug, Default)]
struct Sequence {
    pages: Vec<usize>,
    tokens: usize,
}

/// K and V of the layers of a model for many sequences.
///
/// All layers have the same slots. [`fork`](KvCache::fork) shares pages; a shared one is copied when
/// it is first to be written to.
///
/// ```
/// # use std::sync::Arc;
/// use kernels_host::paged_kv::{Format, KvCache, PageShape};
/// use kernels_host::{Buffer, Device, Vm};
///
/// let device: Arc<dyn Device> = Vm::new();
/// let shape = PageShape { pages: 4, page: 2, heads: 1, head_size: 4 };
/// let mut cache = KvCache::new(&device, 1, shape, Format::F16)?;
/// let prompt = cache.create();
/// let slots = cache.extend(&[(prompt, 3)])?;
/// let k = Buffer::from_slice(&device, &[1.0_f32; 3 * 4])?;
/// cache.append(0, &slots, &k, &k, None)?;
/// // Both continue the prompt; its second page is copied when one of them grows.
/// let other = cache.fork(prompt)?;
/// assert_eq!(cache.allocator().free(), 2);
/// cache.extend(&[(other, 1)])?;
/// assert_eq!(cache.allocator().free(), 1);
/// assert_eq!((cache.len(prompt)?, cache.len(other)?), (3, 4));
/// # Ok::<(), kernels_host::Error>(())
/// ```
#[derive(Debug)]
pub struct KvCache {
    device: Arc<dyn Device>,
    shape: PageShape,
    layers: Vec<Pages>,
    allocator: PageAllocator,
    sequences: Vec<Option<Sequence>>,
}

/// What growing a sequence comes to.
struct Growth {
    id: SequenceId,
    tokens: usize,
    /// The shared page that is to be copied first.
    copied: Option<usize>,
    /// Pages that are needed, the copy included.
    pages: usize,
}

impl KvCache {
    /// An empty cache of so many layers.
    ///
    /// # Errors
    /// When a size is out of range, or there is no memory.
    pub fn new(
        device: &Arc<dyn Device>,
        layers: usize,
        shape: PageShape,
        format: Format,
    ) -> Result<KvCache> {
        let layers = (0..layers).map(|_| Pages::uninit(device, shape, format));
        Ok(KvCache {
            device: device.clone(),
            shape,
            layers: layers.collect::<Result<_>>()?,
            allocator: PageAllocator::new(shape.pages),
            sequences: Vec::new(),
        })
    }

    /// The sizes of each layer's pages.
    pub fn shape(&self) -> PageShape {
        self.shape
    }

    /// The pages of a layer.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn pages(&self, layer: usize) -> Result<&Pages> {
        self.layers
            .get(layer)
            .ok_or_else(|| no_such_layer(layer, self.layers.len()))
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [Pages] {
        &mut self.layers
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
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn fork(&mut self, parent: SequenceId) -> Result<SequenceId> {
        let sequence = self.get(parent)?.clone();
        for page in &sequence.pages {
            self.allocator.retain(*page)?;
        }
        Ok(self.insert(sequence))
    }

    /// Ends a sequence and gives its pages back.
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn remove(&mut self, id: SequenceId) -> Result<()> {
        let pages = self.get(id)?.pages.clone();
        self.sequences[id.0] = None;
        pages
            .into_iter()
            .try_for_each(|page| self.allocator.release(page))
    }

    /// Tokens of a sequence.
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn len(&self, id: SequenceId) -> Result<usize> {
        self.get(id).map(|sequence| sequence.tokens)
    }

    /// Whether a sequence has no tokens.
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn is_empty(&self, id: SequenceId) -> Result<bool> {
        self.len(id).map(|tokens| tokens == 0)
    }

    /// Makes room for so many more tokens in each sequence and gives their slots, sequence by
    /// sequence. They count from now on: write each layer with [`append`](KvCache::append) before
    /// anybody reads them. A last page that others hold too is copied first.
    ///
    /// # Errors
    /// When there is no such sequence, one is named twice, or there are not enough pages; nothing
    /// changes then.
    pub fn extend(&mut self, growth: &[(SequenceId, usize)]) -> Result<Slots> {
        let mut plan = Vec::with_capacity(growth.len());
        // Sequences that share a page and both grow: the last holder writes to it as it is.
        let mut holders_left = std::collections::HashMap::new();
        for (index, &(id, tokens)) in growth.iter().enumerate() {
            if growth[..index].iter().any(|(other, _)| *other == id) {
                return Err(Error::Parameter {
                    name: "growth",
                    got: format!("sequence {} twice", id.0),
                    must_be: "each sequence once".into(),
                });
            }
            let sequence = self.get(id)?;
            let page = self.shape.page;
            let last = sequence.pages.last().copied();
            let inside = !sequence.tokens.is_multiple_of(page) && tokens > 0;
            let mut copied = None;
            if let Some(last) = last.filter(|_| inside) {
                let left = holders_left
                    .entry(last)
                    .or_insert_with(|| self.allocator.holders(last));
                if *left > 1 {
                    *left -= 1;
                    copied = Some(last);
                }
            }
            let whole = (sequence.tokens + tokens).div_ceil(page);
            plan.push(Growth {
                id,
                tokens,
                copied,
                pages: whole - sequence.pages.len() + usize::from(copied.is_some()),
            });
        }
        let needed = plan.iter().map(|growth| growth.pages).sum();
        let mut fresh = self.allocator.allocate(needed)?.into_iter();

        let (mut copies, mut slots) = (Vec::new(), Vec::new());
        for growth in plan {
            let mut taken: Vec<usize> = fresh.by_ref().take(growth.pages).collect();
            if let Some(shared) = growth.copied {
                let copy = taken.remove(0);
                self.allocator.release(shared)?;
                let page = self.shape.page;
                let sequence = self.get_mut(growth.id)?;
                copies.push((shared, copy, sequence.tokens % page));
                sequence.pages.pop();
                sequence.pages.push(copy);
            }
            let page = self.shape.page;
            let sequence = self.get_mut(growth.id)?;
            sequence.pages.extend(taken);
            for token in sequence.tokens..sequence.tokens + growth.tokens {
                slots.push(sequence.pages[token / page] * page + token % page);
            }
            sequence.tokens += growth.tokens;
        }
        if !copies.is_empty() {
            for layer in &mut self.layers {
                layer.copy(&copies)?;
            }
        }
        Slots::new(&self.device, &self.shape, &slots)
    }

    /// Writes a layer's `k` and `v[tokens, heads, D]` into slots that [`extend`](KvCache::extend) gave.
    ///
    /// # Errors
    /// Those of [`append`](super::append()), and when there is no such layer.
    pub fn append<T: Float>(
        &mut self,
        layer: usize,
        slots: &Slots,
        k: &Buffer<T>,
        v: &Buffer<T>,
        rope: Option<Rope<'_>>,
    ) -> Result<()> {
        let layers = self.layers.len();
        let pages = self
            .layers
            .get_mut(layer)
            .ok_or_else(|| no_such_layer(layer, layers))?;
        append(pages, k, v, slots, rope)
    }

    /// Shortens a sequence to its first `tokens` and gives back the pages it no longer needs.
    ///
    /// # Errors
    /// When there is no such sequence, or it is shorter.
    pub fn truncate(&mut self, id: SequenceId, tokens: usize) -> Result<()> {
        let page = self.shape.page;
        let sequence = self.get_mut(id)?;
        if tokens > sequence.tokens {
            return Err(Error::Parameter {
                name: "tokens",
                got: tokens.to_string(),
                must_be: format!("at most the {} there are", sequence.tokens),
            });
        }
        sequence.tokens = tokens;
        let freed = sequence.pages.split_off(tokens.div_ceil(page));
        freed
            .into_iter()
            .try_for_each(|page| self.allocator.release(page))
    }

    /// Slots of a sequence's tokens, in order.
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn slots(&self, id: SequenceId) -> Result<Vec<usize>> {
        let page = self.shape.page;
        let sequence = self.get(id)?;
        let slot = |token: usize| sequence.pages[token / page] * page + token % page;
        Ok((0..sequence.tokens).map(slot).collect())
    }

    /// Where the tokens of these sequences lie.
    ///
    /// # Errors
    /// When there is no such sequence, none is named, or there is no memory.
    pub fn block_table(&self, ids: &[SequenceId]) -> Result<BlockTable> {
        let sequences: Vec<&Sequence> =
            ids.iter().map(|id| self.get(*id)).collect::<Result<_>>()?;
        let width = sequences.iter().map(|s| s.pages.len()).max().unwrap_or(0);
        let mut table = vec![-1; width * ids.len()];
        for (row, sequence) in sequences.iter().enumerate() {
            for (column, page) in sequence.pages.iter().enumerate() {
                table[row * width + column] = *page as i32;
            }
        }
        let lengths: Vec<i32> = sequences.iter().map(|s| s.tokens as i32).collect();
        BlockTable::new(&self.device, &self.shape, &table, &lengths)
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        self.sequences.push(Some(sequence));
        SequenceId(self.sequences.len() - 1)
    }

    fn get(&self, id: SequenceId) -> Result<&Sequence> {
        let found = self.sequences.get(id.0).and_then(Option::as_ref);
        found.ok_or(Error::NoSequence { number: id.0 })
    }

    fn get_mut(&mut self, id: SequenceId) -> Result<&mut Sequence> {
        let found = self.sequences.get_mut(id.0).and_then(Option::as_mut);
        found.ok_or(Error::NoSequence { number: id.0 })
    }
}

fn no_such_layer(layer: usize, layers: usize) -> Error {
    Error::Parameter {
        name: "layer",
        got: layer.to_string(),
        must_be: format!("one of the {layers} layers, from 0"),
    }
}
