//! proptest strategies over the seeded generators. Shrinking acts on shapes; data is a function
//! of the seed, which is what a failure prints.

use proptest::prelude::*;

use super::{Case, Rng, build, mixed, normal};
use crate::numbers::Element;

/// A seed for [`Rng::new`].
pub fn seed() -> impl Strategy<Value = u64> {
    any::<u64>().no_shrink()
}

/// A generator on a random seed.
pub fn rng() -> impl Strategy<Value = Rng> {
    seed().prop_map(Rng::new)
}

/// A case of a family, with its null margin.
pub fn case<C: Case + std::fmt::Debug>() -> impl Strategy<Value = C> {
    seed().prop_filter_map("a known-wrong answer passes", |seed| {
        build(seed).ok().map(|(case, _)| case)
    })
}

/// A `rows × columns` matrix that mixes scales.
pub fn mixed_matrix<T: Element>(
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> impl Strategy<Value = (usize, usize, Vec<T>)> {
    (rows, columns, seed()).prop_map(|(rows, columns, seed)| {
        (rows, columns, mixed(&mut Rng::new(seed), rows, columns))
    })
}

/// A `rows × columns` matrix of standard normal elements.
pub fn normal_matrix<T: Element>(
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> impl Strategy<Value = (usize, usize, Vec<T>)> {
    (rows, columns, seed()).prop_map(|(rows, columns, seed)| {
        (
            rows,
            columns,
            normal(&mut Rng::new(seed), rows * columns, 1.0),
        )
    })
}
