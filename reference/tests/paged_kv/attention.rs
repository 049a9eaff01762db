//! Attention over pages against attention over the same tokens laid out in a row.

use half::{bf16, f16};
use proptest::prelude::*;
use reference::attention::{Batch, Forward, Method, Options, Window, forward};
use reference::cases::strategy::rng;
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Element, Precision};
use reference::paged_kv::{
    Format, KvCache, PageShape, PagedKeys, PagedQueries, Pages, SequenceId, paged_attention,
};
use reference::{Error, View};

/// A cache with some sequences in it, and queries for them.
pub(crate) struct Setup {
    pub(crate) cache: KvCache,
    pub(crate) ids: Vec<SequenceId>,
    pub(crate) hq: usize,
    pub(crate) rng: Rng,
}

impl Setup {
    /// Sequences of random lengths (some empty), their pages interleaved and some shared.
    pub(crate) fn draw(rng: &mut Rng, format: Format, longest: usize) -> Self {
        let heads = rng.between(1, 2);
        let shape = PageShape {
            pages: 200,
            page: rng.choose(&[1, 2, 3, 8]),
            heads,
            head_size: rng.between(1, 9),
        };
        let mut cache = KvCache::new(shape, format).unwrap();
        let mut ids = vec![cache.create()];
        let count = rng.between(1, 3);
        let width = heads * shape.head_size;
        for _ in 0..rng.below(longest * count + 1) {
            if ids.len() < count && rng.chance(0.2) {
                let parent = rng.choose(&ids);
                ids.push(if rng.chance(0.5) {
                    cache.fork(parent).unwrap()
                } else {
                    cache.create()
                });
            }
            let id = rng.choose(&ids);
            let (k, v) = (
                normal::<f32>(rng, width, 1.0),
                normal::<f32>(rng, width, 1.0),
            );
            cache.append(id, &k, &v).unwrap();
        }
        Self {
            cache,
            ids,
            hq: heads * rng.between(1, 3),
            rng: rng.fork(1),
        }
    }

    pub(crate) fn shape(&self) -> PageShape {
        self.cache.k().shape()
    }

    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.ids
            .iter()
            .map(|&id| self.cache.len(id).unwrap())
            .collect()
    }

    /// K and V of one sequence as the pages hold them, `[tokens, Hkv, D]`.
    pub(crate) fn tokens(&self, id: SequenceId) -> (Vec<f64>, Vec<f64>) {
        let PageShape {
            heads, head_size, ..
        } = self.shape();
        let read = |pages: &Pages<'_>| -> Vec<f64> {
            let slots = self.cache.slots(id).unwrap();
            let vector = |slot: usize| slot * heads..(slot + 1) * heads;
            let component = |vector: usize| (0..head_size).map(move |d| (vector, d));
            let all = slots.into_iter().flat_map(vector).flat_map(component);
            all.map(|(vector, d)| pages.read(vector, d, head_size).value)
                .collect()
        };
        (read(&self.cache.k().pages()), read(&self.cache.v().pages()))
    }

    pub(crate) fn paged(
        &self,
        q: &[f16],
        starts: Option<&[i32]>,
        options: &Options,
    ) -> Result<Forward, Error> {
        let (table, width, seq_len) = self.cache.block_table(&self.ids).unwrap();
        self.paged_with(q, starts, options, (&table, width), &seq_len)
    }

    fn paged_with(
        &self,
        q: &[f16],
        starts: Option<&[i32]>,
        options: &Options,
        (table, width): (&[i32], usize),
        seq_len: &[i32],
    ) -> Result<Forward, Error> {
        let d = self.shape().head_size;
        let keys = PagedKeys {
            k: self.cache.k().pages(),
            v: self.cache.v().pages(),
            shape: self.shape(),
            block_table: View::new("block_table", table, [self.ids.len(), width])?,
            seq_len,
        };
        let q = View::new("q", q, [q.len() / (self.hq * d), self.hq, d])?;
        let queries = PagedQueries {
            q,
            starts,
            sink_logits: None,
        };
        paged_attention(
            &queries,
            &keys,
            options,
            Precision::of(DType::F16),
            Method::Tiled,
        )
    }

    pub(crate) fn queries(&mut self, rows: usize) -> Vec<f16> {
        let width = self.hq * self.shape().head_size;
        normal::<f16>(&mut self.rng, rows * width, 1.0)
    }
}

