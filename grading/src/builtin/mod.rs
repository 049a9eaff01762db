//! Our own kernels as a submission: the same PTX and the same launches that programs link.

mod meter;

use crate::submission::{Answer, Call, Failure, Finding, Named, Submission};
use crate::task;
use crate::tensor::{DType, Scalar, Tensor};
use kernels_host::{Buffer, Cuda, Device, Element, Error, Launched, OnFindings, Vm};
use meter::Meter;
use simt::LaunchError;
use simt::diagnostics::Blame;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Device memory of the machine that our kernels are graded on.
const MEMORY: u64 = 1 << 30;

/// Where our kernels run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The PTX machine, with every checker and the counters.
    #[default]
    Vm,
    /// The first GPU.
    Cuda,
}

/// Launches that ran to their end, where somebody wants to know of them.
pub type Launches = Option<Arc<Mutex<Vec<Launched>>>>;

/// A device, and what goes through it.
pub struct Bench {
    meter: Arc<Meter>,
    /// The machine that counts and checks, where it is one.
    vm: Option<Arc<Vm>>,
    /// How it runs, but for the schedule.
    options: simt::Options,
    launches: Launches,
}

impl Bench {
    /// A bench on that device.
    ///
    /// # Errors
    /// When there is no GPU.
    pub fn new(place: Place) -> Result<Bench, Error> {
        match place {
            Place::Vm => {
                let options = simt::Options {
                    counters: true,
                    ..simt::Options::default()
                };
                let vm = Vm::with_options(MEMORY, options.clone());
                Ok(Bench::on(vm, options))
            }
            Place::Cuda => Ok(Bench {
                meter: Meter::new(Cuda::open(0)?),
                vm: None,
                options: simt::Options::default(),
                launches: Launches::default(),
            }),
        }
    }

    /// A bench on that machine, which runs as the options say on the schedule of each call.
    pub fn on(vm: Arc<Vm>, options: simt::Options) -> Bench {
        // Findings are judged here, beside the answer, and not by the launch.
        vm.set_on_findings(OnFindings::Report);
        Bench {
            meter: Meter::new(vm.clone()),
            vm: Some(vm),
            options,
            launches: Launches::default(),
        }
    }

    /// The device's name.
    pub fn device_name(&self) -> String {
        self.meter.name()
    }

    /// Begins a call.
    pub fn job<'a>(&self, call: &'a Call) -> Job<'a> {
        let device: Arc<dyn Device> = self.meter.clone();
        if let Some(vm) = &self.vm {
            let (seed, explore) = call.schedule();
            vm.set_options(simt::Options {
                seed,
                explore,
                ..self.options.clone()
            });
        }
        Job {
            call,
            device,
            meter: self.meter.clone(),
            vm: self.vm.clone(),
            launches: self.launches.clone(),
            answer: Answer::default(),
            workspace: 0,
        }
    }
}

/// A call on its way through our kernels.
pub struct Job<'a> {
    call: &'a Call,
    device: Arc<dyn Device>,
    meter: Arc<Meter>,
    vm: Option<Arc<Vm>>,
    launches: Launches,
    answer: Answer,
    workspace: usize,
}

