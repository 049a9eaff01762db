//! Values, odd values, properties and levels.

use super::attention::{self, drawn};
use super::needles::{Spoilt, needles};
use super::walks::{Draft, Item, following, random};
use crate::submission::{Call, Named};
use crate::task::common::{self, Ordinary};
use crate::task::paged_kv_attention::combined::spoil;
use crate::task::{Budget, Check, Dims, Kind, Session, Stop, fixed};
use crate::tensor::{DType, Scalar};
use crate::verdict::Verdict;
use half::{bf16, f16};
use reference::attention::Window;
use reference::cases::Rng;
use reference::cases::tree_attention::TreeAttention;
use reference::lm::{HashModel, Model, greedy};
use reference::numbers::Element;
use std::collections::HashSet;

fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    let nodes = rng.between(2, budget.pick(24, 80)) as u64;
    // Around and above the threads of a block, so that every one of them holds something.
    let vocabulary = rng.choose(&[7, 50, 50, 333, 1500]);
    Dims::of([
        ("B", rng.between(1, 3) as u64),
        ("N", nodes),
        ("V", vocabulary),
    ])
}

/// Random items of the same size.
fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(accepting(dims, rng).call())
}

pub(super) fn accepting(dims: &Dims, rng: &mut Rng) -> Draft {
    let (nodes, vocabulary) = (dims.get("N"), dims.get("V").max(2));
    let items = (0..dims.get("B")).map(|_| random(rng, nodes, vocabulary));
    Draft::new(vocabulary, items.collect())
}

/// Sizes of tree attention, some replaced.
pub(super) fn attending(
    changes: &'static [(&'static str, u64)],
) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |_, _| {
        let dims = Dims::of([("B", 2), ("prefix", 37), ("N", 13), ("page", 16), ("D", 64)]);
        let dims = dims.with("Hq", 2).with("Hkv", 2);
        changes
            .iter()
            .fold(dims, |dims, (name, n)| dims.with(name, *n))
    }
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| Dims::of([("B", 2), ("N", 16), ("V", 4096)]),
    });
    checks.push(
        Check::judged(
            Kind::Values,
            "greedy",
            "accepted nodes, tokens and bonus of random trees",
            draw,
            ordinary,
        )
        .cases(6, 40),
    );
    checks.extend(levels());
    checks.extend(super::sampling::checks());
    checks.extend(anywhere());
    checks.extend(odd());
    checks.extend(properties());
    checks
}

/// Long walks whose every step one number decides, wherever it stands.
fn anywhere() -> Vec<Check> {
    /// A few rows long enough for every thread of a block to hold some of each, or many short ones.
    fn rows(rng: &mut Rng, _: Budget) -> Dims {
        let (vocabulary, steps) = rng.choose(&[
            (3, 30),
            (9, 30),
            (37, 30),
            (260, 30),
            (1030, 24),
            (2080, 16),
            (4130, 12),
        ]);
        let vocabulary = vocabulary + rng.below(24) as u64;
        Dims::of([("N", steps + 4), ("steps", steps), ("V", vocabulary)])
    }
    fn nodes(rng: &mut Rng, _: Budget) -> Dims {
        // Steps of a few nodes, or of hundreds.
        let (nodes, steps) = (rng.choose(&[30, 250, 520, 1024]), rng.choose(&[2, 20]));
        Dims::of([("N", nodes), ("steps", steps), ("V", 24)])
    }
    let steps = |types: &'static [DType]| {
        move |dims: &Dims, rng: &mut Rng| {
            let dtype = rng.choose(types);
            let spoilt = match rng.chance(0.5) {
                true => Spoilt::NOT,
                false => Spoilt {
                    share: rng.choose(&[0.0, 0.1, 0.9]),
                    ties: true,
                    extremes: Some(dtype),
                },
            };
            let (nodes, vocabulary) = (dims.get("N").max(1), dims.get("V").max(2));
            let size = [nodes, vocabulary, dims.get("steps").min(nodes)];
            let mut draft = Draft::new(vocabulary, vec![needles(rng, size, spoilt)]);
            draft.dtype = dtype;
            Some(draft.call())
        }
    };
    let says =
        "the greatest logit stands anywhere in its row, and rows beside it are greater or less";
    vec![
        Check::judged(
            Kind::Values,
            "anywhere-in-a-row",
            says,
            rows,
            steps(&[DType::F32]),
        )
        .cases(4, 12),
        Check::judged(
            Kind::Level,
            "anywhere-in-a-row-16-bit",
            says,
            rows,
            steps(&[DType::F16, DType::Bf16]),
        )
        .at("16-bit")
        .cases(6, 30),
        Check::judged(
            Kind::Level,
            "anywhere-among-the-nodes",
            "the child that is taken stands anywhere among nodes with its token or its parent",
            nodes,
            steps(&[DType::F32, DType::F16, DType::Bf16]),
        )
        .at("n-1024")
        .cases(6, 30),
    ]
}

