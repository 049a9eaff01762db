//! Values, odd values and levels.

use super::cases::{call, drawn, ordinary};
use crate::submission::Call;
use crate::task::attention::{Draft, Spot, mixed};
use crate::task::common::{self, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Stop, fixed};
use crate::tensor::DType;
use reference::attention::Window;
use reference::cases::Rng;

/// Sizes of an ordinary case: around tiles of 32, 64 and 128, Nq and Nk apart.
fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    let most = budget.pick(70, 200) as u64;
    let length = |rng: &mut Rng| rng.choose(&[1, 13, 31, 33, 64, 65, most]);
    Dims::of([
        ("B", rng.between(1, 2) as u64),
        ("Hq", 1),
        ("Hkv", 1),
        ("Nq", length(rng)),
        ("Nk", length(rng).max(2)),
        ("D", rng.choose(&[32, 64])),
    ])
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| {
            let sizes = [("B", 1), ("Hq", 2), ("Hkv", 1)];
            let lengths = [("Nq", 128), ("Nk", 128), ("D", 64)];
            let dims = Dims::of(sizes);
            lengths
                .iter()
                .fold(dims, |dims, (name, n)| dims.with(name, *n))
        },
    });
    checks.push(
        Check::new(
            Kind::Values,
            "f32",
            "o and lse of f32 tensors of mixed scales, causal or not",
            draw,
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                session.judge_values(&call).map(drop)
            },
        )
        .cases(3, 20),
    );
    checks.extend(levels());
    checks.extend(odd());
    checks
}

fn of_type(dtype: DType) -> impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync {
    move |dims, rng| {
        let draft = drawn(dims, rng);
        Some(call(&Draft { dtype, ..draft }))
    }
}

/// Dims with another head size.
fn heads_of(d: u64) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |rng, budget| {
        let dims = draw(rng, budget).with("D", d).with("B", 1);
        let longest = (dims.get("Nk") as u64).min(33);
        dims.with("Nq", 17).with("Nk", longest)
    }
}

fn levels() -> Vec<Check> {
    let level = |name, level, says, dtype| {
        Check::judged(Kind::Level, name, says, draw, of_type(dtype)).at(level)
    };
    let head_size = |name, d| {
        let says = "another head size, in bf16";
        Check::judged(Kind::Level, name, says, heads_of(d), of_type(DType::Bf16))
            .at("head-sizes")
            .cases(1, 3)
    };
    let grouped = fixed([
        ("B", 1),
        ("Hq", 6),
        ("Hkv", 2),
        ("Nq", 19),
        ("Nk", 40),
        ("D", 32),
    ]);
    let optioned = fixed([
        ("B", 1),
        ("Hq", 2),
        ("Hkv", 1),
        ("Nq", 70),
        ("Nk", 90),
        ("D", 32),
    ]);
    vec![
        Check::judged(
            Kind::Level,
            "options-together",
            "all options, types and head sizes together",
            mixed::sizes(0),
            combined,
        )
        .at("head-sizes")
        .cases(8, 40),
        Check::judged(
            Kind::Level,
            "options-together-packed",
            "the same with sequences of different lengths",
            mixed::sizes(1),
            combined,
        )
        .at("variable-length")
        .ops(&["forward-packed"])
        .cases(6, 16),
        level("f16", "16-bit", "tensors in f16", DType::F16).cases(2, 8),
        level("bf16", "16-bit", "tensors in bf16", DType::Bf16).cases(2, 8),
        head_size("d-96", 96),
        head_size("d-128", 128),
        head_size("d-256", 256),
        Check::judged(
            Kind::Level,
            "gqa",
            "three query heads read each KV head",
            grouped,
            ordinary,
        )
        .at("gqa")
        .cases(1, 4),
        Check::judged(
            Kind::Level,
            "window",
            "keys near a query's position only, on either side or both",
            optioned,
            |dims, rng| {
                let mut draft = drawn(dims, rng);
                let side = |rng: &mut Rng| rng.chance(0.7).then(|| rng.below(40));
                draft.options.window = Some(Window {
                    left: side(rng).or(Some(5)),
                    right: side(rng),
                    sinks: 0,
                });
                Some(call(&draft))
            },
        )
        .at("window")
        .cases(2, 8),
        Check::judged(
            Kind::Level,
            "softcap",
            "scores capped smoothly",
            optioned_again(),
            |dims, rng| {
                let mut draft = drawn(dims, rng);
                draft.options.softcap = Some(rng.choose(&[0.5, 5.0, 30.0]));
                Some(call(&draft))
            },
        )
        .at("softcap")
        .cases(2, 8),
        Check::judged(
            Kind::Level,
            "variable-length",
            "sequences of different lengths end to end, some without queries",
            fixed([
                ("B", 3),
                ("Hq", 2),
                ("Hkv", 1),
                ("Nq", 40),
                ("Nk", 70),
                ("D", 32),
            ]),
            |dims, rng| {
                let mut draft = Draft::drawn(mixed::packed(dims, rng), rng);
                draft.options.causal = rng.chance(0.5);
                Some(call(&draft))
            },
        )
        .at("variable-length")
        .ops(&["forward-packed"])
        .cases(2, 8),
    ]
}

