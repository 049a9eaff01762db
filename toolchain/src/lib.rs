//! How device code is built and checked. Shared by the build script that embeds the PTX, by
//! `cargo xtask ptx` that makes it, by the static tests and by `touchstone doctor`; so it depends on
//! none of the rooms.
//!
//! * [`stamp`]: the hash of a family's sources and the header that records it in the PTX;
//! * [`recipe`]: the targets and the compiler's flags, each with its reason;
//! * [`compiler`]: finds a compiler that can build device code;
//! * [`ptxas`]: finds NVIDIA's assembler and reads what it says;
//! * [`listing`]: what a PTX file holds, entry by entry, as text.
#![forbid(unsafe_code)]

pub mod compiler;
pub mod listing;
pub mod ptxas;
pub mod recipe;
pub mod stamp;
