//! The contract.

use crate::task::attention::contract::{
    CU_K, CU_Q, DENSE_K, DENSE_Q, FLOATS, HEADS, PACKED_K, PACKED_Q, PARAMETERS, SEQUENCES, port,
};
use crate::task::{CostModel, Level, Op, Size, Spec};

const O: &str = "Σⱼ p·v";
const LSE: &str = "log Σⱼ exp(s), natural";

/// `flash-attention-forward`.
pub(super) static SPEC: Spec = Spec {
    name: "flash-attention-forward",
    summary: "softmax(scale·q·kᵀ)·v and the log of its normalisers, without the matrix of scores",
    formula: "\
s[i,j] = scale·q[i]·k[j]                    (softcap c: s ← c·tanh(s/c))
lse[i] = ln Σⱼ exp(s[i,j])                  over the keys j that query i sees
o[i]   = Σⱼ exp(s[i,j] − lse[i])·v[j]
In tiles, with m the maximum so far, l and o unnormalised:
m' = max(m, maxⱼ s);  l ← l·exp(m − m') + Σⱼ exp(s − m');  o ← o·exp(m − m') + Σⱼ exp(s − m')·v[j]",
    ops: &[
        Op {
            name: "forward",
            summary: "a batch of sequences of equal lengths",
            sizes: &[
                SEQUENCES,
                HEADS[0],
                HEADS[1],
                HEADS[2],
                Size {
                    name: "Nq",
                    meaning: "queries of a sequence",
                },
                Size {
                    name: "Nk",
                    meaning: "keys of a sequence",
                },
            ],
            parameters: PARAMETERS,
            inputs: &[
                port("q", FLOATS, DENSE_Q, "queries"),
                port("k", "as q", DENSE_K, "keys"),
                port("v", "as q", DENSE_K, "values"),
            ],
            outputs: &[
                port("o", "as q", DENSE_Q, O),
                port("lse", "f32", &["B", "Hq", "Nq"], LSE),
            ],
        },
        Op {
            name: "forward-packed",
            summary: "sequences of different lengths, end to end",
            sizes: &[
                SEQUENCES,
                HEADS[0],
                HEADS[1],
                HEADS[2],
                Size {
                    name: "Tq",
                    meaning: "queries of all sequences",
                },
                Size {
                    name: "Tk",
                    meaning: "keys of all sequences",
                },
            ],
            parameters: PARAMETERS,
            inputs: &[
                port("q", FLOATS, PACKED_Q, "queries"),
                port("k", "as q", PACKED_K, "keys"),
                port("v", "as q", PACKED_K, "values"),
                CU_Q,
                CU_K,
            ],
            outputs: &[
                port("o", "as q", PACKED_Q, O),
                port("lse", "f32", &["Tq", "Hq"], LSE),
            ],
        },
    ],
    conventions: &[
        "Query head h reads KV head ⌊h / (Hq/Hkv)⌋.",
        "causal and window are aligned bottom-right: query i stands at position i + Nk − Nq, in a \
         packed sequence by its own lengths.",
        "Scores, maximum, sum and lse are f32 whatever the type of q; the probabilities may be \
         rounded to the type of q before they meet v.",
        "What a query does not see is not read for it: NaN there never reaches its o or lse.",
    ],
    odd_values: &[
        "A query that sees nothing: o = 0, lse = −inf.",
        "A NaN score, or +inf, among those a query sees: its o and lse are NaN.",
        "NaN in v of a key that a query sees: that component of its o is NaN.",
        "A sequence may have no queries or no keys.",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "f32, D 32 and 64, causal or not, Nq ≠ Nk",
        },
        Level {
            name: "16-bit",
            meaning: "f16 and bf16",
        },
        Level {
            name: "head-sizes",
            meaning: "D 96, 128 and 256",
        },
        Level {
            name: "gqa",
            meaning: "several query heads read one KV head",
        },
        Level {
            name: "window",
            meaning: "window_left, window_right",
        },
        Level {
            name: "softcap",
            meaning: "softcap",
        },
        Level {
            name: "variable-length",
            meaning: "forward-packed",
        },
    ],
    cost: CostModel {
        bytes: "q, k, v read once, o and lse written once",
        flops: "4·D a pair of a query and a key that it sees",
        workspace: "64·(D + 2) bytes a query and head (16 parts of the keys): O(N), never N×N",
    },
};
