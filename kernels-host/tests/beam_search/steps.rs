//! One step against the oracle.

use half::{bf16, f16};
use kernels_host::beam_search::{Beams, Kept, Rules, Shape, beam_step};
use kernels_host::softmax_topk::Logit;
use kernels_host::{Buffer, Device, Vm};
use proptest::prelude::*;
use reference::View;
use reference::beam::Kept as Answer;
use reference::cases::Rng;
use reference::cases::beam::BeamStep;
use reference::numbers::Element;
use std::sync::Arc;

/// The kernels' rules from the oracle's.
pub(crate) fn rules(of: &reference::beam::Rules) -> Rules {
    Rules {
        beams: of.beams,
        alpha: of.alpha,
        eos: of.eos.clone(),
        count_eos: of.count_eos,
        min_length: of.min_length,
        max_new_tokens: of.max_new_tokens,
        n_best: of.n_best,
        early_stop: of.early_stop,
    }
}

#[derive(Debug, PartialEq)]
struct Got {
    parent: Vec<i32>,
    token: Vec<i32>,
    acc: Vec<u32>,
    length: Vec<i32>,
    finished: Vec<u8>,
    score: Vec<u32>,
}

fn run<T: Logit + Element>(case: &BeamStep<T>, parts: Option<usize>, schedule: u64) -> Got {
    let device: Arc<dyn Device> = Vm::with_options(
        1 << 30,
        simt::Options {
            seed: schedule,
            explore: schedule != 0,
            ..simt::Options::default()
        },
    );
    let rules = rules(&case.rules);
    let (items, k) = (case.items, rules.beams);
    let finished: Vec<u8> = case.finished.iter().map(|f| u8::from(*f)).collect();
    let beams = Beams {
        acc: Buffer::from_slice(&device, &case.acc).expect("allocated"),
        length: Buffer::from_slice(&device, &case.length).expect("allocated"),
        finished: Buffer::from_slice(&device, &finished).expect("allocated"),
    };
    let logits = Buffer::from_slice(&device, &case.logits).expect("allocated");
    let eos = Buffer::from_slice(&device, &rules.eos).expect("allocated");
    let mut next = Beams::uninit(&device, items, k).expect("allocated");
    let mut parent = Buffer::uninit(&device, items * k).expect("allocated");
    let mut token = Buffer::uninit(&device, items * k).expect("allocated");
    let mut score = Buffer::uninit(&device, items * k).expect("allocated");
    let shape = Shape {
        items,
        vocabulary: case.vocabulary,
        parts,
    };
    let kept = Kept {
        beams: &mut next,
        parent: &mut parent,
        token: &mut token,
        score: &mut score,
    };
    beam_step(&rules, shape, &logits, &eos, &beams, kept)
        .unwrap_or_else(|error| panic!("{rules:?}, {shape:?}: {error}"));
    let bits = |buffer: &Buffer<f32>| -> Vec<u32> {
        let values = buffer.to_vec().expect("all of it was written");
        values.into_iter().map(f32::to_bits).collect()
    };
    Got {
        parent: parent.to_vec().expect("all of it was written"),
        token: token.to_vec().expect("all of it was written"),
        acc: bits(&next.acc),
        length: next.length.to_vec().expect("all of it was written"),
        finished: next.finished.to_vec().expect("all of it was written"),
        score: bits(&score),
    }
}

fn check<T: Logit + Element>(case: &BeamStep<T>, parts: Option<usize>) -> Got {
    let got = run(case, parts, 0);
    let shape = [case.items, case.rules.beams];
    let float = |bits: &[u32]| -> Vec<f32> { bits.iter().map(|b| f32::from_bits(*b)).collect() };
    let (acc, score) = (float(&got.acc), float(&got.score));
    let finished: Vec<bool> = got.finished.iter().map(|f| *f != 0).collect();
    let answer = Answer {
        parent: View::new("parent", &got.parent, shape).expect("its shape"),
        token: View::new("token", &got.token, shape).expect("its shape"),
        acc: View::new("acc", &acc, shape).expect("its shape"),
        length: View::new("length", &got.length, shape).expect("its shape"),
        finished: View::new("finished", &finished, shape).expect("its shape"),
        score: View::new("score", &score, shape).expect("its shape"),
    };
    let judged = case.oracle().expect("a good case").judge(&answer);
    if let Err(wrong) = judged.expect("well formed") {
        panic!(
            "{parts:?} parts, V {}, {:?}: {wrong}",
            case.vocabulary, case.rules
        );
    }
    got
}

