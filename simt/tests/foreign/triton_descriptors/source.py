"""C = A·B by tensor copies: descriptors made by the host (parameters of the kernel) or by the
kernel itself (tensormap.replace in shared memory); wgmma on what the copies bring."""

import triton
import triton.language as tl


@triton.jit
def by_host(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    i, j = tl.program_id(0) * BM, tl.program_id(1) * BN
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        acc = tl.dot(a.load([i, start]), b.load([start, j]), acc)
    c.store([i, j], acc.to(c.dtype))


@triton.jit
def by_kernel(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    da = tl.make_tensor_descriptor(a, [m, k], [k, 1], [BM, BK])
    db = tl.make_tensor_descriptor(b, [n, k], [k, 1], [BN, BK])
    dc = tl.make_tensor_descriptor(c, [m, n], [n, 1], [BM, BN])
    i, j = tl.program_id(0) * BM, tl.program_id(1) * BN
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        acc = tl.dot(da.load([i, start]), db.load([j, start]).T, acc)
    dc.store([i, j], acc)


TARGETS = [90]
SIZES = {"m": "i32", "n": "i32", "k": "i32", "BM": "constexpr", "BN": "constexpr", "BK": "constexpr"}
KERNELS = [
    ("host_", by_host,
     {"a": "tensordesc<fp16[64,64]>", "b": "tensordesc<fp16[64,32]>", "c": "tensordesc<fp16[64,32]>"} | SIZES,
     {"BM": 64, "BN": 32, "BK": 64}, {"num_warps": 4, "num_stages": 3}),
    ("kernel_", by_kernel, {"a": "*fp16", "b": "*fp16", "c": "*fp32"} | SIZES,
     {"BM": 64, "BN": 32, "BK": 32}, {"num_warps": 4, "num_stages": 2}),
]  # fmt: skip
