//! The `touchstone` command.
#![forbid(unsafe_code)]

fn main() {}
