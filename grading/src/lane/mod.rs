//! The ways a submission comes in. Each lane turns calls into answers and knows nothing of what
//! is right.

pub mod limits;
pub mod process;
pub mod ptx;
pub mod rust;
