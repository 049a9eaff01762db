//! Packings against the formulas of their layout, products against dense ones, quantisation
//! against its definition, and the refusals.

use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::cases::{Rng, mixed, normal, strategy};
use crate::numbers::{DType, Element, Precision};
use crate::tensor::View;

fn precision<T: Element>() -> Precision {
    Precision::of(T::DTYPE)
}

/// Random signs with scales of mixed magnitude, some groups zero.
fn random_packed(rng: &mut Rng, n: usize, k: usize, packing: Packing) -> Packed {
    let scales: Vec<f16> = (0..n * k / GROUP)
        .map(|_| {
            let magnitude = rng.choose(&[0.0, 1e-3, 0.02, 1.0, 30.0]);
            <f16 as Element>::from_f64(magnitude * rng.uniform(0.5, 1.0))
        })
        .collect();
    let signs: Vec<i8> = (0..n * k).map(|_| rng.below(3) as i8 - 1).collect();
    Packed::new(
        packing,
        View::new("scales", &scales, [n, k / GROUP]).unwrap(),
        View::new("signs", &signs, [n, k]).unwrap(),
    )
    .unwrap()
}

/// The weight at `[row, j]` by the layout's own formula.
fn by_layout(bytes: &[u8], packing: Packing, k: usize, row: usize, j: usize) -> f64 {
    let block = (row * k + j) / GROUP * packing.block_bytes();
    let (j, qs) = (j % GROUP, &bytes[block + 2..]);
    let code = match packing {
        Packing::TwoBit => (qs[j / 4] >> (2 * (j % 4))) & 3,
        Packing::Base3 => (u32::from(qs[j / 5]) / 3u32.pow((j % 5) as u32) % 3) as u8,
    };
    let scale = f16::from_le_bytes([bytes[block], bytes[block + 1]]);
    (f64::from(code) - 1.0) * f64::from(scale)
}

