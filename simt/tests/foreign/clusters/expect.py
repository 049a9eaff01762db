import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    values = integers(1, 3000, 0, 2**32, np.uint32)
    c.given(values=values, bins=np.zeros(64, np.uint32))
    c.expect("bins", np.bincount(values & 63, minlength=64).astype(np.uint32))
    return c
