//! Greedy acceptance: the oracle, plain greedy decoding, renumberings, and the traps by name.

use crate::{scheduled, token_tree};
use half::{bf16, f16};
use kernels_host::attention::Float;
use kernels_host::paged_kv::{PageShape, Slots};
use kernels_host::tree_verify::{Logits, TokenTree, Trees, Walk, accept_greedy};
use kernels_host::{Buffer, Device, Vm};
use reference::cases::Rng;
use reference::cases::tree::TreeWalk;
use reference::lm::greedy;
use reference::numbers::Element;
use reference::tree::{Accepted, Tree};
use std::collections::HashSet;
use std::sync::Arc;

/// One launch for all the trees.
fn walks<T: Float>(trees: &[TokenTree], rows: &[T], vocabulary: usize, stop: &[i32]) -> Vec<Walk> {
    walks_on(Vm::new(), trees, rows, vocabulary, stop)
}

fn walks_on<T: Float>(
    device: Arc<dyn Device>,
    trees: &[TokenTree],
    rows: &[T],
    vocabulary: usize,
    stop: &[i32],
) -> Vec<Walk> {
    let trees = Trees::new(&device, trees).unwrap();
    let rows = Buffer::from_slice(&device, rows).unwrap();
    let stop = Buffer::from_slice(&device, stop).unwrap();
    let logits = Logits {
        rows: &rows,
        vocabulary,
    };
    let accepted = accept_greedy(&trees, logits, &stop, None).unwrap();
    accepted.walks().unwrap()
}

fn answer(walk: &Walk) -> Accepted {
    Accepted {
        nodes: walk.nodes.clone(),
        tokens: walk.tokens.clone(),
        bonus: walk.bonus.unwrap_or(-1),
    }
}

/// A random order in which parents come first, and the logits in that order.
fn renumber<T: Copy>(rng: &mut Rng, walk: &TreeWalk<T>) -> (Vec<usize>, Tree, Vec<T>) {
    let n = walk.tree.len();
    let (mut order, mut left): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..n).collect());
    while !left.is_empty() {
        let ready: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&i| walk.tree.parents()[i].is_none_or(|p| order.contains(&p)))
            .collect();
        let next = rng.choose(&ready);
        order.push(next);
        left.retain(|&i| i != next);
    }
    let tree = walk.tree.renumbered(&order).unwrap();
    let v = walk.vocabulary;
    let mut rows = walk.logits[..v].to_vec();
    for &old in &order {
        rows.extend_from_slice(&walk.logits[(1 + old) * v..(2 + old) * v]);
    }
    (order, tree, rows)
}

/// Thousands of trees and models in one launch for each set of stop tokens: the walk is the oracle's,
/// its text is what plain greedy decoding gives, and numbering changes nothing.
fn equals_greedy_decoding<T: Float + Element>(vocabulary: usize, trees: usize) {
    let mut rng = Rng::new(vocabulary as u64);
    let mut cases: Vec<TreeWalk<T>> = Vec::new();
    for _ in 0..trees {
        let nodes = rng.between(0, 24);
        cases.push(TreeWalk::with_size(&mut rng, nodes, vocabulary));
    }
    // A launch has one set of stop tokens.
    let mut by_stop: Vec<(Vec<i32>, Vec<&TreeWalk<T>>)> = Vec::new();
    for case in &cases {
        let stop: Vec<i32> = case.stop.iter().copied().collect();
        match by_stop.iter_mut().find(|(known, _)| *known == stop) {
            Some((_, cases)) => cases.push(case),
            None => by_stop.push((stop, vec![case])),
        }
    }
    let mut accepted = 0;
    for (stop, cases) in by_stop {
        let trees: Vec<TokenTree> = cases.iter().map(|case| token_tree(&case.tree)).collect();
        let rows: Vec<T> = cases.iter().flat_map(|case| case.logits.clone()).collect();
        let found = walks(&trees, &rows, vocabulary, &stop);
        let turned: Vec<_> = cases.iter().map(|case| renumber(&mut rng, case)).collect();
        let trees: Vec<TokenTree> = turned.iter().map(|(_, tree, _)| token_tree(tree)).collect();
        let rows: Vec<T> = turned
            .iter()
            .flat_map(|(_, _, rows)| rows.clone())
            .collect();
        let found_turned = walks(&trees, &rows, vocabulary, &stop);
        for (n, case) in cases.iter().enumerate() {
            let right = case.oracle().unwrap();
            right.judge(&answer(&found[n])).unwrap();
            let text = right.text();
            let stop: HashSet<i32> = stop.iter().copied().collect();
            let plain = greedy(&case.model, &case.prompt, text.len(), &stop);
            assert_eq!(text, plain, "{:?}", case.tree);
            let back: Vec<usize> = found_turned[n]
                .nodes
                .iter()
                .map(|i| turned[n].0[*i])
                .collect();
            assert_eq!(back, found[n].nodes);
            assert_eq!(found_turned[n].bonus, found[n].bonus);
            accepted += found[n].nodes.len();
        }
    }
    assert!(accepted > cases.len() / 4, "{accepted} of {}", cases.len());
}

