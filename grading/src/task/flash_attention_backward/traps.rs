//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::cases::{call, drawn};
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
    change: impl Fn(&mut Draft, &mut Vec<f64>, &mut Rng) + Send + Sync + 'static,
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed(sizes), made(change)).cases(1, 2)
}

fn made(
    change: impl Fn(&mut Draft, &mut Vec<f64>, &mut Rng) + Send + Sync + 'static,
) -> impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync {
    move |dims, rng| {
        let (mut draft, mut d_o) = drawn(Draft::dense(dims), rng);
        change(&mut draft, &mut d_o, rng);
        Some(call(&draft, &d_o))
    }
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = tiles();
    traps.extend(formula());
    traps.extend(levels());
    traps
}

fn tiles() -> Vec<Check> {
    vec![
        trap(
            "delta-over-the-whole-row",
            "D is a sum over the whole row: keys are more than a tile",
            lengths(9, 140),
            |_, _, _| {},
        ),
        trap(
            "accumulate-over-queries",
            "dk and dv are sums over several tiles of queries",
            lengths(150, 9),
            |_, _, _| {},
        ),
        trap(
            "accumulate-over-keys",
            "dq is a sum over several tiles of keys",
            lengths(9, 150),
            |_, _, _| {},
        ),
        trap(
            "partial-query-tile",
            "Nq is no multiple of a tile: what lies past it adds nothing to dk and dv",
            lengths(70, 20),
            |_, d_o, _| d_o.iter_mut().for_each(|x| *x += 0.5),
        ),
        trap(
            "causal-in-both-loops",
            "the causal mask holds where dq is made and where dk and dv are made",
            lengths(60, 60),
            |draft, _, _| draft.options.causal = true,
        ),
        trap(
            "aligned-bottom-right",
            "Nq and Nk differ: the causal mask is aligned at the last query and the last key",
            lengths(20, 50),
            |draft, _, _| draft.options.causal = true,
        ),
        trap(
            "rows-that-see-nothing",
            "more queries than keys: lse is −inf where a query sees nothing, and its weights are 0",
            lengths(50, 20),
            |draft, _, _| {
                // With a softcap of its own or without: the mask comes before the exponential.
                draft.options.window = Some(Window::last(3));
            },
        )
        .at("window"),
    ]
}

fn formula() -> Vec<Check> {
    vec![
        trap(
            "scale-in-both",
            "the scale stands in dq and in dk, once, and is not 1/√D",
            lengths(30, 40),
            |draft, _, rng| draft.options.scale = rng.choose(&[0.31, 0.05, -0.2]),
        ),
        trap(
            "lse-is-natural",
            "lse is a natural logarithm",
            lengths(30, 40),
            |draft, _, _| draft.k.iter_mut().for_each(|k| *k += 0.3),
        ),
        trap(
            "delta-from-the-saved-o",
            "D is made from the o that was saved",
            lengths(30, 40),
            |draft, _, _| draft.v.iter_mut().for_each(|v| *v += 1.0),
        ),
    ]
}

fn levels() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Trap,
            "grouped-gradients",
            "the gradients of a KV head are sums over the query heads that read it",
            fixed([("Hq", 6), ("Hkv", 3), ("Nq", 9), ("Nk", 33), ("D", 32)]),
            made(|_, _, _| {}),
        )
        .at("gqa"),
        trap(
            "window-edge",
            "the key at the far end of the window has a gradient",
            lengths(40, 70),
            |draft, _, rng| {
                draft.options.window = Some(Window {
                    left: Some(rng.between(3, 12)),
                    right: Some(0),
                    sinks: 0,
                });
            },
        )
        .at("window"),
        trap(
            "softcap-derivative",
            "ds carries the derivative of the softcap",
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
            fixed([("B", 3), ("Hq", 2), ("Nq", 20), ("Nk", 40), ("D", 32)]),
            |dims, rng| {
                let (draft, d_o) = drawn(packed(dims, rng), rng);
                Some(call(&draft, &d_o))
            },
        )
        .at("variable-length")
        .ops(&["backward-packed"]),
        trap(
            "many-queries",
            "hundreds of queries add to each key: a sum in 16 bits stops growing",
            lengths(600, 2),
            |draft, d_o, _| {
                draft.dtype = DType::Bf16;
                draft.options.scale *= 0.1;
                d_o.iter_mut().for_each(|x| *x = 1.0 + 0.1 * *x);
            },
        )
        .at("16-bit"),
    ]
}
