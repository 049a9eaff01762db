"""C = A·B in f16 with f32 accumulators: mma.sync and ldmatrix on sm_80, wgmma on sm_90a."""

import triton
import triton.language as tl


@triton.jit
def matmul(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    pa = a + rm[:, None] * k + rk[None, :]
    pb = b + rk[:, None] * n + rn[None, :]
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        left = k - start
        va = tl.load(pa, mask=(rm[:, None] < m) & (rk[None, :] < left), other=0.0)
        vb = tl.load(pb, mask=(rk[:, None] < left) & (rn[None, :] < n), other=0.0)
        acc = tl.dot(va, vb, acc)
        pa += BK
        pb += BK * n
    tl.store(c + rm[:, None] * n + rn[None, :], acc, mask=(rm[:, None] < m) & (rn[None, :] < n))


TARGETS = [80, 90]
SIGNATURE = {"a": "*fp16", "b": "*fp16", "c": "*fp32", "m": "i32", "n": "i32", "k": "i32",
             "BM": "constexpr", "BN": "constexpr", "BK": "constexpr"}  # fmt: skip
KERNELS = [
    ("", matmul, SIGNATURE, {"BM": 64, "BN": 64, "BK": 32}, {"num_warps": 4, "num_stages": 3}),
    ("bf16_", matmul, SIGNATURE | {"a": "*bf16", "b": "*bf16"}, {"BM": 64, "BN": 32, "BK": 64},
     {"num_warps": 4, "num_stages": 2}),
    ("tf32_", matmul, SIGNATURE | {"a": "*fp32", "b": "*fp32"}, {"BM": 64, "BN": 32, "BK": 32},
     {"num_warps": 4, "num_stages": 2}),
]  # fmt: skip
