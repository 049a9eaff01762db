//! Beam search on the PTX machine: steps against the decision oracle, runs against the oracle's
//! runs, exhaustive search and greedy decoding.

mod refusals;
mod runs;
mod steps;
