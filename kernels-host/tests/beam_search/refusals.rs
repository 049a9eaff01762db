//! What is refused before a device hears of it.

use kernels_host::beam_search::{BeamSearch, Beams, Kept, Rules, Shape, beam_step};
use kernels_host::{Buffer, Device, Error, Recorder};
use std::sync::Arc;

const ITEMS: usize = 2;
const V: usize = 40;

/// Runs a step over buffers of `beams` beams, `spare` logits too many, on a recorder; what was
/// refused, and what was launched.
fn step(rules: &Rules, shape: Shape, beams: usize, spare: usize) -> (Option<String>, Vec<String>) {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let logits = Buffer::<f32>::uninit(&device, ITEMS * beams * V + spare).expect("allocated");
    let eos = Buffer::from_slice(&device, &rules.eos).expect("allocated");
    let now = Beams::start(&device, ITEMS, beams).expect("allocated");
    let mut next = Beams::uninit(&device, ITEMS, beams).expect("allocated");
    let mut parent = Buffer::uninit(&device, ITEMS * beams).expect("allocated");
    let mut token = Buffer::uninit(&device, ITEMS * beams).expect("allocated");
    let mut score = Buffer::uninit(&device, ITEMS * beams).expect("allocated");
    let kept = Kept {
        beams: &mut next,
        parent: &mut parent,
        token: &mut token,
        score: &mut score,
    };
    let outcome = beam_step(rules, shape, &logits, &eos, &now, kept);
    let refused = outcome.err().map(|error| error.to_string());
    (refused, recorder.launches())
}

#[test]
fn rules_and_shapes_that_do_not_fit() {
    let good = Rules::new(3, 0);
    let shape = Shape {
        items: ITEMS,
        vocabulary: V,
        parts: None,
    };
    let rules = |change: fn(&mut Rules)| {
        let mut rules = good.clone();
        change(&mut rules);
        rules
    };
    let cases = [
        (rules(|r| r.beams = 0), shape, 0, "`beams` is 0"),
        (rules(|r| r.beams = 513), shape, 0, "`beams` is 513"),
        (rules(|r| r.alpha = f32::NAN), shape, 0, "`alpha` is NaN"),
        (rules(|r| r.n_best = 4), shape, 0, "`n_best` is 4"),
        (
            rules(|r| r.beams = 4),
            shape,
            0,
            "`logits` holds 240 elements; 320",
        ),
        (good.clone(), shape, 1, "`logits` holds 241 elements; 240"),
        (good.clone(), Shape { items: 0, ..shape }, 0, "`items` is 0"),
        (
            good.clone(),
            Shape {
                vocabulary: 0,
                ..shape
            },
            0,
            "`vocabulary` is 0",
        ),
        (
            good.clone(),
            Shape {
                vocabulary: 1 << 31,
                ..shape
            },
            0,
            "`vocabulary` is 2147483648",
        ),
        (
            good.clone(),
            Shape {
                items: 1 << 40,
                ..shape
            },
            0,
            "`items` is 1099511627776",
        ),
        (
            good.clone(),
            Shape {
                parts: Some(257),
                ..shape
            },
            0,
            "`parts` is 257",
        ),
    ];
    for (rules, shape, spare, why) in cases {
        let (refused, launched) = step(&rules, shape, 3, spare);
        let refused = refused.expect(why);
        assert!(refused.contains(why), "{refused}");
        assert!(launched.is_empty(), "{why}");
    }
    let (refused, launched) = step(&good, shape, 3, 0);
    assert_eq!(refused, None);
    assert_eq!(launched, ["beam_expand_f32", "beam_keep"]);
    let (_, launched) = step(
        &good,
        Shape {
            parts: Some(2),
            ..shape
        },
        3,
        0,
    );
    assert_eq!(launched, ["beam_expand_f32", "beam_merge", "beam_keep"]);
}

/// Whichever buffer is of another device, even one that only the last kernel would have seen.
#[test]
fn buffers_of_another_device() {
    for parts in [None, Some(2)] {
        for foreign in 0..11 {
            let recorder = Recorder::new();
            let here: Arc<dyn Device> = recorder.clone();
            let there: Arc<dyn Device> = Recorder::new();
            let at = |which| if which == foreign { &there } else { &here };
            let beams = |first: usize| Beams {
                acc: Buffer::uninit(at(first), 1).expect("allocated"),
                length: Buffer::uninit(at(first + 1), 1).expect("allocated"),
                finished: Buffer::uninit(at(first + 2), 1).expect("allocated"),
            };
            let rules = Rules::new(1, 0);
            let logits = Buffer::<f32>::uninit(at(0), V).expect("allocated");
            let eos = Buffer::from_slice(at(1), &rules.eos).expect("allocated");
            let (now, mut next) = (beams(2), beams(5));
            let kept = Kept {
                beams: &mut next,
                parent: &mut Buffer::uninit(at(8), 1).expect("allocated"),
                token: &mut Buffer::uninit(at(9), 1).expect("allocated"),
                score: &mut Buffer::uninit(at(10), 1).expect("allocated"),
            };
            let shape = Shape {
                items: 1,
                vocabulary: V,
                parts,
            };
            let outcome = beam_step(&rules, shape, &logits, &eos, &now, kept);
            assert!(
                matches!(outcome, Err(Error::ForeignBuffer { .. })),
                "buffer {foreign}: {outcome:?}"
            );
            assert!(recorder.launches().is_empty());
        }
    }
}

#[test]
fn a_search_checks_its_rules_at_once() {
    let device: Arc<dyn Device> = Recorder::new();
    let rules = Rules {
        n_best: 0,
        ..Rules::new(2, 0)
    };
    let refused = BeamSearch::new(&device, rules).expect_err("no results asked for");
    assert!(refused.to_string().contains("`n_best` is 0"), "{refused}");
}
