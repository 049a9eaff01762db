//! The safe launch API: devices behind one trait, typed buffers, and one function per kernel that
//! checks shapes before anything is launched.
//!
//! * [`Device`]: allocate, copy, launch, wait, time. [`Cuda`] is a GPU by its driver, loaded at run
//!   time; [`Vm`] is the PTX machine, on any CPU; [`Recorder`] keeps host memory and a list of calls, for tests of code that launches.
//! * [`Buffer`]: typed memory of one device.
//! * [`Module`] and [`Kernel`]: PTX, ours ([`Module::embedded`]) or anyone's ([`Module::parse`]),
//!   with the signature its own text declares.
//! * [`launch`]: every launch is checked against that signature and the device's limits.
//! * [`softmax_topk`], [`flash_attention_forward`], [`flash_attention_backward`]: the kernels, a module a family; [`attention`]
//!   is what those of attention are asked.

pub mod attention;
mod buffer;
mod cuda;
mod device;
mod error;
pub mod flash_attention_backward;
pub mod flash_attention_forward;
mod footprint;
mod kernel;
mod launch;
mod recorder;
pub mod softmax_topk;
mod vm;

pub use buffer::{Buffer, Element};
pub use cuda::Cuda;
pub use device::{Device, DeviceId, Limits};
pub use error::{Error, Result};
pub use kernel::{Kernel, Module};
pub use launch::{Arg, CheckedLaunch, LaunchConfig, launch};
pub use recorder::{Call, Recorder};
pub use vm::Vm;
