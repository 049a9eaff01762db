//! The traps that TASKS names for the family, and the fused step of training.

use crate::{
    Number, PACKINGS, check_products, expect, random_schedule, read_back, refused, upload,
};
use half::{bf16, f16};
use kernels_host::ternary_matmul::{
    Packing, Rung, TernaryLinear, TernaryWeights, forward_by, weight_gradient_by,
};
use kernels_host::{Buffer, Device, Error, Recorder};
use proptest::prelude::*;
use reference::View;
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Precision};
use reference::ternary::{self as oracle, GROUP};
use std::sync::Arc;

/// Weights of one group, quantised: scale and signs.
fn quantised(w: &[f32]) -> (f16, Vec<i8>) {
    let device = random_schedule(1);
    let weights = TernaryWeights::quantise(&upload(&device, w), [1, w.len()]).expect("finite");
    let packed = read_back(&weights, 0);
    (packed.scales()[0], packed.signs().to_vec())
}

/// The scale is the mean of |W|, not its maximum, and rounded to f16 before it divides.
#[test]
fn the_scale_is_the_rounded_mean() {
    let mut w = [0.1_f32; GROUP];
    w[0] = 3.0;
    let mean = (127.0 * f64::from(0.1_f32) + 3.0) / 128.0;
    let (scale, signs) = quantised(&w);
    assert_eq!(scale, f16::from_f64(mean));
    // By the maximum, 1.5 would be the threshold, and all of these 0.
    assert!(signs.iter().all(|sign| *sign == 1));

    // A weight between half the mean and half the rounded mean tells the two apart.
    let rounded = f64::from(scale);
    assert_ne!(rounded, mean);
    let between = (0.25 * (rounded + mean)) as f32;
    w[1] = between;
    w[2] = 0.2 - between; // the mean stays
    let (again, signs) = quantised(&w);
    assert_eq!(again, scale);
    assert_eq!(signs[1] == 1, f64::from(between) > 0.5 * rounded);
    assert_ne!(signs[1] == 1, f64::from(between) > 0.5 * mean);
}

/// Groups lie along K: a row of large weights beside one of small ones.
#[test]
fn groups_lie_along_k() {
    let device = random_schedule(2);
    let w: Vec<f32> = (0..2 * GROUP)
        .map(|at| if at < GROUP { 8.0 } else { 0.5 })
        .collect();
    let weights = TernaryWeights::quantise(&upload(&device, &w), [2, GROUP]).expect("finite");
    let packed = read_back(&weights, 0);
    assert_eq!(packed.scales(), [f16::from_f32(8.0), f16::from_f32(0.5)]);
    assert!(packed.signs().iter().all(|sign| *sign == 1));
}

/// Code j stands at bits 2(j mod 4) of byte j/4, and digit j mod 5 of byte j/5 counts 3^(j mod 5):
/// by hand, for one weight at a time.
#[test]
fn codes_stand_in_their_order() {
    let device = random_schedule(3);
    for at in [0, 1, 3, 4, 5, 63, 124, 125, 126, 127] {
        let mut w = [0.0_f32; GROUP];
        w[at] = -1.0;
        let weights = TernaryWeights::exact(&upload(&device, &w), [1, GROUP]).expect("ternary");
        let bytes = |packing| {
            let packed = weights.to_packed(packing).expect("packed");
            packed.to_vec().expect("read")
        };
        let mut two_bit = [0b0101_0101_u8; 34];
        two_bit[..2].copy_from_slice(&f16::ONE.to_le_bytes());
        two_bit[2 + at / 4] -= 1 << (2 * (at % 4));
        assert_eq!(bytes(Packing::TwoBit), two_bit, "weight {at}");
        // Five codes of 1 are 121; of the last byte only three digits have weights: 13.
        let mut base3 = [121_u8; 28];
        base3[..2].copy_from_slice(&f16::ONE.to_le_bytes());
        base3[27] = 13;
        base3[2 + at / 5] -= 3_u8.pow(at as u32 % 5);
        assert_eq!(bytes(Packing::Base3), base3, "weight {at}");
    }
}

