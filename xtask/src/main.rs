//! Developer tasks: `cargo xtask ptx`, `tidy`, `bless`.
#![forbid(unsafe_code)]

fn main() {}
