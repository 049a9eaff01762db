"""C = A·B of eight-bit operands (int8, e4m3, e5m2), and of f16 in tiles so narrow that their
rows have 32 bytes: wgmma on sm_90a."""

import triton
import triton.language as tl


@triton.jit
def matmul(a, bt, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SUM: tl.constexpr):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    pa = a + rm[:, None] * k + rk[None, :]
    pb = bt + rn[None, :] * k + rk[:, None]
    acc = tl.zeros((BM, BN), SUM)
    for start in range(0, k, BK):
        acc = tl.dot(tl.load(pa), tl.load(pb), acc, out_dtype=SUM)
        pa += BK
        pb += BK
    tl.store(c + rm[:, None] * n + rn[None, :], acc)


@triton.jit
def rows(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    pa = a + rk[None, :] * m + rm[:, None]
    pb = b + rk[:, None] * n + rn[None, :]
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        acc = tl.dot(tl.load(pa), tl.load(pb), acc)
        pa += BK * m
        pb += BK * n
    tl.store(c + rm[:, None] * n + rn[None, :], acc)


TARGETS = [90]
SIZES = {"m": "i32", "n": "i32", "k": "i32", "BM": "constexpr", "BN": "constexpr", "BK": "constexpr"}


def narrow(kind, sums, bk, total):
    signature = {"a": f"*{kind}", "bt": f"*{kind}", "c": f"*{sums}"} | SIZES | {"SUM": "constexpr"}
    return (f"{kind}_{bk}_", matmul, signature, {"BM": 64, "BN": 32, "BK": bk, "SUM": total},
            {"num_warps": 4, "num_stages": 2})  # fmt: skip


KERNELS = [
    narrow("i8", "i32", 32, tl.int32),
    narrow("i8", "i32", 64, tl.int32),
    narrow("fp8e4nv", "fp32", 32, tl.float32),
    narrow("fp8e5", "fp32", 128, tl.float32),
    narrow("fp16", "fp32", 16, tl.float32),
    # Both operands with their rows along m and n: both are transposed.
    ("rows_", rows, {"a": "*fp16", "b": "*fp16", "c": "*fp32"} | SIZES,
     {"BM": 64, "BN": 16, "BK": 16}, {"num_warps": 4, "num_stages": 2}),
    ("rows_bf16_", rows, {"a": "*bf16", "b": "*bf16", "c": "*fp32"} | SIZES,
     {"BM": 64, "BN": 32, "BK": 32}, {"num_warps": 4, "num_stages": 2}),
]  # fmt: skip
