//! The plain implementation, and what can go wrong in it.

use super::cases::temperature;
use crate::submission::{Call, Failure, Named};
use crate::task::honest::{LANES, answer, tree};
use crate::task::{Mistake, Way};
use half::bf16;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "rescale-direction",
        caught_by: &["rescale-direction"],
        says: "the running sum is multiplied by exp(m_new − m_old) when the maximum rises",
        mend: "multiply by exp(m_old − m_new): what was summed under the old maximum shrinks",
    },
    Mistake {
        name: "no-rescale",
        caught_by: &["ascending-rows"],
        says: "the running sum is kept as it is when the maximum rises",
        mend: "multiply the sum so far by exp(m_old − m_new) whenever the maximum changes",
    },
    Mistake {
        name: "only-new-maxima",
        caught_by: &["descending-rows"],
        says: "a logit becomes a candidate only when it beats the greatest so far",
        mend: "compare with the K-th best so far, not with the best",
    },
    Mistake {
        name: "ties-by-higher",
        caught_by: &["all-equal"],
        says: "of equal logits the later one is preferred",
        mend: "replace a candidate only when the new logit is strictly greater",
    },
    Mistake {
        name: "last-logit-skipped",
        caught_by: &["maximum-last"],
        says: "the last logit of a row is never read",
        mend: "look at the upper end of the loop over the row",
    },
    Mistake {
        name: "ties-by-thread",
        caught_by: &["ties-across-threads"],
        says: "equal logits are ordered by the thread that read them, then by index",
        mend: "compare (logit, index) when the candidates of threads are merged",
    },
    Mistake {
        name: "single-logit-shortcut",
        caught_by: &["one-logit"],
        says: "a row of one logit gets lse 0, as if its maximum had been subtracted for good",
        mend: "lse is m + ln l also when l is 1",
    },
    Mistake {
        name: "vector-tail-dropped",
        caught_by: &["prime-vocabulary"],
        says: "the last V mod 4 logits are never read",
        mend: "read what is left after the last whole vector one by one",
    },
    Mistake {
        name: "k-capped-below-v",
        caught_by: &["k-equals-v"],
        says: "at most V − 1 entries are returned",
        mend: "K may be as large as V",
    },
    Mistake {
        name: "first-chunk-maximum",
        caught_by: &["late-outlier"],
        says: "the maximum of the first 64 logits is subtracted throughout",
        mend: "keep a running maximum over the whole row and rescale the sum when it rises",
    },
    Mistake {
        name: "no-maximum",
        caught_by: &["logits-of-ten-thousand"],
        says: "exp of the logits is taken without subtracting their maximum",
        mend: "subtract the row's maximum before exp",
    },
    Mistake {
        name: "probability-from-lse",
        caught_by: &["logits-of-ten-thousand"],
        says: "probabilities are exp(s − lse), with the lse already rounded to f32",
        mend: "divide exp(s − m) by the sum",
    },
    Mistake {
        name: "argmax-by-value",
        caught_by: &["duplicate-indices"],
        says: "each next entry is the first index that holds the next greatest value, so that of \
               equal logits one index is returned again and again",
        mend: "take the (value, index) pairs in order, not the values",
    },
    Mistake {
        name: "chunk-keeps-too-few",
        caught_by: &["chunk-drops-candidate"],
        says: "each chunk of 64 logits keeps only half of K candidates",
        mend: "all K best may stand in one chunk: keep K of each",
    },
    Mistake {
        name: "nan-ranked",
        caught_by: &["nan-above-infinity"],
        says: "NaN is ranked by its bits, above +inf, and returned as an index",
        mend: "a NaN or +inf makes the row's indices −1 and its prob and lse NaN",
    },
    Mistake {
        name: "renormalised-over-k",
        caught_by: &["full-softmax"],
        says: "probabilities are normalised over the K entries that are returned",
        mend: "divide by the sum over the whole row",
    },
    Mistake {
        name: "temperature-after-maximum",
        caught_by: &["temperature-in-lse"],
        says: "lse is m + ln l with the maximum of the logits before they are scaled",
        mend: "take the maximum of logits / temperature",
    },
    Mistake {
        name: "temperature-ignored",
        caught_by: &["temperature-in-lse"],
        says: "the logits are not divided by the temperature",
        mend: "s = x / temperature, in the maximum, the sum and the probabilities",
    },
    Mistake {
        name: "lse-without-temperature",
        caught_by: &["temperature-in-lse"],
        says: "lse is that of the logits before they are divided by the temperature",
        mend: "take maximum and sum of s = x / temperature",
    },
    Mistake {
        name: "sum-in-16-bits",
        caught_by: &["long-flat-row"],
        says: "the sum of exponentials is kept in the logits' 16 bits",
        mend: "accumulate in f32",
    },
    Mistake {
        name: "mask-added",
        caught_by: &["masked-garbage"],
        says: "the mask is added to the logits as a large negative number, so that what is masked \
               still counts when it is NaN or infinite",
        mend: "replace masked logits by −inf",
    },
    Mistake::near("exp2-of-scaled", "exp is computed as 2^((s − m)·log₂e)"),
    Mistake::near(
        "reciprocal-temperature",
        "logits are multiplied by 1/temperature",
    ),
    Mistake::near(
        "negative-zero",
        "probabilities that are zero have their sign set",
    ),
    Mistake::near("signed-nan", "NaN comes with its sign set"),
    Mistake::near(
        "order-by-scaled",
        "entries are ordered by the scaled logits, ties by index",
    ),
];

