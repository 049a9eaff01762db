//! Attention in combinations: types of q and of pages, sizes of heads and pages, rows that share their
//! keys, chunks, options. What is right in each alone may be wrong in two together.

use super::cases::{call, drawn, numbers_of};
use crate::submission::Call;
use crate::task::{Budget, Check, Dims, Kind};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::attention::Window;
use reference::cases::Rng;
use reference::cases::paged_kv::PagedKv;
use reference::numbers::Element;

/// Formats as dims name them.
const HALVES: &[u64] = &[0, 1];
const INT8: &[u64] = &[2];
const INT4: &[u64] = &[3];
const ALL: &[u64] = &[0, 1, 2, 3];

/// What is asked of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// One query.
    Decode,
    /// One query, over so many tokens that it pays to cut them into parts.
    Long,
    /// A chunk of queries.
    Chunk,
}

/// Sizes over pages of those formats.
fn sizes(
    formats: &'static [u64],
    asked: Asked,
    mixed: bool,
) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |rng, _| {
        let kv_heads = rng.choose(&[1, 1, 2]);
        // Rows of one KV head: below, at and above what tiles hold.
        let (group, tokens, chunk) = match asked {
            Asked::Decode => {
                let group = rng.choose(&[1, 5, 8, 9, 12, 16, 17, 33]);
                (group, rng.between(1, 150), 0)
            }
            Asked::Long => (rng.choose(&[1, 3, 10]), rng.between(512, 1100), 0),
            Asked::Chunk => {
                let chunk = rng.between(1, 40);
                (rng.choose(&[1, 2, 3, 5, 9]), rng.between(1, 150), chunk)
            }
        };
        let format = rng.choose(formats);
        // f16, bf16, f32.
        let q = match mixed {
            true => rng.choose(&[0, 0, 1, 1, 2]),
            false => u64::from(format == 1),
        };
        let dims = Dims::of([("Hkv", kv_heads), ("Hq", kv_heads * group)]);
        let d = match mixed && rng.chance(0.4) {
            true => rng.choose(&[1, 7, 31, 32, 33, 80, 96, 200, 256]),
            false => rng.choose(&[64, 128]),
        };
        dims.with("B", rng.choose(&[1, 2, 2]))
            .with("D", d)
            .with("page", rng.choose(&[1, 3, 16, 32, 64]))
            .with("tokens", tokens as u64)
            .with("chunk", chunk as u64)
            .with("format", format)
            .with("q", q)
    }
}

/// What is done to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twist {
    /// Window, first tokens, softcap, sink logits: each or not.
    Options,
    /// Tokens at the edges of what is seen outweigh the others.
    Edges,
    /// NaN in tokens that not every query sees.
    Odd,
}

fn made(dims: &Dims, rng: &mut Rng, twist: Twist) -> Call {
    match dims.get("q") {
        0 => of::<f16>(dims, rng, twist),
        1 => of::<bf16>(dims, rng, twist),
        _ => of::<f32>(dims, rng, twist),
    }
}

fn of<T: Scalar + Element>(dims: &Dims, rng: &mut Rng, twist: Twist) -> Call {
    let mut shape = drawn(dims, rng, dims.get("chunk") > 0);
    if shape.seq_len.len() > 1 && rng.chance(0.4) {
        // An empty sequence among others.
        shape.seq_len[1] = 0;
        shape.chunks.iter_mut().for_each(|chunks| chunks[1] = 0);
    }
    let mut case = numbers_of::<T>(&shape, rng);
    let longest = shape.seq_len.iter().copied().max().unwrap_or(1);
    if twist == Twist::Edges || rng.chance(0.5) {
        let window = Window::last(rng.between(1, longest + 1));
        case.options.window = Some(window.with_sinks(rng.choose(&[0, 0, 1, 4, 20, 33])));
    }
    if twist == Twist::Options {
        if rng.chance(0.3) {
            case.options.softcap = Some(rng.choose(&[5.0, 30.0]));
        }
        if rng.chance(0.3) {
            let logits = (0..case.query_heads).map(|_| rng.normal() as f32);
            case.sink_logits = Some(logits.collect());
        }
    }
    if twist == Twist::Edges {
        edges(&mut case, rng);
    }
    let mut call = call(&case);
    let ahead = twist == Twist::Odd && rng.chance(0.5);
    if let Some(chunks) = shape.chunks.as_ref().filter(|_| ahead) {
        // Half of the components of all values from some token of the chunk on.
        let (tokens, chunk) = (shape.seq_len[0], chunks[0]);
        let from = rng.between(tokens - chunk, tokens - 1);
        let slots: Vec<usize> = (from..tokens).map(|token| slot(&case, 0, token)).collect();
        let components = shape.kv_heads * shape.head_size / 2;
        spoil(&mut call, "v", &slots, components, rng);
    } else if twist == Twist::Odd {
        for _ in 0..rng.between(1, 3) {
            let mut sequence = rng.below(case.seq_len.len());
            if case.seq_len[sequence] == 0 {
                sequence = 0;
            }
            let tokens = case.seq_len[sequence] as usize;
            // Of a chunk among its own tokens: those before it are seen by all.
            let chunk = shape
                .chunks
                .as_ref()
                .map_or(tokens, |chunks| chunks[sequence]);
            let token = rng.between(tokens - chunk, tokens - 1);
            // Anywhere, or the last of a tile.
            let token = (token | rng.choose(&[0, 0, 15, 31])).min(tokens - 1);
            let slot = slot(&case, sequence, token);
            spoil(&mut call, rng.choose(&["k", "v"]), &[slot], 1, rng);
        }
    }
    call
}