/// Straight through: the gradient of a weight far beyond its scale is that of any other, and no
/// scale is differentiated.
#[test]
fn the_gradient_is_not_clipped() {
    let device: Arc<dyn Device> = random_schedule(4);
    let (m, n, k) = (3, 2, GROUP);
    let mut w = vec![0.01_f32; n * k];
    w[5] = 500.0;
    let layer = TernaryLinear::new(upload(&device, &w), [n, k]).expect("finite");
    let x: Vec<f32> = normal(&mut Rng::new(1), m * k, 1.0);
    let dy: Vec<f32> = normal(&mut Rng::new(2), m * n, 1.0);
    let mut dw = Buffer::uninit(&device, n * k).expect("allocated");
    let (x_there, dy_there) = (upload(&device, &x), upload(&device, &dy));
    layer
        .backward(&x_there, &dy_there, None, &mut dw, m)
        .expect("it runs");
    let expected = oracle::weight_gradient(
        View::new("dy", &dy, [m, n]).expect("its shape"),
        View::new("x", &x, [m, k]).expect("its shape"),
        Precision::scalar(DType::F32),
    );
    let dw = dw.to_vec().expect("read");
    expect("STE", "dW", &expected.expect("shapes"), &dw);
    assert!(dw[5] != 0.0);
}

/// Turning the signs of W turns y, bit for bit.
#[test]
fn the_other_sign_of_w_is_the_other_sign_of_y() {
    let device = random_schedule(5);
    let (m, n, k) = (5, 17, 256);
    let w: Vec<f32> = normal(&mut Rng::new(3), n * k, 0.1);
    let turned: Vec<f32> = w.iter().map(|w| -w).collect();
    let x: Vec<bf16> = normal(&mut Rng::new(4), m * k, 1.0);
    let x = upload(&device, &x);
    let product = |w: &[f32], rung| {
        let weights = TernaryWeights::quantise(&upload(&device, w), [n, k]).expect("finite");
        let mut y = Buffer::<bf16>::uninit(&device, m * n).expect("allocated");
        forward_by(rung, &weights, &x, &mut y, m).expect("it runs");
        y.to_vec().expect("read")
    };
    for rung in Rung::FORWARD {
        let (here, there) = (product(&w, rung), product(&turned, rung));
        assert!(here.iter().zip(&there).all(|(a, b)| *a == -*b), "{rung:?}");
    }
}

/// Rows of x from one to the largest batch of the contract.
#[test]
fn from_one_row_to_4096() {
    for (m, rung) in [
        (1, Rung::Tensor8),
        (64, Rung::Tensor32),
        (257, Rung::Tensor32),
        (4096, Rung::Tensor32),
    ] {
        check_products::<bf16>([m, 24, GROUP], rung, 0, m as u64);
    }
    check_products::<f16>([4096, 8, GROUP], Rung::Tensor, 1, 1);
    check_products::<f32>([4096, 8, GROUP], Rung::EightRows, 0, 2);
}