/// Maximum and `Σ exp(s − max)`.
#[derive(Clone, Copy)]
struct State {
    max: f32,
    sum: f32,
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let none = || Failure::Grader("no logits".into());
    let logits = call.input("logits").ok_or_else(none)?;
    let (rows, k) = (call.outputs[0].shape[0], call.outputs[0].shape[1]);
    let all = logits.to_f32();
    let vocabulary = all.len() / rows.max(1);
    if k > vocabulary {
        return Err(Failure::Unsupported(format!("K {k} above V {vocabulary}")));
    }
    let mask = call.input("mask").map(|mask| mask.bytes());
    let row_k: Option<Vec<i32>> = call.input("row_k").and_then(|k| k.to_vec());
    let (mut prob, mut index, mut lse) = (Vec::new(), Vec::new(), Vec::new());
    for r in 0..rows {
        let at = r * vocabulary..(r + 1) * vocabulary;
        let mut row = all[at.clone()].to_vec();
        if let Some(mask) = mask {
            for (x, m) in row.iter_mut().zip(&mask[at]) {
                if *m != 0 {
                    *x = match way.has("mask-added") {
                        true => *x - 1e9,
                        false => f32::NEG_INFINITY,
                    };
                }
            }
        }
        let own = row_k.as_ref().map_or(k, |ks| ks[r] as usize);
        let (p, i, l) = one(&row, own, temperature(call), way);
        let pad = k - own;
        prob.extend(p.into_iter().map(f64::from).chain(vec![0.0; pad]));
        index.extend(i.into_iter().map(f64::from).chain(vec![-1.0; pad]));
        lse.push(f64::from(l));
    }
    answer(call, [prob, index, lse])
}

/// One row.
fn one(row: &[f32], k: usize, temperature: f32, way: &Way) -> (Vec<f32>, Vec<i32>, f32) {
    let nan = match way.has("signed-nan") {
        true => -f32::NAN,
        false => f32::NAN,
    };
    let odd = row.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
    if odd && !way.has("nan-ranked") {
        return (vec![nan; k], vec![-1; k], nan);
    }
    let scaled: Vec<f32> = row
        .iter()
        .map(|x| match way.has("reciprocal-temperature") {
            true => x * temperature.recip(),
            false => x / temperature,
        })
        .collect();
    let scaled = match way.has("temperature-ignored") {
        true => row.to_vec(),
        false => scaled,
    };
    let seen = match way.mistake {
        Some("last-logit-skipped") => (row.len() - 1).max(1),
        Some("vector-tail-dropped") if row.len() > 4 => row.len() / 4 * 4,
        _ => row.len(),
    };
    let state = state(&scaled[..seen], way);
    let mut best = best(row, &scaled, seen, k, way);
    if way.has("k-capped-below-v") && k == row.len() {
        best.truncate(k - 1);
    }
    let max = state.max;
    let mut lse = max + state.sum.ln();
    if way.has("temperature-after-maximum") {
        lse = max * temperature + state.sum.ln();
    }
    if way.has("lse-without-temperature") {
        let unscaled = self::state(&row[..seen], way);
        lse = unscaled.max + unscaled.sum.ln();
    }
    if way.has("single-logit-shortcut") && row.len() == 1 {
        lse = 0.0;
    }
    let total = match way.has("renormalised-over-k") {
        true => best.iter().map(|i| exp(scaled[*i] - max, way)).sum(),
        false => state.sum,
    };
    let zero = match way.has("negative-zero") {
        true => -0.0,
        false => 0.0,
    };
    let probability = |i: &usize| match scaled[*i] {
        f32::NEG_INFINITY => zero,
        s if way.has("probability-from-lse") => (s - lse).exp(),
        s if way.has("no-maximum") => s.exp() / total,
        s => exp(s - max, way) / total,
    };
    let mut prob: Vec<f32> = best.iter().map(probability).collect();
    let mut index: Vec<i32> = best.iter().map(|i| *i as i32).collect();
    prob.resize(k, 0.0);
    index.resize(k, -1);
    (prob, index, lse)
}

