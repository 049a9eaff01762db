//! The `ptx` lane: PTX text and a manifest that says how it is launched.

pub mod expression;
