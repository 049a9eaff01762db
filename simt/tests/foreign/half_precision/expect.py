import numpy as np
from inputs import Case, bf16, reals


def case():
    """Every step is exact in float64 before its one rounding: products of 11-bit (8-bit)
    significands have 22 (16) bits, and the exponents stay within a few units."""
    c = Case()
    n = 100
    x, y = reals(1, (n, 2), 8.0, np.float16), reals(2, (n, 2), 8.0, np.float16)
    c.given(x=x, y=y)
    dx, dy = x.astype(np.float64), y.astype(np.float64)
    c.expect("axpy", (np.array([1.5, -0.25]) * dx + dy).astype(np.float16))
    c.expect("lowest", np.minimum(x, -y))
    right = (dx[:, 1] * dy[:, 1]).astype(np.float32).astype(np.float64)
    c.expect("dots", (dx[:, 0] * dy[:, 0] + right).astype(np.float32))
    du, u = bf16(reals(3, (n, 2), 4.0))
    dw, w = bf16(reals(4, (n, 2), 4.0))
    c.given(u=u, w=w)
    product, _ = bf16(du * dw)
    fused, _ = bf16(du * dw + product)
    first = (du > dw)[:, :1]
    _, mixed = bf16(np.where(first, fused, np.maximum(product, dw)))
    c.expect("mixed", mixed)
    return c