fn levels() -> Vec<Check> {
    let typed = |dtype| {
        move |dims: &Dims, rng: &mut Rng| {
            let mut draft = accepting(dims, rng);
            draft.dtype = dtype;
            Some(draft.call())
        }
    };
    vec![
        Check::judged(Kind::Level, "f16", "logits in f16", draw, typed(DType::F16))
            .at("16-bit")
            .cases(3, 8),
        Check::judged(
            Kind::Level,
            "bf16",
            "logits in bf16",
            draw,
            typed(DType::Bf16),
        )
        .at("16-bit")
        .cases(3, 8),
        Check::judged(
            Kind::Level,
            "odd-logits",
            "rows of every type with NaN and −inf among the logits, the greatest anywhere",
            fixed([("B", 2), ("N", 12), ("V", 600)]),
            |dims, rng| {
                let mut draft = accepting(dims, rng);
                draft.dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                let tied = rng.chance(0.5);
                for x in draft.items.iter_mut().flat_map(|item| &mut item.logits) {
                    if tied {
                        *x = x.round();
                    }
                    if rng.chance(0.2) {
                        *x = rng.choose(&[f64::NAN, f64::NEG_INFINITY]);
                    }
                }
                Some(draft.call())
            },
        )
        .at("16-bit")
        .cases(3, 8),
        Check::judged(
            Kind::Level,
            "ragged",
            "items of different sizes, one without nodes",
            fixed([("N", 20), ("V", 40)]),
            |dims, rng| {
                let (nodes, vocabulary) = (dims.get("N"), dims.get("V").max(2));
                let sizes = [nodes, 0, 1, nodes.div_ceil(2)];
                let items = sizes.map(|n| random(rng, n, vocabulary));
                Some(Draft::new(vocabulary, items.into()).call())
            },
        )
        .at("ragged")
        .cases(2, 6),
        Check::judged(
            Kind::Level,
            "n-1024",
            "trees of 1024 nodes",
            fixed([("B", 1), ("N", 1024), ("V", 16)]),
            ordinary,
        )
        .at("n-1024")
        .cases(3, 6),
        Check::judged(
            Kind::Level,
            "wide",
            "hundreds of siblings, of which the one that is accepted stands anywhere",
            |rng, _| Dims::of([("N", rng.choose(&[40, 300, 700])), ("V", 900)]),
            |dims, rng| {
                let (nodes, vocabulary) = (dims.get("N").max(2), dims.get("V").max(2));
                // The last few hang under any of the others.
                let shallow = nodes - nodes.div_ceil(8);
                let parent: Vec<i32> = (0..nodes)
                    .map(|i| {
                        if i < shallow {
                            -1
                        } else {
                            rng.below(shallow) as i32
                        }
                    })
                    .collect();
                let first = rng.below(shallow);
                let child = (shallow..nodes).find(|i| parent[*i] == first as i32);
                let follow: Vec<usize> = [first].into_iter().chain(child).collect();
                let mut draft = Draft::new(
                    vocabulary,
                    vec![following(rng, &parent, vocabulary, &follow)],
                );
                draft.dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                Some(draft.call())
            },
        )
        .at("n-1024")
        .cases(4, 12),
        Check::judged(
            Kind::Level,
            "slots",
            "the slots of accepted nodes, in order",
            draw,
            |dims, rng| {
                let mut draft = accepting(dims, rng);
                draft.with_slots = true;
                Some(draft.call())
            },
        )
        .at("slots")
        .cases(2, 6),
        Check::judged(
            Kind::Level,
            "stop-tokens",
            "tokens that end the text",
            draw,
            |dims, rng| {
                let mut draft = accepting(dims, rng);
                draft.stop = (0..4).map(|_| rng.below(draft.vocabulary) as i32).collect();
                Some(draft.call())
            },
        )
        .at("stop-tokens")
        .cases(2, 6),
        Check::judged(
            Kind::Level,
            "mask",
            "ancestors-or-self as bits, and depths",
            fixed([("B", 2), ("N", 70), ("V", 4)]),
            |dims, rng| Some(accepting(dims, rng).mask()),
        )
        .at("mask")
        .ops(&["mask"])
        .cases(2, 6),
        Check::judged(
            Kind::Level,
            "attention",
            "one query a node over prefix and tree, in f16",
            attending(&[]),
            attention::ordinary,
        )
        .at("attention")
        .ops(&["attention"])
        .cases(1, 4),
        Check::judged(
            Kind::Level,
            "attention-bf16-gqa",
            "four query heads a KV head, bf16, pages of 4",
            attending(&[("Hq", 8), ("page", 4)]),
            |dims, rng| Some(attention::call(&drawn::<bf16>(dims, rng))),
        )
        .at("attention")
        .ops(&["attention"])
        .cases(1, 4),
        Check::judged(
            Kind::Level,
            "attention-window",
            "a window of positions, by depth",
            attending(&[("N", 20)]),
            |dims, rng| {
                let mut case = drawn::<f16>(dims, rng);
                case.options.window = Some(Window::last(rng.between(3, 9)));
                Some(attention::call(&case))
            },
        )
        .at("window")
        .ops(&["attention"])
        .cases(1, 4),
        Check::judged(
            Kind::Level,
            "attention-sizes",
            "trees, prefixes, pages and groups of heads of many sizes, with a window or none, NaN in \
             nodes or none",
            |rng, _| {
                let kv_heads = rng.choose(&[1, 2]);
                // So few that they are read at once, or enough to be cut into parts.
                let prefix = match rng.chance(0.7) {
                    true => rng.between(1, 130),
                    false => rng.between(500, 700),
                };
                let dims = Dims::of([("B", rng.between(1, 2) as u64), ("Hkv", kv_heads)]);
                dims.with("Hq", kv_heads * rng.choose(&[1, 2, 5, 9]))
                    .with("prefix", prefix as u64)
                    .with("N", rng.choose(&[1, 17, 33, 40, 70]))
                    .with("page", rng.choose(&[1, 7, 16, 64]))
                    .with("D", rng.choose(&[64, 128]))
            },
            |dims, rng| {
                fn of<T: Scalar + Element>(dims: &Dims, rng: &mut Rng) -> Call {
                    let mut case = drawn::<T>(dims, rng);
                    if rng.chance(0.5) {
                        case.options.window = Some(Window::last(rng.between(1, 150)));
                    }
                    let mut call = attention::call(&case);
                    if rng.chance(0.4) {
                        spoil_nodes(&case, &mut call, dims, rng);
                    }
                    call
                }
                Some(match rng.chance(0.5) {
                    true => of::<f16>(dims, rng),
                    false => of::<bf16>(dims, rng),
                })
            },
        )
        .at("window")
        .ops(&["attention"])
        .cases(3, 12),
        Check::judged(
            Kind::Level,
            "attention-nan-in-nodes",
            "NaN in nodes that some of the others see, or would see without the window",
            |rng, _| {
                let kv_heads = rng.choose(&[1, 2]);
                let dims = Dims::of([("B", rng.choose(&[1, 2])), ("Hkv", kv_heads)]);
                dims.with("Hq", kv_heads * rng.choose(&[1, 3, 9]))
                    .with("prefix", rng.between(1, 70) as u64)
                    .with("N", rng.choose(&[9, 33, 40, 70]))
                    .with("page", rng.choose(&[1, 7, 16]))
                    .with("D", rng.choose(&[64, 128]))
            },
            |dims, rng| {
                fn of<T: Scalar + Element>(dims: &Dims, rng: &mut Rng) -> Call {
                    let mut case = drawn::<T>(dims, rng);
                    if rng.chance(0.7) {
                        case.options.window = Some(Window::last(rng.between(1, 6)));
                    }
                    let mut call = attention::call(&case);
                    spoil_nodes(&case, &mut call, dims, rng);
                    call
                }
                Some(match rng.chance(0.5) {
                    true => of::<f16>(dims, rng),
                    false => of::<bf16>(dims, rng),
                })
            },
        )
        .at("window")
        .ops(&["attention"])
        .cases(4, 24),
    ]
}

