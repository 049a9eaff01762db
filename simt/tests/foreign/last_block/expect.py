import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    values = integers(1, 2000, 0, 2**32, np.uint32)
    c.given(values=values)
    weighted = values.astype(np.uint64) * np.array([1, 3, 5, 7], np.uint64)[np.arange(2000) % 4]
    block = np.arange(2000) // 128 % 5
    c.expect("partial", np.array([weighted[block == b].sum() for b in range(5)], np.uint64))
    c.expect("total", np.array([weighted.sum()], np.uint64))
    return c
