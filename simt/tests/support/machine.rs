//! Running one launch on the machine: buffers in, buffers out.

use simt::exec::machine::{Arg, Machine, Options};

/// One argument.
pub enum Argument {
    /// Contents at launch; whether they are values, or garbage that must not be read.
    Buffer(Vec<u8>, bool),
    /// The bytes of a value.
    Scalar(Vec<u8>),
}

/// What to run.
pub struct Launch<'a> {
    pub entry: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub arguments: Vec<Argument>,
    /// Whether anything that a checker finds, unless it is benign, is a failure.
    pub clean: bool,
}

/// Instructions after which a test is taken to hang: the longest needs some 100 000.
const MAX_STEPS: u64 = 20_000_000;

/// Runs a module's kernel and returns the buffers as they are afterwards.
pub fn run(text: &str, launch: &Launch<'_>) -> Result<Vec<Vec<u8>>, String> {
    let shown = |e: &dyn std::fmt::Display| e.to_string();
    let module = simt::ptx::parse(text).map_err(|e| shown(&e))?;
    let validated = simt::lower::validate(module).map_err(|e| shown(&e))?;
    let mut machine = Machine::new(1 << 28);
    let loaded = machine.load(&validated).map_err(|e| shown(&e))?;
    let mut buffers = Vec::new();
    let mut args = Vec::new();
    for (k, argument) in launch.arguments.iter().enumerate() {
        match argument {
            Argument::Scalar(bytes) => args.push(Arg::Bytes(bytes.clone())),
            Argument::Buffer(bytes, meant) => {
                let label = format!("argument {k}");
                let address = if *meant {
                    machine.allocate_from(bytes, &label)
                } else {
                    machine.allocate(bytes.len() as u64, &label)
                };
                let address = address.map_err(|e| shown(&e))?;
                args.push(Arg::Pointer(address));
                buffers.push((address, bytes.len()));
            }
        }
    }
    let extent = simt::exec::machine::Launch {
        entry: launch.entry,
        grid: launch.grid,
        block: launch.block,
        cluster: [1; 3],
        dynamic_shared: launch.shared,
        args: &args,
    };
    let options = Options {
        max_steps: MAX_STEPS,
        ..Options::default()
    };
    let report = machine
        .launch(&loaded, &extent, &options)
        .map_err(|e| shown(&e))?;
    // Triton's replicated layouts let several lanes store one value.
    let mut serious = report.findings.iter().filter(|f| !f.benign);
    if let Some(finding) = serious.next().filter(|_| launch.clean) {
        return Err(format!("{} findings; {finding}", report.findings.len()));
    }
    let read = |(address, length): &(u64, usize)| {
        let mut bytes = vec![0; *length];
        machine
            .read(*address, &mut bytes)
            .map_err(|e| e.to_string())?;
        Ok(bytes)
    };
    buffers.iter().map(read).collect()
}
