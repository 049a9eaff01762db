//! A GPU through NVIDIA's driver, which is looked for when a device is opened and not before: this
//! builds and starts on machines that have none.

mod ceilings;

pub use ceilings::Ceilings;

use crate::{CheckedLaunch, Device, DeviceId, Error, Limits, Module, Result};
use cudarc::driver::sys::{
    CUdevice_attribute as Attribute, CUevent_flags, CUfunction_attribute_enum,
};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DriverError, LaunchConfig,
    PushKernelArg, sys,
};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Static shared memory a block may have without asking; above it a function's limit is raised.
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// Written before something is timed: several times the last-level cache of any GPU.
const FILLER: usize = 256 << 20;

/// A GPU and one stream on it: work is in order.
#[derive(Debug)]
pub struct Cuda {
    id: DeviceId,
    name: String,
    limits: Limits,
    targets: &'static [&'static str],
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    memory: Mutex<HashMap<u64, CudaSlice<u8>>>,
    /// Memory that is written before something is timed; see [`time`](Device::time).
    filler: Mutex<Option<CudaSlice<u8>>>,
    loaded: Mutex<Vec<(Weak<Module>, Arc<CudaModule>)>>,
}

/// Turns the driver's error into ours.
fn driver(doing: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Driver {
        doing,
        message: error.to_string(),
    }
}

impl Cuda {
    /// Whether a driver can be loaded here.
    pub fn is_present() -> bool {
        // SAFETY: loads the driver's library, whose initialisers are the vendor's and expect this.
        unsafe { sys::is_culib_present() }
    }

