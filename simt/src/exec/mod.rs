//! Execution: warps, blocks, grids.

mod access;
mod atomic;
mod block;
pub(crate) mod collective;
pub mod fault;
mod grid;
pub mod machine;
mod misc;
pub(crate) mod observer;
pub mod registers;
mod step;
mod straight;
pub(crate) mod warp;
