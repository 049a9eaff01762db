//! The contract.

use crate::task::{CostModel, Level, Op, Parameter, Port, Size, Spec};

const fn port(
    name: &'static str,
    dtype: &'static str,
    shape: &'static [&'static str],
    meaning: &'static str,
) -> Port {
    Port {
        name,
        dtype,
        shape,
        optional: false,
        meaning,
    }
}

const fn optional(port: Port) -> Port {
    Port {
        optional: true,
        ..port
    }
}

const fn size(name: &'static str, meaning: &'static str) -> Size {
    Size { name, meaning }
}

const T: &[&str] = &["T"];
const B: &[&str] = &["B"];
const FLOATS: &str = "f32|f16|bf16";
const ITEMS: Size = size("B", "items");
const NODES: Size = size("T", "nodes of all items");
const VOCABULARY: Size = size("V", "logits in a row");
const STARTS: Port = port(
    "starts",
    "i32",
    &["B+1"],
    "item b has the nodes starts[b] to starts[b+1] − 1; nodes are numbered from 0 in each item",
);
const TOKEN: Port = port("token", "i32", T, "token of each node");
const PARENT: Port = port(
    "parent",
    "i32",
    T,
    "parent of each node in its item, an earlier one; −1: child of the last prompt token",
);
const LOGITS: Port = port(
    "logits",
    FLOATS,
    &["T+B", "V"],
    "the target's, item by item: the row after the prompt, then the row after each node",
);
const STOP: Port = optional(port("stop", "i32", &["S"], "tokens that end the text"));
const SLOTS: Port = optional(port("slots", "i32", T, "where each node lies in the cache"));
const NODE: Port = port(
    "node",
    "i32",
    T,
    "from starts[b] on: the accepted nodes of item b from the prompt down, then −1",
);
const ACCEPTED: Port = port("accepted", "i32", T, "their tokens, then −1");
const SLOT: Port = optional(port(
    "slot",
    "i32",
    T,
    "their slots, to be kept in this order, then −1; where slots are given",
));
const COUNT: Port = port("count", "i32", B, "how many nodes were accepted");
const BONUS: Port = port("bonus", "i32", B, "the token after them; −1: none");
const STATISTIC: &[&str] = &["P", "page", "Hkv"];
const PAGES: &[&str] = &["P", "page", "Hkv", "D or ⌈D/2⌉"];

