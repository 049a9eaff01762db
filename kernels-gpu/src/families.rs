//! All families. The host's list: the device is built one family at a time and never sees it.

use crate::{
    Family, beam_search, flash_attention_backward, flash_attention_forward, layernorm_backward,
    paged_kv, probes, softmax_topk, ternary_matmul, tree_verify,
};

/// Every family there is.
pub const FAMILIES: &[Family] = &[
    beam_search::FAMILY,
    flash_attention_backward::FAMILY,
    flash_attention_forward::FAMILY,
    layernorm_backward::FAMILY,
    paged_kv::FAMILY,
    probes::FAMILY,
    softmax_topk::FAMILY,
    ternary_matmul::FAMILY,
    tree_verify::FAMILY,
];
