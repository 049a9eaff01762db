import numpy as np
from inputs import U, Case, reals


def case():
    c = Case()
    m, n, k = 37, 45, 51
    a, b = reals(1, (m, k)), reals(2, (k, n))
    c.given(a=a, b=b)
    a, b = a.astype(np.float64), b.astype(np.float64)
    # K fused multiply-adds: K roundings of partial sums below |a|·|b|.
    c.expect("c", a @ b, k * U["f32"] * (np.abs(a) @ np.abs(b)))
    return c
