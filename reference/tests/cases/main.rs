//! What the case generators draw: they can be told right from wrong, right answers pass, and every
//! option of the contracts comes up.

use half::{bf16, f16};
use reference::attention::Forward;
use reference::cases::attention::{Attention, AttentionBackward, Lengths};
use reference::cases::beam::BeamStep;
use reference::cases::layernorm::LayerNorm;
use reference::cases::paged_append::PagedAppend;
use reference::cases::paged_kv::PagedKv;
use reference::cases::softmax_topk::SoftmaxTopK;
use reference::cases::ternary::Ternary;
use reference::cases::tree::TreeWalk;
use reference::cases::tree_attention::TreeAttention;
use reference::cases::tree_sampling::TreeSampling;
use reference::cases::{Case, Rng, build};
use reference::numbers::{Bounded, BoundedTensor, Element};
use reference::paged_kv::{Format, PageShape, PageStore, judge_append};

/// Seeds per family and type: enough that every option comes up some times.
const SEEDS: u64 = 60;

/// Builds `SEEDS` cases; few draws may be thrown away.
fn cases<C: Case>() -> Vec<C> {
    let mut redrawn = 0;
    let built = |seed| {
        let (case, thrown) = build::<C>(seed)
            .unwrap_or_else(|error| panic!("{} seed {seed}: {error}", std::any::type_name::<C>()));
        redrawn += thrown;
        case
    };
    let all: Vec<C> = (0..SEEDS).map(built).collect();
    println!("{}: {redrawn} redrawn", std::any::type_name::<C>());
    assert!(
        redrawn <= 2 * SEEDS,
        "{}: {redrawn} redrawn",
        std::any::type_name::<C>()
    );
    all
}

/// Share of elements whose bound is infinite.
fn undecided<'a>(tensors: impl IntoIterator<Item = &'a BoundedTensor>) -> f64 {
    let (mut open, mut all) = (0, 0);
    for tensor in tensors {
        all += tensor.len();
        open += tensor
            .items()
            .iter()
            .filter(|x| x.bound.is_infinite())
            .count();
        assert!(tensor.items().iter().all(|x| !x.bound.is_nan()));
    }
    open as f64 / f64::from(all.max(1) as u32)
}

/// The oracle's own values, rounded to the output types, are right.
fn rounded_is_right<T: Element>(right: &Forward) {
    let o: Vec<T> = right.o.values().map(T::from_f64).collect();
    let lse: Vec<f32> = right.lse.values().map(|x| x as f32).collect();
    assert!(right.o.compare("o", &o).unwrap().is_right());
    assert!(right.lse.compare("lse", &lse).unwrap().is_right());
}

fn attention<T: Element>() {
    let cases = cases::<Attention<T>>();
    let answers: Vec<Forward> = cases.iter().map(|case| case.oracle().unwrap()).collect();
    let open = undecided(answers.iter().flat_map(|answer| [&answer.o, &answer.lse]));
    println!("{}: forward {open} undecided", T::DTYPE.name());
    assert_eq!(open, 0.0);
    answers.iter().for_each(rounded_is_right::<T>);

    let some = |what: &str, test: &dyn Fn(&Attention<T>) -> bool| {
        assert!(cases.iter().any(test), "no case with {what}");
    };
    some("causal", &|c| c.options.causal);
    some("a window", &|c| c.options.window.is_some());
    some("a softcap", &|c| c.options.softcap.is_some());
    some("grouped heads", &|c| c.shape.query_heads > c.shape.kv_heads);
    some("a packed batch", &|c| {
        matches!(c.shape.lengths, Lengths::Packed { .. })
    });
    for d in [32, 64, 96, 128, 256] {
        some("each head size", &|c| c.shape.head_size == d);
    }
    let dense = |c: &Attention<T>, test: fn(usize, usize) -> bool| match c.shape.lengths {
        Lengths::Dense { queries, keys, .. } => test(queries, keys),
        Lengths::Packed { .. } => false,
    };
    some("Nq < Nk", &|c| dense(c, |q, k| q < k));
    some("Nq > Nk, causal", &|c| {
        c.options.causal && dense(c, |q, k| q > k)
    });
    let empty_rows = |answer: &Forward| answer.lse.values().any(|lse| lse == f64::NEG_INFINITY);
    assert!(answers.iter().any(empty_rows), "no row sees nothing");
}

