//! A rung at a shape, ready to run.

use kernels_host::{Buffer, Device, Element, Result};
use std::sync::Arc;

/// A rung at a shape.
pub(crate) struct Row {
    /// The task.
    pub(crate) task: &'static str,
    /// The rung.
    pub(crate) rung: String,
    /// Type and sizes.
    pub(crate) shape: String,
    /// Bytes of inputs and outputs.
    pub(crate) compulsory: u64,
    /// Launches it.
    pub(crate) run: Box<dyn FnMut() -> Result<()>>,
}

/// Numbers between −1 and 1 that are the same on every run, as the type holds them.
pub(crate) fn numbers<T: reference::numbers::Element>(count: usize) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // SplitMix64's step, whose upper bits are uniform.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
    };
    (0..count).map(|_| T::from_f64(next())).collect()
}

/// Those numbers on a device.
pub(crate) fn filled<T: Element + reference::numbers::Element>(
    device: &Arc<dyn Device>,
    count: usize,
) -> Result<Buffer<T>> {
    Buffer::from_slice(device, &numbers::<T>(count))
}

/// Bytes of a buffer.
pub(crate) fn bytes<T: Element>(buffer: &Buffer<T>) -> u64 {
    (buffer.len() * size_of::<T>()) as u64
}
