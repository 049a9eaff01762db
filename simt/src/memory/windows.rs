//! The virtual address space: where the windows of the state spaces begin.

/// Shared memory of the block's cluster: 4 GiB. Bits 24 to 31 of an offset name a block of the
/// cluster (its rank plus one); zero is the block itself.
pub const SHARED: u64 = 0x0000_0100_0000_0000;
/// Bits of a shared address that hold the place within a block; those above name the block.
pub(crate) const PLACE_BITS: u32 = 24;
/// Local memory of the thread.
pub const LOCAL: u64 = 0x0000_0200_0000_0000;
/// Constant memory of the module.
pub const CONST: u64 = 0x0000_0300_0000_0000;
/// Parameters of the kernel.
pub const PARAM: u64 = 0x0000_0400_0000_0000;
/// Device memory begins here.
pub const GLOBAL: u64 = 0x0000_7000_0000_0000;
