//! The file that `cargo bench` and `scripts/gpu-run.sh` write: machine, ceilings, and for each rung
//! what was counted and what was timed. `grading/schema/results.json` is its schema.
//!
//! What was not measured is absent or null. Nothing estimated ever stands where a measurement would.

use super::count::RungProfile;
use super::measure::Timed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// A results file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The version of the format.
    pub schema: u32,
    /// Where it was run.
    pub machine: Machine,
    /// What the GPU can do at all, measured in the same run.
    pub ceilings: Option<Ceilings>,
    /// The GPU that bounds are of.
    pub bounds_for: String,
    /// A row for each shape and rung.
    pub rows: Vec<Row>,
    /// Other people's kernels, from `scripts/gpu-peers.py` on the same machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// The GPU tests of the same run, from `scripts/gpu-run.sh`: by program, whether it passed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tests: BTreeMap<String, bool>,
}

/// Where and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Seconds since 1970.
    pub unix_time: u64,
    /// The commit that was built, `-dirty` behind it where files had changed.
    pub commit: Option<String>,
    /// What rungs were timed on; `None` where there is no GPU.
    pub gpu: Option<String>,
    /// The driver's version.
    pub driver: Option<String>,
    /// Clocks as `nvidia-smi` says, before and after.
    pub clocks: Vec<Clocks>,
    /// The processor that counted and judged.
    pub cpu: Option<String>,
}

/// Clocks at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// Multiprocessors, in MHz.
    pub sm_mhz: u32,
    /// Memory, in MHz.
    pub memory_mhz: u32,
    /// The most the multiprocessors may run at, in MHz.
    pub sm_max_mhz: u32,
    /// Degrees Celsius.
    pub celsius: u32,
}

/// What the GPU can do at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceilings {
    /// GB/s of a copy within device memory, read and written bytes counted.
    pub copy_gbs: f64,
    /// TFLOP/s of a bf16 matmul through cuBLAS, where it is installed.
    pub matmul_tflops: Option<f64>,
}

/// A rung at a shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The task.
    pub task: String,
    /// The operation.
    pub op: String,
    /// The shape's name in `benches/shapes.toml`.
    pub shape: String,
    /// The rung.
    pub rung: String,
    /// What the machine counted, at the shape's small sizes.
    pub counted: Counted,
    /// The sizes it was timed at.
    pub timed_sizes: Option<String>,
    /// Bytes of inputs and outputs at those sizes.
    pub compulsory_bytes: Option<u64>,
    /// Operations of the plain algorithm at those sizes.
    pub plain_flops: Option<u64>,
    /// What was timed on the GPU.
    pub timed: Option<Timed>,
    /// Why nothing was.
    pub why_blank: Option<String>,
}

/// What the PTX machine counted: the same on every run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Type and sizes.
    pub sizes: String,
    /// The kernels, and how often each ran.
    pub kernels: Vec<(String, u32)>,
    /// Bytes of inputs and outputs.
    pub compulsory_bytes: u64,
    /// Bytes of device memory moved, without caches.
    pub moved_bytes: u64,
    /// Bytes that accesses needed over bytes of the sectors they touched.
    pub sector_efficiency: Option<f64>,
    /// Passes over the banks of shared memory that conflicts caused.
    pub conflicts: u64,
    /// Floating-point operations.
    pub operations: u64,
    /// What does most of them.
    pub unit: Option<String>,
    /// Instructions of warps.
    pub warp_instructions: u64,
    /// The least time on the GPU of `bounds_for`, in µs.
    pub bound_us: f64,
    /// The least time of any kernel for the call: every input and output once.
    pub floor_us: f64,
    /// Registers a thread of the main kernel, where ptxas is installed.
    pub registers: Option<u32>,
    /// Bytes of its shared memory.
    pub shared: Option<u32>,
    /// Its blocks on a multiprocessor.
    pub blocks_per_sm: Option<u32>,
}

/// Other people's kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Versions, by name.
    pub machine: BTreeMap<String, serde_json::Value>,
    /// A row for each shape and peer.
    pub rows: Vec<Peer>,
}

