//! Whole decodings against plain greedy decoding, masks against paths, renumbering, the rules one by
//! one, explanations and refusals.

use half::bf16;

use super::*;
use crate::lm::{HashModel, Model, greedy};

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
