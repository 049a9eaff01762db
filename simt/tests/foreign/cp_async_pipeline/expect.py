import numpy as np
from inputs import U, Case, reals


def case():
    c = Case()
    count, width = 5, 128
    rows = reals(1, (2, count, width, 4), 10.0)
    c.given(rows=rows)
    # Thread t reads column (t + r) mod 128 of row r.
    v = np.stack([np.roll(rows[:, r], -r, axis=1) for r in range(count)], 1).astype(np.float64)
    out = np.stack([v[..., 0].sum(1), np.maximum(v[..., 1].max(1), 0), 0.5 * v[..., 2].sum(1), v[:, -1, :, 3]], -1)
    size = np.abs(v).sum(1)
    bound = count * U["f32"] * size * np.array([1, 0, 0.5, 0])
    c.expect("out", out, bound)
    return c