#[test]
fn a_thousand_trees_of_nine_tokens() {
    equals_greedy_decoding::<f32>(9, 1200);
}

#[test]
fn a_thousand_trees_of_two_tokens() {
    equals_greedy_decoding::<f16>(2, 1000);
}

#[test]
fn trees_of_larger_vocabularies() {
    equals_greedy_decoding::<bf16>(50, 200);
    equals_greedy_decoding::<f16>(307, 60);
    equals_greedy_decoding::<f32>(1031, 20);
}

/// A tree that is one chain, and more nodes: the text never gets shorter.
#[test]
fn adding_nodes_never_shortens_the_text() {
    let mut rng = Rng::new(5);
    let cases: Vec<TreeWalk<f32>> = (0..200)
        .map(|_| TreeWalk::with_size(&mut rng, 16, 9))
        .collect();
    let cut = |case: &TreeWalk<f32>, n: usize| {
        let tree = token_tree(&case.tree);
        TokenTree::new(&tree.tokens()[..n], &tree.parents()[..n]).unwrap()
    };
    let mut before = vec![0; cases.len()];
    for n in [0, 1, 4, 16] {
        let n_of = |case: &TreeWalk<f32>| n.min(case.tree.len());
        let trees: Vec<TokenTree> = cases.iter().map(|case| cut(case, n_of(case))).collect();
        let rows: Vec<f32> = cases
            .iter()
            .flat_map(|case| case.logits[..(1 + n_of(case)) * 9].to_vec())
            .collect();
        for (before, walk) in before.iter_mut().zip(walks(&trees, &rows, 9, &[])) {
            let length = walk.nodes.len() + usize::from(walk.bonus.is_some());
            assert!(length >= *before);
            *before = length;
        }
    }
}

/// With vocabularies of several warps' reads a row, and of less than one.
#[test]
fn the_same_walks_on_every_schedule() {
    for vocabulary in [5, 700] {
        let mut rng = Rng::new(77);
        let cases: Vec<TreeWalk<f16>> = (0..6)
            .map(|nodes| TreeWalk::with_size(&mut rng, 4 * nodes, vocabulary))
            .collect();
        let trees: Vec<TokenTree> = cases.iter().map(|case| token_tree(&case.tree)).collect();
        let rows: Vec<f16> = cases.iter().flat_map(|case| case.logits.clone()).collect();
        let on = |seed| walks_on(scheduled(seed), &trees, &rows, vocabulary, &[1]);
        let first = on(0);
        for seed in 1..4 {
            assert_eq!(on(seed), first, "V = {vocabulary}, seed {seed}");
        }
    }
}

fn one(tokens: &[i32], parents: &[i32], rows: &[&[f32]], stop: &[i32]) -> Walk {
    let tree = TokenTree::new(tokens, parents).unwrap();
    walks(&[tree], &rows.concat(), rows[0].len(), stop).remove(0)
}

const LIKES: [&[f32]; 3] = [&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]];

fn walk(nodes: &[usize], tokens: &[i32], bonus: i32) -> Walk {
    Walk {
        nodes: nodes.to_vec(),
        tokens: tokens.to_vec(),
        bonus: (bonus >= 0).then_some(bonus),
    }
}

/// Nodes 1 and 2 are siblings: node 2 is judged by the prompt's row, not by the one before it or by
/// its depth's.
#[test]
fn logits_are_those_of_the_parent() {
    let found = one(
        &[0, 1, 2],
        &[-1, -1, 1],
        &[LIKES[1], LIKES[2], LIKES[2], LIKES[0]],
        &[],
    );
    assert_eq!(found, walk(&[1, 2], &[1, 2], 0));
}

#[test]
fn the_next_sibling_is_tried() {
    let found = one(
        &[0, 1, 2],
        &[-1, -1, -1],
        &[LIKES[2], LIKES[0], LIKES[0], LIKES[1]],
        &[],
    );
    assert_eq!(found, walk(&[2], &[2], 1));
}

