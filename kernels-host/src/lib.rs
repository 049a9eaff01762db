//! The safe launch API: devices behind one trait, typed buffers, and one function per kernel that
//! checks shapes before anything is launched.
//!
//! * [`Device`]: allocate, copy, launch, wait, time. [`Cuda`] is a GPU by its driver, loaded at run
//!   time; [`Vm`] is the PTX machine, on any CPU; [`Recorder`] keeps host memory and a list of calls, for tests of code that launches.
//! * [`Buffer`]: typed memory of one device.
//! * [`Module`] and [`Kernel`]: PTX, ours ([`Module::embedded`]) or anyone's ([`Module::parse`]),
//!   with the signature its own text declares.
//! * [`launch`]: every launch is checked against that signature and the device's limits.
//! * [`beam_search`], [`flash_attention_backward`], [`flash_attention_forward`],
//!   [`layernorm_backward`], [`paged_kv`], [`softmax_topk`], [`ternary_matmul`], [`tree_verify`]: the kernels, a module a family;
//!   [`attention`] is what those of attention are asked.

pub mod attention;
pub mod beam_search;
mod buffer;
mod cuda;
mod device;
mod error;
pub mod flash_attention_backward;
pub mod flash_attention_forward;
mod float;
mod footprint;
mod kernel;
mod launch;
pub mod layernorm_backward;
pub mod paged_kv;
mod recorder;
pub mod softmax_topk;
pub mod ternary_matmul;
pub mod tree_verify;
mod vm;

pub use buffer::{Buffer, Element};
pub use cuda::{Ceilings, Cuda};
pub use device::{Device, DeviceId, Limits};
pub use error::{Error, Result};
pub use float::Float;
pub use kernel::{Kernel, Module};
pub use launch::{Arg, CheckedLaunch, LaunchConfig, launch};
pub use recorder::{Call, Recorder};
pub use vm::{Launched, OnFindings, Vm};
