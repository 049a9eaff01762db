//! Layernorm backward.

use crate::{counters, counting, is_clean, is_single_pass, moved_over};
use half::bf16;
use kernels_host::layernorm_backward::{Inputs, Outputs, Plan, Rung, Shape, layernorm_backward_by};
use kernels_host::{Buffer, Device, Float, Limits};
use reference::cases::{Rng, normal};
use reference::numbers::Element;
use simt::Counters;
use std::sync::Arc;

/// The launches of one gradient, with γ, mean and dβ.
fn run<T: Float + Element>(shape: Shape, plan: Plan) -> Vec<Counters> {
    let (vm, device) = counting();
    let device: &Arc<dyn Device> = &device;
    let Shape { rows, width } = shape;
    let of = |seed, len| -> Buffer<T> {
        let values: Vec<T> = normal(&mut Rng::new(seed), len, 1.0);
        Buffer::from_slice(device, &values).expect("allocated")
    };
    let (x, dy, gamma) = (of(1, rows * width), of(2, rows * width), of(3, width));
    let mean = Buffer::from_slice(device, &vec![0.0; rows]).expect("allocated");
    let rstd = Buffer::from_slice(device, &vec![1.0; rows]).expect("allocated");
    let mut dx = Buffer::<T>::uninit(device, rows * width).expect("allocated");
    let mut dgamma = Buffer::uninit(device, width).expect("allocated");
    let mut dbeta = Buffer::uninit(device, width).expect("allocated");
    layernorm_backward_by(
        plan,
        shape,
        Inputs {
            x: &x,
            dy: &dy,
            gamma: Some(&gamma),
            mean: Some(&mean),
            rstd: &rstd,
            residual: None,
        },
        Outputs {
            dx: &mut dx,
            dgamma: &mut dgamma,
            dbeta: Some(&mut dbeta),
        },
    )
    .expect("it runs");
    counters(&vm)
}

/// x, dy and dx once; and the blocks' shares of dγ and dβ, written and read, are 16·shares·D bytes:
/// 2 % of the rest where a share has 133 rows (of 16 bits, with two bytes of each of x, dy, dx). A
/// shape is large when that is so, and when a warp has so many rows that reading γ for itself does
/// not count: 85 here, 248 of a million rows on an H200.
#[test]
fn one_pass_reads_and_writes_once() {
    for (rung, rows, width, shares) in [
        (Rung::Lanes, 16_384, 64, 24),
        (Rung::Lanes, 8192, 256, 12),
        (Rung::LanesAny, 8192, 128, 12),
        (Rung::Block, 4096, 512, 24),
        (Rung::Block, 1024, 4096, 6),
        (Rung::BlockWide, 512, 8192, 3),
    ] {
        one_pass::<bf16>(Shape { rows, width }, Plan { rung, shares });
    }
    for (rung, rows, width, shares) in [
        (Rung::Lanes, 8192, 128, 12),
        (Rung::LanesAny, 8192, 128, 12),
        (Rung::Block, 1024, 2048, 6),
        (Rung::BlockWide, 512, 4096, 3),
    ] {
        one_pass::<f32>(Shape { rows, width }, Plan { rung, shares });
    }
}

fn one_pass<T: Float + Element>(shape: Shape, plan: Plan) {
    let launches = run::<T>(shape, plan);
    is_single_pass(&launches[0]);
    is_clean(&launches[1]);
    let (size, Shape { rows, width }) = (size_of::<T>(), shape);
    let least = 3 * size * rows * width + 8 * rows + (size + 8) * width;
    let partial = 16 * plan.shares as usize * width;
    let traffic = moved_over(&launches, least + partial);
    assert!(traffic <= 1.02, "{plan:?} {rows}×{width}: {traffic}");
}

/// On an H200 the shares of the largest shape of PERFORMANCE are so few that writing and reading
/// them adds no more than 2.2 % to the compulsory bytes. They stay in its second-level cache.
#[test]
fn shares_are_few() {
    let shape = Shape {
        rows: 16_384,
        width: 4096,
    };
    let plan = Plan::best::<bf16>(shape, Limits::SM_90);
    assert_eq!((plan.rung, plan.shares), (Rung::Block, 132));
    let extra = 16 * plan.shares as usize * shape.width;
    assert!(extra as f64 <= 0.022 * (6 * shape.rows * shape.width) as f64);
}

/// The simplest rung by the formulas of its header.
#[test]
fn the_simplest_rung_by_its_formula() {
    let (rows, width, shares) = (64, 512, 4);
    let shape = Shape { rows, width };
    let rung = Rung::TwoPassAny;
    let launches = run::<f32>(shape, Plan { rung, shares });
    let [means, columns, finish] = &launches[..] else {
        panic!("three launches");
    };
    let (rows, width, shares) = (rows as u64, width as u64, u64::from(shares));
    // A thread of 256 reads the statistics of its row; x, dy and γ of its columns.
    assert_eq!(means.total.global.load.bytes, rows * (12 * width + 256 * 8));
    assert_eq!(means.total.global.store.bytes, rows * 8);
    // A thread a column reads γ, and of each row x, dy, the statistics and the means.
    assert_eq!(
        columns.total.global.load.bytes,
        rows * width * (8 + 8 + 8) + shares * width * 4
    );
    assert_eq!(
        columns.total.global.store.bytes,
        rows * width * 4 + shares * width * 8
    );
    assert_eq!(finish.total.global.load.bytes, shares * width * 8);
    assert_eq!(finish.total.global.store.bytes, width * 8);
}
