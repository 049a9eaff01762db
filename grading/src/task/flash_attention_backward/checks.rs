//! Values, odd values and levels.

use super::cases::{call, drawn, ordinary};
use crate::submission::Call;
use crate::task::attention::{Draft, mixed};
use crate::task::common::{self, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Stop, fixed};
use crate::tensor::DType;
use reference::attention::Window;
use reference::cases::Rng;

/// Sizes of an ordinary case: around tiles of 32 and 64, Nq and Nk apart.
fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    let most = budget.pick(66, 150) as u64;
    let length = |rng: &mut Rng| rng.choose(&[2, 13, 31, 33, 64, 65, most]);
    Dims::of([
        ("B", rng.between(1, 2) as u64),
        ("Hq", 1),
        ("Hkv", 1),
        ("Nq", length(rng)),
        ("Nk", length(rng)),
        ("D", rng.choose(&[32, 64])),
    ])
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| {
            let dims = Dims::of([("B", 1), ("Hq", 1), ("Hkv", 1)]);
            dims.with("Nq", 128).with("Nk", 128).with("D", 32)
        },
    });
    checks.push(
        Check::new(
            Kind::Values,
            "f32",
            "dq, dk and dv of f32 tensors, causal or not",
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
        let (draft, d_o) = drawn(Draft::dense(dims), rng);
        let mut draft = Draft { dtype, ..draft };
        draft.options.causal = rng.chance(0.5);
        Some(call(&draft, &d_o))
    }
}

fn levels() -> Vec<Check> {
    let level = |name, level, says, dtype| {
        Check::judged(Kind::Level, name, says, draw, of_type(dtype)).at(level)
    };
    let head_size = |name, d: u64| {
        let says = "another head size, in bf16";
        let dims = fixed([
            ("B", 1),
            ("Hq", 1),
            ("Hkv", 1),
            ("Nq", 17),
            ("Nk", 33),
            ("D", d),
        ]);
        Check::judged(Kind::Level, name, says, dims, of_type(DType::Bf16))
            .at("head-sizes")
            .cases(1, 3)
    };
    let optioned = || {
        fixed([
            ("B", 1),
            ("Hq", 2),
            ("Hkv", 1),
            ("Nq", 40),
            ("Nk", 70),
            ("D", 32),
        ])
    };
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
        .ops(&["backward-packed"])
        .cases(6, 16),
        level("f16", "16-bit", "tensors in f16", DType::F16).cases(2, 8),
        level("bf16", "16-bit", "tensors in bf16", DType::Bf16).cases(2, 8),
        head_size("d-96", 96),
        head_size("d-128", 128),
        head_size("d-256", 256),
        Check::judged(
            Kind::Level,
            "gqa",
            "the gradients of a KV head are sums over three query heads",
            fixed([
                ("B", 1),
                ("Hq", 6),
                ("Hkv", 2),
                ("Nq", 19),
                ("Nk", 33),
                ("D", 32),
            ]),
            ordinary,
        )
        .at("gqa")
        .cases(1, 4),
        Check::judged(
            Kind::Level,
            "window",
            "keys near a query's position only, on either side or both",
            optioned(),
            |dims, rng| {
                let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
                let side = |rng: &mut Rng| rng.chance(0.7).then(|| rng.below(30));
                draft.options.window = Some(Window {
                    left: side(rng).or(Some(5)),
                    right: side(rng),
                    sinks: 0,
                });
                Some(call(&draft, &d_o))
            },
        )
        .at("window")
        .cases(1, 8),
        Check::judged(
            Kind::Level,
            "softcap",
            "scores capped smoothly",
            optioned(),
            |dims, rng| {
                let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
                draft.options.softcap = Some(rng.choose(&[0.7, 5.0, 30.0]));
                Some(call(&draft, &d_o))
            },
        )
        .at("softcap")
        .cases(1, 8),
        Check::judged(
            Kind::Level,
            "variable-length",
            "sequences of different lengths end to end, some without queries",
            fixed([
                ("B", 3),
                ("Hq", 2),
                ("Hkv", 1),
                ("Nq", 40),
                ("Nk", 50),
                ("D", 32),
            ]),
            |dims, rng| {
                let (mut draft, d_o) = drawn(mixed::packed(dims, rng), rng);
                draft.options.causal = rng.chance(0.5);
                Some(call(&draft, &d_o))
            },
        )
        .at("variable-length")
        .ops(&["backward-packed"])
        .cases(1, 8),
    ]
}

/// All options at once, in any type: what works alone may not work together.
fn combined(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let shape = mixed::shape(dims, rng);
    let (mut draft, mut d_o) = drawn(shape, rng);
    mixed::options(&mut draft, dims, rng);
    match rng.chance(0.3) {
        true => Some(spoilt(&mut draft, &mut d_o, rng)),
        false => Some(call(&draft, &d_o)),
    }
}

/// The call with NaN at a place of each sequence and KV head: it reaches the gradients of what sees
/// it, and no others.
fn spoilt(draft: &mut Draft, d_o: &mut [f64], rng: &mut Rng) -> Call {
    let spots = draft.spots(&["q", "k", "v", "do"], rng);
    mixed::spoilt(&spots, draft, d_o, rng, call)
}

/// NaN at places on both sides of a mask's edge.
fn odd_numbers(
    name: &'static str,
    level: &'static str,
    says: &'static str,
    dtype: fn(&mut Rng) -> DType,
) -> Check {
    Check::judged(Kind::Odd, name, says, mixed::edges, move |dims, rng| {
        let (mut draft, mut d_o) = drawn(Draft::dense(dims), rng);
        draft.dtype = dtype(rng);
        draft.options.causal = true;
        Some(spoilt(&mut draft, &mut d_o, rng))
    })
    .at(level)
    .cases(4, 10)
}

fn odd() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Odd,
            "queries-without-keys",
            "a query that sees nothing has a gradient of 0 and gives none",
            fixed([
                ("B", 1),
                ("Hq", 1),
                ("Hkv", 1),
                ("Nq", 40),
                ("Nk", 22),
                ("D", 32),
            ]),
            |dims, rng| {
                let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
                draft.options.causal = true;
                Some(call(&draft, &d_o))
            },
        ),
        Check::judged(
            Kind::Odd,
            "keys-without-queries",
            "a key that no query sees has gradients of 0",
            fixed([
                ("B", 1),
                ("Hq", 1),
                ("Hkv", 1),
                ("Nq", 8),
                ("Nk", 90),
                ("D", 32),
            ]),
            |dims, rng| {
                let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
                draft.options.window = Some(Window::last(6));
                Some(call(&draft, &d_o))
            },
        )
        .at("window"),
        odd_numbers(
            "nan-anywhere",
            "basic",
            "NaN anywhere in q, k, v or do: in the gradients of what sees it, and in no others",
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