fn exp(x: f32, way: &Way) -> f32 {
    match way.has("exp2-of-scaled") {
        true => (x * std::f32::consts::LOG2_E).exp2(),
        false => x.exp(),
    }
}

fn state(scaled: &[f32], way: &Way) -> State {
    let leaf = |i: usize| State {
        max: scaled[i],
        sum: if scaled[i] == f32::NEG_INFINITY {
            0.0
        } else {
            1.0
        },
    };
    match way.mistake {
        Some("first-chunk-maximum") => {
            let max = scaled[..scaled.len().min(way.tile(64))]
                .iter()
                .fold(f32::NEG_INFINITY, |m, s| m.max(*s));
            let sum = scaled.iter().map(|s| (s - max).exp()).sum();
            return State { max, sum };
        }
        Some("no-maximum") => {
            let sum = scaled.iter().map(|s| s.exp()).sum();
            return State { max: 0.0, sum };
        }
        _ => {}
    }
    if let Some(tile) = way.tile {
        return in_tiles(scaled, tile, way);
    }
    let chain = |chain: Vec<usize>| {
        let states = chain.into_iter().map(leaf);
        states
            .reduce(|a, b| merge(a, b, way))
            .expect("a chain is not empty")
    };
    let parts = way.order.chains(scaled.len()).into_iter().map(chain);
    tree(parts.collect(), &|a, b| merge(a, b, way)).expect("a row is not empty")
}

/// The running sum of a kernel that takes a tile at a time: each tile's own sum is right, and what
/// was summed before it is what can go wrong.
fn in_tiles(scaled: &[f32], tile: usize, way: &Way) -> State {
    let right = Way::right(way.order);
    let tiles = scaled.chunks(tile).map(|tile| state(tile, &right));
    let first = State {
        max: f32::NEG_INFINITY,
        sum: 0.0,
    };
    tiles.fold(first, |old, tile| {
        let both = merge(old, tile, &right);
        match both.max > old.max && old.max > f32::NEG_INFINITY {
            // The tile stands under the new maximum already, so that only the old sum is touched.
            true => merge(old, tile, way),
            false => both,
        }
    })
}

/// Both sums under the greater maximum.
fn merge(a: State, b: State, way: &Way) -> State {
    let max = a.max.max(b.max);
    if max == f32::NEG_INFINITY {
        return State { max, sum: 0.0 };
    }
    let factor = |old: f32| match old {
        f32::NEG_INFINITY => 0.0,
        old if old == max || way.has("no-rescale") => 1.0,
        old if way.has("rescale-direction") => exp(max - old, way),
        old => exp(old - max, way),
    };
    let sum = a.sum * factor(a.max) + b.sum * factor(b.max);
    let sum = match way.has("sum-in-16-bits") {
        true => bf16::from_f32(sum).to_f32(),
        false => sum,
    };
    State { max, sum }
}

/// Positions of the k best.
fn best(row: &[f32], scaled: &[f32], seen: usize, k: usize, way: &Way) -> Vec<usize> {
    let mut order: Vec<usize> = (0..seen).collect();
    let key = match way.has("order-by-scaled") {
        true => scaled,
        false => row,
    };
    // Adding zero makes one number of −0 and +0.
    let greater = |a: &usize, b: &usize| {
        let (a, b) = (key[*a] + 0.0, key[*b] + 0.0);
        b.total_cmp(&a)
    };
    match way.mistake {
        Some("ties-by-higher") => order.sort_by(|a, b| greater(a, b).then(b.cmp(a))),
        Some("ties-by-thread") => {
            order.sort_by(|a, b| greater(a, b).then((a % LANES).cmp(&(b % LANES)).then(a.cmp(b))));
        }
        Some("only-new-maxima") => {
            let mut greatest = f32::NEG_INFINITY;
            order.retain(|i| {
                let new = key[*i] > greatest;
                greatest = greatest.max(key[*i]);
                new
            });
            order.sort_by(|a, b| greater(a, b).then(a.cmp(b)));
        }
        Some("chunk-keeps-too-few") => {
            let mut kept = Vec::new();
            for chunk in order.chunks(way.tile(64)) {
                let mut chunk = chunk.to_vec();
                chunk.sort_by(|a, b| greater(a, b).then(a.cmp(b)));
                chunk.truncate(k.div_ceil(2));
                kept.extend(chunk);
            }
            order = kept;
            order.sort_by(|a, b| greater(a, b).then(a.cmp(b)));
        }
        Some("argmax-by-value") => {
            order.sort_by(|a, b| greater(a, b).then(a.cmp(b)));
            let first = |i: usize| (0..seen).find(|j| key[*j] == key[i]).unwrap_or(i);
            order = order.into_iter().map(first).collect();
        }
        _ => order.sort_by(|a, b| greater(a, b).then(a.cmp(b))),
    }
    order.truncate(k);
    order
}
