//! Whole decodings against plain greedy decoding, the law of sampling against the target
//! distribution, masks against paths, renumbering, explanations and refusals.

use std::collections::HashSet;

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::cases::{Rng, strategy};
use crate::lm::{HashModel, Model, greedy};
use crate::numbers::{Bounded, DType, Precision};

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}

/// A random tree without equal siblings. With `guide`, some nodes continue the guide's text.
fn random_tree(rng: &mut Rng, nodes: usize, vocabulary: usize, guide: &[i32]) -> Tree {
    let (mut token, mut parent): (Vec<i32>, Vec<i32>) = (Vec::new(), Vec::new());
    // The node whose path is a prefix of the guide, and that prefix's length.
    let mut on_guide = vec![(-1i32, 0usize)];
    for _ in 0..nodes {
        let (above, depth) = rng.choose(&on_guide);
        let (above, next) = match guide.get(depth) {
            Some(&next) if rng.chance(0.6) => (above, next),
            _ => (
                rng.between(0, token.len()) as i32 - 1,
                rng.below(vocabulary) as i32,
            ),
        };
        if (0..token.len()).any(|i| parent[i] == above && token[i] == next) {
            continue;
        }
        if let Some(&(_, depth)) = on_guide.iter().find(|(node, _)| *node == above)
            && guide.get(depth) == Some(&next)
        {
            on_guide.push((token.len() as i32, depth + 1));
        }
        token.push(next);
        parent.push(above);
    }
    Tree::new(&token, &parent).unwrap()
}

/// Logits of the model after the prompt and after every node.
fn rows(model: &impl Model, history: &[i32], tree: &Tree) -> Vec<f32> {
    let mut rows = model.logits(history);
    for node in 0..tree.len() {
        let path = tree.path(node).into_iter().map(|n| tree.tokens()[n]);
        rows.extend(model.logits(&history.iter().copied().chain(path).collect::<Vec<_>>()));
    }
    rows
}

fn accept_by(model: &impl Model, history: &[i32], tree: &Tree, stop: &HashSet<i32>) -> Accepted {
    let rows = rows(model, history, tree);
    let view = View::new("logits", &rows, [1 + tree.len(), model.vocabulary()]).unwrap();
    accept(tree, view, stop).unwrap()
}

