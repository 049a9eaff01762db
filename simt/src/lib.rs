//! A PTX machine for the CPU: lex, parse, validate, lower, execute, with sanitizers and counters.
#![forbid(unsafe_code)]

pub mod diagnostics;
pub mod ptx;
