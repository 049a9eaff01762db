"""LayerNorm forward over f16 rows, statistics in f32, in pieces of BLOCK columns."""

import triton
import triton.language as tl


@triton.jit
def layernorm(x, gamma, beta, out, mean_out, rstd_out, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    x += row * columns
    out += row * columns
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(x + at, mask=at < columns, other=0.0).to(tl.float32)
    mean = tl.sum(total, 0) / columns
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        v = tl.load(x + at, mask=at < columns, other=0.0).to(tl.float32)
        v = tl.where(at < columns, v - mean, 0.0)
        squares += v * v
    rstd = 1 / tl.sqrt(tl.sum(squares, 0) / columns + eps)
    tl.store(mean_out + row, mean)
    tl.store(rstd_out + row, rstd)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < columns
        g = tl.load(gamma + at, mask=inside)
        b = tl.load(beta + at, mask=inside)
        v = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + at, ((v - mean) * rstd * g + b).to(tl.float16), mask=inside)


TARGETS = [80]
KERNELS = [
    ("", layernorm, {"x": "*fp16", "gamma": "*fp32", "beta": "*fp32", "out": "*fp16", "mean_out": "*fp32",
                     "rstd_out": "*fp32", "columns": "i32", "eps": "fp32", "BLOCK": "constexpr"},
     {"BLOCK": 256}, {"num_warps": 2}),
]  # fmt: skip
