import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    values = integers(1, 250, -50, 50, np.int32)
    kept = int((values > 0).sum())
    c.given(values=values, count=np.zeros(1, np.int32), taken=np.zeros(250, np.int32))
    c.expect("count", np.array([kept], np.int32))
    c.expect("taken", (np.arange(250) < kept).astype(np.int32))
    c.expect("placed", (values > 0).astype(np.int32))
    return c
