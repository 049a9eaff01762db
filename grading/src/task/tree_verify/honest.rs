//! Plain walks and masks, and what can go wrong in them.

use super::walks::integers;
use crate::submission::{Call, Failure, Named, Value};
use crate::task::Way;
use crate::task::honest::answer;
use crate::tensor::Tensor;

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let parent = integers(call, "parent").map_err(Failure::Grader)?;
    let starts = integers(call, "starts").map_err(Failure::Grader)?;
    for ends in starts.windows(2) {
        let of = &parent[ends[0] as usize..ends[1] as usize];
        let bad = |(i, p): (usize, &i32)| *p < -1 || *p >= i as i32;
        if of.iter().enumerate().any(bad) && !way.has("any-parent-taken") {
            return Err(Failure::Unsupported("a parent that comes later".into()));
        }
    }
    match call.op {
        "mask" => mask(call, way, &parent, &starts),
        _ => walks(call, way, &parent, &starts),
    }
}

fn mask(call: &Call, way: &Way, parent: &[i32], starts: &[i32]) -> Result<Vec<Named>, Failure> {
    let width = call.output("mask").map_or(0, |mask| mask.shape[1]);
    let (mut words, mut depth) = (Vec::new(), Vec::new());
    for ends in starts.windows(2) {
        let of = &parent[ends[0] as usize..ends[1] as usize];
        for i in 0..of.len() {
            let mut row = vec![0_u32; width];
            let mut set = |j: usize| row[j / 32] |= 1 << (j % 32);
            if !way.has("mask-without-self") {
                set(i);
            }
            let (mut at, mut edges) = (of[i], 0);
            while let Ok(j) = usize::try_from(at) {
                edges += 1;
                if edges == 1 || !way.has("parent-only") {
                    set(j);
                }
                at = of[j];
            }
            words.extend(row.into_iter().map(f64::from));
            depth.push(f64::from(edges));
        }
    }
    answer(call, [words, depth])
}

/// One item.
struct Item<'a> {
    way: &'a Way,
    token: &'a [i32],
    parent: &'a [i32],
    logits: &'a [f32],
    vocabulary: usize,
    stop: &'a [i32],
    greedily: bool,
}

fn walks(call: &Call, way: &Way, parent: &[i32], starts: &[i32]) -> Result<Vec<Named>, Failure> {
    let token = integers(call, "token").map_err(Failure::Grader)?;
    let none = || Failure::Grader("no logits".into());
    let tensor = call.input("logits").ok_or_else(none)?;
    let (logits, vocabulary) = (tensor.to_f32(), tensor.shape()[1]);
    let stop = integers(call, "stop").unwrap_or_default();
    let slots = integers(call, "slots").ok();
    let nodes = token.len();
    let (mut node, mut accepted, mut slot) =
        (vec![-1.0; nodes], vec![-1.0; nodes], vec![-1.0; nodes]);
    let (mut count, mut bonus) = (Vec::new(), Vec::new());
    for (b, ends) in starts.windows(2).enumerate() {
        let (from, to) = (ends[0] as usize, ends[1] as usize);
        let first = match way.has("prompt-rows-forgotten") {
            true => from,
            false => from + b,
        };
        let item = Item {
            way,
            token: &token[from..to],
            parent: &parent[from..to],
            logits: &logits[first * vocabulary..],
            vocabulary,
            stop: &stop,
            greedily: call.op == "accept",
        };
        let (path, last) = match call.op {
            "sample" => item.sampled(call, from, b),
            _ => item.greedy(),
        };
        for (step, at) in path.iter().enumerate() {
            node[from + step] = *at as f64;
            accepted[from + step] = f64::from(token[from + at]);
            let kept = match way.has("slots-by-rank") {
                true => step,
                false => *at,
            };
            if let Some(slots) = &slots {
                slot[from + step] = f64::from(slots[from + kept]);
            }
        }
        count.push(path.len() as f64);
        bonus.push(f64::from(last));
    }
    match slots {
        Some(_) => answer(call, [node, accepted, slot, count, bonus]),
        None => answer(call, [node, accepted, count, bonus]),
    }
}

