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

const PAGES: &[&str] = &["P", "page", "Hkv", "D or ⌈D/2⌉"];
const VECTORS: &[&str] = &["P", "page", "Hkv"];
const STORED: &str = "f32|f16|bf16|i8|u8";
const K_PAGES: Port = port(
    "k_pages",
    STORED,
    PAGES,
    "keys: numbers; int8 codes; or two int4 codes a byte, the low nibble first",
);
const V_PAGES: Port = port("v_pages", STORED, PAGES, "values, stored as the keys");
const K_SCALE: Port = optional(port(
    "k_scale",
    "f16",
    VECTORS,
    "int8 and int4: scale of each token and head",
));
const V_SCALE: Port = optional(port("v_scale", "f16", VECTORS, "as k_scale"));
const K_ZERO: Port = optional(port(
    "k_zero",
    "f16",
    VECTORS,
    "int4: zero point of each token and head; value = (code − zero)·scale",
));
const V_ZERO: Port = optional(port("v_zero", "f16", VECTORS, "as k_zero"));
const TABLE: Port = port(
    "block_table",
    "i32",
    &["B", "maxp"],
    "the pages of each sequence, in order; entries behind its last page are padding and may be \
     anything",
);
const LENGTHS: Port = port(
    "seq_len",
    "i32",
    &["B"],
    "tokens of each sequence, 0 or more",
);
const SINKS: Port = optional(port(
    "sink_logits",
    "f32",
    &["Hq"],
    "a learned logit a query head, which joins the softmax and its lse and has no value",
));
const FLOATS: &str = "f32|f16|bf16";

const PARAMETERS: &[Parameter] = &[
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
        meaning: "how many keys before its own position a query sees, its own not counted",
    },
    Parameter {
        name: "sinks",
        kind: "int",
        default: Some("0"),
        meaning: "the first keys of a sequence that are seen whatever the window",
    },
    Parameter {
        name: "softcap",
        kind: "float",
        default: Some("none"),
        meaning: "s ← softcap·tanh(s/softcap) on the scaled score",
    },
];

const COMMON: [Size; 7] = [
    size("B", "sequences"),
    size("Hq", "heads of q, a multiple of Hkv"),
    size("Hkv", "heads of k and v"),
    size("D", "length of a vector"),
    size("P", "pages"),
    size("page", "tokens of a page"),
    size("maxp", "entries of a row of the block table"),
];

