//! Execution: warps, blocks, grids.

mod access;
mod asynchronous;
mod atomic;
mod block;
mod bounds;
mod bulk;
mod cluster;
pub(crate) mod collective;
pub mod fault;
mod grid;
pub mod machine;
mod map;
mod matrix;
pub(crate) mod misc;
mod mover;
pub(crate) mod observer;
pub(crate) mod pattern;
pub mod registers;
mod regular;
mod shuffle;
pub(crate) mod step;
pub(crate) mod straight;
mod tensor;
mod transfer;
pub(crate) mod warp;
mod wgmma;
