//! The cache on the host: pages, sharing, copies, and what attention then reads.

use half::f16;
use kernels_host::paged_kv::{
    Format, KvCache, Options, Outputs, PageShape, Queries, SequenceId, Store, paged_attention,
};
use kernels_host::{Buffer, Device, Error, Recorder, Vm};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

const D: usize = 64;

fn cache(device: &Arc<dyn Device>, pages: usize, page: usize, format: Format) -> KvCache {
    let shape = PageShape {
        pages,
        page,
        heads: 1,
        head_size: D,
    };
    KvCache::new(device, 2, shape, format).unwrap()
}

/// Appends tokens whose components all are `value`, exactly in every format.
fn grow(cache: &mut KvCache, device: &Arc<dyn Device>, id: SequenceId, values: &[f32]) {
    let slots = cache.extend(&[(id, values.len())]).unwrap();
    let x: Vec<f32> = values.iter().flat_map(|v| [*v; D]).collect();
    let x = Buffer::from_slice(device, &x).unwrap();
    for layer in 0..2 {
        cache.append(layer, &slots, &x, &x, None).unwrap();
    }
}

/// The value that each token of a sequence reads as.
fn read(cache: &KvCache, id: SequenceId, layer: usize) -> Vec<f32> {
    let slots = cache.slots(id).unwrap();
    let store = cache.pages(layer).unwrap().v();
    let of: Vec<f32> = match store {
        Store::F16(x) => x
            .to_vec()
            .unwrap()
            .iter()
            .step_by(D)
            .map(|x| x.to_f32())
            .collect(),
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
                (f32::from(packed[at * D / 2] & 15) - zero[at].to_f32()) * scale[at].to_f32()
            };
            (0..scale.len()).map(value).collect()
        }
        _ => unreachable!("the formats of these tests"),
    };
    slots.into_iter().map(|slot| of[slot]).collect()
}

#[test]
fn a_fork_shares_pages_until_it_writes() {
    for format in [Format::F16, Format::Int4] {
        let device: Arc<dyn Device> = Vm::new();
        let mut cache = cache(&device, 6, 4, format);
        let a = cache.create();
        grow(&mut cache, &device, a, &[1.0, 2.0, 3.0, 4.0, 5.0]);
        let b = cache.fork(a).unwrap();
        assert_eq!(cache.allocator().free(), 4);
        grow(&mut cache, &device, b, &[60.0]);
        assert_eq!(cache.allocator().free(), 3);
        grow(&mut cache, &device, a, &[6.0, 7.0]);
        assert_eq!(
            cache.allocator().free(),
            3,
            "a's last page is its own again"
        );
        for layer in 0..2 {
            assert_eq!(read(&cache, a, layer), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
            assert_eq!(read(&cache, b, layer), [1.0, 2.0, 3.0, 4.0, 5.0, 60.0]);
        }
        cache.remove(a).unwrap();
        assert_eq!(read(&cache, b, 1), [1.0, 2.0, 3.0, 4.0, 5.0, 60.0]);
        cache.remove(b).unwrap();
        assert_eq!(cache.allocator().free(), 6);
        assert!(matches!(cache.len(b), Err(Error::NoSequence { .. })));
    }
}

/// Full pages are shared and never copied; both grow at once: one copy, the last writer keeps the
/// page.
#[test]
fn growing_together_copies_once() {
    let device: Arc<dyn Device> = Vm::new();
    let mut cache = cache(&device, 4, 2, Format::F16);
    let a = cache.create();
    grow(&mut cache, &device, a, &[1.0, 2.0, 3.0]);
    let b = cache.fork(a).unwrap();
    let slots = cache.extend(&[(a, 1), (b, 1)]).unwrap();
    assert_eq!(cache.allocator().free(), 1);
    let x = Buffer::from_slice(&device, &[[4.0_f32; D], [5.0; D]].concat()).unwrap();
    for layer in 0..2 {
        cache.append(layer, &slots, &x, &x, None).unwrap();
    }
    assert_eq!(read(&cache, a, 0), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(read(&cache, b, 0), [1.0, 2.0, 3.0, 5.0]);
}

#[test]
fn out_of_pages_changes_nothing() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let mut cache = cache(&device, 2, 4, Format::F16);
    let (a, b) = (cache.create(), cache.create());
    cache.extend(&[(a, 4)]).unwrap();
    let error = cache.extend(&[(a, 1), (b, 1)]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutOfPages {
                asked: 2,
                free: 1,
                pages: 2
            }
        ),
        "{error}"
    );
    assert_eq!((cache.len(a).unwrap(), cache.len(b).unwrap()), (4, 0));
    assert_eq!(cache.allocator().free(), 1);
    assert!(recorder.launches().is_empty());
    // A shared page that would have to be copied counts.
    let mut cache = self::cache(&device, 1, 4, Format::F16);
    let a = cache.create();
    cache.extend(&[(a, 1)]).unwrap();
    let b = cache.fork(a).unwrap();
    assert!(matches!(
        cache.extend(&[(b, 1)]),
        Err(Error::OutOfPages { .. })
    ));
    assert_eq!(cache.allocator().holders(0), 2);
    assert!(recorder.launches().is_empty());
}

