//! LayerNorm and RMSNorm backward on the PTX machine, every rung and type, against the oracle.

mod traps;

use half::{bf16, f16};
use kernels_host::layernorm_backward::{Inputs, Outputs, Plan, Rung, Shape, layernorm_backward_by};
use kernels_host::{Buffer, Device, Error, Float, Limits, Recorder, Vm};
use proptest::prelude::*;
use reference::cases::Rng;
use reference::cases::layernorm::LayerNorm;
use reference::numbers::{BoundedTensor, DType, Element};
use simt::Options;
use std::sync::Arc;

/// A type the kernels and the oracle both know.
trait Number: Float + Element {}
impl<T: Float + Element> Number for T {}

/// dx, dγ, dβ.
type Answer<T> = (Vec<T>, Vec<f32>, Option<Vec<f32>>);

fn run<T: Number>(
    device: &Arc<dyn Device>,
    case: &LayerNorm<T>,
    plan: Plan,
) -> Result<Answer<T>, Error> {
    let optional = |data: &Option<Vec<T>>| {
        data.as_ref()
            .map(|data| Buffer::from_slice(device, data))
            .transpose()
    };
    let x = Buffer::from_slice(device, &case.x)?;
    let dy = Buffer::from_slice(device, &case.dy)?;
    let gamma = optional(&case.gamma)?;
    let residual = optional(&case.residual)?;
    let mean = case
        .mean
        .as_ref()
        .map(|mean| Buffer::from_slice(device, mean))
        .transpose()?;
    let rstd = Buffer::from_slice(device, &case.rstd)?;
    let mut dx = Buffer::uninit(device, case.x.len())?;
    let mut dgamma = Buffer::uninit(device, case.width)?;
    let mut dbeta = match mean {
        Some(_) => Some(Buffer::uninit(device, case.width)?),
        None => None,
    };
    layernorm_backward_by(
        plan,
        Shape {
            rows: case.rows,
            width: case.width,
        },
        Inputs {
            x: &x,
            dy: &dy,
            gamma: gamma.as_ref(),
            mean: mean.as_ref(),
            rstd: &rstd,
            residual: residual.as_ref(),
        },
        Outputs {
            dx: &mut dx,
            dgamma: &mut dgamma,
            dbeta: dbeta.as_mut(),
        },
    )?;
    let dbeta = dbeta.map(|dbeta| dbeta.to_vec()).transpose()?;
    Ok((dx.to_vec()?, dgamma.to_vec()?, dbeta))
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

/// A machine that runs blocks and warps in a random order of its own.
fn random_schedule(seed: u64) -> Arc<dyn Device> {
    let options = Options {
        seed,
        explore: true,
        ..Options::default()
    };
    Vm::with_options(1 << 28, options)
}

fn check<T: Number>(rows: usize, width: usize, rung: Rung, shares: Option<u32>, seed: u64) {
    let case = LayerNorm::<T>::with_shape(&mut Rng::new(seed), rows, width);
    let shape = Shape { rows, width };
    let mut plan = Plan::with_rung::<T>(shape, rung, Limits::SM_80);
    plan.shares = shares.unwrap_or(plan.shares);
    let what = format!("{} {rows}×{width} {plan:?} seed {seed}", T::DTYPE.name());
    let (dx, dgamma, dbeta) = run(&random_schedule(seed), &case, plan).expect(&what);
    let expected = case.oracle().expect("a case has its shapes");
    expect(&what, "dx", &expected.dx, &dx);
    expect(&what, "dgamma", &expected.dgamma, &dgamma);
    match (&expected.dbeta, &dbeta) {
        (Some(expected), Some(dbeta)) => expect(&what, "dbeta", expected, dbeta),
        (None, None) => {}
        _ => panic!("{what}: dbeta is there for LayerNorm only"),
    }
}

/// Calls `check` for the type that a number names.
fn check_type(
    dtype: DType,
    rows: usize,
    width: usize,
    rung: Rung,
    shares: Option<u32>,
    seed: u64,
) -> bool {
    macro_rules! of {
        ($t:ty) => {{
            let takes = rung.takes::<$t>(width);
            if takes {
                check::<$t>(rows, width, rung, shares, seed);
            }
            takes
        }};
    }
    match dtype {
        DType::F32 => of!(f32),
        DType::F16 => of!(f16),
        DType::Bf16 => of!(bf16),
    }
}

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

/// Ends of tiles, one beyond and one short of them, primes, powers of two.
const WIDTHS: [usize; 26] = [
    1, 2, 3, 4, 5, 7, 8, 16, 24, 31, 32, 33, 64, 100, 127, 128, 129, 256, 257, 264, 512, 520, 1000,
    1024, 2048, 2056,
];

#[test]
fn every_rung_and_type_at_every_kind_of_width() {
    let mut ran = std::collections::BTreeMap::new();
    for (at, width) in WIDTHS.into_iter().enumerate() {
        for dtype in TYPES {
            for rung in Rung::ALL {
                let rows = [1, 2, 3, 9, 13][at % 5];
                if check_type(dtype, rows, width, rung, None, at as u64) {
                    *ran.entry(format!("{rung:?} {dtype:?}")).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(ran.len(), TYPES.len() * Rung::ALL.len(), "{ran:?}");
}

/// Rows of the widest kind that each rung takes, and beyond.
#[test]
fn wide_rows() {
    for (width, rung) in [
        (4096, Rung::Block),
        (8192, Rung::BlockWide),
        (8200, Rung::TwoPass),
        (8191, Rung::TwoPassAny),
    ] {
        check::<bf16>(3, width, rung, None, 7);
        assert_eq!(Rung::best::<bf16>(width), rung);
    }
    for (width, rung) in [(2048, Rung::Block), (8192, Rung::BlockWide)] {
        check::<f32>(2, width, rung, Some(2), 8);
        assert_eq!(Rung::best::<f32>(width), rung);
    }
}

/// Many short rows: dγ is a sum over all of them, through every stage.
#[test]
fn many_short_rows() {
    for (width, rung) in [(8, Rung::Lanes), (3, Rung::LanesAny), (5, Rung::TwoPassAny)] {
        check::<bf16>(6000, width, rung, None, 21);
    }
    check::<f32>(6000, 1, Rung::LanesAny, Some(7), 22);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_shape_agrees_with_the_oracle(
        dtype in prop::sample::select(&TYPES[..]),
        rung in prop::sample::select(&Rung::ALL[..]),
        rows in 1_usize..40,
        width in prop_oneof![1_usize..300, (1_usize..70).prop_map(|n| 8 * n)],
        shares in prop_oneof![Just(None), (1_u32..9).prop_map(Some)],
        seed in any::<u64>(),
    ) {
        check_type(dtype, rows, width, rung, shares, seed);
    }
}

/// The same plan gives the same bits whatever the order of blocks and warps.
#[test]
fn the_schedule_changes_no_bit() {
    for rung in Rung::ALL {
        let case = LayerNorm::<bf16>::with_shape(&mut Rng::new(5), 37, 64);
        let shape = Shape {
            rows: 37,
            width: 64,
        };
        let plan = Plan {
            shares: 3,
            ..Plan::with_rung::<bf16>(shape, rung, Limits::SM_80)
        };
        let bits = |seed| {
            let (dx, dgamma, dbeta) = run(&random_schedule(seed), &case, plan).expect("it runs");
            let f32_bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let dx: Vec<u16> = dx.into_iter().map(bf16::to_bits).collect();
            (dx, f32_bits(dgamma), dbeta.map(f32_bits))
        };
        let first = bits(0);
        for seed in 1..6 {
            assert!(
                bits(seed) == first,
                "{rung:?}: seed {seed} gives other bits"
            );
        }
    }
}

/// NaN spoils its row of dx and its column of dγ and dβ, and nothing else.
#[test]
fn nan_stays_in_its_row_and_column() {
    for rung in Rung::ALL {
        let mut case = LayerNorm::<f32>::with_shape(&mut Rng::new(3), 9, 32);
        case.dy[4 * 32 + 17] = f32::NAN;
        let shape = Shape { rows: 9, width: 32 };
        let plan = Plan::with_rung::<f32>(shape, rung, Limits::SM_80);
        let (dx, dgamma, dbeta) = run(&random_schedule(1), &case, plan).expect("it runs");
        for (i, dx) in dx.iter().enumerate() {
            assert_eq!(dx.is_nan(), i / 32 == 4, "{rung:?}: dx[{i}] = {dx}");
        }
        for column in [dgamma].into_iter().chain(dbeta) {
            for (i, sum) in column.iter().enumerate() {
                assert_eq!(sum.is_nan(), i == 17, "{rung:?}: column {i} = {sum}");
            }
        }
    }
}

/// What a launch was refused for, with nothing launched.
fn refused(change: impl FnOnce(&mut Sizes)) -> &'static str {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let mut sizes = Sizes {
        shape: Shape { rows: 4, width: 40 },
        plan: Plan {
            rung: Rung::Block,
            shares: 2,
        },
        x: 160,
        dy: 160,
        residual: 160,
        dx: 160,
        gamma: 40,
        dgamma: 40,
        dbeta: Some(40),
        mean: Some(4),
        rstd: 4,
    };
    change(&mut sizes);
    let of = |len: usize| Buffer::<bf16>::uninit(&device, len).expect("allocated");
    let statistic = |len: usize| Buffer::<f32>::uninit(&device, len).expect("allocated");
    let outcome = layernorm_backward_by(
        sizes.plan,
        sizes.shape,
        Inputs {
            x: &of(sizes.x),
            dy: &of(sizes.dy),
            gamma: Some(&of(sizes.gamma)),
            mean: sizes.mean.map(statistic).as_ref(),
            rstd: &statistic(sizes.rstd),
            residual: Some(&of(sizes.residual)),
        },
        Outputs {
            dx: &mut of(sizes.dx),
            dgamma: &mut statistic(sizes.dgamma),
            dbeta: sizes.dbeta.map(statistic).as_mut(),
        },
    );
    let launched = recorder.launches();
    match outcome {
        Ok(()) => {
            assert_eq!(
                launched,
                ["layernorm_backward_block_bf16", "layernorm_backward_finish"]
            );
            "nothing"
        }
        Err(Error::Length { name, .. } | Error::Parameter { name, .. }) => {
            assert!(launched.is_empty(), "{launched:?}");
            name
        }
        Err(error) => panic!("another error: {error}"),
    }
}

struct Sizes {
    shape: Shape,
    plan: Plan,
    x: usize,
    dy: usize,
    residual: usize,
    dx: usize,
    gamma: usize,
    dgamma: usize,
    dbeta: Option<usize>,
    mean: Option<usize>,
    rstd: usize,
}

#[test]
fn what_does_not_fit_is_not_launched() {
    assert_eq!(refused(|_| {}), "nothing");
    assert_eq!(refused(|s| s.shape.rows = 0), "rows");
    assert_eq!(refused(|s| s.shape.width = 0), "width");
    assert_eq!(refused(|s| s.shape.rows = 1 << 31), "rows");
    assert_eq!(refused(|s| s.shape.width = usize::MAX), "width");
    assert_eq!(refused(|s| s.x = 159), "x");
    assert_eq!(refused(|s| s.dy = 161), "dy");
    assert_eq!(refused(|s| s.residual = 0), "residual");
    assert_eq!(refused(|s| s.dx = 120), "dx");
    assert_eq!(refused(|s| s.gamma = 41), "gamma");
    assert_eq!(refused(|s| s.dgamma = 4), "dgamma");
    assert_eq!(refused(|s| s.dbeta = Some(39)), "dbeta");
    assert_eq!(refused(|s| s.dbeta = None), "dbeta");
    assert_eq!(refused(|s| s.mean = None), "dbeta");
    assert_eq!(refused(|s| s.mean = Some(5)), "mean");
    assert_eq!(refused(|s| s.rstd = 3), "rstd");
    assert_eq!(refused(|s| s.plan.shares = 0), "shares");
    assert_eq!(refused(|s| s.plan.shares = 65_536), "shares");
    assert_eq!(refused(|s| s.shape.width = 41), "rung");
}

/// Whichever buffer is of another device, nothing is launched.
#[test]
fn buffers_of_another_device() {
    let shape = Shape { rows: 4, width: 40 };
    for rung in [Rung::TwoPass, Rung::LanesAny, Rung::Lanes, Rung::Block] {
        let plan = Plan { rung, shares: 2 };
        for foreign in 0..9 {
            let recorder = Recorder::new();
            let here: Arc<dyn Device> = recorder.clone();
            let there: Arc<dyn Device> = Recorder::new();
            let at = |which| if which == foreign { &there } else { &here };
            let of = |which, len| Buffer::<f32>::uninit(at(which), len).expect("allocated");
            let outcome = layernorm_backward_by(
                plan,
                shape,
                Inputs {
                    x: &of(0, 160),
                    dy: &of(1, 160),
                    gamma: Some(&of(2, 40)),
                    mean: Some(&of(3, 4)),
                    rstd: &of(4, 4),
                    residual: Some(&of(5, 160)),
                },
                Outputs {
                    dx: &mut of(6, 160),
                    dgamma: &mut of(7, 40),
                    dbeta: Some(&mut of(8, 40)),
                },
            );
            assert!(outcome.is_err(), "{rung:?}: buffer {foreign}");
            assert!(recorder.launches().is_empty(), "{rung:?}: buffer {foreign}");
        }
    }
}
