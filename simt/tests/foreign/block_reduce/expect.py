import numpy as np
from inputs import U, Case, integers, reals


def case():
    c = Case()
    n, blocks, threads = 1000, 3, 128
    ints = integers(1, n, -(2**31), 2**31, np.int32)
    floats, doubles = reals(2, n, 100.0), reals(3, n, 1e3, np.float64)
    c.given(ints=ints, floats=floats, doubles=doubles)
    mine = np.arange(n) // threads % blocks
    parts = [mine == b for b in range(blocks)]
    c.expect("lowest", np.array([ints[p].min() for p in parts], np.int32))
    c.expect("sum", np.array([ints[p].sum(dtype=np.int64) & 0xFFFFFFFF for p in parts]).astype(np.uint32).view(np.int32))
    # Any tree over m terms: at most m roundings of partial sums below sum |x|.
    size = np.array([np.abs(floats[p].astype(np.float64)).sum() for p in parts])
    count = np.array([p.sum() for p in parts])
    c.expect("fsum", [floats[p].astype(np.float64).sum() for p in parts], count * U["f32"] * size)
    c.expect("dmax", np.array([doubles[p].max() for p in parts]))
    return c
