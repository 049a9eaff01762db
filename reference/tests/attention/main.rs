//! Attention oracles against definitions, finite differences and the properties of their tasks.

mod bounds;
mod formula;
mod golden;
mod naive;
mod properties;
mod sample;
