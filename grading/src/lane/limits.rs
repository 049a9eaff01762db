//! What a submission may use.

use serde::{Deserialize, Serialize};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// What a submission may use. All are limits on a call, except where they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds until the answer is there.
    pub wall_seconds: u64,
    /// Seconds more for the first call of a process: loading an interpreter or compiling.
    pub start_seconds: u64,
    /// Seconds of all its processor cores together.
    pub cpu_seconds: u64,
    /// MiB of memory, of all its processes together (`ptx`: of device memory).
    pub memory_mib: u64,
    /// Processes and threads at one time.
    pub processes: u64,
    /// Open files of one process.
    pub files: u64,
    /// MiB of files in its working directory.
    pub disk_mib: u64,
    /// MiB of an answer beyond the bytes of the outputs that were asked for.
    pub answer_mib: u64,
    /// Instructions of all warps together (`ptx`).
    pub steps: u64,
}

impl Limits {
    /// What a submission gets that asks for nothing.
    pub const DEFAULT: Limits = Limits {
        wall_seconds: 60,
        start_seconds: 30,
        cpu_seconds: 240,
        memory_mib: 2048,
        processes: 64,
        files: 256,
        disk_mib: 64,
        answer_mib: 1,
        steps: 2_000_000_000,
    };

    /// The most that a manifest may ask for.
    pub const MOST: Limits = Limits {
        wall_seconds: 3600,
        start_seconds: 600,
        cpu_seconds: 36_000,
        memory_mib: 64 * 1024,
        processes: 1024,
        files: 4096,
        disk_mib: 8192,
        answer_mib: 64,
        steps: 1_000_000_000_000,
    };

    /// Each limit with its name, for those who go over all of them.
    pub fn named(&self) -> [(&'static str, u64); 9] {
        [
            ("wall_seconds", self.wall_seconds),
            ("start_seconds", self.start_seconds),
            ("cpu_seconds", self.cpu_seconds),
            ("memory_mib", self.memory_mib),
            ("processes", self.processes),
            ("files", self.files),
            ("disk_mib", self.disk_mib),
            ("answer_mib", self.answer_mib),
            ("steps", self.steps),
        ]
    }

    /// Until when an answer must be there.
    pub fn wall(&self) -> Duration {
        Duration::from_secs(self.wall_seconds)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> u64 {
        self.memory_mib.saturating_mul(MIB)
    }

    /// Bytes of files.
    pub fn disk(&self) -> u64 {
        self.disk_mib.saturating_mul(MIB)
    }

    /// Bytes of an answer beyond the outputs asked for.
    pub fn answer(&self) -> u64 {
        self.answer_mib.saturating_mul(MIB)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