/// A peer at a shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The shape's name.
    pub shape: String,
    /// Whose kernel.
    pub peer: String,
    /// What was timed.
    pub timed: Option<PeerTimed>,
    /// Why nothing was.
    pub why: Option<String>,
}

/// A peer's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerTimed {
    /// Half of the runs took no longer.
    pub median_us: f64,
    /// A tenth of them took no longer.
    pub p10_us: f64,
    /// Nine tenths of them took no longer.
    pub p90_us: f64,
    /// Runs.
    pub runs: usize,
    /// Copies of the inputs that they went through in turn.
    pub input_copies: usize,
}

impl Counted {
    /// Of a rung.
    pub fn of(sizes: &str, rung: &RungProfile) -> Counted {
        let figures = &rung.counted;
        let assembled = rung.main_kernel();
        Counted {
            sizes: sizes.to_owned(),
            kernels: figures.kernels.clone(),
            compulsory_bytes: figures.compulsory_bytes,
            moved_bytes: figures.moved_bytes,
            sector_efficiency: figures.sector_efficiency(),
            conflicts: figures.conflicts,
            operations: figures.operations(),
            unit: figures.main_unit().map(|unit| format!("{unit:?}")),
            warp_instructions: figures.warp_instructions,
            bound_us: rung.bound.seconds * 1e6,
            floor_us: rung.bound.floor * 1e6,
            registers: assembled.map(|a| a.registers),
            shared: assembled.map(|a| a.shared),
            blocks_per_sm: assembled.map(|a| a.occupancy.blocks),
        }
    }
}

impl Row {
    /// GB/s of the bytes that must move; `None` where nothing was timed.
    pub fn gbs(&self) -> Option<f64> {
        let bytes = self.compulsory_bytes? as f64;
        Some(bytes / self.timed.as_ref()?.median_us / 1e3)
    }

    /// TFLOP/s of the plain algorithm's operations.
    pub fn tflops(&self) -> Option<f64> {
        let flops = self.plain_flops.filter(|n| *n > 0)? as f64;
        Some(flops / self.timed.as_ref()?.median_us / 1e6)
    }
}

impl Results {
    /// The greater of the shares of copy and matmul that a row reaches: how near it is to the
    /// ceiling that holds it.
    pub fn share(&self, row: &Row) -> Option<(f64, &'static str)> {
        let ceilings = self.ceilings?;
        let copy = row.gbs().map(|gbs| (gbs / ceilings.copy_gbs, "copy"));
        let matmul = row.tflops().zip(ceilings.matmul_tflops);
        let matmul = matmul.map(|(mine, all)| (mine / all, "matmul"));
        [copy, matmul]
            .into_iter()
            .flatten()
            .max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The fastest rung that was timed of each shape.
    pub fn best(&self) -> BTreeMap<&str, &Row> {
        let mut best: BTreeMap<&str, &Row> = BTreeMap::new();
        let time = |row: &Row| row.timed.as_ref().map(|timed| timed.median_us);
        for row in self.rows.iter().filter(|row| row.timed.is_some()) {
            let known = best.entry(row.shape.as_str()).or_insert(row);
            if time(row) < time(known) {
                *known = row;
            }
        }
        best
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, text + "\n")?;
        std::fs::rename(&temporary, path)
    }
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not a results file.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// It has another version.
    #[error("{}: schema {got}; this program reads {SCHEMA}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        got: u64,
    },
}

/// Reads a results file.
///
/// # Errors
/// When it is none of this version.
pub fn read(path: &Path) -> Result<Results, ResultsError> {
    let path = path.to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ResultsError::Io { path, source }),
    };
    let value: serde_json::Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(source) => return Err(ResultsError::Format { path, source }),
    };
    let got = value["schema"].as_u64().unwrap_or(0);
    if got != u64::from(SCHEMA) {
        return Err(ResultsError::Schema { path, got });
    }
    serde_json::from_value(value).map_err(|source| ResultsError::Format { path, source })
}
