//! Token trees on the PTX machine: masks, attention, acceptance and whole runs, against the oracles.

mod attention;
mod greedy;
mod mask;
mod refusals;
mod runs;
mod sampling;

use kernels_host::tree_verify::TokenTree;
use kernels_host::{Device, Vm};
use reference::cases::Rng;
use reference::tree::Tree;
use std::sync::Arc;

/// A machine in its usual order, or with a seed in a random one.
fn scheduled(seed: u64) -> Arc<dyn Device> {
    let vm = Vm::new();
    vm.set_options(simt::Options {
        seed,
        explore: seed > 0,
        ..simt::Options::default()
    });
    vm
}

/// The same tree for the kernels.
fn token_tree(tree: &Tree) -> TokenTree {
    TokenTree::new(tree.tokens(), &parents(tree)).unwrap()
}

fn parents(tree: &Tree) -> Vec<i32> {
    let number = |parent: &Option<usize>| parent.map_or(-1, |parent| parent as i32);
    tree.parents().iter().map(number).collect()
}

/// Parents of a random tree: bushy, or nearly a chain.
fn random_parents(rng: &mut Rng, nodes: usize) -> Vec<i32> {
    let chain = rng.unit();
    let parent = |i: usize, rng: &mut Rng| match rng.chance(chain) {
        true => i as i32 - 1,
        false => rng.between(0, i) as i32 - 1,
    };
    (0..nodes).map(|i| parent(i, rng)).collect()
}
