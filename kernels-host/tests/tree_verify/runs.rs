//! Whole runs, and what stays in the cache.

use crate::scheduled;
use half::f16;
use kernels_host::paged_kv::{Format, KvCache, PageShape, Store};
use kernels_host::tree_verify::{
    Draft, Drafted, Logits, Mode, Rules, Target, TokenTree, TreeVerifier, Trees, Turn,
    accept_greedy, keep,
};
use kernels_host::{Buffer, Device, Error, Vm};
use reference::cases::Rng;
use reference::lm::{HashModel, Model, greedy};
use std::collections::HashSet;
use std::sync::Arc;

const V: usize = 8;

/// The hash model as the target.
struct Hashing {
    device: Arc<dyn Device>,
    model: HashModel,
    turns: usize,
}

impl Target<f32> for Hashing {
    type Error = Error;
    fn vocabulary(&self) -> usize {
        V
    }
    fn logits(&mut self, turn: &Turn<'_>) -> Result<Buffer<f32>, Error> {
        self.turns += 1;
        let mut rows = Vec::new();
        for n in 0..turn.items().len() {
            let (history, tree) = (turn.history(n), turn.tree(n));
            rows.extend(self.model.logits(history));
            for node in 0..tree.len() {
                let path = tree.path(node).into_iter().map(|i| tree.tokens()[i]);
                let history: Vec<i32> = history.iter().copied().chain(path).collect();
                rows.extend(self.model.logits(&history));
            }
        }
        Buffer::from_slice(&self.device, &rows)
    }
}

/// Follows the model by chance, strays by chance.
struct Guessing {
    model: HashModel,
    rng: Rng,
}

impl Draft for Guessing {
    type Error = Error;
    fn propose(&mut self, _: usize, history: &[i32], _: usize) -> Result<Drafted, Error> {
        let nodes = self.rng.below(9);
        let guide = greedy(&self.model, history, nodes, &HashSet::new());
        let (mut tokens, mut parents, mut tip, mut spelled) = (Vec::new(), Vec::new(), -1, 0);
        for i in 0..nodes as i32 {
            if spelled < guide.len() && self.rng.chance(0.6) {
                tokens.push(guide[spelled]);
                parents.push(tip);
                (tip, spelled) = (i, spelled + 1);
            } else {
                tokens.push(self.rng.below(V) as i32);
                parents.push(self.rng.between(0, i as usize) as i32 - 1);
            }
        }
        let tree = TokenTree::new(&tokens, &parents)?;
        Ok(Drafted {
            tree,
            distribution: None,
        })
    }
}

/// Texts of a batch, of any draft, are those of plain greedy decoding; turns are fewer.
#[test]
fn runs_equal_greedy_decoding() {
    let (mut turns, mut tokens) = (0, 0);
    for seed in 0..12 {
        let device: Arc<dyn Device> = Vm::new();
        let model = HashModel::new(seed, V).with_forbidden(if seed % 3 == 0 { 0.4 } else { 0.0 });
        let stop = vec![(seed % 8) as i32];
        let rules = Rules {
            stop: stop.clone(),
            max_new_tokens: 14,
        };
        let verifier = TreeVerifier::new(&device, rules, Mode::Greedy).unwrap();
        let mut target = Hashing {
            device: device.clone(),
            model: model.clone(),
            turns: 0,
        };
        let mut draft = Guessing {
            model: model.clone(),
            rng: Rng::new(seed),
        };
        let prompts: [&[i32]; 4] = [&[1, 2, 3], &[4], &[5, 5], &[0, 7, 1, 2]];
        let texts = verifier.run(&mut draft, &mut target, &prompts).unwrap();
        let stop = HashSet::from_iter(stop);
        for (text, prompt) in texts.iter().zip(prompts) {
            assert_eq!(*text, greedy(&model, prompt, 14, &stop), "seed {seed}");
        }
        turns += target.turns;
        tokens += texts.iter().map(Vec::len).max().unwrap();
    }
    assert!(turns < tokens, "{turns} turns for {tokens} tokens");
}

#[test]
fn sampled_runs_repeat_with_their_seed() {
    let run = |seed: u64| {
        let device: Arc<dyn Device> = Vm::new();
        let model = HashModel::new(3, V);
        let rules = Rules {
            stop: vec![],
            max_new_tokens: 10,
        };
        let mode = Mode::Sampling {
            temperature: 1.5,
            seed,
        };
        let verifier = TreeVerifier::new(&device, rules, mode).unwrap();
        let mut target = Hashing {
            device: device.clone(),
            model: model.clone(),
            turns: 0,
        };
        let mut draft = Guessing {
            model,
            rng: Rng::new(1),
        };
        verifier
            .run(&mut draft, &mut target, &[&[1], &[2]])
            .unwrap()
    };
    let texts = run(5);
    assert!(texts.iter().all(|text| text.len() == 10));
    assert_eq!(texts, run(5));
    assert_ne!(texts, run(6));
}

