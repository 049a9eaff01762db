//! A KV cache in pages: tokens appended ([`append()`]), sequences that share prefixes ([`KvCache`]),
//! and attention that reads them, for one new token a sequence or for chunks ([`paged_attention`]).

mod allocator;
mod append;
mod attention;
mod cache;
mod pages;
mod table;

pub use allocator::PageAllocator;
pub use append::{Rope, RopePairs, RopeTable, append};
pub use attention::{Options, Outputs, Queries, Rung, paged_attention, paged_attention_by};
pub use cache::{KvCache, SequenceId};
pub use pages::{Format, PageShape, Pages, Store};
pub use table::{BlockTable, Slots};

pub(crate) use append::type_code;
pub(crate) use attention::{Tree, attend};
pub(crate) use pages::units;
