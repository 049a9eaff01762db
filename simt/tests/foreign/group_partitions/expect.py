import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    v = integers(3, 128, 0, 100, np.int32)
    c.given(values=v)
    labelled, scanned = np.empty_like(v), np.empty_like(v)
    for w in range(0, 128, 32):
        warp = v[w : w + 32]
        for k, x in enumerate(warp):
            same = warp % 5 == x % 5
            labelled[w + k] = warp[same].sum() * 32 + same.sum()
            before = warp[:k]
            scanned[w + k] = before[before % 2 == x % 2].sum()
    c.expect("labelled", labelled)
    c.expect("scanned", scanned)
    pairs = v.reshape(2, 64)
    c.expect("wide", (np.repeat(pairs.max(1), 64) + np.repeat([0, 1000], 64)).astype(np.int32))
    c.expect("ranked", np.cumsum(pairs, 1).reshape(-1).astype(np.int32))

    a = (integers(4, (64, 2), -4, 5, np.int32) / 2).astype(np.float16)
    b = (integers(5, (64, 2), -4, 5, np.int32) / 2).astype(np.float16)
    a[3], b[5], a[7, 1], b[9, 0] = np.nan, np.nan, np.nan, np.nan
    a[11], b[11] = [np.inf, -0.0], [np.inf, 0.0]
    c.given(a=a, b=b)
    odd = np.isnan(a) | np.isnan(b)

    def pair(holds, low):
        return (holds[:, 0] * low | holds[:, 1] * (low << 16)).astype(np.uint32)

    c.expect("masked", pair(a < b, 0xF0) | pair((a == b) | odd, 0xF00) | pair(a >= b, 0xF))
    both = [(a > b).all(1), ((a == b) | odd).all(1), ((a != b) | odd).all(1)]
    c.expect("counts", sum(x.astype(np.int32) << k for k, x in enumerate(both)).astype(np.int32))
    return c
