//! Asynchronous copies and their barriers.

/// An asynchronous operation.
#[derive(Clone, Debug)]
pub(crate) enum AsyncOp {}
