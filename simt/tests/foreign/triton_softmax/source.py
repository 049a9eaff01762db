"""Row softmax; a row fits one block. Compiled with line information: the reductions are
spelled out, so that every line is one of this file."""

import triton
import triton.language as tl


@triton.jit
def larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def plus(a, b):
    return a + b


@triton.jit
def softmax(x, out, stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    v = tl.load(x + row * stride + at, mask=inside, other=float("-inf"))
    e = tl.exp(v - tl.reduce(v, 0, larger))
    tl.store(out + row * stride + at, e / tl.reduce(e, 0, plus), mask=inside)


LINES = True
TARGETS = [80, 90]
KERNELS = [
    ("", softmax, {"x": "*fp32", "out": "*fp32", "stride": "i32", "columns": "i32", "BLOCK": "constexpr"},
     {"BLOCK": 512}, {"num_warps": 4}),
]  # fmt: skip
