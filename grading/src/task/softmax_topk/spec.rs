//! The contract.

use crate::task::{CostModel, Level, Op, Parameter, Port, Size, Spec};

/// `softmax-topk`.
pub(super) static SPEC: Spec = Spec {
    name: "softmax-topk",
    summary: "softmax of each row of logits, and its K most probable entries",
    formula: "\
s[r,i] = logits[r,i] / temperature          (masked: −inf)
m[r]   = max_i s[r,i]
l[r]   = Σ_i exp(s[r,i] − m[r])
lse[r] = m[r] + ln l[r]
index[r,·] = the K greatest logits of the row, greatest first, equal ones by lower index
prob[r,j]  = exp(s[r,index[r,j]] − m[r]) / l[r]",
    ops: &[Op {
        name: "softmax-topk",
        summary: "one pass over the logits; nothing of size R×V is written",
        sizes: &[
            Size {
                name: "R",
                meaning: "rows",
            },
            Size {
                name: "V",
                meaning: "logits in a row",
            },
            Size {
                name: "K",
                meaning: "entries returned for each row; the width of the outputs",
            },
        ],
        parameters: &[
            Parameter {
                name: "K",
                kind: "int",
                default: None,
                meaning: "as the size K: 1 to V",
            },
            Parameter {
                name: "temperature",
                kind: "float",
                default: Some("1"),
                meaning: "what logits are divided by; positive, exactly an f32",
            },
        ],
        inputs: &[
            Port {
                name: "logits",
                dtype: "f32|f16|bf16",
                shape: &["R", "V"],
                optional: false,
                meaning: "the logits",
            },
            Port {
                name: "mask",
                dtype: "u8",
                shape: &["R", "V"],
                optional: true,
                meaning: "not 0: the logit counts as −inf, whatever stands there",
            },
            Port {
                name: "row_k",
                dtype: "i32",
                shape: &["R"],
                optional: true,
                meaning: "a K of its own for each row, 1 to K; ranks from there on hold index −1, \
                          prob 0",
            },
        ],
        outputs: &[
            Port {
                name: "prob",
                dtype: "f32",
                shape: &["R", "K"],
                optional: false,
                meaning: "probabilities of the full softmax, not renormalised over the K",
            },
            Port {
                name: "index",
                dtype: "i32",
                shape: &["R", "K"],
                optional: false,
                meaning: "where they stand in the row",
            },
            Port {
                name: "lse",
                dtype: "f32",
                shape: &["R"],
                optional: false,
                meaning: "log Σ exp of the scaled logits",
            },
        ],
    }],
    conventions: &[
        "The order is that of the logits: exact at temperature 1; at others distinct logits may \
         become equal once scaled, and then either order is right.",
        "Equal logits keep the order of their indices, lower first; −0 and +0 are equal.",
        "prob is formed from s − m, never from s − lse: at logits of 10⁴ the f32 lse has lost \
         three digits.",
        "Statistics are f32 whatever the type of the logits.",
    ],
    odd_values: &[
        "A NaN or +inf in a row (not masked): its prob and lse are NaN, its indices −1.",
        "A row of −inf only (or all masked): prob 0, lse −inf, index 0…K−1.",
        "A −inf among numbers: probability exactly 0, ranked behind every number, by lower index.",
        "K above V is refused.",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "f32, K to 32, rows of thousands",
        },
        Level {
            name: "16-bit",
            meaning: "logits in f16 and bf16",
        },
        Level {
            name: "k-256",
            meaning: "K to 256",
        },
        Level {
            name: "k-1024",
            meaning: "K to 1024",
        },
        Level {
            name: "long-rows",
            meaning: "V to 262,144",
        },
        Level {
            name: "per-row-k",
            meaning: "a K for each row",
        },
        Level {
            name: "mask",
            meaning: "masked logits",
        },
        Level {
            name: "one-read",
            meaning: "the logits are read exactly once (counted)",
        },
    ],
    cost: CostModel {
        bytes: "the logits (and mask, row_k) once, 4·R·(2K + 1) written",
        flops: "4·R·V: subtract, exponential, add, compare",
        workspace: "256·(8·K + 8) bytes a row: partial results of 256 parts of a row; never R×V",
    },
};
