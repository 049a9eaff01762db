"""Triton kernels that scripts/gpu-peers.py times. Triton wants them in a file of their own."""

import triton
import triton.language as tl


@triton.jit
def log_sum_exp(x, out, width, block: tl.constexpr):
    """One row a program: the read of softmax + top-k alone, without a top-k."""
    row = tl.program_id(0)
    top = tl.full((block,), -float("inf"), tl.float32)
    total = tl.zeros((block,), tl.float32)
    for start in range(0, width, block):
        at = start + tl.arange(0, block)
        value = tl.load(x + row * width + at, at < width, -float("inf")).to(tl.float32)
        new = tl.maximum(top, value)
        total = total * tl.where(top == new, 1.0, tl.exp(top - new))
        total += tl.where(value == -float("inf"), 0.0, tl.exp(value - new))
        top = new
    most = tl.max(top, 0)
    tl.store(out + row, most + tl.log(tl.sum(total * tl.exp(top - most), 0)))