/// Fused or in two launches: the same image, and y the same bits.
fn check_fused<T: Number>([m, n, k]: [usize; 3], seed: u64) {
    let w: Vec<f32> = normal(&mut Rng::new(seed), n * k, 0.1);
    let x: Vec<T> = normal(&mut Rng::new(seed + 1), m * k, 1.0);
    let device = random_schedule(seed);
    let (w_there, x_there) = (upload(&device, &w), upload(&device, &x));
    // An image of something else, which must be replaced.
    let other = upload(&device, &vec![1.0_f32; n * k]);
    let mut fused = TernaryWeights::quantise(&other, [n, k]).expect("finite");
    let mut y = Buffer::<T>::uninit(&device, m * n).expect("allocated");
    fused
        .requantise_forward(&w_there, &x_there, &mut y, m)
        .expect("it runs");

    let apart = TernaryWeights::quantise(&w_there, [n, k]).expect("finite");
    let rung = match T::DTYPE {
        DType::F32 => Rung::EightRows,
        _ => Rung::Tensor32,
    };
    let mut expected = Buffer::<T>::uninit(&device, m * n).expect("allocated");
    forward_by(rung, &apart, &x_there, &mut expected, m).expect("it runs");
    let what = format!("{} {m}×{n}×{k} seed {seed}", T::DTYPE.name());
    let packed = read_back(&fused, 0);
    assert_eq!(packed, read_back(&apart, 0), "{what}");
    let y = y.to_vec().expect("read");
    assert!(y == expected.to_vec().expect("read"), "{what}");
    let right = oracle::forward(
        View::new("x", &x, [m, k]).expect("its shape"),
        &packed,
        Precision::of(T::DTYPE),
    );
    expect(&what, "y", &right.expect("shapes"), &y);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fused_is_what_two_launches_are(
        dtype in 0..3, (m, n, groups) in (1_usize..70, 1_usize..40, 1_usize..11),
        seed in any::<u32>(),
    ) {
        let (shape, seed) = ([m, n, groups * GROUP], u64::from(seed));
        match dtype {
            0 => check_fused::<f32>(shape, seed),
            1 => check_fused::<f16>(shape, seed),
            _ => check_fused::<bf16>(shape, seed),
        }
    }
}

#[test]
fn a_fused_step_refuses_what_has_no_image() {
    let device = random_schedule(6);
    let w = vec![0.5_f32; 2 * GROUP];
    let mut layer = TernaryLinear::new(upload(&device, &w), [2, GROUP]).expect("finite");
    let x = upload(&device, &[bf16::ONE; GROUP]);
    let mut y = Buffer::<bf16>::uninit(&device, 2).expect("allocated");
    let outcome = layer.update_forward(
        |latent| {
            let mut bad = w.clone();
            bad[GROUP + 1] = f32::NAN;
            latent.write(&bad)
        },
        &x,
        &mut y,
        1,
    );
    assert_eq!(refused(outcome), "W");
    let outcome = layer.update_forward(|latent| latent.write(&w), &x, &mut y, 2);
    assert_eq!(refused(outcome), "x");
    layer
        .update_forward(|latent| latent.write(&w), &x, &mut y, 1)
        .expect("finite again");
    assert_eq!(y.to_vec().expect("read"), [bf16::from_f32(64.0); 2]);
}

/// Every kernel of the family gives the same bits on every schedule.
#[test]
fn forms_and_fused_steps_are_the_same_on_every_schedule() {
    let (m, n, k) = (9, 19, 384);
    let w: Vec<f32> = normal(&mut Rng::new(8), n * k, 0.1);
    let x: Vec<bf16> = normal(&mut Rng::new(9), m * k, 1.0);
    let tokens = [3, 0, 18, 3];
    let all = |seed| {
        let device = random_schedule(seed);
        let (w, x) = (upload(&device, &w), upload(&device, &x));
        let mut weights = TernaryWeights::quantise(&w, [n, k]).expect("finite");
        let mut out: Vec<Vec<u8>> = Vec::new();
        for (ours, _) in PACKINGS {
            let packed = weights.to_packed(ours).expect("packed");
            let again = TernaryWeights::from_packed(ours, &packed, [n, k]).expect("ours");
            let again = again.to_packed(Packing::TwoBit).expect("packed");
            out.extend([packed, again].map(|bytes| bytes.to_vec().expect("read")));
        }
        let mut rows = Buffer::<f32>::uninit(&device, tokens.len() * k).expect("allocated");
        weights
            .embed(&upload(&device, &tokens), &mut rows)
            .expect("rows");
        let mut y = Buffer::<bf16>::uninit(&device, m * n).expect("allocated");
        weights
            .requantise_forward(&w, &x, &mut y, m)
            .expect("finite");
        let exact = TernaryWeights::exact(&rows, [tokens.len(), k]).expect("ternary rows");
        let exact = exact.to_packed(Packing::Base3).expect("packed");
        out.push(exact.to_vec().expect("read"));
        let bits = y.to_vec().expect("read");
        out.push(bits.iter().flat_map(|y| y.to_le_bytes()).collect());
        out
    };
    let first = all(0);
    for seed in 1..5 {
        assert!(all(seed) == first, "seed {seed}");
    }
}