#[test]
fn descendants_of_a_rejected_node_are_not_accepted() {
    let found = one(&[0, 1], &[-1, 0], &[LIKES[1], LIKES[1], LIKES[1]], &[]);
    assert_eq!(found, walk(&[], &[], 1));
}

#[test]
fn of_two_equal_siblings_the_first_is_taken() {
    let rows = [LIKES[1], LIKES[0], LIKES[2], LIKES[0]];
    assert_eq!(
        one(&[1, 1, 0], &[-1, -1, 0], &rows, &[]),
        walk(&[0, 2], &[1, 0], 0)
    );
}

#[test]
fn a_leaf_yields_a_bonus() {
    assert_eq!(
        one(&[1], &[-1], &[LIKES[1], LIKES[2]], &[]),
        walk(&[0], &[1], 2)
    );
}

#[test]
fn without_nodes_the_bonus_is_the_prompts() {
    assert_eq!(one(&[], &[], &[LIKES[2]], &[]), walk(&[], &[], 2));
}

#[test]
fn ties_go_to_the_lower_id() {
    let row: &[f32] = &[0.5, 2.0, 2.0, -0.0, 0.0];
    assert_eq!(one(&[], &[], &[row], &[]), walk(&[], &[], 1));
    let row: &[f32] = &[-3.0, -0.0, 0.0];
    assert_eq!(one(&[], &[], &[row], &[]), walk(&[], &[], 1));
}

#[test]
fn nan_is_skipped_and_a_row_of_nothing_finite_ends_the_walk() {
    let nan = f32::NAN;
    let row: &[f32] = &[nan, -5.0, nan];
    assert_eq!(one(&[], &[], &[row], &[]), walk(&[], &[], 1));
    let none: &[f32] = &[nan, f32::NEG_INFINITY, nan];
    assert_eq!(one(&[0], &[-1], &[none, LIKES[0]], &[]), walk(&[], &[], -1));
    assert_eq!(
        one(&[0], &[-1], &[LIKES[0], none], &[]),
        walk(&[0], &[0], -1)
    );
}

#[test]
fn a_stop_token_ends_the_walk_without_bonus() {
    let rows = [LIKES[1], LIKES[2], LIKES[0]];
    assert_eq!(one(&[1, 2], &[-1, 0], &rows, &[1]), walk(&[0], &[1], -1));
    // As a bonus it is one.
    assert_eq!(
        one(&[0], &[-1], &[LIKES[1], LIKES[0]], &[1]),
        walk(&[], &[], 1)
    );
}

/// Rows off the path hold anything: they are not read. The machine would find an uninitialised value.
#[test]
fn only_rows_on_the_path_are_read() {
    let nan: &[f32] = &[f32::NAN; 3];
    let found = one(
        &[0, 1, 2],
        &[-1, -1, 0],
        &[LIKES[1], nan, LIKES[2], nan],
        &[],
    );
    assert_eq!(found, walk(&[1], &[1], 2));
}

/// Slots come in the order of the path, −1 behind it.
#[test]
fn slots_to_keep_follow_the_path() {
    let device: Arc<dyn Device> = Vm::new();
    let shape = PageShape {
        pages: 4,
        page: 4,
        heads: 1,
        head_size: 4,
    };
    let tree = TokenTree::new(&[0, 1, 2], &[-1, -1, 1]).unwrap();
    let trees = Trees::new(&device, &[tree]).unwrap();
    let slots = Slots::new(&device, &shape, &[9, 3, 7]).unwrap();
    let rows = [LIKES[1], LIKES[0], LIKES[2], LIKES[0]].concat();
    let rows = Buffer::from_slice(&device, &rows).unwrap();
    let stop = Buffer::from_slice(&device, &[]).unwrap();
    let logits = Logits {
        rows: &rows,
        vocabulary: 3,
    };
    let accepted = accept_greedy(&trees, logits, &stop, Some(&slots)).unwrap();
    assert_eq!(accepted.slot.unwrap().to_vec().unwrap(), [3, 7, -1]);
    assert_eq!(accepted.node.to_vec().unwrap(), [1, 2, -1]);
}

#[test]
fn a_thousand_nodes_in_a_chain() {
    let tokens: Vec<i32> = (0..1024).map(|i| i % 3).collect();
    let mut rows = LIKES[0].to_vec();
    for token in &tokens {
        rows.extend_from_slice(LIKES[(*token as usize + 1) % 3]);
    }
    let found = walks(&[TokenTree::chain(&tokens).unwrap()], &rows, 3, &[]).remove(0);
    assert_eq!(found.nodes, (0..1024).collect::<Vec<_>>());
    assert_eq!(found.bonus, Some(1));
}
