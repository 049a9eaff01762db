//! What is refused before a device hears of it, and what is not. On the recorder: what was refused
//! must not be among its calls.

use kernels_host::softmax_topk::{
    Options, Outputs, Parameters, Rung, softmax_topk, softmax_topk_with,
};
use kernels_host::{Arg, Buffer, Call, Device, Error, LaunchConfig, Module, Recorder, launch};
use proptest::prelude::*;
use std::sync::Arc;

const PTX: &str = "
.version 7.4
.target sm_80
.address_size 64
.shared .align 16 .b8 tile[1024];
.visible .entry k(.param .u64 p, .param .u32 n, .param .f32 x, .param .b32 bits)
.maxntid 128
{ .reg .b32 %r<2>; mov.u32 %r1, tile; ret; }
.visible .entry fixed(.param .align 8 .b8 s[16])
.reqntid 32, 2, 1
{ ret; }
";

struct Bench {
    recorder: Arc<Recorder>,
    device: Arc<dyn Device>,
    module: Arc<Module>,
}

impl Bench {
    fn new() -> Bench {
        let recorder = Recorder::new();
        let module = Module::parse(PTX).expect("it is PTX");
        Bench {
            device: recorder.clone(),
            recorder,
            module,
        }
    }

    /// Launches `k`; whatever is refused must have left no trace.
    fn try_launch(&self, config: LaunchConfig, args: &[Arg]) -> Result<(), Error> {
        let before = self.recorder.launches().len();
        let outcome = launch(&*self.device, &self.module.kernel("k")?, config, args);
        let launched = self.recorder.launches().len() - before;
        assert_eq!(launched, usize::from(outcome.is_ok()));
        outcome
    }
}

fn good_args(buffer: &Buffer<f32>) -> [Arg; 4] {
    [buffer.into(), 5_u32.into(), 1.0_f32.into(), 2.0_f32.into()]
}

#[test]
fn a_good_launch_reaches_the_device_as_it_was_asked() {
    let bench = Bench::new();
    let buffer = Buffer::from_slice(&bench.device, &[1.0_f32; 8]).expect("allocated");
    let config = LaunchConfig {
        grid: [7, 2, 1],
        block: [64, 2, 1],
        shared: 512,
    };
    let args = good_args(&buffer);
    bench.try_launch(config, &args).expect("it fits");
    let calls = bench.recorder.calls();
    let launched = Call::Launch {
        entry: "k".into(),
        config,
        args: args.to_vec(),
    };
    assert_eq!(calls, [Call::Allocate(32), Call::Write(32), launched]);
}

