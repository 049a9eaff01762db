//! The plain implementation, and what can go wrong in it.

use crate::submission::{Call, Failure, Named};
use crate::task::attention::{Head, Problem, TILE};
use crate::task::honest::answer;
use crate::task::{Mistake, Order, Way};
use crate::tensor::DType;
use half::{bf16, f16};

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "delta-of-a-tile",
        caught_by: &["delta-over-the-whole-row"],
        says: "D is Σⱼ p·dp over the keys of a tile instead of over the row",
        mend: "D = Σ_c do·o, once a row, before the loop over tiles",
    },
    Mistake {
        name: "delta-missing",
        caught_by: &["delta-over-the-whole-row"],
        says: "ds is p·dp: D is not subtracted",
        mend: "ds = p·(dp − D)",
    },
    Mistake {
        name: "overwritten",
        caught_by: &["accumulate-over-queries"],
        says: "dk and dv hold the last tile of queries only",
        mend: "add up over all tiles of queries before dk and dv are written",
    },
    Mistake {
        name: "dq-overwritten",
        caught_by: &["accumulate-over-keys"],
        says: "dq holds the last tile of keys only",
        mend: "add up over all tiles of keys before dq is written",
    },
    Mistake {
        name: "scale-missing-in-dq",
        caught_by: &["scale-in-both"],
        says: "dq is not scaled",
        mend: "dq = scale·Σⱼ ds·k",
    },
    Mistake {
        name: "scale-missing-in-dk",
        caught_by: &["scale-in-both"],
        says: "dk is not scaled",
        mend: "dk = scale·Σᵢ ds·q",
    },
    Mistake {
        name: "scale-twice-in-dk",
        caught_by: &["scale-in-both"],
        says: "dk is scaled twice, in ds and when it is written",
        mend: "scale once",
    },
    Mistake {
        name: "lse-base-2",
        caught_by: &["lse-is-natural"],
        says: "lse is taken as a logarithm to base 2",
        mend: "multiply lse by log₂e before it is subtracted from scores in base 2",
    },
    Mistake {
        name: "group-not-summed",
        caught_by: &["grouped-gradients"],
        says: "dk and dv hold the last query head of the group only",
        mend: "add up over the query heads that read the KV head",
    },
    Mistake {
        name: "heads-interleaved",
        caught_by: &["grouped-gradients"],
        says: "query head h reads KV head h mod Hkv",
        mend: "neighbouring query heads share a KV head: ⌊h / (Hq/Hkv)⌋",
    },
    Mistake {
        name: "padding-is-nan",
        caught_by: &["partial-query-tile"],
        says: "rows past Nq are read as garbage: 0·NaN reaches dk and dv",
        mend: "load zeros past Nq, or give p = 0 and skip the product",
    },
    Mistake {
        name: "tail-not-masked",
        caught_by: &["partial-query-tile"],
        says: "rows past Nq repeat the last row",
        mend: "give p = 0 where i ≥ Nq",
    },
    Mistake {
        name: "causal-in-one-loop",
        caught_by: &["causal-in-both-loops"],
        says: "the causal mask holds for dq and not for dk and dv",
        mend: "mask p wherever it is recomputed",
    },
    Mistake {
        name: "top-left",
        caught_by: &["aligned-bottom-right"],
        says: "the causal mask is aligned top-left",
        mend: "query i stands at position i + Nk − Nq: align the mask bottom-right",
    },
    Mistake {
        name: "empty-rows-explode",
        caught_by: &["rows-that-see-nothing"],
        says: "where lse is −inf, exp(s − lse) is infinite",
        mend: "mask before the exponential, and give p = 0 where lse is −inf",
    },
    Mistake {
        name: "softcap-not-derived",
        caught_by: &["softcap-derivative"],
        says: "ds is not multiplied by the softcap's derivative",
        mend: "ds ← ds·(1 − tanh²(scale·q·k/c))",
    },
    Mistake {
        name: "window-short",
        caught_by: &["window-edge"],
        says: "the window is one key short",
        mend: "keep j ≥ position − window_left",
    },
    Mistake {
        name: "packed-first-sequence",
        caught_by: &["packed-boundaries"],
        says: "every packed sequence reads and writes the keys of the first",
        mend: "start at cu_k[b]",
    },
    Mistake {
        name: "output-without-saved-o",
        caught_by: &["delta-from-the-saved-o"],
        says: "D is made from do alone",
        mend: "D = Σ_c do·o",
    },
    Mistake {
        name: "sums-in-16-bits",
        caught_by: &["many-queries"],
        says: "dk and dv are added up in 16 bits",
        mend: "accumulate in f32, round once",
    },
    Mistake::near("exp2-folded", "p is a power of 2, with log₂e folded in"),
    Mistake::near(
        "weights-rounded",
        "p and ds are rounded to the type of q before they meet do, q and k",
    ),
    Mistake::near("scale-in-ds", "ds carries the scale, instead of the sums"),
    Mistake::near("dq-by-tiles", "dq is added up tile by tile"),
    Mistake::near(
        "negative-zero",
        "gradients that are zero have their sign set",
    ),
];

