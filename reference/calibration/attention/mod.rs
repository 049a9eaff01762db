//! Honest implementations in f32 and 16-bit arithmetic, which every bound must admit, and wrong
//! ones, which every case must reject.
//!
//! Shared by the campaign that is run by hand (`examples/calibrate_attention.rs`) and the sample of
//! it among the tests. Nothing here uses the oracles' code: an implementation gets tensors and
//! returns tensors.

pub(crate) mod attention_backward;
pub(crate) mod attention_cases;
pub(crate) mod attention_forward;
pub(crate) mod campaign;
pub(crate) mod orders;
pub(crate) mod tally;
