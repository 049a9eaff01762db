//! Running one launch on the machine: buffers in, buffers out.

use simt::exec::machine::{Arg, Machine, Options};
use simt::tensor_map::{DataType, Fill, Swizzle, TensorMap, Tiled};

/// One argument.
pub enum Argument {
    /// Contents at launch; whether they are values, or garbage that must not be read.
    Buffer(Vec<u8>, bool),
    /// The bytes of a value.
    Scalar(Vec<u8>),
    /// Room that holds nothing, of so many bytes, which nobody looks at afterwards.
    Scratch(u64),
    /// A tensor map of a buffer, which is given as the second and third are to `Buffer`.
    Map(Tensor, Vec<u8>, bool),
}

/// What a tensor map says besides the address.
pub struct Tensor {
    pub data_type: DataType,
    pub sizes: Vec<u64>,
    pub strides: Vec<u64>,
    pub tile: Vec<u32>,
    pub element_strides: Vec<u32>,
    pub swizzle: Swizzle,
}

impl Tensor {
    /// Reads `f16 sizes=96,64 strides=192 tile=32,16 swizzle=64 steps=1,2`; without `steps` every
    /// element is copied.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let data_type = match words.next() {
            Some("u8") => DataType::U8,
            Some("u16") => DataType::U16,
            Some("u32") => DataType::U32,
            Some("s32") => DataType::S32,
            Some("u64") => DataType::U64,
            Some("f16") => DataType::F16,
            Some("bf16") => DataType::Bf16,
            Some("f32") => DataType::F32,
            Some("f64") => DataType::F64,
            other => return Err(format!("{other:?} is no element type")),
        };
        let mut tensor = Self {
            data_type,
            sizes: Vec::new(),
            strides: Vec::new(),
            tile: Vec::new(),
            element_strides: Vec::new(),
            swizzle: Swizzle::None,
        };
        for word in words {
            let (key, list) = word.split_once('=').ok_or_else(|| format!("`{word}`"))?;
            let numbers: Result<Vec<u64>, _> = list.split(',').map(str::parse).collect();
            let numbers = numbers.map_err(|_| format!("`{word}`: numbers"))?;
            let narrow = || numbers.iter().map(|n| *n as u32).collect();
            match key {
                "sizes" => tensor.sizes = numbers,
                "strides" => tensor.strides = numbers,
                "tile" => tensor.tile = narrow(),
                "steps" => tensor.element_strides = narrow(),
                "swizzle" => {
                    tensor.swizzle = match numbers[0] {
                        32 => Swizzle::Bytes32,
                        64 => Swizzle::Bytes64,
                        128 => Swizzle::Bytes128,
                        _ => return Err(format!("`{word}`: 32, 64 or 128")),
                    }
                }
                _ => return Err(format!("`{key}` of a tensor map")),
            }
        }
        if tensor.element_strides.is_empty() {
            tensor.element_strides = vec![1; tensor.sizes.len()];
        }
        Ok(tensor)
    }
}

/// What to run.
pub struct Launch<'a> {
    pub entry: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub shared: u32,
    pub arguments: Vec<Argument>,
    /// Names of the checkers that must find something; any other finding, unless it is benign,
    /// is a failure.
    pub finds: Vec<String>,
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
            Argument::Scratch(bytes) => {
                let address = machine.allocate(*bytes, "scratch");
                args.push(Arg::Pointer(address.map_err(|e| shown(&e))?));
            }
            Argument::Buffer(bytes, meant) | Argument::Map(_, bytes, meant) => {
                let label = format!("argument {k}");
                let address = if *meant {
                    machine.allocate_from(bytes, &label)
                } else {
                    machine.allocate(bytes.len() as u64, &label)
                };
                let address = address.map_err(|e| shown(&e))?;
                buffers.push((address, bytes.len()));
                args.push(match argument {
                    Argument::Map(tensor, ..) => {
                        let map = TensorMap::tiled(&Tiled {
                            data_type: tensor.data_type,
                            address,
                            sizes: &tensor.sizes,
                            strides: &tensor.strides,
                            tile: &tensor.tile,
                            element_strides: &tensor.element_strides,
                            swizzle: tensor.swizzle,
                            fill: Fill::Zero,
                        });
                        Arg::Bytes(map.map_err(|e| shown(&e))?.bytes().to_vec())
                    }
                    _ => Arg::Pointer(address),
                });
            }
        }
    }
    let extent = simt::exec::machine::Launch {
        entry: launch.entry,
        grid: launch.grid,
        block: launch.block,
        cluster: launch.cluster,
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
    let serious = || report.findings.iter().filter(|f| !f.benign);
    let meant = |f: &&simt::Finding| launch.finds.iter().any(|name| name == f.checker.name());
    if let Some(finding) = serious().find(|f| !meant(f)) {
        return Err(format!("{} findings; {finding}", report.findings.len()));
    }
    let by = |name: &&String| serious().any(|f| f.checker.name() == name.as_str());
    if let Some(name) = launch.finds.iter().find(|name| !by(name)) {
        return Err(format!("`{name}` must find something, and does not"));
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