/// A random order of the nodes that keeps parents first.
fn topological_order(rng: &mut Rng, tree: &Tree) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < tree.len() {
        let ready: Vec<usize> = (0..tree.len())
            .filter(|i| !order.contains(i))
            .filter(|&i| tree.parents()[i].is_none_or(|p| order.contains(&p)))
            .collect();
        order.push(rng.choose(&ready));
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Decoding by verification gives the text of plain greedy decoding, whatever the trees; and
    /// drafting along the guide does accept tokens.
    #[test]
    fn verified_decoding_is_greedy_decoding(
        mut rng in strategy::rng(), vocabulary in 2usize..20, length in 1usize..12,
        forbidden in prop_oneof![Just(0.0), Just(0.3)], stops in 0usize..3,
    ) {
        let model = HashModel::new(rng.bits(), vocabulary).with_forbidden(forbidden);
        let stop: HashSet<i32> = (0..stops as i32).collect();
        let prompt = [1, 0];
        let expected = greedy(&model, &prompt, length, &stop);
        let mut text = prompt.to_vec();
        while text.len() < prompt.len() + length {
            let guide = &expected[(text.len() - prompt.len()).min(expected.len())..];
            let nodes = rng.below(12);
            let tree = random_tree(&mut rng, nodes, vocabulary, guide);
            let accepted = accept_by(&model, &text, &tree, &stop);
            let added = accepted.text();
            text.extend(&added);
            let over = accepted.bonus == -1 || stop.contains(&accepted.bonus);
            if over {
                break;
            }
        }
        text.truncate(prompt.len() + length);
        prop_assert_eq!(&text[prompt.len()..], &expected[..]);
    }

    #[test]
    fn numbering_does_not_matter_and_more_nodes_never_shorten(
        mut rng in strategy::rng(), vocabulary in 2usize..10, nodes in 0usize..30,
    ) {
        let model = HashModel::new(rng.bits(), vocabulary);
        let none = HashSet::new();
        let guide = greedy(&model, &[3], 8, &none);
        let tree = random_tree(&mut rng, nodes, vocabulary, &guide);
        let before = accept_by(&model, &[3], &tree, &none);
        let order = topological_order(&mut rng, &tree);
        let other = tree.renumbered(&order).unwrap();
        let after = accept_by(&model, &[3], &other, &none);
        prop_assert_eq!(before.text(), after.text());
        let back: Vec<usize> = after.nodes.iter().map(|&n| order[n]).collect();
        prop_assert_eq!(&back, &before.nodes);
        prop_assert_eq!(after.slots(&order), before.nodes.clone());

        // The first nodes alone accept a prefix of the text.
        let few = nodes.min(tree.len()) / 2;
        let parent: Vec<i32> =
            tree.parents()[..few].iter().map(|p| p.map_or(-1, |p| p as i32)).collect();
        let part = Tree::new(&tree.tokens()[..few], &parent).unwrap();
        let part = accept_by(&model, &[3], &part, &none);
        prop_assert!(before.text().starts_with(&part.text()));
    }

    #[test]
    fn masks_are_the_paths(mut rng in strategy::rng(), nodes in 0usize..80) {
        let tree = random_tree(&mut rng, nodes, 50, &[]);
        let mask = Mask::new(&tree);
        prop_assert_eq!(mask.words().len(), tree.len() * mask.width());
        for i in 0..tree.len() {
            let path = tree.path(i);
            prop_assert_eq!(path.len(), tree.depths()[i] + 1);
            for j in 0..tree.len() {
                prop_assert_eq!(mask.attends(i, j), path.contains(&j));
            }
            let set: u32 = mask.words()[i * mask.width()..][..mask.width()]
                .iter().map(|w| w.count_ones()).sum();
            prop_assert_eq!(set as usize, path.len());
        }
    }

    /// Summed over everything the draft may have drawn, the emitted token has exactly the target
    /// distribution: for independent drafts from q and for any deterministic tree.
    #[test]
    fn the_emitted_token_has_the_target_distribution(mut rng in strategy::rng(), children in 0usize..4) {
        let vocabulary = 3;
        let simplex = |rng: &mut Rng| {
            let w: Vec<f64> = (0..vocabulary).map(|_| rng.unit().powi(2) + 1e-3).collect();
            let total: f64 = w.iter().sum();
            w.into_iter().map(|w| w / total).collect::<Vec<f64>>()
        };
        let (p, q) = (simplex(&mut rng), simplex(&mut rng));
        let exact: Vec<Bounded> = p.iter().map(|&p| Bounded::exact(p)).collect();
        let mut sampled = vec![0.0; vocabulary];
        for drawn in 0..vocabulary.pow(children as u32) {
            let tokens: Vec<i32> =
                (0..children).map(|c| (drawn / vocabulary.pow(c as u32) % vocabulary) as i32).collect();
            let weight: f64 = tokens.iter().map(|&t| q[t as usize]).product();
            let tree = Tree::new(&tokens, &vec![-1; children]).unwrap();
            let mut fixed = vec![0.0; vocabulary];
            for (draft, law) in [(Some(&q[..]), &mut sampled), (None, &mut fixed)] {
                let (tried, rest) = attempts(&tree, None, exact.clone(), draft, precision());
                let mut reached = if draft.is_some() { weight } else { 1.0 };
                for attempt in tried {
                    law[tokens[attempt.node] as usize] += reached * attempt.acceptance();
                    reached *= 1.0 - attempt.acceptance();
                }
                for (law, rest) in law.iter_mut().zip(rest) {
                    *law += reached * rest.value;
                }
            }
            for (got, expected) in fixed.iter().zip(&p) {
                prop_assert!((got - expected).abs() < 1e-13, "{fixed:?} {p:?}");
            }
        }
        for (got, expected) in sampled.iter().zip(&p) {
            prop_assert!((got - expected).abs() < 1e-13, "{sampled:?} {p:?}");
        }
    }
}

