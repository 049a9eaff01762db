//! Ternary weights on the PTX machine: quantised, packed, multiplied with, against the oracle.

mod traps;

use half::{bf16, f16};
use kernels_host::ternary_matmul::{
    Packing, Rung, TernaryLinear, TernaryWeights, forward_by, input_gradient_by, weight_gradient,
    weight_gradient_by,
};
use kernels_host::{Buffer, Device, Error, Float, Recorder, Vm};
use proptest::prelude::*;
use reference::View;
use reference::cases::Rng;
use reference::cases::ternary::Ternary;
use reference::numbers::{BoundedTensor, DType, Element, Precision};
use reference::ternary::{self as oracle, GROUP};
use simt::Options;
use std::sync::Arc;

/// A type the kernels and the oracle both know.
trait Number: Float + Element {}
impl<T: Float + Element> Number for T {}

const PACKINGS: [(Packing, oracle::Packing); 2] = [
    (Packing::TwoBit, oracle::Packing::TwoBit),
    (Packing::Base3, oracle::Packing::Base3),
];

/// A machine that runs blocks and warps in a random order of its own.
fn random_schedule(seed: u64) -> Arc<dyn Device> {
    let options = Options {
        seed,
        explore: true,
        ..Options::default()
    };
    Vm::with_options(1 << 28, options)
}

fn upload<T: kernels_host::Element>(device: &Arc<dyn Device>, values: &[T]) -> Buffer<T> {
    Buffer::from_slice(device, values).expect("allocated")
}

fn expect<T: Element>(what: &str, name: &'static str, expected: &BoundedTensor, got: &[T]) {
    let comparison = expected.compare(name, got).expect("the same length");
    assert!(
        comparison.is_right(),
        "{what}: {name}: {} of {} outside, first {:?}",
        comparison.failures,
        comparison.elements,
        comparison.first_failure
    );
}

/// The weights on a device, through the packed bytes of the oracle.
fn on_device(device: &Arc<dyn Device>, packed: &oracle::Packed) -> TernaryWeights {
    let (packing, _) = PACKINGS[usize::from(packed.packing() == oracle::Packing::Base3)];
    TernaryWeights::from_packed(packing, &upload(device, packed.bytes()), packed.shape())
        .expect("the oracle's bytes are right")
}

/// What the oracle reads in the packed bytes of weights on a device.
fn read_back(weights: &TernaryWeights, packing: usize) -> oracle::Packed {
    let (ours, theirs) = PACKINGS[packing];
    let bytes = weights
        .to_packed(ours)
        .expect("packed")
        .to_vec()
        .expect("read");
    oracle::Packed::from_bytes(theirs, [weights.rows(), weights.columns()], &bytes)
        .expect("allowed codes")
}

fn check_products<T: Number>(shape: [usize; 3], rung: Rung, packing: usize, seed: u64) {
    let [m, n, k] = shape;
    let case = Ternary::<T>::with_shape(&mut Rng::new(seed), shape, PACKINGS[packing].1)
        .expect("a case has its shapes");
    let what = format!("{} {m}×{n}×{k} {rung:?} seed {seed}", T::DTYPE.name());
    let expected = case.oracle().expect("a case has its shapes");
    let device = random_schedule(seed);
    let weights = on_device(&device, &case.weights);
    let (x, dy) = (upload(&device, &case.x), upload(&device, &case.dy));

    if rung.takes_forward::<T>() {
        let mut y = Buffer::uninit(&device, m * n).expect("allocated");
        forward_by(rung, &weights, &x, &mut y, m).expect(&what);
        expect(&what, "y", &expected.y, &y.to_vec().expect("read"));
    }
    if rung.takes_input_gradient::<T>(n) {
        let mut dx = Buffer::uninit(&device, m * k).expect("allocated");
        input_gradient_by(rung, &weights, &dy, &mut dx, m).expect(&what);
        expect(&what, "dx", &expected.dx, &dx.to_vec().expect("read"));
    }
    if rung.takes_weight_gradient::<T>(n) {
        let mut dw = Buffer::uninit(&device, n * k).expect("allocated");
        weight_gradient_by(rung, &dy, &x, &mut dw, shape).expect(&what);
        expect(&what, "dW", &expected.dw, &dw.to_vec().expect("read"));
    }
}

fn check_type(dtype: DType, shape: [usize; 3], rung: Rung, packing: usize, seed: u64) {
    match dtype {
        DType::F32 => check_products::<f32>(shape, rung, packing, seed),
        DType::F16 => check_products::<f16>(shape, rung, packing, seed),
        DType::Bf16 => check_products::<bf16>(shape, rung, packing, seed),
    }
}

const ALL: [Rung; 5] = [
    Rung::OneRow,
    Rung::EightRows,
    Rung::Tensor8,
    Rung::Tensor32,
    Rung::Tensor,
];
const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