/// p and ds of a pair.
#[derive(Clone, Copy, Debug)]
struct Pair {
    p: f32,
    ds: f32,
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let problem = Problem::of(call).map_err(Failure::Grader)?;
    let read = |name: &str| {
        let tensor = call.input(name);
        let missing = || Failure::Grader(format!("no {name}"));
        tensor.map(|t| t.to_f32()).ok_or_else(missing)
    };
    let tensors = Tensors {
        q: read("q")?,
        k: read("k")?,
        v: read("v")?,
        o: read("o")?,
        lse: read("lse")?,
        d_o: read("do")?,
    };
    let (query_rows, key_rows, d) = (
        problem.shape.query_rows(),
        problem.shape.key_rows(),
        problem.shape.head_size,
    );
    let mut gradients = Gradients {
        dq: vec![0.0; query_rows * d],
        dk: vec![0.0; key_rows * d],
        dv: vec![0.0; key_rows * d],
    };
    for sequence in 0..problem.shape.lengths.len() {
        for head in 0..problem.shape.query_heads {
            let one = Head {
                problem: &problem,
                way,
                sequence,
                head,
                q: &tensors.q,
                k: &tensors.k,
            };
            of_head(&one, &tensors, &mut gradients);
        }
    }
    let Gradients { dq, dk, dv } = gradients;
    let shown = |all: Vec<f32>| -> Vec<f64> {
        let sign = |x: f32| match way.has("negative-zero") && x == 0.0 {
            true => -0.0,
            false => f64::from(x),
        };
        all.into_iter().map(sign).collect()
    };
    answer(call, [shown(dq), shown(dk), shown(dv)])
}

struct Tensors {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    o: Vec<f32>,
    lse: Vec<f32>,
    d_o: Vec<f32>,
}

