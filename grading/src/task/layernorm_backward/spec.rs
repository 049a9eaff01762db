//! The contract.

use crate::task::{CostModel, Level, Op, Parameter, Port, Size, Spec};

/// `layernorm-backward`.
pub(super) static SPEC: Spec = Spec {
    name: "layernorm-backward",
    summary: "gradients of LayerNorm and RMSNorm from x, dy and the statistics that forward saved",
    formula: "\
x̂[r,d]   = (x[r,d] − mean[r]) · rstd[r]                       (RMSNorm: mean 0)
g[r,d]    = dy[r,d] · gamma[d]                                (gamma absent: 1)
c1[r]     = Σ_d g[r,d] / D                                    (RMSNorm: 0)
c2[r]     = Σ_d g[r,d]·x̂[r,d] / D
dx[r,d]   = rstd[r] · (g[r,d] − c1[r] − x̂[r,d]·c2[r])  (+ residual[r,d])
dgamma[d] = Σ_r dy[r,d]·x̂[r,d]
dbeta[d]  = Σ_r dy[r,d]",
    ops: &[Op {
        name: "layernorm-backward",
        summary: "x̂ is recomputed; of the forward pass only mean and rstd are read",
        sizes: &[
            Size {
                name: "R",
                meaning: "rows, each normalised by itself",
            },
            Size {
                name: "D",
                meaning: "elements of a row",
            },
        ],
        parameters: &[Parameter {
            name: "eps",
            kind: "float",
            default: Some("1e-5"),
            meaning: "what forward added to the variance; it is in rstd already",
        }],
        inputs: &[
            Port {
                name: "x",
                dtype: "f32|f16|bf16",
                shape: &["R", "D"],
                optional: false,
                meaning: "what forward normalised",
            },
            Port {
                name: "dy",
                dtype: "as x",
                shape: &["R", "D"],
                optional: false,
                meaning: "the gradient of its result",
            },
            Port {
                name: "gamma",
                dtype: "as x",
                shape: &["D"],
                optional: true,
                meaning: "the scale; absent: ones",
            },
            Port {
                name: "mean",
                dtype: "f32",
                shape: &["R"],
                optional: true,
                meaning: "as forward saved it; absent: RMSNorm",
            },
            Port {
                name: "rstd",
                dtype: "f32",
                shape: &["R"],
                optional: false,
                meaning: "1/√(variance + eps), or 1/√(mean square + eps), as forward saved it",
            },
            Port {
                name: "residual",
                dtype: "as x",
                shape: &["R", "D"],
                optional: true,
                meaning: "the gradient of a residual connection, added to dx",
            },
        ],
        outputs: &[
            Port {
                name: "dx",
                dtype: "as x",
                shape: &["R", "D"],
                optional: false,
                meaning: "the gradient of x",
            },
            Port {
                name: "dgamma",
                dtype: "f32",
                shape: &["D"],
                optional: false,
                meaning: "the gradient of gamma, also where gamma is absent",
            },
            Port {
                name: "dbeta",
                dtype: "f32",
                shape: &["D"],
                optional: true,
                meaning: "the gradient of beta; not asked for with RMSNorm",
            },
        ],
    }],
    conventions: &[
        "mean and rstd are inputs and exact: an error of the forward pass is not charged here.",
        "x̂ is formed by subtracting first: x·rstd − mean·rstd loses |mean|/σ units.",
        "Sums are f32 whatever the type of x; dgamma and dbeta are not one long chain of additions.",
    ],
    odd_values: &[
        "A NaN in x, dy, gamma, mean or rstd makes NaN of every output that depends on it.",
        "Infinities are not sent.",
        "D = 1: x̂ is 0 and dx is 0 (LayerNorm).",
    ],
    levels: &[
        Level {
            name: "basic",
            meaning: "LayerNorm in f32, any D",
        },
        Level {
            name: "16-bit",
            meaning: "x, dy, gamma, dx in f16 and bf16",
        },
        Level {
            name: "rms",
            meaning: "RMSNorm",
        },
        Level {
            name: "residual",
            meaning: "the gradient of a residual connection is added",
        },
        Level {
            name: "wide",
            meaning: "D to 65,536",
        },
        Level {
            name: "tall",
            meaning: "R to a million with small D",
        },
        Level {
            name: "deterministic",
            meaning: "the same bits on every run, at many rows",
        },
    ],
    cost: CostModel {
        bytes: "every input once, every output once",
        flops: "13·R·D",
        workspace: "8·D bytes for each of min(R, 1056) partial sums of dgamma and dbeta",
    },
};
