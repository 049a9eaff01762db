//! What can be proven of the checked-in PTX without running it: for every entry of every file,
//!
//! * its collective instructions are as many as its row in `ENTRIES` says, so no compiler copied a
//!   barrier into two branches;
//! * it has no local memory and calls nothing that is not there;
//! * NVIDIA's assembler takes it, with no spill and no stack, and the machine code holds the
//!   instructions the row names.
//!
//! The last one needs `ptxas`. Where there is none its tests are reported as
//! `skipped: no ptxas`.

use kernels_gpu::{Entry, FAMILIES, Family};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};
use toolchain::listing::{EntryListing, Listing};
use toolchain::ptxas::{Assembled, Cost, Ptxas};
use toolchain::recipe::{TARGETS, Target};
use toolchain::stamp::file_name;

/// Opcodes that threads execute together, or that order what they do: a second copy is a bug.
const COLLECTIVE: [&str; 14] = [
    "bar.",
    "barrier.",
    "shfl.",
    "vote.",
    "match.",
    "redux.",
    "activemask",
    "elect.",
    "mma.",
    "wgmma.",
    "ldmatrix.",
    "stmatrix.",
    "cp.async.wait",
    "cp.async.commit",
];

static PTXAS: LazyLock<Option<Ptxas>> =
    LazyLock::new(|| Ptxas::find(&workspace().join("target")).ok());

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
}

/// One PTX file, read and assembled at most once.
struct File {
    name: String,
    target: Target,
    path: PathBuf,
    listing: Listing,
    assembled: OnceLock<Result<Assembled, String>>,
}

impl File {
    fn open(family: &Family, target: Target) -> Result<File, String> {
        let name = file_name(family.name, target);
        let path = workspace().join("kernels-gpu/ptx").join(&name);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}; run `cargo xtask ptx`", path.display()))?;
        Ok(File {
            name,
            target,
            path,
            listing: Listing::read(&text),
            assembled: OnceLock::new(),
        })
    }

    fn entry(&self, name: &str) -> Result<&EntryListing, Failed> {
        let found = self.listing.entries.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| format!("{} has no such entry", self.name).into())
    }

    fn assembled(&self, ptxas: &Ptxas) -> Result<&Assembled, Failed> {
        let made = self.assembled.get_or_init(|| {
            let scratch =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.cubin", self.name));
            ptxas
                .assemble(&self.path, self.target.name, &scratch)
                .map_err(|e| e.to_string())
        });
        made.as_ref().map_err(|error| error.clone().into())
    }
}

fn collectives(file: &File, entry: &Entry) -> Result<(), Failed> {
    let opcodes = &file.entry(entry.name)?.opcodes;
    // Each kind that the row names or the PTX holds.
    let mut kinds: Vec<&str> = entry.collectives.iter().map(|(kind, _)| *kind).collect();
    let longest = |opcode: &str| {
        let fitting = entry
            .collectives
            .iter()
            .filter(|(kind, _)| opcode.starts_with(kind));
        fitting.map(|(kind, _)| *kind).max_by_key(|kind| kind.len())
    };
    let mut wrong = Vec::new();
    for opcode in opcodes
        .iter()
        .filter(|op| COLLECTIVE.iter().any(|kind| op.starts_with(kind)))
    {
        if longest(opcode).is_none() {
            wrong.push(format!("{opcode}: the table has no row for it"));
        }
    }
    kinds.dedup();
    for kind in kinds {
        let found = opcodes
            .iter()
            .filter(|opcode| longest(opcode) == Some(kind))
            .count();
        let expected = entry.collective(kind) as usize;
        if found != expected {
            wrong.push(format!(
                "{kind}: {found} in the PTX, {expected} in the source"
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

fn self_contained(file: &File, entry: &Entry) -> Result<(), Failed> {
    let listed = file.entry(entry.name)?;
    if let Some(directive) = file
        .listing
        .directives
        .iter()
        .find(|d| d.contains(".extern .func"))
    {
        return Err(format!("calls what is not there: {directive}").into());
    }
    if let Some(directive) = listed.directives.iter().find(|d| d.starts_with(".local")) {
        return Err(format!("has local memory: {directive}").into());
    }
    if let Some(opcode) = listed.opcodes.iter().find(|op| op.contains(".local")) {
        return Err(format!("uses local memory: {opcode}").into());
    }
    let bound = format!(".maxntid {}", entry.max_threads);
    if !listed.directives.contains(&bound) {
        return Err(format!("does not say {bound}").into());
    }
    Ok(())
}

fn machine_code(file: &File, entry: &Entry, ptxas: &Ptxas) -> Result<(), Failed> {
    let assembled = file.assembled(ptxas)?;
    let Some((cost, opcodes)) = assembled.entries.get(entry.name) else {
        return Err("the assembler does not know the entry".into());
    };
    let Cost {
        stack,
        spill_stores,
        spill_loads,
        ..
    } = *cost;
    if (stack, spill_stores, spill_loads) != (0, 0, 0) {
        return Err(format!(
            "{stack} bytes of stack, {spill_stores} stored and {spill_loads} loaded by spills"
        )
        .into());
    }
    for wanted in entry.machine_code {
        let found = wanted
            .split('|')
            .any(|w| opcodes.iter().any(|opcode| opcode.starts_with(w)));
        if !found {
            return Err(format!("no {wanted} in the machine code: {}", opcodes.join(" ")).into());
        }
    }
    Ok(())
}

fn main() {
    let mut trials = Vec::new();
    for target in TARGETS {
        for family in FAMILIES {
            let file = match File::open(family, target) {
                Ok(file) => Arc::new(file),
                Err(error) => {
                    let name = file_name(family.name, target);
                    trials.push(Trial::test(name, move || Err(error.into())));
                    continue;
                }
            };
            for entry in family.entries {
                let trial = |check: &str, run: fn(&File, &Entry) -> Result<(), Failed>| {
                    let file = file.clone();
                    let name = format!("{}::{}::{check}", file.name, entry.name);
                    Trial::test(name, move || run(&file, entry))
                };
                trials.push(trial("collectives", collectives));
                trials.push(trial("self_contained", self_contained));
                let assembled = trial("machine_code", |file, entry| match &*PTXAS {
                    Some(ptxas) => machine_code(file, entry, ptxas),
                    None => Err("no ptxas".into()),
                });
                trials.push(match &*PTXAS {
                    Some(_) => assembled,
                    None => assembled
                        .with_kind("skipped: no ptxas")
                        .with_ignored_flag(true),
                });
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
