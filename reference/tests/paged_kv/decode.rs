//! Decode in f32 over quantised pages: honest forms of dequantising stay inside the bounds, the
//! traps of the task do not.

use half::f16;
use reference::View;
use reference::attention::{Forward, Method, Options};
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Precision};
use reference::paged_kv::formats::nibble;
use reference::paged_kv::{
    Format, KvCache, PageShape, PagedKeys, PagedQueries, Pages, paged_attention,
};

const HQ: usize = 4;

/// How a component is made from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `(code − zero)·scale`.
    AsWritten,
    /// `fma(code, scale, −zero·scale)`.
    Fused,
    /// Of K: the scale multiplies the finished dot product.
    ScaleLast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    NibblesSwapped,
    ZeroForgotten,
    HeadsMixed,
    OneTokenLess,
    OneTokenMore,
    PartsNotRescaled,
}

struct Decode<'a> {
    cache: &'a KvCache,
    slots: Vec<usize>,
    q: &'a [f16],
    scale: f32,
    form: Form,
    mistake: Mistake,
}

impl Decode<'_> {
    /// Component d of vector `vector` without its last scale, and that scale.
    fn component(&self, pages: &Pages<'_>, vector: usize, d: usize) -> (f32, f32) {
        let width = self.cache.k().shape().head_size;
        match pages {
            Pages::Int8 { codes, scale } => (
                f32::from(codes[vector * width + d]),
                f32::from(scale[vector]),
            ),
            Pages::Int4 {
                packed,
                scale,
                zero,
            } => {
                let bytes = width.div_ceil(2);
                let row = &packed[vector * bytes..(vector + 1) * bytes];
                let d = if self.mistake == Mistake::NibblesSwapped {
                    d ^ 1
                } else {
                    d
                };
                let code = f32::from(nibble(row, d));
                let (scale, zero) = (f32::from(scale[vector]), f32::from(zero[vector]));
                match (self.mistake, self.form) {
                    (Mistake::ZeroForgotten, _) => (code, scale),
                    (_, Form::Fused) => (code.mul_add(scale, -(zero * scale)), 1.0),
                    _ => (code - zero, scale),
                }
            }
            _ => unreachable!("these tests quantise"),
        }
    }

    fn head(&self, h: usize) -> (Vec<f32>, f32) {
        let PageShape {
            heads,
            head_size: width,
            ..
        } = self.cache.k().shape();
        let kv = match self.mistake {
            Mistake::HeadsMixed => h % heads,
            _ => h / (HQ / heads),
        };
        let mut slots = self.slots.clone();
        match self.mistake {
            Mistake::OneTokenLess => drop(slots.pop()),
            Mistake::OneTokenMore => slots.push(slots.last().map_or(0, |slot| slot + 1)),
            _ => {}
        }
        // Two parts, merged by their lse.
        let (first, second) = slots.split_at(slots.len() / 2);
        let parts: Vec<(Vec<f32>, f32)> = [first, second]
            .iter()
            .map(|slots| {
                let (mut m, mut l, mut acc) = (f32::NEG_INFINITY, 0.0f32, vec![0.0f32; width]);
                for slot in *slots {
                    let vector = slot * heads + kv;
                    let (mut dot, mut last) = (0.0f32, 1.0);
                    for d in 0..width {
                        let q = self.q[h * width + d].to_f32();
                        let (x, scale) = self.component(&self.cache.k().pages(), vector, d);
                        if self.form == Form::ScaleLast {
                            dot += q * x;
                            last = scale;
                        } else {
                            dot += q * (x * scale);
                        }
                    }
                    let s = dot * last * self.scale;
                    let top = m.max(s);
                    let (correction, p) = ((m - top).exp(), (s - top).exp());
                    l = l * correction + p;
                    for (d, acc) in acc.iter_mut().enumerate() {
                        let (x, scale) = self.component(&self.cache.v().pages(), vector, d);
                        *acc = *acc * correction + p * (x * scale);
                    }
                    m = top;
                }
                (acc.iter().map(|x| x / l).collect(), m + l.ln())
            })
            .collect();
        let top = parts[0].1.max(parts[1].1);
        let lse = top
            + parts
                .iter()
                .map(|part| (part.1 - top).exp())
                .sum::<f32>()
                .ln();
        let share = |part: &(Vec<f32>, f32)| match self.mistake {
            Mistake::PartsNotRescaled => 0.5,
            _ => (part.1 - lse).exp(),
        };
        let o = (0..width).map(|d| parts.iter().map(|part| share(part) * part.0[d]).sum());
        (o.collect(), lse)
    }

    /// Whether the oracle admits all of o and lse.
    fn is_right(&self, expected: &Forward) -> bool {
        let (mut o, mut lse) = (Vec::new(), Vec::new());
        for h in 0..HQ {
            let (head_o, head_lse) = self.head(h);
            o.extend(head_o.into_iter().map(f16::from_f32));
            lse.push(head_lse);
        }
        let o = expected.o.compare("o", &o).unwrap();
        let lse = expected.lse.compare("lse", &lse).unwrap();
        o.is_right() && lse.is_right()
    }
}

