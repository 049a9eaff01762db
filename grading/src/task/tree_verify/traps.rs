//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::attention::{self, drawn};
use super::checks::{accepting, attending};
use super::walks::{Draft, Item, Sampling, following, greatest, random, row};
use crate::task::{Check, Dims, Kind, fixed};
use half::f16;
use reference::attention::Window;
use reference::cases::Rng;

/// One tree with these parents, of which some nodes follow the target.
fn tree(
    name: &'static str,
    says: &'static str,
    parent: &'static [i32],
    follow: &'static [usize],
    change: impl Fn(&mut Draft, &mut Rng) + Send + Sync + 'static,
) -> Check {
    Check::judged(
        Kind::Trap,
        name,
        says,
        fixed([("V", 24)]),
        move |dims, rng| {
            let vocabulary = dims.get("V").max(8);
            let item = following(rng, parent, vocabulary, follow);
            let mut draft = Draft::new(vocabulary, vec![item]);
            change(&mut draft, rng);
            Some(draft.call())
        },
    )
    .cases(1, 2)
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = walks();
    traps.extend(logits());
    traps.push(row_ends());
    traps.extend(batches());
    traps.extend(masks());
    traps.extend(attentions());
    traps.extend(samples());
    traps
}

fn walks() -> Vec<Check> {
    vec![
        tree(
            "row-of-the-parent",
            "logits follow nodes, not depths: the path runs through late nodes",
            &[-1, -1, -1, 2, 2, 4, 5],
            &[2, 4, 5],
            |_, _| {},
        ),
        tree(
            "next-sibling",
            "the first child is rejected, and its sibling is right",
            &[-1, -1, 1, 1],
            &[1, 3],
            |_, _| {},
        ),
        tree(
            "children-only",
            "a node below a rejected one has the target's token",
            &[-1, -1, 0, 0],
            &[],
            |draft, _| {
                // What the target wants after the prompt stands below node 0, which it rejects.
                let item = &mut draft.items[0];
                let best = greatest(&item.logits[..draft.vocabulary]);
                item.token[3] = best;
            },
        ),
        tree(
            "branches",
            "node i + 1 is not the child of node i",
            &[-1, -1, 0, 1, 2],
            &[0, 2, 4],
            |_, _| {},
        ),
        tree(
            "duplicate-siblings",
            "two siblings have the token that the target takes: the first is accepted",
            &[-1, -1, 0, 1],
            &[0, 1],
            |_, _| {},
        ),
        tree(
            "bonus-at-a-leaf",
            "the walk ends at a leaf, and the row after it gives one more token",
            &[-1, 0, 1],
            &[0, 1, 2],
            |_, _| {},
        ),
        tree(
            "stop-on-the-path",
            "a stop token on the path is accepted and ends the walk",
            &[-1, 0, 1, 2],
            &[0, 1, 2, 3],
            |draft, _| draft.stop = vec![draft.items[0].token[1]],
        )
        .at("stop-tokens"),
        tree(
            "slots-to-keep",
            "the accepted nodes are not the first ones: neither are their slots",
            &[-1, -1, 1, 2, 3],
            &[1, 2, 3],
            |draft, _| draft.with_slots = true,
        )
        .at("slots"),
    ]
}

fn logits() -> Vec<Check> {
    vec![
        tree(
            "equal-logits",
            "of equal logits the lower token is taken",
            &[-1, 0],
            &[0, 1],
            |draft, _| {
                let vocabulary = draft.vocabulary;
                let item = &mut draft.items[0];
                for (node, row) in item.logits.chunks_mut(vocabulary).enumerate() {
                    // Two greatest, and the child has the lower of them.
                    (row[2], row[5]) = (100.0, 100.0);
                    if let Some(token) = item.token.get_mut(node) {
                        *token = 2;
                    }
                }
            },
        ),
        tree(
            "nan-among-logits",
            "NaN and −inf among the logits are never the greatest",
            &[-1, 0],
            &[0, 1],
            |draft, _| {
                let vocabulary = draft.vocabulary;
                for row in draft.items[0].logits.chunks_mut(vocabulary) {
                    let best = greatest(row) as usize;
                    for at in [(best + 1) % vocabulary, (best + 3) % vocabulary] {
                        row[at] = f64::NAN;
                    }
                    row[(best + 2) % vocabulary] = f64::NEG_INFINITY;
                }
            },
        ),
    ]
}

/// A chain whose every row ends in its greatest logit, while the next row begins with a greater one.
fn row_ends() -> Check {
    Check::judged(
        Kind::Trap,
        "where-rows-end",
        "the last logit of a row is its greatest, and the next row begins with a greater one",
        fixed([("N", 6), ("V", 21)]),
        |dims, rng| {
            let (nodes, vocabulary) = (dims.get("N"), dims.get("V").max(8));
            let parent: Vec<i32> = (0..nodes as i32).map(|i| i - 1).collect();
            let follow: Vec<usize> = (0..nodes).collect();
            let mut item = following(rng, &parent, vocabulary, &follow);
            for (at, row) in item.logits.chunks_mut(vocabulary).enumerate() {
                row.iter_mut()
                    .for_each(|x| *x += 2.0 * (at * vocabulary) as f64);
                // Its greatest goes to the end, and what stood there to where that was.
                let best = greatest(row) as usize;
                row.swap(best, vocabulary - 1);
                if let Some(token) = item.token.get_mut(at) {
                    *token = vocabulary as i32 - 1;
                }
            }
            Some(Draft::new(vocabulary, vec![item]).call())
        },
    )
    .cases(1, 2)
}