/// The exact values that pages stand for need not be f32; here they are taken as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exact(pub(crate) f64);

impl Element for Exact {
    const DTYPE: DType = DType::F16;
    fn to_f64(self) -> f64 {
        self.0
    }
    fn from_f64(x: f64) -> Self {
        Self(x)
    }
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Float(DType::F16)),
        Just(Format::Float(DType::Bf16)),
        Just(Format::Float(DType::F32)),
        Just(Format::Int8),
        Just(Format::Int4),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let window = prop::option::of((1usize..6, 0usize..3));
    let softcap = prop::option::of(Just(2.0f32));
    (window, softcap).prop_map(|(window, softcap)| Options {
        window: window.map(|(length, sinks)| Window::last(length).with_sinks(sinks)),
        softcap,
        ..Options::new(0.7)
    })
}

pub(crate) fn assert_close(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) {
    let (a, b): (Vec<f64>, Vec<f64>) = (a.into_iter().collect(), b.into_iter().collect());
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let near = a == b || (a - b).abs() <= 1e-12 * b.abs().max(1.0);
        assert!(near, "[{i}] {a} {b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Chunked prefill over pages is packed causal attention over the same tokens.
    #[test]
    fn pages_are_tokens_in_a_row(mut rng in rng(), format in formats(), options in options()) {
        let mut setup = Setup::draw(&mut rng, format, 20);
        let lengths = setup.lengths();
        let chunks: Vec<usize> = lengths.iter().map(|&n| rng.below(n + 2)).collect();
        let bounds = |lengths: &[usize]| -> Vec<i32> {
            let sums = lengths.iter().scan(0, |sum, &n| { *sum += n as i32; Some(*sum) });
            std::iter::once(0).chain(sums).collect()
        };
        let starts = bounds(&chunks);
        let rows = chunks.iter().sum();
        let q = setup.queries(rows);
        let paged = setup.paged(&q, Some(&starts), &options).unwrap();

        let PageShape { heads, head_size, .. } = setup.shape();
        let (mut k, mut v) = (Vec::new(), Vec::new());
        for &id in &setup.ids {
            let (k_id, v_id) = setup.tokens(id);
            k.extend(k_id.into_iter().map(Exact));
            v.extend(v_id.into_iter().map(Exact));
        }
        let exact_q: Vec<Exact> = q.iter().map(|x| Exact(x.to_f64())).collect();
        let tokens = lengths.iter().sum();
        let batch = Batch::packed(
            View::new("q", &exact_q, [rows, setup.hq, head_size]).unwrap(),
            View::new("k", &k, [tokens, heads, head_size]).unwrap(),
            View::new("v", &v, [tokens, heads, head_size]).unwrap(),
            &starts,
            &bounds(&lengths),
        )
        .unwrap();
        let plain = forward(&batch, &options.causal(), Precision::of(DType::F16), Method::Plain).unwrap();
        assert_close(paged.o.values(), plain.o.values());
        assert_close(paged.lse.values(), plain.lse.values());
    }

    /// Decode of the newest token is the last row of full attention; a prefill in two chunks is a
    /// prefill in one.
    #[test]
    fn decode_and_chunks_are_rows_of_full_attention(mut rng in rng(), options in options()) {
        let shape = PageShape { pages: 40, page: 3, heads: 1, head_size: 4 };
        let mut cache = KvCache::new(shape, Format::Float(DType::F16)).unwrap();
        let id = cache.create();
        let tokens = rng.between(1, 20);
        let mut setup = Setup { cache, ids: vec![id], hq: 2, rng };
        let q = setup.queries(tokens);
        let (mut decoded, mut lse) = (Vec::new(), Vec::new());
        let row = setup.hq * shape.head_size;
        for t in 0..tokens {
            let (k, v) = (normal::<f32>(&mut setup.rng, 4, 1.0), normal::<f32>(&mut setup.rng, 4, 1.0));
            setup.cache.append(id, &k, &v).unwrap();
            let step = setup.paged(&q[t * row..(t + 1) * row], None, &options).unwrap();
            decoded.extend(step.o.values());
            lse.extend(step.lse.values());
        }
        let full = setup.paged(&q, Some(&[0, tokens as i32]), &options).unwrap();
        assert_close(decoded, full.o.values());
        assert_close(lse, full.lse.values());

        let cut = setup.rng.below(tokens + 1);
        let last = setup.paged(&q[cut * row..], Some(&[0, (tokens - cut) as i32]), &options).unwrap();
        assert_close(last.o.values(), full.o.values().skip(cut * row));
        setup.cache.truncate(id, cut).unwrap();
        let first = setup.paged(&q[..cut * row], Some(&[0, cut as i32]), &options).unwrap();
        assert_close(first.o.values(), full.o.values().take(cut * row));
    }

    /// Pages renamed, padding and unused slots filled with NaN and nonsense: the same bits. The
    /// batch in another order: the same bits in that order.
    #[test]
    fn only_the_tokens_matter(mut rng in rng(), options in options()) {
        let mut setup = Setup::draw(&mut rng, Format::Float(DType::F32), 12);
        let q = setup.queries(setup.ids.len());
        let before = setup.paged(&q, None, &options).unwrap();
        let (table, width, seq_len) = setup.cache.block_table(&setup.ids).unwrap();

        let shape = setup.shape();
        let mut names: Vec<usize> = (0..shape.pages).collect();
        rng.shuffle(&mut names);
        let page_len = shape.page * shape.heads * shape.head_size;
        let used: Vec<usize> = setup.ids.iter().flat_map(|&id| setup.cache.slots(id).unwrap()).collect();
        let rename = |pages: Pages<'_>| -> Vec<f32> {
            let Pages::F32(old) = pages else { unreachable!("made of f32 above") };
            let mut new = vec![f32::NAN; old.len()];
            let slot_len = shape.heads * shape.head_size;
            for &slot in &used {
                let (page, offset) = (slot / shape.page, slot % shape.page);
                let to = names[page] * page_len + offset * slot_len;
                new[to..to + slot_len].copy_from_slice(&old[slot * slot_len..(slot + 1) * slot_len]);
            }
            new
        };
        let (k, v) = (rename(setup.cache.k().pages()), rename(setup.cache.v().pages()));
        // Wider table with nonsense in the padding, rows in reverse.
        let wide = width + 2;
        let batch = setup.ids.len();
        let mut renamed = vec![i32::MAX; batch * wide];
        for b in 0..batch {
            let pages = (seq_len[b] as usize).div_ceil(shape.page);
            for c in 0..pages {
                renamed[(batch - 1 - b) * wide + c] = names[table[b * width + c] as usize] as i32;
            }
        }
        let seq_len: Vec<i32> = seq_len.into_iter().rev().collect();
        let keys = PagedKeys {
            k: Pages::F32(&k),
            v: Pages::F32(&v),
            shape,
            block_table: View::new("block_table", &renamed, [batch, wide]).unwrap(),
            seq_len: &seq_len,
        };
        let row = setup.hq * shape.head_size;
        let q: Vec<f16> = q.chunks(row).rev().flatten().copied().collect();
        let q = View::new("q", &q, [batch, setup.hq, shape.head_size]).unwrap();
        let queries = PagedQueries { q, starts: None, sink_logits: None };
        let after = paged_attention(&queries, &keys, &options, Precision::of(DType::F16), Method::Tiled).unwrap();
        let back: Vec<_> = after.o.items().chunks(row).rev().flatten().copied().collect();
        prop_assert_eq!(before.o.items(), &back[..]);
        let back: Vec<_> = after.lse.items().chunks(setup.hq).rev().flatten().copied().collect();
        prop_assert_eq!(before.lse.items(), &back[..]);
    }
}

