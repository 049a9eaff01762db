//! `ternary-matmul`; `touchstone explain ternary-matmul` prints the contract and the packings.

use super::macros::{inputs, outputs, task};
use super::{Asked, Floats, Numbers, View};

inputs! {
    /// For y = x·Ŵᵀ.
    Forward<'a> {
        /// Rows of x.
        m: usize = "M",
        /// Rows of the weights.
        n: usize = "N",
        /// Columns of the weights.
        k: usize = "K",
        /// Bytes of a packed group.
        block: usize = "BLOCK",
        /// `two-bit` or `base-3`.
        packing: &'a str = "packing",
        /// `[M, K]`.
        x: Floats<'a> = "x",
        /// `[N, K/128, BLOCK]`.
        packed: View<'a, u8> = "packed",
    }
}

inputs! {
    /// For dx = dy·Ŵ.
    InputGradient<'a> {
        /// Rows of dy.
        m: usize = "M",
        /// Rows of the weights.
        n: usize = "N",
        /// Columns of the weights.
        k: usize = "K",
        /// Bytes of a packed group.
        block: usize = "BLOCK",
        /// `two-bit` or `base-3`.
        packing: &'a str = "packing",
        /// `[M, N]`.
        dy: Floats<'a> = "dy",
        /// `[N, K/128, BLOCK]`.
        packed: View<'a, u8> = "packed",
    }
}

inputs! {
    /// For dW = dyᵀ·x.
    WeightGradient<'a> {
        /// Rows of dy and x.
        m: usize = "M",
        /// Rows of the weights.
        n: usize = "N",
        /// Columns of the weights.
        k: usize = "K",
        /// `[M, N]`.
        dy: Floats<'a> = "dy",
        /// `[M, K]`.
        x: Floats<'a> = "x",
        /// `[N, K]`: the dense weights, in some calls. dW does not depend on them.
        w: Option<View<'a, f32>> = "W",
    }
}

inputs! {
    /// Dense weights to be packed, and activations to be multiplied with them.
    DenseForward<'a> {
        /// Rows of x.
        m: usize = "M",
        /// Rows of the weights.
        n: usize = "N",
        /// Columns of the weights.
        k: usize = "K",
        /// Bytes of a packed group.
        block: usize = "BLOCK",
        /// `two-bit` or `base-3`.
        packing: &'a str = "packing",
        /// `[M, K]`.
        x: Floats<'a> = "x",
        /// `[N, K]`.
        w: View<'a, f32> = "W",
    }
}

inputs! {
    /// Dense weights to be packed.
    Dense<'a> {
        /// Rows.
        n: usize = "N",
        /// Columns.
        k: usize = "K",
        /// Bytes of a packed group.
        block: usize = "BLOCK",
        /// `two-bit` or `base-3`.
        packing: &'a str = "packing",
        /// `[N, K]`.
        w: Floats<'a> = "W",
    }
}

inputs! {
    /// Tokens to be looked up.
    Embed<'a> {
        /// Tokens.
        l: usize = "L",
        /// Rows of the weights.
        n: usize = "N",
        /// Columns of the weights.
        k: usize = "K",
        /// Bytes of a packed group.
        block: usize = "BLOCK",
        /// `two-bit` or `base-3`.
        packing: &'a str = "packing",
        /// The type that the rows are asked for in.
        dtype: Asked = "rows",
        /// `[L]`.
        tokens: View<'a, i32> = "tokens",
        /// `[N, K/128, BLOCK]`.
        packed: View<'a, u8> = "packed",
    }
}

outputs! {
    /// The product.
    Product {
        /// `[M, N]`, as x.
        y: Numbers = "y",
    }
}

outputs! {
    /// The product, and the weights that it was made with.
    ProductAndPacked {
        /// `[M, N]`, as x.
        y: Numbers = "y",
        /// `[N, K/128, BLOCK]`.
        packed: Vec<u8> = "packed",
    }
}

outputs! {
    /// The gradient of x.
    OfInput {
        /// `[M, K]`, as dy.
        dx: Numbers = "dx",
    }
}

outputs! {
    /// The gradient of the dense weights.
    OfWeights {
        /// `[N, K]`.
        dw: Vec<f32> = "dW",
    }
}

outputs! {
    /// Packed weights.
    Packed {
        /// `[N, K/128, BLOCK]`.
        packed: Vec<u8> = "packed",
    }
}

outputs! {
    /// Rows of the weights.
    Rows {
        /// `[L, K]`, in the type that is asked for.
        rows: Numbers = "rows",
    }
}

task! {
    /// Ternary weights: quantised, packed, multiplied with, and trained straight through.
    TernaryMatmul = "ternary-matmul" {
        /// y = x·Ŵᵀ from packed weights.
        forward("forward"): Forward -> Product;
        /// dx = dy·Ŵ from packed weights.
        input_gradient("input-gradient"): InputGradient -> OfInput;
        /// dW = dyᵀ·x.
        weight_gradient("weight-gradient"): WeightGradient -> OfWeights;
        /// Dense weights to packed ones, and y = x·Ŵᵀ with those.
        quantise_forward("quantise-forward"): DenseForward -> ProductAndPacked;
        /// Dense weights to packed ones, by the mean of their magnitudes.
        quantise("quantise"): Dense -> Packed;
        /// Weights that are ternary already to packed ones, exactly.
        pack_exact("pack-exact"): Dense -> Packed;
        /// Rows of Ŵ by token.
        embed("embed"): Embed -> Rows;
    }
}