/// Where a token lies.
fn slot<T>(case: &PagedKv<T>, sequence: usize, token: usize) -> usize {
    let page = case.k.shape().page;
    let entry = case.block_table[sequence * case.width + token / page];
    entry as usize * page + token % page
}

/// Scores that are component 0 of the keys: within ±1, but for the tokens on both sides of each edge
/// of what one query of a sequence sees. Those that it does not see would outweigh all others.
fn edges<T: Element>(case: &mut PagedKv<T>, rng: &mut Rng) {
    let sizes = case.k.shape();
    let (heads, d) = (sizes.heads, sizes.head_size);
    case.options.scale = 1.0;
    for q in case.q.chunks_mut(d) {
        q.fill(T::from_f64(0.0));
        q[0] = T::from_f64(1.0);
    }
    let window = case.options.window;
    let left = window.and_then(|w| w.left).unwrap_or(0) as i64;
    let sinks = window.map_or(0, |w| w.sinks) as i64;
    for sequence in 0..case.seq_len.len() {
        let tokens = i64::from(case.seq_len[sequence]);
        let queries = match &case.starts {
            Some(starts) => i64::from(starts[sequence + 1] - starts[sequence]),
            None => 1,
        };
        let position = tokens - 1 - rng.below(queries.max(1) as usize) as i64;
        let mut score: Vec<f64> = (0..tokens).map(|_| rng.uniform(-1.0, 1.0)).collect();
        let low = position - left;
        for (token, of) in [
            (position, 6.0),
            (position + 1, 12.0),
            (sinks - 1, 7.0),
            (sinks, 12.0),
            (low - 1, 12.0),
            (low, 8.0),
        ] {
            let found = usize::try_from(token).ok().and_then(|at| score.get_mut(at));
            found.into_iter().for_each(|score| *score = of);
        }
        for (token, score) in score.iter().enumerate() {
            let mut k: Vec<f32> = (0..heads * d)
                .map(|_| rng.uniform(-1.0, 1.0) as f32)
                .collect();
            k.iter_mut().step_by(d).for_each(|k| *k = *score as f32);
            let slot = slot(case, sequence, token);
            case.k.write("k", slot, &k).expect("a slot of the sequence");
        }
    }
}

/// Makes so many components of slots NaN, anywhere in them; where vectors have scales, those.
pub(in crate::task) fn spoil(
    call: &mut Call,
    which: &str,
    slots: &[usize],
    components: usize,
    rng: &mut Rng,
) {
    let scale = format!("{which}_scale");
    let scaled = call.inputs.iter().any(|input| input.name == scale);
    let name = if scaled {
        scale
    } else {
        format!("{which}_pages")
    };
    for input in call.inputs.iter_mut().filter(|input| input.name == name) {
        // [P, page, Hkv] or [P, page, Hkv, D].
        let shape = input.tensor.shape().to_vec();
        let each: usize = shape[2..].iter().product();
        let mut bytes = input.tensor.bytes().to_vec();
        for slot in slots {
            for _ in 0..components.min(each) {
                let at = slot * each + rng.below(each);
                let nan = rng.choose(&[f64::NAN, -f64::NAN]);
                let bits = match input.tensor.dtype() {
                    DType::Bf16 => bf16::from_f64(nan).to_bits(),
                    _ => f16::from_f64(nan).to_bits(),
                };
                bytes[2 * at..2 * at + 2].copy_from_slice(&bits.to_le_bytes());
            }
        }
        input.tensor = Tensor::new(input.tensor.dtype(), shape, bytes).expect("as many bytes");
    }
}