#[test]
fn blocks_have_their_documented_sizes() {
    assert_eq!(Packing::TwoBit.block_bytes(), 34);
    assert_eq!(Packing::Base3.block_bytes(), 28);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bytes_follow_the_layout_and_round_trip(
        mut rng in strategy::rng(),
        n in 1usize..5,
        groups in 1usize..4,
    ) {
        let k = groups * GROUP;
        for packing in Packing::ALL {
            let packed = random_packed(&mut rng, n, k, packing);
            prop_assert_eq!(packed.bytes().len(), n * groups * packing.block_bytes());
            let weights = packed.unpack();
            for (i, &weight) in weights.iter().enumerate() {
                let expected = by_layout(packed.bytes(), packing, k, i / k, i % k);
                prop_assert_eq!(weight, expected);
            }
            let again = Packed::from_bytes(packing, [n, k], packed.bytes()).unwrap();
            prop_assert_eq!(&again, &packed);
            for other in Packing::ALL {
                let there = packed.repack(other).unwrap();
                prop_assert_eq!(there.unpack(), packed.unpack());
                prop_assert_eq!(&there.repack(packing).unwrap(), &packed);
            }
        }
    }

    /// pack∘unpack is the identity on what pack makes: every group shows its scale or is zero.
    #[test]
    fn pack_exact_inverts_unpack(mut rng in strategy::rng(), n in 1usize..5) {
        for packing in Packing::ALL {
            let packed = random_packed(&mut rng, n, GROUP, packing);
            let dense: Vec<f32> = packed.unpack().iter().map(|&w| w as f32).collect();
            let again = pack_exact(View::new("W", &dense, [n, GROUP]).unwrap(), packing).unwrap();
            prop_assert_eq!(again.unpack(), packed.unpack());
            let twice = again.unpack().iter().map(|&w| w as f32).collect::<Vec<_>>();
            let twice = pack_exact(View::new("W", &twice, [n, GROUP]).unwrap(), packing).unwrap();
            prop_assert_eq!(twice.bytes(), again.bytes());
        }
    }

    #[test]
    fn quantising_follows_its_definition(mut rng in strategy::rng(), n in 1usize..4) {
        // f16 weights, whose means fit f16 whatever their scale.
        let w: Vec<f16> = mixed(&mut rng, n, 2 * GROUP);
        let view = View::new("W", &w, [n, 2 * GROUP]).unwrap();
        let packed = quantise_absmean(view, Packing::TwoBit).unwrap();
        for (g, group) in w.chunks(GROUP).enumerate() {
            // Largest first: another order of the same sum.
            let mut sizes: Vec<f64> = group.iter().map(|w| w.to_f64().abs()).collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            let scale = <f16 as Element>::from_f64(sizes.iter().sum::<f64>() / 128.0);
            prop_assert_eq!(packed.scales()[g], scale);
            for (&w, &t) in group.iter().zip(&packed.signs()[g * GROUP..]) {
                let q = f64::from(w) / f64::from(scale);
                // Without rounding functions: above ½, below −½, else 0; ½ itself is even 0.
                let expected = if scale.to_f64() == 0.0 { 0 } else { (q > 0.5) as i8 - (q < -0.5) as i8 };
                prop_assert_eq!(t, expected);
            }
        }
        prop_assert_eq!(check_quantised(view, &packed, precision::<f32>()).unwrap(), Ok(()));
        // Flipping W flips t and leaves d.
        let flipped: Vec<f16> = w.iter().map(|w| -w).collect();
        let view = View::new("W", &flipped, [n, 2 * GROUP]).unwrap();
        let other = quantise_absmean(view, Packing::TwoBit).unwrap();
        prop_assert_eq!(other.scales(), packed.scales());
        prop_assert!(other.signs().iter().zip(packed.signs()).all(|(a, b)| *a == -b));
    }

    /// Products and gradients equal dense ones with unpacked weights; the loss `Σ dy·y` has dx and
    /// dW as its derivatives, and being bilinear is differentiated exactly by whole steps.
    #[test]
    fn products_equal_dense_ones(mut rng in strategy::rng(), m in 1usize..6, n in 1usize..6) {
        let k = 2 * GROUP;
        let packed = random_packed(&mut rng, n, k, Packing::Base3);
        let w = packed.unpack();
        let (x, dy) = (normal::<f16>(&mut rng, m * k, 1.0), normal::<f16>(&mut rng, m * n, 1.0));
        let (xv, dyv) = (View::new("x", &x, [m, k]).unwrap(), View::new("dy", &dy, [m, n]).unwrap());
        let y = forward(xv, &packed, precision::<f16>()).unwrap();
        let dx = input_gradient(dyv, &packed, precision::<f16>()).unwrap();
        let dw = weight_gradient(dyv, xv, precision::<f16>()).unwrap();
        let dense = |x: &[f64], w: &[f64]| -> Vec<f64> {
            (0..m * n)
                .map(|i| (0..k).map(|j| x[i / n * k + j] * w[i % n * k + j]).sum())
                .collect()
        };
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            dense(x, w).iter().zip(&dy).map(|(y, dy)| y * dy.to_f64()).sum()
        };
        let scale = 1e-12 * (1.0 + w.iter().map(|w| w.abs()).sum::<f64>()) * k as f64;
        for (got, expected) in y.values().zip(dense(&x, &w)) {
            prop_assert!((got - expected).abs() <= scale);
        }
        for i in (0..m * k).step_by(37) {
            let mut moved = x.clone();
            moved[i] += 1.0;
            let derivative = loss(&moved, &w) - loss(&x, &w);
            prop_assert!((dx.items()[i].value - derivative).abs() <= scale);
        }
        for i in (0..n * k).step_by(41) {
            let mut moved = w.clone();
            moved[i] += 1.0;
            let derivative = loss(&x, &moved) - loss(&x, &w);
            prop_assert!((dw.items()[i].value - derivative).abs() <= scale);
        }
    }

    #[test]
    fn flipping_signs_flips_y(mut rng in strategy::rng(), m in 1usize..4) {
        let packed = random_packed(&mut rng, 3, GROUP, Packing::TwoBit);
        let signs: Vec<i8> = packed.signs().iter().map(|t| -t).collect();
        let flipped = Packed::new(
            Packing::TwoBit,
            View::new("scales", packed.scales(), [3, 1]).unwrap(),
            View::new("signs", &signs, [3, GROUP]).unwrap(),
        ).unwrap();
        let x = normal::<bf16>(&mut rng, m * GROUP, 1.0);
        let x = View::new("x", &x, [m, GROUP]).unwrap();
        let (a, b) = (forward(x, &packed, precision::<bf16>()), forward(x, &flipped, precision::<bf16>()));
        for (a, b) in a.unwrap().values().zip(b.unwrap().values()) {
            prop_assert_eq!(a, -b);
        }
    }
}

