//! Attention of trees over paged prefixes, against the oracle.

use crate::random_parents;
use half::{bf16, f16};
use kernels_host::attention::Float;
use kernels_host::paged_kv::{Format, KvCache, Options, Outputs, PageShape, Queries, Rung, Store};
use kernels_host::tree_verify::{TokenTree, TreeMask, Trees, tree_attention};
use kernels_host::{Buffer, Device, Vm};
use reference::View;
use reference::attention::{self as oracle, Method};
use reference::cases::{Rng, normal};
use reference::numbers::{Element, Precision};
use reference::paged_kv::{self, PagedKeys, PagedQueries};
use reference::tree_attention::{TreeKeys, tree_attention as expected_attention};
use std::sync::Arc;

struct Plan {
    format: Format,
    head_size: usize,
    page: usize,
    kv_heads: usize,
    group: usize,
    /// Tokens of the prefix, and nodes, of each item.
    items: Vec<(usize, usize)>,
    options: Options,
}

/// A tree's keys and values are in the cache behind the prefix; what the oracle reads are the
/// pages that the device holds.
fn check<T: Float + Element>(plan: &Plan, seed: u64) {
    let mut rng = Rng::new(seed);
    let (d, hkv) = (plan.head_size, plan.kv_heads);
    let heads = hkv * plan.group;
    let parents: Vec<Vec<i32>> = plan
        .items
        .iter()
        .map(|i| random_parents(&mut rng, i.1))
        .collect();
    let nodes: usize = plan.items.iter().map(|item| item.1).sum();
    let q: Vec<T> = normal(&mut rng, nodes * heads * d, 1.0);
    let sinks: Vec<f32> = normal(&mut rng, heads, 1.0);
    let lengths: Vec<usize> = plan.items.iter().map(|item| item.0 + item.1).collect();
    let shape = PageShape {
        pages: lengths.iter().map(|n| n.div_ceil(plan.page)).sum::<usize>() + 1,
        page: plan.page,
        heads: hkv,
        head_size: d,
    };
    let tokens: usize = lengths.iter().sum();
    let k: Vec<bf16> = normal(&mut rng, tokens * hkv * d, 1.0);
    let v: Vec<bf16> = normal(&mut rng, tokens * hkv * d, 1.0);

    let device: Arc<dyn Device> = Vm::new();
    let mut cache = KvCache::new(&device, 1, shape, plan.format).unwrap();
    let ids: Vec<_> = lengths.iter().map(|_| cache.create()).collect();
    let growth: Vec<_> = ids.iter().copied().zip(lengths.iter().copied()).collect();
    let slots = cache.extend(&growth).unwrap();
    let buffer = |x: &[bf16]| Buffer::from_slice(&device, x).unwrap();
    cache
        .append(0, &slots, &buffer(&k), &buffer(&v), None)
        .unwrap();
    let trees: Vec<TokenTree> = parents
        .iter()
        .map(|parents| TokenTree::new(&vec![0; parents.len()], parents).unwrap())
        .collect();
    let trees = Trees::new(&device, &trees).unwrap();
    let mask = TreeMask::new(&trees).unwrap();
    let table = cache.block_table(&ids).unwrap();
    let q_buffer = Buffer::from_slice(&device, &q).unwrap();
    let sink_buffer = Buffer::from_slice(&device, &sinks).unwrap();

    // The oracle on the same bits.
    let width = lengths.iter().map(|n| n.div_ceil(plan.page)).max().unwrap();
    let mut host_table = vec![-1; width * lengths.len()];
    for (b, id) in ids.iter().enumerate() {
        for (t, slot) in cache.slots(*id).unwrap().into_iter().enumerate() {
            host_table[b * width + t / plan.page] = (slot / plan.page) as i32;
        }
    }
    let starts: Vec<i32> = std::iter::once(0)
        .chain(plan.items.iter().scan(0, |sum, item| {
            *sum += item.1 as i32;
            Some(*sum)
        }))
        .collect();
    let seq_len: Vec<i32> = lengths.iter().map(|n| *n as i32).collect();
    let host = [cache.pages(0).unwrap().k(), cache.pages(0).unwrap().v()].map(read);
    let keys = PagedKeys {
        k: host[0].pages(),
        v: host[1].pages(),
        shape: paged_kv::PageShape {
            pages: shape.pages,
            page: shape.page,
            heads: hkv,
            head_size: d,
        },
        block_table: View::new("table", &host_table, [lengths.len(), width]).unwrap(),
        seq_len: &seq_len,
    };
    let queries = PagedQueries {
        q: View::new("q", &q, [nodes, heads, d]).unwrap(),
        starts: Some(&starts),
        sink_logits: Some(&sinks),
    };
    let windowed = plan.options.window.is_some();
    let options = oracle::Options {
        scale: plan.options.scale,
        causal: true,
        window: windowed.then_some(oracle::Window {
            left: plan.options.window,
            right: None,
            sinks: plan.options.sinks,
        }),
        softcap: plan.options.softcap,
    };
    let expected = expected_attention(
        &queries,
        &parents.concat(),
        TreeKeys::InCache,
        &keys,
        &options,
        Precision::of(T::DTYPE),
        Method::Tiled,
    )
    .unwrap();

    let fits = (d == 128 || d == 64 && plan.format != Format::Int4)
        && match T::NAME {
            "f16" => true,
            "bf16" => plan.format != Format::F16,
            _ => false,
        };
    let mut rungs = vec![Rung::Plain];
    if fits {
        rungs.extend([Rung::Tensor { splits: 1 }, Rung::Tensor { splits: 3 }]);
    }
    for rung in rungs {
        let mut o = Buffer::from_slice(&device, &vec![T::from_f64(f64::NAN); q.len()]).unwrap();
        let mut lse = Buffer::from_slice(&device, &vec![f32::NAN; nodes * heads]).unwrap();
        tree_attention(
            &Queries {
                q: &q_buffer,
                heads,
                starts: None,
                sink_logits: Some(&sink_buffer),
            },
            &trees,
            &mask,
            cache.pages(0).unwrap(),
            &table,
            &plan.options,
            Some(rung),
            Outputs {
                o: &mut o,
                lse: &mut lse,
            },
        )
        .unwrap();
        let o = expected.o.compare("o", &o.to_vec().unwrap()).unwrap();
        assert!(o.is_right(), "{rung:?} {:?} {:?}", o.first_failure, o.worst);
        let lse = expected.lse.compare("lse", &lse.to_vec().unwrap()).unwrap();
        assert!(
            lse.is_right(),
            "{rung:?} {:?} {:?}",
            lse.first_failure,
            lse.worst
        );
    }
}

