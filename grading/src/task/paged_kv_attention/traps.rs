//! Traps of reading: what the sentence says is what goes wrong in whoever falls in.

use super::cases::{call, decode, drawn, numbers_of};
use super::checks::{changed, prefill, sizes};
use crate::submission::Call;
use crate::task::{Check, Dims, Kind};
use half::f16;
use reference::attention::Window;
use reference::cases::Rng;
use reference::cases::paged_kv::PagedKv;

fn trap(
    name: &'static str,
    says: &'static str,
    changes: &'static [(&'static str, u64)],
    make: impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync + 'static,
) -> Check {
    Check::judged(Kind::Trap, name, says, sizes(changes), make).cases(1, 2)
}

/// A decode whose sequences have lengths by the page size.
fn lengths(
    of: impl Fn(usize) -> Vec<usize> + Send + Sync + 'static,
) -> impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync {
    move |dims, rng| {
        let mut shape = drawn(dims, rng, false);
        shape.seq_len = of(shape.page);
        Some(call(&numbers_of::<f16>(&shape, rng)))
    }
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = tables();
    traps.extend(numbers());
    traps.extend(options());
    traps
}

fn tables() -> Vec<Check> {
    vec![
        trap(
            "pages-anywhere",
            "the pages of a sequence lie anywhere, in any order",
            &[("tokens", 60), ("page", 4)],
            decode,
        ),
        trap(
            "rows-of-the-table",
            "rows of the block table are as wide as the longest sequence needs, and wider",
            &[("page", 4)],
            lengths(|page| vec![page, 3 * page, 2 * page]),
        ),
        trap(
            "partial-last-page",
            "the last page holds one token, the others nothing",
            &[("Hq", 2)],
            lengths(|page| vec![page + 1, 2 * page + 1]),
        ),
        trap(
            "newest-token",
            "the token at the end of a full page is the one that decides",
            &[("Hq", 2)],
            lengths(|page| vec![page, 2]),
        ),
        trap(
            "nan-in-unused-slots",
            "slots and pages that hold no token hold NaN",
            &[("Hq", 2)],
            lengths(|page| vec![page + 3, page - page / 2]),
        ),
        Check::new(
            Kind::Trap,
            "empty-sequence",
            "a sequence without tokens stands among others",
            sizes(&[("B", 2)]),
            |session, dims, rng| {
                let mut shape = drawn(dims, rng, false);
                shape.seq_len[0] = 0;
                let call = call(&numbers_of::<f16>(&shape, rng));
                session.without_margin().judge(&call).map(drop)
            },
        )
        .cases(1, 2),
        trap(
            "grouped-heads",
            "query heads are more than KV heads: neighbours share one",
            &[("Hq", 6), ("Hkv", 3)],
            decode,
        )
        .at("gqa"),
        trap(
            "more-heads-than-a-tile",
            "more query heads read one KV head than a tile has rows",
            &[("Hq", 20), ("Hkv", 1), ("B", 1), ("tokens", 25)],
            decode,
        )
        .at("gqa"),
        trap(
            "chunk-at-the-end",
            "a chunk of queries stands at the end of its sequence",
            &[("chunk", 8), ("tokens", 40)],
            prefill,
        )
        .at("prefill")
        .ops(&["prefill"]),
    ]
}

/// Scores that climb from token to token: q is e₀, k its token's number there.
fn climbing(case: &mut PagedKv<f16>, _: &mut Rng) {
    let sizes = case.k.shape();
    let d = sizes.head_size;
    case.options.scale = 1.0;
    for q in case.q.chunks_mut(d) {
        q.fill(f16::ZERO);
        q[0] = f16::ONE;
    }
    for (b, tokens) in case.seq_len.iter().enumerate() {
        for token in 0..*tokens as usize {
            let page = case.block_table[b * case.width + token / sizes.page] as usize;
            let slot = page * sizes.page + token % sizes.page;
            let mut k = vec![0.0; sizes.heads * d];
            k.iter_mut()
                .step_by(d)
                .for_each(|k| *k = token as f32 / 16.0);
            case.k
                .write("k", slot, &k)
                .expect("a slot of the sequence's own page");
        }
    }
}

fn numbers() -> Vec<Check> {
    vec![
        trap(
            "merged-parts",
            "maxima differ from part to part: parts must be weighed when they are merged",
            &[("tokens", 200), ("B", 1)],
            changed(climbing),
        ),
        trap(
            "scale-as-given",
            "a scale that is not 1/√D",
            &[("tokens", 30)],
            changed(|case, rng| case.options.scale = rng.choose(&[0.31, 0.06, -0.2])),
        ),
        trap(
            "scale-of-each-token",
            "each token and head of an int8 page has its own scale",
            &[("format", 2)],
            decode,
        )
        .at("int8"),
        trap(
            "signed-codes",
            "int8 codes have a sign",
            &[("format", 2)],
            decode,
        )
        .at("int8"),
        trap(
            "low-nibble-first",
            "of two int4 codes the first stands in the low nibble",
            &[("format", 3)],
            decode,
        )
        .at("int4"),
        trap(
            "zero-point",
            "int4 codes are shifted by a zero point of their own",
            &[("format", 3)],
            decode,
        )
        .at("int4"),
    ]
}

fn options() -> Vec<Check> {
    vec![
        trap(
            "window-edge",
            "the token at the far end of the window is seen",
            &[("tokens", 40), ("B", 1)],
            changed(|case, rng| case.options.window = Some(Window::last(rng.between(3, 9)))),
        )
        .at("window"),
        trap(
            "first-tokens-kept",
            "the first tokens are seen from beyond the window",
            &[("tokens", 40), ("B", 1)],
            changed(|case, rng| {
                let window = Window::last(rng.between(3, 9));
                case.options.window = Some(window.with_sinks(2));
            }),
        )
        .at("window"),
        trap(
            "capped-scores",
            "the softcap bends the scores",
            &[("tokens", 30)],
            changed(|case, _| {
                case.options.softcap = Some(0.5);
                case.options.scale *= 4.0;
            }),
        )
        .at("softcap"),
        trap(
            "learned-logit",
            "the learned logit takes a part of the softmax, and counts in lse",
            &[("tokens", 9)],
            changed(|case, rng| {
                let logits = (0..case.query_heads).map(|_| 1.0 + rng.unit() as f32);
                case.sink_logits = Some(logits.collect());
            }),
        )
        .at("learned-sinks"),
    ]
}
