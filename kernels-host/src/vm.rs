//! The PTX machine as a device: the same PTX and the same launches as on a GPU, on any CPU, with
//! every access checked. A launch in which a checker finds something fails, unless asked otherwise.

use crate::{Arg, CheckedLaunch, Device, DeviceId, Error, LaunchConfig, Limits, Module, Result};
use simt::{Loaded, Machine, MemoryError, Options, Report};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Device memory of a machine unless another size is asked for.
const MEMORY: u64 = 4 << 30;

/// How many launches the log remembers.
const LOG: usize = 4096;

/// A launch that ran to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// The kernel.
    pub entry: String,
    /// Grid, block and shared memory.
    pub config: LaunchConfig,
    /// What the machine counted, and what its checkers found.
    pub report: Report,
}

/// What becomes of a launch that ran to its end and in which the checkers found something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFindings {
    /// It fails with [`Error::Findings`]: nobody can overlook a race.
    #[default]
    Fail,
    /// It succeeds; the findings are in its report, for whoever judges kernels.
    Report,
}

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
    on_findings: OnFindings,
    substitutes: Vec<Loaded>,
    log: VecDeque<Launched>,
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
            on_findings: OnFindings::default(),
            substitutes: Vec::new(),
            log: VecDeque::new(),
        };
        Arc::new(Vm {
            id: DeviceId::fresh(),
            state: Mutex::new(state),
        })
    }

    /// How launches run from now on: the schedule's seed, limits, checkers, counters.
    pub fn set_options(&self, options: Options) {
        self.state().options = options;
    }

    /// What becomes of launches with findings from now on.
    pub fn set_on_findings(&self, on_findings: OnFindings) {
        self.state().on_findings = on_findings;
    }

    /// What the last launch that ran to its end reported; an empty report before the first and
    /// after [`take_launches`](Vm::take_launches).
    pub fn last_report(&self) -> Report {
        let last = self.state().log.back().map(|launch| launch.report.clone());
        last.unwrap_or_default()
    }

    /// The launches that ran to their end since this was last called, in their order; the last
    /// 4096, when there were more.
    pub fn take_launches(&self) -> Vec<Launched> {
        std::mem::take(&mut self.state().log).into()
    }

    /// From now on runs the kernels of that module in place of those of the same name: for asking
    /// what becomes of a launch when its kernel is another.
    ///
    /// # Errors
    /// When there is no memory for the module's variables.
    pub fn substitute(&self, module: &simt::Validated) -> Result<()> {
        let mut state = self.state();
        let loaded = state.machine.load(module).map_err(no_room)?;
        state.substitutes.push(loaded);
        Ok(())
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
        let loaded = self.machine.load(module.validated()?).map_err(no_room)?;
        self.loaded.push((Arc::downgrade(module), loaded.clone()));
        Ok(loaded)
    }

    /// Logs a launch that ran to its end.
    fn note(&mut self, launched: Launched) -> Result<()> {
        let findings = match self.on_findings {
            OnFindings::Fail => launched.report.findings.clone(),
            OnFindings::Report => Vec::new(),
        };
        let entry = launched.entry.clone();
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(launched);
        if findings.is_empty() {
            return Ok(());
        }
        Err(Error::Findings { entry, findings })
    }
}

fn no_room(error: MemoryError) -> Error {
    Error::Memory {
        bytes: 0,
        device: NAME.into(),
        why: error.to_string(),
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
        let mut guard = self.state();
        let state = &mut *guard;
        let name = launch.kernel().name();
        let instead = |loaded: &&Loaded| loaded.module().entries().any(|e| e.name() == name);
        let loaded = match state.substitutes.iter().rev().find(instead) {
            Some(loaded) => loaded.clone(),
            None => state.load(launch.kernel().module())?,
        };
        let args: Vec<simt::Arg> = launch.args().iter().map(convert).collect();
        let config = launch.config();
        let entry = launch.kernel().name().to_owned();
        let launch = simt::Launch {
            grid: config.grid,
            block: config.block,
            dynamic_shared: config.shared,
            ..simt::Launch::new(&entry, &args)
        };
        let report = state
            .machine
            .launch(&loaded, &launch, &state.options)
            .map_err(Box::new)?;
        state.note(Launched {
            entry,
            config,
            report,
        })
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
