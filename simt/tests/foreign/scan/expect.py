import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    values = integers(1, 700, 0, 2**32, np.uint32)
    c.given(values=values)
    inclusive = np.concatenate([np.cumsum(values[s : s + 256], dtype=np.uint32) for s in range(0, 700, 256)])
    c.expect("inclusive", inclusive)
    c.expect("exclusive", inclusive - values)
    return c