#[test]
fn attention_cases() {
    attention::<f32>();
    attention::<f16>();
    attention::<bf16>();
}

fn attention_backward<T: Element>(open_at_most: f64) {
    let answers: Vec<_> = cases::<AttentionBackward<T>>()
        .iter()
        .map(|case| case.oracle().unwrap())
        .collect();
    let open = undecided(answers.iter().flat_map(|g| [&g.dq, &g.dk, &g.dv]));
    println!("{}: backward {open} undecided", T::DTYPE.name());
    assert!(open <= open_at_most, "{open}");
    for g in &answers {
        for (name, tensor) in [("dq", &g.dq), ("dk", &g.dk), ("dv", &g.dv)] {
            let rounded: Vec<T> = tensor.values().map(T::from_f64).collect();
            assert!(tensor.compare(name, &rounded).unwrap().is_right());
        }
    }
}

/// In f16 a large gradient times a large value may leave the range dS is rounded to.
#[test]
fn attention_backward_cases() {
    attention_backward::<f32>(0.0);
    attention_backward::<f16>(0.05);
    attention_backward::<bf16>(0.0);
}

fn paged<T: Element>() {
    let cases = cases::<PagedKv<T>>();
    let answers: Vec<Forward> = cases.iter().map(|case| case.oracle().unwrap()).collect();
    let open = undecided(answers.iter().flat_map(|answer| [&answer.o, &answer.lse]));
    assert_eq!(open, 0.0);
    answers.iter().for_each(rounded_is_right::<T>);

    let some = |what: &str, test: &dyn Fn(&PagedKv<T>) -> bool| {
        assert!(cases.iter().any(test), "no case with {what}");
    };
    for page in [1, 7, 16, 64, 256] {
        some("each page size", &|c| c.k.shape().page == page);
    }
    for format in [Format::Float(T::DTYPE), Format::Int8, Format::Int4] {
        some("each format", &|c| c.k.pages().format() == format);
    }
    some("decode", &|c| c.starts.is_none());
    some("chunked prefill", &|c| c.starts.is_some());
    some("no tokens", &|c| c.seq_len.contains(&0));
    some("a full last page", &|c| {
        let page = c.k.shape().page as i32;
        page > 1 && c.seq_len.iter().any(|&len| len > 0 && len % page == 0)
    });
    some("one token in the last page", &|c| {
        let page = c.k.shape().page as i32;
        page > 1 && c.seq_len.iter().any(|&len| len > page && len % page == 1)
    });
    some("padding", &|c| {
        c.block_table
            .iter()
            .any(|&page| !(0..c.k.shape().pages as i32).contains(&page))
    });
    some("a page held twice", &|c| {
        let pages = c.k.shape().pages as i32;
        (0..pages).any(|p| c.block_table.iter().filter(|&&at| at == p).count() > 1)
    });
    some("sinks", &|c| c.options.window.is_some_and(|w| w.sinks > 0));
    some("sink logits", &|c| c.sink_logits.is_some());
    some("a softcap", &|c| c.options.softcap.is_some());
}

#[test]
fn paged_cases() {
    paged::<f32>();
    paged::<f16>();
    paged::<bf16>();
}

fn tree_attention<T: Element>() {
    let cases = cases::<TreeAttention<T>>();
    let answers: Vec<Forward> = cases.iter().map(|case| case.oracle().unwrap()).collect();
    let open = undecided(answers.iter().flat_map(|answer| [&answer.o, &answer.lse]));
    assert_eq!(open, 0.0);
    answers.iter().for_each(rounded_is_right::<T>);
    assert!(cases.iter().any(|case| case.nodes.is_some()));
    assert!(cases.iter().any(|case| case.nodes.is_none()));
    assert!(
        cases
            .iter()
            .any(|case| case.starts.windows(2).any(|w| w[0] == w[1]))
    );
}

