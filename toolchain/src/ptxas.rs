//! NVIDIA's assembler, where it is installed: turns PTX into machine code, says what each entry
//! costs, and lists its instructions. It needs no GPU and no driver.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that names `ptxas` and overrules the search; `nvdisasm` is looked for
/// beside it.
pub const VARIABLE: &str = "TOUCHSTONE_PTXAS";

/// How to get it.
pub const INSTALL: &str = "run scripts/install-ptxas.sh (a Python environment under target/, from \
    PyPI), or put ptxas and nvdisasm of a CUDA 13 toolkit on PATH, or name ptxas in TOUCHSTONE_PTXAS";

/// `ptxas` and `nvdisasm`.
#[derive(Clone, Debug)]
pub struct Ptxas {
    /// The assembler.
    pub ptxas: PathBuf,
    /// The disassembler.
    pub nvdisasm: PathBuf,
    /// The assembler's release: `13.0`.
    pub release: String,
}

/// The assembler is not here.
#[derive(Debug)]
pub struct NotFound;

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no ptxas: {INSTALL}")
    }
}

impl std::error::Error for NotFound {}

/// What the assembler says of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Registers a thread.
    pub registers: u32,
    /// Bytes of stack a thread.
    pub stack: u32,
    /// Bytes of registers stored to memory because there were too few.
    pub spill_stores: u32,
    /// Bytes of registers loaded back.
    pub spill_loads: u32,
    /// Bytes of fixed shared memory a block.
    pub shared: u32,
    /// Barriers in use.
    pub barriers: u32,
}

/// A PTX file's machine code: for each entry its cost and its instructions' opcodes in order.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// By entry name.
    pub entries: BTreeMap<String, (Cost, Vec<String>)>,
}

/// The assembler ran and refused, or could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It printed errors.
    #[error("{0}")]
    Refused(String),
    /// It could not be run.
    #[error("cannot run {tool}: {source}")]
    Io {
        /// What was to run.
        tool: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Ptxas {
    /// The `ptxas` that [`VARIABLE`] names, or the one under `target`, or the one on PATH, or a
    /// toolkit's at its usual place.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(target: &Path) -> Result<Ptxas, NotFound> {
        let mut places: Vec<PathBuf> = Vec::new();
        if let Some(named) = std::env::var_os(VARIABLE) {
            places.push(PathBuf::from(named));
        } else {
            places.extend(in_environment(&target.join("cuda")));
            let path = std::env::var_os("PATH").unwrap_or_default();
            places.extend(std::env::split_paths(&path).map(|folder| folder.join("ptxas")));
            places.push("/usr/local/cuda/bin/ptxas".into());
        }
        places
            .iter()
            .find_map(|ptxas| Ptxas::examine(ptxas))
            .ok_or(NotFound)
    }

    fn examine(ptxas: &Path) -> Option<Ptxas> {
        let nvdisasm = ptxas.with_file_name("nvdisasm");
        if !ptxas.is_file() || !nvdisasm.is_file() {
            return None;
        }
        let said = Command::new(ptxas).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let release = said.split("release ").nth(1)?.split(',').next()?.to_owned();
        Some(Ptxas {
            ptxas: ptxas.into(),
            nvdisasm,
            release,
        })
    }

    /// What each entry of a PTX file costs on a target (`sm_80`). `scratch` is a file name to use for
    /// the machine code.
    ///
    /// # Errors
    /// When the assembler refuses the file, with its words.
    pub fn costs(
        &self,
        ptx: &Path,
        target: &str,
        scratch: &Path,
    ) -> Result<BTreeMap<String, Cost>, Error> {
        let said = run(Command::new(&self.ptxas)
            .arg(format!("-arch={target}"))
            .arg("-v")
            .arg(ptx)
            .arg("-o")
            .arg(scratch))?;
        Ok(costs(&said))
    }

    /// Assembles a PTX file for a target (`sm_80`), and lists what came out. `scratch` is a file
    /// name to use for the machine code.
    ///
    /// # Errors
    /// When the assembler refuses the file, with its words.
    pub fn assemble(&self, ptx: &Path, target: &str, scratch: &Path) -> Result<Assembled, Error> {
        let mut assembled = Assembled::default();
        for (entry, cost) in self.costs(ptx, target, scratch)? {
            assembled.entries.insert(entry, (cost, Vec::new()));
        }
        let listing = run(Command::new(&self.nvdisasm).arg("-c").arg(scratch))?;
        for (entry, opcodes) in opcodes(&listing) {
            assembled.entries.entry(entry).or_default().1 = opcodes;
        }
        Ok(assembled)
    }
}