fn optioned_again() -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    fixed([
        ("B", 1),
        ("Hq", 2),
        ("Hkv", 1),
        ("Nq", 33),
        ("Nk", 50),
        ("D", 32),
    ])
}

/// All options at once, in any type: what works alone may not work together.
fn combined(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let shape = mixed::shape(dims, rng);
    let mut draft = Draft::drawn(shape, rng);
    mixed::options(&mut draft, dims, rng);
    if rng.chance(0.3) {
        // An odd number in a key or a value: it reaches those that see it, and nobody else.
        let odd = rng.choose(&[f64::NAN, -f64::NAN]);
        let tensor = rng.chance(0.5);
        let numbers = if tensor { &mut draft.k } else { &mut draft.v };
        let at = rng.below(numbers.len());
        numbers[at] = odd;
    }
    Some(call(&draft))
}

fn odd() -> Vec<Check> {
    let small = || {
        fixed([
            ("B", 1),
            ("Hq", 2),
            ("Hkv", 2),
            ("Nq", 9),
            ("Nk", 21),
            ("D", 32),
        ])
    };
    vec![
        Check::judged(
            Kind::Odd,
            "no-keys-for-some",
            "a query that sees nothing has o = 0 and lse = −inf",
            fixed([
                ("B", 1),
                ("Hq", 1),
                ("Hkv", 1),
                ("Nq", 40),
                ("Nk", 22),
                ("D", 32),
            ]),
            |dims, rng| {
                let mut draft = Draft::normal(Draft::dense(dims), rng);
                draft.options.causal = true;
                Some(call(&draft))
            },
        ),
        Check::judged(
            Kind::Odd,
            "nan-in-a-key",
            "a NaN in a key makes the o and lse of the queries that see it NaN, and no others",
            small(),
            |dims, rng| {
                let mut draft = Draft::normal(Draft::dense(dims), rng);
                draft.options.causal = true;
                let nk = dims.get("Nk");
                let at = nk - nk.min(3);
                draft.k[at * dims.get("D")] = f64::NAN;
                Some(call(&draft))
            },
        ),
        Check::judged(
            Kind::Odd,
            "nan-in-a-value",
            "a NaN in v makes that component NaN for the queries that see it",
            small(),
            |dims, rng| {
                let mut draft = Draft::normal(Draft::dense(dims), rng);
                let at = rng.below(draft.v.len());
                draft.v[at] = f64::NAN;
                Some(call(&draft))
            },
        ),
        Check::judged(
            Kind::Odd,
            "infinite-score",
            "a score of +inf counts as NaN does",
            small(),
            |dims, rng| {
                let mut draft = Draft::normal(Draft::dense(dims), rng);
                let d = dims.get("D");
                draft.q[0] = 2.0;
                draft.k[d] = f64::INFINITY;
                // The other queries' scores are −inf or +inf by the sign of their first component.
                Some(call(&draft))
            },
        ),
        odd_numbers(
            "nan-anywhere",
            "basic",
            "NaN anywhere in q, k or v, or +inf in q or k: in the o of what sees it, and in no other",
            |_| DType::F32,
        ),
        odd_numbers(
            "nan-anywhere-16-bit",
            "16-bit",
            "the same in f16 and bf16, with NaN of any bits",
            |rng| rng.choose(&[DType::F16, DType::Bf16]),
        ),
    ]
}

/// NaN and infinity at places on both sides of a mask's edge.
fn odd_numbers(
    name: &'static str,
    level: &'static str,
    says: &'static str,
    dtype: fn(&mut Rng) -> DType,
) -> Check {
    Check::judged(Kind::Odd, name, says, mixed::edges, move |dims, rng| {
        let mut draft = Draft::normal(Draft::dense(dims), rng);
        draft.dtype = dtype(rng);
        draft.options.causal = true;
        let mut spots = draft.spots(&["q", "k", "v", "v"], rng);
        if rng.chance(0.3) {
            spots = spots.into_iter().map(Spot::infinite).collect();
        }
        Some(mixed::spoilt(
            &spots,
            &mut draft,
            &mut [],
            rng,
            |draft, _| call(draft),
        ))
    })
    .at(level)
    .cases(4, 10)
}