/// Runs every form and every mistake on random caches.
fn check(format: Format, forms: &[Form], mistakes: &[Mistake]) {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let shape = PageShape {
            pages: 40,
            page: rng.choose(&[1, 4, 16]),
            heads: 2,
            head_size: rng.choose(&[4, 7, 16, 64]),
        };
        let mut cache = KvCache::new(shape, format).unwrap();
        let (id, other) = (cache.create(), cache.create());
        let width = shape.heads * shape.head_size;
        // Beside it a sequence of other values, for a reader that goes too far.
        for at in 0..rng.between(8, 30) {
            let (k, v) = (
                normal::<f32>(&mut rng, width, 1.0),
                normal::<f32>(&mut rng, width, 2.0),
            );
            cache.append(id, &k, &v).unwrap();
            if at == 0 {
                cache.append(other, &v, &k).unwrap();
            }
        }
        let q = normal::<f16>(&mut rng, HQ * shape.head_size, 1.0);
        let (table, columns, seq_len) = cache.block_table(&[id]).unwrap();
        let keys = PagedKeys {
            k: cache.k().pages(),
            v: cache.v().pages(),
            shape,
            block_table: View::new("block_table", &table, [1, columns]).unwrap(),
            seq_len: &seq_len,
        };
        let queries = PagedQueries {
            q: View::new("q", &q, [1, HQ, shape.head_size]).unwrap(),
            starts: None,
            sink_logits: None,
        };
        let options = Options::new(0.3);
        let precision = Precision::of(DType::F16);
        let expected =
            paged_attention(&queries, &keys, &options, precision, Method::Tiled).unwrap();
        let decode = |form, mistake| Decode {
            cache: &cache,
            slots: cache.slots(id).unwrap(),
            q: &q,
            scale: options.scale,
            form,
            mistake,
        };
        for &form in forms {
            assert!(
                decode(form, Mistake::None).is_right(&expected),
                "{form:?}, seed {seed}"
            );
        }
        for &mistake in mistakes {
            let decode = decode(Form::AsWritten, mistake);
            assert!(
                !decode.is_right(&expected),
                "{mistake:?} passed, seed {seed}"
            );
        }
    }
}

#[test]
fn int8_decodes_inside_its_bounds() {
    use Mistake::*;
    let mistakes = [HeadsMixed, OneTokenLess, OneTokenMore, PartsNotRescaled];
    check(Format::Int8, &[Form::AsWritten, Form::ScaleLast], &mistakes);
}

#[test]
fn int4_decodes_inside_its_bounds() {
    use Mistake::*;
    let mistakes = [
        NibblesSwapped,
        ZeroForgotten,
        HeadsMixed,
        OneTokenLess,
        OneTokenMore,
        PartsNotRescaled,
    ];
    check(
        Format::Int4,
        &[Form::AsWritten, Form::Fused, Form::ScaleLast],
        &mistakes,
    );
}
