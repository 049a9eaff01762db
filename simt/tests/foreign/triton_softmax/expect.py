import numpy as np
from inputs import U, Case, reals


def case():
    c = Case()
    n = 400
    scale = np.array([1, 30, 0.01, 80, 5])[:, None]
    x = (reals(1, (5, n)) * scale).astype(np.float32)
    c.given(x=x)
    v = x.astype(np.float64)
    shifted = v - v.max(1, keepdims=True)
    e = np.exp(shifted)
    p = e / e.sum(1, keepdims=True)
    # exp(d) = 2^(d·log2 e): the subtraction, the constant and the product lose 3u·|d|
    # relative, ex2.approx 2 ulp (4u); the sum has n terms; div.full 2 ulp. Twice for e.
    u = U["f32"]
    each = 3 * u * np.abs(shifted) * 1.4427 + 4 * u
    weighted = (p * each).sum(1, keepdims=True)
    c.expect("out", p, p * (each + weighted + n * u + 4 * u) + 2.0**-126)
    return c
