//! What the host, the build and the tests know of a kernel: the row beside its code.

/// One PTX file: a family of kernels built together.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The family's name: the stem of its PTX file and the cargo feature that selects its code.
    pub name: &'static str,
    /// Its kernels, in no particular order.
    pub entries: &'static [Entry],
}

/// One kernel.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in the PTX.
    pub name: &'static str,
    /// The greatest number of threads in a block. The build writes it into the PTX as `.maxntid`.
    pub max_threads: u32,
    /// How many instructions of each collective kind the source asks for, by the beginning of the
    /// PTX opcode (`"bar.sync"`, `"shfl.sync"`, …; the longest one that fits is meant). Kinds not
    /// named must not occur. A compiler that copies a barrier into two branches is caught by this.
    pub collectives: &'static [(&'static str, u32)],
    /// Opcodes that must appear in the machine code, by their beginning: `"LDS.128"`, `"HMMA"`.
    /// `"S2R|S2UR"` asks for one of the two: machines differ.
    pub machine_code: &'static [&'static str],
}

impl Entry {
    /// The number of instructions of a collective kind that the source asks for.
    pub fn collective(&self, opcode: &str) -> u32 {
        self.collectives
            .iter()
            .filter(|(kind, _)| opcode.starts_with(kind))
            .max_by_key(|(kind, _)| kind.len())
            .map_or(0, |(_, count)| *count)
    }
}
