//! A rung of a family with a call's tensors on a device, ready to be launched again and again.

mod attention;
mod paged;
mod rows;

use super::ProfileError;
use crate::builtin::failure;
use crate::submission::{Call, Failure, Named};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use kernels_host::{Buffer, Device, Element, Float, Result as Launched};
use std::sync::Arc;

/// A rung with its buffers.
pub trait Ready {
    /// Launches it.
    ///
    /// # Errors
    /// Those of the launch.
    fn run(&mut self) -> Launched<()>;

    /// Whether the same inputs give the same bits.
    fn repeats(&self) -> bool {
        true
    }

    /// What it wrote, in the order of the call's outputs.
    ///
    /// # Errors
    /// When the device cannot be read.
    fn outputs(&self) -> Result<Vec<Named>, ProfileError>;

    /// Overwrites the outputs, so that a run that writes nothing is seen.
    ///
    /// # Errors
    /// When the device cannot be written.
    fn spoil(&mut self) -> Launched<()>;
}

/// A type of inputs that all families know.
pub(super) trait Real:
    Scalar
    + reference::numbers::Element
    + Float
    + kernels_host::attention::Float
    + kernels_host::softmax_topk::Logit
{
}
impl Real for f32 {}
impl Real for f16 {}
impl Real for bf16 {}

/// The rungs that take the call, the simplest first.
pub fn rungs(call: &Call) -> Vec<&'static str> {
    match element(call) {
        DType::F16 => names::<f16>(call),
        DType::Bf16 => names::<bf16>(call),
        _ => names::<f32>(call),
    }
}

fn names<T: Real>(call: &Call) -> Vec<&'static str> {
    match call.task {
        "layernorm-backward" => rows::layernorm_rungs::<T>(call),
        "softmax-topk" => rows::softmax_rungs(call),
        "ternary-matmul" => rows::ternary_rungs::<T>(),
        "flash-attention-forward" | "flash-attention-backward" => attention::rungs::<T>(call),
        "paged-kv-attention" => paged::rungs::<T>(call),
        "tree-verify" if call.op == "attention" => paged::rungs::<T>(call),
        "tree-verify" => vec!["Greedy"],
        "beam-search" => vec!["Step"],
        _ => Vec::new(),
    }
}

/// A rung with the call's tensors on the device.
///
/// # Errors
/// When the family has no such rung for the call, or the device has no room.
pub fn ready(
    call: &Call,
    rung: &str,
    device: &Arc<dyn Device>,
) -> Result<Box<dyn Ready>, ProfileError> {
    let known = rungs(call);
    let found = known.iter().find(|name| name.eq_ignore_ascii_case(rung));
    let Some(rung) = found.copied() else {
        return Err(ProfileError::Rung {
            rung: rung.to_owned(),
            known: known.join(", "),
        });
    };
    match element(call) {
        DType::F16 => made::<f16>(call, rung, device),
        DType::Bf16 => made::<bf16>(call, rung, device),
        _ => made::<f32>(call, rung, device),
    }
}

/// The last rung that takes the call.
pub(super) fn best(call: &Call, device: &Arc<dyn Device>) -> Result<Box<dyn Ready>, ProfileError> {
    let rung = rungs(call).pop().unwrap_or("any");
    ready(call, rung, device)
}

fn made<T: Real>(
    call: &Call,
    rung: &'static str,
    device: &Arc<dyn Device>,
) -> Result<Box<dyn Ready>, ProfileError> {
    let on = On { call, device };
    match call.task {
        "layernorm-backward" => rows::layernorm::<T>(&on, rung),
        "softmax-topk" => rows::softmax::<T>(&on, rung),
        "ternary-matmul" => rows::ternary::<T>(&on, rung),
        "beam-search" => rows::beam::<T>(&on),
        "flash-attention-forward" => attention::forward::<T>(&on, rung),
        "flash-attention-backward" => attention::backward::<T>(&on, rung),
        "paged-kv-attention" => paged::attention::<T>(&on, rung),
        "tree-verify" if call.op == "attention" => paged::tree::<T>(&on, rung),
        _ => paged::accept::<T>(&on),
    }
}

/// The type that decides which kernel: that of the first input, or of the logits.
fn element(call: &Call) -> DType {
    let logits = call.input("logits").map(Tensor::dtype);
    let first = call.inputs.first().map(|input| input.tensor.dtype());
    logits.or(first).unwrap_or(DType::F32)
}

/// A call on its way to a device.
struct On<'a> {
    call: &'a Call,
    device: &'a Arc<dyn Device>,
}

impl On<'_> {
    fn size(&self, name: &str) -> usize {
        self.call.sizes.get(name).copied().unwrap_or(0) as usize
    }

    /// The elements of an input.
    fn host<T: Scalar>(&self, name: &str) -> Result<Vec<T>, ProfileError> {
        let tensor = self.call.input(name).and_then(Tensor::to_vec);
        tensor.ok_or_else(|| {
            Failure::Grader(format!("the call has no `{name}` in {}", T::DTYPE)).into()
        })
    }

    fn input<T: Scalar + Element>(&self, name: &str) -> Result<Buffer<T>, ProfileError> {
        Ok(Buffer::from_slice(self.device, &self.host::<T>(name)?)?)
    }

    /// Memory for an output.
    fn output<T: Scalar + Element>(&self, name: &str) -> Result<Out<T>, ProfileError> {
        let missing = || Failure::Grader(format!("the call does not ask for `{name}`"));
        let spec = self.call.output(name).ok_or_else(missing)?;
        let buffer = Buffer::uninit(self.device, spec.bytes() / T::DTYPE.bytes())?;
        Ok(Out {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            buffer,
        })
    }
}

/// An output on a device.
struct Out<T: Element> {
    name: String,
    shape: Vec<usize>,
    buffer: Buffer<T>,
}

impl<T: Element + Scalar> Out<T> {
    fn read(&self) -> Result<Named, ProfileError> {
        read(&self.name, &self.shape, &self.buffer)
    }

    /// A NaN of the floats, and no index.
    fn spoil(&mut self) -> Launched<()> {
        let poison: T = bytemuck::pod_read_unaligned(&[0xff; 8][..size_of::<T>()]);
        let all = vec![poison; self.buffer.len()];
        self.buffer.write(&all)
    }
}

fn read<T: Element + Scalar>(
    name: &str,
    shape: &[usize],
    buffer: &Buffer<T>,
) -> Result<Named, ProfileError> {
    let tensor = Tensor::of(shape, &buffer.to_vec()?);
    Ok(Named {
        name: name.to_owned(),
        tensor: tensor.map_err(|error| Failure::Grader(error.to_string()))?,
    })
}

impl From<kernels_host::Error> for ProfileError {
    fn from(error: kernels_host::Error) -> ProfileError {
        ProfileError::Failed(failure(error))
    }
}
