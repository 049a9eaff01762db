//! Probes: one small kernel for each function of the device layer, so that what a function becomes
//! can be looked at, counted and run by itself.
//!
//! Every probe is `fn(a: *const u32, out: *mut u32)`, launched as one block of [`THREADS`] threads
//! on [`WORDS`] words each way. Thread `i` reads and writes around index `i`; floats travel by
//! their bits.

use crate::{Entry, Family};

/// Threads of a probe's only block: two warps.
pub const THREADS: u32 = 64;

/// Words in each of a probe's two buffers.
pub const WORDS: usize = 512;

/// Bytes of dynamic shared memory a probe is launched with.
pub const DYNAMIC_BYTES: u32 = 1024;

/// Declares probes: name, collectives, machine code, and the body as `|a, out, i|`. The host sees
/// the rows, the device the kernels.
macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident, [$($collective:expr),*], [$($code:literal),*],
        |$a:ident, $out:ident, $i:ident| $body:block)*) => {
        pub(super) const ENTRIES: &[$crate::Entry] = &[$($crate::Entry {
            name: stringify!($name),
            max_threads: super::THREADS,
            collectives: &[$($collective),*],
            machine_code: &[$($code),*],
        }),*];

        $(
            $(#[$doc])*
            #[cfg(all(target_arch = "nvptx64", feature = "probes"))]
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name($a: *const u32, $out: *mut u32) {
                let $i = $crate::device::thread::thread_idx_x() as usize;
                // SAFETY: i < THREADS, and the launch gives WORDS words to read and to write; each
                // body stays within them and writes only its own.
                unsafe { $body }
            }
        )*
    };
}

mod atomic;
mod matrix;
mod memory;
mod number;
mod reduce;
mod thread;
mod warp;

const MODULES: [&[Entry]; 7] = [
    atomic::ENTRIES,
    matrix::ENTRIES,
    memory::ENTRIES,
    number::ENTRIES,
    reduce::ENTRIES,
    thread::ENTRIES,
    warp::ENTRIES,
];

const COUNT: usize = {
    let (mut count, mut module) = (0, 0);
    while module < MODULES.len() {
        count += MODULES[module].len();
        module += 1;
    }
    count
};

const ENTRIES: [Entry; COUNT] = {
    let mut all = [MODULES[0][0]; COUNT];
    let (mut at, mut module) = (0, 0);
    while module < MODULES.len() {
        let mut entry = 0;
        while entry < MODULES[module].len() {
            all[at] = MODULES[module][entry];
            at += 1;
            entry += 1;
        }
        module += 1;
    }
    all
};

/// The probes.
pub const FAMILY: Family = Family {
    name: "probes",
    entries: &ENTRIES,
};