struct Gradients {
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

/// Adds one query head's share.
fn of_head(head: &Head<'_>, t: &Tensors, gradients: &mut Gradients) {
    let (way, shape) = (head.way, head.shape());
    let ((nq, nk), d) = (head.lengths(), shape.head_size);
    if nq == 0 || nk == 0 {
        return;
    }
    let query_row = |i: usize| shape.query_row(head.sequence, head.head, i);
    let delta: Vec<f32> = (0..nq).map(|i| delta(head, t, i)).collect();
    let pairs: Vec<Vec<Pair>> = (0..nq)
        .map(|i| (0..nk).map(|j| pair(head, t, i, j, &delta)).collect())
        .collect();
    let unmasked: Vec<Vec<Pair>> = match way.has("causal-in-one-loop") {
        true => (0..nq)
            .map(|i| (0..nk).map(|j| seen_pair(head, t, i, j, &delta)).collect())
            .collect(),
        false => pairs.clone(),
    };
    let scale = head.scale();
    let (of_dq, of_dk) = match way.mistake {
        Some("scale-missing-in-dq") => (1.0, scale),
        Some("scale-missing-in-dk") => (scale, 1.0),
        Some("scale-twice-in-dk") => (scale, scale * scale),
        Some("scale-in-ds") => (1.0, 1.0),
        _ => (scale, scale),
    };
    let tile = way.tile(TILE);
    for (i, pairs) in pairs.iter().enumerate() {
        let row = query_row(i);
        for c in 0..d {
            let term = |j: usize| pairs[j].ds * head.key(j)[c];
            let sum = match way.mistake {
                Some("dq-overwritten") => {
                    let from = (nk - 1) / tile * tile;
                    way.order.sum(nk - from, |at| term(from + at))
                }
                Some("dq-by-tiles") => (0..nk)
                    .step_by(tile)
                    .map(|from| {
                        let pairs = &pairs[from..nk.min(from + tile)];
                        seen_sum(way.order, pairs.len(), pairs, |at| term(from + at))
                    })
                    .sum(),
                _ => seen_sum(way.order, nk, pairs, term),
            };
            gradients.dq[row * d + c] = of_dq * sum;
        }
    }
    let last_of_group = head.head % shape.group() + 1 == shape.group();
    let column = |j: usize| -> Vec<Pair> { unmasked.iter().map(|row| row[j]).collect() };
    for (j, column) in (0..nk).map(|j| (j, column(j))) {
        let row = head.key_row(j);
        for c in 0..d {
            let of = |i: usize| query_row(i) * d + c;
            let total = |term: &dyn Fn(usize) -> f32| columns(way, nq, &column, term);
            let dk = of_dk * total(&|i| column[i].ds * t.q[of(i)]);
            let dv = total(&|i| column[i].p * t.d_o[of(i)]);
            let (to_k, to_v) = (
                &mut gradients.dk[row * d + c],
                &mut gradients.dv[row * d + c],
            );
            if way.has("group-not-summed") {
                if last_of_group {
                    (*to_k, *to_v) = (dk, dv);
                }
                continue;
            }
            *to_k += dk;
            *to_v += dv;
        }
    }
}

/// A sum over the pairs that are seen.
fn seen_sum(order: Order, n: usize, pairs: &[Pair], term: impl Fn(usize) -> f32) -> f32 {
    let seen: Vec<usize> = (0..n).filter(|at| counts(pairs[*at])).collect();
    order.sum(seen.len(), |at| term(seen[at]))
}

/// Whether a pair adds anything; NaN does.
fn counts(pair: Pair) -> bool {
    pair.p != 0.0 || pair.ds != 0.0
}

/// A sum over queries.
fn columns(way: &Way, nq: usize, column: &[Pair], term: &dyn Fn(usize) -> f32) -> f32 {
    let tile = way.tile(TILE);
    match way.mistake {
        Some("overwritten") => {
            let from = (nq - 1) / tile * tile;
            way.order.sum(nq - from, |at| term(from + at))
        }
        Some("padding-is-nan") if !nq.is_multiple_of(tile) => {
            way.order.sum(nq, term) + 0.0 * f32::NAN
        }
        Some("tail-not-masked") => {
            let padding = nq.next_multiple_of(tile) - nq;
            way.order.sum(nq, term) + padding as f32 * term(nq - 1)
        }
        Some("sums-in-16-bits") => (0..nq)
            .map(term)
            .fold(0.0, |sum, x| bf16::from_f32(sum + x).to_f32()),
        _ => seen_sum(way.order, nq, column, term),
    }
}

/// D of a query.
fn delta(head: &Head<'_>, t: &Tensors, i: usize) -> f32 {
    let (way, d) = (head.way, head.shape().head_size);
    let row = head.shape().query_row(head.sequence, head.head, i) * d;
    match way.mistake {
        Some("delta-missing") => 0.0,
        Some("output-without-saved-o") => way.order.sum(d, |c| t.d_o[row + c]),
        _ => way.order.sum(d, |c| t.d_o[row + c] * t.o[row + c]),
    }
}

fn pair(head: &Head<'_>, t: &Tensors, i: usize, j: usize, delta: &[f32]) -> Pair {
    let lse = t.lse[head.shape().query_row(head.sequence, head.head, i)];
    match head.sees(i, j) {
        true => seen_pair(head, t, i, j, delta),
        // The mask is a factor of 0 on what exp has already made infinite.
        false if way_explodes(head.way, lse) => {
            let p = 0.0 * (head.score(i, j).0 - lse).exp();
            Pair { p, ds: p }
        }
        false => Pair { p: 0.0, ds: 0.0 },
    }
}

fn way_explodes(way: &Way, lse: f32) -> bool {
    way.has("empty-rows-explode") && lse == f32::NEG_INFINITY
}

fn weight(head: &Head<'_>, t: &Tensors, i: usize, j: usize) -> (f32, f32) {
    let way = head.way;
    let (score, slope) = head.score(i, j);
    let mut lse = t.lse[head.shape().query_row(head.sequence, head.head, i)];
    if lse == f32::NEG_INFINITY {
        return (0.0, slope);
    }
    if way.has("lse-base-2") {
        lse *= std::f32::consts::LN_2;
    }
    let p = match way.has("exp2-folded") {
        true => (score * std::f32::consts::LOG2_E - lse * std::f32::consts::LOG2_E).exp2(),
        false => (score - lse).exp(),
    };
    (p, slope)
}

fn seen_pair(head: &Head<'_>, t: &Tensors, i: usize, j: usize, delta: &[f32]) -> Pair {
    let (way, d) = (head.way, head.shape().head_size);
    let (p, slope) = weight(head, t, i, j);
    let row = head.shape().query_row(head.sequence, head.head, i) * d;
    let dp = |j: usize| {
        let value = head.key_row(j) * d;
        way.order.sum(d, |c| t.d_o[row + c] * t.v[value + c])
    };
    let delta = match way.has("delta-of-a-tile") {
        true => {
            let (_, nk) = head.lengths();
            let tile = way.tile(TILE);
            let from = j / tile * tile;
            let tile = (from..nk.min(from + tile)).filter(|j| head.sees(i, *j));
            tile.map(|j| weight(head, t, i, j).0 * dp(j)).sum()
        }
        false => delta[i],
    };
    let slope = match way.has("softcap-not-derived") {
        true => 1.0,
        false => slope,
    };
    let mut ds = p * (dp(j) - delta) * slope;
    if way.has("scale-in-ds") {
        ds *= head.scale();
    }
    match way.has("weights-rounded") {
        true => Pair {
            p: rounded(p, head.problem.dtype),
            ds: rounded(ds, head.problem.dtype),
        },
        false => Pair { p, ds },
    }
}

fn rounded(x: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::Bf16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}
