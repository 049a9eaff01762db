//! The paged KV kernels on the PTX machine, against the float64 oracle.

mod appending;
mod attention;
mod cache;
mod case;
mod counts;
mod far;
mod refusals;
mod traps;