fn any_step<T: Logit + Element>(seed: u64, shape: [usize; 3], parts: usize) {
    let case = BeamStep::<T>::with_shape(&mut Rng::new(seed), shape);
    check(&case, (parts > 0).then_some(parts));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_step_is_right(
        seed in any::<u64>().no_shrink(), items in 1_usize..4, beams in 1_usize..9,
        vocabulary in prop_oneof![1_usize..40, 100_usize..1100], parts in 0_usize..5,
        dtype in 0..3,
    ) {
        let shape = [items, beams, vocabulary];
        match dtype {
            0 => any_step::<f32>(seed, shape, parts),
            1 => any_step::<f16>(seed, shape, parts),
            _ => any_step::<bf16>(seed, shape, parts),
        }
    }
}

#[test]
fn many_beams_and_more_beams_than_tokens() {
    for (seed, shape) in [(1, [1, 300, 700]), (2, [1, 64, 3]), (3, [2, 33, 2049])] {
        for parts in [1, 3] {
            let mut case = BeamStep::<f32>::with_shape(&mut Rng::new(seed), shape);
            // Lists of every beam, also where the case has only one to begin with.
            case.acc.iter_mut().for_each(|acc| *acc = acc.max(-40.0));
            check(&case, Some(parts));
        }
    }
}

/// Vocabularies of large models, also one that no vector divides.
#[test]
fn large_vocabularies() {
    for (vocabulary, parts) in [(151_936, None), (151_935, Some(3)), (262_144, Some(1))] {
        any_step::<bf16>(vocabulary as u64, [1, 3, vocabulary], parts.unwrap_or(0));
    }
}

#[test]
fn the_bits_are_the_same_on_every_schedule() {
    for parts in [1, 3] {
        let case = BeamStep::<bf16>::with_shape(&mut Rng::new(11), [2, 5, 1000]);
        let first = run(&case, Some(parts), 0);
        for schedule in 1..5 {
            assert_eq!(
                first,
                run(&case, Some(parts), schedule),
                "{parts} {schedule}"
            );
        }
    }
}

/// One item; all beams read the same logits.
fn item(beams: &[(f32, i32, bool)], row: &[f32], eos: &[i32], alpha: f32) -> BeamStep<f32> {
    let rules = reference::beam::Rules {
        alpha,
        eos: eos.to_vec(),
        ..reference::beam::Rules::new(beams.len(), 0)
    };
    BeamStep {
        items: 1,
        vocabulary: row.len(),
        rules,
        logits: row.repeat(beams.len()),
        acc: beams.iter().map(|b| b.0).collect(),
        length: beams.iter().map(|b| b.1).collect(),
        finished: beams.iter().map(|b| b.2).collect(),
    }
}

const NONE: f32 = f32::NEG_INFINITY;

#[test]
fn a_finished_beam_stays_in_the_pool() {
    let got = check(
        &item(&[(-3.0, 2, true), (-5.0, 2, false)], &[2.0, 1.0], &[9], 0.0),
        None,
    );
    assert_eq!((got.parent, got.token), (vec![0, 1], vec![-1, 0]));
}

#[test]
fn of_two_finished_beams_the_longer_wins_by_its_penalty() {
    let case = item(&[(-3.0, 2, true), (-3.5, 5, true)], &[0.0], &[9], 0.6);
    assert_eq!(check(&case, None).parent, [1, 0]);
}

#[test]
fn the_first_step_has_no_copies_and_a_short_pool_stays_short() {
    let beams = [
        (0.0, 0, false),
        (NONE, 0, false),
        (NONE, 0, false),
        (NONE, 0, false),
    ];
    let got = check(&item(&beams, &[1.0, f32::NAN, 2.0, NONE], &[9], 0.0), None);
    assert_eq!(got.parent, [0, 0, -1, -1]);
    assert_eq!(got.token, [2, 0, -1, -1]);
}

#[test]
fn a_beam_without_an_allowed_token_drops_out() {
    let mut case = item(
        &[(-1.0, 1, false), (-9.0, 1, false)],
        &[1.0, 2.0],
        &[9],
        0.0,
    );
    case.logits[..2].fill(NONE);
    let got = check(&case, None);
    assert_eq!(got.parent, [1, 1]);
    // +inf leaves a row no log-probabilities: the oracle refuses it, the kernel drops the beam.
    case.logits[1] = f32::INFINITY;
    assert_eq!(run(&case, None, 0), got);
}

#[test]
fn all_candidates_may_be_eos() {
    let case = item(
        &[(-1.0, 1, false), (-2.0, 1, false)],
        &[1.0, 2.0, 0.5],
        &[0, 1, 2],
        0.6,
    );
    assert_eq!(check(&case, None).finished, [1, 1]);
}

