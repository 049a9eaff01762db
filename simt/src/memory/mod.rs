//! Memory: the address space, device allocations, and what is known of every byte.

pub mod bytes;
pub mod device;
pub mod windows;
