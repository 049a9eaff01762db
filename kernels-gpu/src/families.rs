//! All families. The host's list: the device is built one family at a time and never sees it.

use crate::{Family, probes, softmax_topk};

/// Every family there is.
pub const FAMILIES: &[Family] = &[probes::FAMILY, softmax_topk::FAMILY];
