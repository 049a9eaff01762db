//! The PTX machine as a device: the same PTX and the same launches as on a GPU, on any CPU, with
//! every access checked.

use crate::{Arg, CheckedLaunch, Device, DeviceId, Error, Limits, Module, Result};
use simt::{Loaded, Machine, Options, Report};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Device memory of a machine unless another size is asked for.
const MEMORY: u64 = 4 << 30;

/// A simulated GPU of the sm_80 kind.
#[derive(Debug)]
pub struct Vm {
    id: DeviceId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    loaded: Vec<(Weak<Module>, Loaded)>,
    options: Options,
    report: Report,
}

impl Vm {
    /// A machine with 4 GiB of memory.
    pub fn new() -> Arc<Vm> {
        Vm::with_options(MEMORY, Options::default())
    }

    /// A machine with so many bytes of memory, that runs as the options say.
    pub fn with_options(memory: u64, options: Options) -> Arc<Vm> {
        let machine = Machine::new(memory);
        let state = State {
            machine,
            loaded: Vec::new(),
            options,
            report: Report::default(),
        };
        Arc::new(Vm {
            id: DeviceId::fresh(),
            state: Mutex::new(state),
        })
    }

    /// How launches run from now on: the schedule's seed, limits.
    pub fn set_options(&self, options: Options) {
        self.state().options = options;
    }

    /// What the last launch that ran to its end reported.
    pub fn last_report(&self) -> Report {
        self.state().report.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic inside the machine is a bug of ours; its memory is still there to be read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The module in this machine's memory; loaded at its first launch.
    fn load(&mut self, module: &Arc<Module>) -> Result<Loaded> {
        self.loaded.retain(|(ours, _)| ours.strong_count() > 0);
        let known = self
            .loaded
            .iter()
            .find(|(ours, _)| ours.as_ptr() == Arc::as_ptr(module));
        if let Some((_, loaded)) = known {
            return Ok(loaded.clone());
        }
        let loaded = self
            .machine
            .load(module.validated()?)
            .map_err(|error| Error::Memory {
                bytes: 0,
                device: NAME.into(),
                why: error.to_string(),
            })?;
        self.loaded.push((Arc::downgrade(module), loaded.clone()));
        Ok(loaded)
    }
}

const NAME: &str = "the PTX machine";

impl Device for Vm {
    fn id(&self) -> DeviceId {
        self.id
    }

    fn name(&self) -> String {
        NAME.into()
    }

    fn limits(&self) -> Limits {
        Limits::SM_80
    }

    fn targets(&self) -> &[&'static str] {
        &["sm_80"]
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.state()
            .machine
            .allocate(bytes as u64, "a buffer")
            .map_err(|error| Error::Memory {
                bytes,
                device: NAME.into(),
                why: error.to_string(),
            })
    }

    fn free(&self, address: u64) {
        // What is not an allocation is left alone, as the trait says.
        let _ = self.state().machine.free(address);
    }

    fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        let at = address.wrapping_add(offset as u64);
        let refused = |_| Error::Copy {
            offset,
            bytes: bytes.len(),
        };
        self.state().machine.write(at, bytes).map_err(refused)
    }

    fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let at = address.wrapping_add(offset as u64);
        let refused = Error::Copy {
            offset,
            bytes: bytes.len(),
        };
        self.state().machine.read(at, bytes).map_err(|_| refused)
    }

    fn launch(&self, launch: &CheckedLaunch<'_>) -> Result<()> {
        let mut state = self.state();
        let loaded = state.load(launch.kernel().module())?;
        let args: Vec<simt::Arg> = launch.args().iter().map(convert).collect();
        let config = launch.config();
        let launch = simt::Launch {
            grid: config.grid,
            block: config.block,
            dynamic_shared: config.shared,
            ..simt::Launch::new(launch.kernel().name(), &args)
        };
        let State {
            machine, options, ..
        } = &mut *state;
        state.report = machine
            .launch(&loaded, &launch, options)
            .map_err(Box::new)?;
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        work()?;
        Ok(start.elapsed())
    }
}

fn convert(arg: &Arg) -> simt::Arg {
    match *arg {
        Arg::Buffer(address, _) => simt::Arg::Pointer(address),
        Arg::Null => simt::Arg::Pointer(0),
        Arg::U32(value) => simt::Arg::U32(value),
        Arg::I32(value) => simt::Arg::I32(value),
        Arg::U64(value) => simt::Arg::U64(value),
        Arg::I64(value) => simt::Arg::I64(value),
        Arg::F32(value) => simt::Arg::F32(value),
        Arg::F64(value) => simt::Arg::F64(value),
    }
}
