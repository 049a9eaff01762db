//! The plain implementation, and what can go wrong in it.

use crate::submission::{Call, Failure, Named};
use crate::task::attention::{Head, Problem, TILE};
use crate::task::honest::{answer, tree};
use crate::task::{Mistake, Way};
use crate::tensor::DType;
use half::{bf16, f16};

const ALIGNMENT: &str = "query i stands at position i + Nk − Nq: align the mask bottom-right";

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "rescale-direction",
        caught_by: &["rescale-direction"],
        says: "sum and output so far are multiplied by exp(m_new − m_old) when the maximum rises",
        mend: "multiply by exp(m_old − m_new): what was summed under the old maximum shrinks",
    },
    Mistake {
        name: "no-rescale",
        caught_by: &["late-outlier"],
        says: "sum and output so far are kept as they are when the maximum rises",
        mend: "multiply both by exp(m_old − m_new) before the tile is added",
    },
    Mistake {
        name: "output-not-rescaled",
        caught_by: &["late-outlier"],
        says: "the sum is rescaled when the maximum rises, the output is not",
        mend: "multiply the output accumulator by the same exp(m_old − m_new) as the sum",
    },
    Mistake {
        name: "sum-not-rescaled",
        caught_by: &["late-outlier"],
        says: "the output is rescaled when the maximum rises, the sum is not",
        mend: "multiply the sum by the same exp(m_old − m_new) as the output",
    },
    Mistake {
        name: "rescale-from-nothing",
        caught_by: &["rescale-direction"],
        says: "the first tile multiplies by exp(m_new − m_old) with m_old = −inf: ∞·0 is NaN",
        mend: "multiply by exp(m_old − m_new), which is 0 while nothing was seen",
    },
    Mistake {
        name: "first-tile-maximum",
        caught_by: &["rescale-direction"],
        says: "the maximum of the first tile is subtracted throughout",
        mend: "keep a running maximum over all tiles",
    },
    Mistake {
        name: "nan-on-masked-tile",
        caught_by: &["masked-first-tile"],
        says: "a tile that is wholly masked while nothing was seen yet gives exp(−inf − −inf) = NaN",
        mend: "when the new maximum is −inf, skip the tile (or subtract 0)",
    },
    Mistake {
        name: "stop-at-masked-tile",
        caught_by: &["tiles-before-the-window"],
        says: "the loop over tiles ends at the first one that is wholly masked",
        mend: "`continue` past it: tiles before a window are masked, those after are not",
    },
    Mistake {
        name: "tail-not-masked",
        caught_by: &["partial-last-tile"],
        says: "the last, partial tile is not masked: what lies beyond Nk counts as keys of zeros",
        mend: "give scores −inf where j ≥ Nk",
    },
    Mistake {
        name: "last-tile-dropped",
        caught_by: &["fewer-keys-than-a-tile"],
        says: "only whole tiles of keys are read",
        mend: "round the number of tiles up and mask the last one",
    },
    Mistake {
        name: "top-left",
        caught_by: &["aligned-at-the-end"],
        says: "the causal mask is aligned top-left: query i sees keys 0 to i",
        mend: ALIGNMENT,
    },
    Mistake {
        name: "diagonal-hidden",
        caught_by: &["own-position"],
        says: "a query does not see the key at its own position",
        mend: "the causal mask keeps j ≤ i + Nk − Nq, the diagonal included",
    },
    Mistake {
        name: "scale-forgotten",
        caught_by: &["scale-as-given"],
        says: "scores are not scaled",
        mend: "multiply q·k by scale",
    },
    Mistake {
        name: "scale-twice",
        caught_by: &["scale-as-given"],
        says: "the scale is applied twice",
        mend: "multiply q·k by scale once: in q, in the score or in the exponent",
    },
    Mistake {
        name: "default-scale",
        caught_by: &["scale-as-given"],
        says: "1/√D is used instead of the scale that was given",
        mend: "use the parameter",
    },
    Mistake {
        name: "heads-interleaved",
        caught_by: &["grouped-heads"],
        says: "query head h reads KV head h mod Hkv",
        mend: "neighbouring query heads share a KV head: ⌊h / (Hq/Hkv)⌋",
    },
    Mistake {
        name: "no-maximum",
        caught_by: &["scores-of-ten-thousand"],
        says: "exp of the scores is taken without subtracting their maximum",
        mend: "subtract the running maximum before exp",
    },
    Mistake {
        name: "empty-row-divided",
        caught_by: &["empty-rows"],
        says: "a query that sees nothing gets 0/0",
        mend: "where the sum is 0 write o = 0 and lse = −inf",
    },
    Mistake {
        name: "lse-base-2",
        caught_by: &["natural-lse"],
        says: "lse is the logarithm to base 2",
        mend: "multiply by ln 2 before it is written",
    },
    Mistake {
        name: "lse-of-two-bases",
        caught_by: &["natural-lse"],
        says: "lse adds the sum's logarithm to base 2 to the maximum",
        mend: "lse = m + ln l: log₂ l · ln 2 where the exponentials are powers of 2",
    },
    Mistake {
        name: "lse-without-maximum",
        caught_by: &["natural-lse"],
        says: "lse is ln l, the maximum is not added",
        mend: "lse = m + ln l",
    },
    Mistake {
        name: "masked-values-multiplied",
        caught_by: &["nan-behind-the-mask"],
        says: "values that a query does not see are multiplied by a probability of 0: NaN there \
               reaches its output",
        mend: "skip what is masked, or load zeros in its place",
    },
    Mistake {
        name: "mask-added",
        caught_by: &["nan-behind-the-mask"],
        says: "the mask is added to the scores, so that a NaN score stays NaN",
        mend: "replace masked scores by −inf",
    },
    Mistake {
        name: "softcap-before-scale",
        caught_by: &["softcap-order"],
        says: "the softcap is applied to q·k before it is scaled",
        mend: "cap the scaled score: c·tanh(scale·q·k/c)",
    },
    Mistake {
        name: "softcap-missing",
        caught_by: &["softcap-order"],
        says: "the softcap is not applied",
        mend: "cap the scaled score: c·tanh(scale·q·k/c)",
    },
    Mistake {
        name: "window-short",
        caught_by: &["window-edge"],
        says: "the window is one key short: its own key is counted among window_left",
        mend: "keep j ≥ position − window_left",
    },
    Mistake {
        name: "packed-first-sequence",
        caught_by: &["packed-boundaries"],
        says: "every packed sequence reads the keys of the first",
        mend: "start at cu_k[b]",
    },
    Mistake {
        name: "packed-longest-aligned",
        caught_by: &["packed-alignment"],
        says: "masks of packed sequences are aligned by the longest lengths",
        mend: "use the sequence's own Nq and Nk: cu[b+1] − cu[b]",
    },
    Mistake {
        name: "sum-in-16-bits",
        caught_by: &["long-flat-row"],
        says: "the sum of exponentials is kept in 16 bits",
        mend: "accumulate in f32",
    },
    Mistake::near(
        "exp2-folded",
        "scores carry log₂e and exponentials are powers of 2",
    ),
    Mistake::near(
        "weights-rounded",
        "probabilities are rounded to the type of q before they meet v",
    ),
    Mistake::near(
        "two-pass",
        "the maximum is found first, in a pass of its own",
    ),
    Mistake::near(
        "reciprocal",
        "the output is multiplied by 1/l instead of divided by l",
    ),
    Mistake::near("negative-zero", "outputs that are zero have their sign set"),
];

