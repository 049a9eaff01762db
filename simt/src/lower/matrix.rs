//! Matrix instructions.

/// A matrix operation.
#[derive(Clone, Debug)]
pub(crate) enum MatrixOp {}