    /// How many GPUs the driver sees.
    ///
    /// # Errors
    /// When there is no driver, or it fails.
    pub fn count() -> Result<usize> {
        if !Cuda::is_present() {
            return Err(Error::NoDriver);
        }
        cudarc::driver::result::init().map_err(driver("start"))?;
        let count = CudaContext::device_count().map_err(driver("count its devices"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Opens GPU number `ordinal`.
    ///
    /// # Errors
    /// When there is no driver or no such GPU.
    pub fn open(ordinal: usize) -> Result<Arc<Cuda>> {
        let count = Cuda::count()?;
        if ordinal >= count {
            return Err(Error::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).map_err(driver("open the device"))?;
        let stream = context.new_stream().map_err(driver("make a stream"))?;
        Cuda::on_stream(stream)
    }

    /// Uses a stream that the caller already has, so that our kernels run in order with theirs.
    ///
    /// # Errors
    /// When the driver fails to describe the device.
    pub fn on_stream(stream: Arc<CudaStream>) -> Result<Arc<Cuda>> {
        let context = stream.context().clone();
        let describe = driver("describe the device");
        let attribute = |which| {
            let value = context.attribute(which).map_err(&describe)?;
            Ok::<u32, Error>(u32::try_from(value).unwrap_or(0))
        };
        let limits = Limits {
            threads_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            block: [
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)?,
            ],
            grid: [
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)?,
            ],
            shared_per_block: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        };
        let (major, minor) = context.compute_capability().map_err(&describe)?;
        let targets: &[&str] = match (major, minor) {
            (9, 0) => &["sm_90a", "sm_80"],
            (8.., _) => &["sm_80"],
            _ => &[],
        };
        Ok(Arc::new(Cuda {
            id: DeviceId::fresh(),
            name: context.name().map_err(&describe)?,
            limits,
            targets,
            context,
            stream,
            memory: Mutex::default(),
            filler: Mutex::default(),
            loaded: Mutex::default(),
        }))
    }

    /// The stream that all work goes to.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    fn fill(&self) -> Result<()> {
        let mut filler = self.filler.lock().unwrap_or_else(PoisonError::into_inner);
        let slice = match filler.take() {
            Some(slice) => slice,
            None => self
                .stream
                .alloc_zeros::<u8>(FILLER)
                .map_err(driver("allocate"))?,
        };
        let slice = filler.insert(slice);
        self.stream
            .memset_zeros(slice)
            .map_err(driver("fill memory"))
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<u64, CudaSlice<u8>>> {
        // Entries are inserted and removed whole: a panic elsewhere leaves the map right.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver's form of a kernel; a module is loaded at its first launch and kept as long as
    /// somebody holds it.
    fn function(&self, launch: &CheckedLaunch<'_>) -> Result<CudaFunction> {
        let module = launch.kernel().module();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(ours, _)| ours.strong_count() > 0);
        let known = loaded
            .iter()
            .find(|(ours, _)| std::ptr::eq(ours.as_ptr(), Arc::as_ptr(module)));
        let theirs = match known {
            Some((_, theirs)) => theirs.clone(),
            None => {
                let ptx = Ptx::from_src(module.text());
                let theirs = self
                    .context
                    .load_module(ptx)
                    .map_err(driver("load the PTX"))?;
                loaded.push((Arc::downgrade(module), theirs.clone()));
                theirs
            }
        };
        theirs
            .load_function(launch.kernel().name())
            .map_err(driver("find the kernel"))
    }
}

impl Device for Cuda {
    fn id(&self) -> DeviceId {
        self.id
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn targets(&self) -> &[&'static str] {
        self.targets
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        use cudarc::driver::DevicePtr;
        // SAFETY: bytes need no initial value; `Buffer` says that its contents are undefined.
        let slice = unsafe { self.stream.alloc::<u8>(bytes) }.map_err(|error| Error::Memory {
            bytes,
            device: self.name.clone(),
            why: error.to_string(),
        })?;
        let address = slice.device_ptr(&self.stream).0;
        self.memory().insert(address, slice);
        Ok(address)
    }

    fn free(&self, address: u64) {
        self.memory().remove(&address);
    }

    fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        let mut memory = self.memory();
        let slice = memory.get_mut(&address);
        let size = slice.as_ref().map_or(0, |slice| slice.len());
        let refused = Error::Copy {
            offset,
            bytes: bytes.len(),
        };
        let end = offset.saturating_add(bytes.len());
        let slice = slice.filter(|_| end <= size).ok_or(refused)?;
        let mut to = slice.slice_mut(offset..end);
        self.stream
            .memcpy_htod(bytes, &mut to)
            .map_err(driver("copy to the device"))
    }

    fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let memory = self.memory();
        let slice = memory.get(&address);
        let size = slice.map_or(0, |slice| slice.len());
        let refused = Error::Copy {
            offset,
            bytes: bytes.len(),
        };
        let end = offset.saturating_add(bytes.len());
        let slice = slice.filter(|_| end <= size).ok_or(refused)?;
        self.stream
            .memcpy_dtoh(&slice.slice(offset..end), bytes)
            .map_err(driver("copy from the device"))?;
        self.stream.synchronize().map_err(driver("finish its work"))
    }

    fn launch(&self, launch: &CheckedLaunch<'_>) -> Result<()> {
        let function = self.function(launch)?;
        let config = launch.config();
        if config.shared > SHARED_WITHOUT_ASKING {
            let limit = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // At most the device's limit, which the check has compared with.
            function
                .set_attribute(limit, config.shared as i32)
                .map_err(driver("raise the shared memory"))?;
        }
        // Parameters are read from 8 bytes each, of which the driver takes as many as each has.
        let values: Vec<u64> = launch
            .args()
            .iter()
            .map(|arg| {
                let mut value = [0; 8];
                let bytes = arg.bytes();
                value[..bytes.len()].copy_from_slice(&bytes);
                u64::from_le_bytes(value)
            })
            .collect();
        let mut builder = self.stream.launch_builder(&function);
        for value in &values {
            builder.arg(value);
        }
        let [gx, gy, gz] = config.grid;
        let [bx, by, bz] = config.block;
        let config = LaunchConfig {
            grid_dim: (gx, gy, gz),
            block_dim: (bx, by, bz),
            shared_mem_bytes: config.shared,
        };
        // SAFETY: the arguments have the number, sizes and classes of the kernel's own signature;
        // buffers are of this device and, being allocated, freed in stream order only. That the
        // kernel stays within them is the kernel's promise, which the VM's checkers test.
        unsafe { builder.launch(config) }.map_err(driver("launch the kernel"))?;
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(driver("finish its work"))
    }

    /// By events, behind a large write: while that runs, the host is done asking for the work, so that
    /// the time between the events is the device's alone; and it leaves nothing of the work's inputs
    /// in the cache.
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.fill()?;
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let mark = || {
            self.stream
                .record_event(flags)
                .map_err(driver("mark a time"))
        };
        let start = mark()?;
        work()?;
        let milliseconds = start
            .elapsed_ms(&mark()?)
            .map_err(driver("finish the work that was timed"))?;
        Ok(Duration::from_secs_f64(
            f64::from(milliseconds.max(0.0)) / 1e3,
        ))
    }
}
