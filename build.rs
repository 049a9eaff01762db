//! Embeds the checked-in PTX of the kernels, and fails when it was not made from the sources that
//! lie beside it. It needs no device compiler. It is the build script of `kernels-host`.

use kernels_gpu::FAMILIES;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, process};
use toolchain::recipe::TARGETS;
use toolchain::stamp::{self, Header, file_name};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let device_crate = manifest.join("../kernels-gpu");
    println!(
        "cargo::rerun-if-changed={}",
        device_crate.join("src").display()
    );
    println!(
        "cargo::rerun-if-changed={}",
        device_crate.join("ptx").display()
    );
    println!(
        "cargo::rerun-if-changed={}",
        device_crate.join("Cargo.toml").display()
    );

    let table = match embed(&device_crate) {
        Ok(table) => table,
        Err(problems) => {
            for problem in problems {
                println!("cargo::error={problem}");
            }
            process::exit(1);
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("embedded.rs");
    if let Err(error) = fs::write(&out, table) {
        println!("cargo::error=cannot write {}: {error}", out.display());
        process::exit(1);
    }
}

/// The source of the table of all PTX files, or why there is none.
fn embed(device_crate: &Path) -> Result<String, Vec<String>> {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let mut table = String::from("&[\n");
    let mut problems = Vec::new();
    for family in FAMILIES {
        for target in TARGETS {
            let path = device_crate
                .join("ptx")
                .join(file_name(family.name, target));
            let shown = format!("kernels-gpu/ptx/{}", file_name(family.name, target));
            let expected = match stamp::source_hash(device_crate, family.name, &names, target) {
                Ok(hash) => hash,
                Err(error) => return Err(vec![error.to_string()]),
            };
            let header = fs::read_to_string(&path)
                .ok()
                .and_then(|text| Header::read(&text));
            match header {
                None => problems.push(format!(
                    "{shown} is missing or has no header: run `cargo xtask ptx`"
                )),
                Some(header) if header.sources != expected => problems.push(format!(
                    "{shown} was made from other device sources than those beside it: \
                     run `cargo xtask ptx` (it says what it needs) and commit the result"
                )),
                Some(_) => {
                    let path = path.display().to_string();
                    let _ = writeln!(
                        table,
                        "    ({:?}, {:?}, include_str!({path:?})),",
                        family.name, target.name
                    );
                }
            }
        }
    }
    table.push(']');
    if problems.is_empty() {
        Ok(table)
    } else {
        Err(problems)
    }
}
