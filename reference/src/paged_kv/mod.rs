//! A KV cache in pages, and attention that reads it (task `paged-kv-attention`).
//!
//! * [`formats`]: how K and V vectors are stored, bit for bit.
//! * [`PageStore`], [`PageAllocator`], [`KvCache`]: the pages, who holds them, and the sequences in
//!   them (append, prefix sharing with copy-on-write, block tables).
//! * [`paged_attention`]: decode and chunked prefill over pages.
//! * [`append`]: RoPE on the way into the cache, and what may then stand in it.
//! * [`planner`]: memory and arithmetic before anything is allocated.

mod allocator;
pub mod append;
mod appended;
mod attention;
mod cache;
pub mod formats;
pub mod planner;
mod planner_data;
mod store;

pub use allocator::{PageAllocator, PageId};
pub use appended::{AppendFault, judge_append};
pub(crate) use attention::paged_attention_under;
pub use attention::{PagedKeys, PagedQueries, paged_attention};
pub use cache::{KvCache, SequenceId};
pub use formats::Format;
pub use store::{Component, PageShape, PageStore, Pages};
