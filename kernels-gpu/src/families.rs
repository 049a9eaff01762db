//! All families. The host's list: the device is built one family at a time and never sees it.

use crate::{Family, beam_search, probes, softmax_topk};

/// Every family there is.
pub const FAMILIES: &[Family] = &[beam_search::FAMILY, probes::FAMILY, softmax_topk::FAMILY];