#[test]
fn every_rung_and_type_agrees_with_the_oracle() {
    let shapes = [
        [1, 1, 128],
        [1, 9, 384],
        [2, 8, 128],
        [7, 16, 256],
        [8, 17, 128],
        [9, 31, 256],
        [17, 65, 128],
        [33, 5, 640],
        [33, 72, 256],
        [70, 136, 128],
    ];
    for (at, shape) in shapes.into_iter().enumerate() {
        for dtype in TYPES {
            for rung in ALL {
                check_type(dtype, shape, rung, at % 2, at as u64);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape_agrees_with_the_oracle(
        dtype in prop::sample::select(&TYPES[..]),
        rung in prop::sample::select(&ALL[..]),
        (m, n, groups) in (1_usize..20, 1_usize..40, 1_usize..5),
        packing in 0_usize..2,
        seed in any::<u64>(),
    ) {
        check_type(dtype, [m, n, groups * GROUP], rung, packing, seed);
    }

    /// Quantising, and both packings there and back.
    #[test]
    fn quantised_weights_are_what_the_oracle_allows(
        (n, groups) in (1_usize..6, 1_usize..4),
        seed in any::<u64>(),
    ) {
        let k = groups * GROUP;
        let mut w: Vec<f32> = reference::cases::mixed(&mut Rng::new(seed), n, k);
        // So that f16 has all of them, and their means.
        w.iter_mut().for_each(|w| *w = w.clamp(-3e4, 3e4));
        w[..5].copy_from_slice(&[0.0, -0.0, 1.0, -1.0, 0.5]);
        check_quantised(&w, [n, k], seed);
        let halves: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        check_quantised(&halves, [n, k], seed);
        let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
        check_quantised(&halves, [n, k], seed);
    }
}

fn check_quantised<T: Number>(w: &[T], shape: [usize; 2], seed: u64) {
    let device = random_schedule(seed);
    let weights = TernaryWeights::quantise(&upload(&device, w), shape).expect("quantised");
    let view = View::new("W", w, shape).expect("its shape");
    let precision = Precision::of(T::DTYPE);
    let packed = read_back(&weights, 0);
    oracle::check_quantised(view, &packed, precision)
        .expect("shapes")
        .unwrap_or_else(|wrong| panic!("{} seed {seed}: {wrong}", T::DTYPE.name()));
    // The same weights in the other packing, and both read in again.
    let base3 = packed
        .repack(oracle::Packing::Base3)
        .expect("the same weights");
    assert_eq!(read_back(&weights, 1), base3);
    assert_eq!(read_back(&on_device(&device, &packed), 0), packed);
    assert_eq!(read_back(&on_device(&device, &base3), 1), base3);

    // Ŵ is ternary: taken exactly it is itself, though quantising it again is not.
    let dense: Vec<f32> = packed.unpack().into_iter().map(|w| w as f32).collect();
    let exact = TernaryWeights::exact(&upload(&device, &dense), shape).expect("ternary");
    let expected = oracle::pack_exact(
        View::new("W", &dense, shape).expect("its shape"),
        oracle::Packing::TwoBit,
    );
    assert_eq!(read_back(&exact, 0), expected.expect("ternary"));

    let tokens: Vec<i32> = (0..shape[0] as i32).rev().chain([0, 0]).collect();
    let mut rows = Buffer::<T>::uninit(&device, tokens.len() * shape[1]).expect("allocated");
    weights
        .embed(&upload(&device, &tokens), &mut rows)
        .expect("rows of the table");
    let expected = oracle::embed(&tokens, &packed, precision).expect("rows of the table");
    expect("embed", "rows", &expected, &rows.to_vec().expect("read"));
}

/// |W/d| of exactly ½ is 0; just above it is not. Zero groups have scale 0.
#[test]
fn halves_round_to_even_and_zero_groups_to_zero() {
    let device = random_schedule(0);
    let mut w = [0.0_f32; 3 * GROUP];
    // Group 0: mean 1 (64 twos), and then one weight of ½, one just above, one just below, with
    // the difference taken from a two.
    w[..64].fill(2.0);
    w[64] = 0.5;
    w[65] = -0.5_f32.next_up();
    w[66] = 0.5_f32.next_down();
    w[0] = 0.5;
    w[1] = 2.0;
    // Group 2: so small that the scale is 0 in f16.
    w[2 * GROUP..].fill(1e-9);
    let weights = TernaryWeights::quantise(&upload(&device, &w), [1, 3 * GROUP]).expect("finite");
    let packed = read_back(&weights, 0);
    assert_eq!(packed.scales(), [f16::ONE, f16::ZERO, f16::ZERO]);
    assert_eq!(&packed.signs()[..2], [0, 1], "0.5 and 2");
    assert_eq!(&packed.signs()[64..68], [0, -1, 0, 0]);
    assert!(packed.signs()[GROUP..].iter().all(|sign| *sign == 0));
}

fn refused<T>(outcome: Result<T, Error>) -> &'static str {
    match outcome {
        Ok(_) => "nothing",
        Err(Error::Length { name, .. } | Error::Parameter { name, .. }) => name,
        Err(error) => panic!("another error: {error}"),
    }
}

#[test]
fn values_that_have_no_image_are_refused() {
    let device = random_schedule(0);
    let shape = [1, GROUP];
    let with = |first: f32| {
        let mut w = [0.25_f32; GROUP];
        w[7] = first;
        upload(&device, &w)
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e8] {
        assert_eq!(
            refused(TernaryWeights::quantise(&with(bad), shape)),
            "W",
            "{bad}"
        );
        assert_eq!(
            refused(TernaryWeights::exact(&with(bad), shape)),
            "W",
            "{bad}"
        );
    }
    assert_eq!(refused(TernaryWeights::exact(&with(0.125), shape)), "W");
    assert_eq!(
        refused(TernaryWeights::exact(&with(-0.25), shape)),
        "nothing"
    );
    assert_eq!(
        refused(TernaryWeights::quantise(&with(0.125), shape)),
        "nothing"
    );

    // Bytes that no packing makes.
    let weights = TernaryWeights::quantise(&with(1.0), shape).expect("finite");
    for (packing, byte, value) in [
        (Packing::TwoBit, 2, 0b11),
        (Packing::TwoBit, 33, 0b1100_0000),
        (Packing::TwoBit, 1, 0x80),
        (Packing::TwoBit, 1, 0x7c),
        (Packing::Base3, 2, 243),
        (Packing::Base3, 26, 255),
        (Packing::Base3, 27, 27),
        (Packing::Base3, 1, 0xff),
    ] {
        let mut bytes = weights
            .to_packed(packing)
            .expect("packed")
            .to_vec()
            .expect("read");
        let again = TernaryWeights::from_packed(packing, &upload(&device, &bytes), shape);
        assert_eq!(refused(again), "nothing");
        bytes[byte] = value;
        let again = TernaryWeights::from_packed(packing, &upload(&device, &bytes), shape);
        assert_eq!(
            refused(again),
            "packed",
            "{packing:?} byte {byte} = {value}"
        );
    }

    let mut out = Buffer::<f32>::uninit(&device, GROUP).expect("allocated");
    for (token, name) in [
        (0, "nothing"),
        (1, "tokens"),
        (-1, "tokens"),
        (i32::MIN, "tokens"),
    ] {
        assert_eq!(
            refused(weights.embed(&upload(&device, &[token]), &mut out)),
            name
        );
    }
}

#[test]
fn shapes_that_do_not_fit_are_not_launched() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let of = |len: usize| Buffer::<f16>::uninit(&device, len).expect("allocated");
    for (len, shape, name) in [
        (256, [2, 128], "nothing"),
        (255, [2, 128], "W"),
        (100, [1, 100], "K"),
        (0, [1, 0], "K"),
        (0, [0, 128], "N"),
        (0, [usize::MAX, 128], "N"),
        (0, [1 << 30, 128 << 20], "N × K"),
    ] {
        let before = recorder.launches().len();
        assert_eq!(
            refused(TernaryWeights::quantise(&of(len), shape)),
            name,
            "{shape:?}"
        );
        let launched = recorder.launches().len() - before;
        assert_eq!(launched, usize::from(name == "nothing"), "{shape:?}");
    }
    let weights = TernaryWeights::quantise(&of(256), [2, 128]).expect("it fits");
    let before = recorder.launches();
    for (x, y, m, name) in [
        (384, 6, 0, "M"),
        (384, 6, 1 << 31, "M"),
        (383, 6, 3, "x"),
        (384, 7, 3, "y"),
    ] {
        for rung in Rung::FORWARD {
            let outcome = forward_by(rung, &weights, &of(x), &mut of(y), m);
            assert_eq!(refused(outcome), name);
        }
    }
    for (dy, dx, m, name) in [(6, 383, 3, "dx"), (5, 384, 3, "dy"), (6, 384, 0, "M")] {
        for rung in [Rung::OneRow, Rung::EightRows] {
            let outcome = input_gradient_by(rung, &weights, &of(dy), &mut of(dx), m);
            assert_eq!(refused(outcome), name);
        }
    }
    let outcome = input_gradient_by(Rung::Tensor8, &weights, &of(6), &mut of(384), 3);
    assert_eq!(refused(outcome), "rung");
    let singles = |len| Buffer::<f32>::uninit(&device, len).expect("allocated");
    let outcome = forward_by(Rung::Tensor8, &weights, &singles(384), &mut singles(6), 3);
    assert_eq!(refused(outcome), "rung");
    let mut dw = Buffer::<f32>::uninit(&device, 256).expect("allocated");
    for (dy, x, shape, name) in [
        (6, 384, [3, 2, 127], "K"),
        (6, 384, [0, 2, 128], "M"),
        (6, 384, [3, 0, 128], "N"),
        (7, 384, [3, 2, 128], "dy"),
        (6, 383, [3, 2, 128], "x"),
        (9, 384, [3, 3, 128], "dW"),
    ] {
        assert_eq!(
            refused(weight_gradient(&of(dy), &of(x), &mut dw, shape)),
            name
        );
    }
    assert_eq!(recorder.launches(), before);
}

/// The same bits whatever the order of blocks and warps.
#[test]
fn the_schedule_changes_no_bit() {
    let shape @ [m, n, k] = [9, 24, 384];
    let case = Ternary::<bf16>::with_shape(&mut Rng::new(1), shape, oracle::Packing::TwoBit)
        .expect("a case has its shapes");
    for rung in ALL {
        let bits = |seed| {
            let device = random_schedule(seed);
            let weights = on_device(&device, &case.weights);
            let (x, dy) = (upload(&device, &case.x), upload(&device, &case.dy));
            let mut y = upload(&device, &vec![bf16::ZERO; m * n]);
            let mut dx = upload(&device, &vec![bf16::ZERO; m * k]);
            let mut dw = upload(&device, &vec![0.0_f32; n * k]);
            if rung.takes_forward::<bf16>() {
                forward_by(rung, &weights, &x, &mut y, m).expect("it runs");
            }
            if rung.takes_input_gradient::<bf16>(n) {
                input_gradient_by(rung, &weights, &dy, &mut dx, m).expect("it runs");
            }
            if rung.takes_weight_gradient::<bf16>(n) {
                weight_gradient_by(rung, &dy, &x, &mut dw, shape).expect("it runs");
            }
            let halves = [y, dx].map(|out| {
                let values = out.to_vec().expect("read");
                values.into_iter().map(bf16::to_bits).collect::<Vec<_>>()
            });
            let dw = dw.to_vec().expect("read").into_iter().map(f32::to_bits);
            (halves, dw.collect::<Vec<_>>())
        };
        let first = bits(0);
        for seed in 1..5 {
            assert!(
                bits(seed) == first,
                "{rung:?}: seed {seed} gives other bits"
            );
        }
    }
}

/// Gradient descent on a layer: the loss falls, and the image follows the weights.
#[test]
fn a_layer_learns_its_teacher() {
    let device: Arc<dyn Device> = Vm::new();
    let (m, n, k) = (32, 4, GROUP);
    let mut rng = Rng::new(11);
    let x: Vec<f32> = reference::cases::normal(&mut rng, m * k, 1.0);
    let x = upload(&device, &x);
    let teacher: Vec<f32> = reference::cases::normal(&mut rng, n * k, 0.1);
    let teacher = TernaryLinear::new(upload(&device, &teacher), [n, k]).expect("quantised");
    let mut target = Buffer::<f32>::uninit(&device, m * n).expect("allocated");
    teacher.forward(&x, &mut target, m).expect("it runs");
    let target = target.to_vec().expect("read");

    let start: Vec<f32> = reference::cases::normal(&mut rng, n * k, 0.1);
    let mut layer = TernaryLinear::new(upload(&device, &start), [n, k]).expect("quantised");
    let mut y = Buffer::<f32>::uninit(&device, m * n).expect("allocated");
    let mut dx = Buffer::<f32>::uninit(&device, m * k).expect("allocated");
    let mut dw = Buffer::<f32>::uninit(&device, n * k).expect("allocated");
    let mut losses = Vec::new();
    for _ in 0..30 {
        layer.forward(&x, &mut y, m).expect("it runs");
        let error: Vec<f32> = y
            .to_vec()
            .expect("read")
            .iter()
            .zip(&target)
            .map(|(y, t)| y - t)
            .collect();
        losses.push(error.iter().map(|e| f64::from(e * e)).sum::<f64>());
        let dy = upload(&device, &error);
        layer
            .backward(&x, &dy, Some(&mut dx), &mut dw, m)
            .expect("it runs");
        let step = dw.to_vec().expect("read");
        layer
            .update(|latent| {
                let moved: Vec<f32> = latent
                    .to_vec()?
                    .iter()
                    .zip(&step)
                    .map(|(w, g)| w - 1e-3 * g)
                    .collect();
                latent.write(&moved)
            })
            .expect("finite weights");
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.5 * first, "from {first} to {last}: {losses:?}");
}
