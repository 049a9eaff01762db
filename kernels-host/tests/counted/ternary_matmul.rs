//! Ternary weights.

use crate::{counters, counting, is_clean, is_single_pass, moved_over, predicted};
use half::bf16;
use kernels_host::ternary_matmul::{
    Rung, TernaryWeights, forward_by, input_gradient_by, weight_gradient_by,
};
use kernels_host::{Buffer, Device};
use reference::cases::{Rng, normal};
use simt::Counters;
use std::sync::Arc;

fn weights(device: &Arc<dyn Device>, n: usize, k: usize) -> TernaryWeights {
    let w: Vec<f32> = normal(&mut Rng::new(1), n * k, 0.1);
    let w = Buffer::from_slice(device, &w).expect("allocated");
    TernaryWeights::quantise(&w, [n, k]).expect("finite")
}

fn dense(device: &Arc<dyn Device>, len: usize) -> Buffer<bf16> {
    let values: Vec<bf16> = normal(&mut Rng::new(2), len, 1.0);
    Buffer::from_slice(device, &values).expect("allocated")
}

fn has_whole_sectors(of: &Counters) {
    is_clean(of);
    let sectors = of.sector_efficiency().expect("it moved");
    println!(
        "{} sectors {sectors} traffic {:?} {}",
        of.kernel,
        of.traffic_ratio(),
        predicted(of)
    );
    assert!(
        sectors >= 0.95,
        "{}: sector efficiency {sectors}",
        of.kernel
    );
}

/// The product with packed weights reads each of them once: x is what it reads again, once for a
/// tile of 16 rows of weights.
#[test]
fn weights_are_read_once() {
    for (rung, m, n, k) in [
        (Rung::Tensor8, 1, 1024, 4096),
        (Rung::Tensor8, 8, 512, 1024),
        (Rung::Tensor32, 32, 512, 1024),
    ] {
        let (vm, device) = counting();
        let weights = weights(&device, n, k);
        let x = dense(&device, m * k);
        let mut y = Buffer::<bf16>::uninit(&device, m * n).expect("allocated");
        vm.take_launches();
        forward_by(rung, &weights, &x, &mut y, m).expect("it runs");
        let launches = counters(&vm);
        has_whole_sectors(&launches[0]);
        let again = (n / 16) * m * k * 2;
        let traffic = moved_over(&launches, weights.bytes() + again + m * n * 2);
        assert!(traffic <= 1.02, "{rung:?} M {m}: {traffic}");
    }
}

/// dx reads each weight once for a tile of 16 rows of dy, which it reads again for each group.
#[test]
fn weights_are_read_once_backward() {
    let (m, n, k) = (1, 512, 4096);
    let (vm, device) = counting();
    let weights = weights(&device, n, k);
    let dy = dense(&device, m * n);
    let mut dx = Buffer::<bf16>::uninit(&device, m * k).expect("allocated");
    vm.take_launches();
    input_gradient_by(Rung::Tensor, &weights, &dy, &mut dx, m).expect("it runs");
    let launches = counters(&vm);
    has_whole_sectors(&launches[0]);
    let again = (k / 128) * m * n * 2;
    let traffic = moved_over(&launches, weights.bytes() + again + m * k * 2);
    assert!(traffic <= 1.02, "{traffic}");

    // The weights' gradient is written once.
    let x = dense(&device, 64 * k);
    let dy = dense(&device, 64 * n);
    let mut dw = Buffer::<f32>::uninit(&device, n * k).expect("allocated");
    weight_gradient_by(Rung::Tensor, &dy, &x, &mut dw, [64, n, k]).expect("it runs");
    let launches = counters(&vm);
    has_whole_sectors(&launches[0]);
    assert_eq!(launches[0].total.global.store.bytes, (4 * n * k) as u64);
}

/// Quantising reads dense weights once. So does the fused step of training, which reads its image
/// back, and x again for each tile of 16 rows of weights.
#[test]
fn dense_weights_are_read_once() {
    let (m, n, k) = (32, 256, 1024);
    let (vm, device) = counting();
    let w: Vec<f32> = normal(&mut Rng::new(1), n * k, 0.1);
    let w = Buffer::from_slice(&device, &w).expect("allocated");
    let mut weights = TernaryWeights::quantise(&w, [n, k]).expect("finite");
    let quantised = counters(&vm);
    assert_eq!(quantised[0].total.global.load.bytes, (4 * n * k) as u64);
    is_single_pass(&quantised[0]);

    let x = dense(&device, m * k);
    let mut y = Buffer::<bf16>::uninit(&device, m * n).expect("allocated");
    weights
        .requantise_forward(&w, &x, &mut y, m)
        .expect("it runs");
    let fused = counters(&vm);
    has_whole_sectors(&fused[0]);
    let again = (n / 16) * m * k * 2;
    let least = 4 * n * k + 2 * weights.bytes() + again + m * n * 2;
    let traffic = moved_over(&fused, least);
    assert!(traffic <= 1.02, "{traffic}");
}

/// The simplest rung by its header's formula.
#[test]
fn the_simplest_rung_by_its_formula() {
    let (m, n, k) = (3, 40, 256);
    let (vm, device) = counting();
    let weights = weights(&device, n, k);
    let x = dense(&device, m * k);
    let mut y = Buffer::<bf16>::uninit(&device, m * n).expect("allocated");
    vm.take_launches();
    forward_by(Rung::OneRow, &weights, &x, &mut y, m).expect("it runs");
    let counted = &counters(&vm)[0];
    let global = counted.total.global;
    // A lane a word of codes, a scale and four of x in a group; it uses all of x, and of a word
    // every lane a quarter.
    let lanes = (m * n * (k / 128) * 32) as u64;
    assert_eq!(global.load.bytes, lanes * (4 + 2 + 8));
    assert_eq!(global.store.bytes, (2 * m * n) as u64);
}
