//! Touchstone for programs that link it: one crate that re-exports the rooms a user needs.
//!
//! * [`kernels`]: launch the kernels on a device;
//! * [`simt`]: run PTX, ours or anyone's, on the CPU;
//! * [`mod@reference`]: the float64 oracles.
#![forbid(unsafe_code)]

pub use kernels_host as kernels;
pub use reference;
pub use simt;

/// The README's example is compiled with the documentation tests.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
