//! What the simplest rung of a family does, in closed form: operations, and bytes that its accesses to
//! device memory need. Made from the loops of the kernels, not from counts; tests hold the counts of
//! the machine against them, so that a counter that miscounts, and a kernel that does more than its
//! page says, are both found. The pages of the kernels state these formulas.
//!
//! Bytes that the lanes of a warp share in one access are one need; bytes that two accesses share are
//! two. Attention is without a mask here, and shapes are whole tiles of the plain kernels.

use super::ProfileError;
use crate::submission::{Call, Value};
use crate::tensor::{DType, Tensor};
use kernels_gpu::layernorm_backward as norm;
use kernels_host::layernorm_backward::{Plan, Rung, Shape};
use kernels_host::{Device as _, Vm};

/// Lanes of a warp, and the additions of a butterfly over them: five steps.
const LANES: u64 = 32;
const BUTTERFLY: u64 = 5 * LANES;
/// The same where one lane alone uses the sum: the compiler leaves the last step to it.
const TO_ONE_LANE: u64 = 4 * LANES + 1;
/// `exp(x − m)`: a difference, a product with log₂e, `ex2`.
const EXP: u64 = 3;
/// `m + ln l`, by one lane: `lg2`, a product, a sum.
const LSE: u64 = 3;

/// What a rung does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formula {
    /// The rung.
    pub rung: &'static str,
    /// Operations.
    pub operations: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Of the family's simplest rung; `None` where there is no formula for the call: what it does depends
/// on its numbers, or its shape is not whole.
///
/// # Errors
/// When the call lacks a size.
pub fn simplest(call: &Call) -> Result<Option<Formula>, ProfileError> {
    let sizes = Sizes(call);
    match (call.task, call.op) {
        ("layernorm-backward", _) => sizes.layernorm().map(Some),
        ("ternary-matmul", "forward") => sizes.ternary().map(Some),
        ("softmax-topk", _) => sizes.softmax(),
        ("paged-kv-attention", "decode") => sizes.decode(),
        ("flash-attention-forward", "forward") => sizes.forward(),
        ("flash-attention-backward", "backward") => sizes.backward(),
        _ => Ok(None),
    }
}

struct Sizes<'a>(&'a Call);

