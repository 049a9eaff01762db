//! Foreign PTX below `foreign/`, against NumPy's results, run with every checker on.

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use support::element::Dtype;
use support::machine::{self, Argument, Tensor};
use support::npy::Npy;
use support::waivers::Waivers;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "about")]
    _about: String,
    launch: Vec<Launch>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Launch {
    ptx: String,
    entry: String,
    grid: [u32; 3],
    block: [u32; 3],
    #[serde(default = "one")]
    cluster: [u32; 3],
    #[serde(default)]
    shared: u32,
    args: Vec<String>,
}

fn one() -> [u32; 3] {
    [1; 3]
}

/// What must be in a buffer afterwards.
enum Expect {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These numbers, each within its bound.
    Numbers {
        dtype: Dtype,
        values: Vec<f64>,
        bounds: Vec<f64>,
    },
}

fn argument(folder: &Path, text: &str) -> Result<(Argument, Option<(String, Expect)>), String> {
    if let Some(map) = text.strip_prefix("map ") {
        let (tensor, of) = map
            .split_once(" of ")
            .ok_or_else(|| format!("`{text}`: a tensor map of what?"))?;
        let tensor = Tensor::parse(tensor)?;
        return Ok(match argument(folder, of)? {
            (Argument::Buffer(bytes, meant), expect) => {
                (Argument::Map(tensor, bytes, meant), expect)
            }
            _ => return Err(format!("`{text}`: a tensor map of a buffer")),
        });
    }
    let parts: Vec<&str> = text.split(':').collect();
    let file = |name: &str, kind: &str| Npy::read(&folder.join(format!("{name}{kind}.npy")));
    let number = |v: &str| {
        v.parse::<f64>()
            .map_err(|_| format!("`{text}` is not a number"))
    };
    let integer = |v: &str| {
        v.parse::<i128>()
            .map_err(|_| format!("`{text}` is not an integer"))
    };
    Ok(match parts[..] {
        ["null"] => (Argument::Scalar(vec![0; 8]), None),
        ["scratch", bytes] => (Argument::Scratch(integer(bytes)? as u64), None),
        ["i32" | "u32", v] => (
            Argument::Scalar((integer(v)? as u32).to_le_bytes().to_vec()),
            None,
        ),
        ["i64" | "u64", v] => (
            Argument::Scalar((integer(v)? as u64).to_le_bytes().to_vec()),
            None,
        ),
        ["f32", v] => (
            Argument::Scalar((number(v)? as f32).to_le_bytes().to_vec()),
            None,
        ),
        ["f64", v] => (Argument::Scalar(number(v)?.to_le_bytes().to_vec()), None),
        ["in", name] => {
            let bytes = file(name, "")?.bytes;
            (
                Argument::Buffer(bytes.clone(), true),
                Some((name.to_owned(), Expect::Bytes(bytes))),
            )
        }
        [kind @ ("out" | "inout"), dtype, name] => {
            let dtype = Dtype::from_name(&dtype.replace('i', "s"))
                .ok_or_else(|| format!("`{text}`: the type"))?;
            let wanted = file(name, ".expect")?;
            let expect = if folder.join(format!("{name}.bound.npy")).exists() {
                let doubles = |n: &Npy| {
                    n.doubles()
                        .ok_or_else(|| format!("{name}: numbers must be f64"))
                };
                let values = doubles(&wanted)?;
                let mut bounds = doubles(&file(name, ".bound")?)?;
                if bounds.len() == 1 {
                    bounds = vec![bounds[0]; values.len()];
                }
                Expect::Numbers {
                    dtype,
                    values,
                    bounds,
                }
            } else {
                Expect::Bytes(wanted.bytes)
            };
            let length = match &expect {
                Expect::Bytes(b) => b.len(),
                Expect::Numbers { values, .. } => values.len() * dtype.bytes(),
            };
            let before = if kind == "inout" {
                file(name, "")?.bytes
            } else {
                vec![0xCD; length]
            };
            if before.len() != length {
                return Err(format!(
                    "{name}: {} bytes go in, {length} are expected",
                    before.len()
                ));
            }
            (
                Argument::Buffer(before, kind == "inout"),
                Some((name.to_owned(), expect)),
            )
        }
        _ => return Err(format!("`{text}` is not an argument")),
    })
}

fn compare(name: &str, expect: &Expect, got: &[u8]) -> Result<(), String> {
    match expect {
        Expect::Bytes(want) => match want.iter().zip(got).position(|(w, g)| w != g) {
            None => Ok(()),
            Some(at) => Err(format!(
                "{name}: byte {at}: got {:02x}, want {:02x}",
                got[at], want[at]
            )),
        },
        Expect::Numbers {
            dtype,
            values,
            bounds,
        } => {
            let wrong: Vec<String> = (0..values.len())
                .filter_map(|k| {
                    let x = dtype
                        .number(dtype.read(got, k))
                        .expect("bounds are for numbers");
                    let off = (x - values[k]).abs();
                    let right = off <= bounds[k]; // so that NaN is wrong
                    let text =
                        || format!("{name}[{k}]: got {x}, want {} ± {}", values[k], bounds[k]);
                    (!right).then(text)
                })
                .collect();
            match wrong.len() {
                0 => Ok(()),
                n => Err(format!(
                    "{n} of {} wrong\n{}",
                    values.len(),
                    wrong[..n.min(6)].join("\n")
                )),
            }
        }
    }
}

fn run(folder: &Path, launch: &Launch) -> Result<(), String> {
    let text = std::fs::read_to_string(folder.join(&launch.ptx))
        .map_err(|e| format!("{}: {e}", launch.ptx))?;
    let mut arguments = Vec::new();
    let mut expectations = Vec::new();
    for a in &launch.args {
        let (argument, expect) = argument(folder, a)?;
        if let Argument::Buffer(..) | Argument::Map(..) = argument {
            expectations.push(expect.expect("every buffer has an expectation"));
        }
        arguments.push(argument);
    }
    let (entry, shared) = (launch.entry.as_str(), launch.shared);
    let after = machine::run(
        &text,
        &machine::Launch {
            entry,
            grid: launch.grid,
            block: launch.block,
            cluster: launch.cluster,
            shared,
            arguments,
            finds: Vec::new(),
        },
    )?;
    let wrong: Vec<String> = (expectations.iter().zip(&after))
        .filter_map(|((name, expect), got)| compare(name, expect, got).err())
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn main() -> ExitCode {
    let root = support::folder("foreign");
    let waivers = Arc::new(Waivers::of("foreign/"));
    let mut names = Vec::new();
    let mut trials = Vec::new();
    for path in support::files(&root, "toml") {
        let folder = path
            .parent()
            .expect("a file lies in a folder")
            .to_path_buf();
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let case: Case =
            toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for launch in case.launch {
            let target = launch.ptx.trim_end_matches(".ptx").to_owned();
            let inside = folder
                .strip_prefix(&root)
                .expect("below the root")
                .display();
            let name = format!("foreign/{inside}/{target}/{}", launch.entry);
            names.push(name.clone());
            let (waivers, folder) = (Arc::clone(&waivers), folder.clone());
            trials.push(Trial::test(name.clone(), move || {
                waivers
                    .judge(&name, run(&folder, &launch))
                    .map_err(Failed::from)
            }));
        }
    }
    assert!(
        trials.len() > 20,
        "only {} cases: the corpus is not whole",
        trials.len()
    );
    let stale = waivers.stale(&names).join(", ");
    trials.push(Trial::test("foreign/waivers", move || {
        if stale.is_empty() {
            Ok(())
        } else {
            Err(format!("waivers for no test: {stale}").into())
        }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
