//! Greedy walks, and the law of sampled ones.

mod greedy;
mod sampling;

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::cases::{Rng, strategy};
use crate::numbers::{DType, Precision};

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}