fn batches() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Trap,
            "no-nodes",
            "an item without nodes gets the argmax of its one row",
            fixed([("V", 20)]),
            |dims, rng| {
                let vocabulary = dims.get("V").max(2);
                let item = Item {
                    logits: row(rng, vocabulary),
                    ..Item::default()
                };
                let other = random(rng, 3, vocabulary);
                Some(Draft::new(vocabulary, vec![item, other]).call())
            },
        )
        .at("ragged"),
        Check::judged(
            Kind::Trap,
            "ragged-rows",
            "each item has one row of logits more than nodes",
            fixed([("N", 9), ("V", 20)]),
            |dims, rng| {
                let (nodes, vocabulary) = (dims.get("N"), dims.get("V").max(2));
                let items = [1, nodes, 2].map(|n| random(rng, n, vocabulary));
                Some(Draft::new(vocabulary, items.into()).call())
            },
        )
        .at("ragged"),
        Check::new(
            Kind::Trap,
            "later-parents",
            "a parent that comes later is refused",
            fixed([("N", 6), ("V", 10)]),
            |session, dims, rng| {
                let mut draft = accepting(&dims.clone().with("B", 1), rng);
                let last = dims.get("N") as i32 - 1;
                draft.items[0].parent[0] = last;
                session.refused(&draft.call(), "a parent that comes later")
            },
        ),
    ]
}

fn masks() -> Vec<Check> {
    let chain = |dims: &Dims, rng: &mut Rng| {
        let parent: Vec<i32> = (0..dims.get("N") as i32).map(|i| i - 1).collect();
        let item = following(rng, &parent, 4, &[]);
        Some(Draft::new(4, vec![item]).mask())
    };
    vec![
        Check::judged(
            Kind::Trap,
            "mask-holds-itself",
            "every node sees itself",
            fixed([("N", 5)]),
            chain,
        )
        .at("mask")
        .ops(&["mask"]),
        Check::judged(
            Kind::Trap,
            "mask-holds-all-ancestors",
            "every node sees all its ancestors, also beyond 32 of them",
            fixed([("N", 40)]),
            chain,
        )
        .at("mask")
        .ops(&["mask"]),
    ]
}

fn attentions() -> Vec<Check> {
    let trap =
        |name, says, changes, make: fn(&Dims, &mut Rng) -> Option<crate::submission::Call>| {
            Check::judged(Kind::Trap, name, says, attending(changes), make)
                .at("attention")
                .ops(&["attention"])
                .cases(1, 2)
        };
    vec![
        trap(
            "siblings-hidden",
            "a node sees its ancestors and itself, and no sibling",
            &[("N", 12)],
            |dims, rng| {
                let mut case = drawn::<f16>(dims, rng);
                // Nothing but children of the prompt.
                case.parent.fill(-1);
                Some(attention::call(&case))
            },
        ),
        trap(
            "prefix-and-tree-merged",
            "prefix and tree have different maxima: they must be weighed when they are merged",
            &[("N", 9)],
            |dims, rng| {
                let mut case = drawn::<f16>(dims, rng);
                case.options.scale *= 4.0;
                Some(attention::call(&case))
            },
        ),
        trap(
            "whole-prefix",
            "every node sees the whole prefix, its first token too",
            &[("prefix", 3), ("N", 6)],
            attention::ordinary,
        ),
        trap(
            "window-by-depth",
            "a window is measured in positions, and siblings stand at the same one",
            &[("N", 14), ("prefix", 20)],
            |dims, rng| {
                let mut case = drawn::<f16>(dims, rng);
                case.parent.fill(-1);
                case.options.window = Some(Window::last(rng.between(4, 8)));
                Some(attention::call(&case))
            },
        )
        .at("window"),
    ]
}

/// One node below the prompt, and the numbers that decide about it.
fn sample(
    name: &'static str,
    says: &'static str,
    logits: [f64; 4],
    draft: [f32; 4],
    (temperature, uniform, bonus): (f32, f32, f32),
    token: &'static [i32],
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed([]), move |_, _| {
        let nodes = token.len();
        let item = Item {
            token: token.to_vec(),
            parent: vec![-1; nodes],
            logits: logits.repeat(nodes + 1),
        };
        let mut whole = Draft::new(4, vec![item]);
        whole.sampling = Some(Sampling {
            temperature,
            draft: Some(draft.repeat(nodes + 1)),
            uniform: vec![uniform; nodes],
            bonus_uniform: vec![bonus],
        });
        Some(whole.call())
    })
    .at("sampling")
    .ops(&["sample"])
}

fn samples() -> Vec<Check> {
    vec![
        sample(
            "acceptance-ratio",
            "a child that the draft favours more than the target is accepted with p/q",
            // p = 0.1, 0.2, 0.3, 0.4.
            [1.0, 2.0, 3.0, 4.0].map(f64::ln),
            [0.7, 0.1, 0.1, 0.1],
            (1.0, 0.5, 0.9),
            &[0],
        ),
        sample(
            "what-is-left",
            "after a rejection the draft's share is taken out of the target's",
            // p = 0.1, 0.2, 0.3, 0.4; left: 0, 0.1, 0.2, 0.3 of 0.6, so 0.1 draws token 1.
            [1.0, 2.0, 3.0, 4.0].map(f64::ln),
            [0.7, 0.1, 0.1, 0.1],
            (1.0, 0.5, 0.05),
            &[0],
        ),
        sample(
            "temperature-applied",
            "logits are divided by the temperature before the softmax",
            // What is left at 0.25 is the last token alone; at 1 the draw falls on the third.
            [0.0, 0.5, 0.2, 2.0],
            [0.97, 0.01, 0.01, 0.01],
            (0.25, 0.99, 0.2),
            &[0],
        ),
    ]
}