/// `paged-kv-attention`.
pub(super) static SPEC: Spec = Spec {
    name: "paged-kv-attention",
    summary: "attention over keys and values in pages, and appending to them",
    formula: "\
slot(b, t) = block_table[b, ⌊t/page⌋]·page + t mod page     token t of sequence b
s[i,j] = scale·q[i]·k[slot(b, j)]                           (softcap c: s ← c·tanh(s/c))
lse[i] = ln Σⱼ exp(s[i,j])           over the tokens j that query i sees (and exp(sink logit))
o[i]   = Σⱼ exp(s[i,j] − lse[i])·v[slot(b, j)]
int8: scale = f16(max|x|/127), code = clamp(round_half_even(x/scale), −127, 127)
int4: scale = f16((max − min)/15), zero = f16(−min/scale), code = clamp(round_half_even(x/scale + zero), 0, 15)",
    ops: &[
        Op {
            name: "decode",
            summary: "one query a sequence, at its last token",
            sizes: &COMMON,
            parameters: PARAMETERS,
            inputs: &[
                port("q", FLOATS, &["B", "Hq", "D"], "queries"),
                K_PAGES,
                V_PAGES,
                K_SCALE,
                V_SCALE,
                K_ZERO,
                V_ZERO,
                TABLE,
                LENGTHS,
                SINKS,
            ],
            outputs: &[
                port("o", "as q", &["B", "Hq", "D"], "Σⱼ p·v"),
                port("lse", "f32", &["B", "Hq"], "log Σⱼ exp(s), natural"),
            ],
        },
        Op {
            name: "prefill",
            summary: "a chunk of queries a sequence, the last at its last token; causal",
            sizes: &[
                COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], COMMON[5], COMMON[6],
                size("T", "queries of all sequences"),
            ],
            parameters: PARAMETERS,
            inputs: &[
                port("q", FLOATS, &["T", "Hq", "D"], "queries, end to end"),
                K_PAGES,
                V_PAGES,
                K_SCALE,
                V_SCALE,
                K_ZERO,
                V_ZERO,
                TABLE,
                LENGTHS,
                port(
                    "starts",
                    "i32",
                    &["B+1"],
                    "sequence b has the queries starts[b] to starts[b+1] − 1",
                ),
                SINKS,
            ],
            outputs: &[
                port("o", "as q", &["T", "Hq", "D"], "Σⱼ p·v"),
                port("lse", "f32", &["T", "Hq"], "log Σⱼ exp(s), natural"),
            ],
        },
        Op {
            name: "append",
            summary: "write tokens into slots, quantised as the pages are; what else the pages \
                      hold stays, bit for bit",
            sizes: &[
                size("N", "tokens that are appended"),
                COMMON[2],
                COMMON[3],
                COMMON[4],
                COMMON[5],
                size("positions", "rows of the tables; 0 without rotation"),
            ],
            parameters: &[Parameter {
                name: "rope_pairs",
                kind: "text",
                default: Some("no rotation"),
                meaning: "keys are rotated first: `half` turns component f with f + D/2, \
                          `interleaved` 2f with 2f + 1: (a, b) ← (a·cos − b·sin, b·cos + a·sin)",
            }],
            inputs: &[
                port("k", FLOATS, &["N", "Hkv", "D"], "new keys"),
                port("v", "as k", &["N", "Hkv", "D"], "new values"),
                port(
                    "slots",
                    "i32",
                    &["N"],
                    "where each goes: page·page_size + offset; no two alike",
                ),
                K_PAGES,
                V_PAGES,
                K_SCALE,
                V_SCALE,
                K_ZERO,
                V_ZERO,
                optional(port("cos", "f32", &["positions", "D/2"], "table of cosines")),
                optional(port("sin", "f32", &["positions", "D/2"], "table of sines")),
                optional(port("position", "i32", &["N"], "a row of the tables for each token")),
            ],
            outputs: &[
                port("k_pages", "as k_pages", PAGES, "the keys afterwards"),
                port("v_pages", "as v_pages", PAGES, "the values afterwards"),
                optional(port("k_scale", "f16", VECTORS, "likewise")),
                optional(port("v_scale", "f16", VECTORS, "likewise")),
                optional(port("k_zero", "f16", VECTORS, "likewise")),
                optional(port("v_zero", "f16", VECTORS, "likewise")),
            ],
        },
    ],
    conventions: &[
        "Query head h reads KV head ⌊h / (Hq/Hkv)⌋.",
        "q need not be of the pages' type; o is of q's.",
        "Queries are causal and aligned with the end of their sequence: query i of n stands at \
         token seq_len − n + i.",
        "A scale is rounded to f16 before codes are made with it.",
        "int8: a vector of zeros has scale 0 and codes 0. int4: a constant vector has scale 1 and \
         zero point −x; so has a vector whose scale would round to 0, or whose zero point f16 \
         cannot hold (zero point −min). With an odd D the unused nibble is 0.",
        "Slots and pages that hold no token of a sequence are never read for it: they may hold NaN.",
    ],
    odd_values: &[
        "seq_len 0: o = 0, lse = −inf (with a sink logit: lse is that logit).",
        "NaN in what a query sees: NaN in its o and lse; in v: in that component of o.",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "decode over f16 pages of 16 tokens, D 64, one query head a KV head",
        },
        Level {
            name: "append",
            meaning: "append to f16 and bf16 pages",
        },
        Level {
            name: "gqa",
            meaning: "several query heads read one KV head, up to dozens of them, or all read one",
        },
        Level {
            name: "page-sizes",
            meaning: "pages of 1 to 256 tokens",
        },
        Level {
            name: "head-sizes",
            meaning: "D 128 and 256",
        },
        Level {
            name: "int8",
            meaning: "int8 pages, read and appended to",
        },
        Level {
            name: "int4",
            meaning: "int4 pages, read and appended to",
        },
        Level {
            name: "mixed-types",
            meaning: "q of any type over pages of any format, D of 1 to 256",
        },
        Level {
            name: "window",
            meaning: "window, with sinks",
        },
        Level {
            name: "softcap",
            meaning: "softcap",
        },
        Level {
            name: "learned-sinks",
            meaning: "sink_logits",
        },
        Level {
            name: "prefill",
            meaning: "chunked prefill",
        },
        Level {
            name: "rope",
            meaning: "append with rotation",
        },
    ],
    cost: CostModel {
        bytes: "q, the tokens' keys and values (scales too), the table's used entries read once; o \
                and lse written once",
        flops: "4·D a query, head and token it sees",
        workspace: "64 parts of each query and head: 256·(D + 2) bytes of them",
    },
};