/// A buffer of another device is found before anything is launched.
#[test]
fn buffers_of_another_device() {
    let recorder = Recorder::new();
    let here: Arc<dyn Device> = recorder.clone();
    let there: Arc<dyn Device> = Recorder::new();
    let of = |device: &Arc<dyn Device>, len| Buffer::<f16>::uninit(device, len).expect("allocated");
    let singles = |device, len| Buffer::<f32>::uninit(device, len).expect("allocated");
    let w = singles(&here, 8 * GROUP);
    let layer = TernaryLinear::new(w, [8, GROUP]).expect("it fits");
    let before = recorder.launches().len();
    let foreign = |outcome: Result<(), Error>| {
        let error = outcome.expect_err("foreign");
        assert!(matches!(error, Error::ForeignBuffer { .. }), "{error}");
        assert_eq!(recorder.launches().len(), before);
    };
    let weights = layer.weights();
    for rung in [Rung::OneRow, Rung::EightRows, Rung::Tensor8, Rung::Tensor32] {
        let y = &mut of(&here, 8);
        foreign(forward_by(rung, weights, &of(&there, GROUP), y, 1));
        let y = &mut of(&there, 8);
        foreign(forward_by(rung, weights, &of(&here, GROUP), y, 1));
    }
    for rung in [Rung::EightRows, Rung::Tensor] {
        let (dy, x) = (of(&here, 8), of(&there, GROUP));
        let dw = &mut singles(&here, 8 * GROUP);
        foreign(weight_gradient_by(rung, &dy, &x, dw, [1, 8, GROUP]));
    }
    // Of two launches the second would have found it.
    let (x, dy) = (of(&here, GROUP), of(&here, 8));
    let (mut dx, mut dw) = (of(&here, GROUP), singles(&there, 8 * GROUP));
    foreign(layer.backward(&x, &dy, Some(&mut dx), &mut dw, 1));
    foreign(weights.embed(
        &Buffer::from_slice(&there, &[0_i32]).expect("allocated"),
        &mut of(&here, GROUP),
    ));
    let mut weights = TernaryWeights::quantise(layer.latent(), [8, GROUP]).expect("it fits");
    let before = recorder.launches().len();
    for which in 0..3 {
        let at = |here_or| if here_or == which { &there } else { &here };
        let (w, x) = (singles(at(0), 8 * GROUP), of(at(1), GROUP));
        let outcome = weights.requantise_forward(&w, &x, &mut of(at(2), 8), 1);
        let error = outcome.expect_err("foreign");
        assert!(matches!(error, Error::ForeignBuffer { .. }), "{error}");
        assert_eq!(recorder.launches().len(), before);
    }
}

/// A fused step of shapes that do not fit is not launched.
#[test]
fn fused_shapes_that_do_not_fit() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let singles = |len| Buffer::<f32>::uninit(&device, len).expect("allocated");
    let mut weights = TernaryWeights::quantise(&singles(256), [2, 128]).expect("it fits");
    let before = recorder.launches();
    for (w, x, y, m, name) in [
        (256, 384, 6, 0, "M"),
        (256, 384, 6, 1 << 31, "M"),
        (255, 384, 6, 3, "W"),
        (256, 385, 6, 3, "x"),
        (256, 384, 5, 3, "y"),
    ] {
        let outcome = weights.requantise_forward(&singles(w), &singles(x), &mut singles(y), m);
        assert_eq!(refused(outcome), name);
    }
    assert_eq!(recorder.launches(), before);
}
