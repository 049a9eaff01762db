//! Where masks begin and end, which keys a query is pointed at, and which elements become NaN.

use super::{Draft, Spot};
use reference::attention::Window;
use reference::cases::Rng;
use std::ops::Range;

impl Draft {
    /// Masks of every kind, which begin and end anywhere.
    pub(super) fn mask(&mut self, rng: &mut Rng) {
        let left = rng.choose(&[0, 1, 5, 15, 16, 31, 32, 40, 63, 64, 90]);
        let right = rng.choose(&[0, 1, 7, 16, 31, 33, 64]);
        let (causal, left, right) = match rng.below(7) {
            0 => (false, None, None),
            1 | 2 => (true, None, None),
            3 => (true, Some(left), None),
            4 => (false, Some(left), None),
            5 => (false, Some(left), Some(right)),
            _ => (false, None, Some(right)),
        };
        self.options.causal = causal;
        self.options.window = (left.is_some() || right.is_some()).then_some(Window {
            left,
            right,
            sinks: 0,
        });
    }

    /// The keys that a query of a sequence sees.
    fn seen(&self, (queries, keys): (usize, usize), query: usize) -> Range<usize> {
        let position = query as i64 + keys as i64 - queries as i64;
        let window = self.options.window;
        let left = window.and_then(|window| window.left);
        let right = match self.options.causal {
            true => Some(0),
            false => window.and_then(|window| window.right),
        };
        let cut = |at: i64| at.clamp(0, keys as i64) as usize;
        let first = left.map_or(0, |left| cut(position - left as i64));
        let end = right.map_or(keys, |right| cut(position + right as i64 + 1));
        first..end.max(first)
    }

    /// Points each query at `count` keys, whose scores are `score` or so, while those of others are
    /// small: the first or the last key that it sees, one between, or one just outside.
    pub(in crate::task) fn point(&mut self, count: usize, score: f64, rng: &mut Rng) {
        let d = self.shape.head_size;
        self.options.scale = (score / d as f64) as f32;
        for k in &mut self.k {
            *k = rng.choose(&[-1.0, 1.0]);
        }
        let shape = self.shape.clone();
        for (sequence, &(queries, keys)) in shape.lengths.iter().enumerate() {
            for head in 0..shape.query_heads {
                for query in 0..queries {
                    let row = shape.query_row(sequence, head, query) * d;
                    self.q[row..row + d].fill(0.0);
                    let seen = self.seen((queries, keys), query);
                    for n in 0..count.min(keys) {
                        let key = aim(&seen, keys, n == 0, rng);
                        let from = shape.key_row(sequence, head / shape.group(), key) * d;
                        for at in 0..d {
                            self.q[row + at] += self.k[from + at];
                        }
                    }
                }
            }
        }
    }