/// Pages as they are on the device, unwritten slots included.
enum Host {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    Int8(Vec<i8>, Vec<f16>),
    Int4(Vec<u8>, Vec<f16>, Vec<f16>),
}

fn read(store: &Store) -> Host {
    match store {
        Store::F16(x) => Host::F16(x.to_vec().unwrap()),
        Store::Bf16(x) => Host::Bf16(x.to_vec().unwrap()),
        Store::Int8 { codes, scale } => {
            Host::Int8(codes.to_vec().unwrap(), scale.to_vec().unwrap())
        }
        Store::Int4 {
            packed,
            scale,
            zero,
        } => Host::Int4(
            packed.to_vec().unwrap(),
            scale.to_vec().unwrap(),
            zero.to_vec().unwrap(),
        ),
    }
}

impl Host {
    fn pages(&self) -> paged_kv::Pages<'_> {
        match self {
            Host::F16(x) => paged_kv::Pages::F16(x),
            Host::Bf16(x) => paged_kv::Pages::Bf16(x),
            Host::Int8(codes, scale) => paged_kv::Pages::Int8 { codes, scale },
            Host::Int4(packed, scale, zero) => paged_kv::Pages::Int4 {
                packed,
                scale,
                zero,
            },
        }
    }
}

fn plan(format: Format, head_size: usize) -> Plan {
    Plan {
        format,
        head_size,
        page: 8,
        kv_heads: 2,
        group: 3,
        items: vec![(40, 9), (0, 5), (70, 0), (31, 40)],
        options: Options::new(1.0 / (head_size as f32).sqrt()),
    }
}

#[test]
fn ragged_batches_in_every_format() {
    for format in Format::ALL {
        check::<f16>(&plan(format, 64), 1);
        check::<bf16>(&plan(format, 128), 2);
    }
    check::<f32>(&plan(Format::F16, 96), 3);
}

/// Siblings stand at one position: a window cuts the prefix by depth.
#[test]
fn windows_are_measured_by_depth() {
    for (window, sinks) in [(0, 0), (5, 0), (20, 3), (1000, 0)] {
        let mut plan = plan(Format::Bf16, 64);
        plan.options.window = Some(window);
        plan.options.sinks = sinks;
        plan.options.softcap = Some(4.0);
        check::<bf16>(&plan, window as u64);
    }
}

#[test]
fn a_tree_of_256_nodes_over_pages_of_one() {
    let mut plan = plan(Format::Int8, 64);
    plan.page = 1;
    (plan.kv_heads, plan.group) = (1, 1);
    plan.items = vec![(33, 256)];
    check::<f16>(&plan, 9);
}