#[test]
fn tree_attention_cases() {
    tree_attention::<f32>();
    tree_attention::<f16>();
    tree_attention::<bf16>();
}

/// The right answer of an append is found right in every format, a single changed bit is not.
fn appends<T: Element>() {
    let mut formats = Vec::new();
    for case in cases::<PagedAppend<T>>() {
        let right = case.oracle().unwrap();
        let size = case.before_k.shape().heads * case.before_k.shape().head_size;
        let write = |before: &PageStore, tokens: &BoundedTensor| {
            let mut after = before.clone();
            let values: Vec<f32> = tokens.values().map(|x| x as f32).collect();
            for (token, &slot) in values.chunks(size).zip(&case.slots) {
                after.write("token", slot as usize, token).unwrap();
            }
            after
        };
        let (k, mut v) = (
            write(&case.before_k, &right.k),
            write(&case.before_v, &right.v),
        );
        assert_eq!(case.judge(&k.pages(), &v.pages()).unwrap(), Ok(()));
        // A slot that nobody wrote to.
        let free = (0..v.shape().slots()).find(|slot| !case.slots.contains(&(*slot as i32)));
        if let Some(free) = free {
            v.write("v", free, &vec![0.5; size]).unwrap();
            let fault = case.judge(&k.pages(), &v.pages()).unwrap().unwrap_err();
            assert!(fault.to_string().contains("was changed"), "{fault}");
        }
        formats.push(k.pages().format());
    }
    for format in [Format::Float(T::DTYPE), Format::Int8, Format::Int4] {
        assert!(formats.contains(&format));
    }
}

#[test]
fn append_cases() {
    appends::<f32>();
    appends::<f16>();
    appends::<bf16>();
}

#[test]
fn pages_that_do_not_fit_are_errors_that_name_the_argument() {
    let shape = PageShape {
        pages: 2,
        page: 2,
        heads: 1,
        head_size: 3,
    };
    let before = PageStore::new(shape, Format::Int8).unwrap();
    let token = |tokens: usize| {
        BoundedTensor::new("k", &[tokens, 1, 3], vec![Bounded::exact(0.0); 3 * tokens]).unwrap()
    };
    let about = |expected: &BoundedTensor, slots: &[usize], found: &PageStore| {
        judge_append(&before, expected, slots, &found.pages())
            .unwrap_err()
            .about()
    };
    assert_eq!(about(&token(1), &[4], &before), "slots");
    assert_eq!(about(&token(2), &[0], &before), "expected");
    let other = PageStore::new(shape, Format::Int4).unwrap();
    assert_eq!(about(&token(1), &[0], &other), "pages");
    let fewer = PageStore::new(PageShape { pages: 1, ..shape }, Format::Int8).unwrap();
    assert_eq!(about(&token(1), &[0], &fewer), "pages");
    let mut store = before.clone();
    assert_eq!(store.poison(4).unwrap_err().about(), "slot");
}

#[test]
fn tree_cases() {
    for case in cases::<TreeSampling<f32>>() {
        let right = case.oracle().unwrap();
        assert_eq!(right.judge(&right.accepted), Ok(()));
    }
    cases::<TreeSampling<bf16>>();
    cases::<TreeWalk<f16>>();
}

#[test]
fn cases_of_the_other_families() {
    cases::<LayerNorm<bf16>>();
    cases::<SoftmaxTopK<f16>>();
    cases::<BeamStep<f32>>();
    cases::<Ternary<bf16>>();
}

/// A case is a function of its seed.
#[test]
fn cases_come_back() {
    let (a, _) = build::<PagedKv<f16>>(5).unwrap();
    let (b, _) = build::<PagedKv<f16>>(5).unwrap();
    assert!(a.q == b.q && a.block_table == b.block_table && a.seq_len == b.seq_len);
    let (a, b) = (
        Attention::<f32>::draw(&mut Rng::new(3)),
        Attention::<f32>::draw(&mut Rng::new(3)),
    );
    assert!(a.q == b.q && a.k == b.k && a.v == b.v && a.options == b.options);
}
