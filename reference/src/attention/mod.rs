//! Attention, forward and backward (tasks `flash-attention-forward`, `flash-attention-backward`).
//!
//! For query i of a head and the keys j that it sees, in float64 on the inputs as given:
//!
//! ```text
//! s_ij  = scale·q_i·k_j             with a softcap c: s ← c·tanh(s/c)
//! lse_i = ln Σ_j exp(s_ij)          natural logarithm
//! o_i   = Σ_j exp(s_ij − lse_i)·v_j
//! ```
//!
//! Conventions
//! * causal and window are aligned bottom-right: query i stands at position `i + Nk − Nq`.
//! * query head h reads KV head `h / (Hq/Hkv)`.
//! * lse has the outer shape of q: `[B,Hq,Nq]`, or `[T,Hq]` for packed sequences.
//! * backward reads q, k, v, do and, as *inputs*, the lse and o that forward saved: P is recomputed
//!   from that lse and `D = rowsum(do∘o)` from that o (or D itself is an input, see [`Saved`]). Its
//!   value is therefore the formula at these inputs, however they were rounded.
//!
//! Odd values
//! * a query that sees nothing, or only scores of −inf: o = 0, lse = −inf; zero gradient.
//! * NaN in what a query sees (and +inf among its scores): NaN in all its o and lse; NaN in v: NaN
//!   in that component. What no query sees is never read.
//!
//! Error bounds are derived beside the code: `forward` for o and lse, `backward` for
//! the gradients, `scores` for what both share, `weighted` for sums under inexact weights.
//!
//! Both passes work on tiles of 64 rows against all keys (or queries): memory is O(N). The plain
//! formula, pair by pair, stands beside the tiles; it serves inputs with odd values, and tests.

mod backward;
mod batch;
mod forward;
mod near;
mod options;
mod pairs;
mod roundings;
mod run;
mod scores;
mod softmax;
mod weighted;

pub use batch::Batch;
pub use options::{Band, Mask, Options, Window};
pub use run::{Delta, Forward, Gradients, Method, Saved, backward, forward};

pub(crate) use batch::{Layout, boundaries, check_groups};
pub(crate) use options::{WithoutLastTile, join};
pub(crate) use run::{Gathered, attend, backward_under, bands, forward_under};
pub(crate) use weighted::Vectors;
