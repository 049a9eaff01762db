//! `tree-verify`; `touchstone explain tree-verify` prints the contract.

use super::macros::{inputs, outputs, task};
use super::paged_kv_attention::{Attended, Pages};
use super::{Floats, View};

inputs! {
    /// The greedy walk's.
    Accept<'a> {
        /// Items.
        b: usize = "B",
        /// Nodes of all items.
        t: usize = "T",
        /// Logits in a row.
        v: usize = "V",
        /// `[T]`.
        token: View<'a, i32> = "token",
        /// `[T]`: in its item; −1: child of the last prompt token.
        parent: View<'a, i32> = "parent",
        /// `[B+1]`: where the nodes of each item begin, and the last's end.
        starts: View<'a, i32> = "starts",
        /// `[T+B, V]`: item by item the row after the prompt, then the row after each node.
        logits: Floats<'a> = "logits",
        /// Tokens that end the text.
        stop: Option<View<'a, i32>> = "stop",
        /// `[T]`: where each node lies in the cache.
        slots: Option<View<'a, i32>> = "slots",
    }
}

inputs! {
    /// The sampling walk's.
    Sample<'a> {
        /// What logits are divided by.
        temperature: f32 = "temperature",
        /// The tree and the target's logits.
        tree: Accept<'a> = "",
        /// `[T+B, V]`: what the children after each row were drawn from; absent: certain of each.
        draft: Option<View<'a, f32>> = "draft",
        /// `[T]`: the number each node is tried with.
        uniform: View<'a, f32> = "uniform",
        /// `[B]`: what the bonus is drawn with.
        bonus_uniform: View<'a, f32> = "bonus_uniform",
    }
}

inputs! {
    /// Trees whose masks are wanted.
    Trees<'a> {
        /// Items.
        b: usize = "B",
        /// Nodes of all items.
        t: usize = "T",
        /// Words of a row.
        w: usize = "W",
        /// `[T]`.
        parent: View<'a, i32> = "parent",
        /// `[B+1]`.
        starts: View<'a, i32> = "starts",
    }
}

inputs! {
    /// One query a node, over a paged prefix and the nodes behind it.
    Attention<'a> {
        /// Items.
        b: usize = "B",
        /// Nodes of all items.
        t: usize = "T",
        /// Heads of q.
        hq: usize = "Hq",
        /// Length of a vector.
        d: usize = "D",
        /// Entries of a row of the block table.
        maxp: usize = "maxp",
        /// Factor on q·k.
        scale: f32 = "scale",
        /// Positions that a node sees before its own.
        window: Option<usize> = "window",
        /// `[T, Hq, D]`.
        q: Floats<'a> = "q",
        /// The cache.
        cache: Pages<'a> = "",
        /// `[B, maxp]`.
        block_table: View<'a, i32> = "block_table",
        /// `[B]`: the prefix, then the nodes of the item.
        seq_len: View<'a, i32> = "seq_len",
        /// `[T]`.
        parent: View<'a, i32> = "parent",
        /// `[B+1]`.
        starts: View<'a, i32> = "starts",
    }
}

outputs! {
    /// What a walk accepts.
    Accepted {
        /// `[T]`: from `starts[b]` on the accepted nodes of item b, then −1.
        node: Vec<i32> = "node",
        /// `[T]`: their tokens, then −1.
        accepted: Vec<i32> = "accepted",
        /// `[T]`: their slots, then −1; where slots are given.
        slot: Option<Vec<i32>> = "slot",
        /// `[B]`: how many.
        count: Vec<i32> = "count",
        /// `[B]`: the token after them; −1: none.
        bonus: Vec<i32> = "bonus",
    }
}

outputs! {
    /// Ancestors-or-self as bits.
    Masks {
        /// `[T, W]`.
        mask: Vec<u32> = "mask",
        /// `[T]`.
        depth: Vec<i32> = "depth",
    }
}

task! {
    /// Verification of drafted token trees.
    TreeVerify = "tree-verify" {
        /// The walk that follows the greatest logits.
        accept("accept"): Accept -> Accepted;
        /// The walk whose tokens have the target's distribution.
        sample("sample"): Sample -> Accepted;
        /// Ancestors-or-self as bits.
        mask("mask"): Trees -> Masks;
        /// Attention of the nodes.
        attention("attention"): Attention -> Attended;
    }
}
