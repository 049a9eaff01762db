//! All families. The host's list: the device is built one family at a time and never sees it.

use crate::{Family, flash_attention_backward, flash_attention_forward, probes, softmax_topk};

/// Every family there is.
pub const FAMILIES: &[Family] = &[
    flash_attention_backward::FAMILY,
    flash_attention_forward::FAMILY,
    probes::FAMILY,
    softmax_topk::FAMILY,
];