/// Maximum, sum and output of some keys.
#[derive(Clone)]
struct State {
    max: f32,
    sum: f32,
    o: Vec<f32>,
    stopped: bool,
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let problem = Problem::of(call).map_err(Failure::Grader)?;
    let read = |name: &str| {
        let tensor = call.input(name);
        let missing = || Failure::Grader(format!("no {name}"));
        tensor.map(|t| t.to_f32()).ok_or_else(missing)
    };
    let (q, k, v) = (read("q")?, read("k")?, read("v")?);
    let shape = &problem.shape;
    let d = shape.head_size;
    let mut o = vec![0.0; shape.query_rows() * d];
    let mut lse = vec![0.0; shape.query_rows()];
    for (sequence, &(nq, _)) in shape.lengths.iter().enumerate() {
        for head in 0..shape.query_heads {
            let one = Head {
                problem: &problem,
                way,
                sequence,
                head,
                q: &q,
                k: &k,
            };
            for i in 0..nq {
                let row = shape.query_row(sequence, head, i);
                let (of_row, of_lse) = attend(&one, &v, i);
                for (to, from) in o[row * d..(row + 1) * d].iter_mut().zip(of_row) {
                    *to = f64::from(from);
                }
                lse[row] = f64::from(of_lse);
            }
        }
    }
    answer(call, [o, lse])
}