/// Sampled walks follow their law: over many uniform numbers each token comes as often as the
/// target says (χ² with 3 degrees of freedom below 21.1, which chance exceeds once in 10⁴; the
/// seed is fixed).
#[test]
fn sampled_walks_follow_the_target() {
    let logits = [0.3f32, -0.4, 1.1, 0.0];
    let draft = [0.4f32, 0.3, 0.2, 0.1];
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    let mut rng = Rng::new(77);
    for deterministic in [false, true] {
        let mut counts = [0u32; 4];
        let n = 20_000;
        for _ in 0..n {
            let mut token = || {
                let u = rng.unit() as f32;
                i32::from(u >= 0.4) + i32::from(u >= 0.7) + i32::from(u >= 0.9)
            };
            let tokens = if deterministic {
                [2, 0]
            } else {
                [token(), token()]
            };
            let tree = Tree::new(&tokens, &[-1, -1]).unwrap();
            let logits = logits.repeat(3);
            let draft = draft.repeat(3);
            let sampling = Sampling {
                temperature: 1.0,
                draft: (!deterministic).then(|| View::new("draft", &draft, [3, 4]).unwrap()),
                uniform: &[
                    (rng.unit() as f32).min(0.999_999),
                    (rng.unit() as f32).min(0.999_999),
                ],
                bonus_uniform: (rng.unit() as f32).min(0.999_999),
            };
            let view = View::new("logits", &logits, [3, 4]).unwrap();
            let walk =
                accept_sampled(&tree, view, &sampling, &HashSet::new(), precision()).unwrap();
            counts[walk.accepted.text()[0] as usize] += 1;
        }
        let chi: f64 = (0..4)
            .map(|t| {
                let expected = f64::from(n) * f64::from(logits[t]).exp() / total;
                (f64::from(counts[t]) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi < 21.1, "{counts:?}: {chi}");
    }
}

#[test]
fn close_calls_are_undecided_and_clear_ones_are_not() {
    let tree = Tree::new(&[1], &[-1]).unwrap();
    let logits = [0.0f32; 4];
    let view = View::new("logits", &logits, [2, 2]).unwrap();
    let walk = |uniform: f32, bonus_uniform: f32| {
        let sampling = Sampling {
            temperature: 1.0,
            draft: None,
            uniform: &[uniform],
            bonus_uniform,
        };
        accept_sampled(&tree, view, &sampling, &HashSet::new(), precision()).unwrap()
    };
    assert_eq!(walk(0.5, 0.1).undecided, Some(0));
    let accepted = walk(0.4, 0.1);
    assert_eq!(
        (accepted.undecided, accepted.accepted.nodes.len()),
        (None, 1)
    );
    assert_eq!(accepted.bonuses, [0]);
    assert_eq!(
        walk(0.4, 0.5).bonuses,
        [0, 1],
        "a bonus drawn at the border may be either"
    );
    let rejected = walk(0.6, 0.9);
    assert_eq!(
        (rejected.accepted.nodes.len(), rejected.accepted.bonus),
        (0, 0)
    );
    let answer = Accepted {
        nodes: vec![],
        tokens: vec![],
        bonus: 1,
    };
    let message = rejected.judge(&answer).unwrap_err().to_string();
    assert_eq!(message, "after the prompt the bonus token is 0, yours is 1");
}

/// Two levels; after the prompt token 2, after node 1 token 0, after node 2 token 1.
fn example() -> (Tree, Vec<bf16>) {
    let tree = Tree::new(&[1, 2, 0, 2], &[-1, -1, 1, -1]).unwrap();
    let rows = [
        [0.0, 1.0, 2.0],
        [3.0, 0.0, 0.0],
        [1.0, 0.5, f32::NAN],
        [0.0, 2.0, 2.0],
        [9.0, 0.0, 0.0],
    ];
    (
        tree,
        rows.concat().into_iter().map(bf16::from_f32).collect(),
    )
}

fn accept_example(tree: &Tree, rows: &[bf16], stop: &[i32]) -> Accepted {
    let view = View::new("logits", rows, [tree.len() + 1, 3]).unwrap();
    accept(tree, view, &stop.iter().copied().collect()).unwrap()
}

#[test]
fn the_walk_follows_the_rules() {
    let (tree, mut rows) = example();
    let walk = accept_example(&tree, &rows, &[]);
    // Node 1 is the lower of two siblings with token 2; NaN is skipped; ties go to the lower id.
    assert_eq!(
        walk,
        Accepted {
            nodes: vec![1, 2],
            tokens: vec![2, 0],
            bonus: 1
        }
    );
    assert_eq!(walk.slots(&[70, 80, 90, 60]), [80, 90]);
    let stopped = accept_example(&tree, &rows, &[2]);
    assert_eq!(
        stopped,
        Accepted {
            nodes: vec![1],
            tokens: vec![2],
            bonus: -1
        }
    );
    rows[6..9].fill(bf16::NAN);
    let spoiled = accept_example(&tree, &rows, &[]);
    assert_eq!(
        spoiled,
        Accepted {
            nodes: vec![1],
            tokens: vec![2],
            bonus: -1
        }
    );
    let empty = Tree::new(&[], &[]).unwrap();
    let bare = accept_example(&empty, &rows[..3], &[]);
    assert_eq!(
        bare,
        Accepted {
            nodes: vec![],
            tokens: vec![],
            bonus: 2
        }
    );
}

#[test]
fn wrong_walks_are_explained() {
    let (tree, rows) = example();
    let right = accept_example(&tree, &rows, &[]);
    assert_eq!(right.judge(&right), Ok(()));
    let said = |nodes: &[usize], tokens: &[i32], bonus| {
        let answer = Accepted {
            nodes: nodes.to_vec(),
            tokens: tokens.to_vec(),
            bonus,
        };
        right.judge(&answer).unwrap_err().to_string()
    };
    assert_eq!(
        said(&[], &[], 2),
        "step 0: after the prompt the target's token is 2, which node 1 has; yours stopped"
    );
    assert_eq!(
        said(&[3], &[2], 0),
        "step 0: after the prompt node 1 (token 2) comes next, yours is 3"
    );
    assert_eq!(
        said(&[1, 2, 0], &[2, 0, 1], 1),
        "step 2: the walk ends after node 2, yours went on to node 0"
    );
    assert_eq!(
        said(&[1, 2], &[2, 1], 1),
        "step 1: node 2 has token 0, yours is Some(1)"
    );
    assert_eq!(
        said(&[1, 2], &[2, 0], -1),
        "after node 2 the bonus token is 1, yours is -1"
    );
    assert!(said(&[1, 2], &[2, 0, 7], 1).ends_with("yours is 7"));
}

#[test]
fn bad_input_is_refused_by_name() {
    for (parent, index) in [
        (&[-1, 1, 0][..], 1),
        (&[0, -1, -1], 0),
        (&[-1, 2, 0], 1),
        (&[-1, -2, 0], 1),
    ] {
        let error = Tree::new(&[1, 2, 3], parent).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`parent`[{index}]")),
            "{error}"
        );
    }
    assert_eq!(Tree::new(&[1], &[-1, -1]).unwrap_err().about(), "parent");
    assert_eq!(Tree::new(&[-1], &[-1]).unwrap_err().about(), "token");

    let (tree, rows) = example();
    let none = HashSet::new();
    let short = View::new("logits", &rows[..12], [4, 3]).unwrap();
    assert_eq!(accept(&tree, short, &none).unwrap_err().about(), "logits");
    let narrow = View::new("logits", &rows[..10], [5, 2]).unwrap();
    assert_eq!(accept(&tree, narrow, &none).unwrap_err().about(), "token");
    let infinite = vec![bf16::INFINITY; 15];
    let infinite = View::new("logits", &infinite, [5, 3]).unwrap();
    assert_eq!(
        accept(&tree, infinite, &none).unwrap_err().about(),
        "logits"
    );
    assert_eq!(tree.renumbered(&[0, 1, 2, 2]).unwrap_err().about(), "order");
    assert_eq!(
        tree.renumbered(&[2, 1, 0, 3]).unwrap_err().about(),
        "parent"
    );

    let logits = View::new("logits", &rows, [5, 3]).unwrap();
    let uniform = [0.5f32; 4];
    let base = Sampling {
        temperature: 1.0,
        draft: None,
        uniform: &uniform,
        bonus_uniform: 0.5,
    };
    let refused = |sampling: Sampling<'_>| {
        accept_sampled(&tree, logits, &sampling, &none, precision())
            .unwrap_err()
            .about()
    };
    assert_eq!(
        refused(Sampling {
            temperature: 0.0,
            ..base
        }),
        "temperature"
    );
    assert_eq!(
        refused(Sampling {
            bonus_uniform: 1.0,
            ..base
        }),
        "bonus_uniform"
    );
    assert_eq!(
        refused(Sampling {
            uniform: &uniform[..3],
            ..base
        }),
        "uniform"
    );
    assert_eq!(
        refused(Sampling {
            uniform: &[0.5, f32::NAN, 0.5, 0.5],
            ..base
        }),
        "uniform"
    );
    let draft = [2.0f32; 15];
    let draft = Some(View::new("draft", &draft, [5, 3]).unwrap());
    assert_eq!(refused(Sampling { draft, ..base }), "draft");
}