#[test]
fn no_tokens_are_asked_for() {
    let device: Arc<dyn Device> = Vm::new();
    let verifier = TreeVerifier::new(&device, Rules::default(), Mode::Greedy).unwrap();
    let mut target = Hashing {
        device: device.clone(),
        model: HashModel::new(1, V),
        turns: 0,
    };
    let mut draft = Guessing {
        model: HashModel::new(1, V),
        rng: Rng::new(1),
    };
    let texts = verifier.run(&mut draft, &mut target, &[&[1]]).unwrap();
    assert_eq!((texts, target.turns), (vec![vec![]], 0));
}

/// Accepted tokens move up behind the prefix, in every layer and format; the rest goes, and pages come
/// back. In the usual order and in random ones.
#[test]
fn accepted_slots_are_kept_in_order() {
    const D: usize = 4;
    for format in Format::ALL {
        for (seed, page) in [1, 3, 4].into_iter().enumerate() {
            let device = scheduled(seed as u64);
            let shape = PageShape {
                pages: 24,
                page,
                heads: 1,
                head_size: D,
            };
            let mut cache = KvCache::new(&device, 2, shape, format).unwrap();
            let ids = [cache.create(), cache.create(), cache.create()];
            let nodes = [5, 0, 3];
            // Prefixes of 3, 2 and 1 tokens; every token is its number.
            let growth = [(ids[0], 3 + 5), (ids[1], 2), (ids[2], 1 + 3)];
            let slots = cache.extend(&growth).unwrap();
            let x: Vec<f32> = (0..slots.len()).flat_map(|t| [t as f32; D]).collect();
            let x = Buffer::from_slice(&device, &x).unwrap();
            for layer in 0..2 {
                cache.append(layer, &slots, &x, &x, None).unwrap();
            }
            // Paths 1 → 4 and 0 → 1 → 2.
            let trees = [
                TokenTree::new(&[0, 1, 2, 0, 2], &[-1, -1, 0, 1, 1]).unwrap(),
                TokenTree::default(),
                TokenTree::chain(&[1, 2, 0]).unwrap(),
            ];
            assert_eq!(trees.each_ref().map(TokenTree::len), nodes);
            let trees = Trees::new(&device, &trees).unwrap();
            let likes = [
                1, 0, 2, 0, 0, 1, /* item 1 */ 0, /* item 2 */ 1, 2, 0, 1,
            ];
            let rows: Vec<f32> = likes
                .iter()
                .flat_map(|like| (0..3).map(|t| f32::from(u8::from(t == *like))))
                .collect();
            let rows = Buffer::from_slice(&device, &rows).unwrap();
            let stop = Buffer::from_slice(&device, &[]).unwrap();
            let logits = Logits {
                rows: &rows,
                vocabulary: 3,
            };
            let accepted = accept_greedy(&trees, logits, &stop, None).unwrap();
            keep(&mut cache, &ids, &trees, &accepted).unwrap();
            let tokens = |b: usize, layer: usize| -> Vec<f32> {
                let slots = cache.slots(ids[b]).unwrap();
                let values = values(cache.pages(layer).unwrap().k(), D);
                slots.into_iter().map(|slot| values[slot]).collect()
            };
            for layer in 0..2 {
                assert_eq!(
                    tokens(0, layer),
                    expected(format, &[0, 1, 2, 4, 7]),
                    "{format:?}"
                );
                assert_eq!(tokens(1, layer), expected(format, &[8, 9]));
                assert_eq!(tokens(2, layer), expected(format, &[10, 11, 12, 13]));
            }
            let used: usize = [5_usize, 2, 4].iter().map(|n| n.div_ceil(page)).sum();
            assert_eq!(cache.allocator().free(), 24 - used);
        }
    }
}

/// What a constant vector reads as.
fn expected(format: Format, tokens: &[usize]) -> Vec<f32> {
    let int8 = |t: f32| 127.0 * f16::from_f32(t / 127.0).to_f32();
    let value = |t: &usize| match format {
        Format::Int8 => int8(*t as f32),
        _ => *t as f32,
    };
    tokens.iter().map(value).collect()
}

fn values(store: &Store, d: usize) -> Vec<f32> {
    match store {
        Store::F16(x) => x
            .to_vec()
            .unwrap()
            .iter()
            .step_by(d)
            .map(|x| x.to_f32())
            .collect(),
        Store::Bf16(x) => x
            .to_vec()
            .unwrap()
            .iter()
            .step_by(d)
            .map(|x| x.to_f32())
            .collect(),
        Store::Int8 { codes, scale } => {
            let (codes, scale) = (codes.to_vec().unwrap(), scale.to_vec().unwrap());
            let value = |at: usize| f32::from(codes[at * d]) * scale[at].to_f32();
            (0..scale.len()).map(value).collect()
        }
        Store::Int4 {
            packed,
            scale,
            zero,
        } => {
            let (packed, scale, zero) = (
                packed.to_vec().unwrap(),
                scale.to_vec().unwrap(),
                zero.to_vec().unwrap(),
            );
            let value = |at: usize| {
                (f32::from(packed[at * d / 2] & 15) - zero[at].to_f32()) * scale[at].to_f32()
            };
            (0..scale.len()).map(value).collect()
        }
    }
}
