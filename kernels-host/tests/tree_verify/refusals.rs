//! What does not fit is refused, and nothing is launched.

use kernels_host::paged_kv::{Format, KvCache, Options, Outputs, PageShape, Queries};
use kernels_host::tree_verify::{
    Logits, Sampling, TokenTree, TreeMask, Trees, accept_greedy, accept_sampled, tree_attention,
};
use kernels_host::{Buffer, Device, Recorder};
use std::sync::Arc;

/// Cycles and parents that come later.
#[test]
fn trees_that_are_none_are_refused() {
    for (tokens, parents, about) in [
        (&[1, 2][..], &[1, -1][..], "`parents`[0] is 1"),
        (&[1, 2], &[-1, 1], "`parents`[1] is 1"),
        (&[1, 2, 3], &[2, 0, 1], "`parents`[0] is 2"),
        (&[1], &[-2], "`parents`[0] is -2"),
        (&[1, -1], &[-1, 0], "`tokens`[1] is -1"),
        (&[1, 2], &[-1], "`parents` holds"),
    ] {
        let error = TokenTree::new(tokens, parents).unwrap_err().to_string();
        assert!(error.starts_with(about), "{error}");
    }
    assert!(TokenTree::chain(&vec![0; 1025]).is_err());
    TokenTree::chain(&vec![0; 1024]).unwrap();
    TokenTree::new(&[], &[]).unwrap();
}

#[test]
fn calls_that_do_not_fit_launch_nothing() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    assert!(Trees::new(&device, &[]).is_err());
    let trees = Trees::new(&device, &[TokenTree::chain(&[1, 4]).unwrap()]).unwrap();
    let rows = |n: usize| Buffer::from_slice(&device, &vec![0.0_f32; n]).unwrap();
    let stop = Buffer::from_slice(&device, &[]).unwrap();
    let greedy = |rows: &Buffer<f32>, vocabulary| {
        accept_greedy(&trees, Logits { rows, vocabulary }, &stop, None).is_ok()
    };
    assert!(!greedy(&rows(12), 4), "token 4 of 4");
    assert!(!greedy(&rows(14), 5), "a row short of an element");
    assert!(!greedy(&rows(0), 0), "no vocabulary");
    let right = rows(15);
    let draft = rows(14);
    let logits = Logits {
        rows: &right,
        vocabulary: 5,
    };
    let good = Sampling {
        temperature: 1.0,
        draft: None,
        uniform: &[0.0, 0.5],
        bonus_uniform: &[0.999],
    };
    for (about, wrong) in [
        (
            "temperature",
            Sampling {
                temperature: 0.0,
                ..good
            },
        ),
        (
            "temperature",
            Sampling {
                temperature: f32::NAN,
                ..good
            },
        ),
        (
            "uniform",
            Sampling {
                uniform: &[0.0],
                ..good
            },
        ),
        (
            "uniform",
            Sampling {
                uniform: &[0.0, 1.0],
                ..good
            },
        ),
        (
            "uniform",
            Sampling {
                uniform: &[0.0, f32::NAN],
                ..good
            },
        ),
        (
            "bonus_uniform",
            Sampling {
                bonus_uniform: &[-0.1],
                ..good
            },
        ),
        (
            "draft",
            Sampling {
                draft: Some(&draft),
                ..good
            },
        ),
    ] {
        let error = accept_sampled(&trees, logits, &wrong, &stop, None).expect_err(about);
        assert!(
            error.to_string().starts_with(&format!("`{about}`")),
            "{error}"
        );
    }
    assert!(recorder.launches().is_empty());
    assert!(greedy(&right, 5));
    accept_sampled(&trees, logits, &good, &stop, None).unwrap();
    assert_eq!(recorder.launches(), ["tree_greedy_f32", "tree_sample_f32"]);
}

#[test]
fn a_sequence_shorter_than_its_tree_is_refused() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let shape = PageShape {
        pages: 2,
        page: 4,
        heads: 1,
        head_size: 64,
    };
    let mut cache = KvCache::new(&device, 1, shape, Format::F16).unwrap();
    let id = cache.create();
    cache.extend(&[(id, 1)]).unwrap();
    let trees = Trees::new(&device, &[TokenTree::chain(&[1, 2]).unwrap()]).unwrap();
    let mask = TreeMask::new(&trees).unwrap();
    let q = Buffer::from_slice(&device, &[half::f16::ONE; 128]).unwrap();
    let (mut o, mut lse) = (
        Buffer::uninit(&device, 128).unwrap(),
        Buffer::uninit(&device, 2).unwrap(),
    );
    let before = recorder.launches();
    let error = tree_attention(
        &Queries {
            q: &q,
            heads: 1,
            starts: None,
            sink_logits: None,
        },
        &trees,
        &mask,
        cache.pages(0).unwrap(),
        &cache.block_table(&[id]).unwrap(),
        &Options::new(1.0),
        None,
        Outputs {
            o: &mut o,
            lse: &mut lse,
        },
    )
    .unwrap_err();
    assert!(
        error.to_string().starts_with("`seq_len`[0] is 1"),
        "{error}"
    );
    assert_eq!(recorder.launches(), before);
}
