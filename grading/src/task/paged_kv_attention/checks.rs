//! Values, odd values, properties and levels.

use super::append;
use super::cases::{call, decode, drawn, format, numbers_of};
use crate::submission::{Call, Named};
use crate::task::common::{self, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Session, Stop};
use crate::tensor::{Scalar, Tensor};
use crate::verdict::Verdict;
use half::{bf16, f16};
use reference::attention::Window;
use reference::cases::Rng;
use reference::cases::paged_append::PagedAppend;
use reference::cases::paged_kv::PagedKv;
use reference::numbers::{self, Element};
use reference::paged_kv::{Format, PageShape};

/// Sizes of decode over f16 pages of 16 tokens.
fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    let most = budget.pick(70, 300) as u64;
    let dims = Dims::of([("B", rng.between(1, 3) as u64), ("Hq", 2), ("Hkv", 2)]);
    dims.with("tokens", rng.choose(&[1, 15, 16, 17, 33, most]))
        .with("page", 16)
        .with("D", 64)
        .with("format", 0)
}

/// Sizes with some replaced.
pub(super) fn sizes(
    changes: &'static [(&'static str, u64)],
) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |_, _| {
        let dims = Dims::of([("B", 2), ("Hq", 2), ("Hkv", 2), ("page", 16), ("D", 64)]);
        let dims = dims.with("tokens", 37).with("format", 0);
        changes
            .iter()
            .fold(dims, |dims, (name, n)| dims.with(name, *n))
    }
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: decode,
        counted: |_, _| {
            let dims = Dims::of([("B", 1), ("Hq", 8), ("Hkv", 2), ("page", 16), ("D", 64)]);
            dims.with("tokens", 512).with("format", 0)
        },
    });
    checks.push(
        Check::new(
            Kind::Values,
            "f16-pages",
            "o and lse of decode over f16 pages, numbers of mixed scales",
            draw,
            |session, dims, rng| {
                let call = decode(dims, rng).ok_or(Stop::Unfit)?;
                session.judge_values(&call).map(drop)
            },
        )
        .cases(3, 16),
    );
    checks.extend(levels());
    checks.extend(super::combined::checks());
    checks.extend(appended());
    checks.extend(odd());
    checks.extend(properties());
    checks
}

fn level(
    name: &'static str,
    level: &'static str,
    says: &'static str,
    changes: &'static [(&'static str, u64)],
) -> Check {
    Check::judged(Kind::Level, name, says, sizes(changes), decode)
        .at(level)
        .cases(1, 4)
}

/// Decode in f16 with changed options.
pub(super) fn changed(
    change: impl Fn(&mut PagedKv<f16>, &mut Rng) + Send + Sync + 'static,
) -> impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync {
    move |dims, rng| {
        let shape = drawn(dims, rng, false);
        let mut case = numbers_of::<f16>(&shape, rng);
        change(&mut case, rng);
        Some(call(&case))
    }
}

/// A chunk of queries for each sequence, in the type that fits the pages.
pub(super) fn prefill(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let shape = drawn(dims, rng, true);
    Some(match format(dims) {
        Format::Float(numbers::DType::Bf16) => call(&numbers_of::<bf16>(&shape, rng)),
        _ => call(&numbers_of::<f16>(&shape, rng)),
    })
}

