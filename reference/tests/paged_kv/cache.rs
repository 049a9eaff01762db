//! Random histories of a cache, beside a list of tokens per sequence.

use std::collections::HashMap;

use proptest::prelude::*;
use reference::Error;
use reference::numbers::DType;
use reference::paged_kv::{Format, KvCache, PageShape, SequenceId};

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Append(usize),
    Fork(usize),
    Remove(usize),
    Truncate(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0usize..100;
    prop_oneof![
        1 => Just(Step::Create),
        8 => which.clone().prop_map(Step::Append),
        2 => which.clone().prop_map(Step::Fork),
        1 => which.clone().prop_map(Step::Remove),
        1 => (which.clone(), which).prop_map(|(s, n)| Step::Truncate(s, n)),
    ]
}

/// K of token number `serial`; V is its negative.
fn token(serial: usize, shape: PageShape) -> Vec<f32> {
    (0..shape.heads * shape.head_size)
        .map(|i| (serial * 31 + i) as f32)
        .collect()
}

/// Every token of every sequence reads back as it was written; every page is held by exactly the
/// sequences whose tables name it.
fn check(cache: &KvCache, model: &HashMap<SequenceId, Vec<usize>>) {
    let shape = cache.k().shape();
    let mut holders = vec![0u32; shape.pages];
    for (&id, tokens) in model {
        assert_eq!(cache.len(id).unwrap(), tokens.len());
        let slots = cache.slots(id).unwrap();
        for (&slot, &serial) in slots.iter().zip(tokens) {
            let expected = token(serial, shape);
            for (at, &expected) in expected.iter().enumerate() {
                let (vector, d) = (
                    slot * shape.heads + at / shape.head_size,
                    at % shape.head_size,
                );
                let k = cache.k().pages().read(vector, d, shape.head_size).value;
                let v = cache.v().pages().read(vector, d, shape.head_size).value;
                assert_eq!((k, v), (f64::from(expected), -f64::from(expected)));
            }
        }
        let (table, width, length) = cache.block_table(&[id]).unwrap();
        assert_eq!(length, [tokens.len() as i32]);
        assert_eq!(width, tokens.len().div_ceil(shape.page));
        table.iter().for_each(|&page| holders[page as usize] += 1);
    }
    for (page, &count) in holders.iter().enumerate() {
        assert_eq!(
            cache.allocator().holders(page).unwrap(),
            count,
            "page {page}"
        );
    }
    let free = holders.iter().filter(|&&count| count == 0).count();
    assert_eq!(cache.allocator().free(), free);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_cache_is_a_list_of_tokens_per_sequence(
        page in 1usize..5,
        pages in 1usize..12,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let shape = PageShape { pages, page, heads: 2, head_size: 3 };
        let mut cache = KvCache::new(shape, Format::Float(DType::F32)).unwrap();
        let mut model: HashMap<SequenceId, Vec<usize>> = HashMap::new();
        let mut order: Vec<SequenceId> = Vec::new();
        for (serial, step) in steps.into_iter().enumerate() {
            let pick = |which: usize| order.get(which % order.len().max(1)).copied();
            match step {
                Step::Create => {
                    let id = cache.create();
                    model.insert(id, Vec::new());
                    order.push(id);
                }
                Step::Append(which) => {
                    let Some(id) = pick(which) else { continue };
                    let k = token(serial, shape);
                    let v: Vec<f32> = k.iter().map(|x| -x).collect();
                    let before = cache.clone();
                    match cache.append(id, &k, &v) {
                        Ok(slot) => {
                            model.get_mut(&id).unwrap().push(serial);
                            prop_assert_eq!(cache.slots(id).unwrap().pop(), Some(slot));
                        }
                        Err(error) => {
                            let out_of_pages = matches!(error, Error::OutOfPages { .. });
                            prop_assert!(out_of_pages, "{}", error);
                            prop_assert_eq!(before.allocator().free(), 0);
                            prop_assert_eq!(&before, &cache);
                        }
                    }
                }
                Step::Fork(which) => {
                    let Some(id) = pick(which) else { continue };
                    let child = cache.fork(id).unwrap();
                    model.insert(child, model[&id].clone());
                    order.push(child);
                }
                Step::Remove(which) => {
                    let Some(id) = pick(which) else { continue };
                    cache.remove(id).unwrap();
                    model.remove(&id);
                    order.retain(|&other| other != id);
                    prop_assert_eq!(cache.len(id).unwrap_err().about(), "sequence");
                }
                Step::Truncate(which, tokens) => {
                    let Some(id) = pick(which) else { continue };
                    let tokens = tokens % (model[&id].len() + 1);
                    cache.truncate(id, tokens).unwrap();
                    model.get_mut(&id).unwrap().truncate(tokens);
                }
            }
            check(&cache, &model);
        }
    }
}

#[test]
fn a_shared_page_is_copied_on_the_first_write_only() {
    let shape = PageShape {
        pages: 3,
        page: 4,
        heads: 1,
        head_size: 1,
    };
    let mut cache = KvCache::new(shape, Format::Float(DType::F32)).unwrap();
    let parent = cache.create();
    cache.append(parent, &[1.0], &[1.0]).unwrap();
    let child = cache.fork(parent).unwrap();
    assert_eq!(cache.allocator().free(), 2);
    let slot = cache.append(child, &[2.0], &[2.0]).unwrap();
    assert_eq!((slot, cache.allocator().free()), (5, 1));
    // The parent holds its page alone again: no second copy.
    assert_eq!(cache.append(parent, &[3.0], &[3.0]).unwrap(), 1);
    assert_eq!(cache.allocator().free(), 1);
}

#[test]
fn full_shared_pages_are_not_copied() {
    let shape = PageShape {
        pages: 3,
        page: 2,
        heads: 1,
        head_size: 1,
    };
    let mut cache = KvCache::new(shape, Format::Float(DType::F32)).unwrap();
    let parent = cache.create();
    for x in [1.0, 2.0] {
        cache.append(parent, &[x], &[x]).unwrap();
    }
    let child = cache.fork(parent).unwrap();
    cache.append(child, &[3.0], &[3.0]).unwrap();
    cache.append(parent, &[4.0], &[4.0]).unwrap();
    assert_eq!(cache.allocator().holders(0).unwrap(), 2);
    assert_eq!(cache.slots(child).unwrap(), [0, 1, 2]);
    assert_eq!(cache.slots(parent).unwrap(), [0, 1, 4]);
}

#[test]
fn bad_tokens_and_sizes_change_nothing_and_name_themselves() {
    let shape = PageShape {
        pages: 2,
        page: 1,
        heads: 2,
        head_size: 2,
    };
    let zero = PageShape {
        head_size: 0,
        ..shape
    };
    assert_eq!(
        KvCache::new(zero, Format::Int8).unwrap_err().about(),
        "head size"
    );
    let mut cache = KvCache::new(shape, Format::Int8).unwrap();
    let id = cache.create();
    assert_eq!(
        cache.append(id, &[0.0; 3], &[0.0; 4]).unwrap_err().about(),
        "k"
    );
    assert_eq!(
        cache
            .append(id, &[0.0; 4], &[f32::NAN; 4])
            .unwrap_err()
            .about(),
        "v"
    );
    assert_eq!((cache.len(id).unwrap(), cache.allocator().free()), (0, 2));
    assert_eq!(cache.truncate(id, 1).unwrap_err().about(), "tokens");
}
