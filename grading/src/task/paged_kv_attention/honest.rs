//! Plain attention over pages in f32, and what can go wrong in it.

use super::cases::{integers, options};
use super::pages::{Owned, shape};
use crate::submission::{Call, Failure, Named};
use crate::task::honest::answer;
use crate::task::{Order, Way};
use crate::tensor::Tensor;
use half::f16;
use reference::attention::Options;
use reference::paged_kv::PageShape;

/// Parts that the keys of a sequence are split into by whoever splits.
const SPLIT: usize = 32;

struct Problem<'a> {
    way: &'a Way,
    options: Options,
    shape: PageShape,
    q: Vec<f32>,
    query_heads: usize,
    k: Owned,
    v: Owned,
    table: Vec<i32>,
    width: usize,
    lengths: Vec<usize>,
    sinks: Option<Vec<f32>>,
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let problem = Problem::of(call, way).map_err(Failure::Grader)?;
    let batch = problem.lengths.len();
    let starts: Vec<usize> = match integers(call, "starts") {
        Ok(starts) => starts.into_iter().map(|at| at as usize).collect(),
        Err(_) => (0..=batch).collect(),
    };
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for b in 0..batch {
        let queries = starts[b + 1] - starts[b];
        for i in 0..queries {
            for head in 0..problem.query_heads {
                let row = (starts[b] + i) * problem.query_heads + head;
                let position = match way.has("chunk-from-the-beginning") {
                    true => i as i64,
                    false => problem.lengths[b] as i64 - queries as i64 + i as i64,
                };
                let (of_row, of_lse) = problem.attend(b, head, row, position);
                o.extend(of_row.into_iter().map(f64::from));
                lse.push(f64::from(of_lse));
            }
        }
    }
    answer(call, [o, lse])
}

/// Maximum, sum and unnormalised output.
struct Part {
    max: f32,
    sum: f32,
    o: Vec<f32>,
}