fn levels() -> Vec<Check> {
    let mut levels = vec![
        level("bf16", "basic", "bf16 pages and queries", &[("format", 1)]),
        level("gqa", "gqa", "four query heads a KV head", &[("Hq", 8)]),
        level(
            "mqa",
            "gqa",
            "all query heads read one",
            &[("Hq", 5), ("Hkv", 1)],
        ),
        level("page-1", "page-sizes", "pages of one token", &[("page", 1)]),
        level("page-7", "page-sizes", "pages of 7 tokens", &[("page", 7)]),
        level(
            "page-256",
            "page-sizes",
            "pages of 256 tokens",
            &[("page", 256), ("B", 1), ("tokens", 270)],
        ),
        level("d-128", "head-sizes", "D 128", &[("D", 128)]),
        level("d-256", "head-sizes", "D 256", &[("D", 256)]),
        level("int8", "int8", "int8 pages", &[("format", 2), ("Hq", 4)]),
        level("int4", "int4", "int4 pages", &[("format", 3), ("Hq", 4)]),
        level(
            "int8-long",
            "int8",
            "int8 pages of a few hundred tokens",
            &[("format", 2), ("Hq", 8), ("tokens", 300)],
        ),
        level(
            "int4-long",
            "int4",
            "int4 pages of a few hundred tokens",
            &[("format", 3), ("Hq", 8), ("tokens", 300)],
        ),
        level(
            "bf16-long",
            "head-sizes",
            "bf16 pages of a few hundred tokens, D 128",
            &[("format", 1), ("Hq", 8), ("D", 128), ("tokens", 300)],
        ),
    ];
    levels.push(
        Check::judged(
            Kind::Level,
            "window",
            "a window, with the first tokens kept or not",
            sizes(&[("tokens", 60)]),
            changed(|case, rng| {
                let window = Window::last(rng.between(2, 30));
                case.options.window = Some(window.with_sinks(rng.choose(&[0, 1, 4])));
            }),
        )
        .at("window")
        .cases(2, 6),
    );
    levels.push(
        Check::judged(
            Kind::Level,
            "softcap",
            "scores capped smoothly",
            sizes(&[]),
            changed(|case, rng| case.options.softcap = Some(rng.choose(&[5.0, 15.0, 50.0]))),
        )
        .at("softcap")
        .cases(1, 4),
    );
    levels.push(
        Check::judged(
            Kind::Level,
            "learned-sinks",
            "a learned logit a head joins the softmax",
            sizes(&[]),
            changed(|case, rng| {
                let logits = (0..case.query_heads).map(|_| rng.normal() as f32);
                case.sink_logits = Some(logits.collect());
            }),
        )
        .at("learned-sinks")
        .cases(1, 4),
    );
    levels.extend(together());
    let chunked = |name, says, changes| {
        Check::judged(Kind::Level, name, says, sizes(changes), prefill)
            .at("prefill")
            .ops(&["prefill"])
            .cases(1, 4)
    };
    levels.push(chunked(
        "prefill",
        "chunks of queries at the end of their sequences",
        &[("chunk", 30), ("tokens", 60)],
    ));
    levels.push(chunked(
        "prefill-gqa",
        "chunks, four query heads a KV head, bf16",
        &[("chunk", 9), ("Hq", 8), ("format", 1)],
    ));
    levels.push(chunked(
        "prefill-long",
        "chunks longer than a tile",
        &[("chunk", 90), ("Hq", 4), ("tokens", 200)],
    ));
    levels
}

/// Window, first tokens and softcap at once, over pages of each format.
fn together() -> Vec<Check> {
    let options = |name, level, changes: &'static [(&'static str, u64)]| {
        let says = "window, kept first tokens and softcap together";
        Check::judged(Kind::Level, name, says, sizes(changes), |dims, rng| {
            fn optioned<T: Scalar + Element>(mut case: PagedKv<T>, rng: &mut Rng) -> Call {
                if rng.chance(0.7) {
                    let window = Window::last(rng.between(2, 90));
                    case.options.window = Some(window.with_sinks(rng.choose(&[0, 1, 4, 20])));
                }
                if rng.chance(0.5) {
                    case.options.softcap = Some(rng.choose(&[5.0, 30.0]));
                }
                call(&case)
            }
            let shape = drawn(dims, rng, false);
            Some(match format(dims) {
                Format::Float(numbers::DType::Bf16) => {
                    optioned(numbers_of::<bf16>(&shape, rng), rng)
                }
                _ => optioned(numbers_of::<f16>(&shape, rng), rng),
            })
        })
        .at(level)
        .cases(3, 8)
    };
    vec![
        options("options-together", "window", &[("tokens", 150), ("Hq", 4)]),
        options(
            "options-bf16-128",
            "head-sizes",
            &[("tokens", 150), ("Hq", 4), ("format", 1), ("D", 128)],
        ),
        options(
            "options-int8",
            "int8",
            &[("tokens", 150), ("Hq", 4), ("format", 2)],
        ),
        options(
            "options-int4",
            "int4",
            &[("tokens", 150), ("Hq", 4), ("format", 3)],
        ),
    ]
}