/// The assembler in a Python environment: `lib/python3.*/site-packages/nvidia/cu13/bin/ptxas`.
fn in_environment(root: &Path) -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir(root.join("lib")) else {
        return Vec::new();
    };
    versions
        .flatten()
        .map(|version| version.path().join("site-packages/nvidia/cu13/bin/ptxas"))
        .collect()
}

/// Runs a tool; both its streams as text.
fn run(command: &mut Command) -> Result<String, Error> {
    let tool = PathBuf::from(command.get_program());
    let result = command
        .output()
        .map_err(|source| Error::Io { tool, source })?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&result.stdout),
        String::from_utf8_lossy(&result.stderr)
    );
    if result.status.success() {
        Ok(said)
    } else {
        Err(Error::Refused(said))
    }
}

/// Reads `ptxas -v`.
fn costs(said: &str) -> BTreeMap<String, Cost> {
    let mut costs = BTreeMap::new();
    let mut current: Option<(String, Cost)> = None;
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            costs.extend(current.take());
            let name = rest.split('\'').next().unwrap_or_default();
            current = Some((name.to_owned(), Cost::default()));
        } else if let Some((_, cost)) = &mut current {
            // "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" and
            // "Used 8 registers, used 1 barriers, 1024 bytes smem, 368 bytes cmem[0]".
            for part in line
                .rsplit("info    :")
                .next()
                .unwrap_or_default()
                .split(',')
            {
                let mut words = part
                    .split_whitespace()
                    .filter(|w| !w.eq_ignore_ascii_case("used"));
                let Some(Ok(number)) = words.next().map(str::parse::<u32>) else {
                    continue;
                };
                match words.collect::<Vec<_>>().join(" ").as_str() {
                    "bytes stack frame" => cost.stack = number,
                    "bytes spill stores" => cost.spill_stores = number,
                    "bytes spill loads" => cost.spill_loads = number,
                    "registers" => cost.registers = number,
                    "barriers" => cost.barriers = number,
                    "bytes smem" => cost.shared = number,
                    _ => {}
                }
            }
        }
    }
    costs.extend(current);
    costs
}

/// Reads `nvdisasm -c`: the opcodes under each `.text.` section.
fn opcodes(listing: &str) -> BTreeMap<String, Vec<String>> {
    let mut entries: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in listing.lines() {
        if let Some(name) = line
            .strip_prefix(".text.")
            .and_then(|rest| rest.strip_suffix(':'))
        {
            current = Some(name.to_owned());
        } else if let (Some(name), Some((_, code))) = (&current, line.split_once("*/ ")) {
            // "/*0070*/   @!P0 EXIT ;": the guard, the opcode, the operands.
            let opcode = code
                .split_whitespace()
                .find(|word| !word.starts_with('@') && !word.starts_with('{'))
                .map(|word| word.trim_end_matches(';').to_owned());
            entries.entry(name.clone()).or_default().extend(opcode);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_read_from_what_the_assembler_says() {
        let said = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_80'
ptxas info    : Function properties for one
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 16 bytes cumulative stack size, 1024 bytes smem, 368 bytes cmem[0]
ptxas info    : Compiling entry function 'two' for 'sm_80'
ptxas info    : Function properties for two
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, 368 bytes cmem[0]
";
        let costs = costs(said);
        let one = Cost {
            registers: 30,
            stack: 16,
            spill_stores: 4,
            spill_loads: 8,
            shared: 1024,
            barriers: 1,
        };
        assert_eq!(costs["one"], one);
        assert_eq!(
            costs["two"],
            Cost {
                registers: 8,
                ..Cost::default()
            }
        );
    }

    #[test]
    fn opcodes_are_read_past_guards() {
        let listing = "\
.text.k:
        /*0000*/                   S2R R2, SR_TID.X ;
        /*0010*/              @!P0 EXIT ;
.L_x_0:
        /*0020*/                   BRA `(.L_x_0);
.text.l:
        /*0000*/                   EXIT ;
";
        let entries = opcodes(listing);
        assert_eq!(entries["k"], ["S2R", "EXIT", "BRA"]);
        assert_eq!(entries["l"], ["EXIT"]);
    }
}