/// Half of the components of the values of up to three nodes, which few others see, become NaN.
fn spoil_nodes<T>(case: &TreeAttention<T>, call: &mut Call, dims: &Dims, rng: &mut Rng) {
    let nodes = (case.starts[1] - case.starts[0]) as usize;
    let prefix = case.seq_len[0] as usize - nodes;
    let page = dims.get("page");
    let slots: Vec<usize> = (0..nodes.min(3))
        .map(|_| prefix + rng.below(nodes))
        .map(|at| case.block_table[at / page] as usize * page + at % page)
        .collect();
    let components = dims.get("Hkv") * dims.get("D") / 2;
    spoil(call, "v", &slots, components, rng);
}

fn odd() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Odd,
            "row-without-a-token",
            "a row of NaN and −inf yields no token: the walk stops there, and the bonus is −1",
            |rng, _| Dims::of([("B", 2), ("N", 6), ("V", rng.choose(&[12, 40, 300, 2100]))]),
            |dims, rng| {
                let mut draft = accepting(dims, rng);
                draft.dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                // One of them, anywhere, or a mixture.
                let share = rng.choose(&[0.0, 0.0, 0.5, 1.0]);
                let row = &mut draft.items[0].logits[..dims.get("V").max(2)];
                row.iter_mut().for_each(|x| {
                    *x = match rng.chance(share) {
                        true => f64::NAN,
                        false => f64::NEG_INFINITY,
                    }
                });
                let at = rng.below(row.len());
                row[at] = rng.choose(&[f64::NAN, f64::NEG_INFINITY]);
                Some(draft.call())
            },
        )
        .cases(4, 12),
        Check::new(
            Kind::Odd,
            "cycle",
            "a node that is its own parent is refused",
            fixed([("N", 5), ("V", 8)]),
            |session, dims, rng| {
                let mut draft = accepting(&dims.clone().with("B", 1), rng);
                let last = dims.get("N") - 1;
                draft.items[0].parent[last] = last as i32;
                session.refused(&draft.call(), "a node that is its own parent")
            },
        ),
    ]
}