/// An append of a few tokens to pages of the format that dims name, from f32.
pub(super) fn appending<T: Scalar + Element>(
    dims: &Dims,
    rng: &mut Rng,
    rope: bool,
) -> Option<PagedAppend<T>> {
    let shape = PageShape {
        pages: dims.get("P"),
        page: dims.get("page"),
        heads: dims.get("Hkv"),
        head_size: dims.get("D"),
    };
    let tokens = dims.get("N").min(shape.slots());
    // Whether keys are rotated is drawn with the case: draw until it is as asked.
    for _ in 0..64 {
        let case = PagedAppend::with_shape(rng, tokens, shape, format(dims)).ok()?;
        if case.rope.is_some() == rope {
            return Some(case);
        }
    }
    None
}

pub(super) fn slots(
    changes: &'static [(&'static str, u64)],
) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |_, _| {
        let dims = Dims::of([("N", 5), ("Hkv", 2), ("D", 64), ("P", 3), ("page", 4)]);
        changes
            .iter()
            .fold(dims.with("format", 0), |dims, (name, n)| {
                dims.with(name, *n)
            })
    }
}

fn appended() -> Vec<Check> {
    let plain = |name, level, says, changes| {
        Check::judged(Kind::Level, name, says, slots(changes), |dims, rng| {
            Some(append::call(&appending::<f32>(dims, rng, false)?))
        })
        .at(level)
        .ops(&["append"])
        .cases(2, 8)
    };
    let mut checks = vec![
        plain("append-f16", "append", "f32 tokens to f16 pages", &[]),
        plain(
            "append-bf16",
            "append",
            "f32 tokens to bf16 pages",
            &[("format", 1)],
        ),
        plain(
            "append-int8",
            "int8",
            "quantised to int8, bit for bit",
            &[("format", 2)],
        ),
        plain(
            "append-int4",
            "int4",
            "quantised to int4, bit for bit",
            &[("format", 3)],
        ),
    ];
    let narrow = |name, level, changes| {
        let says = "tokens of f16 and bf16";
        Check::judged(Kind::Level, name, says, slots(changes), |dims, rng| {
            Some(match rng.chance(0.5) {
                true => append::call(&appending::<f16>(dims, rng, false)?),
                false => append::call(&appending::<bf16>(dims, rng, false)?),
            })
        })
        .at(level)
        .ops(&["append"])
        .cases(3, 8)
    };
    checks.extend([
        narrow("append-16-bit", "append", &[]),
        narrow("append-16-bit-int8", "int8", &[("format", 2)]),
        narrow("append-16-bit-int4", "int4", &[("format", 3), ("D", 62)]),
    ]);
    checks.extend(anywhere());
    checks.push(
        Check::judged(
            Kind::Level,
            "append-rope",
            "keys are rotated on their way into the pages",
            slots(&[]),
            |dims, rng| Some(append::call(&appending::<f32>(dims, rng, true)?)),
        )
        .at("rope")
        .ops(&["append"])
        .cases(2, 8),
    );
    checks.push(
        Check::judged(
            Kind::Level,
            "append-rope-int8",
            "rotated, then quantised",
            slots(&[("format", 2)]),
            |dims, rng| Some(append::call(&appending::<f32>(dims, rng, true)?)),
        )
        .at("rope")
        .ops(&["append"])
        .cases(1, 4),
    );
    checks
}

