//! Block tables and slots: checked on the host, then on the device.

use super::PageShape;
use crate::{Buffer, Device, Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// Where the tokens of sequences lie: the pages of each, and how many tokens there are.
#[derive(Debug)]
pub struct BlockTable {
    pub(crate) table: Buffer<i32>,
    pub(crate) lengths: Buffer<i32>,
    host_lengths: Vec<usize>,
    width: usize,
    page: usize,
    /// Pages there must be.
    pages: usize,
}

/// Longest sequence: band limits are summed in 32 bits.
const LONGEST: usize = 1 << 29;

impl BlockTable {
    /// `table[B, width]` names the pages of each sequence in order, `lengths[B]` its tokens. Entries
    /// behind a sequence's last page are padding: anything, and never read.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::paged_kv::{BlockTable, PageShape};
    /// use kernels_host::{Device, Vm};
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let shape = PageShape { pages: 8, page: 16, heads: 2, head_size: 64 };
    /// // 20 tokens in pages 5 and 2, and none.
    /// let table = BlockTable::new(&device, &shape, &[5, 2, -1, -1], &[20, 0])?;
    /// assert_eq!(table.longest(), 20);
    /// // Page 8 is outside.
    /// assert!(BlockTable::new(&device, &shape, &[5, 8], &[20]).is_err());
    /// # Ok::<(), kernels_host::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the table is not rectangular, a length is negative or beyond its row, or a page that is
    /// needed is not one of the pages; when there is no memory.
    pub fn new(
        device: &Arc<dyn Device>,
        shape: &PageShape,
        table: &[i32],
        lengths: &[i32],
    ) -> Result<BlockTable> {
        shape.check()?;
        let batch = lengths.len();
        if batch == 0 || batch > 65_535 || !table.len().is_multiple_of(batch) {
            return Err(Error::Parameter {
                name: "block_table",
                got: format!("{} entries for {batch} sequences", table.len()),
                must_be: "a row of the same width for each of 1 to 65535 sequences".into(),
            });
        }
        let width = table.len() / batch;
        let most = (width * shape.page).min(LONGEST);
        let mut host_lengths = Vec::with_capacity(batch);
        for (b, &length) in lengths.iter().enumerate() {
            let tokens = usize::try_from(length).ok().filter(|&n| n <= most);
            let Some(tokens) = tokens else {
                return Err(Error::Entry {
                    name: "seq_len",
                    index: b,
                    got: length.into(),
                    must_be: format!("0 to {most}: {width} pages of {}", shape.page),
                });
            };
            let row = &table[b * width..];
            for (column, &page) in row[..tokens.div_ceil(shape.page)].iter().enumerate() {
                if !usize::try_from(page).is_ok_and(|page| page < shape.pages) {
                    return Err(Error::Entry {
                        name: "block_table",
                        index: b * width + column,
                        got: page.into(),
                        must_be: format!("one of the {} pages, from 0", shape.pages),
                    });
                }
            }
            host_lengths.push(tokens);
        }
        Ok(BlockTable {
            table: Buffer::from_slice(device, table)?,
            lengths: Buffer::from_slice(device, lengths)?,
            host_lengths,
            width,
            page: shape.page,
            pages: shape.pages,
        })
    }

    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.host_lengths.len()
    }

    /// Tokens of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.host_lengths
    }

    /// Tokens of the longest.
    pub fn longest(&self) -> usize {
        self.host_lengths.iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn width(&self) -> u32 {
        self.width as u32
    }

    /// Fails unless the table was made for pages like these, or fewer of them.
    pub(crate) fn expect(&self, shape: &PageShape) -> Result<()> {
        if self.page == shape.page && self.pages <= shape.pages {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "block_table",
            got: format!("made for {} pages of {} tokens", self.pages, self.page),
            must_be: format!(
                "for the {} pages of {} that there are",
                shape.pages, shape.page
            ),
        })
    }
}

/// Slots to be written: `page·page_size + offset`, a token each.
#[derive(Debug)]
pub struct Slots {
    pub(crate) slots: Buffer<i32>,
    host: Vec<usize>,
}

impl Slots {
    /// These slots, in the order of the tokens.
    ///
    /// # Errors
    /// When one is not in the pages, or named twice; when there is no memory.
    pub fn new(device: &Arc<dyn Device>, shape: &PageShape, slots: &[usize]) -> Result<Slots> {
        shape.check()?;
        let mut seen = HashSet::with_capacity(slots.len());
        for (index, &slot) in slots.iter().enumerate() {
            let refuse = |must_be: String| {
                Err(Error::Entry {
                    name: "slots",
                    index,
                    got: slot as i64,
                    must_be,
                })
            };
            if slot >= shape.slots() {
                return refuse(format!("one of the {} slots, from 0", shape.slots()));
            }
            if !seen.insert(slot) {
                return refuse("a slot that no other token goes to".into());
            }
        }
        let numbers: Vec<i32> = slots.iter().map(|slot| *slot as i32).collect();
        Ok(Slots {
            slots: Buffer::from_slice(device, &numbers)?,
            host: slots.to_vec(),
        })
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.host.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty()
    }

    /// The slots.
    pub fn as_slice(&self) -> &[usize] {
        &self.host
    }

    /// Fails unless all are in the pages.
    pub(crate) fn expect(&self, shape: &PageShape) -> Result<()> {
        let outside = self.host.iter().position(|slot| *slot >= shape.slots());
        outside.map_or(Ok(()), |index| {
            Err(Error::Entry {
                name: "slots",
                index,
                got: self.host[index] as i64,
                must_be: format!("one of the {} slots, from 0", shape.slots()),
            })
        })
    }
}
