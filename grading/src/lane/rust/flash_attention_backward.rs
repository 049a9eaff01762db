//! `flash-attention-backward`; `touchstone explain flash-attention-backward` prints the contract.

use super::macros::{inputs, outputs, task};
use super::{Floats, Numbers, View};

inputs! {
    /// A batch of sequences of equal lengths.
    Inputs<'a> {
        /// Sequences.
        b: usize = "B",
        /// Heads of q.
        hq: usize = "Hq",
        /// Heads of k and v.
        hkv: usize = "Hkv",
        /// Length of a vector.
        d: usize = "D",
        /// Queries of a sequence.
        nq: usize = "Nq",
        /// Keys of a sequence.
        nk: usize = "Nk",
        /// Factor on q·k.
        scale: f32 = "scale",
        /// Whether a query sees no later key.
        causal: bool = "causal" or false,
        /// Keys that it sees before its position.
        window_left: Option<usize> = "window_left",
        /// Keys that it sees after its position.
        window_right: Option<usize> = "window_right",
        /// s ← c·tanh(s/c).
        softcap: Option<f32> = "softcap",
        /// `[B, Hq, Nq, D]`.
        q: Floats<'a> = "q",
        /// `[B, Hkv, Nk, D]`, as q.
        k: Floats<'a> = "k",
        /// `[B, Hkv, Nk, D]`, as q.
        v: Floats<'a> = "v",
        /// As q: what forward answered.
        o: Floats<'a> = "o",
        /// One a query and head: what forward answered.
        lse: View<'a, f32> = "lse",
        /// As q: the gradient of o.
        d_o: Floats<'a> = "do",
    }
}

inputs! {
    /// Sequences of different lengths, end to end.
    Packed<'a> {
        /// Sequences.
        b: usize = "B",
        /// Heads of q.
        hq: usize = "Hq",
        /// Heads of k and v.
        hkv: usize = "Hkv",
        /// Length of a vector.
        d: usize = "D",
        /// Queries of all sequences.
        tq: usize = "Tq",
        /// Keys of all sequences.
        tk: usize = "Tk",
        /// Factor on q·k.
        scale: f32 = "scale",
        /// Whether a query sees no later key.
        causal: bool = "causal" or false,
        /// Keys that it sees before its position.
        window_left: Option<usize> = "window_left",
        /// Keys that it sees after its position.
        window_right: Option<usize> = "window_right",
        /// s ← c·tanh(s/c).
        softcap: Option<f32> = "softcap",
        /// `[Tq, Hq, D]`.
        q: Floats<'a> = "q",
        /// `[Tk, Hkv, D]`, as q.
        k: Floats<'a> = "k",
        /// `[Tk, Hkv, D]`, as q.
        v: Floats<'a> = "v",
        /// As q: what forward answered.
        o: Floats<'a> = "o",
        /// One a query and head: what forward answered.
        lse: View<'a, f32> = "lse",
        /// As q: the gradient of o.
        d_o: Floats<'a> = "do",
        /// `[B+1]`: where the queries of each sequence begin, and the last's end.
        cu_q: View<'a, i32> = "cu_q",
        /// `[B+1]`: the same of the keys.
        cu_k: View<'a, i32> = "cu_k",
    }
}

outputs! {
    /// What is answered.
    Outputs {
        /// As q.
        dq: Numbers = "dq",
        /// As k.
        dk: Numbers = "dk",
        /// As v.
        dv: Numbers = "dv",
    }
}

task! {
    /// Gradients of attention, P recomputed from lse.
    FlashAttentionBackward = "flash-attention-backward" {
        /// A batch of sequences of equal lengths.
        backward("backward"): Inputs -> Outputs;
        /// Sequences of different lengths, end to end.
        backward_packed("backward-packed"): Packed -> Outputs;
    }
}