fn properties() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Property,
            "equals-greedy-decoding",
            "verified drafts of a model give the text that plain greedy decoding gives",
            fixed([("N", 10), ("V", 30), ("length", 12)]),
            decoding,
        )
        .cases(2, 8),
        Check::new(
            Kind::Property,
            "renumbered",
            "numbering the nodes otherwise, parents first, gives the same tokens",
            fixed([("N", 24), ("V", 30)]),
            renumbered,
        )
        .cases(1, 4),
        Check::new(
            Kind::Property,
            "more-nodes",
            "adding nodes never shortens the accepted text",
            fixed([("N", 24), ("V", 30)]),
            |session, dims, rng| {
                let vocabulary = dims.get("V").max(2);
                let whole = random(rng, dims.get("N"), vocabulary);
                let half = dims.get("N").div_ceil(2);
                let part = Item {
                    token: whole.token[..half].to_vec(),
                    parent: whole.parent[..half].to_vec(),
                    logits: whole.logits[..(half + 1) * vocabulary].to_vec(),
                };
                let count = |outputs: Vec<Named>| outputs[2].tensor.to_f64()[0];
                let few = session.judge(&Draft::new(vocabulary, vec![part]).call())?;
                let many = session.judge(&Draft::new(vocabulary, vec![whole]).call())?;
                let (few, many) = (count(few), count(many));
                match many >= few {
                    true => Ok(()),
                    false => {
                        let why = format!("{few} nodes accepted of half the tree, {many} of all");
                        Err(Verdict::wrong(why).into())
                    }
                }
            },
        ),
        Check::judged(
            Kind::Property,
            "chain",
            "a tree that is one chain is verified as a chain",
            fixed([("N", 12), ("V", 20)]),
            |dims, rng| {
                let nodes = dims.get("N");
                let parent: Vec<i32> = (0..nodes as i32).map(|i| i - 1).collect();
                let follow: Vec<usize> = (0..rng.between(0, nodes)).collect();
                let item = following(rng, &parent, dims.get("V").max(2), &follow);
                Some(Draft::new(dims.get("V").max(2), vec![item]).call())
            },
        )
        .cases(2, 6),
    ]
}

/// The tokens that an answer about one item adds to the text.
fn added(outputs: &[Named]) -> Vec<i32> {
    let read = |at: usize| outputs[at].tensor.to_vec::<i32>().unwrap_or_default();
    let count = read(2)[0].max(0) as usize;
    let mut tokens: Vec<i32> = read(1)[..count.min(read(1).len())].to_vec();
    tokens.extend(read(3).first().filter(|bonus| **bonus >= 0));
    tokens
}

fn decoding(session: &mut Session<'_>, dims: &Dims, rng: &mut Rng) -> Result<(), Stop> {
    let (nodes, vocabulary) = (dims.get("N"), dims.get("V").max(2));
    let length = dims.get("length");
    let model = HashModel::new(rng.bits(), vocabulary).with_levels(129);
    let prompt = vec![rng.below(vocabulary) as i32];
    let right = greedy(&model, &prompt, length, &HashSet::new());
    let mut text = prompt.clone();
    while text.len() < prompt.len() + length {
        let ahead = greedy(&model, &text, nodes, &HashSet::new());
        let item = drafted(&model, &text, &ahead, nodes, rng);
        let outputs = session.judge(&Draft::new(vocabulary, vec![item]).call())?;
        let tokens = added(&outputs);
        if tokens.is_empty() {
            return Err(Verdict::wrong("nothing was added to the text").into());
        }
        text.extend(tokens);
    }
    let got = &text[prompt.len()..prompt.len() + length];
    match got == right {
        true => Ok(()),
        false => {
            let why = format!("the text is {got:?}, plain greedy decoding gives {right:?}");
            Err(Verdict::wrong(why).into())
        }
    }
}

