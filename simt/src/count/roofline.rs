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

/// The GPUs whose rates are known: peaks at the boost clock, without sparsity. Each is the
/// number of units times two operations a clock (see the test below), and was compared in
/// November 2026 with published copies of the tables of the documents named.
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
        source: "NVIDIA H200 Tensor Core GPU datasheet (2024; SXM, 141 GB HBM3e) for the \
                 bandwidth; the processor is the H100's and has its rates",
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
        source: "NVIDIA H100 Tensor Core GPU Architecture whitepaper (2022-2023; SXM5): 132 \
                 multiprocessors, 1.98 GHz for f32 and f64, 1.83 GHz for the other tensor rates; \
                 bandwidth of the H100 datasheet (2023; SXM, 80 GB HBM3)",
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
        source: "NVIDIA A100 Tensor Core GPU Architecture whitepaper (2020): 108 multiprocessors, \
                 1.41 GHz; bandwidth of the A100 datasheet (2021; 80 GB SXM)",
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
        source: "NVIDIA Ada GPU Architecture whitepaper (2022), appendix A: 128 multiprocessors, \
                 2.52 GHz; 16-bit and 8-bit floats accumulated in f32",
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiply-adds a clock of one multiprocessor, by unit, and the clocks in GHz.
    #[test]
    fn peaks_are_units_times_clock() {
        // f32, f64, f16, tensor f16, tf32, f64, 8-bit floats, integers; two clocks for the H100.
        let hopper = (
            [128, 64, 256, 2048, 1024, 128, 4096, 4096],
            132.0,
            1.98,
            1.83,
        );
        let ampere = ([64, 32, 256, 1024, 512, 64, 0, 2048], 108.0, 1.41, 1.41);
        let ada = ([128, 2, 128, 256, 128, 2, 512, 1024], 128.0, 2.52, 2.52);
        for (gpu, (units, multiprocessors, plain, tensor)) in
            GPUS.iter().zip([hopper, hopper, ampere, ada])
        {
            let rates = [
                (gpu.single, plain),
                (gpu.double, plain),
                (gpu.half, plain),
                (gpu.tensor_half, tensor),
                (gpu.tensor_tf32, tensor),
                (gpu.tensor_double, plain),
                (gpu.tensor_byte_float, tensor),
                (gpu.tensor_integer, tensor),
            ];
            for ((rate, clock), units) in rates.into_iter().zip(units) {
                let want = multiprocessors * 2.0 * f64::from(units) * clock / 1000.0;
                // The documents give one to four digits.
                assert!(
                    (rate - want).abs() <= 0.005 * want,
                    "{}: {rate}, {want}",
                    gpu.name
                );
            }
        }
    }
}
