//! The contract.

use crate::task::{CostModel, Level, Op, Parameter, Port, Size, Spec};

const N: Size = Size {
    name: "N",
    meaning: "rows of the weights",
};
const K: Size = Size {
    name: "K",
    meaning: "columns of the weights, a multiple of 128",
};
const M: Size = Size {
    name: "M",
    meaning: "rows of x",
};
const BLOCK: Size = Size {
    name: "BLOCK",
    meaning: "bytes of a packed group: 34 in two-bit packing, 28 in base-3",
};
const PACKING: Parameter = Parameter {
    name: "packing",
    kind: "text",
    default: None,
    meaning: "`two-bit` or `base-3`",
};
const PACKED: Port = Port {
    name: "packed",
    dtype: "u8",
    shape: &["N", "K/128", "BLOCK"],
    optional: false,
    meaning: "the packed weights",
};
const W: Port = Port {
    name: "W",
    dtype: "f32|f16|bf16",
    shape: &["N", "K"],
    optional: false,
    meaning: "dense weights, finite",
};
const X: Port = Port {
    name: "x",
    dtype: "f32|f16|bf16",
    shape: &["M", "K"],
    optional: false,
    meaning: "activations, finite",
};
const LATENT: Port = Port {
    name: "W",
    dtype: "f32",
    shape: &["N", "K"],
    optional: true,
    meaning: "the dense weights that Ŵ is the quantisation of, as a step of training has them at \
              hand; dW does not depend on them",
};
const DY: Port = Port {
    name: "dy",
    dtype: "f32|f16|bf16",
    shape: &["M", "N"],
    optional: false,
    meaning: "the gradient of y, finite",
};

