//! Device code: the kernels and the layer they are written with.
//!
//! Compiled for `nvptx64-nvidia-cuda` (`cargo xtask ptx`) this crate is the kernels. Compiled for
//! the host it is only what a host must know to launch them: [`FAMILIES`], each kernel's [`Entry`],
//! and launch constants. The PTX made from it lies in `kernels-gpu/ptx/`.
//!
//! Start with [`device`] to write a kernel.
#![no_std]
#![cfg_attr(
    target_arch = "nvptx64",
    feature(
        abi_ptx,
        abi_unadjusted,
        asm_experimental_arch,
        link_llvm_intrinsics,
        stdarch_nvptx
    )
)]
#![cfg_attr(
    target_arch = "nvptx64",
    allow(
        internal_features,
        reason = "the device layer is made of LLVM's intrinsics"
    ),
    allow(
        dead_code,
        reason = "each PTX file is built with one family and uses part of the layer"
    ),
    allow(
        unreachable_pub,
        reason = "kernels are reached by their names in the PTX"
    )
)]

#[cfg(any(target_arch = "nvptx64", doc))]
pub mod attention;
pub mod beam_search;
#[cfg(any(target_arch = "nvptx64", doc))]
pub mod device;
mod entry;
#[cfg(not(target_arch = "nvptx64"))]
mod families;
pub mod flash_attention_backward;
pub mod flash_attention_forward;
pub mod layernorm_backward;
pub mod paged_kv;
pub mod probes;
pub mod softmax_topk;
pub mod ternary_matmul;
pub mod topk;
pub mod tree_verify;

pub use entry::{Entry, Family};
#[cfg(not(target_arch = "nvptx64"))]
pub use families::FAMILIES;

#[cfg(target_arch = "nvptx64")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: ends the launch with an error.
    unsafe { core::arch::nvptx::trap() }
}
