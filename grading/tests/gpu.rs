//! Every rung of every family at small sizes: on the PTX machine, where the oracle judges it; and on
//! a GPU, where there is one, against the oracle and against what the machine answered.

#[path = "support/small.rs"]
mod small;

use grading::profile::judge::judge;
use grading::profile::ready::{ready, rungs};
use grading::profile::{Scale, Shape, call};
use grading::submission::{Call, Named};
use grading::tensor::DType;
use kernels_host::{Cuda, Device, Vm};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

fn answer(call: &Call, rung: &str, device: &Arc<dyn Device>) -> Result<Vec<Named>, Failed> {
    let mut ready = ready(call, rung, device)?;
    ready.spoil()?;
    ready.run()?;
    device.synchronize()?;
    Ok(ready.outputs()?)
}

fn right(call: &Call, outputs: &[Named], on: &str) -> Result<(), Failed> {
    match judge(call, outputs)?.wrong {
        None => Ok(()),
        Some(why) => Err(format!("on {on}: {why}").into()),
    }
}

fn on_the_machine(shape: &Shape) -> Result<(), Failed> {
    let vm: Arc<dyn Device> = Vm::new();
    let call = call::of(shape, Scale::Vm, &vm)?;
    let rungs = rungs(&call);
    if rungs.is_empty() {
        return Err("no rung takes it".into());
    }
    for rung in rungs {
        right(
            &call,
            &answer(&call, rung, &vm)?,
            &format!("the machine, {rung}"),
        )?;
    }
    Ok(())
}

fn on_a_gpu(shape: &Shape, gpu: &Arc<dyn Device>) -> Result<(), Failed> {
    let vm: Arc<dyn Device> = Vm::new();
    let call = call::of(shape, Scale::Vm, &vm)?;
    for rung in rungs(&call) {
        let (theirs, ours) = (answer(&call, rung, gpu)?, answer(&call, rung, &vm)?);
        right(&call, &theirs, &format!("the GPU, {rung}"))?;
        for (gpu, vm) in theirs.iter().zip(&ours) {
            let (a, b) = (gpu.tensor.to_f64(), vm.tensor.to_f64());
            let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
            println!(
                "{} {rung} {}: {same} of {} elements alike",
                shape.name,
                gpu.name,
                a.len()
            );
            // Both floats lie within one bound. What the contract makes exact must be the same; a
            // beam may be another one where scores are closer than their bound.
            let exact = matches!(gpu.tensor.dtype(), DType::I32 | DType::U8 | DType::U32);
            if exact && same < a.len() && call.task != "beam-search" {
                return Err(format!("{rung}: {} differs from the machine's", gpu.name).into());
            }
        }
    }
    Ok(())
}

fn main() {
    let gpu = Cuda::open(0).ok().map(|gpu| gpu as Arc<dyn Device>);
    let mut trials = Vec::new();
    for small in small::shapes() {
        let name = format!("{}::{}", small.task, small.name);
        let of_machine = small.clone();
        trials.push(Trial::test(format!("machine::{name}"), move || {
            on_the_machine(&of_machine)
        }));
        let name = format!("gpu::{name}");
        trials.push(match gpu.clone() {
            Some(gpu) => Trial::test(name, move || on_a_gpu(&small, &gpu)),
            None => Trial::test(name, || Err("no GPU".into()))
                .with_kind("skipped: no GPU")
                .with_ignored_flag(true),
        });
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