impl<'a> Problem<'a> {
    fn of(call: &Call, way: &'a Way) -> Result<Problem<'a>, String> {
        let tensor = call.input("q").ok_or("no q")?;
        let &[_, query_heads, d] = tensor.shape() else {
            return Err("q is no vector a head".into());
        };
        let table = integers(call, "block_table")?;
        let lengths: Vec<usize> = (integers(call, "seq_len")?.into_iter())
            .map(|n| n as usize)
            .collect();
        Ok(Problem {
            way,
            options: options(call)?,
            shape: shape(call, d)?,
            q: tensor.to_f32(),
            query_heads,
            k: Owned::read("k", &call.inputs)?,
            v: Owned::read("v", &call.inputs)?,
            width: table.len() / lengths.len().max(1),
            table,
            lengths,
            sinks: call.input("sink_logits").map(Tensor::to_f32),
        })
    }

    /// The slot of a token, or of what stands there by mistake.
    fn slot(&self, b: usize, token: usize) -> usize {
        let page = self.shape.page;
        let column = token / page;
        let entry = match self.way.mistake {
            Some("pages-in-order") => return token.min(self.shape.slots() - 1),
            Some("table-packed") => {
                let before: usize = self.lengths[..b].iter().map(|n| n.div_ceil(page)).sum();
                self.table[(before + column).min(self.table.len() - 1)]
            }
            _ => self.table[b * self.width + column],
        };
        let last = self.shape.pages as i32 - 1;
        entry.clamp(0, last) as usize * page + token % page
    }

    fn vector(&self, pages: &Owned, b: usize, head: usize, token: usize) -> Vec<f32> {
        let kv_head = match self.way.has("kv-head-modulo") {
            true => head % self.shape.heads,
            false => head / (self.query_heads / self.shape.heads),
        };
        let (d, slot) = (self.shape.head_size, self.slot(b, token));
        let vector = slot * self.shape.heads + kv_head;
        let statistics = match self.way.has("scale-of-the-page") {
            true => (slot / self.shape.page * self.shape.page) * self.shape.heads + kv_head,
            false => vector,
        };
        (0..d)
            .map(|c| self.component(pages, vector, statistics, c))
            .collect()
    }

    fn component(&self, pages: &Owned, vector: usize, statistics: usize, c: usize) -> f32 {
        let d = self.shape.head_size;
        match pages {
            Owned::F32(x) => x[vector * d + c],
            Owned::F16(x) => x[vector * d + c].to_f32(),
            Owned::Bf16(x) => x[vector * d + c].to_f32(),
            Owned::Int8(codes, scale) => {
                let code = match self.way.has("codes-unsigned") {
                    true => f32::from(codes[vector * d + c] as u8),
                    false => f32::from(codes[vector * d + c]),
                };
                code * scale[statistics].to_f32()
            }
            Owned::Int4(packed, scale, zero) => {
                let byte = packed[vector * d.div_ceil(2) + c / 2];
                let high = (c % 2 == 1) != self.way.has("nibbles-swapped");
                let code = if high { byte >> 4 } else { byte & 15 };
                let (scale, zero) = (scale[statistics].to_f32(), zero[statistics].to_f32());
                match self.way.mistake {
                    Some("zero-point-ignored") => f32::from(code) * scale,
                    Some("zero-point-in-f16") => {
                        let shifted = f16::from_f32(f32::from(code) - zero);
                        shifted.to_f32() * scale
                    }
                    Some("scale-distributed") => f32::from(code).mul_add(scale, -(zero * scale)),
                    _ => (f32::from(code) - zero) * scale,
                }
            }
        }
    }

    fn sees(&self, position: i64, token: usize) -> bool {
        let j = token as i64;
        let sinks = self.options.window.map_or(0, |w| w.sinks as i64);
        let near = match self.options.window.and_then(|w| w.left) {
            Some(left) => {
                let (short, long) = (self.way.has("window-short"), self.way.has("window-long"));
                j >= position - left as i64 + i64::from(short) - i64::from(long)
            }
            None => true,
        };
        let kept = j < sinks && !self.way.has("sinks-forgotten");
        j <= position && (near || kept)
    }

    fn attend(&self, b: usize, head: usize, row: usize, position: i64) -> (Vec<f32>, f32) {
        let (way, d) = (self.way, self.shape.head_size);
        let length = match way.mistake {
            Some("last-token-missed") => self.lengths[b].saturating_sub(1),
            Some("last-page-read-whole") => {
                let page = self.shape.page;
                self.lengths[b].div_ceil(page).min(self.width) * page
            }
            _ => self.lengths[b],
        };
        let position = match way.has("last-page-read-whole") {
            true => position + (length - self.lengths[b]) as i64,
            false => position,
        };
        let tokens: Vec<usize> = (0..length).collect();
        let size = match way.mistake {
            Some("parts-not-rescaled" | "merged-by-lse") => SPLIT,
            _ => length.max(1),
        };
        let mut parts: Vec<Part> = (tokens.chunks(size))
            .map(|tokens| self.part(b, head, row, position, tokens))
            .collect();
        if way.order == Order::Backward {
            parts.reverse();
        }
        let mut max = parts
            .iter()
            .fold(f32::NEG_INFINITY, |m, p| greater(m, p.max));
        let sink = self.sinks.as_ref().map(|sinks| sinks[head]);
        if let Some(sink) = sink {
            max = greater(max, sink);
        }
        if max == f32::NEG_INFINITY && !way.has("empty-divided") {
            return (vec![0.0; d], max);
        }
        let factor = |part: &Part| match way.has("parts-not-rescaled") {
            true => 1.0,
            false if part.max == f32::NEG_INFINITY => 0.0,
            false => (part.max - max).exp(),
        };
        let mut sum: f32 = parts.iter().map(|p| p.sum * factor(p)).sum();
        let without = sum;
        if let Some(sink) = sink.filter(|_| !way.has("sink-logit-forgotten")) {
            sum += (sink - max).exp();
        }
        let component = |c: usize| {
            let total: f32 = parts.iter().map(|p| p.o[c] * factor(p)).sum();
            total / sum
        };
        let counted = match way.has("sink-logit-not-in-lse") {
            true => without,
            false => sum,
        };
        ((0..d).map(component).collect(), max + counted.ln())
    }

    fn part(&self, b: usize, head: usize, row: usize, position: i64, tokens: &[usize]) -> Part {
        let (way, d) = (self.way, self.shape.head_size);
        let group = self.query_heads / self.shape.heads;
        let row = match way.has("heads-of-one-tile") {
            // Rows behind the sixteenth are taken for the first ones.
            true => row - head % group / 16 * 16,
            false => row,
        };
        let q = &self.q[row * d..(row + 1) * d];
        let seen: Vec<usize> = (tokens.iter().copied())
            .filter(|token| self.sees(position, *token))
            .collect();
        let score = |token: &usize| {
            let k = self.vector(&self.k, b, head, *token);
            let product = way.order.sum(d, |c| q[c] * k[c]);
            let score = match way.has("scale-forgotten") {
                true => product,
                false => self.options.scale * product,
            };
            match self.options.softcap {
                Some(cap) if !way.has("softcap-missing") => cap * (score / cap).tanh(),
                _ => score,
            }
        };
        let scores: Vec<f32> = seen.iter().map(score).collect();
        let max = scores.iter().fold(f32::NEG_INFINITY, |m, s| greater(m, *s));
        let weight = |s: f32| match way.has("exp2-folded") {
            true => ((s - max) * std::f32::consts::LOG2_E).exp2(),
            false => (s - max).exp(),
        };
        let weights: Vec<f32> = scores.iter().map(|s| weight(*s)).collect();
        let values: Vec<Vec<f32>> = (seen.iter())
            .map(|token| self.vector(&self.v, b, head, *token))
            .collect();
        let mut o: Vec<f32> = (0..d)
            .map(|c| way.order.sum(seen.len(), |at| weights[at] * values[at][c]))
            .collect();
        if way.has("unused-slots-multiplied") {
            let page = self.shape.page;
            let end = self.lengths[b].div_ceil(page) * page;
            for token in self.lengths[b]..end {
                let value = self.vector(&self.v, b, head, token);
                o.iter_mut().zip(value).for_each(|(o, v)| *o += 0.0 * v);
            }
        }
        Part {
            max,
            sum: way.order.sum(weights.len(), |at| weights[at]),
            o,
        }
    }
}

/// The greater; NaN where either is.
fn greater(a: f32, b: f32) -> f32 {
    match a.is_nan() || b.is_nan() {
        true => f32::NAN,
        false => a.max(b),
    }
}