fn attend(head: &Head<'_>, v: &[f32], i: usize) -> (Vec<f32>, f32) {
    let way = head.way;
    let (_, nk) = head.lengths();
    let read = match way.mistake {
        Some("tail-not-masked") => nk.next_multiple_of(way.tile(TILE)),
        Some("last-tile-dropped") => nk / way.tile(TILE) * way.tile(TILE),
        _ => nk,
    };
    let start = || State {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        o: vec![0.0; head.shape().head_size],
        stopped: false,
    };
    let chain = |chain: Vec<usize>| {
        let tile = match way.has("two-pass") {
            true => chain.len().max(1),
            false => way.tile(TILE),
        };
        let tiles = chain.chunks(tile).enumerate();
        tiles.fold(start(), |state, (number, keys)| {
            step(head, v, i, state, keys, number)
        })
    };
    let chains = match read {
        0 => Vec::new(),
        // Sums are made within a tile: a chain is a run of tiles.
        read => way.order.chains_of(read, 4 * TILE),
    };
    let parts = chains.into_iter().map(chain).collect();
    let state = tree_of(parts, way).unwrap_or_else(start);
    finish(&state, way)
}

/// The states of several parts of the keys as one.
fn tree_of(mut parts: Vec<State>, way: &Way) -> Option<State> {
    let indices: Vec<usize> = (0..parts.len()).collect();
    let merged = std::cell::RefCell::new(&mut parts);
    let root = tree(indices, &|a, b| {
        let mut parts = merged.borrow_mut();
        let joined = merge(&parts[a], &parts[b], way);
        parts[a] = joined;
        a
    })?;
    Some(parts[root].clone())
}

fn merge(a: &State, b: &State, way: &Way) -> State {
    let max = greater(a.max, b.max);
    if max == f32::NEG_INFINITY {
        return a.clone();
    }
    let factor = |old: f32| match old {
        f32::NEG_INFINITY => 0.0,
        old => exp(old - max, way),
    };
    let (fa, fb) = (factor(a.max), factor(b.max));
    State {
        max,
        sum: a.sum * fa + b.sum * fb,
        o: a.o.iter().zip(&b.o).map(|(x, y)| x * fa + y * fb).collect(),
        stopped: false,
    }
}

/// The greater; NaN where either is.
fn greater(a: f32, b: f32) -> f32 {
    match a.is_nan() || b.is_nan() {
        true => f32::NAN,
        false => a.max(b),
    }
}

fn exp(x: f32, way: &Way) -> f32 {
    match way.has("exp2-folded") {
        true => x.exp2(),
        false => x.exp(),
    }
}

