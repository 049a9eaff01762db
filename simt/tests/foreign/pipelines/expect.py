import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    v = integers(11, 7 * 128, -500, 500, np.int32)
    c.given(values=v)
    t = np.arange(128) * 7 % 128
    c.expect("staged", v.reshape(7, 128)[:, t].sum(0).astype(np.int32))
    c.expect("specialised", v[: 9 * 96].reshape(9, 96)[:, 32:].sum(0).astype(np.int32))
    c.expect("bulk", (v[:768] + np.arange(768) % 256).astype(np.int32))
    return c