/// `tree-verify`.
pub(super) static SPEC: Spec = Spec {
    name: "tree-verify",
    summary: "verification of drafted token trees: ancestor masks, attention, acceptance",
    formula: "\
sees(i, j)  ⇔  j = i, or j is an ancestor of i
o[i], lse[i] = attention of q[i] over all prefix tokens and the nodes that i sees
greedy: a ← the prompt; repeat: t ← argmax of a's row; accept the first child of a with token t and
        go on from it; where there is none, t is the bonus
sample: p ← softmax(a's row / temperature); for each child c of a in order, x its token:
        uniform[c]·q(x) < p(x): accept c and go on from it
        else p ← max(0, p − q), normalised
        all rejected: the bonus is the first token at which Σ p exceeds bonus_uniform",
    ops: &[
        Op {
            name: "accept",
            summary: "greedy: the walk that follows the greatest logits",
            sizes: &[ITEMS, NODES, VOCABULARY],
            parameters: &[],
            inputs: &[TOKEN, PARENT, STARTS, LOGITS, STOP, SLOTS],
            outputs: &[NODE, ACCEPTED, SLOT, COUNT, BONUS],
        },
        Op {
            name: "sample",
            summary: "the walk whose tokens have the target's distribution",
            sizes: &[ITEMS, NODES, VOCABULARY],
            parameters: &[Parameter {
                name: "temperature",
                kind: "float",
                default: None,
                meaning: "what logits are divided by; positive, exactly an f32",
            }],
            inputs: &[
                TOKEN,
                PARENT,
                STARTS,
                LOGITS,
                STOP,
                SLOTS,
                optional(port(
                    "draft",
                    "f32",
                    &["T+B", "V"],
                    "q: what the children after each row were drawn from; absent: the draft was \
                     certain of each child",
                )),
                port(
                    "uniform",
                    "f32",
                    T,
                    "the number each node is tried with, in [0, 1)",
                ),
                port(
                    "bonus_uniform",
                    "f32",
                    B,
                    "what the bonus is drawn with, in [0, 1)",
                ),
            ],
            outputs: &[NODE, ACCEPTED, SLOT, COUNT, BONUS],
        },
        Op {
            name: "mask",
            summary: "ancestors-or-self as bits",
            sizes: &[
                ITEMS,
                NODES,
                size("W", "words of a row: ⌈N/32⌉ of the largest item"),
            ],
            parameters: &[],
            inputs: &[PARENT, STARTS],
            outputs: &[
                port(
                    "mask",
                    "u32",
                    &["T", "W"],
                    "node i sees node j of its item: bit j mod 32 of word ⌊j/32⌋ of row i",
                ),
                port(
                    "depth",
                    "i32",
                    T,
                    "edges from a child of the prompt: 0 for that child",
                ),
            ],
        },
        Op {
            name: "attention",
            summary: "one query a node, over a paged prefix and the nodes behind it in the cache",
            sizes: &[
                ITEMS,
                NODES,
                size("Hq", "heads of q, a multiple of Hkv"),
                size("Hkv", "heads of k and v"),
                size("D", "length of a vector"),
                size("P", "pages"),
                size("page", "tokens of a page"),
                size("maxp", "entries of a row of the block table"),
            ],
            parameters: &[
                Parameter {
                    name: "scale",
                    kind: "float",
                    default: None,
                    meaning: "factor on q·k, exactly an f32",
                },
                Parameter {
                    name: "window",
                    kind: "int",
                    default: Some("no limit"),
                    meaning: "how many positions before its own a node sees; node i stands at \
                              prefix + depth(i)",
                },
            ],
            inputs: &[
                port("q", FLOATS, &["T", "Hq", "D"], "queries"),
                port(
                    "k_pages",
                    "f32|f16|bf16|i8|u8",
                    PAGES,
                    "as in paged-kv-attention",
                ),
                port("v_pages", "f32|f16|bf16|i8|u8", PAGES, "likewise"),
                optional(port("k_scale", "f16", STATISTIC, "likewise")),
                optional(port("v_scale", "f16", STATISTIC, "likewise")),
                optional(port("k_zero", "f16", STATISTIC, "likewise")),
                optional(port("v_zero", "f16", STATISTIC, "likewise")),
                port("block_table", "i32", &["B", "maxp"], "likewise"),
                port(
                    "seq_len",
                    "i32",
                    B,
                    "tokens in the cache: the prefix, then the nodes of the item in their order",
                ),
                PARENT,
                STARTS,
            ],
            outputs: &[
                port("o", "as q", &["T", "Hq", "D"], "Σⱼ p·v"),
                port("lse", "f32", &["T", "Hq"], "log Σⱼ exp(s), natural"),
            ],
        },
    ],
    conventions: &[
        "Argmax: the lower token of equal ones.",
        "Of siblings with the same token the first is accepted.",
        "Results do not depend on how nodes are numbered, as long as parents come first.",
        "A stop token on the path is accepted and ends the walk: bonus −1.",
        "Query head h reads KV head ⌊h / (Hq/Hkv)⌋; the prefix is seen by every node.",
    ],
    odd_values: &[
        "Argmax skips NaN and −inf; a row with nothing finite yields no token: the walk stops there \
         and the bonus is −1.",
        "An item without nodes: the bonus is the argmax of its one row.",
        "A parent that comes later, or is the node itself, is refused.",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "greedy acceptance of trees",
        },
        Level {
            name: "ragged",
            meaning: "items of different sizes, some without nodes",
        },
        Level {
            name: "n-1024",
            meaning: "1024 nodes",
        },
        Level {
            name: "16-bit",
            meaning: "logits in f16 and bf16",
        },
        Level {
            name: "stop-tokens",
            meaning: "stop tokens on the path",
        },
        Level {
            name: "slots",
            meaning: "the slots to keep",
        },
        Level {
            name: "mask",
            meaning: "ancestor masks",
        },
        Level {
            name: "attention",
            meaning: "tree attention over 16-bit pages",
        },
        Level {
            name: "window",
            meaning: "tree attention with a window, by depth",
        },
        Level {
            name: "sampling",
            meaning: "sampling acceptance",
        },
    ],
    cost: CostModel {
        bytes: "accept, sample: the rows on the path once, at least one an item; attention: q, the \
                cache's tokens, o and lse once",
        flops: "attention: 4·D a query, head and token it sees",
        workspace: "accept, sample: V f32 an item; attention: 256·(D + 2) bytes a query and head",
    },
};
