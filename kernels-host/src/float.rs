//! The floating types that kernels are made for.

use crate::Element;

/// f32, f16 or bf16: what a family's inputs may be. Kernels' names end in [`Element::NAME`].
pub trait Float: Element {
    /// How many of them 16 bytes hold.
    const PER_QUAD: usize = 16 / size_of::<Self>();
}

impl Float for f32 {}
impl Float for half::f16 {}
impl Float for half::bf16 {}