impl Job<'_> {
    /// The device, for what a family allocates itself.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// A size of the call.
    pub fn size(&self, name: &str) -> usize {
        self.call.sizes.get(name).copied().unwrap_or(0) as usize
    }

    /// An input on the device, if the call has it.
    ///
    /// # Errors
    /// When it has another type, or there is no memory.
    pub fn optional<T: Element + Scalar>(&self, name: &str) -> Result<Option<Buffer<T>>, Failure> {
        let Some(tensor) = self.call.input(name) else {
            return Ok(None);
        };
        let unexpected =
            || Failure::Unsupported(format!("`{name}` in {}, not {}", tensor.dtype(), T::DTYPE));
        let elements = tensor.to_vec::<T>().ok_or_else(unexpected)?;
        Buffer::from_slice(&self.device, &elements)
            .map(Some)
            .map_err(failure)
    }

    /// An input on the device.
    ///
    /// # Errors
    /// When the call does not have it, or as for [`optional`](Job::optional).
    pub fn input<T: Element + Scalar>(&self, name: &str) -> Result<Buffer<T>, Failure> {
        let missing = || Failure::Grader(format!("the call has no `{name}`"));
        self.optional(name)?.ok_or_else(missing)
    }

    /// Memory for an output, poisoned.
    ///
    /// # Errors
    /// When the call does not ask for it, or there is no memory.
    pub fn output<T: Element + Scalar>(&self, name: &str) -> Result<Buffer<T>, Failure> {
        let missing = || Failure::Grader(format!("the call does not ask for `{name}`"));
        let spec = self.call.output(name).ok_or_else(missing)?;
        let count = spec.bytes() / T::DTYPE.bytes();
        Buffer::from_slice(&self.device, &vec![poison::<T>(); count]).map_err(failure)
    }

    /// Runs the kernels; what they allocate in between is scratch memory.
    ///
    /// # Errors
    /// When they fail.
    pub fn run(&mut self, work: impl FnOnce() -> kernels_host::Result<()>) -> Result<(), Failure> {
        let before = self.meter.begin();
        let started = Instant::now();
        let done = work().and_then(|()| self.device.synchronize());
        self.answer.elapsed += started.elapsed();
        self.workspace = self.workspace.max(self.meter.peak() - before);
        let launches = self.vm.as_ref().map(|vm| vm.take_launches());
        done.map_err(failure)?;
        let Some(launches) = launches else {
            return Ok(());
        };
        let mut counted = self.answer.counted.unwrap_or_default();
        for launched in &launches {
            let findings = launched.report.findings.iter();
            for finding in findings.filter(|finding| !finding.benign) {
                self.answer.findings.push(Finding {
                    kind: finding.checker.name().to_owned(),
                    text: finding.to_string(),
                });
            }
            if let Some(counters) = &launched.report.counters {
                let flow = counters.total.global.total();
                counted.bytes_moved += counters.total.moved_bytes();
                counted.bytes_requested += flow.bytes;
                counted.bytes_distinct += flow.distinct_bytes;
                counted.flops += counters.total.all_flops();
            }
        }
        counted.workspace = self.workspace as u64;
        self.answer.counted = Some(counted);
        if let Some(all) = &self.launches {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(launches);
        }
        Ok(())
    }

    /// Notes an input whose elements are no longer those that were sent.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn unchanged<T: Element + Scalar>(
        &mut self,
        name: &str,
        buffer: &Buffer<T>,
    ) -> Result<(), Failure> {
        let now = buffer.to_vec().map_err(failure)?;
        let sent = self.call.input(name).map(Tensor::bytes);
        if sent != Some(bytemuck::cast_slice(&now)) {
            self.answer.touched_inputs.push(name.to_owned());
        }
        Ok(())
    }

    /// Takes an output, and notes whether all of it was written.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn written<T: Element + Scalar>(
        &mut self,
        name: &str,
        buffer: &Buffer<T>,
    ) -> Result<(), Failure> {
        let values = buffer.to_vec().map_err(failure)?;
        let missing = || Failure::Grader(format!("the call does not ask for `{name}`"));
        let spec = self.call.output(name).ok_or_else(missing)?;
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let poison = poison::<T>();
        let poison: &[u8] = bytemuck::bytes_of(&poison);
        // A byte of poison is a number like others: it says nothing.
        if poison.len() > 1 && bytes.chunks(poison.len()).any(|element| element == poison) {
            self.answer.unwritten.push(name.to_owned());
        }
        let tensor = Tensor::new(T::DTYPE, spec.shape.clone(), bytes.to_vec())
            .map_err(|error| Failure::Grader(error.to_string()))?;
        self.answer.outputs.push(Named {
            name: name.to_owned(),
            tensor,
        });
        Ok(())
    }

    /// Adds an output that a family gives as host memory.
    pub fn give(&mut self, output: Named) {
        self.answer.outputs.push(output);
    }

    /// The answer.
    pub fn answer(self) -> Answer {
        self.answer
    }
}

/// A signalling NaN of the floats, and no index.
fn poison<T: Scalar>() -> T {
    let bytes: &[u8] = match T::DTYPE {
        DType::F16 => &[0x5a, 0x7d],
        DType::Bf16 => &[0x9a, 0x7f],
        DType::F64 => &[0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0xf2, 0x7f],
        _ => &[0x5a, 0x5a, 0x9a, 0x7f, 0x5a, 0x5a, 0x9a, 0x7f],
    };
    bytemuck::pod_read_unaligned(&bytes[..size_of::<T>()])
}

/// Whose fault an error is.
pub fn failure(error: Error) -> Failure {
    match error {
        Error::Vm(stopped) => match *stopped {
            LaunchError::Fault(fault) => {
                let text = fault.to_string();
                match fault.blame() {
                    Blame::Program => Failure::Fault(text),
                    Blame::Unsupported => Failure::Unsupported(text),
                    Blame::Limit => Failure::Timeout(text),
                    Blame::Bug => Failure::Grader(text),
                }
            }
            LaunchError::Unsupported(what) => Failure::Unsupported(what.to_string()),
            LaunchError::Limit(what) => Failure::Limit(what),
            other => Failure::Fault(other.to_string()),
        },
        Error::Memory { .. } => Failure::Limit(error.to_string()),
        Error::Driver { .. } => Failure::Fault(error.to_string()),
        // Whatever else the launch API refuses, it says that it does not do.
        other => Failure::Unsupported(other.to_string()),
    }
}

/// Our kernels as a submission.
pub struct Builtin {
    bench: Bench,
}

impl Builtin {
    /// On that machine, which runs as the options say.
    pub fn on(vm: Arc<Vm>, options: simt::Options) -> Builtin {
        Builtin {
            bench: Bench::on(vm, options),
        }
    }

    /// On that machine, and what it launched, for whoever wants to know.
    pub fn watched(vm: Arc<Vm>, options: simt::Options) -> (Builtin, Arc<Mutex<Vec<Launched>>>) {
        let launches = Arc::new(Mutex::default());
        let mut builtin = Builtin::on(vm, options);
        builtin.bench.launches = Some(Arc::clone(&launches));
        (builtin, launches)
    }

    /// On that device.
    ///
    /// # Errors
    /// When there is no GPU.
    pub fn new(place: Place) -> Result<Builtin, Error> {
        Ok(Builtin {
            bench: Bench::new(place)?,
        })
    }
}

impl Submission for Builtin {
    fn name(&self) -> String {
        format!("builtin on {}", self.bench.device_name())
    }

    fn supports(&self, task: &str, op: &str) -> bool {
        let known = task::named(task).filter(|task| task.builtin.is_some());
        known.is_some_and(|task| task.spec.op(op).is_some())
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        let builtin = task::named(call.task).and_then(|task| task.builtin);
        let builtin = builtin.ok_or_else(|| Failure::Unsupported(call.task.to_owned()))?;
        builtin(&self.bench, call)
    }
}
