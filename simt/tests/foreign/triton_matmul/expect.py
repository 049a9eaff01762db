import numpy as np
from inputs import Case, bf16, reals

M, N, K = 72, 80, 96


def product(c, name, a, b, extra=0.0):
    """Exact products; K additions and one alignment per mma, each losing less than one
    2^-23 of the partial sums (mma and wgmma leave order and rounding open)."""
    size = np.abs(a) @ np.abs(b)
    c.expect(name, a @ b, ((K + K // 4) * 2.0**-23 + extra) * size)


def case():
    c = Case()
    a, b = reals(1, (M, K), 2.0, np.float16), reals(2, (K, N), 2.0, np.float16)
    c.given(a=a, b=b)
    product(c, "c", a.astype(np.float64), b.astype(np.float64))
    du, u = bf16(reals(3, (M, K), 2.0))
    dw, w = bf16(reals(4, (K, N), 2.0))
    c.given(u=u, w=w)
    product(c, "cbf16", du, dw)
    f, g = reals(5, (M, K), 2.0), reals(6, (K, N), 2.0)
    c.given(f=f, g=g)
    # Operands enter as tf32: rounded or cut, each loses less than 2^-10 relative.
    product(c, "ctf32", f.astype(np.float64), g.astype(np.float64), 2 * 2.0**-10 + 2.0**-20)
    return c
