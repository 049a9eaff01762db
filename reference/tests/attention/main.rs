//! Attention oracles against definitions, finite differences and the properties of their tasks.

mod formula;
mod naive;
mod properties;
mod sample;