/// A tree that follows what the model will say, and strays.
fn drafted(model: &HashModel, text: &[i32], ahead: &[i32], nodes: usize, rng: &mut Rng) -> Item {
    let vocabulary = model.vocabulary();
    let (mut token, mut parent) = (Vec::<i32>::new(), Vec::<i32>::new());
    let (mut tip, mut spelled) = (-1_i32, 0);
    for _ in 0..nodes {
        let follow = spelled < ahead.len() && rng.chance(0.5);
        let (above, next) = match follow {
            true => (tip, ahead[spelled]),
            false => (
                rng.between(0, token.len()) as i32 - 1,
                rng.below(vocabulary) as i32,
            ),
        };
        if (0..token.len()).any(|i| parent[i] == above && token[i] == next) {
            continue;
        }
        if above == tip && ahead.get(spelled) == Some(&next) {
            (tip, spelled) = (token.len() as i32, spelled + 1);
        }
        token.push(next);
        parent.push(above);
    }
    let mut logits: Vec<f64> = model.logits(text).into_iter().map(f64::from).collect();
    for node in 0..token.len() {
        let above = |at: &usize| usize::try_from(parent[*at]).ok();
        let mut path: Vec<i32> = std::iter::successors(Some(node), above)
            .map(|at| token[at])
            .collect();
        path.reverse();
        let history = [text, &path].concat();
        logits.extend(model.logits(&history).into_iter().map(f64::from));
    }
    Item {
        token,
        parent,
        logits,
    }
}

fn renumbered(session: &mut Session<'_>, dims: &Dims, rng: &mut Rng) -> Result<(), Stop> {
    let vocabulary = dims.get("V").max(2);
    // Renumbering siblings with one token would change which of them is first.
    let twins = |item: &Item| {
        let alike =
            |i: usize, j: usize| item.parent[i] == item.parent[j] && item.token[i] == item.token[j];
        (0..item.token.len()).any(|i| (0..i).any(|j| alike(i, j)))
    };
    let mut drawn = (0..200).map(|_| random(rng, dims.get("N"), vocabulary));
    let item = drawn.find(|item| !twins(item)).ok_or(Stop::Unfit)?;
    let nodes = item.token.len();
    // A random order with parents first.
    let mut order: Vec<usize> = Vec::with_capacity(nodes);
    while order.len() < nodes {
        let ready: Vec<usize> = (0..nodes)
            .filter(|i| !order.contains(i))
            .filter(|i| item.parent[*i] < 0 || order.contains(&(item.parent[*i] as usize)))
            .collect();
        order.push(rng.choose(&ready));
    }
    let place = |old: i32| match usize::try_from(old) {
        Ok(old) => order.iter().position(|o| *o == old).unwrap_or(0) as i32,
        Err(_) => -1,
    };
    let mut logits = item.logits[..vocabulary].to_vec();
    for old in &order {
        logits.extend(&item.logits[(old + 1) * vocabulary..(old + 2) * vocabulary]);
    }
    let other = Item {
        token: order.iter().map(|old| item.token[*old]).collect(),
        parent: order.iter().map(|old| place(item.parent[*old])).collect(),
        logits,
    };
    let here = added(&session.judge(&Draft::new(vocabulary, vec![item]).call())?);
    let there = added(&session.judge(&Draft::new(vocabulary, vec![other]).call())?);
    match here == there {
        true => Ok(()),
        false => {
            let why = format!("{here:?} is accepted, and {there:?} when nodes are renumbered");
            Err(Verdict::wrong(why).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::OutputSpec;
    use crate::tensor::Tensor;

    /// What `added` reads by place is what the contract names there.
    #[test]
    fn outputs_lie_where_they_are_read() {
        let mut rng = Rng::new(3);
        let call = accepting(&Dims::of([("N", 4), ("V", 9)]), &mut rng).call();
        let names: Vec<&str> = call.outputs.iter().map(|o: &OutputSpec| &*o.name).collect();
        assert_eq!(names, ["node", "accepted", "count", "bonus"]);
        let tensor = call.input("logits").map(Tensor::shape);
        assert_eq!(tensor, Some(&[5, 9][..]));
    }
}
