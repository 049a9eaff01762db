//! What ptxas says of kernels, where it is installed: registers and shared memory, and how many
//! blocks of them a multiprocessor holds.

use super::occupancy::{Block, Multiprocessor, Occupancy, occupancy};
use crate::submission::CountedLaunch;
use kernels_host::Device;
use serde::Serialize;
use simt::count::roofline::Gpu;
use std::collections::HashMap;
use std::path::Path;
use toolchain::ptxas::{Cost, Ptxas};

/// A kernel as it is assembled for a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assembled {
    /// Its name.
    pub kernel: String,
    /// Threads of a block.
    pub threads: u32,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes of registers that are stored to memory because there are too few.
    pub spilled: u32,
    /// Bytes of shared memory a block, fixed and dynamic together.
    pub shared: u32,
    /// Blocks that fit on a multiprocessor, and what limits them.
    pub occupancy: Occupancy,
}

/// The assembler, if there is one, and what it has said.
#[derive(Debug)]
pub struct Assembler {
    ptxas: Option<Ptxas>,
    said: HashMap<(String, &'static str), HashMap<String, Cost>>,
}

impl Assembler {
    /// The assembler under `target`, or where else [`Ptxas::find`] looks.
    pub fn find(target: &Path) -> Assembler {
        Assembler {
            ptxas: Ptxas::find(target).ok(),
            said: HashMap::new(),
        }
    }

    /// As on a machine without one.
    pub fn none() -> Assembler {
        Assembler {
            ptxas: None,
            said: HashMap::new(),
        }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.ptxas.is_some()
    }

    /// A launch's kernel on a GPU; `None` where there is no assembler, or it refuses the text.
    pub fn kernel(&mut self, text: &str, launch: &CountedLaunch, gpu: &Gpu) -> Option<Assembled> {
        let multiprocessor = Multiprocessor::of_gpu(gpu.name)?;
        let target = target(gpu.name)?;
        let ptxas = self.ptxas.as_ref()?;
        let known = (text.to_owned(), target);
        let costs = self.said.entry(known).or_insert_with(|| {
            let assembled = assemble(ptxas, text, target);
            if let Err(why) = &assembled {
                eprintln!("ptxas: {why}");
            }
            assembled.unwrap_or_default()
        });
        let counters = &launch.counters;
        let cost = costs.get(&counters.kernel)?;
        let shared = cost.shared + launch.shared;
        Some(Assembled {
            kernel: counters.kernel.clone(),
            threads: counters.threads,
            registers: cost.registers,
            spilled: cost.spill_stores,
            shared,
            occupancy: occupancy(
                multiprocessor,
                Block {
                    threads: counters.threads,
                    registers: cost.registers,
                    shared,
                },
            ),
        })
    }
}

/// What ptxas calls a GPU.
fn target(gpu: &str) -> Option<&'static str> {
    match gpu {
        "A100" => Some("sm_80"),
        "RTX 4090" => Some("sm_89"),
        "H100" | "H200" => Some("sm_90a"),
        _ => None,
    }
}

fn assemble(ptxas: &Ptxas, text: &str, target: &str) -> Result<HashMap<String, Cost>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let ptx = folder.path().join("kernel.ptx");
    std::fs::write(&ptx, text).map_err(|error| error.to_string())?;
    let costs = ptxas.costs(&ptx, target, &folder.path().join("kernel.cubin"));
    Ok(costs
        .map_err(|error| error.to_string())?
        .into_iter()
        .collect())
}

/// The text of our own PTX that has a kernel of that name, as the device runs it.
pub fn builtin_text(kernel: &str, device: &dyn Device) -> Option<String> {
    let has = |family: &&kernels_gpu::Family| family.entries.iter().any(|e| e.name == kernel);
    let family = kernels_gpu::FAMILIES.iter().find(has)?;
    let module = kernels_host::Module::embedded(family.name, device).ok()?;
    Some(module.text().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simt::Counters;
    use simt::count::roofline::gpu;

    fn launch(kernel: &str, threads: u32) -> CountedLaunch {
        CountedLaunch {
            counters: Counters {
                kernel: kernel.into(),
                threads,
                ..Counters::default()
            },
            shared: 0,
        }
    }

    #[test]
    fn our_kernels_text_is_found_by_their_name() {
        let device = kernels_host::Recorder::new();
        let text = builtin_text("softmax_topk_block_bf16", &*device).expect("it is embedded");
        assert!(text.contains(".entry softmax_topk_block_bf16"));
        assert_eq!(builtin_text("nobody", &*device), None);
    }

    #[test]
    fn without_an_assembler_it_stays_blank() {
        let h200 = gpu("H200").expect("known");
        let launch = launch("softmax_topk_block_bf16", 256);
        assert_eq!(Assembler::none().kernel("", &launch, h200), None);
    }
}
