"""Softmax of each row and its K most probable entries: one program a row.

    for each chunk of the row:  m, l = the maximum and the sum of exponentials so far
    for each rank:              the greatest logit behind the one chosen last, lower index first

The row is read K + 1 times; a faster kernel keeps candidates in registers.
"""
import triton
import triton.language as tl

BLOCK = 1024
NONE = 2147483647


@triton.jit
def scores(logits, mask, at, inside, has_mask):
    """Logits of a chunk, masked ones and those beyond the row as -inf."""
    x = tl.load(logits + at, mask=inside, other=float("-inf")).to(tl.float32)
    hidden = tl.load(mask + at, mask=inside & (has_mask != 0), other=0)
    return tl.where(hidden != 0, float("-inf"), x)


@triton.jit
def softmax_topk(logits, mask, row_k, prob, index, lse, width, k, temperature, has_mask, has_row_k,
                 BLOCK: tl.constexpr, NONE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits += row * width
    mask += row * width
    own = tl.load(row_k + row, mask=has_row_k != 0, other=k)
    lanes = tl.arange(0, BLOCK)

    top = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    odd = tl.zeros((), tl.int32)
    for start in range(0, width, BLOCK):
        at = start + lanes
        x = scores(logits, mask, at, at < width, has_mask)
        odd |= tl.max(((x != x) | (x == float("inf"))).to(tl.int32), 0)
        s = tl.div_rn(x, temperature)
        new = tl.maximum(top, tl.max(s, 0))
        # All -inf so far: there is nothing to rescale, and -inf - -inf is no number.
        base = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp(top - base) + tl.sum(tl.exp(s - base), 0)
        top = new
    empty = top == float("-inf")
    base = tl.where(empty, 0.0, top)
    whole = tl.where(empty, 1.0, total)
    nan = float("nan")
    tl.store(lse + row, tl.where(odd != 0, nan, tl.where(empty, float("-inf"), base + tl.log(whole))))

    last = tl.full((), float("inf"), tl.float32)
    last_at = tl.full((), -1, tl.int32)
    for rank in range(0, k):
        best = tl.full((), float("-inf"), tl.float32)
        best_at = tl.full((), NONE, tl.int32)
        for start in range(0, width, BLOCK):
            at = start + lanes
            x = scores(logits, mask, at, at < width, has_mask)
            behind = (at < width) & ((x < last) | ((x == last) & (at > last_at)))
            here = tl.max(tl.where(behind, x, float("-inf")), 0)
            here_at = tl.min(tl.where(behind & (x == here), at, NONE), 0)
            better = (here > best) | ((here == best) & (here_at < best_at))
            best = tl.where(better, here, best)
            best_at = tl.where(better, here_at, best_at)
        last = best
        last_at = best_at
        p = tl.div_rn(tl.exp(tl.div_rn(best, temperature) - base), whole)
        kept = rank < own
        p = tl.where(kept, tl.where(odd != 0, nan, p), 0.0)
        chosen = tl.where(kept & (odd == 0), best_at, -1)
        tl.store(prob + row * k + rank, p)
        tl.store(index + row * k + rank, chosen)


def signature(dtype):
    return {"logits": f"*{dtype}", "mask": "*u8", "row_k": "*i32", "prob": "*fp32", "index": "*i32", "lse": "*fp32",
            "width": "i32", "k": "i32", "temperature": "fp32", "has_mask": "i32", "has_row_k": "i32"}  # fmt: skip


KERNELS = [
    (f"softmax_topk.{short}", softmax_topk, signature(dtype), {"BLOCK": BLOCK, "NONE": NONE}, {"num_warps": 4})
    for short, dtype in [("f32", "fp32"), ("f16", "fp16"), ("bf16", "bf16")]
]
