//! `paged-kv-attention`; `touchstone explain paged-kv-attention` prints the contract.

use super::macros::{inputs, outputs, task};
use super::{Elements, Floats, Numbers, View};
use half::f16;

inputs! {
    /// A cache in pages.
    Pages<'a> {
        /// Pages.
        p: usize = "P",
        /// Tokens of a page.
        page: usize = "page",
        /// Heads of k and v.
        hkv: usize = "Hkv",
        /// `[P, page, Hkv, D]`, or `⌈D/2⌉` bytes of int4.
        k_pages: Elements<'a> = "k_pages",
        /// As `k_pages`.
        v_pages: Elements<'a> = "v_pages",
        /// `[P, page, Hkv]` of int8 and int4.
        k_scale: Option<View<'a, f16>> = "k_scale",
        /// As `k_scale`.
        v_scale: Option<View<'a, f16>> = "v_scale",
        /// `[P, page, Hkv]` of int4.
        k_zero: Option<View<'a, f16>> = "k_zero",
        /// As `k_zero`.
        v_zero: Option<View<'a, f16>> = "v_zero",
    }
}

inputs! {
    /// One query a sequence, at its last token.
    Decode<'a> {
        /// Sequences.
        b: usize = "B",
        /// Heads of q.
        hq: usize = "Hq",
        /// Length of a vector.
        d: usize = "D",
        /// Entries of a row of the block table.
        maxp: usize = "maxp",
        /// Factor on q·k.
        scale: f32 = "scale",
        /// Keys that a query sees before its position.
        window: Option<usize> = "window",
        /// The first keys, which are seen whatever the window.
        sinks: usize = "sinks" or 0,
        /// s ← c·tanh(s/c).
        softcap: Option<f32> = "softcap",
        /// `[B, Hq, D]`.
        q: Floats<'a> = "q",
        /// The cache.
        cache: Pages<'a> = "",
        /// `[B, maxp]`.
        block_table: View<'a, i32> = "block_table",
        /// `[B]`.
        seq_len: View<'a, i32> = "seq_len",
        /// `[Hq]`.
        sink_logits: Option<View<'a, f32>> = "sink_logits",
    }
}

inputs! {
    /// A chunk of queries a sequence, the last at its last token.
    Prefill<'a> {
        /// Queries of all sequences.
        t: usize = "T",
        /// All but the queries' starts; its `q` is `[T, Hq, D]`.
        decode: Decode<'a> = "",
        /// `[B+1]`: where the queries of each sequence begin, and the last's end.
        starts: View<'a, i32> = "starts",
    }
}

inputs! {
    /// Tokens to be written into slots.
    Append<'a> {
        /// Tokens.
        n: usize = "N",
        /// Length of a vector.
        d: usize = "D",
        /// Rows of the tables; 0 without rotation.
        positions: usize = "positions",
        /// `half` or `interleaved`; absent: no rotation.
        rope_pairs: Option<&'a str> = "rope_pairs",
        /// `[N, Hkv, D]`.
        k: Floats<'a> = "k",
        /// `[N, Hkv, D]`, as k.
        v: Floats<'a> = "v",
        /// `[N]`.
        slots: View<'a, i32> = "slots",
        /// The cache before.
        cache: Pages<'a> = "",
        /// `[positions, D/2]`.
        cos: Option<View<'a, f32>> = "cos",
        /// `[positions, D/2]`.
        sin: Option<View<'a, f32>> = "sin",
        /// `[N]`.
        position: Option<View<'a, i32>> = "position",
    }
}

outputs! {
    /// What queries attend to, in their layout.
    Attended {
        /// As q.
        o: Numbers = "o",
        /// One a query and head.
        lse: Vec<f32> = "lse",
    }
}

outputs! {
    /// The cache afterwards, each as it was asked.
    Appended {
        /// As `k_pages`.
        k_pages: Numbers = "k_pages",
        /// As `v_pages`.
        v_pages: Numbers = "v_pages",
        /// Where the cache has it.
        k_scale: Option<Vec<f16>> = "k_scale",
        /// Where the cache has it.
        v_scale: Option<Vec<f16>> = "v_scale",
        /// Where the cache has it.
        k_zero: Option<Vec<f16>> = "k_zero",
        /// Where the cache has it.
        v_zero: Option<Vec<f16>> = "v_zero",
    }
}

task! {
    /// Attention over keys and values in pages, and appending to them.
    PagedKvAttention = "paged-kv-attention" {
        /// One query a sequence.
        decode("decode"): Decode -> Attended;
        /// A chunk of queries a sequence.
        prefill("prefill"): Prefill -> Attended;
        /// Tokens into slots.
        append("append"): Append -> Appended;
    }
}
