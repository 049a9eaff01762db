//! Beam search.

use crate::{counters, counting, is_clean, is_single_pass};
use half::bf16;
use kernels_host::Buffer;
use kernels_host::beam_search::{Beams, Kept, Rules, Shape, beam_step};
use reference::cases::{Rng, normal};

/// The logits of unfinished beams are read once, those of finished and absent ones not at all.
#[test]
fn logits_of_unfinished_beams_are_read_once() {
    let (items, k, vocabulary) = (2, 4, 151_936);
    let (vm, device) = counting();
    let rules = Rules::new(k, 0);
    let logits: Vec<bf16> = normal(&mut Rng::new(1), items * k * vocabulary, 3.0);
    let logits = Buffer::from_slice(&device, &logits).expect("allocated");
    let eos = Buffer::from_slice(&device, &rules.eos).expect("allocated");
    let mut now = Beams::start(&device, items, k).expect("allocated");
    // Of the eight two are finished and one is absent.
    let acc = [-1.0, -2.0, -3.0, f32::NEG_INFINITY, -1.0, -2.0, -3.0, -4.0];
    now.acc.write(&acc).expect("written");
    now.finished
        .write(&[0, 1, 0, 0, 0, 0, 0, 1])
        .expect("written");
    for parts in [1, 3] {
        let mut next = Beams::uninit(&device, items, k).expect("allocated");
        let mut parent = Buffer::uninit(&device, items * k).expect("allocated");
        let mut token = Buffer::uninit(&device, items * k).expect("allocated");
        let mut score = Buffer::uninit(&device, items * k).expect("allocated");
        let kept = Kept {
            beams: &mut next,
            parent: &mut parent,
            token: &mut token,
            score: &mut score,
        };
        let shape = Shape {
            items,
            vocabulary,
            parts: Some(parts),
        };
        beam_step(&rules, shape, &logits, &eos, &now, kept).expect("it runs");
        let launches = counters(&vm);
        is_single_pass(&launches[0]);
        launches[1..].iter().for_each(is_clean);
        let distinct = launches[0].compulsory.read;
        let logits = 5 * vocabulary as u64 * 2;
        assert!((logits..logits + 1024).contains(&distinct), "{distinct}");
    }
}