#[test]
fn an_empty_sequence_attends_to_nothing() {
    let shape = PageShape {
        pages: 1,
        page: 4,
        heads: 1,
        head_size: 2,
    };
    let mut cache = KvCache::new(shape, Format::Int4).unwrap();
    let ids = vec![cache.create()];
    let mut setup = Setup {
        cache,
        ids,
        hq: 2,
        rng: Rng::new(1),
    };
    let q = setup.queries(1);
    let out = setup.paged(&q, None, &Options::new(1.0)).unwrap();
    assert!(out.o.values().all(|x| x == 0.0));
    assert!(out.lse.values().all(|x| x == f64::NEG_INFINITY));
}

/// A learned sink is one more key with this score and the value 0.
#[test]
fn a_learned_sink_is_a_key_without_a_value() {
    let (k, v) = ([0.5f32, -1.0, 2.0], [1.0f32, 3.0, -2.0]);
    let (q, sink) = ([bf16::from_f32(1.5)], [0.25f32]);
    let table = [0];
    let keys = PagedKeys {
        k: Pages::F32(&k),
        v: Pages::F32(&v),
        shape: PageShape {
            pages: 1,
            page: 3,
            heads: 1,
            head_size: 1,
        },
        block_table: View::new("block_table", &table, [1, 1]).unwrap(),
        seq_len: &[3],
    };
    let queries = PagedQueries {
        q: View::new("q", &q, [1, 1, 1]).unwrap(),
        starts: None,
        sink_logits: Some(&sink),
    };
    let precision = Precision::of(DType::Bf16);
    let out = paged_attention(
        &queries,
        &keys,
        &Options::new(1.0),
        precision,
        Method::Tiled,
    )
    .unwrap();
    let weights: Vec<f64> = k.iter().map(|&k| (1.5 * f64::from(k)).exp()).collect();
    let total = weights.iter().sum::<f64>() + 0.25f64.exp();
    let o: f64 = weights
        .iter()
        .zip(v)
        .map(|(w, v)| w / total * f64::from(v))
        .sum();
    assert_close(out.o.values(), [o]);
    assert_close(out.lse.values(), [total.ln()]);
}

