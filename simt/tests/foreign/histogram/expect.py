import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    # Skewed, so that lanes collide: the lower of two draws.
    data = np.minimum(integers(1, 5000, 0, 256, np.uint8), integers(2, 5000, 0, 256, np.uint8))
    before = integers(3, 256, 0, 1000, np.uint32)
    c.given(bytes=data, bins=before)
    c.expect("bins", before + np.bincount(data, minlength=256).astype(np.uint32))
    return c
