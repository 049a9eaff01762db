import numpy as np
from inputs import Case, reals

M, N, K = 72, 48, 160


def case():
    c = Case()
    a, b = reals(1, (M, K), 2.0, np.float16), reals(2, (K, N), 2.0, np.float16)
    c.given(a=a, b=b, bt=b.T)
    x, y = a.astype(np.float64), b.astype(np.float64)
    size = np.abs(x) @ np.abs(y)
    # Exact products; K additions and one alignment per wgmma, each losing less than one 2^-23
    # of the partial sums. The host's variant rounds its result to f16.
    sums = (K + K // 16) * 2.0**-23 * size
    c.expect("c", x @ y, sums)
    c.expect("half", x @ y, sums + 2.0**-11 * (np.abs(x @ y) + sums) + 2.0**-25)
    return c