/// A group whose mean is exactly `scale`, with its first weights as given.
fn group_with_mean(first: &[f32], scale: f32) -> Vec<f32> {
    let mut w = first.to_vec();
    w.resize(GROUP, 0.0);
    let rest = scale * GROUP as f32 - first.iter().map(|w| w.abs()).sum::<f32>();
    w[GROUP - 1] = rest;
    w
}

#[test]
fn exact_halves_round_to_even_and_zero_groups_to_zero() {
    let mut w = group_with_mean(&[0.25, -0.25, 0.250_000_03, 0.75, -0.75], 0.5);
    w.extend([0.0; GROUP]);
    // So small that the mean rounds to zero in f16: the scale counts, not the mean.
    w.extend([1e-9; GROUP]);
    let view = View::new("W", &w, [1, 3 * GROUP]).unwrap();
    let packed = quantise_absmean(view, Packing::TwoBit).unwrap();
    assert_eq!(
        packed
            .scales()
            .iter()
            .map(|d| d.to_f64())
            .collect::<Vec<_>>(),
        [0.5, 0.0, 0.0]
    );
    assert_eq!(packed.signs()[..5], [0, 0, 1, 1, -1]);
    assert!(packed.signs()[GROUP..].iter().all(|&t| t == 0));
    assert_eq!(
        check_quantised(view, &packed, precision::<f32>()).unwrap(),
        Ok(())
    );
}

#[test]
fn a_wrong_quantisation_is_explained_and_a_near_miss_is_not_blamed() {
    let w = group_with_mean(&[0.25, -0.25, 0.250_000_03, 0.75, -0.75], 0.5);
    let view = View::new("W", &w, [1, GROUP]).unwrap();
    let right = quantise_absmean(view, Packing::TwoBit).unwrap();
    let judge = |scale: f32, change: &dyn Fn(&mut [i8])| {
        let mut signs = right.signs().to_vec();
        change(&mut signs);
        let scale = [f16::from_f32(scale)];
        let packed = Packed::new(
            Packing::TwoBit,
            View::new("scales", &scale, [1, 1]).unwrap(),
            View::new("signs", &signs, [1, GROUP]).unwrap(),
        );
        check_quantised(view, &packed.unwrap(), precision::<f32>()).unwrap()
    };
    assert_eq!(judge(0.5, &|_| {}), Ok(()));
    // 0.25000003/0.5 is one f32 step above ½: an approximate quotient may be ½ and round to 0.
    assert_eq!(judge(0.5, &|t| t[2] = 0), Ok(()));
    let message = judge(0.5, &|t| t[0] = 1).unwrap_err().to_string();
    assert_eq!(
        message,
        "row 0, column 0: W = 0.25 over scale 0.5 rounds to 0, yours is 1"
    );
    assert!(matches!(
        judge(0.5, &|t| t[2] = -1),
        Err(Misquantised::Sign { column: 2, .. })
    ));
    let message = judge(0.75, &|_| {}).unwrap_err().to_string();
    assert_eq!(
        message,
        "row 0, group 0: scale must be mean|W| = 0.5000000002328306 in f16, 0.5; yours is 0.75"
    );
}

/// bf16 cannot hold every f16 scale: a kernel that rounds weights to it is inside, one that
/// rounds the scale to 4 bits is not, and f32 activations do not grant it.
#[test]
fn rounding_weights_to_the_input_type_is_inside_only_where_granted() {
    let scale = <f16 as Element>::from_f64(1.003);
    let rounded = DType::Bf16.round(scale.to_f64());
    assert_ne!(rounded, scale.to_f64());
    let packed = Packed::new(
        Packing::TwoBit,
        View::new("scales", &[scale], [1, 1]).unwrap(),
        View::new("signs", &[1i8; GROUP], [1, GROUP]).unwrap(),
    )
    .unwrap();
    let ones = [bf16::ONE; GROUP];
    let x = View::new("x", &ones, [1, GROUP]).unwrap();
    let granted = precision::<bf16>().with_output(DType::F32);
    let got = 128.0 * rounded;
    assert!(forward(x, &packed, granted).unwrap().items()[0].admits(got));
    let not = Precision {
        weights: DType::F32,
        ..granted
    };
    assert!(!forward(x, &packed, not).unwrap().items()[0].admits(got));
    assert!(!forward(x, &packed, granted).unwrap().items()[0].admits(128.0 * 1.0625));
}