    /// A spot for each sequence and KV head: in the tensors in turn, at each of eight neighbouring
    /// components in turn, in a row that some see and some do not, as far as there is one.
    pub(in crate::task) fn scattered(&self, tensors: &[&'static str], rng: &mut Rng) -> Vec<Spot> {
        let shape = &self.shape;
        let d = shape.head_size;
        let (turn, place) = (rng.below(tensors.len()), rng.below(8));
        let mut spots = Vec::new();
        for n in 0..shape.lengths.len() * shape.kv_heads {
            let (sequence, head) = (n / shape.kv_heads, n % shape.kv_heads);
            let tensor = tensors[(n + turn) % tensors.len()];
            let of_key = matches!(tensor, "k" | "v");
            let rows = self.at_edges(shape.lengths[sequence], of_key);
            if rows.is_empty() {
                continue;
            }
            let at = rng.choose(&rows);
            let row = match of_key {
                true => shape.key_row(sequence, head, at),
                false => {
                    let head = head * shape.group() + rng.below(shape.group());
                    shape.query_row(sequence, head, at)
                }
            };
            let vector = 8 * rng.below(d.div_ceil(8));
            let component = (vector + (n + place) % 8).min(d - 1);
            spots.push(Spot::nan(tensor, row * d + component));
        }
        spots
    }

    /// NaN in all rows of a head of q, k or v: in all their components, the even or the odd ones.
    pub(in crate::task) fn flood(&mut self, tensor: &str, rng: &mut Rng) {
        let shape = self.shape.clone();
        let (d, sequence) = (shape.head_size, rng.below(shape.lengths.len()));
        let (queries, keys) = shape.lengths[sequence];
        let head = rng.below(shape.kv_heads);
        let (first, step) = rng.choose(&[(0, 1), (0, 2), (1, 2)]);
        let rows: Vec<usize> = match tensor {
            "q" => (head * shape.group()..(head + 1) * shape.group())
                .flat_map(|head| (0..queries).map(move |at| (head, at)))
                .map(|(head, at)| shape.query_row(sequence, head, at))
                .collect(),
            _ => (0..keys)
                .map(|at| shape.key_row(sequence, head, at))
                .collect(),
        };
        let numbers = match tensor {
            "q" => &mut self.q,
            "k" => &mut self.k,
            _ => &mut self.v,
        };
        for row in rows {
            for at in (first..d).step_by(step) {
                numbers[row * d + at] = f64::NAN;
            }
        }
    }

    /// Keys that some queries see and some do not, or queries that see some keys and not others; all
    /// where there are none.
    fn at_edges(&self, (queries, keys): (usize, usize), of_key: bool) -> Vec<usize> {
        let seen: Vec<Range<usize>> = (0..queries)
            .map(|query| self.seen((queries, keys), query))
            .collect();
        let rows = if of_key { keys } else { queries };
        let edges = (0..rows).filter(|row| match of_key {
            true => {
                let by = seen.iter().filter(|seen| seen.contains(row)).count();
                0 < by && by < queries
            }
            false => !seen[*row].is_empty() && seen[*row].len() < keys,
        });
        let edges: Vec<usize> = edges.collect();
        match edges.is_empty() {
            true => (0..rows).collect(),
            false => edges,
        }
    }
}

/// A key for a query to point at.
fn aim(seen: &Range<usize>, keys: usize, within: bool, rng: &mut Rng) -> usize {
    let outside = [seen.start.checked_sub(1), Some(seen.end)];
    let outside: Vec<usize> = outside
        .into_iter()
        .flatten()
        .filter(|key| *key < keys)
        .collect();
    if seen.is_empty() {
        return rng.below(keys);
    }
    match rng.below(5) {
        0 => seen.start,
        1 => seen.end - 1,
        2 if !within && !outside.is_empty() => rng.choose(&outside),
        _ => rng.between(seen.start, seen.end - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Dims, flash_attention_forward};
    use reference::attention::Options;

    fn draft(rng: &mut Rng) -> Draft {
        let dims = Dims::of([("Nq", 20), ("Nk", 33), ("D", 32), ("Hkv", 8), ("Hq", 8)]);
        Draft::normal(Draft::dense(&dims), rng)
    }

    /// The masks of the oracle are made from the call's own words.
    #[test]
    fn what_a_query_sees_is_what_the_call_says() {
        let mut rng = Rng::new(1);
        for _ in 0..60 {
            let mut draft = draft(&mut rng);
            draft.shape.lengths = vec![rng.choose(&[(20, 33), (33, 20), (7, 7)])];
            let lengths = draft.shape.lengths[0];
            draft.q.truncate(8 * lengths.0 * 32);
            draft.q.resize(8 * lengths.0 * 32, 0.5);
            draft.k.resize(8 * lengths.1 * 32, 0.5);
            draft.v.resize(8 * lengths.1 * 32, 0.5);
            draft.mask(&mut rng);
            let call = flash_attention_forward::call(&draft);
            let problem = super::super::Problem::of(&call).expect("a call");
            for query in 0..lengths.0 {
                let seen = draft.seen(lengths, query);
                for key in 0..lengths.1 {
                    let sees = problem.sees(lengths.0, lengths.1, query, key);
                    assert_eq!(seen.contains(&key), sees, "{:?}", draft.options);
                }
            }
        }
    }

    #[test]
    fn spots_take_each_place_of_a_vector_and_lie_at_edges() {
        let mut rng = Rng::new(2);
        let mut draft = draft(&mut rng);
        draft.options = Options::new(1.0).causal();
        let spots = draft.scattered(&["v"], &mut rng);
        let mut places: Vec<usize> = spots.iter().map(|spot| spot.at() % 8).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7]);
        for spot in spots {
            let key = spot.at() / 32 % 33;
            assert!(key > 13, "all queries see key {key}");
        }
    }

    #[test]
    fn a_pointed_key_has_the_greatest_score() {
        let mut rng = Rng::new(3);
        let mut draft = draft(&mut rng);
        draft.point(1, 300.0, &mut rng);
        for (row, q) in draft.q.chunks(32).enumerate() {
            let head = row / 20;
            let keys = &draft.k[head * 33 * 32..][..33 * 32];
            let scores = keys.chunks(32).map(|k| {
                let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
                dot * f64::from(draft.options.scale)
            });
            let mut scores: Vec<f64> = scores.collect();
            scores.sort_by(f64::total_cmp);
            // What is left out of the greatest makes an f32 overflow.
            assert!(scores[32] - scores[31] > 90.0, "{scores:?}");
        }
    }
}
