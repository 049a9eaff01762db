//! What is refused: nothing is launched then.

use half::f16;
use kernels_host::attention::{Layout, Options, Sequences, Shape};
use kernels_host::flash_attention_forward::{Outputs, Rung, flash_attention_forward_by};
use kernels_host::{Buffer, Call, Device, Error, Recorder, Result};
use std::sync::Arc;

struct Bench {
    recorder: Arc<Recorder>,
    device: Arc<dyn Device>,
}

impl Bench {
    fn new() -> Bench {
        let recorder = Recorder::new();
        Bench {
            device: recorder.clone(),
            recorder,
        }
    }

    /// Runs with buffers of so many elements.
    fn run(
        &self,
        shape: &Shape<'_>,
        options: &Options,
        sizes: [usize; 5],
        rung: Rung,
    ) -> Result<()> {
        let [q, k, v, mut o] =
            [0, 1, 2, 3].map(|i| Buffer::<f16>::uninit(&self.device, sizes[i]).expect("memory"));
        let mut lse = Buffer::uninit(&self.device, sizes[4])?;
        let before = self.recorder.launches().len();
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        let outcome = flash_attention_forward_by(rung, shape, options, &q, &k, &v, outputs);
        let launched = self.recorder.launches().len() - before;
        assert_eq!(launched, usize::from(outcome.is_ok()));
        outcome
    }
}

const SHAPE: Shape<'static> = Shape {
    layout: Layout::Dense {
        batch: 2,
        queries: 3,
        keys: 5,
    },
    query_heads: 4,
    kv_heads: 2,
    head_size: 64,
};
const SIZES: [usize; 5] = [
    2 * 4 * 3 * 64,
    2 * 2 * 5 * 64,
    2 * 2 * 5 * 64,
    2 * 4 * 3 * 64,
    24,
];

/// The name of the parameter or buffer that the error is about.
fn about(error: Error) -> &'static str {
    match error {
        Error::Parameter { name, .. } | Error::Length { name, .. } => name,
        other => panic!("{other}"),
    }
}

#[test]
fn what_fits_is_launched_once_a_tile_of_packed_rows_head_and_sequence() {
    let bench = Bench::new();
    bench
        .run(&SHAPE, &Options::new(0.1), SIZES, Rung::TensorCore)
        .expect("it fits");
    let launched = bench
        .recorder
        .calls()
        .into_iter()
        .find_map(|call| match call {
            Call::Launch { entry, config, .. } => Some((entry, config)),
            _ => None,
        });
    let (entry, config) = launched.expect("a launch");
    assert_eq!(entry, "flash_forward_f16_64");
    assert_eq!((config.grid, config.block), ([1, 2, 2], [256, 1, 1]));
}

#[test]
fn what_does_not_fit_is_named() {
    let bench = Bench::new();
    let options = Options::new(0.1);
    for (i, name) in ["q", "k", "v", "o", "lse"].into_iter().enumerate() {
        let mut sizes = SIZES;
        sizes[i] -= 1;
        let error = bench.run(&SHAPE, &options, sizes, Rung::TensorCore);
        assert_eq!(about(error.expect_err("too small")), name);
    }
    let shapes = [
        (
            Shape {
                head_size: 80,
                ..SHAPE
            },
            "head_size",
        ),
        (
            Shape {
                query_heads: 3,
                ..SHAPE
            },
            "query_heads",
        ),
        (
            Shape {
                query_heads: 0,
                ..SHAPE
            },
            "query_heads",
        ),
        (
            Shape {
                kv_heads: 0,
                ..SHAPE
            },
            "kv_heads",
        ),
    ];
    for (shape, name) in shapes {
        let error = bench.run(&shape, &options, SIZES, Rung::TensorCore);
        assert_eq!(about(error.expect_err("not a shape")), name);
    }
    let dense = |batch, queries, keys| Shape {
        layout: Layout::Dense {
            batch,
            queries,
            keys,
        },
        ..SHAPE
    };
    for (shape, name) in [
        (dense(0, 3, 5), "batch"),
        (dense(70_000, 3, 5), "batch"),
        (dense(2, 0, 5), "queries"),
        (dense(2, 1 << 30, 5), "queries"),
        (dense(2, 3, 1 << 30), "keys"),
    ] {
        let error = bench.run(&shape, &options, SIZES, Rung::TensorCore);
        assert_eq!(about(error.expect_err("not a size")), name);
    }
    for (scale, softcap, name) in [
        (f32::NAN, None, "scale"),
        (f32::INFINITY, None, "scale"),
        (1.0, Some(0.0), "softcap"),
        (1.0, Some(-1.0), "softcap"),
        (1.0, Some(f32::NAN), "softcap"),
        (1e30, Some(1e-30), "softcap"),
    ] {
        let options = Options {
            softcap,
            ..Options::new(scale)
        };
        let error = bench.run(&SHAPE, &options, SIZES, Rung::TensorCore);
        assert_eq!(about(error.expect_err("not a number for it")), name);
    }
    let error = bench.run(&SHAPE, &options, SIZES, Rung::Plain);
    assert_eq!(about(error.expect_err("rung 1 takes f32")), "rung");
}

#[test]
fn sequences_begin_at_0_and_never_fall() {
    let device: Arc<dyn Device> = Recorder::new();
    for bounds in [&[][..], &[0], &[1, 2], &[0, 5, 4], &[0, -1]] {
        let error = Sequences::new(&device, bounds).expect_err("not bounds");
        assert_eq!(about(error), "bounds");
    }
    let sequences = Sequences::new(&device, &[0, 0, 4, 5]).expect("bounds");
    assert_eq!(
        (sequences.count(), sequences.total(), sequences.longest()),
        (3, 5, 4)
    );
}

#[test]
fn packed_queries_and_keys_are_of_the_same_sequences() {
    let bench = Bench::new();
    let queries = Sequences::new(&bench.device, &[0, 2, 3]).expect("bounds");
    let keys = Sequences::new(&bench.device, &[0, 4]).expect("bounds");
    let layout = Layout::Packed {
        queries: &queries,
        keys: &keys,
    };
    let shape = Shape { layout, ..SHAPE };
    let sizes = [3 * 4 * 64, 4 * 2 * 64, 4 * 2 * 64, 3 * 4 * 64, 12];
    let error = bench.run(&shape, &Options::new(1.0), sizes, Rung::TensorCore);
    assert_eq!(about(error.expect_err("two and one")), "keys");
}

#[test]
fn buffers_of_another_device_are_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    let buffer = |device, i: usize| Buffer::<f16>::uninit(device, SIZES[i]).expect("memory");
    let (q, k, v) = (
        buffer(&bench.device, 0),
        buffer(&other.device, 1),
        buffer(&bench.device, 2),
    );
    let mut o = buffer(&bench.device, 3);
    let mut lse = Buffer::uninit(&bench.device, SIZES[4]).expect("memory");
    let outputs = Outputs {
        o: &mut o,
        lse: &mut lse,
    };
    let options = Options::new(1.0);
    let outcome =
        flash_attention_forward_by(Rung::TensorCore, &SHAPE, &options, &q, &k, &v, outputs);
    assert!(matches!(
        outcome,
        Err(Error::ForeignBuffer { index: 1, .. })
    ));
    assert!(bench.recorder.launches().is_empty() && other.recorder.launches().is_empty());
}