impl Item<'_> {
    fn row(&self, row: usize) -> &[f32] {
        let rows = self.logits.len() / self.vocabulary;
        let row = row.min(rows - 1);
        let start = row * self.vocabulary;
        let end = start + self.vocabulary;
        // Sampling needs p and q of one length.
        match self.way.mistake {
            Some("row-too-short") if self.greedily => &self.logits[start..end - 1],
            Some("row-too-long") if self.greedily => {
                &self.logits[start..(end + 1).min(self.logits.len())]
            }
            _ => &self.logits[start..end],
        }
    }

    fn argmax(&self, row: &[f32]) -> Option<i32> {
        let mut best: Option<(usize, f32)> = None;
        let mut columns: Vec<(usize, &f32)> = row.iter().enumerate().collect();
        let backwards = self.way.has("rows-read-backwards");
        if backwards {
            columns.reverse();
        }
        for (token, logit) in columns {
            if logit.is_nan() && self.way.has("nan-wins") {
                return Some(token as i32);
            }
            if !logit.is_finite() {
                continue;
            }
            let later = backwards || self.way.has("ties-by-higher");
            let better = best.is_none_or(|(_, high)| match later {
                true => *logit >= high,
                false => *logit > high,
            });
            if better {
                best = Some((token, *logit));
            }
        }
        best.map(|(token, _)| token as i32)
    }

    fn children(&self, of: Option<usize>) -> Vec<usize> {
        let above = of.map_or(-1, |node| node as i32);
        let all = 0..self.token.len();
        match self.way.mistake {
            Some("chain-assumed") => {
                let next = of.map_or(0, |node| node + 1);
                all.filter(|i| *i == next).collect()
            }
            Some("any-later-node") => all.filter(|i| *i as i32 > above).collect(),
            _ => all.filter(|i| self.parent[*i] == above).collect(),
        }
    }

    fn greedy(&self) -> (Vec<usize>, i32) {
        let way = self.way;
        let mut path: Vec<usize> = Vec::new();
        if self.token.is_empty() && way.has("empty-tree-nothing") {
            return (path, -1);
        }
        loop {
            let current = path.last().copied();
            let row = match way.mistake {
                Some("logits-by-depth") => path.len(),
                _ => current.map_or(0, |node| node + 1),
            };
            let children = self.children(current);
            if way.has("logits-of-the-child") {
                // Each child is held against its own row instead of its parent's.
                let fits = |c: &usize| self.argmax(self.row(c + 1)) == Some(self.token[*c]);
                match children.iter().copied().find(fits) {
                    Some(child) => path.push(child),
                    None => return (path, self.argmax(self.row(row)).unwrap_or(-1)),
                }
                continue;
            }
            let Some(best) = self.argmax(self.row(row)) else {
                return (path, -1);
            };
            let mut fitting = children.iter().copied().filter(|c| self.token[*c] == best);
            let child = match way.mistake {
                Some("first-sibling-only") => {
                    let first = children.first().copied();
                    first.filter(|c| self.token[*c] == best)
                }
                Some("last-of-duplicates") => fitting.next_back(),
                _ => fitting.next(),
            };
            let Some(child) = child else {
                let leaf = children.is_empty() && !self.token.is_empty();
                let none = leaf && current.is_some() && way.has("no-bonus-at-a-leaf");
                return (path, if none { -1 } else { best });
            };
            path.push(child);
            if self.stop.contains(&best) && !way.has("stop-ignored") {
                return (path, -1);
            }
        }
    }

    fn softmax(&self, row: &[f32], temperature: f32) -> Option<Vec<f32>> {
        let scaled = |x: &f32| match x.is_finite() {
            true => x / temperature,
            false => f32::NEG_INFINITY,
        };
        let scaled: Vec<f32> = row.iter().map(scaled).collect();
        let max = scaled.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return None;
        }
        let p: Vec<f32> = scaled.iter().map(|s| (s - max).exp()).collect();
        let sum = self.way.order.sum(p.len(), |i| p[i]);
        Some(p.into_iter().map(|p| p / sum).collect())
    }

    fn sampled(&self, call: &Call, from: usize, b: usize) -> (Vec<usize>, i32) {
        let way = self.way;
        let float = |name: &str| call.input(name).map(Tensor::to_f32);
        let uniform = float("uniform").unwrap_or_default();
        let bonus = float("bonus_uniform").unwrap_or_default();
        let draft = float("draft");
        let temperature = match call.parameters.get("temperature") {
            Some(Value::Float(t)) if !way.has("temperature-ignored") => *t as f32,
            _ => 1.0,
        };
        let mut path: Vec<usize> = Vec::new();
        loop {
            let current = path.last().copied();
            let row = current.map_or(0, |node| node + 1);
            let Some(mut p) = self.softmax(self.row(row), temperature) else {
                return (path, -1);
            };
            let q: Option<&[f32]> = draft.as_ref().map(|draft| {
                let at = (from + b + row) * self.vocabulary;
                &draft[at..at + self.vocabulary]
            });
            let mut taken = None;
            for child in self.children(current) {
                let token = self.token[child] as usize;
                let of_q = q.map_or(1.0, |q| q[token]);
                let u = uniform[from + child];
                let accepted = match way.has("ratio-turned") {
                    true => u * p[token] < of_q,
                    false => u * of_q < p[token],
                };
                if accepted {
                    taken = Some(child);
                    break;
                }
                if way.has("residual-forgotten") {
                    continue;
                }
                let rest: Vec<f32> = (p.iter().enumerate())
                    .map(|(t, p)| {
                        let certain = if t == token { 1.0 } else { 0.0 };
                        (p - q.map_or(certain, |q| q[t])).max(0.0)
                    })
                    .collect();
                let mass = way.order.sum(rest.len(), |i| rest[i]);
                if mass > 0.0 {
                    p = rest.into_iter().map(|r| r / mass).collect();
                }
            }
            let Some(child) = taken else {
                let mut sum = 0.0;
                let drawn = p.iter().position(|p| {
                    sum += p;
                    sum > bonus[b]
                });
                let last = p.iter().rposition(|p| *p > 0.0).unwrap_or(0);
                return (path, drawn.unwrap_or(last) as i32);
            };
            path.push(child);
            if self.stop.contains(&self.token[child]) {
                return (path, -1);
            }
        }
    }
}
