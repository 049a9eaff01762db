//! The contract.

use crate::task::{CostModel, Level, Op, Parameter, Port, Size, Spec};

const BEAMS: &[&str] = &["B", "K"];

/// An input or output of one number for each beam.
const fn each(name: &'static str, dtype: &'static str, meaning: &'static str) -> Port {
    Port {
        name,
        dtype,
        shape: BEAMS,
        optional: false,
        meaning,
    }
}

/// `beam-search`.
pub(super) static SPEC: Spec = Spec {
    name: "beam-search",
    summary: "one step of beam search over a batch: the K best of each item's pool",
    formula: "\
per unfinished beam   logp = logits − lse(logits), its 2K best allowed tokens by logit
continuation          acc' = acc + logp     length' = length + 1     finished' = token ∈ eos
pool of an item       its finished beams as they are, and all continuations
kept                  the K best by score = acc/length^alpha, best first",
    ops: &[Op {
        name: "step",
        summary: "whole runs are made of it: the grader drives the model and hands each step's result \
                  to the next",
        sizes: &[
            Size {
                name: "B",
                meaning: "items of the batch",
            },
            Size {
                name: "K",
                meaning: "beams of an item",
            },
            Size {
                name: "V",
                meaning: "tokens",
            },
        ],
        parameters: &[
            Parameter {
                name: "alpha",
                kind: "float",
                default: Some("0"),
                meaning: "exponent of the length penalty: any finite f32; a length of 0 enters as 1",
            },
            Parameter {
                name: "eos",
                kind: "ints",
                default: Some("[]"),
                meaning: "tokens that end a beam",
            },
            Parameter {
                name: "count_eos",
                kind: "bool",
                default: Some("true"),
                meaning: "whether EOS counts in the length",
            },
            Parameter {
                name: "min_length",
                kind: "int",
                default: Some("0"),
                meaning: "EOS is not allowed to a beam with a smaller length",
            },
        ],
        inputs: &[
            Port {
                name: "logits",
                dtype: "f32|f16|bf16",
                shape: &["B", "K", "V"],
                optional: false,
                meaning: "after each beam's last token; rows of finished and absent beams hold \
                          anything",
            },
            each(
                "acc",
                "f32",
                "sums of log-probabilities; −inf where there is no beam",
            ),
            each("length", "i32", "generated tokens, without the prompt's"),
            each("finished", "u8", "1 where the beam has ended"),
        ],
        outputs: &[
            each(
                "parent",
                "i32",
                "the beam that is continued, or the finished one that is kept",
            ),
            each("token", "i32", "the token appended; −1 for a finished beam"),
            each("acc", "f32", "the raw sum"),
            each("length", "i32", "generated tokens"),
            each("finished", "u8", "1 where it has ended"),
            each("score", "f32", "acc/length^alpha"),
        ],
    }],
    conventions: &[
        "acc is the raw sum always; the score ranks and is reported, and never becomes the sum.",
        "Ties go to the lower parent, then to the lower token.",
        "A finished beam stays in the pool, with its length and sum, until K better ones push it out.",
        "At step 0 one beam of an item exists; the others have acc −inf and are not expanded.",
        "A token that is not allowed does not change the others' log-probabilities: they are those of \
         the full softmax.",
        "Parents count within their item: 0…K−1.",
    ],
    odd_values: &[
        "NaN and −inf logits are forbidden tokens: probability 0, never chosen. +inf is not sent.",
        "A beam without an allowed token drops out.",
        "Where a pool holds fewer than K: parent −1, token −1, acc and score −inf, length 0, finished \
         0 in the last ranks.",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "f32, alpha 0, EOS",
        },
        Level {
            name: "16-bit",
            meaning: "logits in f16 and bf16",
        },
        Level {
            name: "penalty",
            meaning: "any alpha, negative too",
        },
        Level {
            name: "eos-set",
            meaning: "several EOS tokens, EOS not counted",
        },
        Level {
            name: "min-length",
            meaning: "EOS not allowed before a length",
        },
        Level {
            name: "large",
            meaning: "V of tens of thousands and more, K above V, hundreds of beams",
        },
    ],
    cost: CostModel {
        bytes: "the logits once, 13 bytes a beam read, 21 written",
        flops: "4·B·K·V: subtract, exponential, add, compare",
        workspace: "256·(16·K + 8) bytes a beam: the best of 256 parts of its row; never B×K×V",
    },
};