#[test]
fn embedding_gathers_rows_and_refuses_strangers() {
    let packed = random_packed(&mut Rng::new(8), 4, GROUP, Packing::Base3);
    let rows = embed(&[2, 0, 2], &packed, precision::<f16>()).unwrap();
    let w = packed.unpack();
    let expected: Vec<f64> = [2, 0, 2]
        .iter()
        .flat_map(|&t| w[t * GROUP..(t + 1) * GROUP].to_vec())
        .collect();
    assert_eq!(rows.values().collect::<Vec<_>>(), expected);
    for (token, index) in [(4, 1), (-1, 1)] {
        let error = embed(&[0, token], &packed, precision::<f16>()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("`tokens`[{index}] is {token}")),
            "{error}"
        );
    }
}

#[test]
fn reserved_codes_and_bad_shapes_are_refused_by_name() {
    let packed = random_packed(&mut Rng::new(8), 1, GROUP, Packing::TwoBit);
    let spoil = |packing: Packing, at: usize, byte: u8| {
        let mut bytes = packed.repack(packing).unwrap().bytes().to_vec();
        bytes[at] = byte;
        Packed::from_bytes(packing, [1, GROUP], &bytes)
            .map(|_| ())
            .map_err(|e| e.about())
    };
    assert_eq!(spoil(Packing::TwoBit, 5, 0b0011_0000), Err("packed"));
    assert_eq!(spoil(Packing::TwoBit, 5, 0b1010_1010), Ok(()));
    assert_eq!(spoil(Packing::Base3, 5, 243), Err("packed"));
    assert_eq!(spoil(Packing::Base3, 5, 242), Ok(()));
    assert_eq!(
        spoil(Packing::Base3, 27, 27),
        Err("packed"),
        "a digit beyond the group"
    );
    assert_eq!(spoil(Packing::Base3, 27, 26), Ok(()));
    assert_eq!(spoil(Packing::TwoBit, 1, 0x80), Err("scales"), "negative");
    assert_eq!(spoil(Packing::TwoBit, 1, 0x7c), Err("scales"), "not finite");

    let about = |w: &[f32], shape| {
        let view = View::new("W", w, shape).unwrap();
        quantise_absmean(view, Packing::TwoBit).unwrap_err().about()
    };
    assert_eq!(about(&[0.0; 130], [1, 130]), "K");
    assert_eq!(about(&[0.0; 0], [1, 0]), "K");
    assert_eq!(about(&[0.0; 0], [0, 128]), "N");
    assert_eq!(about(&[f32::NAN; 128], [1, 128]), "W");
    assert_eq!(about(&[1e6; 128], [1, 128]), "W");
    let short = Packed::from_bytes(Packing::TwoBit, [1, GROUP], &[0; 33]).unwrap_err();
    assert_eq!(short.about(), "packed");

    let x = [1.0f32; 2 * GROUP];
    let wide = View::new("x", &x, [1, 2 * GROUP]).unwrap();
    assert_eq!(
        forward(wide, &packed, precision::<f32>())
            .unwrap_err()
            .about(),
        "x"
    );
    let error = input_gradient(wide, &packed, precision::<f32>()).unwrap_err();
    assert_eq!(error.about(), "x", "called what its view is called");
    let nan = [f32::NAN; GROUP];
    let nan = View::new("x", &nan, [1, GROUP]).unwrap();
    assert_eq!(
        forward(nan, &packed, precision::<f32>())
            .unwrap_err()
            .about(),
        "x"
    );
    let none = View::new("x", &x[..0], [0, GROUP]).unwrap();
    assert_eq!(
        forward(none, &packed, precision::<f32>())
            .unwrap_err()
            .about(),
        "M"
    );
    let dy = View::new("dy", &x, [2, GROUP]).unwrap();
    assert_eq!(
        weight_gradient(dy, wide, precision::<f32>())
            .unwrap_err()
            .about(),
        "x"
    );
    let uneven = [0.5f32, 0.25].repeat(64);
    let uneven = View::new("W", &uneven, [1, GROUP]).unwrap();
    let error = pack_exact(uneven, Packing::TwoBit).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`W`[1] is 0.25, must be 0 or ±0.5, as the rest of its group"
    );
    let inexact = [0.1f32; GROUP];
    let inexact = View::new("W", &inexact, [1, GROUP]).unwrap();
    assert_eq!(
        pack_exact(inexact, Packing::TwoBit).unwrap_err().about(),
        "W"
    );
}
