import numpy as np
from inputs import U, Case, reals


def case():
    c = Case()
    heads, n, d = 2, 100, 64
    q, k = (reals(s, (heads, n, d), 3.0, np.float16) for s in (1, 2))
    v = reals(3, (heads, n, d), 1.0, np.float16)
    c.given(q=q, k=k, v=v)
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    u = U["f32"]
    score = 0.125 * q @ k.swapaxes(1, 2)
    # The mma's d additions and alignments, the scale's roundings, the subtraction of the maximum.
    size = 0.125 * np.abs(q) @ np.abs(k).swapaxes(1, 2)
    hidden = np.triu(np.ones((n, n), bool), 1)
    score[:, hidden] = -np.inf
    top = score.max(2, keepdims=True)
    far = np.where(hidden, 0, top - score)
    ds = np.where(hidden, 0, (d + d // 8) * 2.0**-23 * size + 3 * u * np.abs(np.where(hidden, 0, score)) + 2 * u * far)
    e = np.exp(score - top)
    p = e / e.sum(2, keepdims=True)
    # Weights: relative error of the score's error (the common maximum's cancels), ex2 twice
    # (2 ulp each: weight and rescaling), the sum of n terms; then P in f16 (relative u16,
    # absolute 2^-25 where subnormal), the second product, a division, f16 again.
    u16 = U["f16"]
    rel = ds + 8 * u
    total = (p * rel).sum(2, keepdims=True) + (n + 2) * u
    dp = p * (rel + total + u16 + n * 2.0**-23) + 2.0**-25 * np.exp(0) / e.sum(2, keepdims=True)
    dp[:, hidden] = 0
    o = p @ v
    do = dp @ np.abs(v) + 6 * u * np.abs(o)
    c.expect("o", o, do + u16 * (np.abs(o) + do) + 2.0**-25)
    lse = top[..., 0] + np.log(e.sum(2))
    # log2 by lg2.approx (2^-22, relative or absolute), product with ln 2, the additions.
    dlse = ds.max(2) + total[..., 0] + 2.0**-22 * (1 + np.log2(e.sum(2))) + 4 * u * np.abs(lse) + 4 * u * np.abs(top[..., 0])
    c.expect("lse", lse, dlse)
    return c