/// A check at a level, of sizes and what is done to a case of them.
fn check(
    (name, level, says): (&'static str, &'static str, &'static str),
    formats: &'static [u64],
    asked: Asked,
    twist: Twist,
) -> Check {
    let sizes = sizes(formats, asked, level == "mixed-types");
    let make = move |dims: &Dims, rng: &mut Rng| Some(made(dims, rng, twist));
    let check = Check::judged(Kind::Level, name, says, sizes, make).at(level);
    match asked {
        Asked::Decode => check.cases(5, 14),
        Asked::Long => check.cases(2, 6),
        Asked::Chunk => check.ops(&["prefill"]).cases(5, 14),
    }
}

/// Every format with the two head sizes that kernels are made for: what is right for one of them may
/// be wrong for another, in any of all that is asked.
const EACH: [(&str, [u64; 2]); 8] = [
    ("each-f16-64", [0, 64]),
    ("each-f16-128", [0, 128]),
    ("each-bf16-64", [1, 64]),
    ("each-bf16-128", [1, 128]),
    ("each-int8-64", [2, 64]),
    ("each-int8-128", [2, 128]),
    ("each-int4-64", [3, 64]),
    ("each-int4-128", [3, 128]),
];

fn each() -> impl Iterator<Item = Check> {
    EACH.into_iter().map(|(name, [format, d])| {
        let draw = move |rng: &mut Rng, budget: Budget| {
            let asked = rng.choose(&[Asked::Decode, Asked::Decode, Asked::Chunk, Asked::Long]);
            // f16 and bf16: of one the kernels of most formats make two parts.
            let q = rng.choose(&[0, 1]);
            sizes(ALL, asked, true)(rng, budget)
                .with("D", d)
                .with("format", format)
                .with("q", if format == 0 { 0 } else { q })
        };
        let make = |dims: &Dims, rng: &mut Rng| {
            let twist = rng.choose(&[Twist::Options, Twist::Options, Twist::Edges, Twist::Odd]);
            Some(made(dims, rng, twist))
        };
        let says = "pages of one format, vectors of one length: decode and chunks, few tokens or \
                    hundreds, options or none, edges of windows, NaN";
        Check::judged(Kind::Level, name, says, draw, make)
            .at("mixed-types")
            .ops(&["decode", "prefill"])
            .cases(5, 24)
    })
}

pub(super) fn checks() -> Vec<Check> {
    use Asked::{Chunk, Decode, Long};
    use Twist::{Edges, Odd, Options};
    let heads = "up to dozens of query heads a KV head, options or none";
    let edge =
        "the tokens on both sides of each edge of a window decide, in every column of a tile";
    let long = "hundreds of tokens, of which a window may leave few parts anything to see";
    let one_nan = "NaN in one of hundreds of tokens, in whatever part of them it is read";
    let chunks = "chunks over pages of any format, options or none";
    let ahead = "NaN ahead of a query does not reach it, of whatever format, in whatever component";
    let types = "q of any type over pages of any format, vectors of any length";
    let mut checks = vec![
        check(("many-heads", "gqa", heads), HALVES, Decode, Options),
        check(("many-heads-int8", "int8", heads), INT8, Decode, Options),
        check(("many-heads-int4", "int4", heads), INT4, Decode, Options),
        check(("window-edges", "window", edge), ALL, Decode, Edges),
        check(("long", "window", long), HALVES, Long, Options),
        check(("long-int8", "int8", long), INT8, Long, Options),
        check(("long-int4", "int4", long), INT4, Long, Options),
        check(("long-with-nan", "window", one_nan), ALL, Long, Odd),
        check(("prefill-together", "prefill", chunks), ALL, Chunk, Options),
        check(("prefill-window-edges", "prefill", edge), ALL, Chunk, Edges),
        check(("prefill-nan-ahead", "prefill", ahead), HALVES, Chunk, Odd),
        check(("types", "mixed-types", types), ALL, Decode, Options),
        check(("types-long", "mixed-types", long), ALL, Long, Options),
        check(("types-prefill", "mixed-types", types), ALL, Chunk, Options),
        check(("types-nan-ahead", "mixed-types", ahead), ALL, Chunk, Odd),
    ];
    checks.extend(each());
    checks
}