/// Vectors of every length, whose greatest and least components stand anywhere.
fn anywhere() -> Vec<Check> {
    fn vectors<T: Scalar + Element>(dims: &Dims, rng: &mut Rng) -> Option<Call> {
        let rope = dims.get("D").is_multiple_of(2) && rng.chance(0.3);
        let mut case = appending::<T>(dims, rng, rope)?;
        let d = dims.get("D");
        for vector in case.k.chunks_mut(d).chain(case.v.chunks_mut(d)) {
            if rng.chance(0.3) {
                continue;
            }
            vector.fill_with(|| T::from_f64(rng.normal()));
            let (first, second) = (rng.below(d), rng.below(d));
            let size = rng.uniform(8.0, 40.0);
            vector[first] = T::from_f64(rng.choose(&[size, -size]));
            // Of the other sign, or not at all.
            if first != second {
                vector[second] = T::from_f64(rng.uniform(-8.0, 8.0));
            }
        }
        Some(append::call(&case))
    }
    let check = |name, level, formats: &'static [u64]| {
        let sizes = move |rng: &mut Rng, _: Budget| {
            let d = rng.choose(&[1, 2, 5, 16, 31, 32, 33, 62, 64, 65, 100, 128, 130, 256]);
            let dims = Dims::of([("D", d), ("Hkv", rng.between(1, 3) as u64), ("P", 3)]);
            dims.with("N", rng.between(1, 9) as u64)
                .with("page", rng.choose(&[1, 4, 7]))
                .with("format", rng.choose(formats))
        };
        let says = "vectors of any length, whose greatest and least components stand anywhere";
        Check::judged(Kind::Level, name, says, sizes, |dims, rng| {
            match rng.below(3) {
                0 => vectors::<f32>(dims, rng),
                1 => vectors::<f16>(dims, rng),
                _ => vectors::<bf16>(dims, rng),
            }
        })
        .at(level)
        .ops(&["append"])
        .cases(6, 16)
    };
    vec![
        check("append-anywhere", "append", &[0, 1]),
        check("append-anywhere-int8", "int8", &[2]),
        check("append-anywhere-int4", "int4", &[3]),
    ]
}

fn odd() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Odd,
            "no-tokens",
            "a sequence without tokens has o = 0 and lse = −inf, the others what is theirs",
            sizes(&[("B", 3)]),
            |session, dims, rng| {
                let mut shape = drawn(dims, rng, false);
                shape.seq_len[0] = 0;
                let call = call(&numbers_of::<f16>(&shape, rng));
                session.without_margin().judge(&call).map(drop)
            },
        ),
        Check::judged(
            Kind::Odd,
            "nan-in-a-key",
            "a NaN in a key that is seen makes o and lse of its KV head NaN, and no other's",
            sizes(&[("B", 2)]),
            |dims, rng| {
                let shape = drawn(dims, rng, false);
                let case = numbers_of::<f16>(&shape, rng);
                let page = usize::try_from(case.block_table[0]).ok()?;
                let mut call = call(&case);
                let sizes = case.k.shape();
                let at = page * sizes.page * sizes.heads * sizes.head_size;
                spoil(&mut call, "k_pages", at);
                Some(call)
            },
        ),
    ]
}

/// Puts a NaN into an f16 tensor.
fn spoil(call: &mut Call, name: &str, at: usize) {
    for input in call.inputs.iter_mut().filter(|input| input.name == name) {
        let mut numbers: Vec<f16> = input.tensor.to_vec().expect("f16 pages");
        numbers[at] = f16::NAN;
        input.tensor = Tensor::of(input.tensor.shape(), &numbers).expect("as many as before");
    }
}