#[test]
fn arguments_are_held_against_the_signature() {
    let bench = Bench::new();
    let buffer = Buffer::from_slice(&bench.device, &[1.0_f32; 8]).expect("allocated");
    let good = good_args(&buffer);
    let config = LaunchConfig::linear(1, 32);

    let error = bench
        .try_launch(config, &good[..3])
        .expect_err("one is missing");
    assert!(
        matches!(
            error,
            Error::ArgumentCount {
                expected: 4,
                got: 3,
                ..
            }
        ),
        "{error}"
    );

    for (index, wrong) in [
        (0, Arg::U32(1)),
        (1, Arg::F32(1.0)),
        (2, Arg::U32(1)),
        (3, Arg::U64(1)),
    ] {
        let mut args = good;
        args[index] = wrong;
        let error = bench.try_launch(config, &args).expect_err("the wrong type");
        assert!(
            matches!(&error, Error::ArgumentType { index: at, .. } if *at == index),
            "{error}"
        );
    }
    // Signs and untyped bits are no difference; a null pointer is a pointer.
    for (index, right) in [
        (0, Arg::Null),
        (1, Arg::I32(-1)),
        (3, Arg::U32(1)),
        (3, Arg::I32(1)),
    ] {
        let mut args = good;
        args[index] = right;
        bench.try_launch(config, &args).expect("it fits");
    }

    let elsewhere: Arc<dyn Device> = Recorder::new();
    let foreign = Buffer::from_slice(&elsewhere, &[1.0_f32; 8]).expect("allocated");
    let error = bench
        .try_launch(config, &good_args(&foreign))
        .expect_err("another device's");
    assert!(
        matches!(error, Error::ForeignBuffer { index: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_parameter_that_is_an_array_takes_no_scalar() {
    let bench = Bench::new();
    let kernel = bench.module.kernel("fixed").expect("it is there");
    let config = LaunchConfig {
        grid: [1; 3],
        block: [32, 2, 1],
        shared: 0,
    };
    let error = launch(&*bench.device, &kernel, config, &[Arg::U64(1)]).expect_err("an array");
    assert_eq!(
        error.to_string(),
        "argument 0 (`s`) of `fixed` is .b8[16], a u64 was given"
    );
}

#[test]
fn blocks_and_grids_are_held_against_the_device_and_the_kernel() {
    let bench = Bench::new();
    let buffer = Buffer::from_slice(&bench.device, &[1.0_f32; 8]).expect("allocated");
    let args = good_args(&buffer);
    let config = |grid, block, shared| LaunchConfig {
        grid,
        block,
        shared,
    };
    for (wrong, why) in [
        (config([0, 1, 1], [32, 1, 1], 0), "the grid is 0 along x"),
        (
            config([1, 65_536, 1], [32, 1, 1], 0),
            "the grid is 65536 along y",
        ),
        (
            config([1 << 31, 1, 1], [32, 1, 1], 0),
            "the grid is 2147483648 along x",
        ),
        (config([1, 1, 1], [32, 0, 1], 0), "the block is 0 along y"),
        (config([1, 1, 1], [1, 1, 65], 0), "the block is 65 along z"),
        (
            config([1, 1, 1], [1024, 2, 1], 0),
            "the block has 2048 threads; the device takes 1024",
        ),
        (
            config([1, 1, 1], [129, 1, 1], 0),
            "the block has 129 threads; the kernel takes 128",
        ),
        (
            config([1, 1, 1], [32, 1, 1], 163 * 1024 - 1023),
            "1024 fixed",
        ),
        (config([1, 1, 1], [32, 1, 1], u32::MAX), "1024 fixed"),
    ] {
        let error = bench.try_launch(wrong, &args).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    for right in [
        config([i32::MAX as u32, 65_535, 65_535], [128, 1, 1], 0),
        config([1, 1, 1], [2, 1, 64], 163 * 1024 - 1024),
    ] {
        bench.try_launch(right, &args).expect("it fits");
    }
    let kernel = bench.module.kernel("fixed").expect("it is there");
    let error =
        launch(&*bench.device, &kernel, LaunchConfig::linear(1, 64), &[]).expect_err("64×1×1");
    assert!(
        error.to_string().contains("the kernel wants [32, 2, 1]"),
        "{error}"
    );
}

#[test]
fn entries_and_families_that_are_not_there_are_named() {
    let bench = Bench::new();
    let error = bench.module.kernel("l").expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "the module has no entry `l`; it has k, fixed"
    );
    let error = Module::embedded("no-such", &*bench.device).expect_err("there is none");
    assert!(matches!(error, Error::NoTarget { .. }), "{error}");
    let error = Module::parse("this is no PTX").expect_err("it is not");
    assert!(matches!(error, Error::Ptx(_)), "{error}");
}

#[test]
fn all_that_is_embedded_parses_and_has_the_entries_of_its_table() {
    let bench = Bench::new();
    for family in kernels_gpu::FAMILIES {
        let module = Module::embedded(family.name, &*bench.device).expect("it is there");
        for entry in family.entries {
            module.kernel(entry.name).expect("it is there");
        }
    }
    assert_eq!(
        Module::all_embedded().count(),
        2 * kernels_gpu::FAMILIES.len()
    );
}

#[test]
fn memory_is_given_back() {
    let bench = Bench::new();
    let buffer = Buffer::<u16>::uninit(&bench.device, 100).expect("allocated");
    assert_eq!(bench.recorder.allocated(), 200);
    let empty = Buffer::<u16>::from_slice(&bench.device, &[]).expect("nothing to allocate");
    assert!(empty.to_vec().expect("nothing to read").is_empty());
    drop(empty);
    drop(buffer);
    assert_eq!(bench.recorder.allocated(), 0);
    let error = Buffer::<f64>::uninit(&bench.device, usize::MAX).expect_err("too much");
    assert!(matches!(error, Error::Memory { .. }), "{error}");
    let error = Buffer::<u8>::uninit(&bench.device, usize::MAX / 2).expect_err("too much");
    assert!(matches!(error, Error::Memory { .. }), "{error}");
}

#[test]
fn options_of_softmax_topk_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let device = &bench.device;
    let (rows, vocabulary) = (2, 3000);
    let logits = Buffer::<half::f16>::uninit(device, rows * vocabulary).expect("allocated");
    let run = |k: usize, ks: Option<&[usize]>, rung: Rung, logits: &Buffer<half::f16>| {
        let mut probability = Buffer::<f32>::uninit(device, rows * k).expect("allocated");
        let mut index = Buffer::<i32>::uninit(device, rows * k).expect("allocated");
        let mut lse = Buffer::<f32>::uninit(device, rows).expect("allocated");
        let before = bench.recorder.launches().len();
        let outcome = softmax_topk_with(
            Parameters {
                rows,
                vocabulary,
                k,
                temperature: 1.0,
            },
            Options {
                ks,
                rung: Some(rung),
            },
            logits,
            None,
            Outputs {
                probability: &mut probability,
                index: &mut index,
                lse: &mut lse,
            },
        );
        let launched = bench.recorder.launches().split_off(before);
        (outcome.err().map(|error| error.to_string()), launched)
    };
    for (k, ks, rung, why) in [
        (33, None, Rung::Warp, "the kernel's limit is 32"),
        (1025, None, Rung::Block, "the kernel's limit is 1024"),
        (9, Some(&[9, 10][..]), Rung::Block, "`ks` is 10 for row 1"),
        (9, Some(&[0, 9]), Rung::Block, "`ks` is 0 for row 0"),
        (9, Some(&[9]), Rung::Block, "`ks` holds 1 elements; 2"),
        (9, None, Rung::Split(0), "`parts` is 0"),
        (9, None, Rung::Split(257), "`parts` is 257"),
    ] {
        let (refused, launched) = run(k, ks, rung, &logits);
        let refused = refused.expect(why);
        assert!(refused.contains(why), "{refused}");
        assert!(launched.is_empty(), "{why}");
    }
    let (refused, launched) = run(9, Some(&[1, 9]), Rung::Split(4), &logits);
    assert_eq!(refused, None);
    assert_eq!(launched, ["softmax_topk_block_f16", "softmax_topk_merge"]);

    let elsewhere: Arc<dyn Device> = Recorder::new();
    let foreign = Buffer::uninit(&elsewhere, rows * vocabulary).expect("allocated");
    let (refused, launched) = run(9, None, Rung::Block, &foreign);
    assert!(
        refused
            .expect("another device's")
            .contains("another device")
    );
    assert!(launched.is_empty());
}

proptest! {
    #[test]
    fn what_is_written_is_read(values in proptest::collection::vec(any::<i32>(), 0..100)) {
        let bench = Bench::new();
        let mut buffer = Buffer::from_slice(&bench.device, &values).expect("allocated");
        prop_assert_eq!(&buffer.to_vec().expect("read"), &values);
        let other: Vec<i32> = values.iter().map(|v| v.wrapping_add(1)).collect();
        buffer.write(&other).expect("written");
        prop_assert_eq!(buffer.to_vec().expect("read"), other);
        let longer = vec![0; values.len() + 1];
        prop_assert!(buffer.write(&longer).is_err());
    }

    /// Of all shapes and lengths, just the ones that fit are launched.
    #[test]
    fn softmax_topk_is_launched_for_shapes_that_fit_only(
        rows in 0_usize..5, vocabulary in 0_usize..40, k in 0_usize..40, spare in 0_usize..2,
        masked in any::<bool>(), temperature in prop_oneof![
            Just(1.0_f32), Just(0.5), Just(0.0), Just(-1.0), Just(f32::NAN), Just(f32::INFINITY)
        ],
    ) {
        let bench = Bench::new();
        let device = &bench.device;
        let logits = Buffer::<f32>::uninit(device, rows * vocabulary).expect("allocated");
        let mask = Buffer::<u8>::uninit(device, rows * vocabulary + spare).expect("allocated");
        let mut probability = Buffer::<f32>::uninit(device, rows * k).expect("allocated");
        let mut index = Buffer::<i32>::uninit(device, rows * k).expect("allocated");
        let mut lse = Buffer::<f32>::uninit(device, rows).expect("allocated");
        let outcome = softmax_topk(
            Parameters { rows, vocabulary, k, temperature },
            &logits,
            masked.then_some(&mask),
            Outputs { probability: &mut probability, index: &mut index, lse: &mut lse },
        );
        let fits = rows > 0 && (1..=vocabulary).contains(&k)
            && temperature > 0.0 && temperature.is_finite() && !(masked && spare > 0);
        prop_assert_eq!(outcome.is_ok(), fits, "{:?}", outcome);
        prop_assert_eq!(bench.recorder.launches().len(), usize::from(fits));
    }
}

/// Sizes that no 32 bits count are refused by name, whatever the buffers hold.
#[test]
fn sizes_of_softmax_topk_beyond_32_bits() {
    let bench = Bench::new();
    let device = &bench.device;
    let logits = Buffer::<f32>::uninit(device, 4).expect("allocated");
    for (rows, vocabulary, must_name) in [
        (1 << 31, 4, "rows"),
        (usize::MAX, 4, "rows"),
        (1, 1 << 31, "vocabulary"),
        (1, usize::MAX, "vocabulary"),
        (4, 2, "logits"),
    ] {
        let outcome = softmax_topk(
            Parameters {
                rows,
                vocabulary,
                k: 1,
                temperature: 1.0,
            },
            &logits,
            None,
            Outputs {
                probability: &mut Buffer::uninit(device, 4).expect("allocated"),
                index: &mut Buffer::uninit(device, 4).expect("allocated"),
                lse: &mut Buffer::uninit(device, 4).expect("allocated"),
            },
        );
        match outcome {
            Err(Error::Parameter { name, .. } | Error::Length { name, .. }) => {
                assert_eq!(name, must_name);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(bench.recorder.launches().is_empty());
}

/// Whichever buffer is of another device, nothing is launched, by any rung.
#[test]
fn buffers_of_another_device() {
    for rung in [Rung::Warp, Rung::Block, Rung::Split(3)] {
        for foreign in 0..5 {
            let recorder = Recorder::new();
            let here: Arc<dyn Device> = recorder.clone();
            let there: Arc<dyn Device> = Recorder::new();
            let at = |which| if which == foreign { &there } else { &here };
            let logits = Buffer::<f32>::uninit(at(0), 200).expect("allocated");
            let mask = Buffer::<u8>::uninit(at(1), 200).expect("allocated");
            let outcome = softmax_topk_with(
                Parameters {
                    rows: 2,
                    vocabulary: 100,
                    k: 3,
                    temperature: 1.0,
                },
                Options {
                    rung: Some(rung),
                    ..Options::default()
                },
                &logits,
                Some(&mask),
                Outputs {
                    probability: &mut Buffer::uninit(at(2), 6).expect("allocated"),
                    index: &mut Buffer::uninit(at(3), 6).expect("allocated"),
                    lse: &mut Buffer::uninit(at(4), 2).expect("allocated"),
                },
            );
            assert!(
                matches!(outcome, Err(Error::ForeignBuffer { .. })),
                "{rung:?}: buffer {foreign}: {outcome:?}"
            );
            assert!(recorder.launches().is_empty());
        }
    }
}
