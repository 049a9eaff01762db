//! How many warps of a kernel fit on a multiprocessor, and what limits them.
//!
//! ```text
//! registers: ⌊65536 / ⌈32·r⌉₂₅₆⌋ warps, in fours (one for each scheduler); whole blocks of them
//! shared:    ⌊capacity / (⌈s⌉₁₂₈ + 1024)⌋ blocks; the driver keeps 1024 bytes a block
//! warps:     ⌊most warps / warps of a block⌋ blocks; at most `blocks`
//! ```
//! Limits are those of the table "Technical Specifications per Compute Capability" in the CUDA C++
//! Programming Guide.

use serde::Serialize;

/// Limits of a multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    /// Resident warps.
    pub warps: u32,
    /// Resident blocks.
    pub blocks: u32,
    /// 32-bit registers.
    pub registers: u32,
    /// Bytes of shared memory.
    pub shared: u32,
}

impl Multiprocessor {
    /// Compute capability 8.0: A100.
    pub const SM_80: Multiprocessor = Multiprocessor {
        warps: 64,
        blocks: 32,
        registers: 65_536,
        shared: 164 * 1024,
    };
    /// 8.9: RTX 4090.
    pub const SM_89: Multiprocessor = Multiprocessor {
        warps: 48,
        blocks: 24,
        registers: 65_536,
        shared: 100 * 1024,
    };
    /// 9.0: H100, H200.
    pub const SM_90: Multiprocessor = Multiprocessor {
        shared: 228 * 1024,
        ..Multiprocessor::SM_80
    };

    /// That of a GPU by its name in the roofline's table.
    pub fn of_gpu(name: &str) -> Option<Multiprocessor> {
        match name {
            "A100" => Some(Multiprocessor::SM_80),
            "RTX 4090" => Some(Multiprocessor::SM_89),
            "H100" | "H200" => Some(Multiprocessor::SM_90),
            _ => None,
        }
    }
}

/// What a block asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Threads.
    pub threads: u32,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes of shared memory, fixed and dynamic together.
    pub shared: u32,
}

/// What runs out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limiter {
    /// Registers.
    Registers,
    /// Shared memory.
    SharedMemory,
    /// Warps: the multiprocessor is full.
    Warps,
    /// Blocks.
    Blocks,
}

impl Limiter {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Limiter::Registers => "registers",
            Limiter::SharedMemory => "shared-memory",
            Limiter::Warps => "warps",
            Limiter::Blocks => "blocks",
        }
    }
}

/// Blocks and warps that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Occupancy {
    /// Blocks on a multiprocessor.
    pub blocks: u32,
    /// Their warps.
    pub warps: u32,
    /// Warps that the multiprocessor could hold.
    pub most_warps: u32,
    /// What allows no further block.
    pub limiter: Limiter,
}

/// How many blocks fit. None fits where one asks for more than there is.
pub fn occupancy(sm: Multiprocessor, block: Block) -> Occupancy {
    let warps = block.threads.div_ceil(32).max(1);
    let by_registers = match block.registers {
        0 => u32::MAX,
        registers => {
            let of_a_warp = (32 * registers).next_multiple_of(256);
            sm.registers / of_a_warp / 4 * 4 / warps
        }
    };
    let by_shared = sm.shared / (block.shared.next_multiple_of(128) + 1024);
    let candidates = [
        (sm.warps / warps, Limiter::Warps),
        (sm.blocks, Limiter::Blocks),
        (by_registers, Limiter::Registers),
        (by_shared, Limiter::SharedMemory),
    ];
    // The first of the least, so that a full multiprocessor is called full.
    let mut least = candidates[0];
    for candidate in candidates {
        if candidate.0 < least.0 {
            least = candidate;
        }
    }
    Occupancy {
        blocks: least.0,
        warps: least.0 * warps,
        most_warps: sm.warps,
        limiter: least.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(sm: Multiprocessor, threads: u32, registers: u32, shared: u32) -> (u32, Limiter) {
        let fits = occupancy(
            sm,
            Block {
                threads,
                registers,
                shared,
            },
        );
        assert_eq!(fits.warps, fits.blocks * threads.div_ceil(32));
        (fits.blocks, fits.limiter)
    }

    /// Worked by hand from the formulas of the CUDA occupancy calculator.
    #[test]
    fn each_limit_is_met() {
        let a100 = Multiprocessor::SM_80;
        // 8 warps a block, 64 warps: 8 blocks.
        assert_eq!(on(a100, 256, 32, 0), (8, Limiter::Warps));
        // 255 registers: 8160 → 8192 a warp, 8 warps, 2 blocks of 4 warps.
        assert_eq!(on(a100, 128, 255, 0), (2, Limiter::Registers));
        // 40 registers: 1280 a warp, 51 warps, in fours 48: 6 blocks of 8.
        assert_eq!(on(a100, 256, 40, 0), (6, Limiter::Registers));
        // 48 KiB and 1 KiB each: 3 blocks of 164 KiB.
        assert_eq!(on(a100, 128, 32, 48 * 1024), (3, Limiter::SharedMemory));
        assert_eq!(on(a100, 32, 16, 0), (32, Limiter::Blocks));
        assert_eq!(on(Multiprocessor::SM_89, 1024, 64, 0), (1, Limiter::Warps));
        // More than a multiprocessor has: nothing fits.
        assert_eq!(
            on(Multiprocessor::SM_89, 128, 32, 100 * 1024),
            (0, Limiter::SharedMemory)
        );
    }
}