#[test]
fn tables_and_lengths_that_point_outside_are_errors() {
    let mut setup = Setup::draw(&mut Rng::new(3), Format::Float(DType::F16), 20);
    let q = setup.queries(setup.ids.len());
    let options = Options::new(1.0);
    let (table, width, seq_len) = setup.cache.block_table(&setup.ids).unwrap();
    let b = seq_len.iter().position(|&n| n > 0).unwrap();
    let about =
        |table: &[i32], width: usize, seq_len: &[i32], q: &[f16], starts: Option<&[i32]>| {
            setup
                .paged_with(q, starts, &options, (table, width), seq_len)
                .unwrap_err()
                .about()
        };
    for page in [-1, 200, i32::MIN] {
        let mut bad = table.clone();
        bad[b * width] = page;
        assert_eq!(about(&bad, width, &seq_len, &q, None), "block_table");
    }
    for length in [-1, (width * setup.shape().page) as i32 + 1] {
        let mut bad = seq_len.clone();
        bad[b] = length;
        assert_eq!(about(&table, width, &bad, &q, None), "seq_len");
    }
    assert_eq!(about(&table, width, &seq_len[1..], &q, None), "seq_len");
    let row = q.len() / setup.ids.len();
    assert_eq!(about(&table, width, &seq_len, &q[row..], None), "q");
    let n = setup.ids.len() as i32;
    assert_eq!(
        about(&table, width, &seq_len, &q, Some(&[0, n + 1])),
        "query starts"
    );
    assert_eq!(
        about(&table, width, &seq_len, &q, Some(&[0])),
        "query starts"
    );
}
