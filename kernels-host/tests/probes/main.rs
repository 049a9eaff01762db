//! Every probe of the device layer, run: on the PTX machine always, on a GPU where there is one.
//! The expected words come from plain Rust on the host (`model`), which shares nothing with the
//! device layer but its documentation.

#![allow(
    unreachable_pub,
    reason = "modules of a test program, which exports nothing"
)]

mod expect;
mod float;
mod integer;
mod matrix;
mod memory;

use expect::{Expected, Input};
use kernels_gpu::probes::{DYNAMIC_BYTES, FAMILY, THREADS, WORDS};
use kernels_host::{Buffer, Cuda, Device, LaunchConfig, Module, Vm, launch};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

/// What a probe is run on, and what it must give.
pub struct Model {
    /// What the words of the input are.
    pub input: Input,
    /// The words of the output, from those of the input.
    pub expected: fn(&[u32]) -> Expected,
}

/// Probes that the PTX machine cannot run yet, and why. One that runs although it is named here
/// fails, so that the list stays true.
const WAIVED: &[(&str, &str)] = &[];

/// Runs a probe on the PTX machine, which must refuse the waived ones as unsupported.
fn run_on_vm(device: &Arc<dyn Device>, probe: &str, model: &Model) -> Result<(), Failed> {
    let outcome = run(device, probe, model);
    let Some((_, instruction)) = WAIVED.iter().find(|(name, _)| *name == probe) else {
        return outcome;
    };
    match outcome {
        Ok(()) => Err(format!("{instruction} runs now: take the probe off the list").into()),
        Err(why)
            if why
                .message()
                .is_some_and(|text| text.contains("unsupported")) =>
        {
            Ok(())
        }
        Err(why) => Err(why),
    }
}

/// The model of a probe, if there is one.
fn model(probe: &str) -> Option<Model> {
    [integer::model, float::model, memory::model, matrix::model]
        .iter()
        .find_map(|of| of(probe))
}

fn run(device: &Arc<dyn Device>, probe: &str, model: &Model) -> Result<(), Failed> {
    let module = Module::embedded(FAMILY.name, &**device)?;
    let kernel = module.kernel(probe)?;
    for seed in 0..4 {
        let input = model.input.words(seed);
        let from = Buffer::from_slice(device, &input)?;
        let mut to = Buffer::from_slice(device, &[expect::UNTOUCHED; WORDS])?;
        let mut config = LaunchConfig::linear(1, THREADS);
        config.shared = DYNAMIC_BYTES;
        launch(
            &**device,
            &kernel,
            config,
            &[(&from).into(), (&mut to).into()],
        )?;
        (model.expected)(&input).compare(&to.to_vec()?)?;
        if from.to_vec()? != input {
            return Err("the input was written".into());
        }
    }
    Ok(())
}

fn main() {
    let vm: Arc<dyn Device> = Vm::new();
    let gpu: Option<Arc<dyn Device>> = Cuda::open(0).ok().map(|gpu| gpu as Arc<dyn Device>);
    let mut trials = Vec::new();
    for entry in FAMILY.entries {
        let Some(model) = model(entry.name).map(Arc::new) else {
            let missing = || Err("no model says what it should do".into());
            trials.push(Trial::test(entry.name, missing));
            continue;
        };
        let (on_vm, vm) = (model.clone(), vm.clone());
        let waived = WAIVED.iter().find(|(name, _)| *name == entry.name);
        let kind = waived.map_or(String::new(), |(_, why)| {
            format!("waived: {why} unsupported")
        });
        let trial = Trial::test(format!("vm::{}", entry.name), move || {
            run_on_vm(&vm, entry.name, &on_vm)
        });
        trials.push(trial.with_kind(kind));
        let name = format!("gpu::{}", entry.name);
        trials.push(match gpu.clone() {
            Some(gpu) => Trial::test(name, move || run(&gpu, entry.name, &model)),
            None => Trial::test(name, || Ok(()))
                .with_kind("skipped: no GPU")
                .with_ignored_flag(true),
        });
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
