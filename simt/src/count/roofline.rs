//! The least time a kernel can take on a named GPU.

use super::Counters;
use crate::isa::Unit;
use serde::Serialize;

/// Peak rates of a GPU, in units of 10¹² a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gpu {
    /// Its name.
    pub name: &'static str,
    /// Terabytes a second of device memory.
    pub bandwidth: f64,
    /// f32 operations.
    pub single: f64,
    /// f64 operations.
    pub double: f64,
    /// f16 operations outside the tensor cores.
    pub half: f64,
    /// f16 and bf16 on tensor cores, accumulated in f32, dense.
    pub tensor_half: f64,
    /// tf32 on tensor cores, dense.
    pub tensor_tf32: f64,
    /// f64 on tensor cores.
    pub tensor_double: f64,
    /// 8-bit floats on tensor cores, dense; zero where there are none.
    pub tensor_byte_float: f64,
    /// 8-bit integers on tensor cores, dense.
    pub tensor_integer: f64,
    /// Where the numbers come from.
    pub source: &'static str,
}

/// The GPUs whose rates are known.
pub const GPUS: [Gpu; 4] = [
    Gpu {
        name: "H200",
        bandwidth: 4.8,
        single: 66.9,
        double: 33.5,
        half: 133.8,
        tensor_half: 989.4,
        tensor_tf32: 494.7,
        tensor_double: 66.9,
        tensor_byte_float: 1978.9,
        tensor_integer: 1978.9,
        source: "NVIDIA H200 Tensor Core GPU datasheet (SXM, 141 GB HBM3e); the processor is the \
                 H100's, whose rates without sparsity are in the H100 architecture whitepaper",
    },
    Gpu {
        name: "H100",
        bandwidth: 3.35,
        single: 66.9,
        double: 33.5,
        half: 133.8,
        tensor_half: 989.4,
        tensor_tf32: 494.7,
        tensor_double: 66.9,
        tensor_byte_float: 1978.9,
        tensor_integer: 1978.9,
        source: "NVIDIA H100 Tensor Core GPU Architecture whitepaper, table 2 (SXM5, 80 GB HBM3)",
    },
    Gpu {
        name: "A100",
        bandwidth: 2.039,
        single: 19.5,
        double: 9.7,
        half: 78.0,
        tensor_half: 312.0,
        tensor_tf32: 156.0,
        tensor_double: 19.5,
        tensor_byte_float: 0.0,
        tensor_integer: 624.0,
        source: "NVIDIA A100 Tensor Core GPU Architecture whitepaper, table 1; bandwidth of the \
                 80 GB SXM datasheet",
    },
    Gpu {
        name: "RTX 4090",
        bandwidth: 1.008,
        single: 82.6,
        double: 1.29,
        half: 82.6,
        tensor_half: 165.2,
        tensor_tf32: 82.6,
        tensor_double: 1.29,
        tensor_byte_float: 330.3,
        tensor_integer: 660.6,
        source: "NVIDIA Ada GPU Architecture whitepaper, appendix A (f16 with f32 accumulation)",
    },
];

/// A GPU by name; case and blanks do not matter.
pub fn gpu(name: &str) -> Option<&'static Gpu> {
    let plain = |s: &str| s.replace(' ', "").to_lowercase();
    GPUS.iter().find(|g| plain(g.name) == plain(name))
}

/// What bounds a kernel from below, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// The GPU.
    pub gpu: &'static str,
    /// Every byte that is touched moves once.
    pub memory: f64,
    /// Every sector moves as often as it is asked for: what memory takes without caches.
    pub memory_uncached: f64,
    /// Floating-point operations, by what does them; units work side by side.
    pub compute: Vec<(Unit, f64)>,
    /// The largest of `memory` and `compute`.
    pub seconds: f64,
    /// The unit that takes so long; `None` for memory.
    pub limiter: Option<Unit>,
}

impl Gpu {
    /// Operations of a unit, in 10¹² a second.
    pub fn peak(&self, unit: Unit) -> f64 {
        match unit {
            Unit::None => 0.0,
            Unit::Half => self.half,
            Unit::Single => self.single,
            Unit::Double => self.double,
            Unit::TensorHalf => self.tensor_half,
            Unit::TensorTf32 => self.tensor_tf32,
            Unit::TensorDouble => self.tensor_double,
            Unit::TensorByteFloat => self.tensor_byte_float,
            Unit::TensorInteger => self.tensor_integer,
        }
    }

    /// The least time a launch with these counts can take. A unit that the GPU lacks takes for
    /// ever.
    pub fn bound(&self, counters: &Counters) -> Bound {
        const TERA: f64 = 1e12;
        let least = counters.compulsory.read + counters.compulsory.written;
        let memory = least as f64 / (self.bandwidth * TERA);
        let flops = counters.total.flops.iter();
        let compute: Vec<(Unit, f64)> = flops
            .map(|(unit, n)| (*unit, *n as f64 / (self.peak(*unit) * TERA)))
            .collect();
        let slowest = compute.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let limiter = slowest.filter(|(_, seconds)| *seconds > memory);
        Bound {
            gpu: self.name,
            memory,
            memory_uncached: counters.total.moved_bytes() as f64 / (self.bandwidth * TERA),
            seconds: limiter.map_or(memory, |(_, seconds)| seconds),
            limiter: limiter.map(|(unit, _)| unit),
            compute,
        }
    }
}
