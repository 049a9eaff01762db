//! Ancestor masks, bit for bit.

use crate::random_parents;
use kernels_host::tree_verify::{TokenTree, TreeMask, Trees};
use kernels_host::{Device, Vm};
use reference::cases::Rng;
use reference::tree_attention::AncestorMask;
use std::sync::Arc;

fn check(sizes: &[usize], seed: u64) {
    let mut rng = Rng::new(seed);
    let device: Arc<dyn Device> = Vm::new();
    let parents: Vec<Vec<i32>> = sizes.iter().map(|n| random_parents(&mut rng, *n)).collect();
    let trees: Vec<TokenTree> = parents
        .iter()
        .map(|parents| TokenTree::new(&vec![0; parents.len()], parents).unwrap())
        .collect();
    let trees = Trees::new(&device, &trees).unwrap();
    let mask = TreeMask::new(&trees).unwrap();
    let (words, depths) = (mask.words().unwrap(), mask.depths().unwrap());
    let mut first = 0;
    for parents in &parents {
        let expected = AncestorMask::new(parents).unwrap();
        for i in 0..parents.len() {
            let row = &words[(first + i) * mask.width()..][..mask.width()];
            for (j, word) in row.iter().enumerate() {
                let bit = |b: usize| 32 * j + b < parents.len() && expected.sees(i, 32 * j + b);
                let right = (0..32).fold(0_u32, |word, b| word | u32::from(bit(b)) << b);
                assert_eq!(*word, right, "node {i}, word {j}");
            }
            assert_eq!(depths[first + i] as usize, expected.depth(i));
        }
        first += parents.len();
    }
}

#[test]
fn ragged_batches() {
    for seed in 0..6 {
        check(&[1, 0, 33, 5, 64, 31], seed);
    }
}

#[test]
fn a_thousand_nodes() {
    check(&[1024, 1000], 7);
}

/// A chain: node i sees 0…i.
#[test]
fn the_deepest_tree() {
    let device: Arc<dyn Device> = Vm::new();
    let chain = TokenTree::chain(&[3; 1024]).unwrap();
    let mask = TreeMask::new(&Trees::new(&device, &[chain]).unwrap()).unwrap();
    let words = mask.words().unwrap();
    for i in [0, 31, 32, 500, 1023] {
        let row = &words[i * 32..(i + 1) * 32];
        let seen: u32 = row.iter().map(|word| word.count_ones()).sum();
        assert_eq!(seen as usize, i + 1);
    }
    assert_eq!(mask.depths().unwrap()[1023], 1023);
}

#[test]
fn no_nodes_at_all() {
    let device: Arc<dyn Device> = Vm::new();
    let empty = TokenTree::default();
    let mask = TreeMask::new(&Trees::new(&device, &[empty.clone(), empty]).unwrap()).unwrap();
    assert!(mask.words().unwrap().is_empty());
}
