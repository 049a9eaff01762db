//! The contract.

use crate::task::attention::contract::{
    CU_K, CU_Q, DENSE_K, DENSE_Q, FLOATS, HEADS, PACKED_K, PACKED_Q, PARAMETERS, SEQUENCES, port,
};
use crate::task::{CostModel, Level, Op, Size, Spec};

const LSE: &str = "the forward pass's log-sum-exp, natural; −inf where a query sees nothing";

/// `flash-attention-backward`.
pub(super) static SPEC: Spec = Spec {
    name: "flash-attention-backward",
    summary: "gradients of Σ do∘o with respect to q, k and v; P is recomputed from lse",
    formula: "\
s[i,j]  = scale·q[i]·k[j]                   (softcap c: s ← c·tanh(s/c), with derivative 1 − tanh²)
p[i,j]  = exp(s[i,j] − lse[i])              over the pairs that the masks leave
D[i]    = Σ_c do[i,c]·o[i,c]
dp[i,j] = do[i]·v[j]
ds[i,j] = p[i,j]·(dp[i,j] − D[i])           (times the softcap's derivative)
dq[i]   = scale·Σⱼ ds[i,j]·k[j]
dk[j]   = scale·Σᵢ ds[i,j]·q[i]             over all query heads of the group
dv[j]   = Σᵢ p[i,j]·do[i]                   over all query heads of the group",
    ops: &[
        Op {
            name: "backward",
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
                port(
                    "o",
                    "as q",
                    DENSE_Q,
                    "the forward pass's output, as it was rounded",
                ),
                port("lse", "f32", &["B", "Hq", "Nq"], LSE),
                port("do", "as q", DENSE_Q, "gradient of o"),
            ],
            outputs: &[
                port("dq", "as q", DENSE_Q, "gradient of q"),
                port("dk", "as q", DENSE_K, "gradient of k"),
                port("dv", "as q", DENSE_K, "gradient of v"),
            ],
        },
        Op {
            name: "backward-packed",
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
                port(
                    "o",
                    "as q",
                    PACKED_Q,
                    "the forward pass's output, as it was rounded",
                ),
                port("lse", "f32", &["Tq", "Hq"], LSE),
                port("do", "as q", PACKED_Q, "gradient of o"),
                CU_Q,
                CU_K,
            ],
            outputs: &[
                port("dq", "as q", PACKED_Q, "gradient of q"),
                port("dk", "as q", PACKED_K, "gradient of k"),
                port("dv", "as q", PACKED_K, "gradient of v"),
            ],
        },
    ],
    conventions: &[
        "Query head h reads KV head ⌊h / (Hq/Hkv)⌋; dk and dv of a KV head are sums over the query \
         heads that read it.",
        "causal and window are aligned bottom-right: query i stands at position i + Nk − Nq, in a \
         packed sequence by its own lengths.",
        "o and lse are inputs: what is right is the formula at these numbers, however they were \
         rounded.",
        "P and dS may be rounded to the type of q before they meet do, q and k; sums are f32.",
        "What a query does not see is not read for it: NaN there never reaches its dq, nor does \
         such a query reach the gradients of that key.",
    ],
    odd_values: &[
        "A query that sees nothing (lse −inf): its dq is 0 and it adds nothing to dk and dv.",
        "A key that no query sees: its dk and dv are 0.",
        "A NaN in what a query sees, or in its do: NaN in its dq and in the gradients of the keys \
         it sees.",
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
            meaning: "backward-packed",
        },
    ],
    cost: CostModel {
        bytes: "q, k, v, o, lse, do read once, dq, dk, dv written once",
        flops: "10·D a pair of a query and a key that it sees",
        workspace: "the greater of 4·(D + 2) bytes a query and head and a fifth of one f32 Nq×Nk \
                    matrix of the longest sequence",
    },
};