fn step(head: &Head<'_>, v: &[f32], i: usize, old: State, keys: &[usize], tile: usize) -> State {
    let way = head.way;
    if old.stopped {
        return old;
    }
    let (_, nk) = head.lengths();
    let score = |j: usize| -> (bool, f32) {
        if j >= nk {
            return (true, 0.0);
        }
        let seen = head.sees(i, j);
        let score = || match way.has("exp2-folded") {
            true => head.score(i, j).0 * std::f32::consts::LOG2_E,
            false => head.score(i, j).0,
        };
        match seen {
            true => (true, score()),
            false if way.has("mask-added") => (false, score() + f32::NEG_INFINITY),
            false => (false, f32::NEG_INFINITY),
        }
    };
    let scores: Vec<(bool, f32)> = keys.iter().map(|j| score(*j)).collect();
    let highest = scores.iter().fold(old.max, |max, (_, s)| greater(max, *s));
    let max = match way.mistake {
        Some("no-maximum") => 0.0,
        Some("first-tile-maximum") if tile > 0 => old.max,
        _ => highest,
    };
    if max == f32::NEG_INFINITY && !way.has("nan-on-masked-tile") {
        return State {
            stopped: way.has("stop-at-masked-tile"),
            ..old
        };
    }
    if way.has("stop-at-masked-tile") && scores.iter().all(|(seen, _)| !seen) {
        return State {
            stopped: true,
            ..old
        };
    }
    let correction = match way.mistake {
        Some("no-rescale") => 1.0,
        Some("rescale-from-nothing") => exp(max - old.max, way),
        Some("rescale-direction") if old.max != f32::NEG_INFINITY => exp(max - old.max, way),
        Some("no-maximum") => 1.0,
        _ if old.max == f32::NEG_INFINITY && !way.has("nan-on-masked-tile") => 0.0,
        _ => exp(old.max - max, way),
    };
    let weights: Vec<f32> = scores.iter().map(|(_, s)| exp(s - max, way)).collect();
    let n = weights.len();
    let of_sum = match way.has("sum-not-rescaled") {
        true => 1.0,
        false => correction,
    };
    let mut sum = old.sum * of_sum + way.order.sum(n, |at| weights[at]);
    if way.has("sum-in-16-bits") {
        let total = old.sum * correction;
        sum = weights
            .iter()
            .fold(total, |sum, w| bf16::from_f32(sum + w).to_f32());
    }
    let used = |at: usize| match way.has("weights-rounded") {
        true => rounded(weights[at], head.problem.dtype),
        false => weights[at],
    };
    let d = head.shape().head_size;
    let value = |at: usize, c: usize| match keys[at] {
        j if j >= nk => 0.0,
        j => v[head.key_row(j) * d + c],
    };
    let counted: Vec<usize> = (0..n)
        .filter(|at| scores[*at].0 || way.has("masked-values-multiplied"))
        .collect();
    let kept = match way.has("output-not-rescaled") {
        true => 1.0,
        false => correction,
    };
    let o = (0..d).map(|c| {
        let term = |at: usize| used(counted[at]) * value(counted[at], c);
        old.o[c] * kept + way.order.sum(counted.len(), term)
    });
    State {
        max,
        sum,
        o: o.collect(),
        stopped: false,
    }
}

fn rounded(x: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::Bf16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

fn finish(state: &State, way: &Way) -> (Vec<f32>, f32) {
    let zero = match way.has("negative-zero") {
        true => -0.0,
        false => 0.0,
    };
    let empty = state.max == f32::NEG_INFINITY;
    if empty && !way.has("empty-row-divided") {
        return (vec![zero; state.o.len()], f32::NEG_INFINITY);
    }
    let divided = |x: &f32| match way.has("reciprocal") {
        true => x * state.sum.recip(),
        false => x / state.sum,
    };
    let max = match way.has("exp2-folded") {
        true => state.max * std::f32::consts::LN_2,
        false => state.max,
    };
    let lse = match way.mistake {
        Some("lse-base-2") => (max + state.sum.ln()) * std::f32::consts::LOG2_E,
        Some("lse-of-two-bases") => max + state.sum.log2(),
        Some("lse-without-maximum") => state.sum.ln(),
        _ => max + state.sum.ln(),
    };
    (state.o.iter().map(divided).collect(), lse)
}
