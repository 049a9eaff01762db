//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::cases::call;
use crate::submission::Call;
use crate::task::attention::Draft;
use crate::task::attention::mixed::packed;
use crate::task::{Check, Dims, Kind, fixed};
use crate::tensor::DType;
use reference::attention::Window;
use reference::cases::Rng;

/// Sizes of one head.
const fn lengths(nq: u64, nk: u64) -> [(&'static str, u64); 3] {
    [("Nq", nq), ("Nk", nk), ("D", 32)]
}

fn trap(
    name: &'static str,
    says: &'static str,
    sizes: [(&'static str, u64); 3],
    change: impl Fn(&mut Draft, &Dims, &mut Rng) + Send + Sync + 'static,
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed(sizes), made(change)).cases(1, 2)
}

fn made(
    change: impl Fn(&mut Draft, &Dims, &mut Rng) + Send + Sync + 'static,
) -> impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync {
    move |dims, rng| {
        let mut draft = Draft::normal(Draft::dense(dims), rng);
        change(&mut draft, dims, rng);
        Some(call(&draft))
    }
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = maxima();
    traps.extend(tiles());
    traps.extend(formula());
    traps.extend(levels());
    traps
}

/// Keys whose score, at scale 1, is a number of their position: q is e₀, k is that number there.
fn scored(draft: &mut Draft, score: impl Fn(usize) -> f64) {
    let d = draft.shape.head_size;
    draft.options.scale = 1.0;
    for q in draft.q.chunks_mut(d) {
        q.fill(0.0);
        q[0] = 1.0;
    }
    for (j, k) in draft.k.chunks_mut(d).enumerate() {
        k[0] = score(j);
    }
}

fn maxima() -> Vec<Check> {
    vec![
        trap(
            "rescale-direction",
            "the maximum climbs by more than 100 from tile to tile: exp(m_new − m_old) overflows",
            lengths(5, 256),
            |draft, _, rng| {
                let start = rng.uniform(0.0, 1.0);
                scored(draft, |j| start + 2.0 * j as f64);
            },
        ),
        trap(
            "late-outlier",
            "a late key outweighs all before it: what was summed must shrink to almost nothing",
            lengths(7, 130),
            |draft, dims, _| {
                let last = dims.get("Nk") - 1;
                scored(draft, |j| {
                    if j == last {
                        12.0
                    } else {
                        0.01 * (j % 7) as f64
                    }
                });
            },
        ),
        trap(
            "scores-of-ten-thousand",
            "scores are ±10⁴: exp of them is infinite or zero",
            lengths(6, 70),
            |draft, _, _| {
                let sign = |j: usize| if j.is_multiple_of(3) { 1.0 } else { -1.0 };
                scored(draft, |j| 1e4 * sign(j) + (j % 5) as f64);
            },
        ),
        trap(
            "masked-first-tile",
            "the first tiles of keys are masked wholly: −inf − −inf is NaN",
            lengths(200, 200),
            |draft, _, rng| {
                draft.options.causal = true;
                draft.options.window = Some(Window::last(rng.between(10, 30)));
            },
        )
        .at("window"),
        trap(
            "tiles-before-the-window",
            "tiles before the window are masked, those after are not: the loop must go on",
            lengths(8, 210),
            |draft, _, rng| {
                draft.options.window = Some(Window {
                    left: Some(rng.between(8, 20)),
                    right: None,
                    sinks: 0,
                });
            },
        )
        .at("window"),
    ]
}

fn tiles() -> Vec<Check> {
    vec![
        trap(
            "partial-last-tile",
            "300 queries by 97 keys: no tile divides either, and what lies beyond Nk is not masked",
            lengths(300, 97),
            |draft, _, rng| {
                // Values and scores away from zero, so that keys of zeros show.
                let shift = rng.uniform(2.0, 3.0);
                draft.v.iter_mut().for_each(|v| *v += shift);
            },
        ),
        trap(
            "fewer-keys-than-a-tile",
            "all keys lie in one partial tile",
            lengths(9, 13),
            |draft, _, _| draft.options.causal = false,
        ),
        trap(
            "aligned-at-the-end",
            "Nq and Nk differ: the causal mask is aligned at the last query and the last key",
            lengths(20, 50),
            |draft, _, _| draft.options.causal = true,
        ),
        trap(
            "own-position",
            "a query sees the key at its own position",
            lengths(40, 40),
            |draft, _, _| draft.options.causal = true,
        ),
        trap(
            "empty-rows",
            "more queries than keys: the first queries see nothing, and their sum is 0",
            lengths(50, 20),
            |draft, _, _| draft.options.causal = true,
        ),
        trap(
            "nan-behind-the-mask",
            "keys and values that no query but the last sees hold NaN",
            lengths(30, 30),
            |draft, dims, _| {
                draft.options.causal = true;
                let (d, last) = (dims.get("D"), dims.get("Nk") - 1);
                draft.k[last * d..(last + 1) * d].fill(f64::NAN);
                draft.v[last * d..(last + 1) * d].fill(f64::NAN);
            },
        ),
    ]
}

fn formula() -> Vec<Check> {
    vec![
        trap(
            "scale-as-given",
            "a scale that is not 1/√D",
            lengths(12, 40),
            |draft, _, rng| draft.options.scale = rng.choose(&[0.31, 0.05, -0.2]),
        ),
        trap(
            "natural-lse",
            "lse is a natural logarithm and holds the maximum",
            lengths(12, 40),
            |draft, _, _| draft.k.iter_mut().for_each(|k| *k += 0.5),
        ),
    ]
}

fn levels() -> Vec<Check> {
    let heads = |sizes: [(&'static str, u64); 5]| fixed(sizes);
    vec![
        Check::judged(
            Kind::Trap,
            "grouped-heads",
            "query heads are more than KV heads: neighbours share one",
            heads([("Hq", 6), ("Hkv", 3), ("Nq", 9), ("Nk", 33), ("D", 32)]),
            made(|_, _, _| {}),
        )
        .at("gqa"),
        trap(
            "window-edge",
            "the key at the far end of the window decides",
            lengths(40, 90),
            |draft, _, rng| {
                let left = rng.between(3, 12);
                draft.options.window = Some(Window {
                    left: Some(left),
                    right: Some(0),
                    sinks: 0,
                });
            },
        )
        .at("window"),
        trap(
            "softcap-order",
            "the softcap applies to the scaled score",
            lengths(12, 40),
            |draft, _, _| {
                draft.options.softcap = Some(1.5);
                draft.q.iter_mut().for_each(|q| *q *= 3.0);
            },
        )
        .at("softcap"),
        Check::judged(
            Kind::Trap,
            "packed-boundaries",
            "each packed sequence has keys of its own",
            heads([("B", 3), ("Hq", 2), ("Nq", 20), ("Nk", 40), ("D", 32)]),
            |dims, rng| Some(call(&Draft::normal(packed(dims, rng), rng))),
        )
        .at("variable-length")
        .ops(&["forward-packed"]),
        Check::judged(
            Kind::Trap,
            "packed-alignment",
            "causal masks of packed sequences are aligned by their own lengths",
            heads([("B", 2), ("Hq", 1), ("Nq", 24), ("Nk", 40), ("D", 32)]),
            |dims, rng| {
                let mut shape = packed(dims, rng);
                // The first has fewer keys before its queries than the second.
                let (nq, nk) = (dims.get("Nq"), dims.get("Nk"));
                shape.lengths = vec![(nq.div_ceil(2), nq.div_ceil(2)), (nq.div_ceil(3), nk)];
                let mut draft = Draft::normal(shape, rng);
                draft.options.causal = true;
                Some(call(&draft))
            },
        )
        .at("variable-length")
        .ops(&["forward-packed"]),
        trap(
            "long-flat-row",
            "hundreds of keys of nearly equal scores: a sum in 16 bits stops growing",
            lengths(2, 700),
            |draft, _, _| {
                draft.dtype = DType::Bf16;
                draft.options.scale *= 0.05;
                draft.v.iter_mut().for_each(|v| *v += 2.0);
            },
        )
        .at("16-bit"),
    ]
}
