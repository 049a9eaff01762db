//! The driver's side. Where there is no GPU: that this is said, and that nothing panics; the tests
//! that need one are reported as `skipped: no GPU`. Where there is one: every kernel loads, and
//! softmax-topk answers a case known by hand.

use kernels_host::softmax_topk::{Outputs, Parameters, softmax_topk};
use kernels_host::{Buffer, Cuda, Device, Error, LaunchConfig, Module, launch};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

type Outcome = Result<(), Failed>;
type Test = fn(&Arc<dyn Device>) -> Outcome;

fn main() {
    let gpu: Option<Arc<dyn Device>> = match Cuda::open(0) {
        Ok(device) => Some(device),
        Err(error) => {
            println!("no GPU: {error}");
            None
        }
    };
    let mut trials = vec![Trial::test(
        "what_is_not_there_is_a_typed_error",
        what_is_not_there,
    )];
    let on_gpu: [(&str, Test); 3] = [
        (
            "memory_holds_what_was_written",
            memory_holds_what_was_written,
        ),
        ("all_our_ptx_loads", all_our_ptx_loads),
        ("softmax_topk_ranks_a_row", softmax_topk_ranks_a_row),
    ];
    for (name, test) in on_gpu {
        trials.push(match gpu.clone() {
            Some(device) => Trial::test(name, move || test(&device)),
            None => Trial::test(name, || Err("no GPU".into()))
                .with_kind("skipped: no GPU")
                .with_ignored_flag(true),
        });
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn what_is_not_there() -> Outcome {
    match Cuda::open(usize::MAX) {
        Err(Error::NoDriver) if !Cuda::is_present() => {
            assert!(matches!(Cuda::count(), Err(Error::NoDriver)));
            Ok(())
        }
        Err(Error::NoDevice { .. } | Error::Driver { .. }) if Cuda::is_present() => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn memory_holds_what_was_written(device: &Arc<dyn Device>) -> Outcome {
    let values: Vec<u32> = (0..1000).collect();
    let buffer = Buffer::from_slice(device, &values)?;
    assert_eq!(buffer.to_vec()?, values);
    Ok(())
}

/// The driver compiles a module at its first launch; a probe of each is enough.
fn all_our_ptx_loads(device: &Arc<dyn Device>) -> Outcome {
    let input = Buffer::from_slice(device, &[1_u32; kernels_gpu::probes::WORDS])?;
    let mut output = Buffer::<u32>::uninit(device, kernels_gpu::probes::WORDS)?;
    let module = Module::embedded("probes", &**device)?;
    for entry in kernels_gpu::probes::FAMILY.entries {
        let mut config = LaunchConfig::linear(1, kernels_gpu::probes::THREADS);
        config.shared = kernels_gpu::probes::DYNAMIC_BYTES;
        let args = [(&input).into(), (&mut output).into()];
        launch(&**device, &module.kernel(entry.name)?, config, &args)?;
        device.synchronize()?;
    }
    Ok(())
}

fn softmax_topk_ranks_a_row(device: &Arc<dyn Device>) -> Outcome {
    let logits = Buffer::from_slice(device, &[0.0_f32, 3.0, 1.0, 3.0, 2.0])?;
    let mut probability = Buffer::uninit(device, 3)?;
    let mut index = Buffer::uninit(device, 3)?;
    let mut lse = Buffer::uninit(device, 1)?;
    let duration = device.time(&mut || {
        softmax_topk(
            Parameters {
                rows: 1,
                vocabulary: 5,
                k: 3,
                temperature: 1.0,
            },
            &logits,
            None,
            Outputs {
                probability: &mut probability,
                index: &mut index,
                lse: &mut lse,
            },
        )
    })?;
    assert_eq!(index.to_vec()?, [1, 3, 4]);
    println!("{}: {duration:?}", device.name());
    Ok(())
}