/// `ternary-matmul`.
pub(super) static SPEC: Spec = Spec {
    name: "ternary-matmul",
    summary: "ternary weights: quantised, packed, multiplied with, and trained straight through",
    formula: "\
Ŵ[n,k] = d[n,g]·t[n,k]        g = ⌊k/128⌋   t ∈ {−1, 0, +1}   d an f16 scale, not negative
quantise         d = f16(mean |W| of the group);  t = clamp(round_half_even(W/d), −1, 1);  d = 0: t = 0
forward          y  = x·Ŵᵀ    [M,N]
input-gradient   dx = dy·Ŵ    [M,K]
weight-gradient  dW = dyᵀ·x   [N,K]     straight through: identity, no clip, d a constant
quantise-forward quantise, then forward with its result
embed            rows of Ŵ by token

two-bit  { f16 d; u8 qs[32] }   code[j] = (qs[j/4] >> 2(j%4)) & 3        34 bytes
base-3   { f16 d; u8 qs[26] }   code[j] = (qs[j/5] / 3^(j%5)) mod 3      28 bytes
weight = (code − 1)·d",
    ops: &[
        Op {
            name: "forward",
            summary: "y = x·Ŵᵀ from packed weights",
            sizes: &[M, N, K, BLOCK],
            parameters: &[PACKING],
            inputs: &[X, PACKED],
            outputs: &[Port {
                name: "y",
                dtype: "as x",
                shape: &["M", "N"],
                optional: false,
                meaning: "the product",
            }],
        },
        Op {
            name: "input-gradient",
            summary: "dx = dy·Ŵ from packed weights",
            sizes: &[M, N, K, BLOCK],
            parameters: &[PACKING],
            inputs: &[DY, PACKED],
            outputs: &[Port {
                name: "dx",
                dtype: "as dy",
                shape: &["M", "K"],
                optional: false,
                meaning: "the gradient of x",
            }],
        },
        Op {
            name: "weight-gradient",
            summary: "dW = dyᵀ·x: the quantiser is the identity to gradients",
            sizes: &[M, N, K],
            parameters: &[],
            inputs: &[DY, X, LATENT],
            outputs: &[Port {
                name: "dW",
                dtype: "f32",
                shape: &["N", "K"],
                optional: false,
                meaning: "the gradient of the dense weights",
            }],
        },
        Op {
            name: "quantise-forward",
            summary: "dense weights to packed ones, and y = x·Ŵᵀ with those: a step of training in one",
            sizes: &[M, N, K, BLOCK],
            parameters: &[PACKING],
            inputs: &[
                X,
                Port {
                    dtype: "f32",
                    ..W
                },
            ],
            outputs: &[
                Port {
                    name: "y",
                    dtype: "as x",
                    shape: &["M", "N"],
                    optional: false,
                    meaning: "the product with the weights that are returned",
                },
                PACKED,
            ],
        },
        Op {
            name: "quantise",
            summary: "dense weights to packed ones, by the mean of their magnitudes",
            sizes: &[N, K, BLOCK],
            parameters: &[PACKING],
            inputs: &[W],
            outputs: &[PACKED],
        },
        Op {
            name: "pack-exact",
            summary: "dense weights that are ternary already to packed ones, exactly",
            sizes: &[N, K, BLOCK],
            parameters: &[PACKING],
            inputs: &[W],
            outputs: &[PACKED],
        },
        Op {
            name: "embed",
            summary: "rows of Ŵ by token",
            sizes: &[
                Size {
                    name: "L",
                    meaning: "tokens",
                },
                N,
                K,
                BLOCK,
            ],
            parameters: &[PACKING],
            inputs: &[
                Port {
                    name: "tokens",
                    dtype: "i32",
                    shape: &["L"],
                    optional: false,
                    meaning: "rows to take, each in 0…N−1",
                },
                PACKED,
            ],
            outputs: &[Port {
                name: "rows",
                dtype: "f32|f16|bf16",
                shape: &["L", "K"],
                optional: false,
                meaning: "the rows, in the type that is asked for",
            }],
        },
    ],
    conventions: &[
        "Groups of 128 run along K; scales are f16, little-endian, in front of their group's codes.",
        "quantise divides W by the scale after it was rounded to f16; exact halves go to even, so \
         |W/d| = ½ is 0.",
        "quantise of its own result is not the identity (the mean of |d·t| is less than d); \
         pack-exact is for weights each group of which holds −d, 0 and +d only.",
        "Code 3 and base-3 bytes above 242 are reserved; the two digits that the last base-3 byte of \
         a group has no weights for are 0.",
        "The gradient is cut nowhere, neither where |W| > 1 nor where |W/d| > 1, and the scale is a \
         constant to it: dW is dyᵀ·x whatever W is. W comes along in some calls, for whoever would \
         like to make use of it.",
        "quantise-forward: y is the product with the packed weights of the same answer, whose scales \
         are f16; where f32 may round a weight to either side y goes with the one that was packed.",
    ],
    odd_values: &[
        "Weights, activations and gradients are finite.",
        "A group of zeros: scale 0, every t 0 (code 1), and no NaN anywhere.",
        "K that is no multiple of 128 is refused by quantise, pack-exact and quantise-forward.",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "forward from two-bit weights, x in f32, small M",
        },
        Level {
            name: "base-3",
            meaning: "forward from base-3 weights",
        },
        Level {
            name: "16-bit",
            meaning: "x and dy in f16 and bf16",
        },
        Level {
            name: "large-m",
            meaning: "M in the hundreds",
        },
        Level {
            name: "gradients",
            meaning: "input-gradient and weight-gradient",
        },
        Level {
            name: "quantise",
            meaning: "quantise and pack-exact, in both packings",
        },
        Level {
            name: "fused",
            meaning: "quantise-forward, in both packings and all types of x",
        },
        Level {
            name: "embed",
            meaning: "rows of packed weights by token",
        },
    ],
    cost: CostModel {
        bytes: "the packed weights once, x and y once",
        flops: "2·M·N·K",
        workspace: "the packed weights once more, in the layout that the kernels like, and 4 KiB",
    },
};
