"""Attention forward, online softmax, causal, f16: one block of queries per program."""

import triton
import triton.language as tl


@triton.jit
def attention(q, k, v, o, lse, length, scale, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    head = tl.program_id(1)
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, D)
    base = head * length * D
    query = tl.load(q + base + rows[:, None] * D + d[None, :], mask=rows[:, None] < length, other=0.0)
    top = tl.full([BM], float("-inf"), tl.float32)
    weight = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * BM, BN):
        cols = start + tl.arange(0, BN)
        inside = cols < length
        key = tl.load(k + base + cols[None, :] * D + d[:, None], mask=inside[None, :], other=0.0)
        score = tl.dot(query, key) * (scale * 1.4426950408889634)
        score = tl.where((cols[None, :] <= rows[:, None]) & inside[None, :], score, float("-inf"))
        new = tl.maximum(top, tl.max(score, 1))
        p = tl.exp2(score - new[:, None])
        shrink = tl.exp2(top - new)
        weight = weight * shrink + tl.sum(p, 1)
        value = tl.load(v + base + cols[:, None] * D + d[None, :], mask=inside[:, None], other=0.0)
        acc = tl.dot(p.to(tl.float16), value, acc * shrink[:, None])
        top = new
    inside = rows < length
    tl.store(o + base + rows[:, None] * D + d[None, :], (acc / weight[:, None]).to(tl.float16), mask=inside[:, None])
    tl.store(lse + head * length + rows, (top + tl.log2(weight)) * 0.6931471805599453, mask=inside)


TARGETS = [80, 90]
KERNELS = [
    ("", attention, {"q": "*fp16", "k": "*fp16", "v": "*fp16", "o": "*fp16", "lse": "*fp32", "length": "i32",
                     "scale": "fp32", "BM": "constexpr", "BN": "constexpr", "D": "constexpr"},
     {"BM": 64, "BN": 64, "D": 64}, {"num_warps": 4, "num_stages": 2}),
]  # fmt: skip
