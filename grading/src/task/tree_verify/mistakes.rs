//! What can go wrong.

use crate::task::Mistake;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "logits-by-depth",
        caught_by: &["row-of-the-parent"],
        says: "the row of logits is taken by depth, as on a chain, and not by the node",
        mend: "after node i the row is 1 + i, whatever its depth",
    },
    Mistake {
        name: "logits-of-the-child",
        caught_by: &["row-of-the-parent"],
        says: "a child is held against the logits after itself, not after its parent",
        mend: "the row that decides about a child is its parent's",
    },
    Mistake {
        name: "first-sibling-only",
        caught_by: &["next-sibling"],
        says: "the walk stops when the first child is not the target's token",
        mend: "try all children of the node before you stop",
    },
    Mistake {
        name: "any-later-node",
        caught_by: &["children-only"],
        says: "any later node with the token is accepted, also below one that was rejected",
        mend: "look among the children of the node that was accepted last",
    },
    Mistake {
        name: "chain-assumed",
        caught_by: &["branches"],
        says: "node i + 1 is taken for the child of node i",
        mend: "use parent",
    },
    Mistake {
        name: "last-of-duplicates",
        caught_by: &["duplicate-siblings"],
        says: "of siblings with the same token the last is accepted",
        mend: "take the first",
    },
    Mistake {
        name: "no-bonus-at-a-leaf",
        caught_by: &["bonus-at-a-leaf"],
        says: "where the walk ends at a leaf there is no bonus token",
        mend: "the row after the leaf gives one more token",
    },
    Mistake {
        name: "empty-tree-nothing",
        caught_by: &["no-nodes"],
        says: "an item without nodes gets no token",
        mend: "its one row of logits gives the bonus",
    },
    Mistake {
        name: "ties-by-higher",
        caught_by: &["equal-logits"],
        says: "of equal logits the higher token is taken",
        mend: "replace the best only by a strictly greater one",
    },
    Mistake {
        name: "nan-wins",
        caught_by: &["nan-among-logits"],
        says: "a NaN logit is taken for the greatest",
        mend: "skip what is not finite",
    },
    Mistake {
        name: "row-too-short",
        caught_by: &["where-rows-end"],
        says: "the last logit of a row is not looked at",
        mend: "a row has V logits, whatever a vector or a tile holds",
    },
    Mistake {
        name: "row-too-long",
        caught_by: &["where-rows-end"],
        says: "the logit behind a row's last, the next row's first, is looked at",
        mend: "mask what lies behind column V − 1",
    },
    Mistake {
        name: "stop-ignored",
        caught_by: &["stop-on-the-path"],
        says: "the walk goes on behind a stop token",
        mend: "accept the stop token, end the walk, bonus −1",
    },
    Mistake {
        name: "slots-by-rank",
        caught_by: &["slots-to-keep"],
        says: "the first slots are kept, not those of the accepted nodes",
        mend: "slot[step] = slots[node[step]]",
    },
    Mistake {
        name: "prompt-rows-forgotten",
        caught_by: &["ragged-rows"],
        says: "rows of logits are counted without the one after each prompt",
        mend: "item b begins at row starts[b] + b",
    },
    Mistake {
        name: "any-parent-taken",
        caught_by: &["later-parents"],
        says: "a parent that comes later is not refused",
        mend: "check −1 ≤ parent[i] < i before anything runs",
    },
    Mistake {
        name: "mask-without-self",
        caught_by: &["mask-holds-itself"],
        says: "a node does not see itself",
        mend: "row i holds bit i",
    },
    Mistake {
        name: "parent-only",
        caught_by: &["mask-holds-all-ancestors"],
        says: "a node sees its parent and no older ancestor",
        mend: "row i = row parent(i) with bit i",
    },
    Mistake {
        name: "siblings-seen",
        caught_by: &["siblings-hidden"],
        says: "a node sees all nodes before it, as on a chain",
        mend: "mask by ancestors",
    },
    Mistake {
        name: "itself-unseen",
        caught_by: &["siblings-hidden"],
        says: "a node does not attend to itself",
        mend: "ancestors or self",
    },
    Mistake {
        name: "parts-not-rescaled",
        caught_by: &["prefix-and-tree-merged"],
        says: "prefix and tree are added up as if they had one maximum",
        mend: "weigh each by exp(its maximum − the greater)",
    },
    Mistake {
        name: "first-prefix-token-lost",
        caught_by: &["whole-prefix"],
        says: "the first token of the prefix is not attended to",
        mend: "the prefix begins at token 0",
    },
    Mistake {
        name: "window-by-number",
        caught_by: &["window-by-depth"],
        says: "a node's position is prefix + its number",
        mend: "position is prefix + depth: siblings stand at the same one",
    },
    Mistake {
        name: "ratio-turned",
        caught_by: &["acceptance-ratio"],
        says: "a child is accepted with probability q/p",
        mend: "accept when uniform·q < p",
    },
    Mistake {
        name: "residual-forgotten",
        caught_by: &["what-is-left"],
        says: "after a rejection the target's distribution stays as it was",
        mend: "p ← max(0, p − q), normalised, before the next child and the bonus",
    },
    Mistake {
        name: "temperature-ignored",
        caught_by: &["temperature-applied"],
        says: "the target's softmax is taken at temperature 1",
        mend: "divide the logits by the temperature",
    },
    Mistake::near(
        "rows-read-backwards",
        "rows are searched from the last logit to the first",
    ),
    Mistake::near("one-pass", "prefix and tree are attended to in one pass"),
    Mistake::near(
        "two-passes",
        "prefix and tree are attended to one after the other",
    ),
];
