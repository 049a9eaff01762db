import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    keys = integers(1, (3, 500), 0, 2**32, np.uint32)
    keys[1] &= 0xFF0000FF  # many equal digits
    keys[2] = keys[2] % 20  # ties at the k-th place
    c.given(keys=keys)
    kth = np.sort(keys, axis=1)[:, ::-1][:, 36]
    c.expect("kth", kth)
    c.expect("above", (keys > kth[:, None]).sum(1).astype(np.int32))
    c.expect("first", (keys == kth[:, None]).argmax(1).astype(np.int32))
    return c