fn properties() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Property,
            "pages-renamed",
            "renaming pages changes no bit",
            sizes(&[("Hq", 4), ("tokens", 50)]),
            pages_renamed,
        ),
        Check::new(
            Kind::Property,
            "batch-order",
            "permuting the sequences of a batch permutes the answers, bit for bit",
            sizes(&[("B", 3), ("tokens", 40)]),
            |session, dims, rng| {
                let shape = drawn(dims, rng, false);
                let case = numbers_of::<f16>(&shape, rng);
                let batch = case.seq_len.len();
                let mut turned = case.clone();
                turned.seq_len.rotate_left(1);
                turned.block_table.rotate_left(case.width);
                turned.q.rotate_left(case.q.len() / batch);
                let here = session.judge(&call(&case))?;
                let mut there = session.judge(&call(&turned))?;
                for named in &mut there {
                    let mut bytes = named.tensor.bytes().to_vec();
                    let each = bytes.len() / batch;
                    bytes.rotate_right(each);
                    let (dtype, shape) = (named.tensor.dtype(), named.tensor.shape().to_vec());
                    named.tensor = Tensor::new(dtype, shape, bytes).expect("as many bytes");
                }
                common::same_bits(&here, &there)
            },
        ),
        Check::new(
            Kind::Property,
            "decode-is-the-last-row",
            "decode of a sequence is the last row of prefill over all of it, within both bounds",
            sizes(&[("B", 1), ("tokens", 33), ("Hq", 4)]),
            |session, dims, rng| {
                let mut shape = drawn(dims, rng, false);
                shape.chunks = Some(shape.seq_len.clone());
                let all = numbers_of::<f16>(&shape, rng);
                let mut last = all.clone();
                let row = all.query_heads * shape.head_size;
                last.starts = None;
                last.q = all.q[all.q.len() - row..].to_vec();
                // Each is held against the oracle, whose rows are the same formula.
                session.judge(&call(&all))?;
                session.judge(&call(&last)).map(drop)
            },
        )
        .at("prefill")
        .ops(&["decode", "prefill"]),
    ]
}

fn pages_renamed(session: &mut Session<'_>, dims: &Dims, rng: &mut Rng) -> Result<(), Stop> {
    let shape = drawn(dims, rng, false);
    let case = numbers_of::<f16>(&shape, rng);
    let pages = case.k.shape().pages;
    let mut to: Vec<usize> = (0..pages).collect();
    rng.shuffle(&mut to);
    let here = call(&case);
    let mut there = here.clone();
    for input in &mut there.inputs {
        if input.name == "k_pages" || input.name == "v_pages" {
            input.tensor = moved(&input.tensor, &to);
        }
        if input.name == "block_table" {
            let table: Vec<i32> = input.tensor.to_vec().expect("a table of i32");
            let renamed = |entry: &i32| match usize::try_from(*entry).ok() {
                Some(page) if page < pages => to[page] as i32,
                _ => *entry,
            };
            let table: Vec<i32> = table.iter().map(renamed).collect();
            input.tensor = Tensor::of(input.tensor.shape(), &table).expect("as many entries");
        }
    }
    let here: Vec<Named> = session.judge(&here)?;
    let there = session.judge(&there)?;
    common::same_bits(&here, &there).map_err(|_| {
        let why = "an answer changed when the pages were renamed";
        Verdict::wrong(why).into()
    })
}

/// Pages in other places.
fn moved(tensor: &Tensor, to: &[usize]) -> Tensor {
    let each = tensor.bytes().len() / to.len();
    let mut bytes = vec![0; tensor.bytes().len()];
    for (from, to) in to.iter().enumerate() {
        bytes[to * each..(to + 1) * each]
            .copy_from_slice(&tensor.bytes()[from * each..(from + 1) * each]);
    }
    Tensor::new(tensor.dtype(), tensor.shape().to_vec(), bytes).expect("as many bytes")
}

/// Whether an ordinary call can be made at all: a mistake here is ours.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_calls_keep_the_contract() {
        let mut rng = Rng::new(1);
        let dims = draw(&mut rng, Budget::Quick);
        let call = decode(&dims, &mut rng).expect("a case");
        assert_eq!(super::super::spec::SPEC.violations(&call), [""; 0]);
    }
}
