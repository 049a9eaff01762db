//! The paged cache against a cache without pages, the planner against published figures, and
//! attention over pages and trees against attention over plain tensors.

mod attention;
mod cache;
mod decode;
mod planner;
mod tree;