#[test]
fn a_sequence_grows_once_a_call() {
    let device: Arc<dyn Device> = Recorder::new();
    let mut cache = cache(&device, 2, 4, Format::F16);
    let a = cache.create();
    assert!(cache.extend(&[(a, 1), (a, 1)]).is_err());
    assert_eq!(cache.len(a).unwrap(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Fork(usize),
    Grow(usize, usize),
    Cut(usize, usize),
    Remove(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = 0_usize..8;
    let step = prop_oneof![
        1 => Just(Step::Create),
        2 => any.clone().prop_map(Step::Fork),
        5 => (any.clone(), 1_usize..6).prop_map(|(id, n)| Step::Grow(id, n)),
        1 => (any.clone(), 0_usize..12).prop_map(|(id, n)| Step::Cut(id, n)),
        1 => any.prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is done, each sequence reads as a list of its own would, and every page is free or
    /// held by as many sequences as the allocator says.
    #[test]
    fn sequences_behave_like_lists(steps in steps(), page in 1_usize..5) {
        let device: Arc<dyn Device> = Vm::new();
        let mut cache = cache(&device, 12, page, Format::F16);
        let mut lists: Vec<(SequenceId, Vec<f32>)> = Vec::new();
        let mut next = 0.0;
        for step in steps {
            let pick = |n: usize| if lists.is_empty() { None } else { Some(n % lists.len()) };
            match step {
                Step::Create => lists.push((cache.create(), Vec::new())),
                Step::Fork(n) => if let Some(n) = pick(n) {
                    let copy = (cache.fork(lists[n].0).unwrap(), lists[n].1.clone());
                    lists.push(copy);
                },
                Step::Grow(n, tokens) => if let Some(n) = pick(n) {
                    let values: Vec<f32> = (0..tokens).map(|i| next + i as f32).collect();
                    next += tokens as f32;
                    let free = cache.allocator().free();
                    match cache.extend(&[(lists[n].0, tokens)]) {
                        Ok(slots) => {
                            let x: Vec<f32> = values.iter().flat_map(|v| [*v; D]).collect();
                            let x = Buffer::from_slice(&device, &x).unwrap();
                            for layer in 0..2 {
                                cache.append(layer, &slots, &x, &x, None).unwrap();
                            }
                            lists[n].1.extend(values);
                        }
                        Err(error) => {
                            prop_assert!(matches!(error, Error::OutOfPages { .. }), "{}", error);
                            prop_assert_eq!(cache.allocator().free(), free);
                        }
                    }
                },
                Step::Cut(n, tokens) => if let Some(n) = pick(n) {
                    let fits = tokens <= lists[n].1.len();
                    prop_assert_eq!(cache.truncate(lists[n].0, tokens).is_ok(), fits);
                    lists[n].1.truncate(tokens);
                },
                Step::Remove(n) => if let Some(n) = pick(n) {
                    cache.remove(lists.remove(n).0).unwrap();
                },
            }
            let mut holders: HashMap<usize, u32> = HashMap::new();
            for (id, list) in &lists {
                prop_assert_eq!(&read(&cache, *id, 1), list);
                let mut pages: Vec<usize> = cache.slots(*id).unwrap().iter().map(|s| s / page).collect();
                pages.dedup();
                pages.iter().for_each(|page| *holders.entry(*page).or_default() += 1);
            }
            for page in 0..12 {
                let held = holders.get(&page).copied().unwrap_or(0);
                prop_assert_eq!(cache.allocator().holders(page), held);
            }
            prop_assert_eq!(cache.allocator().free(), 12 - holders.len());
        }
    }
}

/// Unwritten slots of fresh pages are undefined memory: the machine's checker sees that attention
/// does not read them.
#[test]
fn attention_reads_what_was_appended_and_nothing_else() {
    for format in Format::ALL {
        let vm = Vm::new();
        let device: Arc<dyn Device> = vm.clone();
        let mut cache = cache(&device, 8, 16, format);
        let (a, b) = (cache.create(), cache.create());
        grow(&mut cache, &device, a, &[2.0; 37]);
        grow(&mut cache, &device, b, &[3.0; 1]);
        let q = Buffer::from_slice(&device, &[f16::ONE; 2 * D]).unwrap();
        let mut o = Buffer::uninit(&device, 2 * D).unwrap();
        let mut lse = Buffer::uninit(&device, 2).unwrap();
        paged_attention(
            &Queries {
                q: &q,
                heads: 1,
                starts: None,
                sink_logits: None,
            },
            cache.pages(1).unwrap(),
            &cache.block_table(&[a, b]).unwrap(),
            &Options::new(0.0),
            Outputs {
                o: &mut o,
                lse: &mut lse,
            },
        )
        .unwrap();
        let o = o.to_vec().unwrap();
        assert!(vm.last_report().findings.is_empty());
        assert_eq!((o[0].to_f32(), o[D].to_f32()), (2.0, 3.0), "{format:?}");
    }
}