#[test]
fn items_are_independent() {
    let case = BeamStep::<f32>::with_shape(&mut Rng::new(21), [3, 4, 99]);
    let all = check(&case, None);
    let n = case.rules.beams;
    for item in 0..case.items {
        let beams = item * n..(item + 1) * n;
        let alone = BeamStep {
            items: 1,
            logits: case.logits[item * n * 99..][..n * 99].to_vec(),
            acc: case.acc[beams.clone()].to_vec(),
            length: case.length[beams.clone()].to_vec(),
            finished: case.finished[beams.clone()].to_vec(),
            ..case.clone()
        };
        let got = run(&alone, None, 0);
        assert_eq!(got.parent, all.parent[beams.clone()]);
        assert_eq!(got.token, all.token[beams.clone()]);
        assert_eq!(got.score, all.score[beams]);
    }
}

/// A row that is moved as a whole has the same log-probabilities: what raw logits have not.
#[test]
fn scores_are_log_probabilities() {
    let mut case = item(
        &[(-1.0, 1, false), (-1.5, 1, false)],
        &[1.0, 2.0, 0.5],
        &[9],
        0.0,
    );
    let here = check(&case, None);
    case.logits[3..].iter_mut().for_each(|logit| *logit += 64.0);
    let there = check(&case, None);
    assert_eq!((here.parent, here.token), (there.parent, there.token));
}

/// acc stays the raw sum whatever the penalty: the score of one step must not be the sum of the
/// next.
#[test]
fn the_penalty_does_not_enter_the_sum() {
    let beams = [(-4.0, 3, false), (-6.0, 7, false)];
    let sums = |alpha| {
        let got = check(&item(&beams, &[0.0], &[9], alpha), None);
        let mut pairs: Vec<_> = got.parent.into_iter().zip(got.acc).collect();
        pairs.sort_unstable();
        pairs
    };
    let raw = sums(0.0);
    // One token of probability 1: the sums are what they were.
    assert_eq!(raw, [(0, (-4.0_f32).to_bits()), (1, (-6.0_f32).to_bits())]);
    for alpha in [0.6, 1.5, -0.7] {
        assert_eq!(sums(alpha), raw, "{alpha}");
    }
}

/// Several tokens may end a beam; none of them before the least length.
#[test]
fn a_set_of_ends_and_a_least_length() {
    let mut case = item(
        &[(-1.0, 1, false), (-1.0, 3, false)],
        &[3.0, 2.0, 1.0, 0.0],
        &[0, 1],
        0.0,
    );
    case.rules.min_length = 3;
    let got = check(&case, None);
    // The short beam may not take 0 and 1, and then they still have their share.
    for (parent, token) in got.parent.iter().zip(&got.token) {
        assert!(*parent == 1 || *token >= 2, "{got:?}");
    }
    assert_eq!(got.finished, [1, 1]);
    case.rules.count_eos = false;
    assert_eq!(check(&case, None).length, [3, 3]);
}

/// Beams with the same logits and the same sum tie exactly, wherever their rows begin: with an odd
/// vocabulary at every place of a sector. The best token of each is kept, lower parents first.
fn equal_rows_tie<T: Logit + Element>(beams: usize, vocabulary: usize, parts: Option<usize>) {
    let mut rng = Rng::new(vocabulary as u64);
    let mut row: Vec<f32> = (0..vocabulary).map(|_| rng.normal() as f32).collect();
    // Not so probable that its logarithm would hide the row's sum.
    row[vocabulary / 2] = 6.0;
    let of_beam = (-1.0, 1, false);
    let case = item(&vec![of_beam; beams], &row, &[0], 0.6);
    let case = BeamStep::<T> {
        items: case.items,
        vocabulary: case.vocabulary,
        logits: case
            .logits
            .iter()
            .map(|x| T::from_f64(f64::from(*x)))
            .collect(),
        acc: case.acc,
        length: case.length,
        finished: case.finished,
        rules: case.rules,
    };
    let got = check(&case, parts);
    let expected: Vec<i32> = (0..beams as i32).collect();
    assert_eq!(got.parent, expected, "{vocabulary} {parts:?}");
    assert_eq!(got.token, vec![vocabulary as i32 / 2; beams]);
    assert!(got.acc.iter().all(|acc| *acc == got.acc[0]), "{got:?}");
}

#[test]
fn equal_rows_tie_wherever_they_begin() {
    for parts in [None, Some(2)] {
        for vocabulary in [3, 41, 2049, 4101] {
            equal_rows_tie::<f32>(8, vocabulary, parts);
            equal_rows_tie::<bf16>(16, vocabulary, parts);
        }
        equal_rows_tie::<f16>(16, 8713, parts);
    }
}
