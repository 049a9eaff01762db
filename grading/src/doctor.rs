//! `touchstone doctor`: what is on this machine, what each thing is needed for, and how to get it.

use kernels_host::{Cuda, Device, Module};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use toolchain::compiler::{self, DeviceCompiler};
use toolchain::ptxas::{self, Ptxas};

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this format.
    pub schema: u32,
    /// Touchstone's version.
    pub version: &'static str,
    /// The findings, in order.
    pub findings: Vec<Finding>,
}

/// One thing that may be here.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was looked for.
    pub what: &'static str,
    /// Whether it is here.
    pub here: bool,
    /// What was found, or why nothing was.
    pub detail: String,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// How to get it, where it is not here and can be got.
    pub install: Option<String>,
}

impl Report {
    /// Looks at this machine. `target` is the build's target folder, where an assembler may lie.
    pub fn examine(target: &Path) -> Report {
        let findings = vec![
            processor(),
            embedded(),
            driver(),
            gpu(),
            device_compiler(),
            assembler(target),
        ];
        Report {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            findings,
        }
    }
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let features = processor_features();
    let listed = if features.is_empty() {
        "no vector extensions known".into()
    } else {
        features.join(" ")
    };
    Finding {
        what: "processor",
        here: true,
        detail: format!("{cores} cores, {listed}"),
        needed_for: "everything; the simulator runs blocks on all cores and picks its vector width here",
        install: None,
    }
}

#[cfg(target_arch = "x86_64")]
fn processor_features() -> Vec<&'static str> {
    [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
    ]
    .into_iter()
    .filter_map(|(name, here)| here.then_some(name))
    .collect()
}

#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<&'static str> {
    vec!["neon"]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_features() -> Vec<&'static str> {
    Vec::new()
}

fn embedded() -> Finding {
    let mut families: Vec<&str> = Module::all_embedded().map(|(family, _)| family).collect();
    families.dedup();
    Finding {
        what: "embedded PTX",
        here: !families.is_empty(),
        detail: families.join(", "),
        needed_for: "the kernels; it comes with the sources, nothing is to be installed",
        install: None,
    }
}

fn driver() -> Finding {
    let here = Cuda::is_present();
    Finding {
        what: "CUDA driver",
        here,
        detail: if here {
            "libcuda can be loaded".into()
        } else {
            "libcuda cannot be loaded".into()
        },
        needed_for: "running on a GPU; without it kernels run on the CPU",
        install: (!here).then(|| "NVIDIA's driver, 525 or later, with a GPU from sm_80 on".into()),
    }
}

fn gpu() -> Finding {
    let found = Cuda::count().and_then(|count| {
        (0..count)
            .map(|ordinal| {
                let device = Cuda::open(ordinal)?;
                Ok(format!(
                    "{} ({})",
                    device.name(),
                    device.targets().join(", ")
                ))
            })
            .collect::<kernels_host::Result<Vec<_>>>()
    });
    let (here, detail) = match found {
        Ok(names) if names.is_empty() => (false, "the driver sees none".into()),
        Ok(names) => (true, names.join("; ")),
        Err(error) => (false, error.to_string()),
    };
    Finding {
        what: "GPU",
        here,
        detail,
        needed_for: "timings, and the comparison of the CPU's results with a GPU's",
        install: None,
    }
}

fn device_compiler() -> Finding {
    let found = DeviceCompiler::find();
    let (here, detail, install) = match found {
        Ok(compiler) => (
            true,
            format!("{} at {}", compiler.version, compiler.rustc.display()),
            None,
        ),
        Err(missing) => {
            let tried: Vec<_> = missing
                .tried
                .iter()
                .map(|(what, why)| format!("{what}: {why}"))
                .collect();
            (false, tried.join("; "), Some(compiler::INSTALL.into()))
        }
    };
    Finding {
        what: "device compiler",
        here,
        detail,
        needed_for: "changing a kernel (`cargo xtask ptx`); not for using or testing them",
        install,
    }
}

fn assembler(target: &Path) -> Finding {
    let (here, detail, install) = match Ptxas::find(target) {
        Ok(ptxas) => (
            true,
            format!("release {} at {}", ptxas.release, ptxas.ptxas.display()),
            None,
        ),
        Err(_) => (false, "not found".into(), Some(ptxas::INSTALL.into())),
    };
    Finding {
        what: "ptxas",
        here,
        detail,
        needed_for: "the static tests of the machine code (registers, spills, instructions)",
        install,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "touchstone {}", self.version)?;
        for finding in &self.findings {
            let mark = if finding.here { "yes" } else { "no " };
            writeln!(f, "{mark}  {}: {}", finding.what, finding.detail)?;
            writeln!(f, "     for {}", finding.needed_for)?;
            if let Some(install) = &finding.install {
                for (number, line) in install.lines().enumerate() {
                    let lead = if number == 0 { "get " } else { "    " };
                    writeln!(f, "     {lead}{line}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_how_to_get_it() {
        let report = Report {
            schema: 1,
            version: "0.1.0",
            findings: vec![
                Finding {
                    what: "processor",
                    here: true,
                    detail: "2 cores, avx2 fma".into(),
                    needed_for: "everything",
                    install: None,
                },
                Finding {
                    what: "device compiler",
                    here: false,
                    detail: "rustup's nightly: is not installed".into(),
                    needed_for: "changing a kernel",
                    install: Some(compiler::INSTALL.into()),
                },
            ],
        };
        insta::assert_snapshot!(report.to_string());
    }

    #[test]
    fn this_machine_can_be_examined() {
        let report = Report::examine(Path::new("target"));
        assert_eq!(report.findings.len(), 6);
        for finding in &report.findings {
            assert!(!finding.detail.is_empty(), "{finding:?}");
        }
        assert!(
            report
                .findings
                .iter()
                .any(|f| f.what == "embedded PTX" && f.here)
        );
    }
}