impl Sizes<'_> {
    fn get<const N: usize>(&self, names: [&str; N]) -> Result<[u64; N], ProfileError> {
        let mut sizes = [0; N];
        for (size, name) in sizes.iter_mut().zip(names) {
            let missing = || ProfileError::Size(format!("the call has no size {name}"));
            *size = self.0.sizes.get(name).copied().ok_or_else(missing)?;
        }
        Ok(sizes)
    }

    /// Bytes of an element of an input.
    fn size_of(&self, name: &str) -> u64 {
        self.0.input(name).map_or(0, |t| t.dtype().bytes() as u64)
    }

    /// Two passes, an element an access.
    ///
    /// ```text
    /// means     an element: x̂ 2, g 1, Σg 1, Σg·x̂ 2; a row: two sums to one lane of each warp, from
    ///           there by all warps to one thread of the block; 1/D, and two products with it
    /// columns   an element: x̂ 2, −x̂ 1, dγ 2, dβ 1, dx 1 + 1 + 2 + 1
    /// finish    of dγ and of dβ: each share once, and the warps' sums
    /// ```
    fn layernorm(&self) -> Result<Formula, ProfileError> {
        let [rows, width] = self.get(["R", "D"])?;
        let shape = Shape {
            rows: rows as usize,
            width: width as usize,
        };
        let machine = Vm::new().limits();
        let plan = match self.0.input("x").map(Tensor::dtype) {
            Some(DType::F16) => Plan::with_rung::<half::f16>(shape, Rung::TwoPassAny, machine),
            Some(DType::Bf16) => Plan::with_rung::<half::bf16>(shape, Rung::TwoPassAny, machine),
            _ => Plan::with_rung::<f32>(shape, Rung::TwoPassAny, machine),
        };
        let shares = u64::from(plan.shares);
        let warps = u64::from(norm::THREADS) / LANES;
        let row = 2 * warps * (TO_ONE_LANE + 4 * LANES) + 2 + 3;
        let finish = 2 * width * (shares + u64::from(norm::FINISH_WARPS));
        let size = self.size_of("x");
        let elements = rows * width;
        // Of each row every warp asks for its mean, those with columns for rstd; c₁ and c₂ are
        // written once.
        let of_columns = width.div_ceil(LANES);
        let means = 3 * size * elements + 4 * (warps + warps.min(of_columns)) * rows + 8 * rows;
        // Of each row every warp with columns asks for mean, rstd, c₁ and c₂; γ once a share.
        let columns = 3 * size * elements
            + 16 * of_columns * rows
            + size * width * shares
            + 8 * width * shares;
        Ok(Formula {
            rung: "TwoPassAny",
            operations: (6 + 11) * elements + row * rows + finish,
            bytes: means + columns + 8 * width * shares + 8 * width,
        })
    }

    /// A warp a row: every logit once.
    ///
    /// ```text
    /// a logit     −0 made 0 for the order 1; the scale 1; the greater of two 1; both sums brought to it 2·EXP + 1; their sum 1
    /// a row       five steps of the same without the scale, a product more each; k probabilities of
    ///             a scale, EXP, 1/l and a product; lse
    /// ```
    fn softmax(&self) -> Result<Option<Formula>, ProfileError> {
        let [rows, vocabulary, k] = self.get(["R", "V", "K"])?;
        // A lane without a logit merges nothing.
        if k > LANES || vocabulary < LANES || self.0.input("mask").is_some() {
            return Ok(None);
        }
        let logit = 1 + 1 + 1 + (EXP + 1) + EXP + 1;
        let step = 1 + 2 * (EXP + 1) + 1;
        let row = 5 * LANES * step + k * (1 + EXP + 1 + 1) + LSE;
        Ok(Some(Formula {
            rung: "Warp",
            operations: rows * (vocabulary * logit + row),
            bytes: rows * (vocabulary * self.size_of("logits") + 8 * k + 4),
        }))
    }

    /// A warp a row of weights and a row of x.
    ///
    /// ```text
    /// a group     a lane: a product, 3 fma, the scale doubled, an fma with it
    /// an element  a sum to one lane
    /// ```
    fn ternary(&self) -> Result<Formula, ProfileError> {
        let [m, n, k] = self.get(["M", "N", "K"])?;
        let (groups, size) = (k / 128, self.size_of("x"));
        Ok(Formula {
            rung: "OneRow",
            operations: m * n * (groups * LANES * (1 + 3 * 2 + 1 + 2) + TO_ONE_LANE),
            // Codes 32 bytes, a scale 2.
            bytes: m * n * (groups * (32 + 2 + 128 * size) + size),
        })
    }

    /// A warp a query and head, key by key.
    ///
    /// ```text
    /// a key    q·k 2·D and a butterfly; a lane: the scale 1, m' 1, two EXP, l 2; o 3·D
    /// a row    a lane: 1/c of the softcap, wanted or not; 1/l, times the weight of a sink; o·1/l D;
    ///          lse
    /// ```
    fn decode(&self) -> Result<Option<Formula>, ProfileError> {
        let [batch, heads, d] = self.get(["B", "Hq", "D"])?;
        let size = self.size_of("q");
        let vector = match self.0.input("k_pages").map(Tensor::dtype) {
            // Codes cost a product or two more, and their scales are shared by the lanes.
            Some(DType::F16 | DType::Bf16) => 2 * d,
            _ => return Ok(None),
        };
        let lengths = self.0.input("seq_len").and_then(Tensor::to_vec::<i32>);
        let keys: u64 = lengths.unwrap_or_default().iter().map(|n| *n as u64).sum();
        let key = 2 * d + BUTTERFLY + LANES * (1 + 1 + 2 * EXP + 2) + 3 * d;
        let row = 3 * LANES + d + LSE;
        Ok(Some(Formula {
            rung: "Plain",
            operations: heads * (keys * key + batch * row),
            // q anew for each key, k, v, its entry of the block table; the length, o, lse.
            bytes: heads * (keys * (size * d + 2 * vector + 4) + batch * (4 + size * d + 4)),
        }))
    }

    /// Sizes of a self-attention that is not masked and whose rows and keys are whole tiles.
    fn whole(&self) -> Result<Option<[u64; 5]>, ProfileError> {
        let [batch, hq, hkv, n, d] = self.get(["B", "Hq", "Hkv", "Nq", "D"])?;
        let masked = self.0.parameters.get("causal") == Some(&Value::Bool(true));
        let f32 = self.size_of("q") == 4;
        let whole = f32 && !masked && n.is_multiple_of(32) && d.is_multiple_of(32);
        Ok(whole.then_some([batch, hq, hkv, n, d]))
    }

    /// A score a lane.
    ///
    /// ```text
    /// a pair    q·k 2·D, p·v 2·D; the scale 1; the greatest of a tile 5 + 1; two EXP; the sum of a
    ///           tile 5; l 2; o·correction 8: the 8 groups of columns that D may have
    /// a row     a lane: 1/l, and o·1/l; lse; and 1/c of the softcap by 8 threads, wanted or not
    /// ```
    fn forward(&self) -> Result<Option<Formula>, ProfileError> {
        let Some([batch, hq, hkv, n, d]) = self.whole()? else {
            return Ok(None);
        };
        let (rows, keys) = (batch * hq * n, batch * hkv * n);
        let pair = 4 * d + 1 + 6 + 2 * EXP + 5 + 2 + 8;
        let blocks = rows / 16;
        Ok(Some(Formula {
            rung: "Plain",
            operations: rows * (n * pair + LANES + d + LSE + 8),
            // q, o, lse once; k and v once for each block of 16 rows.
            bytes: 4 * (2 * rows * d + rows + blocks * 2 * d * (keys / (batch * hkv))),
        }))
    }

    /// A pair a lane, in each of two passes.
    ///
    /// ```text
    /// D          a row: 2·D and a sum to one lane
    /// a pair     q·k and do·v 4·D; the scale 1, EXP, dP − D 1, ·P 1; the slope of a softcap, wanted
    ///            or not, 1 + 2, and ·slope 1; in one pass dq 2·D, in the other dk and dv 4·D
    /// a row      dq·scale D; a key: dk·scale D
    /// ```
    fn backward(&self) -> Result<Option<Formula>, ProfileError> {
        let Some([batch, hq, hkv, n, d]) = self.whole()? else {
            return Ok(None);
        };
        let (rows, keys) = (batch * hq * n, batch * hkv * n);
        let group = hq / hkv;
        let pair = 4 * d + 1 + EXP + 1 + 1 + (1 + 2 + 1);
        let delta = rows * (2 * d + TO_ONE_LANE);
        let operations = delta + rows * n * (2 * pair + 6 * d) + d * (rows + keys);
        let (of_q, of_k) = (rows / 16, keys / 16);
        let passes = [
            // D: o and do once, D written.
            2 * rows * d + rows,
            // dq: q and do once, dq written; k and v for each block of rows; lse and D of each row
            // with every tile of 32 keys.
            3 * rows * d + of_q * 2 * n * d + 2 * rows * (n / 32),
            // dk, dv: k, v, dk, dv once; q, do, lse and D of the group's rows for each block of
            // keys, lse and D by each of its four warps.
            4 * keys * d + of_k * group * n * (2 * d + 4 * 2),
        ];
        Ok(Some(Formula {
            rung: "Plain",
            operations,
            bytes: 4 * passes.iter().sum::<u64>(),
        }))
    }
}
