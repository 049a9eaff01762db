import numpy as np
from inputs import Case, integers

# name, extents, whether A and B lie in columns
CASES = [
    ("bf16_square", (16, 16, 16), False, True),
    ("bf16_wide", (8, 32, 16), True, False),
    ("bf16_tall", (32, 8, 16), False, False),
    ("tf32", (16, 16, 8), False, True),
    ("f64", (8, 8, 4), False, True),
]


def case():
    c = Case()
    for seed, (name, (m, n, k), a_columns, b_columns) in enumerate(CASES):
        # Small integers: every sum is exact.
        a = integers(3 * seed + 1, (m, k), -100, 101, np.int64)
        b = integers(3 * seed + 2, (k, n), -100, 101, np.int64)
        old = integers(3 * seed + 3, (m, n), -1000, 1001, np.int64)
        plain = np.float64 if name == "f64" else np.float32

        def laid(x, columns):
            x = np.ascontiguousarray(x.T if columns else x).astype(plain)
            return (x.view(np.uint32) >> 16).astype(np.uint16) if name.startswith("bf16") else x

        c.given(**{f"{name}.a": laid(a, a_columns), f"{name}.b": laid(b, b_columns), f"{name}.c": old.astype(plain)})
        c.expect(name, (a @ b + old).astype(plain))
    return c
