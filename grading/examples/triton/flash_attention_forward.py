"""o = softmax(scale·q·kᵀ)·v and lse: a block of queries of one head per program.

    for each block of keys:  s = scale·q·kᵀ, capped; −inf where a query does not see a key
                             m' = max(m, s);  l = l·exp(m − m') + Σ exp(s − m')
                             acc = acc·exp(m − m') + exp(s − m')·v
    o = acc / l,  lse = m + log l

A NaN in v may only reach the queries that see its key, and 0·NaN is NaN: v goes into the product
without its NaN, and a second product, made only where there is one, says whom it reaches.
"""
import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice


@triton.jit
def forward(q, k, v, o, lse, cu_q, cu_k, query_heads, key_heads, nq, nk, d, scale, softcap, causal, left, right,
            packed, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr):
    head = tl.program_id(1)
    sequence = tl.program_id(2)
    key_head = head // (query_heads // key_heads)
    if packed != 0:
        first_q = tl.load(cu_q + sequence)
        first_k = tl.load(cu_k + sequence)
        nq = tl.load(cu_q + sequence + 1) - first_q
        nk = tl.load(cu_k + sequence + 1) - first_k
        row_q = first_q.to(tl.int64) * query_heads + head
        row_k = first_k.to(tl.int64) * key_heads + key_head
        step_q = query_heads
        step_k = key_heads
    else:
        row_q = (sequence * query_heads + head).to(tl.int64) * nq
        row_k = (sequence * key_heads + key_head).to(tl.int64) * nk
        step_q = query_heads // query_heads
        step_k = key_heads // key_heads

    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    dims = tl.arange(0, BD)
    here = rows < nq
    row = row_q + rows.to(tl.int64) * step_q
    a = tl.load(q + row[:, None] * d + dims[None, :], mask=here[:, None] & (dims < d)[None, :], other=0.0)
    position = rows + nk - nq

    inf = float("inf")
    m = tl.full((BM,), -inf, tl.float32)
    l = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, BD), tl.float32)
    spoilt = tl.zeros((BM, BD), tl.float32)
    strange = tl.zeros((BM,), tl.int32)
    end = nk
    if causal != 0:
        end = tl.minimum(nk, tl.program_id(0) * BM + BM + nk - nq)
    for start in range(0, end, BN):
        keys = start + tl.arange(0, BN)
        key = row_k + keys.to(tl.int64) * step_k
        b = tl.load(k + key[None, :] * d + dims[:, None], mask=(keys < nk)[None, :] & (dims < d)[:, None], other=0.0)
        s = tl.dot(a, b, input_precision="ieee") * scale
        if softcap > 0:
            s = softcap * libdevice.tanh(tl.div_rn(s, softcap))
        seen = here[:, None] & (keys < nk)[None, :]
        seen = seen & ((causal == 0) | (keys[None, :] <= position[:, None]))
        seen = seen & ((left < 0) | (keys[None, :] >= position[:, None] - left))
        seen = seen & ((right < 0) | (keys[None, :] <= position[:, None] + right))
        strange = strange | tl.max((seen & ((s != s) | (s == inf))).to(tl.int32), 1)
        s = tl.where(seen, s, -inf)
        top = tl.maximum(m, tl.max(s, 1))
        # Nothing seen so far: there is nothing to rescale, and −inf − −inf is no number.
        base = tl.where(top == -inf, 0.0, top)
        p = tl.exp(s - base[:, None])
        shrink = tl.exp(m - base)
        l = l * shrink + tl.sum(p, 1)
        m = top
        c = tl.load(v + key[:, None] * d + dims[None, :], mask=(keys < nk)[:, None] & (dims < d)[None, :], other=0.0)
        odd = c != c
        acc = acc * shrink[:, None] + tl.dot(p.to(c.dtype), tl.where(odd, 0.0, c), input_precision="ieee")
        if tl.max(tl.max(odd.to(tl.int32), 1), 0) != 0:
            spoilt += tl.dot(seen.to(c.dtype), odd.to(c.dtype), input_precision="ieee")

    nan = float("nan")
    whole = tl.where(l == 0, 1.0, l)
    result = tl.div_rn(acc, tl.broadcast_to(whole[:, None], (BM, BD)))
    result = tl.where((strange != 0)[:, None] | (spoilt > 0), nan, result)
    tl.store(o + row[:, None] * d + dims[None, :], result.to(o.dtype.element_ty),
             mask=here[:, None] & (dims < d)[None, :])
    log = tl.where(m == -inf, -inf, m + tl.log(whole))
    tl.store(lse + row, tl.where(strange != 0, nan, log), mask=here)


def signature(dtype):
    tensors = {name: f"*{dtype}" for name in ["q", "k", "v", "o"]}
    places = {"lse": "*fp32", "cu_q": "*i32", "cu_k": "*i32"}
    whole = {name: "i32" for name in ["query_heads", "key_heads", "nq", "nk", "d"]}
    options = {"scale": "fp32", "softcap": "fp32", "causal": "i32", "left": "i32", "right": "i32", "packed": "i32"}
    return {**tensors, **places, **whole, **options}


KERNELS = [
    # Keys of 256 f32 come 16 at a time: 32 of them, with their values, are more shared memory than a block has
    # without asking for it.
    (f"attention_{d}.{short}", forward, signature(dtype), {"BM": 16, "BN": 16 if (d, short) == (256, "f32") else 32, "BD": d},
     {"num_warps": 1, "num_stages": 1})
    for short, dtype in [("f32", "fp32"), ("f16", "fp16"), ("bf16", "bf16")]
    for d in [64, 128, 256]
]  # fmt: skip
