"""y = x·Ŵᵀ from packed ternary weights: a block of y per program, group by group of K.

    for each group of 128 along K:  y += (x_group · t_groupᵀ) · d_group

Products with −1, 0 and +1 are exact in any type, so the tensor cores take 16-bit x as it is, and
the f16 scale never has to fit into bf16.
"""
import triton
import triton.language as tl

GROUP = 128


@triton.jit
def forward(x, packed, y, m, n, k, BLOCK: tl.constexpr, BASE3: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
            GROUP: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.program_id(1) * BN + tl.arange(0, BN)
    j = tl.arange(0, GROUP)
    acc = tl.zeros((BM, BN), tl.float32)
    count = k // GROUP
    for g in range(0, count):
        block = packed + (cols.to(tl.int64) * count + g) * BLOCK
        inside = cols < n
        low = tl.load(block, mask=inside, other=0).to(tl.uint16)
        high = tl.load(block + 1, mask=inside, other=0).to(tl.uint16)
        d = (low | (high << 8)).to(tl.float16, bitcast=True).to(tl.float32)
        if BASE3:
            byte = tl.load(block[None, :] + 2 + (j // 5)[:, None], mask=inside[None, :], other=0).to(tl.int32)
            digit = (j % 5)[:, None]
            power = tl.where(digit == 0, 1, tl.where(digit == 1, 3, tl.where(digit == 2, 9, tl.where(digit == 3, 27, 81))))
            code = byte // power % 3
        else:
            byte = tl.load(block[None, :] + 2 + (j // 4)[:, None], mask=inside[None, :], other=0).to(tl.int32)
            code = (byte >> (2 * (j % 4)[:, None])) & 3
        t = (code - 1).to(x.dtype.element_ty)
        at = rows.to(tl.int64)[:, None] * k + g * GROUP + j[None, :]
        a = tl.load(x + at, mask=(rows < m)[:, None], other=0.0)
        acc += tl.dot(a, t, input_precision="ieee") * d[None, :]
    at = rows.to(tl.int64)[:, None] * n + cols[None, :]
    tl.store(y + at, acc.to(y.dtype.element_ty), mask=(rows < m)[:, None] & (cols < n)[None, :])


def signature(dtype):
    return {"x": f"*{dtype}", "packed": "*u8", "y": f"*{dtype}", "m": "i32", "n": "i32", "k": "i32"}


KERNELS = [
    (f"ternary_{name}.{short}", forward, signature(dtype),
     {"BLOCK": block, "BASE3": base3, "BM": 16, "BN": 16, "GROUP": GROUP}, 
     {"num_warps": 1, "num_stages": 1})
    for name, block, base3 in [("two_bit", 34, False), ("base3", 28, True)]
    for short, dtype in [("f32", "fp32"), ("f16", "fp16"), ("bf16", "bf16")]
]  # fmt: skip
