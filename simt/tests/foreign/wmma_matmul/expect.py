import numpy as np
from inputs import Case, integers, reals


def case():
    c = Case()
    m, n, k = 32, 48, 64
    a, b = reals(1, (m, k), 4.0, np.float16), reals(2, (n, k), 4.0, np.float16)
    c.given(a=a, b=b)
    a, b = a.astype(np.float64), b.astype(np.float64).T
    # Exact products; per step of 16, 16 additions and one alignment, each losing less than
    # one unit 2^-23 of the partial sums (the rounding of wmma is not specified).
    terms = k + k // 16
    c.expect("c", 0.5 * (a @ b), 0.5 * terms * 2.0**-23 * (np.abs(a) @ np.abs(b)))
    a8, b8 = integers(3, (m, k), -128, 128, np.int8), integers(4, (k, n), -128, 128, np.int8)
    c.given(a8=a8, b8=b8)
    c.expect("c8", a8.astype(np.int32) @ b8.astype(np.int32))
    return c
