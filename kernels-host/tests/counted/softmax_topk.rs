//! Softmax and top-k.

use crate::{counters, counting, is_clean, is_single_pass, moved_over};
use half::bf16;
use kernels_host::Buffer;
use kernels_host::softmax_topk::{Logit, Options, Outputs, Parameters, Rung, softmax_topk_with};
use reference::cases::{Rng, normal};
use reference::numbers::Element;
use simt::Counters;

fn run<T: Logit + Element>(rows: usize, vocabulary: usize, k: usize, rung: Rung) -> Vec<Counters> {
    let (vm, device) = counting();
    let logits: Vec<T> = normal(&mut Rng::new(1), rows * vocabulary, 3.0);
    let logits = Buffer::from_slice(&device, &logits).expect("allocated");
    let mut probability = Buffer::uninit(&device, rows * k).expect("allocated");
    let mut index = Buffer::uninit(&device, rows * k).expect("allocated");
    let mut lse = Buffer::uninit(&device, rows).expect("allocated");
    softmax_topk_with(
        Parameters {
            rows,
            vocabulary,
            k,
            temperature: 0.7,
        },
        Options {
            ks: None,
            rung: Some(rung),
        },
        &logits,
        None,
        Outputs {
            probability: &mut probability,
            index: &mut index,
            lse: &mut lse,
        },
    )
    .expect("it runs");
    counters(&vm)
}

/// Exactly one read of the logits, in whole sectors. Where rows begin anywhere in a sector the ends
/// of the warps' runs and of the row, 18 sectors, are read twice.
fn reads_the_logits_once<T: Logit + Element>(rows: usize, vocabulary: usize, k: usize, rung: Rung) {
    let launches = run::<T>(rows, vocabulary, k, rung);
    let logits = (rows * vocabulary * size_of::<T>()) as u64;
    let loaded = launches[0].total.global.load.bytes;
    let twice = match (vocabulary * size_of::<T>()) % 32 {
        0 => 0,
        _ => 18 * 32 * rows as u64,
    };
    assert!(
        (logits..=logits + twice).contains(&loaded),
        "{rung:?} {loaded}"
    );
    assert_eq!(launches[0].compulsory.read, logits, "{rung:?}");
    is_single_pass(&launches[0]);
    launches[1..].iter().for_each(is_clean);
    let outputs = rows * (8 * k + 4);
    let traffic = moved_over(&launches, logits as usize + outputs);
    assert!(traffic <= 1.02, "{rung:?}: {traffic} in all launches");
}

#[test]
fn logits_are_read_once() {
    reads_the_logits_once::<bf16>(16, 151_936, 256, Rung::Block);
    reads_the_logits_once::<bf16>(4, 151_936, 16, Rung::Split(3));
    reads_the_logits_once::<f32>(2, 262_144, 1024, Rung::Block);
    // Rows that begin anywhere in a sector.
    reads_the_logits_once::<bf16>(8, 50_257, 50, Rung::Block);
    reads_the_logits_once::<f32>(64, 8192, 8, Rung::Warp);
}

/// The simplest rung by its header's formula: R·V logits in, 4·R·(2k + 1) bytes out, and for each
/// logit a multiplication by the inverse temperature, the six operations and the additions of two
/// states' merge.
#[test]
fn the_simplest_rung_by_its_formula() {
    let (rows, vocabulary, k) = (8, 2048, 4);
    let counted = &run::<f32>(rows, vocabulary, k, Rung::Warp)[0];
    let global = counted.total.global;
    assert_eq!(global.load.bytes, (4 * rows * vocabulary) as u64);
    assert_eq!(global.store.bytes, (4 * rows * (2 * k + 1)) as u64);
}
