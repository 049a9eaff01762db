//! A device that runs nothing: it keeps memory on the host and remembers what it was asked. For
//! tests of code that launches, on machines that cannot.

use crate::{Arg, CheckedLaunch, Device, DeviceId, Error, LaunchConfig, Limits, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One call to a [`Recorder`].
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Memory of so many bytes was asked for.
    Allocate(usize),
    /// Memory was given back.
    Free(usize),
    /// So many bytes were copied to the device.
    Write(usize),
    /// So many bytes were copied from the device.
    Read(usize),
    /// A kernel was launched.
    Launch {
        /// Its name.
        entry: String,
        /// Grid, block and shared memory.
        config: LaunchConfig,
        /// Its arguments.
        args: Vec<Arg>,
    },
    /// Somebody waited.
    Synchronize,
}

/// A device that runs nothing: memory on the host, and a list of what it was asked.
#[derive(Debug)]
pub struct Recorder {
    id: DeviceId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: BTreeMap<u64, Vec<u8>>,
    next: u64,
    calls: Vec<Call>,
}

impl Recorder {
    /// A recorder that has recorded nothing.
    pub fn new() -> Arc<Recorder> {
        let state = State {
            next: 256,
            ..State::default()
        };
        Arc::new(Recorder {
            id: DeviceId::fresh(),
            state: Mutex::new(state),
        })
    }

    /// All calls up to now.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The launches up to now, by entry.
    pub fn launches(&self) -> Vec<String> {
        let launched = |call: &Call| match call {
            Call::Launch { entry, .. } => Some(entry.clone()),
            _ => None,
        };
        self.state().calls.iter().filter_map(launched).collect()
    }

    /// Bytes that are allocated now.
    pub fn allocated(&self) -> usize {
        self.state().memory.values().map(Vec::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one push or insert: a panic between them leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for Recorder {
    fn id(&self) -> DeviceId {
        self.id
    }

    fn name(&self) -> String {
        "a recorder".into()
    }

    fn limits(&self) -> Limits {
        Limits::SM_80
    }

    fn targets(&self) -> &[&'static str] {
        &["sm_80"]
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let mut state = self.state();
        let mut memory = Vec::new();
        memory
            .try_reserve_exact(bytes)
            .map_err(|error| Error::Memory {
                bytes,
                device: "a recorder".into(),
                why: error.to_string(),
            })?;
        memory.resize(bytes, 0);
        let address = state.next;
        state.next += (bytes as u64).next_multiple_of(256) + 256;
        state.memory.insert(address, memory);
        state.calls.push(Call::Allocate(bytes));
        Ok(address)
    }

    fn free(&self, address: u64) {
        let mut state = self.state();
        if let Some(memory) = state.memory.remove(&address) {
            state.calls.push(Call::Free(memory.len()));
        }
    }

    fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        span(&mut state, address, offset, bytes.len())?.copy_from_slice(bytes);
        state.calls.push(Call::Write(bytes.len()));
        Ok(())
    }

    fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let mut state = self.state();
        bytes.copy_from_slice(span(&mut state, address, offset, bytes.len())?);
        state.calls.push(Call::Read(bytes.len()));
        Ok(())
    }

    fn launch(&self, launch: &CheckedLaunch<'_>) -> Result<()> {
        self.state().calls.push(Call::Launch {
            entry: launch.kernel().name().into(),
            config: launch.config(),
            args: launch.args().to_vec(),
        });
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.state().calls.push(Call::Synchronize);
        Ok(())
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        work()?;
        Ok(Duration::ZERO)
    }
}

fn span(state: &mut State, address: u64, offset: usize, bytes: usize) -> Result<&mut [u8]> {
    let memory = state.memory.get_mut(&address);
    let end = offset.checked_add(bytes);
    memory
        .and_then(|memory| memory.get_mut(offset..end?))
        .ok_or(Error::Copy { offset, bytes })
}
